//! Flushes of the database: one at a time, each for everybody who asked before it began. Hundreds of channels wait for the disk at
//! once on a busy evening, and one write of it is as good for all of them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Mutex;

use super::StorageError;

#[derive(Debug, Default)]
pub(super) struct GroupCommit {
    /// Whoever holds it flushes. What it guards is a turn and nothing else.
    turn: Mutex<()>,
    /// How many have begun.
    begun: AtomicU64,
    /// The last one that came to a good end.
    done: AtomicU64,
}

impl GroupCommit {
    /// Waits until everything written before this call is on disk.
    pub(super) async fn flush(self: &Arc<Self>, db: &sled::Db) -> Result<(), StorageError> {
        // One that has begun already may have missed what was written just now.
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        let (flushes, db) = (self.clone(), db.clone());
        // A task of its own: whoever asks may not be polled for a while, and would keep the turn from everybody meanwhile.
        let flushed = tokio::spawn(async move { flushes.wait_for(wanted, &db).await }).await;
        flushed.unwrap_or_else(|error| Err(StorageError::Interrupted(error.to_string())))
    }

    async fn wait_for(&self, wanted: u64, db: &sled::Db) -> Result<(), StorageError> {
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
    async fn one_is_for_all_who_asked_before_it_began() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::open(dir.path()).unwrap();
        let flushes = Arc::new(GroupCommit::default());
        let begun = || flushes.begun.load(Ordering::SeqCst);
        let all = futures::future::join_all((0..100).map(|_| flushes.flush(&db))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(begun(), 1);
        // What is asked for later is not covered by what was.
        flushes.flush(&db).await.unwrap();
        flushes.flush(&db).await.unwrap();
        assert_eq!(begun(), 3);
    }

    /// As a command does that is deferred right then: its work is not polled until Discord has been told.
    #[tokio::test]
    async fn who_is_not_polled_any_more_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::open(dir.path()).unwrap();
        let flushes = Arc::new(GroupCommit::default());
        let mut idle = Box::pin(flushes.flush(&db));
        assert!(futures::poll!(&mut idle).is_pending());
        flushes.flush(&db).await.unwrap();
        flushes.flush(&db).await.unwrap();
        idle.await.unwrap();
    }
}
