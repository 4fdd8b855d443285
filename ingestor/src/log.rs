//! The durable log of killmails: what it holds, and what an engine has to offer.
//!
//! Offsets strictly increase and may have holes; readers scan ranges. Nothing is read that a crash could take back.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use killfeed::{
    cursor::{Cursor, LogId, Offset},
    id::{ContentHash, KillmailId},
    v1,
};
use prost::Message as _;
use tokio::sync::watch;

mod free_space;
mod embedded;
#[cfg(test)]
mod faults;
mod format;
#[cfg(feature = "jetstream")]
mod jetstream;
mod migrate;
pub mod metrics;
mod open;
mod overlay;
mod retention;
mod state;
mod store;
mod window;
mod writer;

pub use embedded::EmbeddedLog;
pub use free_space::FreeSpace;
#[cfg(feature = "jetstream")]
pub use jetstream::{JetStreamError, JetStreamLog, JetStreamOptions, Leadership, LeadershipWatch, SharedOpenError};
pub use open::{FILE_NAME, LogMode, LogOpenError, Options, new_log_id};
pub(crate) use window::memory;

/// One record, shared by all who read it.
#[derive(Debug)]
pub struct Record {
    /// Its place.
    pub offset: Offset,
    /// When it was appended, in milliseconds since 1970. Never decreases in log order.
    pub ingested_ms: i64,
    /// What it is.
    pub kind: RecordKind,
    /// The encoded `killfeed.v1.Killmail` or `killfeed.v1.Gap`.
    pub bytes: Bytes,
    /// Boxed because most records are sent as they are and never looked into.
    decoded: OnceLock<Option<Box<v1::Killmail>>>,
}

impl Record {
    /// A record that nobody has looked into yet.
    pub fn new(offset: Offset, ingested_ms: i64, kind: RecordKind, bytes: Bytes) -> Self {
        Self {
            offset,
            ingested_ms,
            kind,
            bytes,
            decoded: OnceLock::new(),
        }
    }

    /// The killmail, decoded by whoever asks first and then shared by all filtered streams; `None` for a gap.
    pub fn killmail(&self) -> Option<&v1::Killmail> {
        let RecordKind::Killmail { id, .. } = self.kind else {
            return None;
        };
        self.decoded
            .get_or_init(|| {
                v1::Killmail::decode(self.bytes.clone())
                    .inspect_err(|error| {
                        // Only bytes that were no killmail when they were appended come here: what is read from disk
                        // has proved its checksum.
                        tracing::error!(offset = self.offset.0, killmail = id.0, %error, "log record is not a killmail");
                    })
                    .ok()
                    .map(Box::new)
            })
            .as_deref()
    }
}

/// Whether somebody has looked into a record is not part of what it is.
impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        (self.offset, self.ingested_ms, self.kind, &self.bytes)
            == (other.offset, other.ingested_ms, other.kind, &other.bytes)
    }
}

impl Eq for Record {}

/// What a record is: known without decoding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A killmail in one revision.
    Killmail {
        /// Which.
        id: KillmailId,
        /// Which revision of it.
        revision: u32,
    },
    /// Documents are missing here.
    Gap,
}

/// What is remembered of a killmail for good, also when its records are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupEntry {
    /// Its newest revision.
    pub revision: u32,
    /// What that revision said; `None` = it came without zkb (history, archives), so the first full document is news.
    pub hash: Option<ContentHash>,
}

/// Everything that becomes durable together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppendBatch {
    /// In log order.
    pub events: Vec<NewEvent>,
    /// Marks that change without an event (a hash of an older version written anew).
    pub dedup_entries: Vec<(KillmailId, DedupEntry)>,
    /// The feed's new state; `None` = unchanged.
    pub feed_state: Option<Bytes>,
}

/// One event to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Where; `None` = next. A relay keeps its upstream's offsets. Must be above the head.
    pub offset: Option<Offset>,
    /// Milliseconds since 1970, not below that of the record before (see [`Head::stamp`]). The log does not raise it, because
    /// the encoded event says the same time in its `ingested_time`: a batch that goes back is refused.
    pub ingested_ms: i64,
    /// What.
    pub body: NewBody,
}

/// What to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewBody {
    /// A killmail; the mark is moved with it.
    Killmail {
        /// Which.
        id: KillmailId,
        /// Which revision.
        revision: u32,
        /// For its mark.
        hash: Option<ContentHash>,
        /// The encoded `killfeed.v1.Killmail`.
        bytes: Bytes,
    },
    /// An encoded `killfeed.v1.Gap`.
    Gap(Bytes),
}

/// Where the log ends: the newest durable record. `Offset(0)` and time 0 while it is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The newest record.
    pub offset: Offset,
    /// When it was appended.
    pub ingested_ms: i64,
}

impl Head {
    /// The `ingested_time` for an event appended next when the clock shows `now_ms`: never below the newest record's, even if
    /// the clock was set back. Only the pipeline appends, so the head cannot move between this and the append.
    pub fn stamp(self, now_ms: i64) -> i64 {
        now_ms.max(self.ingested_ms)
    }
}

/// Whose history a log holds. A relay takes it over from the ingestor that it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// The log's own id.
    pub id: LogId,
    /// Oldest first: the ids before, each with the last offset it gave out.
    pub ancestors: Vec<(LogId, Offset)>,
    /// Where it begins: up to here its records are gone.
    pub trimmed: Offset,
}

/// The log's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStatus {
    /// Reading after this offset delivers the oldest record kept; below it records are gone.
    pub trimmed: Offset,
    /// When the oldest record kept was appended; `None` = the log is empty.
    pub earliest_ms: Option<i64>,
    /// The newest record.
    pub head: Head,
    /// Distinct killmail ids in the log now.
    pub killmails: u64,
}

/// How much to read at once: whichever is reached first, but at least one record.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Records.
    pub records: usize,
    /// Bytes of their `bytes`.
    pub bytes: usize,
}

/// What a cursor means to this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorStatus {
    /// Read on after this offset.
    After(Offset),
    /// Records after it are gone already; the log now begins after `trimmed`.
    Expired {
        /// As in [`LogStatus::trimmed`].
        trimmed: Offset,
    },
    /// Ahead of the head: another replica is further, or this log lost its end.
    Ahead,
    /// Of a log that is not in this one's lineage (or above where this one branched off).
    Unrelated,
}

/// Why the log could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Less than the reserve is free: appends wait, reads go on.
    #[error(
        "the log's disk is almost full: {free} bytes are free, but {reserve} are kept in reserve; free some space, or shorten INGESTOR_RETENTION"
    )]
    DiskFull {
        /// Bytes free.
        free: u64,
        /// Bytes kept in reserve.
        reserve: u64,
    },
    /// The disk failed; the log reopens itself with backoff. After an append it is not known whether the batch became durable:
    /// append the very same batch again, and the log notices if it did. A stream sends Progress and asks again.
    #[error("the log's disk failed: {0}")]
    Io(String),
    /// The servers that keep the log are out of reach, or have no leader. After an append it is not known whether the batch became
    /// durable: append the very same batch again.
    #[error("the shared log is unavailable: {0}")]
    Unavailable(String),
    /// The batch contradicts what the log holds; nothing of it was appended, and the same batch will be refused again.
    #[error("the log rejected a batch: {0}")]
    Rejected(String),
    /// Being closed.
    #[error("the log is closed")]
    Closed,
}

/// The reading half: for streams, lists and status.
#[async_trait]
pub trait LogRead: Send + Sync + 'static {
    /// Its identity.
    fn id(&self) -> LogId;
    /// The ids that its history bore before, oldest first, each with its last offset.
    fn ancestors(&self) -> Vec<(LogId, Offset)> {
        Vec::new()
    }
    /// What `cursor` means here.
    fn locate(&self, cursor: Cursor) -> CursorStatus;
    /// Records after `after`, oldest first; empty at the head. Recent ones come from memory, older ones from the engine,
    /// off the runtime. Reading below what is trimmed begins at the oldest record kept: [`LogRead::status`], asked AFTER the
    /// read, tells whether anything is missing before them (`trimmed` is raised before records go). While the disk fails this
    /// waits some seconds for it to come back before it answers [`LogError::Io`].
    async fn read(&self, after: Offset, limit: ReadLimit) -> Result<Vec<Arc<Record>>, LogError>;
    /// Says that the log grew. The value is the newest durable record.
    fn head(&self) -> watch::Receiver<Head>;
    /// Bounds and size.
    fn status(&self) -> LogStatus;
    /// The offset after which the first record appended at or after `since_ms` comes.
    async fn seek(&self, since_ms: i64) -> Result<Offset, LogError>;
    /// A killmail in its newest revision, if the log still holds it.
    async fn newest(&self, id: KillmailId) -> Result<Option<Arc<Record>>, LogError>;
    /// A killmail in the revision that was its newest when the log ended at `head`.
    async fn newest_at(&self, id: KillmailId, head: Offset) -> Result<Option<Arc<Record>>, LogError>;
}

/// The writing half: for the pipeline alone.
#[async_trait]
pub trait LogWrite: Send + Sync + 'static {
    /// What is remembered of these killmails, in the same order.
    async fn dedup_entries(&self, ids: &[KillmailId]) -> Result<Vec<Option<DedupEntry>>, LogError>;
    /// What the feed stored last; `None` = never.
    async fn feed_state(&self) -> Result<Option<Bytes>, LogError>;
    /// Makes all of it durable, or none; readers see it only then. Refused: an offset that is not above the head, a time
    /// before the newest record's, a revision that is not above the killmail's mark. Once begun it goes on also when the future
    /// is dropped.
    async fn append(&self, batch: AppendBatch) -> Result<Head, LogError>;
    /// What the killmail's newest record said, as long as the log holds it.
    async fn newest_record(&self, _id: KillmailId) -> Result<Option<Arc<Record>>, LogError> {
        Ok(None)
    }
    /// Continues another log's history under its id, before its records are appended at their offsets. Refused unless what this
    /// log holds is the beginning of that history, or nothing.
    async fn adopt(&self, _ancestry: Lineage) -> Result<Head, LogError> {
        Err(LogError::Rejected(
            "this log cannot adopt the lineage of another log".into(),
        ))
    }
}

#[cfg(test)]
mod tests;
