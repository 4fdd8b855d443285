//! Older schemas: a copy beside the file first, then one step after the other, each in one transaction.

use std::{fs, path::Path};

use redb::{ReadableDatabase as _, WriteTransaction};

use super::{
    format::SCHEMA,
    open::{self, OpenError, io_error},
    store::{META, StoreError},
};

/// Turns a log of one schema into one of the next.
type Step = fn(&WriteTransaction) -> Result<(), StoreError>;

/// `STEPS[n]` leads from schema n + 1 to n + 2. Schema 1 is the first, so there is none yet.
const STEPS: &[Step] = &[];

/// Brings the log at `path`, of schema `found`, to today's.
pub(super) fn migrate(path: &Path, found: u32, cache_bytes: usize) -> Result<(), OpenError> {
    apply(path, found, SCHEMA, STEPS, cache_bytes)
}

fn apply(path: &Path, found: u32, known: u32, steps: &[Step], cache_bytes: usize) -> Result<(), OpenError> {
    let copy = path.with_extension(format!("redb.schema{found}"));
    if !copy.exists() {
        // Under another name until it is complete: what is called a copy is one.
        let unfinished = copy.with_extension("unfinished");
        fs::copy(path, &unfinished).map_err(|source| io_error(&unfinished, source))?;
        fs::File::open(&unfinished)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&unfinished, &copy))
            .map_err(|source| io_error(&copy, source))?;
    }
    let migrated = open::caught(|| {
        let db = open::database(path, cache_bytes)?;
        for schema in found..known {
            let step = steps
                .get(schema as usize - 1)
                .ok_or_else(|| StoreError::Refused(format!("there is no way from schema {schema} to the next")))?;
            let mut tx = db.begin_write()?;
            tx.set_quick_repair(true);
            step(&tx)?;
            tx.open_table(META)?.insert("schema", &(schema + 1).to_le_bytes()[..])?;
            tx.commit()?;
        }
        // Nobody reads yet; this only proves that the tables can be opened.
        db.begin_read()?.open_table(META)?;
        Ok(db.close()?)
    });
    migrated.map_err(|error| OpenError::Corrupt {
        path: path.into(),
        reason: format!(
            "it could not be brought from schema {found} to {known}: {error}; {} is a copy from before",
            copy.display()
        ),
    })?;
    tracing::info!(path = %path.display(), from = found, to = known, copy = %copy.display(), "the log was migrated");
    Ok(())
}
