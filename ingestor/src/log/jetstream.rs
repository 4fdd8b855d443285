//! The log in NATS JetStream, shared by several ingestors: all of them serve streams from it, one of them asks zKillboard and writes.
//!
//! What stands where: [`layout`]. Reading: [`tail`] follows the stream into [`view`], [`fetch`] gets what is older. Writing: [`election`] has
//! the lease, [`leadership`] takes and gives turns, [`writer`] writes as long as one lasts.

mod auth;
mod cas;
mod client;
mod error;
mod fetch;
mod identity;
mod index;
mod layout;
mod leadership;
mod lease;
mod dedup;
mod election;
mod publish;
mod tail;
mod writer;
mod view;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::stream::Stream;
use async_trait::async_trait;
use killfeed::{
    cursor::{Cursor, LogId, Offset},
    id::KillmailId,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    CursorStatus, Head, LogError, LogRead, LogStatus, ReadLimit, Record,
    open::{DirLock, LogOpenError, random_id},
    window::{self, Window},
};
use cas::CasRegister;
use client::{Bounds, JetStreamClient, KvBucket};
pub use error::JetStreamError;
use error::OperationError;
pub use leadership::{Leadership, LeadershipWatch};
use view::LogView;

/// How long a read waits for servers that are away. Below the 15 s after which a stream owes its client a Progress.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries of a read.
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// Records read at the start to fill the window.
const WARMUP_RECORDS: u64 = 2_000;

/// How to open a shared log.
#[derive(Debug, Clone)]
pub struct JetStreamOptions {
    /// `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// File of credentials.
    pub creds_file: Option<PathBuf>,
    /// PEM file of the servers' CA; asks for TLS.
    pub ca: Option<PathBuf>,
    /// The stream's name.
    pub stream: String,
    /// Servers that hold a copy.
    pub replicas: usize,
    /// How long records are kept; an hour at least.
    pub retention: Duration,
    /// Memory for the newest records, decoded forms included.
    pub window_bytes: usize,
    /// The folder of what this process alone has; no other may have it too.
    pub data_dir: PathBuf,
}

/// An open log. Dropping it ends its task.
#[derive(Debug)]
pub struct JetStreamLog {
    shared: Arc<JetStreamState>,
    position: CasRegister,
    lease: CasRegister,
    /// A random number of this process.
    holder: String,
    heard: watch::Sender<Option<String>>,
    hindered: watch::Sender<Option<String>>,
    tail: JoinHandle<()>,
    _folder: DirLock,
}

/// What reading and writing share.
#[derive(Debug)]
struct JetStreamState {
    engine: JetStreamClient,
    stream: Stream,
    marks: KvBucket,
    /// When the stream was made.
    created: String,
    view: LogView,
    /// The stream has reached this; if it is shorter, it lost records.
    reached: AtomicU64,
    trouble: watch::Sender<Option<String>>,
    lost: watch::Sender<Option<JetStreamError>>,
}

impl JetStreamState {
    /// The log's bounds as its leader knows them, noted; named if this is not the log any more.
    async fn bounds(&self) -> Result<Bounds, OperationError> {
        let names = &self.engine.names;
        let Some(bounds) = self.engine.bounds(&self.stream).await? else {
            return Err(OperationError::Fatal(JetStreamError::Missing {
                stream: names.stream.clone(),
                marks: names.marks(),
                position: names.position(),
                poller: names.poller(),
                log_id: self.view.id.to_string(),
            }));
        };
        identity::check_created(&names.stream, &self.view.id.to_string(), &bounds.created, &self.created)?;
        let expected = self
            .reached
            .load(Ordering::Relaxed)
            .max(self.view.status().head.offset.0);
        if bounds.last < expected {
            return Err(OperationError::Fatal(JetStreamError::Truncated {
                stream: names.stream.clone(),
                found: bounds.last,
                expected,
            }));
        }
        self.view.trim(bounds.trimmed());
        Ok(bounds)
    }

    fn must_reach(&self, offset: Offset) {
        self.reached.fetch_max(offset.0, Ordering::Relaxed);
    }

    async fn newest_at(&self, id: KillmailId, head: Offset) -> Result<Option<Arc<Record>>, OperationError> {
        match self.view.newest_at(id, head) {
            Some(offset) => fetch::record(self, offset.0).await,
            None => Ok(None),
        }
    }

    /// Says what does not work, or that all does.
    fn trouble(&self, trouble: Option<String>) {
        self.trouble.send_if_modified(|current| {
            match (&current, &trouble) {
                (None, Some(reason)) => tracing::error!(reason, "shared log unavailable, streams are waiting"),
                (Some(_), None) => tracing::info!("shared log is available again"),
                _ => {}
            }
            let changed = *current != trouble;
            *current = trouble;
            changed
        });
    }

    fn give_up(&self, error: JetStreamError) {
        self.lost.send_replace(Some(error));
    }
}

/// Waits some time for servers that are away.
struct Patience(Instant);

impl Patience {
    fn start() -> Self {
        Self(Instant::now() + READ_TIMEOUT)
    }

    /// Waits before the next try, unless there is none.
    async fn after(&self, trouble: OperationError) -> Result<(), LogError> {
        match trouble {
            OperationError::Unavailable(_) if Instant::now() < self.0 => {
                sleep(RETRY_DELAY).await;
                Ok(())
            }
            trouble => Err(trouble.into()),
        }
    }
}

/// Why a shared log did not open.
#[derive(Debug, thiserror::Error)]
pub enum SharedOpenError {
    /// The data folder.
    #[error("{0}")]
    Folder(#[from] LogOpenError),
    /// JetStream.
    #[error("{0}")]
    JetStream(#[from] JetStreamError),
}

impl SharedOpenError {
    /// Whether trying again without a change is pointless (exit code 78).
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::JetStream(error) => error.is_configuration(),
        }
    }
}

impl JetStreamLog {
    /// Connects, finds the log or begins it, and reads what is in it. Waits half a minute for servers that start themselves.
    pub async fn open(options: JetStreamOptions) -> Result<Self, SharedOpenError> {
        // On the heap: the library's requests are large, and this runs once.
        Box::pin(Self::find(options)).await
    }

    async fn find(options: JetStreamOptions) -> Result<Self, SharedOpenError> {
        let folder = DirLock::make(&options.data_dir)?;
        let engine = JetStreamClient::connect(&options).await?;
        let patience = engine.patience();
        let buckets = loop {
            match Buckets::open(&engine, options.replicas).await {
                Ok(buckets) => break buckets,
                Err(trouble) => patience.after("opening the buckets", trouble).await?,
            }
        };
        let found = loop {
            match identity::find(&engine, &buckets.marks, &options).await {
                Ok(found) => break found,
                Err(trouble) => patience.after("reading the log's id", trouble).await?,
            }
        };
        let (view, last) = loop {
            match check(&engine, &found, options.window_bytes).await {
                Ok(known) => break known,
                Err(trouble) => patience.after("reading the log's records", trouble).await?,
            }
        };
        let shared = Arc::new(JetStreamState {
            stream: found.stream,
            marks: buckets.marks,
            created: found.created,
            view,
            reached: AtomicU64::new(0),
            trouble: watch::Sender::new(None),
            lost: watch::Sender::new(None),
            engine,
        });
        fill(&shared, last, options.window_bytes).await?;
        let tail = tokio::spawn(tail::follow(shared.clone()));
        Ok(Self {
            position: CasRegister::new(&shared.engine, &buckets.position, "feed"),
            lease: CasRegister::new(&shared.engine, &buckets.poller, "lease"),
            holder: random_id().to_string(),
            heard: watch::Sender::new(None),
            hindered: watch::Sender::new(None),
            tail,
            shared,
            _folder: folder,
        })
    }

    /// Why the log is out of reach, while it is.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.shared.trouble.subscribe()
    }

    /// Waits until the log can never be used again: its stream was deleted or replaced, or lost records.
    pub async fn lost(&self) -> JetStreamError {
        let mut lost = self.shared.lost.subscribe();
        loop {
            if let Some(error) = lost.borrow_and_update().clone() {
                return error;
            }
            if lost.changed().await.is_err() {
                // The sender is ours: it cannot go before.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for JetStreamLog {
    fn drop(&mut self) {
        self.tail.abort();
    }
}

#[async_trait]
impl LogRead for JetStreamLog {
    fn id(&self) -> LogId {
        self.shared.view.id
    }

    fn locate(&self, cursor: Cursor) -> CursorStatus {
        self.shared.view.place(cursor)
    }

    async fn read(&self, after: Offset, limit: ReadLimit) -> Result<Vec<Arc<Record>>, LogError> {
        if let Some(recent) = self.shared.view.recent(after, limit) {
            return Ok(recent);
        }
        let head = self.shared.view.status().head.offset;
        let patience = Patience::start();
        loop {
            match fetch::range(&self.shared, after, head, limit).await {
                Ok(records) => return Ok(records),
                Err(trouble) => patience.after(trouble).await?,
            }
        }
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.shared.view.head()
    }

    fn status(&self) -> LogStatus {
        self.shared.view.status()
    }

    async fn seek(&self, since_ms: i64) -> Result<Offset, LogError> {
        Ok(self.shared.view.seek(since_ms))
    }

    async fn newest(&self, id: KillmailId) -> Result<Option<Arc<Record>>, LogError> {
        self.newest_at(id, self.shared.view.status().head.offset).await
    }

    async fn newest_at(&self, id: KillmailId, head: Offset) -> Result<Option<Arc<Record>>, LogError> {
        let patience = Patience::start();
        loop {
            match self.shared.newest_at(id, head).await {
                Ok(record) => return Ok(record),
                Err(trouble) => patience.after(trouble).await?,
            }
        }
    }
}

/// The three buckets.
struct Buckets {
    marks: KvBucket,
    position: KvBucket,
    poller: KvBucket,
}

impl Buckets {
    async fn open(engine: &JetStreamClient, replicas: usize) -> Result<Self, OperationError> {
        let names = &engine.names;
        Ok(Self {
            marks: engine.bucket(&names.marks(), replicas).await?,
            position: engine.bucket(&names.position(), replicas).await?,
            poller: engine.bucket(&names.poller(), replicas).await?,
        })
    }
}

/// What the log holds now, and where it ends.
async fn check(
    engine: &JetStreamClient,
    found: &identity::FoundLog,
    window_bytes: usize,
) -> Result<(LogView, u64), OperationError> {
    let gone = || OperationError::Unavailable("the stream was not found".into());
    let bounds = engine.bounds(&found.stream).await?.ok_or_else(gone)?;
    let (index, head) = tail::index(engine, &found.stream, &bounds).await?;
    let window = Window::new(head.offset, window_bytes);
    Ok((
        LogView::new(found.id, head, bounds.trimmed(), index, window),
        bounds.last,
    ))
}

/// The newest records up to `last`, as many as have room, so that clients that come back after a restart find them in memory.
async fn fill(shared: &JetStreamState, last: u64, window_bytes: usize) -> Result<(), JetStreamError> {
    let room = ReadLimit {
        records: usize::MAX,
        bytes: window_bytes / window::MEMORY_PER_BYTE,
    };
    let patience = shared.engine.patience();
    let mut floor = Offset(last.saturating_sub(WARMUP_RECORDS)).max(shared.view.status().trimmed);
    while floor.0 < last {
        let newest = match fetch::range(shared, floor, Offset(last), room).await {
            Ok(newest) => newest,
            Err(trouble) => {
                patience.after("reading the newest records", trouble).await?;
                continue;
            }
        };
        if newest.last().is_some_and(|newest| newest.offset.0 == last) {
            shared.view.remember(floor, newest);
            break;
        }
        // There was no room for so many.
        floor = Offset(floor.0 + (last - floor.0).div_ceil(2));
    }
    Ok(())
}
