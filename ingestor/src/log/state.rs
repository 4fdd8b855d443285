//! What the writer tells the readers: the open database, the newest records, the bounds of the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use killfeed::cursor::{Cursor, Offset};
use redb::Database;
use tokio::sync::watch;

use super::{
    CursorStatus, Head, LogStatus, ReadLimit, Record,
    format::UNKNOWN_ID,
    metrics,
    store::{Appended, LoadedLog, LogIdentity, Removal},
    window::Window,
};

/// A database, and the how manyth it is since the start: an error met in an older one says nothing about this one.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) db: Database,
    pub(super) generation: u64,
}

/// How to get at the database.
#[derive(Debug, Clone)]
pub(super) enum DbState {
    Open(Arc<Handle>),
    /// The disk failed; the writer opens it again.
    Failing {
        reason: String,
    },
    Shut,
}

/// Shared by the writer's thread and all readers. The locks are std's: they are held for a few instructions and never across
/// an await.
#[derive(Debug)]
pub(super) struct LogState {
    /// Changes only when a relay takes over its upstream's history.
    identity: RwLock<Arc<LogIdentity>>,
    /// A watch rather than an arc-swap, because readers also have to wait for the next database.
    door: watch::Sender<DbState>,
    head: watch::Sender<Head>,
    status: Mutex<LogStatus>,
    window: RwLock<Window>,
}

impl LogState {
    pub(super) fn new(db: Database, stored: LoadedLog, window: Window) -> Self {
        let handle = Arc::new(Handle { db, generation: 0 });
        Self {
            identity: RwLock::new(Arc::new(stored.identity)),
            door: watch::Sender::new(DbState::Open(handle)),
            head: watch::Sender::new(stored.status.head),
            status: Mutex::new(stored.status),
            window: RwLock::new(window),
        }
    }

    pub(super) fn identity(&self) -> Arc<LogIdentity> {
        Arc::clone(&self.identity.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The log is a part of another history from now on.
    pub(super) fn adopted(&self, stored: LoadedLog) {
        let before = self.status().head;
        if stored.status.head != before {
            self.with_window(|window| window.restart(stored.status.head.offset));
            *self.locked_status() = stored.status;
        }
        // Bounds first: a cursor of that history must not be ahead of a log that begins elsewhere.
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(stored.identity);
        self.head.send_replace(stored.status.head);
    }

    pub(super) fn status(&self) -> LogStatus {
        *self.locked_status()
    }

    pub(super) fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    pub(super) fn place(&self, cursor: Cursor) -> CursorStatus {
        place(&self.identity(), &self.status(), cursor)
    }

    /// Records from memory, if it reaches back far enough.
    pub(super) fn recent(&self, after: Offset, limit: ReadLimit) -> Option<Vec<Arc<Record>>> {
        let window = self.window.read().unwrap_or_else(PoisonError::into_inner);
        window.read(after, limit)
    }

    /// A place in time from memory, if it reaches back far enough.
    pub(super) fn seek(&self, since_ms: i64) -> Option<Offset> {
        let window = self.window.read().unwrap_or_else(PoisonError::into_inner);
        window.seek(since_ms)
    }

    pub(super) fn door(&self) -> DbState {
        self.door.borrow().clone()
    }

    pub(super) fn watch_door(&self) -> watch::Receiver<DbState> {
        self.door.subscribe()
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(*self.door.borrow(), DbState::Open(_))
    }

    /// An append is durable: now readers may see it.
    pub(super) fn on_append(&self, appended: Appended) {
        let Some(first) = appended.records.first() else {
            return;
        };
        {
            // The bounds stay locked until the records are in the window as well: who has read a record and asks for its
            // place is not told that it lies ahead of the head.
            let mut status = self.locked_status();
            status.earliest_ms.get_or_insert(first.ingested_ms);
            status.killmails = appended.killmails;
            status.head = appended.head;
            self.with_window(|window| window.push(appended.records));
        }
        self.head.send_replace(appended.head);
    }

    /// Records are about to be removed.
    pub(super) fn trimming(&self, removal: &Removal) {
        let mut status = self.locked_status();
        status.trimmed = removal.trimmed;
        status.earliest_ms = removal.earliest_ms;
        drop(status);
        self.with_window(|window| window.trim(removal.trimmed));
    }

    /// They are gone.
    pub(super) fn trimmed(&self, killmails: u64) {
        self.locked_status().killmails = killmails;
    }

    pub(super) fn failing(&self, reason: &str) {
        self.door.send_replace(DbState::Failing { reason: reason.into() });
    }

    /// The database is back. What it holds counts: an append whose commit failed may be in it all the same.
    pub(super) fn reopened(&self, db: Database, generation: u64, stored: &LoadedLog) {
        let before = self.status().head;
        if stored.status.head != before {
            // The window does not hold what came in unnoticed: it begins anew at the head.
            self.with_window(|window| window.restart(stored.status.head.offset));
        }
        {
            // What was said to be trimmed stays so: a removal that failed is only made once more.
            let mut status = self.locked_status();
            let trimmed = status.trimmed.max(stored.status.trimmed);
            *status = stored.status;
            status.trimmed = trimmed;
        }
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(stored.identity.clone());
        self.door
            .send_replace(DbState::Open(Arc::new(Handle { db, generation })));
        self.head.send_replace(stored.status.head);
    }

    pub(super) fn shut(&self) {
        self.door.send_replace(DbState::Shut);
    }

    fn locked_status(&self) -> MutexGuard<'_, LogStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_window(&self, change: impl FnOnce(&mut Window)) {
        let mut window = self.window.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut window);
        ::metrics::gauge!(metrics::WINDOW_BYTES).set(window.memory() as f64);
    }
}

/// What a cursor means to a log. Pure.
fn place(identity: &LogIdentity, status: &LogStatus, cursor: Cursor) -> CursorStatus {
    if identity.id == UNKNOWN_ID {
        // A relay that has not met its upstream: whose cursor this is will be known then.
        return CursorStatus::Ahead;
    }
    if cursor.log == identity.id {
        if cursor.offset > status.head.offset {
            return CursorStatus::Ahead;
        }
    } else {
        // An ancestor's history is ours up to where we branched off; what it wrote later we never saw.
        let ancestor = identity.lineage.iter().rev().find(|(id, _)| *id == cursor.log);
        if ancestor.is_none_or(|(_, last)| cursor.offset > *last) {
            return CursorStatus::Unrelated;
        }
    }
    if cursor.offset < status.trimmed {
        return CursorStatus::Expired {
            trimmed: status.trimmed,
        };
    }
    CursorStatus::After(cursor.offset)
}

#[cfg(test)]
mod tests {
    use killfeed::cursor::LogId;

    use super::*;

    #[test]
    fn what_a_cursor_means() {
        let identity = LogIdentity {
            id: LogId(3),
            lineage: vec![(LogId(1), Offset(100)), (LogId(2), Offset(150))],
            origin: Default::default(),
        };
        let status = LogStatus {
            trimmed: Offset(90),
            earliest_ms: Some(1),
            head: Head {
                offset: Offset(200),
                ingested_ms: 9,
            },
            killmails: 1,
        };
        let expired = CursorStatus::Expired { trimmed: Offset(90) };
        let after = |offset| CursorStatus::After(Offset(offset));
        for (log, offset, expected) in [
            // Its own.
            (3, 0, expired),
            (3, 89, expired),
            (3, 90, after(90)),
            (3, 200, after(200)),
            (3, 201, CursorStatus::Ahead),
            // Of ancestors: up to where the next id began.
            (1, 89, expired),
            (1, 100, after(100)),
            (1, 101, CursorStatus::Unrelated),
            (2, 100, after(100)),
            (2, 150, after(150)),
            (2, 151, CursorStatus::Unrelated),
            (2, 500, CursorStatus::Unrelated),
            // Of nobody known.
            (4, 100, CursorStatus::Unrelated),
            (0, 0, CursorStatus::Unrelated),
        ] {
            let cursor = Cursor {
                log: LogId(log),
                offset: Offset(offset),
            };
            assert_eq!(place(&identity, &status, cursor), expected, "{cursor}");
        }
    }

    #[test]
    fn an_empty_log_has_one_place() {
        let identity = LogIdentity {
            id: LogId(3),
            lineage: vec![],
            origin: Default::default(),
        };
        let status = LogStatus {
            trimmed: Offset(0),
            earliest_ms: None,
            head: Head::default(),
            killmails: 0,
        };
        let cursor = |offset| Cursor {
            log: LogId(3),
            offset: Offset(offset),
        };
        assert_eq!(place(&identity, &status, cursor(0)), CursorStatus::After(Offset(0)));
        assert_eq!(place(&identity, &status, cursor(1)), CursorStatus::Ahead);
    }
}
