//! The notifier's database: opens it, and knows its trees, keys and rows. What the trees mean is said in `rows`.
//!
//! sled answers a write before it is on disk. Whoever acknowledges something calls [`Database::flush`] first; a flush
//! that fails (a full disk shows only there) must end the process.

mod group_commit;
mod keys;
mod migrate;
pub mod transfer;
mod open;
mod rows;

use std::{fs::File, sync::Arc};

use group_commit::GroupCommit;
pub use keys::{
    BATCH_SEQUENCE, cooldown_key, counters_key, destination_key, id_key, post_key, queue_key, read_destination,
    read_id, read_sequence, subscription_key,
};
pub use open::{MovedAside, OpenedDatabase, open};
pub use rows::{
    BatchEntryRow, BatchKind, BatchRow, BattleKillmailRow, BattleRow, CompiledRow, CooldownRow, CountersRow,
    DailyPostsRow, HandledRow, KillOutcome, KillmailRow, MatchRow, PositionRow, PostRow, PostState, QueueRow,
    SubscriptionRow, SuspensionRow,
};
pub use transfer::CatchUpRow;

/// The version of everything in this database. A change of a key or of a row's meaning counts it up.
pub const SCHEMA: u32 = 1;

/// Keys of the tree `meta`.
pub mod meta {
    /// [`super::SCHEMA`], four bytes big-endian.
    pub const SCHEMA: &str = "schema";
    /// A [`super::PositionRow`].
    pub const POSITION: &str = "position";
    /// When the first position was written, by the ingestor's clock: killmails that were in the log before it never came. Milliseconds,
    /// eight bytes big-endian.
    pub const BEGAN: &str = "began";
    /// The next local sequence (of queue rows and batches), eight bytes big-endian.
    pub const NEXT_SEQUENCE: &str = "next_sequence";
    /// The next subscription id, eight bytes big-endian.
    pub const NEXT_SUBSCRIPTION: &str = "next_subscription";
    /// There, while NOTIFIER_SKIP_BACKLOG=true has had its effect: it acts once.
    pub const BACKLOG_SKIPPED: &str = "backlog_skipped";
    /// Followed by a destination and a system's id: a [`super::BattleRow`].
    pub const BATTLE: &str = "battle:";
    /// Followed by a guild's id: a [`super::DailyPostsRow`].
    pub const POSTS: &str = "posts:";
    /// Followed by a guild's id: since when the bot is not in it, eight bytes big-endian.
    pub const GONE: &str = "gone:";
    /// Followed by a subscription's id: a [`super::CountersRow`].
    pub const COUNTERS: &str = "counters:";
    /// Followed by a number: a [`super::CatchUpRow`].
    pub const CATCH_UP: &str = "catch_up:";
}

/// The seven trees.
#[derive(Debug)]
pub struct Database {
    db: sled::Db,
    flushes: Arc<GroupCommit>,
    /// (guild, name) → [`SubscriptionRow`].
    pub subscriptions: sled::Tree,
    /// (destination, local sequence) → [`QueueRow`]; sequence 0 → the sealed [`BatchRow`].
    pub queue: sled::Tree,
    /// (destination, killmail id) → [`PostRow`].
    pub posts: sled::Tree,
    /// killmail id → [`KillmailRow`].
    pub killmails: sled::Tree,
    /// killmail id → [`HandledRow`].
    pub handled: sled::Tree,
    /// (destination, ping target) → [`CooldownRow`].
    pub cooldowns: sled::Tree,
    /// See [`meta`].
    pub meta: sled::Tree,
    /// Held as long as the database is open; the system frees it however the process ends.
    _lock: File,
}

impl Database {
    /// Waits until everything written so far is on disk.
    pub async fn flush(&self) -> Result<(), StorageError> {
        self.flushes.flush(&self.db).await
    }

    /// The same where nothing else waits.
    pub(crate) fn flush_now(&self) -> Result<(), StorageError> {
        self.db.flush().map(drop).map_err(StorageError::Flush)
    }
}

/// What is wrong with the data folder, or with a write to it.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process has it.
    #[error(
        "the data folder {path} is in use by another killfeed-notifier: each process needs its own; stop that one or set NOTIFIER_DATA_DIR"
    )]
    Locked {
        /// The data folder.
        path: String,
    },
    /// Written by a later version.
    #[error(
        "the data folder {path} has schema {found}, but this version knows only {SCHEMA}; use the killfeed-notifier that wrote it, or a later one; nothing was changed"
    )]
    Newer {
        /// The data folder.
        path: String,
        /// Its schema.
        found: u32,
    },
    /// Written by an earlier version, and could not be brought to this one's.
    #[error(
        "the data folder {path} could not be migrated from schema {found} to {SCHEMA}: {reason}; to go back, replace its folder sled with {copy}, which is a copy from before, and start the killfeed-notifier that wrote it"
    )]
    Migration {
        /// The data folder.
        path: String,
        /// Its schema.
        found: u32,
        /// What went wrong.
        reason: String,
        /// Where the copy is.
        copy: String,
    },
    /// Cannot be opened.
    #[error("the data folder {path} cannot be opened: {reason}; expected a folder this user can write to")]
    Open {
        /// The data folder.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// Nothing after this can be trusted to be on disk.
    #[error(
        "cannot write to the data folder: {0}; check that its disk is not full; unacknowledged work is repeated after a restart"
    )]
    Flush(#[source] sled::Error),
    /// A flush, or a long look, did not come to its end.
    #[error("a database operation was interrupted: {0}")]
    Interrupted(String),
    /// A read or write failed.
    #[error("the database failed: {0}")]
    Sled(#[from] sled::Error),
    /// A row that is not what it must be.
    #[error("a row of the tree {tree} cannot be read: {reason}; the database is corrupt, move the data folder aside")]
    Row {
        /// Which tree.
        tree: &'static str,
        /// What the decoder says.
        reason: String,
    },
}

impl StorageError {
    /// Whether the data folder itself is at fault, so that a restart changes nothing (exit code 78).
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Locked { .. } | Self::Newer { .. } | Self::Migration { .. } | Self::Open { .. }
        )
    }
}

impl From<sled::transaction::TransactionError<StorageError>> for StorageError {
    fn from(error: sled::transaction::TransactionError<StorageError>) -> Self {
        match error {
            sled::transaction::TransactionError::Abort(error) => error,
            sled::transaction::TransactionError::Storage(error) => Self::Sled(error),
        }
    }
}

/// Reads a row.
pub fn decode<R: prost::Message + Default>(tree: &'static str, bytes: &[u8]) -> Result<R, StorageError> {
    R::decode(bytes).map_err(|error| StorageError::Row {
        tree,
        reason: error.to_string(),
    })
}

/// Reads a number of `meta`; `None` = not there yet.
pub fn decode_number(bytes: Option<&[u8]>) -> Result<Option<u64>, StorageError> {
    let read = |bytes: &[u8]| {
        bytes.try_into().map(u64::from_be_bytes).map_err(|_| StorageError::Row {
            tree: "meta",
            reason: format!("expected 8 bytes, found {}", bytes.len()),
        })
    };
    bytes.map(read).transpose()
}
