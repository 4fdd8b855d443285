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
const LINE: usize = 64;
/// So many keys are taken together; one asker may bring more.
const TOGETHER: usize = 1_000;

/// What a lane does. Failures are its own business: afterwards a key is in the cache or it is not.
pub(super) trait Work<K>: Send + 'static {
    /// Asks for these, each once, ascending.
    fn run(&mut self, keys: Vec<K>) -> impl Future<Output = ()> + Send;
}

/// The asking end. Cheap to clone.
#[derive(Debug)]
pub(super) struct Lane<K> {
    line: mpsc::Sender<Want<K>>,
    pending: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Want<K> {
    keys: Vec<K>,
    done: oneshot::Sender<()>,
}

impl<K: Ord + Send + 'static> Lane<K> {
    /// Starts the task; it ends with `shutdown`.
    pub(super) fn start(work: impl Work<K>, shutdown: CancellationToken) -> Self {
        let (line, wants) = mpsc::channel(LINE);
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
        if self.line.try_send(Want { keys, done }).is_err() {
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

async fn serve<K: Ord>(mut wants: mpsc::Receiver<Want<K>>, mut work: impl Work<K>, pending: Arc<AtomicUsize>) {
    while let Some(Want { mut keys, done }) = wants.recv().await {
        let mut all_done = vec![done];
        while keys.len() < TOGETHER
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
