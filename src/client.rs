//! Follows the stream over reconnects, restarts and fail-over.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use killfeed::client::{Client, EventKind, FollowOptions, Start};
//!
//! let client = Client::builder().endpoint("http://127.0.0.1:50051").client_name("example").build()?;
//! let mut events = client.follow(FollowOptions::new("space:lowsec value>=1b", Start::Latest));
//! loop {
//!     let event = events.next().await?;
//!     if let EventKind::Killmail(killmail) = event.kind {
//!         println!("https://zkillboard.com/kill/{}/", killmail.killmail_id);
//!     }
//!     // Handle the event first, then store `event.position`: `Start::After(position)` continues exactly after it.
//! }
//! # }
//! ```
//!
//! Nothing runs in the background: [`Events`] connects, waits and fails over while it is polled, and dropping it cancels.

mod builder;
mod call_span;
mod events;
mod failover;
mod observer;
mod retry;
mod rotation;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

pub use builder::{BuildError, Builder};
pub use call_span::TracedCall;
pub use events::{ConnectionState, Event, EventKind, Events};
pub use failover::Failover;
pub use observer::ClientEvent;
pub use retry::FollowError;

use crate::{
    v1::{
        StreamKillmailsRequest, killmail_service_client::KillmailServiceClient,
        universe_service_client::UniverseServiceClient,
    },
    wire::{ReceiveCodec, ReceivedEvent},
};
use failover::Endpoints;
use http::uri::PathAndQuery;
use prost_types::Timestamp;
use tonic::{Status, Streaming};

/// The largest message taken: above any killmail (the largest document known is 1 MB of JSON), below what could hurt.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;

/// One or several ingestors. Cheap to clone; all clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    endpoints: Arc<Endpoints>,
}

impl Client {
    /// Says where the ingestors are, and how to reach them.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Unary calls of `KillmailService`: each has a timeout, and goes to the next endpoint if one cannot be reached.
    pub fn killmails(&self) -> KillmailServiceClient<Failover> {
        KillmailServiceClient::new(Failover::new(self.endpoints.clone())).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Calls of `UniverseService`: each has a timeout, and goes to the next endpoint if one cannot be reached.
    pub fn universe(&self) -> UniverseServiceClient<Failover> {
        UniverseServiceClient::new(Failover::new(self.endpoints.clone())).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Opens one stream at the endpoint in use, and hands its events out as they came, for who stores them unchanged. It neither
    /// resumes nor fails over: that is the caller's affair.
    pub async fn receive(&self, request: StreamKillmailsRequest) -> Result<Streaming<ReceivedEvent>, Status> {
        let service = self.endpoints.only(self.endpoints.in_use());
        let mut call = tonic::client::Grpc::new(service).max_decoding_message_size(MAX_MESSAGE);
        call.ready()
            .await
            .map_err(|error| Status::unavailable(builder::causes(&*error)))?;
        let path = PathAndQuery::from_static(failover::STREAM);
        let opened = call.server_streaming(tonic::Request::new(request), path, ReceiveCodec);
        opened.await.map(tonic::Response::into_inner)
    }

    /// Follows the stream, for as long as it is polled. Connects when first polled.
    pub fn follow(&self, follow: FollowOptions) -> Events {
        Events::new(self.endpoints.clone(), follow)
    }
}

/// What to follow, and from where.
#[derive(Clone)]
pub struct FollowOptions {
    /// Filter language; empty = everything.
    pub filter: String,
    /// Where to start.
    pub start: Start,
    /// When the start lies below what every endpoint still keeps: `true` = a [`EventKind::Gap`] first, then from the oldest
    /// event kept; `false` = [`FollowError::Expired`].
    pub on_expired_continue: bool,
    /// Also re-published killmails (revision > 0).
    pub include_updates: bool,
    /// Whether the caller has a killmail in this revision (or a later one) already: such a one is left out. Needed because
    /// after a change to another log (a restored backup, an independent ingestor) the stream overlaps.
    pub seen: Option<IsDuplicate>,
}

/// Asked with a killmail's id and revision before it is handed out; `true` = leave it out.
pub type IsDuplicate = Arc<dyn Fn(u64, u32) -> bool + Send + Sync>;

impl FollowOptions {
    /// Killmails that match `filter` from `start` on: no updates, and an error when `start` has expired.
    pub fn new(filter: impl Into<String>, start: Start) -> Self {
        Self {
            filter: filter.into(),
            start,
            on_expired_continue: false,
            include_updates: false,
            seen: None,
        }
    }
}

impl fmt::Debug for FollowOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowOptions")
            .field("filter", &self.filter)
            .field("start", &self.start)
            .field("on_expired_continue", &self.on_expired_continue)
            .field("include_updates", &self.include_updates)
            .field("seen", &self.seen.is_some())
            .finish()
    }
}

/// Where to start.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// Only what comes after the first connection.
    Latest,
    /// From the oldest event kept.
    Earliest,
    /// Exactly after the event that bore this position.
    After(Position),
    /// From the first event ingested at or after this time.
    Since(Timestamp),
}

/// What to store after an event is handled, to continue there.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Opaque; valid for the log it came from.
    pub cursor: String,
    /// When that place of the log was reached, by the ingestor's clock: all that a different log can be asked for.
    pub time: Timestamp,
}
