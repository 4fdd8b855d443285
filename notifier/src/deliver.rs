//! Delivery: one worker per destination that something waits for, so that none delays another. Decisions are pure
//! (`plan`, `outcome`); the worker only carries them out.

mod outcome;
mod plan;
mod nonce;
mod worker;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use killfeed_service::clock::Clock;
use killfeed_service::trace::Traces;
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    database::StorageError,
    metrics,
    outbox::Outbox,
    sink::{Destination, Sink},
    subscriptions::Subscriptions,
};

pub use plan::Limits;

/// Messages on their way at once, over all destinations.
const SEND_CONCURRENCY: usize = 32;
/// Hints that a destination may take posts again; more than this at once are dropped, the probes come anyway.
const PROBE_CAPACITY: usize = 256;

/// Why delivery ends the process.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Nothing will ever be posted with this token.
    #[error(
        "discord rejected the bot's token (401): set a valid one in NOTIFIER_DISCORD_TOKEN; nothing is lost, queued killmails are delivered after a restart"
    )]
    Unauthorized,
    /// A worker panicked.
    #[error("a delivery worker panicked: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

/// Everything that workers share.
pub(crate) struct DeliveryContext {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) limits: Limits,
    pub(crate) probe_interval: Duration,
    pub(crate) clock: Clock,
    pub(crate) permits: Semaphore,
    pub(crate) traces: Traces,
}

/// Delivers what is in the outbox.
pub struct Deliver {
    shared: Arc<DeliveryContext>,
    hints: mpsc::Receiver<Destination>,
    hint: mpsc::Sender<Destination>,
}

/// Wakes a worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerSignals {
    /// Something waits.
    pub(crate) work: Notify,
    /// A suspended destination may take posts again.
    pub(crate) probe: Notify,
}

/// Says that destinations may take posts again, for whoever sees permissions change.
#[derive(Debug, Clone)]
pub struct ProbeHandle(mpsc::Sender<Destination>);

impl ProbeHandle {
    /// Has the destination tried at once, if it is suspended.
    pub fn try_now(&self, destination: Destination) {
        if self.0.try_send(destination).is_err() {
            tracing::debug!("too many probe requests, the next regular probe follows");
        }
    }
}

impl Deliver {
    /// From `outbox` to `sink`.
    pub fn new(
        outbox: Arc<Outbox>,
        subscriptions: Arc<Subscriptions>,
        sink: Arc<dyn Sink>,
        limits: Limits,
        probe_interval: Duration,
        clock: Clock,
        traces: Traces,
    ) -> Self {
        let (hint, hints) = mpsc::channel(PROBE_CAPACITY);
        let shared = DeliveryContext {
            outbox,
            subscriptions,
            sink,
            limits,
            probe_interval,
            clock,
            permits: Semaphore::new(SEND_CONCURRENCY),
            traces,
        };
        Self {
            shared: Arc::new(shared),
            hints,
            hint,
        }
    }

    /// For whoever sees permissions change.
    pub fn prober(&self) -> ProbeHandle {
        ProbeHandle(self.hint.clone())
    }

    /// Delivers until `shutdown`, then lets every message on its way end. Dropping the future leaves their outcomes unknown,
    /// which the next start clears up.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), DeliverError> {
        let mut workers = JoinSet::new();
        let mut wakes: HashMap<Destination, Arc<WorkerSignals>> = HashMap::new();
        self.shared.outbox.touch(self.shared.outbox.destinations()?);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = workers.join_next() => {
                    let (destination, result): (Destination, Result<(), DeliverError>) = ended?;
                    wakes.remove(&destination);
                    result?;
                    // It may have ended right when something came.
                    if self.shared.outbox.head(&destination, 1)?.waiting > 0 {
                        self.shared.outbox.touch([destination]);
                    }
                }
                touched = self.shared.outbox.touched() => {
                    for destination in touched {
                        match wakes.entry(destination) {
                            Entry::Occupied(wake) => wake.get().work.notify_one(),
                            Entry::Vacant(free) => {
                                let destination = free.key().clone();
                                let wake = Arc::clone(free.insert(Arc::default()));
                                let worker = worker::Worker::new(self.shared.clone(), destination.clone(), wake);
                                let shutdown = shutdown.clone();
                                workers.spawn(async move { (destination, worker.run(shutdown).await) });
                            }
                        }
                    }
                }
                Some(destination) = self.hints.recv() => {
                    if let Some(wake) = wakes.get(&destination) {
                        wake.probe.notify_one();
                    }
                }
            }
            metrics::workers(workers.len());
        }
        while let Some(ended) = workers.join_next().await {
            ended?.1?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
