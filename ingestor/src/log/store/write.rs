//! What changes the log: appends and removals, each one transaction.

use std::sync::Arc;

use killfeed::{cursor::Offset, id::KillmailId};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, Table, WriteTransaction};

use super::{FEED, FEED_STATE, INDEX, MARKS, META, RECORDS, StoreError, number, start};
use crate::log::{
    AppendBatch, DedupEntry, Head, NewBody, Record, RecordKind,
    format::{self, MARK},
};

/// What an append did.
#[derive(Debug)]
pub(in crate::log) struct Appended {
    pub(in crate::log) head: Head,
    pub(in crate::log) killmails: u64,
    pub(in crate::log) records: Vec<Arc<Record>>,
}

/// What a removal would do.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::log) struct Removal {
    /// The records to go.
    offsets: Vec<Offset>,
    /// [`Status::trimmed`] and [`Status::earliest_ms`] once they are gone.
    pub(in crate::log) trimmed: Offset,
    pub(in crate::log) earliest_ms: Option<i64>,
}

impl Removal {
    pub(in crate::log) fn records(&self) -> usize {
        self.offsets.len()
    }
}

/// Events, marks, index, counters and feed state in one transaction, or none of it.
pub(in crate::log) fn append(db: &Database, batch: &AppendBatch) -> Result<Appended, StoreError> {
    let tx = start(db)?;
    let appended = {
        let mut meta = tx.open_table(META)?;
        let mut tables = Tables::open(&tx)?;
        let mut next = u64::from_le_bytes(number(&meta, "next")?);
        let mut head_ms = i64::from_le_bytes(number(&meta, "head_ms")?);
        let mut killmails = u64::from_le_bytes(number(&meta, "killmails")?);
        let mut records = Vec::with_capacity(batch.events.len());
        for event in &batch.events {
            let offset = event.offset.unwrap_or(Offset(next));
            if offset.0 < next {
                return Err(StoreError::Rejected(format!(
                    "invalid offset {offset}: expected at least {next}"
                )));
            }
            if event.ingested_ms < head_ms {
                return Err(StoreError::Rejected(format!(
                    "offset {offset} has the time {} ms, which is before the previous record's ({head_ms} ms)",
                    event.ingested_ms
                )));
            }
            next = offset.0.checked_add(1).ok_or_else(|| {
                StoreError::Rejected(format!("invalid offset {offset}: no offset is left for later records"))
            })?;
            head_ms = event.ingested_ms;
            let (kind, bytes) = match &event.body {
                NewBody::Gap(bytes) => (RecordKind::Gap, bytes),
                NewBody::Killmail {
                    id,
                    revision,
                    hash,
                    bytes,
                } => {
                    let mark = DedupEntry {
                        revision: *revision,
                        hash: *hash,
                    };
                    match event.offset {
                        // Where the history is another's, it decides what is news.
                        Some(_) => tables.relayed(*id, &mark)?,
                        None => tables.news(*id, &mark)?,
                    }
                    killmails += u64::from(!tables.holds(*id)?);
                    tables.index.insert((id.0, *revision), offset.0)?;
                    (
                        RecordKind::Killmail {
                            id: *id,
                            revision: *revision,
                        },
                        bytes,
                    )
                }
            };
            let value = format::encode_record(event.ingested_ms, kind, bytes);
            tables.records.insert(offset.0, &value[..])?;
            records.push(Arc::new(Record::new(offset, event.ingested_ms, kind, bytes.clone())));
        }
        for (id, mark) in &batch.dedup_entries {
            tables.rewrite(*id, mark)?;
        }
        if let Some(state) = &batch.feed_state {
            tx.open_table(FEED)?.insert(FEED_STATE, &state[..])?;
        }
        if !records.is_empty() {
            meta.insert("next", &next.to_le_bytes()[..])?;
            meta.insert("head_ms", &head_ms.to_le_bytes()[..])?;
            meta.insert("killmails", &killmails.to_le_bytes()[..])?;
        }
        let head = Head {
            offset: Offset(next - 1),
            ingested_ms: head_ms,
        };
        Appended {
            head,
            killmails,
            records,
        }
    };
    tx.commit()?;
    Ok(appended)
}

/// The first records appended before `cutoff_ms`, at most `max`; `None` = there is none.
pub(in crate::log) fn plan_removal(db: &Database, cutoff_ms: i64, max: usize) -> Result<Option<Removal>, StoreError> {
    let records = db.begin_read()?.open_table(RECORDS)?;
    let mut offsets = Vec::new();
    let mut earliest_ms = None;
    for entry in records.iter()? {
        let (offset, value) = entry?;
        // A record whose header is damaged tells nobody anything: it goes with those before it.
        if let Ok(header) = format::decode_header(value.value())
            && (header.ingested_ms >= cutoff_ms || offsets.len() == max)
        {
            earliest_ms = Some(header.ingested_ms);
            break;
        }
        offsets.push(Offset(offset.value()));
    }
    Ok(offsets.last().copied().map(|trimmed| Removal {
        offsets,
        trimmed,
        earliest_ms,
    }))
}

/// Removes what was planned; marks stay. Returns how many distinct killmails are left.
pub(in crate::log) fn remove(db: &Database, removal: &Removal) -> Result<u64, StoreError> {
    let tx = start(db)?;
    let killmails = {
        let mut meta = tx.open_table(META)?;
        let mut tables = Tables::open(&tx)?;
        let mut killmails = u64::from_le_bytes(number(&meta, "killmails")?);
        for offset in &removal.offsets {
            let header = match tables.records.remove(offset.0)? {
                Some(value) => format::decode_header(value.value()).ok(),
                None => None,
            };
            if let Some(RecordKind::Killmail { id, revision }) = header.map(|header| header.kind) {
                // A relayed history may hold one revision twice: the index names the later one.
                let named = tables.index.get((id.0, revision))?.map(|offset| offset.value());
                if named == Some(offset.0) {
                    tables.index.remove((id.0, revision))?;
                }
                killmails = killmails.saturating_sub(u64::from(!tables.holds(id)?));
            }
        }
        meta.insert("trimmed", &removal.trimmed.0.to_le_bytes()[..])?;
        meta.insert("killmails", &killmails.to_le_bytes()[..])?;
        killmails
    };
    tx.commit()?;
    Ok(killmails)
}

/// The tables that hold killmails.
struct Tables<'tx> {
    records: Table<'tx, u64, &'static [u8]>,
    index: Table<'tx, (u64, u32), u64>,
    marks: Table<'tx, u64, [u8; MARK]>,
}

impl<'tx> Tables<'tx> {
    fn open(tx: &'tx WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            records: tx.open_table(RECORDS)?,
            index: tx.open_table(INDEX)?,
            marks: tx.open_table(MARKS)?,
        })
    }

    /// Whether some revision of it is in the log.
    fn holds(&self, id: KillmailId) -> Result<bool, StoreError> {
        Ok(self.index.range((id.0, 0)..=(id.0, u32::MAX))?.next().is_some())
    }

    /// Moves the mark for a revision that is appended: it must be news.
    fn news(&mut self, id: KillmailId, mark: &DedupEntry) -> Result<(), StoreError> {
        if let Some(known) = self.marks.get(id.0)? {
            let known = format::decode_mark(&known.value())?;
            if known.revision >= mark.revision {
                return Err(StoreError::Rejected(format!(
                    "killmail {id} in revision {} is not new: revision {} is already logged",
                    mark.revision, known.revision
                )));
            }
        }
        self.marks.insert(id.0, format::encode_mark(mark))?;
        Ok(())
    }

    /// Moves the mark for a revision of somebody else's history: never back, whatever comes.
    fn relayed(&mut self, id: KillmailId, mark: &DedupEntry) -> Result<(), StoreError> {
        if let Some(known) = self.marks.get(id.0)?
            && format::decode_mark(&known.value())?.revision > mark.revision
        {
            return Ok(());
        }
        self.marks.insert(id.0, format::encode_mark(mark))?;
        Ok(())
    }

    /// Writes a mark without an event: its revision must not go back.
    fn rewrite(&mut self, id: KillmailId, mark: &DedupEntry) -> Result<(), StoreError> {
        if let Some(known) = self.marks.get(id.0)? {
            let known = format::decode_mark(&known.value())?;
            if known.revision > mark.revision {
                return Err(StoreError::Rejected(format!(
                    "the dedup entry of killmail {id} would go back from revision {} to {}",
                    known.revision, mark.revision
                )));
            }
        }
        self.marks.insert(id.0, format::encode_mark(mark))?;
        Ok(())
    }
}
