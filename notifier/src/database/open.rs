//! Opens the data folder: one process at a time, a newer schema refused, a damaged database moved aside.

use std::{
    fs::{File, TryLockError},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    Database, SCHEMA, StorageError, meta,
    migrate::{self, Migration, STEPS},
};

/// sled's page cache. Its default of 1 GiB would hold everything forever; the rows read twice are few.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// An opened database, and what had to be done for it.
#[derive(Debug)]
pub struct OpenedDatabase {
    /// The trees.
    pub database: Database,
    /// Set when a damaged database was found.
    pub moved_aside: Option<MovedAside>,
}

/// A damaged database, kept.
#[derive(Debug, Clone)]
pub struct MovedAside {
    /// Where it is now.
    pub to: PathBuf,
    /// What is wrong with it.
    pub reason: String,
    /// When it was written last: killmails since then may not have been posted.
    pub last_written: Option<SystemTime>,
}

/// Opens (or makes) the database in the data folder `dir`.
pub fn open(dir: &Path, now: SystemTime) -> Result<OpenedDatabase, StorageError> {
    open_as(dir, now, SCHEMA, STEPS)
}

/// As a version that knows schema `known`, and the `steps` to it from those before.
fn open_as(dir: &Path, now: SystemTime, known: u32, steps: &[Migration]) -> Result<OpenedDatabase, StorageError> {
    let failed = |error: &dyn std::fmt::Display| {
        let (path, reason) = (dir.display().to_string(), error.to_string());
        // sled has a lock of its own and no kind of error for it. It outlives ours by the last write under way.
        if reason.contains("could not acquire lock") {
            StorageError::Locked { path }
        } else {
            StorageError::Open { path, reason }
        }
    };
    std::fs::create_dir_all(dir).map_err(|error| failed(&error))?;
    let lock = File::create(dir.join("lock")).map_err(|error| failed(&error))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StorageError::Locked {
            path: dir.display().to_string(),
        },
        TryLockError::Error(error) => failed(&error),
    })?;
    let path = dir.join("sled");
    let marker = dir.join("schema");
    let made_before = marker.exists();
    let newer = |found| StorageError::Newer {
        path: dir.display().to_string(),
        found,
    };
    match migrate::marked(&marker) {
        // Not even opened: it may be written in a way that this version takes for damage.
        Some(found) if found > known => return Err(newer(found)),
        Some(found) if found < known && path.exists() => {
            migrate::copy(&path, found).map_err(|error| failed(&format!("cannot copy it: {error}")))?;
        }
        _ => {}
    }
    let (db, moved_aside) = match attempt(&path, made_before) {
        Ok(db) => (db, None),
        Err(AttemptError::Failed(error)) => return Err(failed(&error)),
        Err(AttemptError::Damaged(reason)) => {
            let moved = move_aside(&path, reason, now).map_err(|error| failed(&error))?;
            let db = attempt(&path, false).map_err(|refusal| match refusal {
                AttemptError::Failed(error) => failed(&error),
                AttemptError::Damaged(reason) => failed(&reason),
            })?;
            (db, Some(moved))
        }
    };
    let database = trees(db, lock)?;
    let found = schema(&database, known)?;
    if found > known {
        return Err(newer(found));
    }
    if found < known {
        migrate::apply(&database, found, known, steps).map_err(|error| StorageError::Migration {
            path: dir.display().to_string(),
            found,
            reason: error.to_string(),
            copy: migrate::copy_of(&path, found).display().to_string(),
        })?;
    }
    if !made_before || migrate::marked(&marker) != Some(known) {
        database.db.flush().map_err(StorageError::Flush)?;
        migrate::mark(&marker, known).map_err(|error| failed(&error))?;
    }
    Ok(OpenedDatabase { database, moved_aside })
}

enum AttemptError {
    Failed(sled::Error),
    Damaged(String),
}

/// `made_before`: the folder held a database with its schema in it.
fn attempt(path: &Path, made_before: bool) -> Result<sled::Db, AttemptError> {
    let open = || -> sled::Result<(sled::Db, bool)> {
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            .open()?;
        // Each tree is read through, since sled meets most damage only where it lies.
        let mut schema = false;
        for name in db.tree_names() {
            let tree = db.open_tree(&name)?;
            schema |= tree.get(meta::SCHEMA)?.is_some();
            for row in tree.iter() {
                row?;
            }
        }
        Ok((db, schema))
    };
    // sled 0.34 answers some damage with a panic instead of an error; both mean that nothing in the folder can be used.
    match catch_unwind(AssertUnwindSafe(open)) {
        // Where its newest pages cannot be read, sled begins with none and says nothing.
        Ok(Ok((_, false))) if made_before => Err(AttemptError::Damaged("its contents are missing".into())),
        Ok(Ok((db, _))) => Ok(db),
        Ok(Err(error @ (sled::Error::Corruption { .. } | sled::Error::ReportableBug(_)))) => {
            Err(AttemptError::Damaged(error.to_string()))
        }
        Ok(Err(error)) => Err(AttemptError::Failed(error)),
        Err(_) => Err(AttemptError::Damaged("its files are unreadable".into())),
    }
}

fn move_aside(path: &Path, reason: String, now: SystemTime) -> std::io::Result<MovedAside> {
    let last_written = std::fs::metadata(path.join("db")).and_then(|data| data.modified()).ok();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let to = path.with_file_name(format!("sled.damaged-{seconds}"));
    std::fs::rename(path, &to)?;
    Ok(MovedAside {
        to,
        reason,
        last_written,
    })
}

fn trees(db: sled::Db, lock: File) -> Result<Database, StorageError> {
    Ok(Database {
        subscriptions: db.open_tree("subscriptions")?,
        queue: db.open_tree("queue")?,
        posts: db.open_tree("posts")?,
        killmails: db.open_tree("killmails")?,
        handled: db.open_tree("handled")?,
        cooldowns: db.open_tree("cooldowns")?,
        meta: db.open_tree("meta")?,
        db,
        flushes: Arc::default(),
        _lock: lock,
    })
}

/// The schema that the database says; a new one gets `known`.
fn schema(database: &Database, known: u32) -> Result<u32, StorageError> {
    let Some(bytes) = database.meta.get(meta::SCHEMA)? else {
        database.meta.insert(meta::SCHEMA, &known.to_be_bytes())?;
        return Ok(known);
    };
    let bytes = bytes[..].try_into().map_err(|_| StorageError::Row {
        tree: "meta",
        reason: "the schema is not 4 bytes".into(),
    })?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_process_per_folder_and_no_newer_schema() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), SystemTime::now()).unwrap().database;
        let error = open(dir.path(), SystemTime::now()).unwrap_err();
        assert!(matches!(error, StorageError::Locked { .. }), "{error}");
        assert!(error.is_configuration());
        first.meta.insert(meta::SCHEMA, &9u32.to_be_bytes()).unwrap();
        first.flush().await.unwrap();
        drop(first);
        let error = open(dir.path(), SystemTime::now()).unwrap_err();
        assert!(matches!(error, StorageError::Newer { found: 9, .. }), "{error}");
    }

    const STEP: Migration = |database| {
        database.meta.insert("position", b"of schema 2")?;
        Ok(())
    };

    fn position(database: &Database) -> Option<sled::IVec> {
        database.meta.get("position").unwrap()
    }

    /// A folder in which a version of schema 1 has run.
    async fn of_schema_1() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let old = open_as(dir.path(), SystemTime::now(), 1, &[]).unwrap().database;
        old.meta.insert("position", b"of schema 1").unwrap();
        old.flush().await.unwrap();
        dir
    }

    #[tokio::test]
    async fn an_older_schema_is_migrated_after_a_copy_beside_it() {
        let (dir, now) = (of_schema_1().await, SystemTime::now());
        let new = open_as(dir.path(), now, 2, &[STEP]).unwrap().database;
        assert_eq!(position(&new).unwrap(), b"of schema 2");
        drop(new);
        // The version before refuses it by name, without opening it.
        let error = open_as(dir.path(), now, 1, &[]).unwrap_err();
        assert!(matches!(error, StorageError::Newer { found: 2, .. }), "{error}");
        // And goes on with the copy, in its own place.
        std::fs::remove_dir_all(dir.path().join("sled")).unwrap();
        std::fs::rename(dir.path().join("sled.schema1"), dir.path().join("sled")).unwrap();
        std::fs::write(dir.path().join("schema"), "1\n").unwrap();
        let back = open_as(dir.path(), now, 1, &[]).unwrap().database;
        assert_eq!(position(&back).unwrap(), b"of schema 1");
    }

    #[tokio::test]
    async fn a_step_that_fails_names_the_copy_and_is_taken_again() {
        let (dir, now) = (of_schema_1().await, SystemTime::now());
        let fails: Migration = |database| {
            STEP(database)?;
            Err(StorageError::Interrupted("pulled the plug".into()))
        };
        let error = open_as(dir.path(), now, 2, &[fails]).unwrap_err();
        assert!(error.is_configuration());
        let said = error.to_string();
        assert!(
            said.contains("pulled the plug") && said.contains("sled.schema1, which is a copy"),
            "{said}"
        );
        let again = open_as(dir.path(), now, 2, &[STEP]).unwrap().database;
        assert_eq!(position(&again).unwrap(), b"of schema 2");
        drop(again);
        let copy = attempt(&dir.path().join("sled.schema1"), true);
        let copy = copy.ok().expect("the copy can be opened");
        let kept = copy.open_tree("meta").unwrap().get("position").unwrap().unwrap();
        assert_eq!(kept, b"of schema 1", "the copy is from before the first try");
    }

    #[tokio::test]
    async fn a_damaged_database_is_moved_aside_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), SystemTime::now()).unwrap().database;
        first.meta.insert("position", b"x").unwrap();
        first.flush().await.unwrap();
        drop(first);
        let data = dir.path().join("sled/db");
        let length = std::fs::metadata(&data).unwrap().len();
        std::fs::write(&data, vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
        let opened = open(dir.path(), SystemTime::now()).unwrap();
        let moved = opened.moved_aside.expect("the damage is noticed");
        assert!(moved.to.join("db").exists() && moved.last_written.is_some());
        assert_eq!(opened.database.meta.get("position").unwrap(), None);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = open(&file, SystemTime::now()).unwrap_err().to_string();
        assert!(
            error.starts_with("the data folder ") && error.contains("file cannot be opened"),
            "{error}"
        );
    }
}
