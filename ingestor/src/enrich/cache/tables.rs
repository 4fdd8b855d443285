//! The tables of `names.redb`, and the transactions over them.

use std::sync::Arc;

use killfeed::{filter::fold, v1::EntityKind};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition};

use super::{EntityKey, NameEntry};
use crate::enrich::static_data::word_starts;

/// Of the tables below. Another one is not migrated: names are fetched anew.
pub(super) const SCHEMA: u64 = 2;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// (kind, id) → name, ticker, when each was fetched.
const NAMES: TableDefinition<'_, (i32, u64), (&str, &str, u64, u64)> = TableDefinition::new("names");
/// (kind, folded name, id): of a hundred thousand pilots none stands between two alliances.
const BY_NAME: TableDefinition<'_, (i32, &str, u64), ()> = TableDefinition::new("by_name");
/// (kind, folded name from a later word on, id).
const BY_WORD: TableDefinition<'_, (i32, &str, u64), ()> = TableDefinition::new("by_word");
/// (folded ticker, kind, id).
const BY_TICKER: TableDefinition<'_, (&str, i32, u64), ()> = TableDefinition::new("by_ticker");

/// (kind, id) → ESI's tag of the answer that the ticker is from.
const TAGS: TableDefinition<'_, (i32, u64), &str> = TableDefinition::new("tags");
/// What ESI refuses → until when, in milliseconds since 1970.
const REFUSALS: TableDefinition<'_, &str, u64> = TableDefinition::new("refusals");

/// A search of one letter looks at no more rows of a kind than this.
const MAX_SCANNED: usize = 2_000;

type Index<'txn> = Table<'txn, (i32, &'static str, u64), ()>;

/// Found by the beginning of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixMatch {
    /// What.
    pub key: EntityKey,
    /// Characters of its folded name.
    pub length: usize,
}

/// Makes the tables if they are not there, and says of which schema they are.
pub(super) fn prepare(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let schema = {
        let mut meta = transaction.open_table(META)?;
        let known = meta.get("schema")?.map(|schema| schema.value());
        match known {
            Some(schema) => schema,
            None => {
                meta.insert("schema", SCHEMA)?;
                SCHEMA
            }
        }
    };
    if schema == SCHEMA {
        transaction.open_table(NAMES)?;
        transaction.open_table(BY_NAME)?;
        transaction.open_table(BY_WORD)?;
        transaction.open_table(BY_TICKER)?;
        transaction.open_table(TAGS)?;
        transaction.open_table(REFUSALS)?;
    }
    transaction.commit()?;
    Ok(schema)
}

pub(super) fn get(database: &Database, keys: &[EntityKey]) -> Result<Vec<Option<NameEntry>>, redb::Error> {
    let names = database.begin_read()?.open_table(NAMES)?;
    let mut found = Vec::with_capacity(keys.len());
    for (kind, id) in keys {
        let row = names.get((*kind as i32, *id))?;
        found.push(row.map(|row| {
            let (name, ticker, name_at, ticker_at) = row.value();
            NameEntry {
                name: name.into(),
                ticker: ticker.into(),
                name_at,
                ticker_at,
            }
        }));
    }
    Ok(found)
}

pub(super) fn put(database: &Database, entries: &[(EntityKey, Arc<NameEntry>)]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut names = transaction.open_table(NAMES)?;
        let mut by_name = transaction.open_table(BY_NAME)?;
        let mut by_word = transaction.open_table(BY_WORD)?;
        let mut by_ticker = transaction.open_table(BY_TICKER)?;
        for ((kind, id), named) in entries {
            let key = (*kind as i32, *id);
            let row = (&*named.name, &*named.ticker, named.name_at, named.ticker_at);
            let before = names.insert(key, row)?.map(|row| {
                let (name, ticker, ..) = row.value();
                (name.to_owned(), ticker.to_owned())
            });
            let (old_name, old_ticker) = before.unwrap_or_default();
            if old_name != *named.name {
                index(&fold(&old_name), |from, first| {
                    forget(if first { &mut by_name } else { &mut by_word }, from, key)
                })?;
                index(&fold(&named.name), |from, first| {
                    insert(if first { &mut by_name } else { &mut by_word }, from, key)
                })?;
            }
            if old_ticker != *named.ticker {
                if !old_ticker.is_empty() {
                    by_ticker.remove((&*fold(&old_ticker), key.0, key.1))?;
                }
                if !named.ticker.is_empty() {
                    by_ticker.insert((&*fold(&named.ticker), key.0, key.1), ())?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

pub(super) fn tags(database: &Database, keys: &[EntityKey]) -> Result<Vec<Option<String>>, redb::Error> {
    let tags = database.begin_read()?.open_table(TAGS)?;
    let mut found = Vec::with_capacity(keys.len());
    for (kind, id) in keys {
        found.push(tags.get((*kind as i32, *id))?.map(|tag| tag.value().to_owned()));
    }
    Ok(found)
}

pub(super) fn put_tags(database: &Database, entries: &[(EntityKey, String)]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut tags = transaction.open_table(TAGS)?;
        for ((kind, id), tag) in entries {
            let key = (*kind as i32, *id);
            if tag.is_empty() {
                tags.remove(key)?;
            } else {
                tags.insert(key, &**tag)?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

pub(super) fn refusals(database: &Database) -> Result<Vec<(String, u64)>, redb::Error> {
    let table = database.begin_read()?.open_table(REFUSALS)?;
    let mut found = Vec::new();
    for row in table.range::<&str>(..)? {
        let (name, until) = row?;
        found.push((name.value().to_owned(), until.value()));
    }
    Ok(found)
}

pub(super) fn put_refusals(database: &Database, refusals: &[(String, u64)]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(REFUSALS)?;
        table.retain(|_, _| false)?;
        for (name, until) in refusals {
            table.insert(&**name, *until)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

pub(super) fn exact(database: &Database, kind: EntityKind, folded: &str) -> Result<Vec<u64>, redb::Error> {
    let by_name = database.begin_read()?.open_table(BY_NAME)?;
    let mut ids = Vec::new();
    for row in by_name.range((kind as i32, folded, 0)..=(kind as i32, folded, u64::MAX))? {
        ids.push(row?.0.value().2);
    }
    Ok(ids)
}

pub(super) fn by_ticker(database: &Database, folded: &str) -> Result<Vec<EntityKey>, redb::Error> {
    let by_ticker = database.begin_read()?.open_table(BY_TICKER)?;
    let mut keys = Vec::new();
    for row in by_ticker.range((folded, i32::MIN, 0)..=(folded, i32::MAX, u64::MAX))? {
        let (_, kind, id) = row?.0.value();
        keys.extend(kind_of(kind).map(|kind| (kind, id)));
    }
    Ok(keys)
}

pub(super) fn prefix(database: &Database, kind: EntityKind, folded: &str) -> Result<Vec<PrefixMatch>, redb::Error> {
    let mut found = Vec::new();
    beginning(database, BY_NAME, kind, folded, |name, id| {
        found.push(PrefixMatch {
            key: (kind, id),
            length: name.chars().count(),
        });
    })?;
    Ok(found)
}

pub(super) fn words(database: &Database, kind: EntityKind, folded: &str) -> Result<Vec<EntityKey>, redb::Error> {
    let mut found = Vec::new();
    beginning(database, BY_WORD, kind, folded, |_, id| found.push((kind, id)))?;
    Ok(found)
}

/// Shows the first rows of the kind that begin with `folded`.
fn beginning(
    database: &Database,
    table: TableDefinition<'_, (i32, &'static str, u64), ()>,
    kind: EntityKind,
    folded: &str,
    mut each: impl FnMut(&str, u64),
) -> Result<(), redb::Error> {
    let table = database.begin_read()?.open_table(table)?;
    for row in table.range((kind as i32, folded, 0)..)?.take(MAX_SCANNED) {
        let row = row?.0;
        let (of, text, id) = row.value();
        if of != kind as i32 || !text.starts_with(folded) {
            break;
        }
        each(text, id);
    }
    Ok(())
}

/// Hands every place of the name where a word begins to `write`, with whether it is the first.
fn index(folded: &str, mut write: impl FnMut(&str, bool) -> Result<(), redb::Error>) -> Result<(), redb::Error> {
    word_starts(folded).try_for_each(|at| write(&folded[at..], at == 0))
}

fn insert(table: &mut Index<'_>, text: &str, (kind, id): (i32, u64)) -> Result<(), redb::Error> {
    table.insert((kind, text, id), ())?;
    Ok(())
}

fn forget(table: &mut Index<'_>, text: &str, (kind, id): (i32, u64)) -> Result<(), redb::Error> {
    table.remove((kind, text, id))?;
    Ok(())
}

/// A kind of a later version is passed over.
fn kind_of(kind: i32) -> Option<EntityKind> {
    EntityKind::try_from(kind).ok()
}
