//! Flushes of the database: one at a time, each for everybody who asked before it began. Hundreds of channels wait for the disk at
//! once on a busy evening, and one write of it is as good for all of them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::StorageError;

#[derive(Debug, Default)]
pub(super) struct Flushes {
    /// Whoever holds it flushes. What it guards is a turn and nothing else.
    turn: Mutex<()>,
    /// How many have begun.
    begun: AtomicU64,
    /// The last one that came to a good end.
    done: AtomicU64,
}

impl Flushes {
    /// Waits until everything written before this call is on disk.
    pub(super) async fn flush(&self, db: &sled::Db) -> Result<(), StorageError> {
        // One that has begun already may have missed what was written just now.
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        let _turn = self.turn.lock().await;
        if self.done.load(Ordering::SeqCst) >= wanted {
            return Ok(());
        }
        let this = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        // On the runtime's own threads for such waits, not on sled's: a test with paused time then knows that something runs.
        let db = db.clone();
        match tokio::task::spawn_blocking(move || db.flush()).await {
            Ok(flushed) => flushed.map_err(StorageError::Flush)?,
            Err(error) => return Err(StorageError::Interrupted(error.to_string())),
        };
        self.done.store(this, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_while_one_runs_shares_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::open(dir.path()).unwrap();
        let flushes = Flushes::default();
        let begun = || flushes.begun.load(Ordering::SeqCst);
        // The first of them begins one; all others ask after that, and one more is for all of them.
        let all = futures::future::join_all((0..100).map(|_| flushes.flush(&db))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(begun(), 2);
        // What is asked for later is not covered by what was.
        flushes.flush(&db).await.unwrap();
        flushes.flush(&db).await.unwrap();
        assert_eq!(begun(), 4);
    }

    #[tokio::test]
    async fn one_that_is_given_up_holds_up_nobody_and_counts_for_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::open(dir.path()).unwrap();
        let flushes = Flushes::default();
        // Polled once: it has begun.
        assert!(futures::FutureExt::now_or_never(flushes.flush(&db)).is_none());
        assert_eq!(flushes.begun.load(Ordering::SeqCst), 1);
        flushes.flush(&db).await.unwrap();
        assert_eq!(flushes.done.load(Ordering::SeqCst), 2);
    }
}
