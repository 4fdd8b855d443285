//! The one thread that writes: appends, removals, and reopening the database after the disk failed.
//!
//! A thread of its own rather than `spawn_blocking` under a lock: an append that nobody waits for any more (a dropped future)
//! still ends in a defined state, removals slip in between two appends without making one wait for more than one of their small
//! transactions, and reopening has a place to wait.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use killfeed::backoff::Backoff;
use killfeed_service::clock::{Clock, Uptime};
use tokio::sync::oneshot;

use super::{
    AppendBatch, Head, Lineage, LogError, metrics,
    open::{self, DirLock, Options},
    retention::{self, ClockGuard, PauseReason, RetentionDecision},
    state::{DbState, LogState},
    store::{self, Appended, StoreError},
};

/// Records removed in one transaction: about a millisecond, so that an append waiting behind it does not notice.
const MAX_REMOVAL_BATCH: usize = 256;

/// How long to wait before the database is opened again: doubled from the first to the last.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    Append {
        batch: AppendBatch,
        reply: oneshot::Sender<Result<Head, LogError>>,
    },
    /// Continues another log's history.
    Adopt {
        ancestry: Lineage,
        reply: oneshot::Sender<Result<Head, LogError>>,
    },
    /// A reader met an error in this generation of the database.
    Suspect { generation: u64, reason: String },
    /// Removes all that may go now, and says when it is done.
    #[cfg(test)]
    RemoveExpired { reply: oneshot::Sender<()> },
}

/// What the thread owns.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<LogState>,
    pub(super) path: PathBuf,
    pub(super) options: Options,
    pub(super) guard: ClockGuard,
    pub(super) generation: u64,
    /// A batch whose commit failed, and the head before it: only the reopened database can tell whether it is in there.
    pub(super) in_doubt: Option<(Head, AppendBatch)>,
    /// The disk's reserve was reached at the last append.
    pub(super) full: bool,
    /// Let go last, when the database is closed.
    pub(super) _folder: DirLock,
}

impl Writer {
    /// Works until the log is dropped.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let interval = retention::interval(self.options.retention);
        let mut removal_due = Clock::system().now().up;
        let mut reopen: Option<Reopen> = None;
        let mut paused = None;
        loop {
            // Also where a removal met the error: nothing else may come for a long time.
            if reopen.is_none() && !self.shared.is_open() {
                reopen = Some(Reopen::soon());
            }
            let now = Clock::system().now().up;
            let due = reopen.as_ref().map_or(removal_due, |reopen| reopen.due);
            match jobs.recv_timeout(due.saturating_duration_since(now)) {
                Ok(Job::Append { batch, reply }) => {
                    // Nobody may be waiting any more; the batch is durable nevertheless.
                    let _ = reply.send(self.append(&batch));
                }
                Ok(Job::Adopt { ancestry, reply }) => {
                    let _ = reply.send(self.adopt(&ancestry));
                }
                Ok(Job::Suspect { generation, reason }) if generation == self.generation && self.shared.is_open() => {
                    self.close(&reason);
                }
                Ok(Job::Suspect { .. }) => {}
                #[cfg(test)]
                Ok(Job::RemoveExpired { reply }) => {
                    while self.remove_expired(&mut paused) {}
                    let _ = reply.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            match (self.shared.is_open(), &mut reopen) {
                (true, _) => reopen = None,
                (false, None) => reopen = Some(Reopen::soon()),
                (false, Some(wait)) => {
                    if wait.due <= Clock::system().now().up && self.reopen().is_err() {
                        wait.later();
                    }
                }
            }
            if removal_due <= Clock::system().now().up {
                // One transaction at a time: what waits in the queue comes before the next one.
                if !self.remove_expired(&mut paused) {
                    removal_due = Clock::system().now().up + interval;
                }
            }
        }
        self.shared.shut();
    }

    fn append(&mut self, batch: &AppendBatch) -> Result<Head, LogError> {
        if batch.events.is_empty() && batch.dedup_entries.is_empty() && batch.feed_state.is_none() {
            return Ok(self.shared.status().head);
        }
        self.check_room()?;
        // While the disk fails the next opening is tried in its time, not once more for every append.
        if let DbState::Failing { reason } = self.shared.door() {
            return Err(LogError::Io(reason));
        }
        let started = Clock::system().now().up;
        let mut again = true;
        loop {
            let before = self.shared.status().head;
            if self.became_durable(batch, before) {
                return Ok(before);
            }
            match self.try_append(batch) {
                Ok(appended) => {
                    ::metrics::histogram!(metrics::APPEND_SECONDS)
                        .record((Clock::system().now().up - started).as_secs_f64());
                    ::metrics::counter!(metrics::APPENDED).increment(appended.records.len() as u64);
                    let head = appended.head;
                    self.shared.on_append(appended);
                    return Ok(head);
                }
                Err(StoreError::Rejected(reason)) => return Err(LogError::Rejected(reason)),
                Err(error) => {
                    self.in_doubt = Some((before, batch.clone()));
                    self.close(&error.to_string());
                    if !again {
                        return Err(LogError::Io(error.to_string()));
                    }
                    self.reopen().map_err(|error| LogError::Io(error.to_string()))?;
                    again = false;
                }
            }
        }
    }

    fn adopt(&mut self, ancestry: &Lineage) -> Result<Head, LogError> {
        self.check_room()?;
        let handle = match self.shared.door() {
            DbState::Open(handle) => handle,
            DbState::Failing { reason } => return Err(LogError::Io(reason)),
            DbState::Shut => return Err(LogError::Closed),
        };
        match open::caught(|| store::adopt(&handle.db, ancestry)) {
            Ok(stored) => {
                let head = stored.status.head;
                tracing::info!(log_id = %ancestry.id, head = head.offset.0, "log adopted the upstream's lineage");
                self.shared.adopted(stored);
                Ok(head)
            }
            Err(StoreError::Rejected(reason)) => Err(LogError::Rejected(reason)),
            Err(error) => {
                drop(handle);
                self.close(&error.to_string());
                Err(LogError::Io(error.to_string()))
            }
        }
    }

    /// Whether this batch is the one whose commit failed, and was on disk all the same when the database was opened again.
    fn became_durable(&mut self, batch: &AppendBatch, head: Head) -> bool {
        let doubt = self.in_doubt.take();
        doubt.is_some_and(|(before, doubtful)| before != head && doubtful == *batch)
    }

    /// Stops appends before the disk is full, and says so once.
    fn check_room(&mut self) -> Result<(), LogError> {
        let room = self.options.free_space.check(&self.path, self.options.reserve_bytes);
        match &room {
            Err(error) => {
                ::metrics::counter!(metrics::DISK_FULL).increment(1);
                if !self.full {
                    tracing::error!(%error, path = %self.path.display(), "log disk is almost full, appends are waiting");
                }
            }
            Ok(()) if self.full => tracing::info!("log disk has free space again, appends continue"),
            Ok(()) => {}
        }
        self.full = room.is_err();
        room
    }

    fn try_append(&self, batch: &AppendBatch) -> Result<Appended, StoreError> {
        match self.shared.door() {
            DbState::Open(handle) => open::caught(|| store::append(&handle.db, batch)),
            DbState::Failing { reason } => Err(StoreError::Unavailable(reason)),
            DbState::Shut => Err(StoreError::Unavailable("the log is closed".into())),
        }
    }

    /// Removes one transaction's worth of what may go. True = there may be more.
    fn remove_expired(&mut self, paused: &mut Option<PauseReason>) -> bool {
        let cutoff_ms = match self.guard.check(self.options.clock.now()) {
            RetentionDecision::RemoveBefore(cutoff_ms) => {
                if paused.take().is_some() {
                    tracing::info!("clock is trusted again, retention continues");
                }
                cutoff_ms
            }
            RetentionDecision::Pause(why) => {
                if paused.is_none() {
                    tracing::warn!(reason = %why, "clock is not trusted, retention is paused");
                }
                *paused = Some(why);
                ::metrics::gauge!(metrics::RETENTION_PAUSED).set(1.0);
                return false;
            }
        };
        ::metrics::gauge!(metrics::RETENTION_PAUSED).set(0.0);
        let DbState::Open(handle) = self.shared.door() else {
            return false;
        };
        // A removal writes little; but on a disk that is nearly full even that must not meet its end.
        let needed = self.options.reserve_bytes / 4;
        if self.options.free_space.check(&self.path, needed).is_err() {
            return false;
        }
        let removed = open::caught(|| {
            let Some(removal) = store::plan_removal(&handle.db, cutoff_ms, MAX_REMOVAL_BATCH)? else {
                return Ok(0);
            };
            // Before the records go, so that a reader that finds them missing finds the reason as well.
            self.shared.trimming(&removal);
            let killmails = store::remove(&handle.db, &removal)?;
            self.shared.trimmed(killmails);
            Ok(removal.records())
        });
        match removed {
            Ok(removed) => {
                ::metrics::counter!(metrics::REMOVED).increment(removed as u64);
                removed == MAX_REMOVAL_BATCH
            }
            Err(error) => {
                drop(handle);
                self.close(&error.to_string());
                false
            }
        }
    }

    /// Takes the database away from everybody. The last reader that still holds it closes it.
    fn close(&mut self, reason: &str) {
        tracing::error!(reason, path = %self.path.display(), "log disk failed, appends wait for a reopen");
        self.shared.failing(reason);
    }

    fn reopen(&mut self) -> Result<(), open::LogOpenError> {
        match open::open_file(&self.path, self.options.cache_bytes) {
            Ok((db, stored)) => {
                self.generation += 1;
                ::metrics::counter!(metrics::REOPENED).increment(1);
                tracing::warn!(path = %self.path.display(), head = stored.status.head.offset.0, "log reopened");
                self.shared.reopened(db, self.generation, &stored);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "reopening the log failed, trying again");
                self.shared.failing(&error.to_string());
                Err(error)
            }
        }
    }
}

/// When to try to open the database again.
#[derive(Debug)]
struct Reopen {
    due: Uptime,
    backoff: Backoff,
}

impl Reopen {
    fn soon() -> Self {
        Self {
            due: Clock::system().now().up + INITIAL_BACKOFF,
            backoff: Backoff::new(INITIAL_BACKOFF * 2, MAX_BACKOFF),
        }
    }

    fn later(&mut self) {
        self.due = Clock::system().now().up + self.backoff.next_delay();
    }
}
