//! The log in one redb file of the data folder.

use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use killfeed::{
    cursor::{Cursor, LogId, Offset},
    id::KillmailId,
};
use redb::Database;
use tokio::{
    sync::{Semaphore, oneshot, watch},
    task::spawn_blocking,
    time::Instant,
};

use super::{
    AppendBatch, CursorStatus, DedupEntry, Head, Lineage, LogError, LogRead, LogStatus, LogWrite, ReadLimit, Record,
    open::{self, LogOpenError, OpenedLog, Options},
    retention::ClockGuard,
    state::{DbState, Handle, LogState},
    store::{self, StoreError},
    window::{self, Window},
    writer::{Job, Writer},
};

/// Jobs that may wait for the writer. The pipeline appends one batch at a time; the rest is room for readers' complaints.
const QUEUE_CAPACITY: usize = 16;
const APPEND_CONCURRENCY: usize = 8;

/// Older reads that run at once: each takes a thread and up to a chunk of memory, and two cores gain nothing from more.
const READ_CONCURRENCY: usize = 8;

/// How long a call waits for a failed disk to come back. Below the 15 s after which a stream owes its client a Progress.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// An open log. Dropping it waits for the writer's last transaction and closes the file.
#[derive(Debug)]
pub struct EmbeddedLog {
    shared: Arc<LogState>,
    appends: Semaphore,
    reads: Arc<Semaphore>,
    /// `None` only while being dropped.
    jobs: Option<mpsc::SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl EmbeddedLog {
    /// Opens the log in `dir`, or begins one there. Blocks: takes as long as the file needs to be checked. When it fails,
    /// nothing that was in the folder has been changed.
    pub fn open(dir: &Path, options: Options) -> Result<Self, LogOpenError> {
        let OpenedLog {
            db,
            stored,
            path,
            folder,
        } = open::open(dir, &options)?;
        let window = fill(&db, &stored.status, options.window_bytes).map_err(|error| open::failed(&path, error))?;
        let head_ms = stored.status.earliest_ms.map(|_| stored.status.head.ingested_ms);
        let guard = ClockGuard::start(options.clock.now(), head_ms, options.retention);
        let shared = Arc::new(LogState::new(db, stored, window));
        let writer = Writer {
            shared: Arc::clone(&shared),
            path: path.clone(),
            options,
            guard,
            generation: 0,
            in_doubt: None,
            full: false,
            _folder: folder,
        };
        let (jobs, queue) = mpsc::sync_channel(QUEUE_CAPACITY);
        let writer = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run(&queue))
            .map_err(|source| open::io_error(&path, source))?;
        Ok(Self {
            shared,
            appends: Semaphore::new(APPEND_CONCURRENCY),
            reads: Arc::new(Semaphore::new(READ_CONCURRENCY)),
            jobs: Some(jobs),
            writer: Some(writer),
        })
    }

    /// Runs `work` off the runtime on the open database; while the disk fails, waits for the next one.
    async fn with_database<T, W>(&self, work: W) -> Result<T, LogError>
    where
        T: Send + 'static,
        W: Fn(&Database) -> Result<T, StoreError> + Clone + Send + 'static,
    {
        let deadline = Instant::now() + READ_TIMEOUT;
        let mut reason = None;
        // A second error in a database opened since then is the disk's, not the first failure's: three are enough.
        for _ in 0..3 {
            let handle = self.opened(deadline, reason.take()).await?;
            let generation = handle.generation;
            let work = work.clone();
            let permit = Arc::clone(&self.reads)
                .acquire_owned()
                .await
                .map_err(|_| LogError::Closed)?;
            let done = spawn_blocking(move || {
                let _permit = permit;
                open::caught(|| work(&handle.db))
            })
            .await;
            match done {
                Ok(Ok(value)) => return Ok(value),
                // Not the disk's doing, and the same in any other database.
                Ok(Err(error @ (StoreError::Damaged(_) | StoreError::Rejected(_)))) => {
                    return Err(LogError::Io(error.to_string()));
                }
                Ok(Err(error)) => {
                    self.suspect(generation, error.to_string());
                    reason = Some((generation, error.to_string()));
                }
                // The runtime is going down.
                Err(_) => return Err(LogError::Closed),
            }
        }
        Err(LogError::Io(
            reason.map_or_else(|| "repeated reads failed".into(), |(_, reason)| reason),
        ))
    }

    /// The database, once it is open in another generation than the one that failed.
    async fn opened(&self, deadline: Instant, failed: Option<(u64, String)>) -> Result<Arc<Handle>, LogError> {
        let (failed, mut why) = failed.map_or((None, String::new()), |(generation, why)| (Some(generation), why));
        let mut door = self.shared.watch_door();
        loop {
            match &*door.borrow_and_update() {
                DbState::Open(handle) if failed != Some(handle.generation) => return Ok(Arc::clone(handle)),
                DbState::Open(_) => {}
                DbState::Failing { reason } => why.clone_from(reason),
                DbState::Shut => return Err(LogError::Closed),
            }
            match tokio::time::timeout_at(deadline, door.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(LogError::Closed),
                Err(_) => return Err(LogError::Io(why)),
            }
        }
    }

    /// Tells the writer that a reader met an error.
    fn suspect(&self, generation: u64, reason: String) {
        if let Some(jobs) = &self.jobs {
            // A full queue holds somebody's complaint or an append, which will meet the error itself.
            let _ = jobs.try_send(Job::Suspect { generation, reason });
        }
    }

    fn send(&self, job: Job) -> Result<(), LogError> {
        let jobs = self.jobs.as_ref().ok_or(LogError::Closed)?;
        jobs.try_send(job).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => LogError::Io("too many calls are waiting".into()),
            mpsc::TrySendError::Disconnected(_) => LogError::Closed,
        })
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &LogState {
        &self.shared
    }

    /// Removes what may go now, without waiting for its time.
    #[cfg(test)]
    pub(super) async fn remove_expired(&self) {
        let (reply, done) = oneshot::channel();
        self.send(Job::RemoveExpired { reply }).unwrap();
        done.await.unwrap();
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        // The writer ends when nobody can ask it anything any more.
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("log writer panicked");
        }
    }
}

#[async_trait]
impl LogRead for EmbeddedLog {
    fn id(&self) -> LogId {
        self.shared.identity().id
    }

    fn ancestors(&self) -> Vec<(LogId, Offset)> {
        self.shared.identity().lineage.clone()
    }

    fn locate(&self, cursor: Cursor) -> CursorStatus {
        self.shared.place(cursor)
    }

    async fn read(&self, after: Offset, limit: ReadLimit) -> Result<Vec<Arc<Record>>, LogError> {
        if let Some(recent) = self.shared.recent(after, limit) {
            return Ok(recent);
        }
        // Only up to the head that is known: a commit becomes readable in redb a moment before it is told of, and a cursor
        // given out now must not be ahead of the head when it comes back.
        let head = self.shared.status().head.offset;
        self.with_database(move |db| store::read(db, after, head, limit)).await
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.shared.head()
    }

    fn status(&self) -> LogStatus {
        self.shared.status()
    }

    async fn seek(&self, since_ms: i64) -> Result<Offset, LogError> {
        if let Some(place) = self.shared.seek(since_ms) {
            return Ok(place);
        }
        let status = self.shared.status();
        self.with_database(move |db| store::seek(db, since_ms, &status)).await
    }

    async fn newest(&self, id: KillmailId) -> Result<Option<Arc<Record>>, LogError> {
        let head = self.shared.status().head.offset;
        self.newest_at(id, head).await
    }

    async fn newest_at(&self, id: KillmailId, head: Offset) -> Result<Option<Arc<Record>>, LogError> {
        self.with_database(move |db| store::newest(db, id, head)).await
    }
}

#[async_trait]
impl LogWrite for EmbeddedLog {
    async fn dedup_entries(&self, ids: &[KillmailId]) -> Result<Vec<Option<DedupEntry>>, LogError> {
        let ids: Arc<[KillmailId]> = ids.into();
        self.with_database(move |db| store::marks(db, &ids)).await
    }

    async fn feed_state(&self) -> Result<Option<Bytes>, LogError> {
        self.with_database(store::feed_state).await
    }

    async fn append(&self, batch: AppendBatch) -> Result<Head, LogError> {
        let _turn = self.appends.acquire().await.map_err(|_| LogError::Closed)?;
        let (reply, done) = oneshot::channel();
        self.send(Job::Append { batch, reply })?;
        done.await.map_err(|_| LogError::Closed)?
    }

    async fn newest_record(&self, id: KillmailId) -> Result<Option<Arc<Record>>, LogError> {
        self.newest(id).await
    }

    async fn adopt(&self, ancestry: Lineage) -> Result<Head, LogError> {
        let _turn = self.appends.acquire().await.map_err(|_| LogError::Closed)?;
        let (reply, done) = oneshot::channel();
        self.send(Job::Adopt { ancestry, reply })?;
        done.await.map_err(|_| LogError::Closed)?
    }
}

/// The newest records, as many as have room, so that clients that come back after a restart find them in memory.
fn fill(db: &Database, status: &LogStatus, budget: usize) -> Result<Window, StoreError> {
    let mut memory = 0;
    let (floor, newest) = open::caught(|| {
        store::newest_records(db, status.trimmed, |record| {
            memory += window::memory(record);
            memory <= budget
        })
    })?;
    Ok(Window::filled(floor, newest, budget))
}
