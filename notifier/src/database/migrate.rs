//! Older schemas: a copy of the database beside it first, then step after step.
//!
//! The copy is made before sled opens anything: a database that is being written is no backup. sled's transactions cannot scan, so
//! a step is not one of them; it is made so that it may run twice, and the new schema is written only when all of them are on disk.
//! A process that is killed in between begins again at the old schema, and the copy stays as it was.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{Database, StorageError, meta};

/// Turns a database of one schema into one of the next. May run again over its own work.
pub(super) type Migration = fn(&Database) -> Result<(), StorageError>;

/// `STEPS[n]` leads from schema n + 1 to n + 2. Schema 1 is the first, so there is none yet.
pub(super) const STEPS: &[Migration] = &[];

/// What the file beside the database says; `None` = there is no such file, or it cannot be understood: the database knows.
pub(super) fn marked(marker: &Path) -> Option<u32> {
    fs::read_to_string(marker).ok()?.trim().parse().ok()
}

/// The file beside the database, whole or not at all.
pub(super) fn mark(marker: &Path, schema: u32) -> io::Result<()> {
    let unfinished = marker.with_extension("new");
    fs::write(&unfinished, format!("{schema}\n"))?;
    File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, marker)
}

/// Where the copy of a database of this schema lies.
pub(super) fn copy_of(database: &Path, schema: u32) -> PathBuf {
    database.with_file_name(format!("sled.schema{schema}"))
}

/// Copies the closed database beside itself, unless an earlier try has done so.
pub(super) fn copy(database: &Path, schema: u32) -> io::Result<()> {
    let to = copy_of(database, schema);
    if to.exists() {
        return Ok(());
    }
    // Under another name until it is complete: what is called a copy is one.
    let unfinished = database.with_file_name("sled.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    copy_folder(database, &unfinished)?;
    fs::rename(&unfinished, &to)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    Ok(())
}

/// Takes every step from schema `found` on, and writes `known`.
pub(super) fn apply(database: &Database, found: u32, known: u32, steps: &[Migration]) -> Result<(), StorageError> {
    for schema in found..known {
        let step = (schema as usize).checked_sub(1).and_then(|index| steps.get(index));
        let step = step.ok_or_else(|| StorageError::Row {
            tree: "meta",
            reason: format!("no step leads on from schema {schema}"),
        })?;
        step(database)?;
    }
    database.flush_now()?;
    database.meta.insert(meta::SCHEMA, &known.to_be_bytes())?;
    database.flush_now()?;
    tracing::info!(from = found, to = known, "the database was migrated");
    Ok(())
}
