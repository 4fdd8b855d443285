//! Taking turns: one ingestor asks zKillboard and writes, for as long as its lease lasts.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    JetStreamLog,
    election::{Candidate, LeaseGuard},
    error::{JetStreamError, OperationError},
    lease,
    writer::LeaderWriter,
};
use crate::log::{Head, LogWrite};

impl JetStreamLog {
    /// Waits until this ingestor is the one that asks zKillboard, and may write. `note` is told to the others meanwhile. One at a time.
    pub async fn acquire(&self, note: watch::Receiver<String>) -> Leadership {
        loop {
            let mut poller = Candidate::new(self.lease.clone(), self.holder.clone(), self.heard.clone());
            let taken = Box::pin(poller.acquire(|trouble| self.hinder(trouble))).await;
            let left = CancellationToken::new();
            let guard = left.clone().drop_guard();
            let (right, note) = (taken.right.clone(), note.clone());
            let keeping = tokio::spawn(async move { poller.renew_until_lost(&taken, note, &left).await });
            let begun = tokio::select! {
                begun = Box::pin(LeaderWriter::start(self.shared.clone(), self.position.clone(), right.clone())) => begun,
                () = right.ended() => Err(OperationError::Unavailable("the lease was lost right after it was acquired".into())),
            };
            match begun {
                Ok((writer, head)) => {
                    self.hinder(None);
                    return Leadership {
                        writer: Arc::new(writer),
                        head,
                        right,
                        keeping,
                        guard,
                    };
                }
                Err(trouble) => {
                    release(guard, keeping).await;
                    self.hinder(Some(&trouble));
                    match trouble {
                        // Whether these are so is for the tail to say, which looks more than once.
                        OperationError::Unavailable(_)
                        | OperationError::Fatal(JetStreamError::Missing { .. } | JetStreamError::Truncated { .. }) => {}
                        OperationError::Fatal(error) => self.shared.give_up(error),
                    }
                    sleep(lease::CHECK_INTERVAL).await;
                }
            }
        }
    }

    /// What the one that asks zKillboard says, while that is another ingestor.
    pub fn leader_health(&self) -> watch::Receiver<Option<String>> {
        self.heard.subscribe()
    }

    /// Why this ingestor cannot see whose turn it is, or begin its own, while that is so.
    pub fn election_error(&self) -> watch::Receiver<Option<String>> {
        self.hindered.subscribe()
    }

    fn hinder(&self, trouble: Option<&OperationError>) {
        let reason = trouble.map(|trouble| self.shared.engine.explain(trouble.clone()).to_string());
        self.hindered.send_if_modified(|current| {
            let changed = *current != reason;
            if let (true, Some(reason)) = (changed, &reason) {
                tracing::warn!(reason, "acquiring the lease failed");
            }
            *current = reason;
            changed
        });
    }
}

/// This ingestor asks zKillboard and writes.
#[derive(Debug)]
pub struct Leadership {
    writer: Arc<LeaderWriter>,
    head: Head,
    right: Arc<LeaseGuard>,
    keeping: JoinHandle<()>,
    guard: DropGuard,
}

impl Leadership {
    /// The writing half.
    pub fn writer(&self) -> Arc<dyn LogWrite> {
        self.writer.clone()
    }

    /// Where the log ends.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Whether it lasts, at this very moment; asks no timer.
    pub fn lasts(&self) -> LeadershipWatch {
        LeadershipWatch(self.right.clone())
    }

    /// Lets the next one begin. To be called when nothing asks zKillboard any more.
    pub async fn release(self) {
        release(self.guard, self.keeping).await;
    }
}

async fn release(guard: DropGuard, keeping: JoinHandle<()>) {
    drop(guard);
    if let Err(error) = keeping.await {
        tracing::error!(%error, "the lease task failed");
    }
}

/// Whether a leadership lasts.
#[derive(Debug, Clone)]
pub struct LeadershipWatch(Arc<LeaseGuard>);

impl LeadershipWatch {
    /// By the clock: a process that was stopped for a while finds its timers late.
    pub fn now(&self) -> bool {
        self.0.holds()
    }

    /// Until it is over.
    pub async fn over(&self) {
        self.0.ended().await;
    }
}
