//! Names on disk: `names.redb` in the data folder, a file of its own. Only a cache: if it is broken it is set aside and begun
//! anew, and while it can't be used names come from memory and ESI. Everything here blocks and belongs off the runtime.

mod tables;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use killfeed::v1::EntityKind;
use killfeed_service::clock::{Clock, Uptime};
use redb::{Database, DatabaseError, StorageError};

pub use tables::PrefixMatch;

/// redb's own default is 1 GiB; look-ups of names touch few pages.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// After a failure the file is left alone for so long.
const REOPEN_AFTER: Duration = Duration::from_secs(60);

/// A character, corporation or alliance.
pub type EntityKey = (EntityKind, u64);

/// What is known of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameEntry {
    /// Empty: nothing bears this id, as far as is known, or the name was not asked for yet.
    pub name: Box<str>,
    /// Empty: none, or not known.
    pub ticker: Box<str>,
    /// When the name was fetched, in seconds since 1970; 0 = never.
    pub name_at: u64,
    /// When the ticker was fetched; 0 = never.
    pub ticker_at: u64,
}

/// Why the file can't be opened at all.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Somebody else has it.
    #[error(
        "{path} is in use by another process: a data folder can be used by only one ingestor; stop the other one, or set INGESTOR_DATA_DIR"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Not to be used.
    #[error("cannot open {path}: {error}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
}

/// The cache. Its operations never fail: what can't be read is not there, and what can't be written is lost, both said in the
/// log.
#[derive(Debug)]
pub struct NameStore {
    path: PathBuf,
    state: Mutex<FileState>,
}

/// The lock is held to take the handle out or to open the file, never while it is used.
#[derive(Debug)]
enum FileState {
    Open(Arc<Database>),
    /// Failed; opened again from then on.
    ClosedUntil(Uptime),
}

impl NameStore {
    /// Opens or makes `names.redb`.
    pub fn open(data_dir: &Path) -> Result<Self, CacheError> {
        let path = data_dir.join("names.redb");
        let database = open_or_renew(&path)?;
        Ok(Self {
            path,
            state: Mutex::new(FileState::Open(Arc::new(database))),
        })
    }

    /// What is known of `keys`, in their order.
    pub fn get(&self, keys: &[EntityKey]) -> Vec<Option<NameEntry>> {
        self.with("read", |database| tables::get(database, keys))
            .unwrap_or_else(|| vec![None; keys.len()])
    }

    /// Keeps these, and drops what was known of the same keys.
    pub fn put(&self, entries: &[(EntityKey, Arc<NameEntry>)]) {
        if !entries.is_empty() {
            self.with("write", |database| tables::put(database, entries));
        }
    }

    /// ESI's tags of what is known of `keys`, in their order.
    pub fn etags(&self, keys: &[EntityKey]) -> Vec<Option<String>> {
        self.with("read", |database| tables::tags(database, keys))
            .unwrap_or_else(|| vec![None; keys.len()])
    }

    /// Keeps these tags; an empty one forgets.
    pub fn put_tags(&self, entries: &[(EntityKey, String)]) {
        if !entries.is_empty() {
            self.with("write", |database| tables::put_tags(database, entries));
        }
    }

    /// What ESI refuses, and until when, in milliseconds since 1970.
    pub fn refusals(&self) -> Vec<(String, u64)> {
        self.with("read", tables::refusals).unwrap_or_default()
    }

    /// Keeps these refusals in place of those known.
    pub fn put_refusals(&self, refusals: &[(String, u64)]) {
        self.with("write", |database| tables::put_refusals(database, refusals));
    }

    /// Ids of `kind` whose name has this fold, ascending.
    pub fn exact(&self, kind: EntityKind, folded: &str) -> Vec<u64> {
        self.with("read", |database| tables::exact(database, kind, folded))
            .unwrap_or_default()
    }

    /// What has this ticker (folded).
    pub fn by_ticker(&self, folded: &str) -> Vec<EntityKey> {
        self.with("read", |database| tables::by_ticker(database, folded))
            .unwrap_or_default()
    }

    /// What of this kind has a name that begins with `folded`: the first in the order of the alphabet, not more than two thousand.
    pub fn prefix(&self, kind: EntityKind, folded: &str) -> Vec<PrefixMatch> {
        self.with("read", |database| tables::prefix(database, kind, folded))
            .unwrap_or_default()
    }

    /// The same of a later word in the name.
    pub fn words(&self, kind: EntityKind, folded: &str) -> Vec<EntityKey> {
        self.with("read", |database| tables::words(database, kind, folded))
            .unwrap_or_default()
    }

    /// Runs `work` on the open file. A failure closes it: after one failed write redb fails every read until it is reopened.
    fn with<T>(&self, what: &str, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Option<T> {
        let database = self.database()?;
        match work(&database) {
            Ok(value) => Some(value),
            Err(error) => {
                drop(database);
                tracing::warn!(path = %self.path.display(), what, %error, "name cache failed, skipping it for a minute");
                if matches!(error, redb::Error::Corrupted(_)) {
                    move_aside(&self.path);
                }
                *self.lock() = FileState::ClosedUntil(Clock::system().now().up + REOPEN_AFTER);
                None
            }
        }
    }

    fn database(&self) -> Option<Arc<Database>> {
        let mut state = self.lock();
        match &*state {
            FileState::Open(database) => return Some(database.clone()),
            FileState::ClosedUntil(time) if *time > Clock::system().now().up => return None,
            FileState::ClosedUntil(_) => {}
        }
        match open_or_renew(&self.path) {
            Ok(database) => {
                let database = Arc::new(database);
                *state = FileState::Open(database.clone());
                Some(database)
            }
            Err(error) => {
                tracing::warn!(%error, "name cache is still unavailable");
                *state = FileState::ClosedUntil(Clock::system().now().up + REOPEN_AFTER);
                None
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_or_renew(path: &Path) -> Result<Database, CacheError> {
    let unusable = |error: String| CacheError::Unusable {
        path: path.to_owned(),
        error,
    };
    let error = match open(path) {
        Ok(database) => return Ok(database),
        Err(OpenFailure::Redb(DatabaseError::DatabaseAlreadyOpen)) => {
            let path = path.to_owned();
            return Err(CacheError::Locked { path });
        }
        // The disk's own troubles (no room, no right) are not cured by a new file.
        Err(OpenFailure::Redb(DatabaseError::Storage(StorageError::Io(error))))
            if error.kind() != std::io::ErrorKind::InvalidData && error.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            return Err(unusable(error.to_string()));
        }
        Err(error) => error,
    };
    tracing::warn!(path = %path.display(), %error, "name cache unusable, starting an empty one");
    move_aside(path);
    open(path).map_err(|error| unusable(error.to_string()))
}

#[derive(Debug, thiserror::Error)]
enum OpenFailure {
    #[error(transparent)]
    Redb(#[from] DatabaseError),
    #[error(transparent)]
    Tables(#[from] redb::Error),
    #[error("its schema {0} is unknown to this version")]
    Schema(u64),
}

fn open(path: &Path) -> Result<Database, OpenFailure> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    match tables::prepare(&database)? {
        tables::SCHEMA => Ok(database),
        other => Err(OpenFailure::Schema(other)),
    }
}

fn move_aside(path: &Path) {
    if let Err(error) = fs::rename(path, path.with_extension("redb.broken")) {
        tracing::warn!(path = %path.display(), %error, "renaming the corrupt name cache failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, ticker: &str) -> Arc<NameEntry> {
        Arc::new(NameEntry {
            name: name.into(),
            ticker: ticker.into(),
            name_at: 7,
            ticker_at: 8,
        })
    }

    const GOONS: EntityKey = (EntityKind::Alliance, 1_354_830_081);
    const PILOT: EntityKey = (EntityKind::Character, 90_000_001);

    #[test]
    fn names_are_found_again_by_id_name_word_and_ticker() {
        let dir = tempfile::tempdir().unwrap();
        let store = NameStore::open(dir.path()).unwrap();
        store.put(&[
            (GOONS, named("Goonswarm Federation", "CONDI")),
            (PILOT, named("Fed Up", "")),
        ]);
        drop(store);
        let store = NameStore::open(dir.path()).unwrap();
        let got = store.get(&[PILOT, (EntityKind::Corporation, GOONS.1), GOONS]);
        assert_eq!(
            got,
            [
                Some((*named("Fed Up", "")).clone()),
                None,
                Some((*named("Goonswarm Federation", "CONDI")).clone())
            ]
        );
        assert_eq!(store.exact(EntityKind::Alliance, "goonswarm federation"), [GOONS.1]);
        assert!(store.exact(EntityKind::Corporation, "goonswarm federation").is_empty());
        assert!(store.exact(EntityKind::Alliance, "goonswarm").is_empty());
        assert_eq!(store.by_ticker("condi"), [GOONS]);
        assert!(store.by_ticker("cond").is_empty());
        let found = |kind, query| {
            let found = store.prefix(kind, query).into_iter();
            found.map(|found| (found.key, found.length)).collect::<Vec<_>>()
        };
        assert_eq!(found(PILOT.0, "fed"), [(PILOT, 6)]);
        assert_eq!(found(GOONS.0, "goonswarm f"), [(GOONS, 20)]);
        assert!(found(GOONS.0, "fed").is_empty() && found(PILOT.0, "goon").is_empty());
        assert_eq!(store.words(GOONS.0, "fed"), [GOONS]);
        assert!(store.words(PILOT.0, "fed").is_empty() && store.words(GOONS.0, "goon").is_empty());
    }

    /// However many pilots are called alike, and stand before it in the alphabet.
    #[test]
    fn a_kind_is_searched_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let store = NameStore::open(dir.path()).unwrap();
        let pilots = (1..=3_000).map(|id| ((EntityKind::Character, id), named(&format!("Goo Federal {id}"), "")));
        store.put(&pilots.collect::<Vec<_>>());
        store.put(&[(GOONS, named("Goonswarm Federation", "CONDI"))]);
        assert_eq!(store.prefix(EntityKind::Alliance, "goo").len(), 1);
        assert_eq!(store.words(EntityKind::Alliance, "fed"), [GOONS]);
        assert_eq!(store.prefix(EntityKind::Character, "goo").len(), 2_000);
        assert!(store.prefix(EntityKind::Corporation, "goo").is_empty());
    }

    #[test]
    fn tags_and_refusals_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = NameStore::open(dir.path()).unwrap();
        assert!(store.refusals().is_empty());
        store.put_tags(&[(GOONS, "W/1".into()), (PILOT, "x".into())]);
        store.put_tags(&[(PILOT, String::new())]);
        store.put_refusals(&[("all".into(), 5), ("names".into(), 7)]);
        store.put_refusals(&[("names".into(), 8)]);
        drop(store);
        let store = NameStore::open(dir.path()).unwrap();
        assert_eq!(store.etags(&[PILOT, GOONS]), [None, Some("W/1".into())]);
        assert_eq!(store.refusals(), [("names".into(), 8)]);
    }

    #[test]
    fn what_is_renamed_is_no_longer_found_by_its_old_name() {
        let dir = tempfile::tempdir().unwrap();
        let store = NameStore::open(dir.path()).unwrap();
        store.put(&[(GOONS, named("Old Name", "OLD"))]);
        store.put(&[(GOONS, named("New Name", "NEW"))]);
        assert!(store.exact(EntityKind::Alliance, "old name").is_empty());
        assert!(store.by_ticker("old").is_empty());
        assert!(store.prefix(GOONS.0, "old").is_empty());
        assert_eq!(store.words(GOONS.0, "name").len(), 1);
        assert_eq!(store.by_ticker("new"), [GOONS]);
    }

    #[test]
    fn a_broken_file_is_set_aside_and_a_second_process_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("names.redb"),
            b"this is no database, but longer than its header".repeat(100),
        )
        .unwrap();
        let store = NameStore::open(dir.path()).unwrap();
        assert!(dir.path().join("names.redb.broken").exists());
        store.put(&[(PILOT, named("A", ""))]);
        assert!(store.get(&[PILOT])[0].is_some());
        assert!(matches!(NameStore::open(dir.path()), Err(CacheError::Locked { .. })));
    }
}
