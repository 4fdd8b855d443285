//! A lane to ESI: one task that takes in what is wanted, asks for all of it together, and says when it is done. However many
//! want the same, it is asked for once; while the lane is full nothing more is taken.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// So many askers may stand in line; each brings the keys of one batch.
const QUEUE_CAPACITY: usize = 64;
/// So many keys are taken together; one asker may bring more.
const MAX_BATCH: usize = 1_000;

/// What a lane does. Failures are its own business: afterwards a key is in the cache or it is not.
pub(super) trait BatchJob<K>: Send + 'static {
    /// Asks for these, each once, ascending.
    fn run(&mut self, keys: Vec<K>) -> impl Future<Output = ()> + Send;
}

/// The asking end. Cheap to clone.
#[derive(Debug)]
pub(super) struct Batcher<K> {
    line: mpsc::Sender<BatchRequest<K>>,
    pending: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct BatchRequest<K> {
    keys: Vec<K>,
    done: oneshot::Sender<()>,
}

impl<K: Ord + Send + 'static> Batcher<K> {
    /// Starts the task; it ends with `shutdown`.
    pub(super) fn start(work: impl BatchJob<K>, shutdown: CancellationToken) -> Self {
        let (line, wants) = mpsc::channel(QUEUE_CAPACITY);
        let pending = Arc::new(AtomicUsize::new(0));
        let served = serve(wants, work, pending.clone());
        tokio::spawn(async move { shutdown.run_until_cancelled(served).await });
        Self { line, pending }
    }

    /// Asks for `keys`; the receiver ends when they were dealt with, one way or the other. `None`: nothing to do, or the lane
    /// is full and they are left for another time.
    pub(super) fn ask(&self, keys: Vec<K>) -> Option<oneshot::Receiver<()>> {
        if keys.is_empty() {
            return None;
        }
        let (done, answer) = oneshot::channel();
        let count = keys.len();
        self.pending.fetch_add(count, Ordering::Relaxed);
        if self.line.try_send(BatchRequest { keys, done }).is_err() {
            self.pending.fetch_sub(count, Ordering::Relaxed);
            return None;
        }
        Some(answer)
    }

    /// How many keys stand in line or are being asked for.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }
}

async fn serve<K: Ord>(
    mut wants: mpsc::Receiver<BatchRequest<K>>,
    mut work: impl BatchJob<K>,
    pending: Arc<AtomicUsize>,
) {
    while let Some(BatchRequest { mut keys, done }) = wants.recv().await {
        let mut all_done = vec![done];
        while keys.len() < MAX_BATCH
            && let Ok(want) = wants.try_recv()
        {
            keys.extend(want.keys);
            all_done.push(want.done);
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        work.run(keys).await;
        pending.fetch_sub(count, Ordering::Relaxed);
        for done in all_done {
            // Who no longer waits is not told.
            let _ = done.send(());
        }
    }
}
