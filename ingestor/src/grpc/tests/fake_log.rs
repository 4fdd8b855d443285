//! A log in memory that can be trimmed, broken and slowed down.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use killfeed::{
    cursor::{Cursor, LogId, Offset},
    id::KillmailId,
    v1::{Gap, GapReason, Killmail},
};
use prost::Message as _;
use tokio::sync::watch;

use crate::log::{CursorStatus, Head, LogError, LogRead, LogStatus, ReadLimit, Record, RecordKind};

pub(in crate::grpc) struct FakeLog {
    id: LogId,
    state: Mutex<State>,
    head: watch::Sender<Head>,
}

#[derive(Default)]
struct State {
    records: Vec<Arc<Record>>,
    trimmed: u64,
    failing: bool,
    reads: usize,
    /// How long a read takes.
    delay: Duration,
}

impl FakeLog {
    pub(in crate::grpc) fn new() -> Arc<Self> {
        Arc::new(Self {
            id: LogId(0x10),
            state: Mutex::default(),
            head: watch::Sender::new(Head::default()),
        })
    }

    /// With killmails 1..=n at offsets 10, 20, ..., ingested at 1 s, 2 s, ...; even ones are by NPCs.
    pub(in crate::grpc) fn of(n: u64) -> Arc<Self> {
        let log = Self::new();
        log.more(n);
        log
    }

    pub(in crate::grpc) fn more(&self, n: u64) {
        let have = self.head.borrow().offset.0 / 10;
        for id in have + 1..=have + n {
            self.killmail(id, 0);
        }
    }

    /// As many of 10 KB each, so that soon more waits than what lies between a server and a client that does not read.
    pub(in crate::grpc) fn large(&self, n: u64) {
        self.sized(n, 10_000);
    }

    /// As many of so many bytes each.
    pub(in crate::grpc) fn sized(&self, n: u64, bytes: usize) {
        let have = self.head.borrow().offset.0 / 10;
        for id in have + 1..=have + n {
            let killmail = Killmail {
                killmail_id: id,
                hash: "x".repeat(bytes),
                ..Default::default()
            };
            let kind = RecordKind::Killmail {
                id: KillmailId(id),
                revision: 0,
            };
            self.append(kind, killmail.encode_to_vec());
        }
    }

    /// The next record.
    pub(in crate::grpc) fn killmail(&self, id: u64, revision: u32) {
        let killmail = Killmail {
            killmail_id: id,
            revision,
            npc: id.is_multiple_of(2),
            ..Default::default()
        };
        let kind = RecordKind::Killmail {
            id: KillmailId(id),
            revision,
        };
        self.append(kind, killmail.encode_to_vec());
    }

    pub(in crate::grpc) fn gap(&self) {
        let gap = Gap {
            reason: GapReason::UpstreamMissing.into(),
            missing: 1,
            ..Default::default()
        };
        self.append(RecordKind::Gap, gap.encode_to_vec());
    }

    fn append(&self, kind: RecordKind, bytes: Vec<u8>) {
        let offset = Offset(self.head.borrow().offset.0 + 10);
        let ingested_ms = i64::try_from(offset.0).unwrap() * 100;
        let record = Record::new(offset, ingested_ms, kind, bytes.into());
        self.state.lock().unwrap().records.push(Arc::new(record));
        self.head.send_replace(Head { offset, ingested_ms });
    }

    /// Forgets all records up to this offset.
    pub(in crate::grpc) fn trim(&self, offset: u64) {
        let mut state = self.state.lock().unwrap();
        state.trimmed = offset;
        state.records.retain(|record| record.offset.0 > offset);
    }

    pub(in crate::grpc) fn fail(&self, failing: bool) {
        self.state.lock().unwrap().failing = failing;
    }

    /// How often it was read.
    pub(in crate::grpc) fn reads(&self) -> usize {
        self.state.lock().unwrap().reads
    }

    pub(in crate::grpc) fn delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }
}

#[async_trait]
impl LogRead for FakeLog {
    fn id(&self) -> LogId {
        self.id
    }

    fn locate(&self, cursor: Cursor) -> CursorStatus {
        let trimmed = Offset(self.state.lock().unwrap().trimmed);
        if cursor.log != self.id {
            CursorStatus::Unrelated
        } else if cursor.offset > self.head.borrow().offset {
            CursorStatus::Ahead
        } else if cursor.offset < trimmed {
            CursorStatus::Expired { trimmed }
        } else {
            CursorStatus::After(cursor.offset)
        }
    }

    async fn read(&self, after: Offset, limit: ReadLimit) -> Result<Vec<Arc<Record>>, LogError> {
        let delay = self.state.lock().unwrap().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut state = self.state.lock().unwrap();
        state.reads += 1;
        if state.failing {
            return Err(LogError::Io("no space left on device".into()));
        }
        let from = state.records.partition_point(|record| record.offset <= after);
        Ok(state.records[from..].iter().take(limit.records).cloned().collect())
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    fn status(&self) -> LogStatus {
        let state = self.state.lock().unwrap();
        LogStatus {
            trimmed: Offset(state.trimmed),
            earliest_ms: state.records.first().map(|record| record.ingested_ms),
            head: *self.head.borrow(),
            killmails: state.records.len() as u64,
        }
    }

    async fn seek(&self, since_ms: i64) -> Result<Offset, LogError> {
        let state = self.state.lock().unwrap();
        let before = state.records.iter().rfind(|record| record.ingested_ms < since_ms);
        Ok(before.map_or(Offset(state.trimmed), |record| record.offset))
    }

    async fn newest(&self, id: KillmailId) -> Result<Option<Arc<Record>>, LogError> {
        self.newest_at(id, Offset(u64::MAX)).await
    }

    async fn newest_at(&self, id: KillmailId, head: Offset) -> Result<Option<Arc<Record>>, LogError> {
        let state = self.state.lock().unwrap();
        let of_it = |record: &&Arc<Record>| {
            record.offset <= head && matches!(record.kind, RecordKind::Killmail { id: other, .. } if other == id)
        };
        Ok(state.records.iter().rfind(of_it).cloned())
    }
}
