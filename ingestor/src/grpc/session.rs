//! One stream: a position in the log, a filter, and signs of life. It pulls: without a task or a queue of its own it takes the
//! next run of the log when its client has taken the last one, so a slow client costs one run of memory, which is shared with
//! all who are there too, and delays nobody.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use killfeed::{
    cursor::{Cursor, Offset},
    v1::{FeedHealth, OnExpired, Progress},
    wire::EncodedEvent,
};
use metrics::{Counter, counter};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Duration, Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    auth::Revoked,
    chunks::{Chunk, ChunkCache, ChunkError},
    heartbeat::Heartbeat,
    limits::StreamPermit,
    selection::Selection,
    start::{self, StartPoint},
    status,
};
use crate::{
    health::FeedReport,
    log::{Head, LogError, LogRead},
};

/// Events sent on all streams, labelled by the token's name.
pub const EVENTS: &str = "killfeed_stream_events_total";
/// Streams that ended, labelled by why.
pub const ENDED: &str = "killfeed_streams_ended_total";

/// After a read that failed, or found nothing although the head says there is something.
const READ_RETRY_DELAY: Duration = Duration::from_millis(500);

/// What a stream is about.
pub(super) struct Session {
    pub(super) log: Arc<dyn LogRead>,
    pub(super) feed: watch::Receiver<FeedReport>,
    pub(super) chunks: Arc<ChunkCache>,
    pub(super) selection: Arc<Selection>,
    pub(super) on_expired: OnExpired,
    pub(super) begin: StartPoint,
    /// Ends the stream when it is reached.
    pub(super) until: Option<Instant>,
    pub(super) shutdown: CancellationToken,
    /// Ends the stream when its token is taken away.
    pub(super) revoked: Revoked,
    pub(super) seat: StreamPermit,
    /// As the client calls itself.
    pub(super) client: String,
}

impl Session {
    /// Framed messages, as many at once as there are. Dropping the stream frees everything the session holds.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
        stream::unfold(Some(SessionState::new(self)), |running| async move {
            let mut running = running?;
            match running.next_frames().await {
                Ok(frames) => Some((Ok(frames), Some(running))),
                Err(end) => Some((Err(running.end(&end)), None)),
            }
        })
    }
}

/// Why a stream ends.
#[derive(Debug, Clone, PartialEq)]
enum EndReason {
    Draining,
    TooOld,
    Revoked,
    Expired { earliest: Cursor },
}

struct SessionState {
    session: Session,
    head: watch::Receiver<Head>,
    /// Everything up to here was delivered or left out.
    at: Offset,
    /// When the record there was ingested, if one was read.
    at_ms: Option<i64>,
    /// Nothing was read yet, and the oldest event that there is will do.
    at_oldest: bool,
    /// A task, because other streams may wait for what it makes, whether this one's client reads or not.
    reading: Option<JoinHandle<Result<Arc<Chunk>, ChunkError>>>,
    /// Not before this is read again, after a failure.
    read_again: Option<Instant>,
    log_failed: bool,
    heartbeat: Heartbeat,
    events: u64,
    counted: Counter,
    begun: Instant,
    /// For the log line at the end; a stream that is dropped was left by its client.
    reason: &'static str,
}

impl SessionState {
    fn new(session: Session) -> Self {
        let now = Instant::now();
        session.seat.standing().moved(session.begin.after, None);
        Self {
            head: session.log.head(),
            at: session.begin.after,
            at_ms: None,
            at_oldest: session.begin.at_oldest,
            reading: None,
            read_again: None,
            log_failed: false,
            heartbeat: Heartbeat::new(now, fastrand::f64()),
            events: 0,
            counted: counter!(EVENTS, "token" => session.seat.label().to_owned()),
            begun: now,
            reason: "left",
            session,
        }
    }

    /// At least one event, as soon as there is one; all that one run of the log yields.
    async fn next_frames(&mut self) -> Result<Bytes, EndReason> {
        loop {
            if self.session.shutdown.is_cancelled() {
                return Err(EndReason::Draining);
            }
            if self.session.revoked.is_revoked() {
                return Err(EndReason::Revoked);
            }
            let now = Instant::now();
            if self.session.until.is_some_and(|until| until <= now) {
                return Err(EndReason::TooOld);
            }
            if let Some(gap) = self.session.begin.gap.take() {
                return Ok(self.single(&EncodedEvent::gap(self.cursor(), &gap)));
            }
            let head = *self.head.borrow_and_update();
            let behind = self.at < head.offset;
            if self.heartbeat.beats(now, !behind, fastrand::f64()) {
                return Ok(self.single(&self.progress(!behind)));
            }
            if behind && self.reading.is_none() && self.read_again.is_none_or(|again| again <= now) {
                self.read_again = None;
                if let Some(chunk) = self.begin_reading(head.offset).await {
                    if let Some(frames) = self.take(&chunk) {
                        return Ok(frames);
                    }
                    tokio::task::consume_budget().await;
                    continue;
                }
            }
            if let Some(read) = self.wait().await {
                self.reading = None;
                if let Some(frames) = self.read(read)? {
                    return Ok(frames);
                }
                // A long scan without a match: others want to run too.
                tokio::task::consume_budget().await;
            }
        }
    }

    /// Takes the next run if another stream had it made already, or has it made.
    async fn begin_reading(&mut self, head: Offset) -> Option<Arc<Chunk>> {
        let Session { chunks, selection, .. } = &self.session;
        let (at, not_before_ms) = (self.at, self.session.begin.not_before_ms);
        // Messages that nobody shares would only push out those that others do.
        let alone = Arc::strong_count(selection) == 1 || not_before_ms > i64::MIN;
        if !alone && let Some(chunk) = chunks.peek(selection, at, head).await {
            return Some(chunk);
        }
        let (log, selection, chunks) = (self.session.log.clone(), selection.clone(), chunks.clone());
        self.reading = Some(tokio::spawn(async move {
            if alone {
                let made = chunks.make(&*log, &selection, (at, head), not_before_ms).await;
                made.map(Arc::new)
            } else {
                chunks.get(&*log, &selection, at, head).await
            }
        }));
        None
    }

    /// Until a run is there, or there is a reason to look again.
    async fn wait(&mut self) -> Option<Result<Arc<Chunk>, ChunkError>> {
        let mut wake = self.heartbeat.next;
        for other in [self.session.until, self.read_again].into_iter().flatten() {
            wake = wake.min(other);
        }
        let reads = self.reading.is_some();
        let waits_to_read = self.read_again.is_some();
        let read = async {
            match &mut self.reading {
                Some(reading) => reading.await.unwrap_or_else(|error| {
                    let broken = format!("the log read task failed: {error}");
                    Err(ChunkError::Log(LogError::Io(broken)))
                }),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.session.shutdown.cancelled() => None,
            () = self.session.revoked.wait() => None,
            read = read => Some(read),
            // The sender is the log, which the session holds. Should it be gone all the same, the next read says so.
            Ok(()) = self.head.changed(), if !reads && !waits_to_read => None,
            () = sleep_until(wake) => None,
        }
    }

    fn read(&mut self, read: Result<Arc<Chunk>, ChunkError>) -> Result<Option<Bytes>, EndReason> {
        self.log_failed = false;
        match read {
            Ok(chunk) => return Ok(self.take(&chunk)),
            Err(ChunkError::Trimmed) => return self.on_trimmed(),
            Err(ChunkError::Log(LogError::Closed)) => return Err(EndReason::Draining),
            Err(ChunkError::Nothing) => {}
            Err(ChunkError::Log(error)) => {
                // The log reopens itself, and the stream stays: its client is told by the feed's health.
                tracing::debug!(%error, at = self.at.0, "reading the log failed, stream is waiting");
                self.log_failed = true;
            }
        }
        self.read_again = Some(Instant::now() + READ_RETRY_DELAY);
        Ok(None)
    }

    /// Goes on to the end of the run; what there is to be sent of it.
    fn take(&mut self, chunk: &Chunk) -> Option<Bytes> {
        self.at = chunk.through;
        self.at_ms = Some(chunk.through_ms);
        self.session.seat.standing().moved(self.at, self.at_ms);
        self.at_oldest = false;
        if chunk.through_ms >= self.session.begin.not_before_ms {
            // Times never decrease: from here on everything is young enough, and shared with others.
            self.session.begin.not_before_ms = i64::MIN;
        }
        (chunk.events > 0).then(|| self.count(chunk.frames.clone(), chunk.events as u64))
    }

    /// Retention was faster than this reader. Never skipped in silence.
    fn on_trimmed(&mut self) -> Result<Option<Bytes>, EndReason> {
        let log = self.session.log.status();
        let told = match self.session.on_expired {
            OnExpired::Continue => true,
            _ if self.at_oldest => false,
            _ => {
                let earliest = Cursor {
                    log: self.session.log.id(),
                    offset: log.trimmed,
                };
                return Err(EndReason::Expired { earliest });
            }
        };
        let gap = start::expired_gap(self.at_ms, &log);
        self.at = log.trimmed;
        Ok(told.then(|| self.single(&EncodedEvent::gap(self.cursor(), &gap))))
    }

    fn single(&mut self, event: &EncodedEvent) -> Bytes {
        self.count(event.framed(), 1)
    }

    fn progress(&self, at_head: bool) -> EncodedEvent {
        let health = if self.log_failed {
            FeedHealth::Down
        } else {
            self.session.feed.borrow().health
        };
        let progress = Progress {
            caught_up: at_head,
            server_time: Some(start::timestamp(start::now_ms())),
            feed_health: health.into(),
        };
        EncodedEvent::progress(self.cursor(), &progress)
    }

    fn cursor(&self) -> String {
        Cursor {
            log: self.session.log.id(),
            offset: self.at,
        }
        .to_string()
    }

    fn count(&mut self, frames: Bytes, events: u64) -> Bytes {
        self.events += events;
        self.counted.increment(events);
        frames
    }

    fn end(&mut self, end: &EndReason) -> Status {
        let (reason, status) = match end {
            EndReason::Draining => ("drained", status::draining()),
            EndReason::TooOld => ("too old", status::too_old()),
            EndReason::Revoked => (
                "revoked",
                status::unauthenticated("this token was removed from the tokens file"),
            ),
            EndReason::Expired { earliest } => ("expired", status::expired(*earliest)),
        };
        self.reason = reason;
        status
    }
}

impl Drop for SessionState {
    fn drop(&mut self) {
        counter!(ENDED, "reason" => self.reason).increment(1);
        tracing::info!(
            token = self.session.seat.label(),
            client = self.session.client,
            reason = self.reason,
            events = self.events,
            at = self.at.0,
            seconds = self.begun.elapsed().as_secs(),
            "stream ended"
        );
    }
}
