//! The tables of `log.redb` and every transaction over them. Blocking: called by the writer's thread and off the runtime.

use std::sync::Arc;

use bytes::Bytes;
use killfeed::{
    cursor::{LogId, Offset},
    id::KillmailId,
};
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction};

use super::{
    DedupEntry, Head, LogStatus, ReadLimit, Record, RecordKind,
    format::{self, Damaged, MARK, Origin, SCHEMA, UNKNOWN_ID},
};

mod adopt;
mod write;

pub(super) use adopt::adopt;
pub(super) use write::{Appended, Removal, append, plan_removal, remove};

pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const RECORDS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("records");
const INDEX: TableDefinition<'static, (u64, u32), u64> = TableDefinition::new("index");
const MARKS: TableDefinition<'static, u64, [u8; MARK]> = TableDefinition::new("marks");
const FEED: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("feed");
const FEED_STATE: &str = "state";

/// Why a transaction did not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("{0}")]
    Redb(Box<redb::Error>),
    #[error("the stored data is corrupt: {0}")]
    Damaged(#[from] Damaged),
    #[error("{0}")]
    Rejected(String),
    #[error("{0}")]
    Unavailable(String),
    /// redb may panic on a file that was damaged behind its back.
    #[error("the storage engine failed: {0}")]
    Panicked(String),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

/// Who this log is, and whose history it continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogIdentity {
    pub(super) id: LogId,
    /// Oldest first: the log ids before, each with the last offset it gave out.
    pub(super) lineage: Vec<(LogId, Offset)>,
    pub(super) origin: Origin,
}

/// What `meta` and the ends of the log say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoadedLog {
    pub(super) identity: LogIdentity,
    pub(super) status: LogStatus,
}

/// Makes a new, empty log in an empty database.
pub(super) fn create(db: &Database, id: LogId, origin: Origin) -> Result<(), StoreError> {
    let tx = start(db)?;
    {
        let mut meta = tx.open_table(META)?;
        meta.insert("schema", &SCHEMA.to_le_bytes()[..])?;
        meta.insert("log_id", &id.0.to_le_bytes()[..])?;
        meta.insert("lineage", &[][..])?;
        meta.insert("origin", format::encode_origin(origin).as_bytes())?;
        meta.insert("next", &1_u64.to_le_bytes()[..])?;
        meta.insert("head_ms", &0_i64.to_le_bytes()[..])?;
        meta.insert("trimmed", &0_u64.to_le_bytes()[..])?;
        meta.insert("killmails", &0_u64.to_le_bytes()[..])?;
        tx.open_table(RECORDS)?;
        tx.open_table(INDEX)?;
        tx.open_table(MARKS)?;
        tx.open_table(FEED)?;
    }
    Ok(tx.commit()?)
}

/// The schema, before anything else is believed.
pub(super) fn schema(db: &Database) -> Result<u32, StoreError> {
    let meta = db.begin_read()?.open_table(META)?;
    Ok(u32::from_le_bytes(number(&meta, "schema")?))
}

/// Who the log is and how far it goes.
pub(super) fn load(db: &Database) -> Result<LoadedLog, StoreError> {
    let tx = db.begin_read()?;
    let meta = tx.open_table(META)?;
    let identity = LogIdentity {
        id: LogId(u64::from_le_bytes(number(&meta, "log_id")?)),
        lineage: format::decode_lineage(&text(&meta, "lineage")?)?,
        origin: format::decode_origin(&text(&meta, "origin")?)?,
    };
    let next = u64::from_le_bytes(number(&meta, "next")?);
    let head = Head {
        offset: Offset(next.saturating_sub(1)),
        ingested_ms: i64::from_le_bytes(number(&meta, "head_ms")?),
    };
    let trimmed = Offset(u64::from_le_bytes(number(&meta, "trimmed")?));
    let killmails = u64::from_le_bytes(number(&meta, "killmails")?);

    // What the tables hold has to agree with that, or this is not a log that this program wrote.
    let records = tx.open_table(RECORDS)?;
    let oldest = records.first()?;
    let newest = records.last()?;
    let newest = newest.map_or(trimmed, |(offset, _)| Offset(offset.value()));
    if newest != head.offset || trimmed > newest {
        let problem = format!(
            "the newest record is {newest}, expected {}, with {trimmed} removed",
            head.offset
        );
        return Err(Damaged(problem).into());
    }
    let earliest_ms = match oldest {
        Some((_, value)) => Some(format::decode_header(value.value())?.ingested_ms),
        None => None,
    };
    tx.open_table(INDEX)?;
    tx.open_table(MARKS)?;
    tx.open_table(FEED)?;
    let status = LogStatus {
        trimmed,
        earliest_ms,
        head,
        killmails,
    };
    Ok(LoadedLog { identity, status })
}

/// Closes the history written so far under its log id and goes on under another, counting on.
pub(super) fn begin_log_id(db: &Database, id: LogId, origin: Origin) -> Result<(), StoreError> {
    let stored = load(db)?;
    let mut lineage = stored.identity.lineage;
    if stored.identity.id != UNKNOWN_ID {
        lineage.push((stored.identity.id, stored.status.head.offset));
    }
    let tx = start(db)?;
    {
        let mut meta = tx.open_table(META)?;
        meta.insert("log_id", &id.0.to_le_bytes()[..])?;
        meta.insert("lineage", &format::encode_lineage(&lineage)[..])?;
        meta.insert("origin", format::encode_origin(origin).as_bytes())?;
    }
    Ok(tx.commit()?)
}

/// Records after `after` up to and including `head`.
pub(super) fn read(
    db: &Database,
    after: Offset,
    head: Offset,
    limit: ReadLimit,
) -> Result<Vec<Arc<Record>>, StoreError> {
    let mut read = Vec::new();
    if after >= head {
        return Ok(read);
    }
    let records = db.begin_read()?.open_table(RECORDS)?;
    let mut bytes = 0;
    for entry in records.range(after.0.saturating_add(1)..=head.0)? {
        let (offset, value) = entry?;
        let record = decode(Offset(offset.value()), value.value());
        bytes += record.bytes.len();
        read.push(Arc::new(record));
        if !limit.admits(read.len(), bytes) {
            break;
        }
    }
    Ok(read)
}

/// The newest records for which `room` says yes, oldest first, and the offset above which that is all of them.
pub(super) fn newest_records(
    db: &Database,
    trimmed: Offset,
    mut room: impl FnMut(&Record) -> bool,
) -> Result<(Offset, Vec<Arc<Record>>), StoreError> {
    let records = db.begin_read()?.open_table(RECORDS)?;
    let mut newest = Vec::new();
    let mut floor = trimmed;
    for entry in records.iter()?.rev() {
        let (offset, value) = entry?;
        let record = decode(Offset(offset.value()), value.value());
        if !room(&record) {
            floor = record.offset;
            break;
        }
        newest.push(Arc::new(record));
    }
    newest.reverse();
    Ok((floor, newest))
}

/// The offset after which the first record appended at or after `since_ms` comes, by halving the range: offsets may have
/// holes, so each probe looks at the first record from there on.
pub(super) fn seek(db: &Database, since_ms: i64, status: &LogStatus) -> Result<Offset, StoreError> {
    let (mut low, mut high) = (status.trimmed.0.saturating_add(1), status.head.offset.0);
    if since_ms > status.head.ingested_ms || low > high {
        return Ok(status.head.offset);
    }
    let records = db.begin_read()?.open_table(RECORDS)?;
    // Kept true: every record below `low` is too old; the first one from `high` on is not.
    while low < high {
        let middle = low + (high - low) / 2;
        let found = match records.range(middle..=high)?.next() {
            Some(entry) => {
                let (offset, value) = entry?;
                Some((offset.value(), format::decode_header(value.value())?.ingested_ms))
            }
            None => None,
        };
        match found {
            Some((offset, ms)) if ms < since_ms => low = offset.saturating_add(1),
            _ => high = middle,
        }
    }
    Ok(Offset(low - 1))
}

/// A killmail in its newest revision, if it lies at or below `head`.
pub(super) fn newest(db: &Database, id: KillmailId, head: Offset) -> Result<Option<Arc<Record>>, StoreError> {
    let tx = db.begin_read()?;
    let index = tx.open_table(INDEX)?;
    let records = tx.open_table(RECORDS)?;
    for entry in index.range((id.0, 0)..=(id.0, u32::MAX))?.rev() {
        let offset = entry?.1.value();
        if offset <= head.0
            && let Some(value) = records.get(offset)?
        {
            return Ok(Some(Arc::new(decode(Offset(offset), value.value()))));
        }
    }
    Ok(None)
}

/// What is remembered of these killmails, in the same order.
pub(super) fn marks(db: &Database, ids: &[KillmailId]) -> Result<Vec<Option<DedupEntry>>, StoreError> {
    let marks = db.begin_read()?.open_table(MARKS)?;
    ids.iter()
        .map(|id| match marks.get(id.0)? {
            Some(mark) => Ok(Some(format::decode_mark(&mark.value())?)),
            None => Ok(None),
        })
        .collect()
}

/// What the feed stored last.
pub(super) fn feed_state(db: &Database) -> Result<Option<Bytes>, StoreError> {
    let feed = db.begin_read()?.open_table(FEED)?;
    Ok(feed.get(FEED_STATE)?.map(|state| Bytes::copy_from_slice(state.value())))
}

/// Every transaction is on disk when it returns, and leaves a file that opens at once after a crash: without quick repair redb
/// reads the whole file then, which a year's log would feel.
fn start(db: &Database) -> Result<WriteTransaction, StoreError> {
    let mut tx = db.begin_write()?;
    tx.set_durability(Durability::Immediate)?;
    tx.set_quick_repair(true);
    Ok(tx)
}

/// A record, or in the place of a damaged one a gap: readers go on and know that something is missing there.
fn decode(offset: Offset, value: &[u8]) -> Record {
    format::decode_record(offset, value).unwrap_or_else(|error| {
        tracing::error!(offset = offset.0, %error, "log record is corrupt, serving a gap in its place");
        let ingested_ms = format::decode_header(value).map_or(0, |header| header.ingested_ms);
        let gap = killfeed::v1::Gap {
            reason: killfeed::v1::GapReason::UpstreamMissing.into(),
            missing: 1,
            ..Default::default()
        };
        let bytes = prost::Message::encode_to_vec(&gap);
        Record::new(offset, ingested_ms, RecordKind::Gap, bytes.into())
    })
}

fn text(meta: &impl ReadableTable<&'static str, &'static [u8]>, name: &str) -> Result<Vec<u8>, StoreError> {
    let value = meta.get(name)?;
    let value = value.ok_or_else(|| Damaged(format!("`{name}` is missing from its meta table")))?;
    Ok(value.value().to_vec())
}

fn number<const N: usize>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<[u8; N], StoreError> {
    Ok(format::decode_number(name, &text(meta, name)?)?)
}
