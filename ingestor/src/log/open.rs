//! From a data folder to an open log: who has it, is it ours, which version; only then is anything written.

use std::{
    fs::{self, File, TryLockError},
    hash::{BuildHasher as _, RandomState},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Duration,
};

use killfeed::cursor::LogId;
use killfeed_service::clock::Clock;
use redb::Database;

use super::{
    format::{Origin, SCHEMA, UNKNOWN_ID},
    free_space::FreeSpace,
    migrate,
    overlay::OverlayBackend,
    store::{self, LoadedLog, StoreError},
};

/// The log's file in the data folder.
pub const FILE_NAME: &str = "log.redb";

/// A log under construction: renamed once it is complete, so that no crash leaves half a log.
const NEW_FILE_NAME: &str = "log.redb.new";

const MIB: usize = 1024 * 1024;

/// How to open a log.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long records are kept.
    pub retention: Duration,
    /// Where the records will come from.
    pub source: LogMode,
    /// Memory for redb's cache; redb's own default would be 1 GiB.
    pub cache_bytes: usize,
    /// Memory for the newest records, decoded forms included.
    pub window_bytes: usize,
    /// Appends wait while less than this is free on the disk.
    pub reserve_bytes: u64,
    /// A file up to this size is read and checked as a whole at each opening; of a larger one only what the opening needs, so
    /// that a year's log does not delay the start. Records prove their checksums when they are read, in any case.
    pub check_up_to: u64,
    /// The clocks that retention goes by.
    pub clock: Clock,
    /// Tells how much room the disk has.
    pub free_space: FreeSpace,
}

impl Options {
    /// storage.md's numbers.
    pub fn new(retention: Duration) -> Self {
        Self {
            retention,
            source: LogMode::Own,
            cache_bytes: 64 * MIB,
            window_bytes: 32 * MIB,
            reserve_bytes: 256 * MIB as u64,
            check_up_to: 128 * MIB as u64,
            clock: Clock::system(),
            free_space: FreeSpace::of_disk(),
        }
    }
}

/// Where the records will come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogMode {
    /// This ingestor numbers them itself. A log that was relayed until now goes on under a new log id.
    #[default]
    Own,
    /// Another ingestor, whose history [`super::LogWrite::adopt`] takes over once it is known.
    Relay,
    /// This ingestor, for the while of one command; a log that is relayed is refused.
    Command,
}

/// Why a data folder was not opened. Nothing that was in it has been changed.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    /// Another process has it.
    #[error(
        "the data folder {} is in use by another killfeed-ingestor; stop that one first, or set INGESTOR_DATA_DIR to a separate folder",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// Written by a newer version.
    #[error(
        "{} was written by a newer killfeed-ingestor (log schema {found}, this version supports schemas up to {known}); start that version again, or set INGESTOR_DATA_DIR to another folder; nothing was changed",
        path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema this version knows.
        known: u32,
    },
    /// Not a log, or not one any more.
    #[error(
        "{} is corrupt: {reason}; restore a backup and run `killfeed-ingestor new-log-id`, or move the file away to start an empty log; nothing was changed",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// An older schema could not be brought to today's.
    #[error(
        "cannot migrate {} from log schema {found} to {known}: {reason}; start the version that wrote it; the records are unchanged, and {} is a copy from before the migration",
        path.display(), copy.display()
    )]
    Migration {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema this version knows.
        known: u32,
        /// What went wrong.
        reason: String,
        /// A copy of the file, made before.
        copy: PathBuf,
    },
    /// The log belongs to another ingestor's history.
    #[error(
        "{} is the log of a relay (log id {log_id}), to which nothing else can be added; run this command on the upstream ingestor's data folder, or first start this ingestor once without INGESTOR_SOURCE=relay, so that its log becomes independent",
        path.display()
    )]
    Relayed {
        /// The file.
        path: PathBuf,
        /// Its id.
        log_id: LogId,
    },
    /// There is no log where one is needed.
    #[error("{} does not exist: expected the log of an ingestor; check INGESTOR_DATA_DIR", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The disk or its permissions.
    #[error("cannot open {}: {source}; check that the disk works, has free space and is writable for this user", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An open log file, and the folder that no one else can open meanwhile.
#[derive(Debug)]
pub(super) struct OpenedLog {
    pub(super) db: Database,
    pub(super) stored: LoadedLog,
    pub(super) path: PathBuf,
    pub(super) folder: DirLock,
}

/// Opens the log in `dir`, or begins one there.
pub(super) fn open(dir: &Path, options: &Options) -> Result<OpenedLog, LogOpenError> {
    let folder = DirLock::make(dir)?;
    let path = dir.join(FILE_NAME);
    let found = match path.try_exists() {
        Ok(true) => examine(&path, options)?,
        Ok(false) => create(dir, &path, options)?,
        Err(source) => return Err(io_error(&path, source)),
    };
    if found < SCHEMA {
        migrate::migrate(&path, found, options.cache_bytes)?;
    }
    let (db, mut stored) = open_file(&path, options.cache_bytes)?;
    match (options.source, stored.identity.origin) {
        (LogMode::Own, Origin::Relay(upstream)) => {
            let id = random_id();
            tracing::warn!(%upstream, new = %id, head = %stored.status.head.offset,
                "relay promoted, its log continues under a new log id");
            store::begin_log_id(&db, id, Origin::Own).map_err(|error| failed(&path, error))?;
            stored = store::load(&db).map_err(|error| failed(&path, error))?;
        }
        (LogMode::Command, Origin::Relay(log_id)) => return Err(LogOpenError::Relayed { path, log_id }),
        // A relay is told by its upstream whose history that is.
        (LogMode::Own | LogMode::Command, Origin::Own) | (LogMode::Relay, _) => {}
    }
    Ok(OpenedLog {
        db,
        stored,
        path,
        folder,
    })
}

/// Closes the history of the log in `dir` under its log id and lets it go on under a new one, counting offsets on. For a folder
/// restored from a backup: what was written after the backup was made may have been read by clients already.
pub fn new_log_id(dir: &Path) -> Result<LogId, LogOpenError> {
    let path = dir.join(FILE_NAME);
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Err(LogOpenError::Missing { path }),
        Err(source) => return Err(io_error(&path, source)),
    }
    let options = Options::new(Duration::MAX);
    let _folder = DirLock::take(dir)?;
    let found = examine(&path, &options)?;
    if found < SCHEMA {
        migrate::migrate(&path, found, options.cache_bytes)?;
    }
    let (db, stored) = open_file(&path, options.cache_bytes)?;
    if let Origin::Relay(log_id) = stored.identity.origin {
        // An older state of another log's history is that history all the same, and goes on as a part of it.
        return Err(LogOpenError::Relayed { path, log_id });
    }
    let id = random_id();
    store::begin_log_id(&db, id, stored.identity.origin).map_err(|error| failed(&path, error))?;
    db.close().map_err(|error| failed(&path, error.into()))?;
    Ok(id)
}

/// Opens a file that has been examined, or that this process had open before.
pub(super) fn open_file(path: &Path, cache_bytes: usize) -> Result<(Database, LoadedLog), LogOpenError> {
    caught(|| {
        let db = database(path, cache_bytes)?;
        let stored = store::load(&db)?;
        Ok((db, stored))
    })
    .map_err(|error| failed(path, error))
}

/// The database for real, with redb's own lock.
#[cfg(not(test))]
pub(super) fn database(path: &Path, cache_bytes: usize) -> Result<Database, StoreError> {
    Ok(Database::builder().set_cache_size(cache_bytes).open(path)?)
}

/// The same over a backend that tests can make fail.
#[cfg(test)]
pub(super) fn database(path: &Path, cache_bytes: usize) -> Result<Database, StoreError> {
    super::faults::database(path, cache_bytes)
}

/// Runs `work`, which calls redb on a file from outside: a panic of redb's about what it finds there is an error like any other.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // Unwind safe: whatever a panic leaves half done belongs to a database that nobody uses any more.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(StoreError::Panicked(text.unwrap_or("unknown reason").into()))
    })
}

/// Judges the file without changing a byte of it, and returns its schema.
fn examine(path: &Path, options: &Options) -> Result<u32, LogOpenError> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| io_error(path, source))?;
    let len = file.metadata().map_err(|source| io_error(path, source))?.len();
    if len == 0 {
        return Err(corrupt(path, "the file is empty"));
    }
    let found = caught(|| {
        // A quarter of the cache: what this one reads is not what the log will need.
        let db = Database::builder()
            .set_cache_size(options.cache_bytes / 4)
            .set_check_integrity_on_open(len <= options.check_up_to)
            .create_with_backend(OverlayBackend::new(file)?)?;
        let found = store::schema(&db)?;
        if found == SCHEMA {
            store::load(&db)?;
        }
        Ok(found)
    })
    .map_err(|error| failed(path, error))?;
    match found {
        0 => Err(corrupt(path, "its schema is 0, which no version wrote")),
        1..=SCHEMA => Ok(found),
        _ => Err(LogOpenError::NewerSchema {
            path: path.into(),
            found,
            known: SCHEMA,
        }),
    }
}

/// Makes an empty log beside its place and moves it there.
fn create(dir: &Path, path: &Path, options: &Options) -> Result<u32, LogOpenError> {
    let unfinished = dir.join(NEW_FILE_NAME);
    match fs::remove_file(&unfinished) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(io_error(&unfinished, source)),
        _ => {}
    }
    let (id, origin) = match options.source {
        LogMode::Own | LogMode::Command => (random_id(), Origin::Own),
        LogMode::Relay => (UNKNOWN_ID, Origin::Relay(UNKNOWN_ID)),
    };
    caught(|| {
        let db = Database::builder()
            .set_cache_size(options.cache_bytes)
            .create(&unfinished)?;
        store::create(&db, id, origin)?;
        Ok(db.close()?)
    })
    .map_err(|error| failed(&unfinished, error))?;
    fs::rename(&unfinished, path).map_err(|source| io_error(path, source))?;
    // The name is durable only with the folder.
    File::open(dir)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| io_error(dir, source))?;
    tracing::info!(path = %path.display(), log_id = %id, "new log created");
    Ok(SCHEMA)
}

/// The data folder itself, locked as long as this lives; a killed process lets go of it.
///
/// redb's lock on the file is not enough: it comes only with the opening, is let go while a failed database is reopened, and
/// says nothing for the other files in the folder. The folder is locked rather than a file in it, so that looking at a folder
/// that will be refused adds nothing to it.
#[derive(Debug)]
pub(super) struct DirLock {
    _folder: File,
}

impl DirLock {
    /// Makes the folder if need be, and takes it.
    pub(super) fn make(dir: &Path) -> Result<Self, LogOpenError> {
        fs::create_dir_all(dir).map_err(|source| io_error(dir, source))?;
        Self::take(dir)
    }

    fn take(dir: &Path) -> Result<Self, LogOpenError> {
        let folder = File::open(dir).map_err(|source| io_error(dir, source))?;
        match folder.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogOpenError::Locked { path: dir.into() }),
            // Some network file systems cannot lock a folder; redb's lock on the file is left then.
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, path = %dir.display(), "locking the data folder failed, only the log is locked");
            }
        }
        Ok(Self { _folder: folder })
    }
}

/// 64 bits that no other log has: two logs of one id would pass for one history.
pub(super) fn random_id() -> LogId {
    // The standard library's hasher has random keys from the system, so the hash of nothing is random too.
    let id = RandomState::new().hash_one(0_u8);
    // 0 says that there is none yet.
    LogId(id.max(UNKNOWN_ID.0 + 1))
}

/// What redb said, for a person.
pub(super) fn failed(path: &Path, error: StoreError) -> LogOpenError {
    let StoreError::Redb(error) = error else {
        return corrupt(path, &error.to_string());
    };
    match *error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => LogOpenError::Locked {
            path: path.parent().unwrap_or(path).into(),
        },
        redb::Error::Io(source)
            if !matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            io_error(path, source)
        }
        redb::Error::Io(source) => corrupt(path, &source.to_string()),
        error => corrupt(path, &error.to_string()),
    }
}

fn corrupt(path: &Path, reason: &str) -> LogOpenError {
    LogOpenError::Corrupt {
        path: path.into(),
        reason: reason.into(),
    }
}

pub(super) fn io_error(path: &Path, source: io::Error) -> LogOpenError {
    LogOpenError::Io {
        path: path.into(),
        source,
    }
}
