//! Guilds move from one notifier's data folder to another's, because the number of shards, or who runs them, has changed.
//! Both are stopped. Everything of the guilds travels: subscriptions and their counters, what waits, what became of killmails,
//! cooldowns, and the position up to which all of that is true.

mod export;
mod import;

use std::{collections::BTreeSet, io, path::Path};

use killfeed_service::clock::Clock;
use prost::Message as _;

use super::{
    BatchRow, CooldownRow, CountersRow, HandledRow, KillmailRow, PositionRow, PostRow, QueueRow, SCHEMA, StorageError,
    SubscriptionRow, open,
};
use crate::shards::Shards;

/// The first bytes of the file.
const MAGIC: &[u8; 16] = b"killfeed-moved-1";

/// What moves.
#[derive(Clone, PartialEq, prost::Message)]
struct Transfer {
    #[prost(uint32, tag = "1")]
    schema: u32,
    #[prost(message, optional, tag = "2")]
    position: Option<PositionRow>,
    #[prost(message, repeated, tag = "3")]
    subscriptions: Vec<SubscriptionRow>,
    #[prost(message, repeated, tag = "4")]
    queue: Vec<QueueEntry>,
    #[prost(message, repeated, tag = "5")]
    batches: Vec<Sealed>,
    #[prost(message, repeated, tag = "6")]
    posts: Vec<Post>,
    #[prost(message, repeated, tag = "7")]
    killmails: Vec<Bytes>,
    #[prost(message, repeated, tag = "8")]
    handled: Vec<Handled>,
    #[prost(message, repeated, tag = "9")]
    cooldowns: Vec<Cooldown>,
    #[prost(message, repeated, tag = "10")]
    counters: Vec<Counted>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct QueueEntry {
    #[prost(bytes = "vec", tag = "1")]
    destination: Vec<u8>,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(message, required, tag = "3")]
    row: QueueRow,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sealed {
    #[prost(bytes = "vec", tag = "1")]
    destination: Vec<u8>,
    #[prost(message, required, tag = "2")]
    row: BatchRow,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Post {
    #[prost(bytes = "vec", tag = "1")]
    destination: Vec<u8>,
    #[prost(uint64, tag = "2")]
    killmail_id: u64,
    #[prost(message, required, tag = "3")]
    row: PostRow,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bytes {
    #[prost(uint64, tag = "1")]
    killmail_id: u64,
    #[prost(message, required, tag = "2")]
    row: KillmailRow,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Handled {
    #[prost(uint64, tag = "1")]
    killmail_id: u64,
    #[prost(message, required, tag = "2")]
    row: HandledRow,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Cooldown {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(message, required, tag = "2")]
    row: CooldownRow,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Counted {
    #[prost(uint64, tag = "1")]
    subscription: u64,
    #[prost(message, required, tag = "2")]
    row: CountersRow,
}

/// A piece of the log that moved guilds have not seen, and the importer has.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CatchUpRow {
    /// Everything up to here is handled for these guilds.
    #[prost(message, optional, tag = "1")]
    pub from: Option<PositionRow>,
    /// From here on the stream is theirs too.
    #[prost(message, optional, tag = "2")]
    pub until: Option<PositionRow>,
    /// Which.
    #[prost(uint64, repeated, tag = "3")]
    pub guilds: Vec<u64>,
}

/// What was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Guilds; webhooks together count as one.
    pub guilds: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Killmails that wait, over all channels.
    pub waiting: usize,
}

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The data folder.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Not a data folder.
    #[error(
        "{0} is not the data folder of a killfeed-notifier; set NOTIFIER_DATA_DIR to a folder that a notifier has used"
    )]
    NoFolder(String),
    /// The database is damaged.
    #[error(
        "nothing was exported: the database is corrupt and was moved to {0}; start the notifier once to restore the subscriptions"
    )]
    Damaged(String),
    /// The file.
    #[error("the file cannot be {what}: {error}")]
    File {
        /// `read` or `written`.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// Not such a file.
    #[error("the file was not made by killfeed-notifier export --shards: {0}")]
    NotAnExport(String),
    /// Made by another version.
    #[error(
        "the file has schema {0}, but this version knows only {SCHEMA}; use the same killfeed-notifier for export and import"
    )]
    Schema(u32),
    /// They are there already.
    #[error("nothing was imported: this data folder already has {0}; check whether the file was imported before")]
    There(String),
    /// Nothing of these shards.
    #[error("nothing was moved: no server of the shards {0} is in it")]
    Nothing(Shards),
}

/// Takes the guilds of `shards` (shard 0 also takes the webhooks) out of a data folder: into `out` first, and only when
/// `kept` says that this is safe, out of the database.
pub fn export(
    dir: &Path,
    shards: Shards,
    out: &mut dyn io::Write,
    kept: impl FnOnce() -> io::Result<()>,
) -> Result<Summary, TransferError> {
    if !dir.join("sled").exists() {
        return Err(TransferError::NoFolder(dir.display().to_string()));
    }
    let opened = open(dir, Clock::system().now().wall)?;
    if let Some(aside) = opened.moved_aside {
        return Err(TransferError::Damaged(aside.to.display().to_string()));
    }
    let database = opened.database;
    let moved = export::read(&database, shards)?;
    if moved.subscriptions.is_empty() {
        return Err(TransferError::Nothing(shards));
    }
    let written = |error| TransferError::File { what: "written", error };
    out.write_all(MAGIC).map_err(written)?;
    out.write_all(&moved.encode_to_vec()).map_err(written)?;
    out.flush().and_then(|()| kept()).map_err(written)?;
    export::remove(&database, &moved)?;
    let guilds: Vec<u64> = guilds(&moved).into_iter().collect();
    crate::subscriptions::copies::without(dir, &guilds).map_err(written)?;
    Ok(summary(&moved))
}

/// Puts what was exported into a data folder, all of it or nothing; of it only the guilds of `shards`.
pub fn import(dir: &Path, shards: Shards, from: &mut dyn io::Read) -> Result<Summary, TransferError> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)
        .map_err(|error| TransferError::File { what: "read", error })?;
    let Some(body) = bytes.strip_prefix(&MAGIC[..]) else {
        return Err(TransferError::NotAnExport("its header is missing".into()));
    };
    let mut moved = Transfer::decode(body).map_err(|error| TransferError::NotAnExport(error.to_string()))?;
    if moved.schema != SCHEMA {
        return Err(TransferError::Schema(moved.schema));
    }
    export::keep_only(&mut moved, shards);
    if moved.subscriptions.is_empty() {
        return Err(TransferError::Nothing(shards));
    }
    let opened = open(dir, Clock::system().now().wall)?;
    if let Some(aside) = opened.moved_aside {
        return Err(TransferError::Damaged(aside.to.display().to_string()));
    }
    import::write(&opened.database, &moved)?;
    Ok(summary(&moved))
}

fn guilds(moved: &Transfer) -> BTreeSet<u64> {
    moved.subscriptions.iter().map(|row| row.guild).collect()
}

fn summary(moved: &Transfer) -> Summary {
    Summary {
        guilds: guilds(moved).len(),
        subscriptions: moved.subscriptions.len(),
        waiting: moved.queue.len(),
    }
}

/// Whether a guild belongs to these shards; webhooks (guild 0) belong to shard 0.
fn belongs(guild: u64, shards: Shards) -> bool {
    match guild {
        crate::subscriptions::WEBHOOK_GUILD => shards.contains(0),
        guild => shards.owns(guild),
    }
}

#[cfg(test)]
mod tests;
