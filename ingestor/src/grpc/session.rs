//! One stream: a position in the log, a filter, and signs of life. It pulls: without a task or a queue of its own it reads the
//! next range when its client has taken the last one, so a slow client costs one range of memory and delays nobody.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, future::BoxFuture, stream};
use killfeed::{
    cursor::{Cursor, Offset},
    filter::Program,
    v1::{FeedHealth, OnExpired, Progress},
    wire::EncodedEvent,
};
use metrics::counter;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    heartbeat::Heartbeat,
    limits::Seat,
    start::{self, Begin},
    status,
};
use crate::{
    health::FeedReport,
    log::{Head, LogError, LogRead, ReadLimit, Record, RecordKind},
};

/// Events sent on all streams, labelled by the token's name.
pub const EVENTS: &str = "killfeed_stream_events_total";
/// Streams that ended, labelled by why.
pub const ENDED: &str = "killfeed_streams_ended_total";

/// Read at once: a burst's worth of killmails, and with them at most about what tonic packs into one buffer.
const RANGE: ReadLimit = ReadLimit {
    records: 256,
    bytes: 256 * 1024,
};
/// After a read that failed, or found nothing although the head says there is something.
const READ_AGAIN: Duration = Duration::from_millis(500);

type Reading = BoxFuture<'static, Result<Vec<Arc<Record>>, LogError>>;

/// What a stream is about.
pub(super) struct Session {
    pub(super) log: Arc<dyn LogRead>,
    pub(super) feed: watch::Receiver<FeedReport>,
    pub(super) wanted: Wanted,
    pub(super) on_expired: OnExpired,
    pub(super) begin: Begin,
    /// Ends the stream when it is reached.
    pub(super) until: Option<Instant>,
    pub(super) shutdown: CancellationToken,
    pub(super) seat: Seat,
    /// As the client calls itself.
    pub(super) client: String,
}

impl Session {
    /// The events. Dropping the stream frees everything the session holds.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<EncodedEvent, Status>> + Send + 'static {
        let pull = |running: Option<Running>| async move {
            let mut running = running?;
            match running.next_batch().await {
                Ok(batch) => {
                    running.account(batch.len());
                    let events: Vec<_> = batch.into_iter().map(Ok).collect();
                    Some((stream::iter(events), Some(running)))
                }
                Err(end) => {
                    let status = running.end(&end);
                    Some((stream::iter(vec![Err(status)]), None))
                }
            }
        };
        stream::unfold(Some(Running::new(self)), pull).flatten()
    }
}

/// Which records a stream delivers.
pub(super) struct Wanted {
    /// `None` = everything: then nothing is ever decoded.
    pub(super) program: Option<Program>,
    /// Also revisions above 0.
    pub(super) include_updates: bool,
}

impl Wanted {
    fn admits(&self, record: &Record) -> bool {
        match record.kind {
            // Whoever misses documents here misses them whatever the filter.
            RecordKind::Gap => true,
            RecordKind::Killmail { revision, .. } if revision > 0 && !self.include_updates => false,
            RecordKind::Killmail { .. } => match &self.program {
                None => true,
                Some(program) => record.killmail().is_some_and(|killmail| program.matches(killmail)),
            },
        }
    }
}

/// Why a stream ends.
#[derive(Debug, Clone, PartialEq)]
enum End {
    Draining,
    TooOld,
    Expired { earliest: Cursor },
}

struct Running {
    session: Session,
    head: watch::Receiver<Head>,
    /// Everything up to here was delivered or left out.
    at: Offset,
    /// When the record there was ingested, if one was read.
    at_ms: Option<i64>,
    /// Nothing was read yet, and the oldest event that there is will do.
    at_oldest: bool,
    reading: Option<Reading>,
    /// Not before this is read again, after a failure.
    read_again: Option<Instant>,
    log_failed: bool,
    heartbeat: Heartbeat,
    events: u64,
    begun: Instant,
    /// For the log line at the end; a stream that is dropped was left by its client.
    reason: &'static str,
}

impl Running {
    fn new(session: Session) -> Self {
        let now = Instant::now();
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
            begun: now,
            reason: "left",
            session,
        }
    }

    /// At least one event, as soon as there is one; all that one range of the log yields.
    async fn next_batch(&mut self) -> Result<Vec<EncodedEvent>, End> {
        loop {
            if self.session.shutdown.is_cancelled() {
                return Err(End::Draining);
            }
            let now = Instant::now();
            if self.session.until.is_some_and(|until| until <= now) {
                return Err(End::TooOld);
            }
            if let Some(gap) = self.session.begin.gap.take() {
                return Ok(vec![EncodedEvent::gap(self.cursor(), &gap)]);
            }
            let head = *self.head.borrow_and_update();
            let behind = self.at < head.offset;
            if self.heartbeat.beats(now, !behind, fastrand::f64()) {
                return Ok(vec![self.progress(!behind)]);
            }
            if behind && self.reading.is_none() && self.read_again.is_none_or(|again| again <= now) {
                let (log, at) = (self.session.log.clone(), self.at);
                self.reading = Some(Box::pin(async move { log.read(at, RANGE).await }));
                self.read_again = None;
            }
            if let Some(read) = self.wait().await {
                self.reading = None;
                let batch = self.read(read)?;
                if !batch.is_empty() {
                    return Ok(batch);
                }
                // A long scan without a match: others want to run too.
                tokio::task::consume_budget().await;
            }
        }
    }

    /// Until a range is read, or there is a reason to look again.
    async fn wait(&mut self) -> Option<Result<Vec<Arc<Record>>, LogError>> {
        let mut wake = self.heartbeat.next;
        for other in [self.session.until, self.read_again].into_iter().flatten() {
            wake = wake.min(other);
        }
        let reads = self.reading.is_some();
        let waits_to_read = self.read_again.is_some();
        let read = async {
            match &mut self.reading {
                Some(reading) => reading.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.session.shutdown.cancelled() => None,
            read = read => Some(read),
            // The sender is the log, which the session holds. Should it be gone all the same, the next read says so.
            Ok(()) = self.head.changed(), if !reads && !waits_to_read => None,
            () = sleep_until(wake) => None,
        }
    }

    fn read(&mut self, read: Result<Vec<Arc<Record>>, LogError>) -> Result<Vec<EncodedEvent>, End> {
        let records = match read {
            Ok(records) => records,
            Err(LogError::Closed) => return Err(End::Draining),
            Err(error) => {
                // The log reopens itself, and the stream stays: its client is told by the feed's health.
                tracing::debug!(%error, at = self.at.0, "a stream waits for the log");
                self.log_failed = true;
                self.read_again = Some(Instant::now() + READ_AGAIN);
                return Ok(Vec::new());
            }
        };
        self.log_failed = false;
        // Asked after the read: what was there to be read was not trimmed by then.
        let log = self.session.log.status();
        if log.trimmed > self.at {
            return self.overtaken(&log);
        }
        if records.is_empty() {
            self.read_again = Some(Instant::now() + READ_AGAIN);
        }
        self.at_oldest &= records.is_empty();
        Ok(self.deliver(&records))
    }

    fn deliver(&mut self, records: &[Arc<Record>]) -> Vec<EncodedEvent> {
        let mut events = Vec::new();
        for record in records {
            self.at = record.offset;
            self.at_ms = Some(record.ingested_ms);
            if record.ingested_ms < self.session.begin.not_before_ms || !self.session.wanted.admits(record) {
                continue;
            }
            let bytes = record.bytes.clone();
            events.push(match record.kind {
                RecordKind::Killmail { .. } => EncodedEvent::killmail(self.cursor(), bytes),
                RecordKind::Gap => EncodedEvent::encoded_gap(self.cursor(), bytes),
            });
        }
        events
    }

    /// Retention was faster than this reader. Never skipped in silence.
    fn overtaken(&mut self, log: &crate::log::Status) -> Result<Vec<EncodedEvent>, End> {
        let told = match self.session.on_expired {
            OnExpired::Continue => true,
            _ if self.at_oldest => false,
            _ => {
                let earliest = Cursor {
                    log: self.session.log.id(),
                    offset: log.trimmed,
                };
                return Err(End::Expired { earliest });
            }
        };
        let gap = start::expired_gap(self.at_ms, log);
        self.at = log.trimmed;
        Ok(if told {
            vec![EncodedEvent::gap(self.cursor(), &gap)]
        } else {
            Vec::new()
        })
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

    fn account(&mut self, events: usize) {
        let events = events as u64;
        self.events += events;
        counter!(EVENTS, "token" => self.session.seat.label().to_owned()).increment(events);
    }

    fn end(&mut self, end: &End) -> Status {
        let (reason, status) = match end {
            End::Draining => ("drained", status::draining()),
            End::TooOld => ("too old", status::too_old()),
            End::Expired { earliest } => ("expired", status::expired(*earliest)),
        };
        self.reason = reason;
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        counter!(ENDED, "reason" => self.reason).increment(1);
        tracing::info!(
            token = self.session.seat.label(),
            client = self.session.client,
            reason = self.reason,
            events = self.events,
            at = self.at.0,
            seconds = self.begun.elapsed().as_secs(),
            "a stream ended"
        );
    }
}
