//! What is to be delivered, on disk: killmails that wait per destination, the one sealed batch of each, and what became of
//! all of them. Decisions are made by others; here they are written, each in one transaction.
//!
//! - A killmail that was seen is in `handled`, whether somebody wanted it or not, so that nothing is queued twice.
//! - The position in the stream is written together with what its events caused.
//! - A row of `queue` exists exactly while the row of `posts` says `Queued`, or while a post is to be edited; a row of
//!   `killmails` while some row of `queue` names it.

mod enqueue;
mod battle;
mod batch;
mod expire;
mod read;
mod counters;
mod transaction;
mod withdraw;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    database::{BatchRow, Database, PostState, QueueRow, StorageError},
    matching::Match,
    sink::Destination,
};

pub use batch::{BatchResult, Edited};
pub use battle::{BattleUpdate, IDLE_TIMEOUT};
pub use expire::RETENTION;

/// Queue, posts, killmails, handled, cooldowns and the position.
#[derive(Debug)]
pub struct Outbox {
    database: Arc<Database>,
    /// Destinations that got something since they were asked for. A set, so bounded by the number of destinations.
    touched: Mutex<BTreeSet<Destination>>,
    wake: Notify,
}

/// A killmail of the stream, and whom it is for.
#[derive(Debug, Clone)]
pub struct IncomingKillmail {
    /// Which.
    pub killmail_id: u64,
    /// In which revision.
    pub revision: u32,
    /// Encoded; not read where nobody wants it.
    pub bytes: Vec<u8>,
    /// When the victim died, milliseconds.
    pub kill_time: u64,
    /// zKillboard's upload, milliseconds.
    pub published: u64,
    /// The system where it happened, 0 = unknown.
    pub system: u32,
    /// ISK in all; `None` = not known.
    pub value: Option<f64>,
    /// Whom it is for.
    pub matches: Vec<Match>,
    /// Destinations that do not match it any more and have a post of it.
    pub posted: Vec<Destination>,
}

/// What a transaction of arrivals did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EnqueueStats {
    /// Rows put into queues.
    pub queued: usize,
    /// Posts that are to be edited.
    pub edits: usize,
    /// Too old for everyone who wanted them.
    pub too_old: usize,
    /// Seen before.
    pub repeated: usize,
}

/// What waits for a destination.
#[derive(Debug, Clone, Default)]
pub struct QueueHead {
    /// The sealed batch, if there is one.
    pub batch: Option<BatchRow>,
    /// The first rows, by sequence.
    pub rows: Vec<(u64, QueueRow)>,
    /// How many rows there are in all.
    pub waiting: usize,
}

/// A killmail that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it should have gone.
    pub destination: Destination,
    /// Which.
    pub killmail_id: u64,
    /// `Dead` or `Unknown`.
    pub state: PostState,
    /// When it was given up, milliseconds.
    pub since: u64,
    /// Why.
    pub detail: String,
    /// The message that Discord refused, as JSON; empty where it refused none.
    pub refused: Vec<u8>,
}

/// The end of a row that is not posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkippedRow {
    /// Of the row.
    pub sequence: u64,
    /// How it ended.
    pub state: PostState,
}

impl Outbox {
    /// Over an open database.
    pub fn new(database: Arc<Database>) -> Self {
        Self {
            database,
            touched: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Waits until some destinations got something, and takes them. For one task only.
    pub async fn touched(&self) -> BTreeSet<Destination> {
        loop {
            let woken = self.wake.notified();
            let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
            if !touched.is_empty() {
                return touched;
            }
            woken.await;
        }
    }

    /// Says that a destination is to be looked after.
    pub fn touch(&self, destinations: impl IntoIterator<Item = Destination>) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.extend(destinations);
        drop(touched);
        self.wake.notify_one();
    }

    /// Everything written so far is on disk after this.
    pub async fn flush(&self) -> Result<(), StorageError> {
        self.database.flush().await
    }
}

#[cfg(test)]
mod tests;
