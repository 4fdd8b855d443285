//! Where killmails come from. A feed hands out documents, is told what became of each, and gives the state to store with them.
//!
//! The feed keeps nothing itself: its state goes into the log's transaction together with the events it caused, so a crash
//! repeats work and loses nothing.

mod ban;
mod esi_body;
mod fetch;
mod source_state;
pub mod history;
mod limiter;
pub mod metrics;
pub mod r2z2;
pub mod relay;
pub mod replay;
mod state;
mod health;
mod walk;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use killfeed::{
    cursor::{LogId, Offset},
    id::KillmailId,
    v1::Gap,
};
use killfeed_service::clock::timestamp;

/// The longest delay that a failed request's `Retry-After` may ask for: a longer one is cut to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What a feed hands out at once. May be empty: then only the state changed (a ban, say).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// In feed order.
    pub items: Vec<FeedItem>,
}

/// One thing the feed says.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedItem {
    /// A document as it came.
    Document {
        /// The feed's number of it.
        sequence: u64,
        /// JSON, decompressed, at most 16 MiB.
        body: Bytes,
    },
    /// Documents are missing here.
    Gap(Gap),
    /// The log continues another ingestor's history from here on.
    History(UpstreamLineage),
    /// A record of that history, to be kept as it is.
    Relayed(RelayedRecord),
}

/// Whose history a log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamLineage {
    /// Its log id.
    pub id: LogId,
    /// Oldest first: the ids before, each with the last offset it gave out.
    pub ancestors: Vec<(LogId, Offset)>,
    /// It begins after this one: what was up to here is gone.
    pub trimmed: Offset,
}

/// A record as another ingestor's log has it.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayedRecord {
    /// Where.
    pub offset: Offset,
    /// When it was appended there, in milliseconds since 1970.
    pub ingested_ms: i64,
    /// What.
    pub body: RelayedBody,
}

/// What a relayed record says.
#[derive(Debug, Clone, PartialEq)]
pub enum RelayedBody {
    /// A killmail.
    Killmail {
        /// Which.
        id: KillmailId,
        /// Which revision of it.
        revision: u32,
        /// It came with what zKillboard adds; from archives it does not.
        judged: bool,
        /// zKillboard's upload, in seconds since 1970.
        published: Option<i64>,
        /// The encoded `killfeed.v1.Killmail`.
        bytes: Bytes,
    },
    /// An encoded `killfeed.v1.Gap`.
    Gap(Bytes),
}

impl RelayedRecord {
    fn len(&self) -> usize {
        match &self.body {
            RelayedBody::Killmail { bytes, .. } | RelayedBody::Gap(bytes) => bytes.len(),
        }
    }
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentOutcome {
    /// Understood: logged, or already known. `refetch`: an older number that was published anew (`sequence_updated`).
    Accepted {
        /// The older number.
        refetch: Option<u64>,
    },
    /// A placeholder (all null): skipped and counted.
    Placeholder,
    /// Could not be used; asked for again later, and a gap once the re-checks are over.
    Unreadable,
}

/// When a document was asked for, and when it was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchTiming {
    /// The feed's number of it.
    pub sequence: u64,
    /// The request went out.
    pub begun: SystemTime,
    /// The body was complete.
    pub ended: SystemTime,
}

/// A source of documents.
#[async_trait]
pub trait Feed: Send {
    /// The next batch, as soon as there is one; waits, polls, honours bans and limits by itself. Never ends with an error: a
    /// feed that is down says so in its health and goes on trying. Cancel-safe: nothing is lost if the future is dropped.
    async fn next(&mut self) -> Batch;

    /// Says what became of the documents of the last batch (by their number), and returns the state to store with them.
    /// Called exactly once for every batch, before the next one is asked for.
    fn ack(&mut self, verdicts: &[(u64, DocumentOutcome)]) -> Bytes;

    /// When the documents of the last batch were fetched, for traces; of a feed that fetches none by one: nothing.
    fn fetched(&mut self) -> Vec<FetchTiming> {
        Vec::new()
    }
}

/// The feed stands at about 1e8 and grows by some 10,000 a day: nobody means such a number, and adding to a smaller one never
/// overflows.
pub const MAX_SEQUENCE: u64 = 1_000_000_000_000_000_000;

/// Where to begin, while nothing is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedStart {
    /// At the number that sequence.json names.
    Latest,
    /// At the oldest document that still exists.
    Earliest,
    /// At this number.
    Sequence(u64),
}

impl FeedStart {
    fn sequence(self) -> Option<u64> {
        match self {
            Self::Sequence(number) => Some(number),
            Self::Latest | Self::Earliest => None,
        }
    }
}

/// Wall clock, milliseconds since 1970: what is stored has to mean something to the next process.
type Millis = i64;
