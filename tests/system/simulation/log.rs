//! An in-memory log that survives a crash of its simulated server.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use killfeed::{
    cursor::{Cursor, LogId, Offset},
    id::KillmailId,
    v1::Killmail,
};
use killfeed_ingestor::log::{CursorStatus, Head, LogError, LogRead, LogStatus, ReadLimit, Record, RecordKind};
use killfeed_support::validator::Appended;
use prost::Message as _;
use tokio::sync::watch;

use super::rng::drawn;
use crate::recorder::digest;

/// A record before it is appended.
pub(crate) struct NewRecord {
    pub(crate) offset: u64,
    id: u64,
    ingested_ms: i64,
    bytes: Vec<u8>,
}

/// Returns whether the killmail is by NPCs: even ids are.
pub(crate) fn is_npc(id: u64) -> bool {
    id.is_multiple_of(2)
}

/// Returns killmail `id`, logged at `now`. Offsets are multiples of ten and so not contiguous.
pub(crate) fn killmail(id: u64, now: Duration) -> NewRecord {
    let ingested_ms = i64::try_from(now.as_millis()).unwrap();
    let killmail = Killmail {
        killmail_id: id,
        hash: "0123456789".repeat(20),
        npc: is_npc(id),
        ingested_time: Some(prost_types::Timestamp {
            seconds: ingested_ms / 1_000,
            nanos: (ingested_ms % 1_000) as i32 * 1_000_000,
        }),
        ..Default::default()
    };
    NewRecord {
        offset: id * 10,
        id,
        ingested_ms,
        bytes: killmail.encode_to_vec(),
    }
}

impl NewRecord {
    /// Returns the record for the validator's history.
    pub(crate) fn appended(&self) -> Appended {
        Appended {
            ingested_ms: self.ingested_ms,
            killmail: Some((self.id, 0)),
            digest: digest(&self.bytes),
        }
    }
}

/// The log of one replica.
pub(crate) struct MemoryLog {
    seed: u64,
    records: Mutex<Vec<Arc<Record>>>,
    trimmed: Mutex<u64>,
    head: Mutex<Head>,
    /// One sender per receiver, because tokio wakes the receivers of one sender in an unseeded order.
    told: Mutex<Vec<watch::Sender<Head>>>,
}

impl MemoryLog {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            seed,
            records: Mutex::default(),
            trimmed: Mutex::default(),
            head: Mutex::default(),
            told: Mutex::default(),
        })
    }

    pub(crate) fn append(&self, new: &NewRecord) {
        let kind = RecordKind::Killmail {
            id: KillmailId(new.id),
            revision: 0,
        };
        let record = Record::new(Offset(new.offset), new.ingested_ms, kind, new.bytes.clone().into());
        let head = Head {
            offset: record.offset,
            ingested_ms: record.ingested_ms,
        };
        self.records.lock().unwrap().push(Arc::new(record));
        *self.head.lock().unwrap() = head;
        self.told.lock().unwrap().retain(|told| told.send(head).is_ok());
    }

    pub(crate) fn trim(&self, trimmed: u64) {
        *self.trimmed.lock().unwrap() = trimmed;
        self.records.lock().unwrap().retain(|record| record.offset.0 > trimmed);
    }

    pub(crate) fn head_offset(&self) -> u64 {
        self.head.lock().unwrap().offset.0
    }
}

#[async_trait]
impl LogRead for MemoryLog {
    fn id(&self) -> LogId {
        LogId(7)
    }

    fn locate(&self, cursor: Cursor) -> CursorStatus {
        let trimmed = Offset(*self.trimmed.lock().unwrap());
        if cursor.log != self.id() {
            CursorStatus::Unrelated
        } else if cursor.offset.0 > self.head_offset() {
            CursorStatus::Ahead
        } else if cursor.offset < trimmed {
            CursorStatus::Expired { trimmed }
        } else {
            CursorStatus::After(cursor.offset)
        }
    }

    async fn read(&self, after: Offset, limit: ReadLimit) -> Result<Vec<Arc<Record>>, LogError> {
        // Reading takes time like a disk does, so that other events can happen meanwhile.
        let millis = drawn((self.seed, after.0, self.head_offset())) % 20;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let records = self.records.lock().unwrap();
        let first = records.partition_point(|record| record.offset <= after);
        Ok(records[first..].iter().take(limit.records).cloned().collect())
    }

    fn head(&self) -> watch::Receiver<Head> {
        let (told, head) = watch::channel(*self.head.lock().unwrap());
        self.told.lock().unwrap().push(told);
        head
    }

    fn status(&self) -> LogStatus {
        let records = self.records.lock().unwrap();
        LogStatus {
            trimmed: Offset(*self.trimmed.lock().unwrap()),
            earliest_ms: records.first().map(|record| record.ingested_ms),
            head: *self.head.lock().unwrap(),
            killmails: records.len() as u64,
        }
    }

    async fn seek(&self, since_ms: i64) -> Result<Offset, LogError> {
        let records = self.records.lock().unwrap();
        let before = records.iter().rfind(|record| record.ingested_ms < since_ms);
        Ok(before.map_or(Offset(*self.trimmed.lock().unwrap()), |record| record.offset))
    }

    async fn newest(&self, id: KillmailId) -> Result<Option<Arc<Record>>, LogError> {
        self.newest_at(id, Offset(u64::MAX)).await
    }

    async fn newest_at(&self, id: KillmailId, head: Offset) -> Result<Option<Arc<Record>>, LogError> {
        let records = self.records.lock().unwrap();
        let of_it = |record: &&Arc<Record>| {
            record.offset <= head && matches!(record.kind, RecordKind::Killmail { id: other, .. } if other == id)
        };
        Ok(records.iter().rfind(of_it).cloned())
    }
}
