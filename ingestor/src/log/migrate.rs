//! Older schemas: a copy beside the file first, then every step in one transaction.

use std::{fs, path::Path};

use redb::WriteTransaction;

use super::{
    format::SCHEMA,
    open::{self, LogOpenError, io_error},
    store::{META, StoreError},
};

/// Turns a log of one schema into one of the next.
type Migration = fn(&WriteTransaction) -> Result<(), StoreError>;

/// `STEPS[n]` leads from schema n + 1 to n + 2. Schema 1 is the first, so there is none yet.
const STEPS: &[Migration] = &[];

/// Brings the log at `path`, of schema `found`, to today's.
pub(super) fn migrate(path: &Path, found: u32, cache_bytes: usize) -> Result<(), LogOpenError> {
    apply(path, found, SCHEMA, STEPS, cache_bytes)
}

fn apply(path: &Path, found: u32, known: u32, steps: &[Migration], cache_bytes: usize) -> Result<(), LogOpenError> {
    let copy = path.with_extension(format!("redb.schema{found}"));
    // Under another name until it is complete: what is called a copy is one.
    let unfinished = path.with_extension("redb.unfinished");
    fs::copy(path, &unfinished)
        .and_then(|_| fs::File::open(&unfinished)?.sync_all())
        .and_then(|()| fs::rename(&unfinished, &copy))
        .map_err(|source| io_error(&unfinished, source))?;
    let migrated = open::caught(|| {
        let db = open::database(path, cache_bytes)?;
        let mut tx = db.begin_write()?;
        tx.set_quick_repair(true);
        for schema in found..known {
            let step = steps
                .get(schema as usize - 1)
                .ok_or_else(|| StoreError::Rejected(format!("no migration starts at schema {schema}")))?;
            step(&tx)?;
        }
        tx.open_table(META)?.insert("schema", &known.to_le_bytes()[..])?;
        tx.commit()?;
        Ok(db.close()?)
    });
    migrated.map_err(|error| LogOpenError::Migration {
        path: path.into(),
        found,
        known,
        reason: error.to_string(),
        copy: copy.clone(),
    })?;
    tracing::info!(path = %path.display(), from = found, to = known, copy = %copy.display(), "log migrated");
    Ok(())
}

#[cfg(test)]
mod tests {
    use redb::{ReadableTable as _, TableDefinition};

    use super::*;
    use crate::log::{EmbeddedLog, FILE_NAME, Options, store};

    const NEW_TABLE: TableDefinition<'static, u64, u64> = TableDefinition::new("new in schema 2");

    /// A log of schema 1 and what its file holds.
    fn old_log(dir: &Path) -> Vec<u8> {
        drop(EmbeddedLog::open(dir, Options::new(std::time::Duration::MAX)).unwrap());
        fs::read(dir.join(FILE_NAME)).unwrap()
    }

    #[test]
    fn takes_every_step_after_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let before = old_log(dir.path());
        let path = dir.path().join(FILE_NAME);
        let steps: [Migration; 2] = [
            |tx| {
                tx.open_table(NEW_TABLE)?.insert(1, 1)?;
                Ok(())
            },
            |tx| {
                tx.open_table(NEW_TABLE)?.insert(2, 1)?;
                Ok(())
            },
        ];
        apply(&path, 1, 3, &steps, 1 << 20).unwrap();
        assert!(fs::read(dir.path().join("log.redb.schema1")).unwrap() == before);
        let db = open::database(&path, 1 << 20).unwrap();
        assert_eq!(store::schema(&db).unwrap(), 3);
        let tx = db.begin_write().unwrap();
        assert_eq!(tx.open_table(NEW_TABLE).unwrap().iter().unwrap().count(), 2);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_step_that_fails_leaves_the_log_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        old_log(dir.path());
        let path = dir.path().join(FILE_NAME);
        let steps: [Migration; 1] = [|tx| {
            tx.open_table(NEW_TABLE)?.insert(1, 1)?;
            Err(StoreError::Rejected("a hash is unknown".into()))
        }];
        let error = apply(&path, 1, 2, &steps, 1 << 20).unwrap_err().to_string();
        assert_eq!(
            error.replace(dir.path().to_str().unwrap(), "DIR"),
            "cannot migrate DIR/log.redb from log schema 1 to 2: a hash is unknown; start the version that wrote it; the records are unchanged, and DIR/log.redb.schema1 is a copy from before the migration"
        );
        let db = open::database(&path, 1 << 20).unwrap();
        assert_eq!(store::schema(&db).unwrap(), 1);
        store::load(&db).unwrap();
    }
}
