//! `KillmailService`: requests in, sessions and answers out.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use killfeed::{
    cursor::{Cursor, Offset},
    filter::{CompileOutcome, Program},
    id::KillmailId,
    v1::{
        GetFeedStatusRequest, GetFeedStatusResponse, GetKillmailRequest, GetKillmailResponse, ListKillmailsRequest,
        ListKillmailsResponse, StreamKillmailsRequest, filter_node::Node, stream_killmails_request::Start,
    },
    wire::{LINEAGE, unary_server::KillmailService},
};
use killfeed_service::clock::Clock;
use metrics::counter;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, metadata::AsciiMetadataValue};

use super::{
    GrpcSettings,
    auth::{self, Caller, Revoked, Tokens},
    body::Frames,
    chunks::ChunkCache,
    limits::{CallerRateLimiter, StreamLimiter},
    list,
    selection::{Filtered, Selections},
    session::Session,
    socket::Peer,
    stall_monitor::StallMonitor,
    start, status,
    universe::UniverseApi,
};
use crate::{health::FeedReport, log::LogRead};

/// Calls answered, labelled by method and gRPC status; streams count when they are opened.
pub const CALLS: &str = "killfeed_calls_total";

/// The contract's limit on names asked of ESI, per caller.
const NAMES_PER_MINUTE: f64 = 60.0;

/// Streams that a caller may open at once after a pause, however few may be open at a time.
const OPENINGS: f64 = 100.0;

/// Kept of what a client calls itself.
const MAX_CLIENT_NAME_CHARS: usize = 64;

/// Ancestors told of: a header has to stay small, and cursors that old have expired.
const MAX_ANCESTORS: usize = 64;

/// What the services answer from. One for all connections.
pub(super) struct ServiceState {
    pub(super) log: Arc<dyn LogRead>,
    pub(super) names: Arc<dyn UniverseApi>,
    pub(super) feed: watch::Receiver<FeedReport>,
    pub(super) static_build: Box<dyn Fn() -> String + Send + Sync>,
    pub(super) shutdown: CancellationToken,
    pub(super) streams: Arc<StreamLimiter>,
    pub(super) stalls: Arc<StallMonitor>,
    chunks: Arc<ChunkCache>,
    selections: Selections,
    tokens: Option<Tokens>,
    calls: CallerRateLimiter,
    /// Streams opened, so that opening and dropping them over and over is no way around the other limits.
    opened: CallerRateLimiter,
    names_asked: CallerRateLimiter,
    max_stream_age: Option<Duration>,
    ready: Option<watch::Receiver<bool>>,
}

impl ServiceState {
    pub(super) fn new(
        settings: &GrpcSettings,
        log: Arc<dyn LogRead>,
        names: Arc<dyn UniverseApi>,
        feed: watch::Receiver<FeedReport>,
        static_build: Box<dyn Fn() -> String + Send + Sync>,
        shutdown: CancellationToken,
    ) -> Self {
        let per_second = f64::from(settings.max_calls);
        Self {
            log,
            names,
            feed,
            static_build,
            shutdown,
            streams: StreamLimiter::new(
                settings.max_streams,
                settings.max_streams_per_token,
                settings.lags.clone(),
            ),
            stalls: StallMonitor::new(),
            chunks: Arc::new(ChunkCache::new()),
            selections: Selections::default(),
            tokens: settings.tokens.clone(),
            // The contract's burst: twice a second's worth.
            calls: CallerRateLimiter::new(per_second, per_second * 2.0),
            // After a restart all streams of a caller may come back at once.
            opened: CallerRateLimiter::new(per_second, OPENINGS.max(settings.max_streams as f64)),
            names_asked: CallerRateLimiter::new(NAMES_PER_MINUTE / 60.0, NAMES_PER_MINUTE),
            max_stream_age: settings.max_stream_age,
            ready: settings.ready.clone(),
        }
    }

    /// Who is calling, or UNAUTHENTICATED.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<(Caller, Revoked), Status> {
        let peer = request.extensions().get::<Peer>();
        let address = peer.map(|peer| peer.address().ip());
        auth::caller(self.tokens.as_ref(), request.metadata(), address)
    }

    /// Lets a unary call in, or says why not.
    pub(super) fn authorize<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let (caller, _) = self.caller(request)?;
        let taken = self.calls.take(&caller, 1.0, Clock::system().now().up);
        taken.map_err(status::too_many_calls)?;
        Ok(caller)
    }

    /// A relay that has not caught up would pass off old killmails as news, and miss others.
    pub(super) fn caught_up(&self) -> Result<(), Status> {
        match &self.ready {
            Some(ready) if !*ready.borrow() => Err(status::catching_up()),
            _ => Ok(()),
        }
    }

    /// Text → filter, on this caller's account as far as ESI has to be asked for names.
    pub(super) async fn compile(&self, caller: &Caller, filter: &str) -> Result<CompileOutcome, Status> {
        // At most 2,000 characters of text: the count is small.
        let unseen = self.names.uncached_names(filter).await as f64;
        if unseen > 0.0 {
            let taken = self.names_asked.take(caller, unseen, Clock::system().now().up);
            taken.map_err(status::too_many_names)?;
        }
        Ok(self.names.compile(filter).await)
    }

    /// `None` = everything.
    pub(super) async fn program(&self, caller: &Caller, filter: &str) -> Result<Option<Filtered>, Status> {
        if filter.trim().is_empty() {
            return Ok(None);
        }
        let compiled = match self.compile(caller, filter).await? {
            CompileOutcome::Compiled(compiled) => compiled,
            CompileOutcome::Invalid(diagnostics) => return Err(status::bad_filter(&diagnostics)),
            CompileOutcome::Unavailable(names) => return Err(status::names_unavailable(&names)),
        };
        let everything = match compiled.filter.nodes.as_slice() {
            [node] => matches!(&node.node, Some(Node::All(all)) if all.operands.is_empty()),
            _ => false,
        };
        if everything {
            return Ok(None);
        }
        let program = Program::new(&compiled.filter);
        let filtered = program.map(|program| Some(Filtered::new(program, &compiled.filter)));
        filtered.map_err(|error| {
            // The compiler and the evaluator are of one crate: this is a bug, not the client's fault.
            tracing::error!(%error, filter, "evaluating a compiled filter failed");
            Status::internal("internal error: the compiled filter cannot be evaluated; please report this as a bug")
        })
    }

    /// Begins a stream.
    pub(super) async fn open(
        &self,
        (caller, revoked): (Caller, Revoked),
        request: StreamKillmailsRequest,
    ) -> Result<Frames, Status> {
        if self.shutdown.is_cancelled() {
            return Err(status::draining());
        }
        // A cursor says exactly where to go on: what this log has after it is right at any time.
        if !matches!(request.start, Some(Start::AfterCursor(_))) {
            self.caught_up()?;
        }
        let taken = self.opened.take(&caller, 1.0, Clock::system().now().up);
        taken.map_err(status::too_many_calls)?;
        let seat = self.streams.enter(&caller)?;
        let client = client_name(&request.client_name);
        let program = self.program(&caller, &request.filter).await?;
        let on_expired = request.on_expired();
        let begin = start::start(&*self.log, request.start, on_expired).await?;
        tracing::info!(
            token = seat.label(),
            client,
            filter = request.filter,
            after = begin.after.0,
            streams = self.streams.open(),
            "stream started"
        );
        let session = Session {
            log: self.log.clone(),
            feed: self.feed.clone(),
            chunks: self.chunks.clone(),
            selection: self.selections.get(program, request.include_updates),
            on_expired,
            begin,
            until: self.max_stream_age.map(|age| {
                // Streams opened together do not have to come back together.
                tokio::time::Instant::now() + age.mul_f64(0.9 + 0.1 * fastrand::f64())
            }),
            shutdown: self.shutdown.clone(),
            revoked,
            seat,
            client,
        };
        Ok(Box::pin(session.into_stream()))
    }

    async fn get(&self, request: Request<GetKillmailRequest>) -> Result<GetKillmailResponse, Status> {
        self.authorize(&request)?;
        self.caught_up()?;
        let id = request.get_ref().killmail_id;
        let unknown = || status::unknown_killmail(id);
        let newest = self.log.newest(KillmailId::new(id).ok_or_else(unknown)?).await;
        let record = newest
            .map_err(|error| status::log_failed(&error))?
            .ok_or_else(unknown)?;
        let killmail = record.killmail().ok_or_else(unknown)?;
        Ok(GetKillmailResponse {
            killmail: Some(killmail.clone()),
        })
    }

    /// For relays, which take it over: beside the message, because nobody else has a use for it.
    fn lineage(&self) -> Option<AsciiMetadataValue> {
        let ancestors = self.log.ancestors();
        let newest = ancestors.len().saturating_sub(MAX_ANCESTORS);
        let cursors: Vec<String> = ancestors[newest..]
            .iter()
            .map(|(log, offset)| {
                Cursor {
                    log: *log,
                    offset: *offset,
                }
                .to_string()
            })
            .collect();
        if cursors.is_empty() {
            return None;
        }
        cursors.join(",").parse().ok()
    }

    fn feed_status(&self) -> GetFeedStatusResponse {
        let log = self.log.status();
        let id = self.log.id();
        let cursor = |offset: Offset| Cursor { log: id, offset }.to_string();
        let feed = self.feed.borrow().clone();
        GetFeedStatusResponse {
            log_id: id.to_string(),
            earliest_cursor: cursor(log.trimmed),
            head_cursor: cursor(log.head.offset),
            earliest_time: log.earliest_ms.map(start::timestamp),
            head_time: log.earliest_ms.map(|_| start::timestamp(log.head.ingested_ms)),
            killmails: log.killmails,
            feed_health: feed.health.into(),
            feed_detail: feed.detail,
            last_document_time: feed.last_document.map(Into::into),
            upstream_sequence: feed.upstream_sequence,
            static_data_build: (self.static_build)(),
        }
    }
}

/// The calls beside the stream, as the generated server calls them.
#[derive(Clone)]
pub(super) struct Killmails(pub(super) Arc<ServiceState>);

#[async_trait]
impl KillmailService for Killmails {
    async fn list_killmails(
        &self,
        request: Request<ListKillmailsRequest>,
    ) -> Result<Response<ListKillmailsResponse>, Status> {
        counted("ListKillmails", list::list(&self.0, request).await)
    }

    async fn get_killmail(
        &self,
        request: Request<GetKillmailRequest>,
    ) -> Result<Response<GetKillmailResponse>, Status> {
        counted("GetKillmail", self.0.get(request).await)
    }

    async fn get_feed_status(
        &self,
        request: Request<GetFeedStatusRequest>,
    ) -> Result<Response<GetFeedStatusResponse>, Status> {
        let answer = self.0.authorize(&request).map(|_| self.0.feed_status());
        let mut answer = counted("GetFeedStatus", answer)?;
        if let Some(lineage) = self.0.lineage() {
            answer.metadata_mut().insert(LINEAGE, lineage);
        }
        Ok(answer)
    }
}

/// Counts an answer on its way out.
pub(super) fn counted<T>(method: &'static str, answer: Result<T, Status>) -> Result<Response<T>, Status> {
    count(method, answer.as_ref().err());
    answer.map(Response::new)
}

/// Counts an answer by what was wrong with it, if anything.
pub(super) fn count(method: &'static str, error: Option<&Status>) {
    let code = error.map_or(Code::Ok, Status::code);
    counter!(CALLS, "method" => method, "code" => format!("{code:?}")).increment(1);
}

/// What a client calls itself, fit for a log line.
fn client_name(raw: &str) -> String {
    let plain = raw.chars().filter(|c| !c.is_control());
    plain.take(MAX_CLIENT_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_call_itself_anything_but_not_write_our_logs() {
        assert_eq!(
            client_name("my bot\n2026-01-01 ERROR all is lost"),
            "my bot2026-01-01 ERROR all is lost"
        );
        assert_eq!(client_name(&"é".repeat(1_000)).chars().count(), MAX_CLIENT_NAME_CHARS);
    }
}
