//! Killmails from files, at the pace at which they happened, faster, or as fast as it goes: for tests, demos and backtests.

mod read;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use ::metrics::counter;
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use killfeed::v1::FeedHealth;
use killfeed_service::clock::Clock;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

pub use self::read::ReplayPathError;
use self::read::{ReplayFile, Replayed};
use super::{
    Batch, DocumentOutcome, Feed, FeedItem, metrics,
    source_state::{self, REPLAY},
    state::StateError,
};
use crate::health::FeedReport;

/// Documents that are read ahead.
const READ_AHEAD_CAPACITY: usize = 64;
/// Handed out at once.
const MAX_DOCUMENTS: usize = 200;
/// Or so many bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Which files, and how fast.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplaySettings {
    /// A file, or a folder of them, which are read in the order of their names.
    pub path: PathBuf,
    /// So many times as fast as it happened; `None` = as fast as it goes.
    pub speed: Option<f64>,
}

/// Why there is nothing to replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The path.
    #[error("INGESTOR_SOURCE=replay: {0}")]
    Path(#[from] ReplayPathError),
    /// The stored state.
    #[error(transparent)]
    State(#[from] StateError),
}

/// How far a replay came. Of the same path it goes on there after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ReplayState {
    path: String,
    documents: u64,
}

/// A source that reads files.
pub struct Replay {
    state: ReplayState,
    r2z2: Option<Box<RawValue>>,
    speed: Option<f64>,
    documents: mpsc::Receiver<Result<Replayed, String>>,
    /// Read, but its time has not come.
    held: Option<Replayed>,
    /// When the replay began here, and when that was there.
    began: Option<(Instant, i64)>,
    pending: Vec<FeedItem>,
    pending_bytes: usize,
    /// Documents of the batch that is being stored.
    under_way: u64,
    end: Option<Result<(), String>>,
    last_document: Option<SystemTime>,
    sequence: u64,
    health: watch::Sender<FeedReport>,
}

impl Replay {
    /// `state`: as [`Feed::ack`] gave it last, or another source's. Begins to read at once, in a thread.
    pub fn new(
        settings: &ReplaySettings,
        state: Option<Bytes>,
        health: watch::Sender<FeedReport>,
    ) -> Result<Self, ReplayError> {
        let files: Vec<ReplayFile> = read::files(&settings.path)?;
        let path = settings.path.display().to_string();
        let (stored, r2z2): (ReplayState, _) = source_state::to_other(REPLAY, state.as_deref())?;
        let state = if stored.path == path {
            stored
        } else {
            ReplayState { path, documents: 0 }
        };
        let (give, documents) = mpsc::channel(READ_AHEAD_CAPACITY);
        let skip = state.documents;
        std::thread::spawn(move || {
            // Nobody takes it any more: the replay was dropped.
            let mut left = skip;
            read::read(&files, |document| {
                if document.is_ok() && left > 0 {
                    left -= 1;
                    return true;
                }
                give.blocking_send(document).is_ok()
            });
        });
        Ok(Self {
            state,
            r2z2,
            speed: settings.speed,
            documents,
            held: None,
            began: None,
            pending: Vec::new(),
            pending_bytes: 0,
            under_way: 0,
            end: None,
            last_document: None,
            sequence: 0,
            health,
        })
    }

    /// When a document's turn is.
    fn due(&mut self, at_ms: Option<i64>, now: Instant) -> Instant {
        let (Some(speed), Some(at_ms)) = (self.speed, at_ms) else {
            return now;
        };
        let (began, first_ms) = *self.began.get_or_insert((now, at_ms));
        let passed = Duration::from_millis(u64::try_from(at_ms.saturating_sub(first_ms)).unwrap_or(0));
        // A pause that no one will see the end of is one all the same.
        let passed = Duration::try_from_secs_f64(passed.as_secs_f64() / speed);
        let year = Duration::from_secs(365 * 86_400);
        began + passed.unwrap_or(year).min(year)
    }

    fn push(&mut self, document: Replayed) {
        counter!(metrics::DOCUMENTS).increment(1);
        self.last_document = Some(Clock::system().now().wall);
        self.sequence = self.sequence.max(document.sequence);
        self.pending_bytes += document.body.len();
        self.pending.push(FeedItem::Document {
            sequence: document.sequence,
            body: document.body,
        });
    }

    fn take_batch(&mut self) -> Batch {
        self.under_way = self.pending.len() as u64;
        self.pending_bytes = 0;
        Batch {
            items: std::mem::take(&mut self.pending),
        }
    }

    fn report(&self) {
        let ReplayState { path, documents } = &self.state;
        let (health, detail) = match &self.end {
            None => (
                FeedHealth::Ok,
                format!("replaying {path}: {documents} documents so far"),
            ),
            Some(Ok(())) => (
                FeedHealth::Ok,
                format!("the replay of {path} is complete: {documents} documents"),
            ),
            Some(Err(reason)) => (
                FeedHealth::Down,
                format!("the replay of {path} stopped after {documents} documents: {reason}"),
            ),
        };
        let report = FeedReport {
            health,
            detail,
            last_document: self.last_document,
            upstream_sequence: self.sequence,
        };
        report.publish(&self.health);
    }
}

#[async_trait]
impl Feed for Replay {
    async fn next(&mut self) -> Batch {
        loop {
            if self.pending.len() >= MAX_DOCUMENTS || self.pending_bytes >= MAX_BYTES {
                return self.take_batch();
            }
            if let Some(document) = &self.held {
                let (at_ms, now) = (document.at_ms, Instant::now());
                let due = self.due(at_ms, now);
                if due > now {
                    if !self.pending.is_empty() {
                        return self.take_batch();
                    }
                    self.report();
                    tokio::time::sleep_until(due).await;
                }
                if let Some(document) = self.held.take() {
                    self.push(document);
                }
                continue;
            }
            if self.end.is_some() {
                if !self.pending.is_empty() {
                    return self.take_batch();
                }
                self.report();
                std::future::pending::<()>().await;
            }
            let read = match self.documents.recv().now_or_never() {
                Some(read) => read,
                None if !self.pending.is_empty() => return self.take_batch(),
                None => {
                    self.report();
                    self.documents.recv().await
                }
            };
            match read {
                Some(Ok(document)) => self.held = Some(document),
                Some(Err(reason)) => {
                    tracing::error!(path = self.state.path, reason, "replay stopped");
                    self.end = Some(Err(reason));
                }
                None => {
                    tracing::info!(path = self.state.path, "replay complete");
                    self.end = Some(Ok(()));
                }
            }
        }
    }

    fn ack(&mut self, _verdicts: &[(u64, DocumentOutcome)]) -> Bytes {
        self.state.documents += std::mem::take(&mut self.under_way);
        source_state::to_bytes(REPLAY, &self.state, self.r2z2.as_deref())
    }
}
