//! What this ingestor knows of the shared log: its bounds, its newest records in memory, where each killmail stands. Filled by
//! [`super::tail`], read by streams and lists.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use killfeed::{
    cursor::{Cursor, LogId, Offset},
    id::KillmailId,
};
use tokio::sync::watch;

use super::index::Index;
use crate::log::{CursorStatus, Head, LogStatus, ReadLimit, Record, metrics, window::Window};

/// The locks are std's: they are held for a few instructions and never across an await.
#[derive(Debug)]
pub(super) struct LogView {
    pub(super) id: LogId,
    head: watch::Sender<Head>,
    known: Mutex<ViewState>,
    window: RwLock<Window>,
}

#[derive(Debug)]
struct ViewState {
    head: Head,
    trimmed: Offset,
    index: Index,
}

impl LogView {
    /// Of a log that ends at `head`.
    pub(super) fn new(id: LogId, head: Head, trimmed: Offset, index: Index, window: Window) -> Self {
        Self {
            id,
            head: watch::Sender::new(head),
            known: Mutex::new(ViewState { head, trimmed, index }),
            window: RwLock::new(window),
        }
    }

    pub(super) fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    pub(super) fn status(&self) -> LogStatus {
        let known = self.locked();
        LogStatus {
            trimmed: known.trimmed,
            earliest_ms: known.index.earliest_ms(),
            head: known.head,
            killmails: known.index.killmails(),
        }
    }

    pub(super) fn place(&self, cursor: Cursor) -> CursorStatus {
        let known = self.locked();
        if cursor.log != self.id {
            return CursorStatus::Unrelated;
        }
        if cursor.offset > known.head.offset {
            return CursorStatus::Ahead;
        }
        if cursor.offset < known.trimmed {
            return CursorStatus::Expired { trimmed: known.trimmed };
        }
        CursorStatus::After(cursor.offset)
    }

    /// Records from memory, if it reaches back far enough.
    pub(super) fn recent(&self, after: Offset, limit: ReadLimit) -> Option<Vec<Arc<Record>>> {
        let window = self.window.read().unwrap_or_else(PoisonError::into_inner);
        window.read(after, limit)
    }

    pub(super) fn newest_at(&self, id: KillmailId, head: Offset) -> Option<Offset> {
        let known = self.locked();
        known.index.newest_at(id, head.min(known.head.offset))
    }

    pub(super) fn seek(&self, since_ms: i64) -> Offset {
        let known = self.locked();
        known.index.seek(since_ms).unwrap_or(known.head.offset)
    }

    /// The log grew by these, in order.
    pub(super) fn grew(&self, records: Vec<Arc<Record>>) {
        let Some(last) = records.last() else {
            return;
        };
        let head = Head {
            offset: last.offset,
            ingested_ms: last.ingested_ms,
        };
        {
            // Locked until the records are in the window as well: who has read a record and asks for its place is not told that
            // it lies ahead of the head.
            let mut known = self.locked();
            for record in &records {
                known.index.push(record.offset.0, record.ingested_ms, record.kind);
            }
            known.head = head;
            self.with_window(|window| window.push(records));
        }
        self.head.send_replace(head);
    }

    /// At the start: `newest` are all records above `floor`, in order.
    pub(super) fn remember(&self, floor: Offset, newest: Vec<Arc<Record>>) {
        self.with_window(|window| window.refill(floor, newest));
    }

    /// Everything up to here is gone, or about to go. It never becomes less.
    pub(super) fn trim(&self, trimmed: Offset) {
        {
            let mut known = self.locked();
            if trimmed <= known.trimmed {
                return;
            }
            known.trimmed = trimmed;
            known.index.trim(trimmed);
        }
        self.with_window(|window| window.trim(trimmed));
    }

    fn locked(&self) -> MutexGuard<'_, ViewState> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_window(&self, change: impl FnOnce(&mut Window)) {
        let mut window = self.window.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut window);
        ::metrics::gauge!(metrics::WINDOW_BYTES).set(window.memory() as f64);
    }
}
