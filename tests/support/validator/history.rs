//! The recorded history of a run, as the validator reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A killmail id and its revision.
pub type Published = (u64, u32);

/// The recorded history of a run. Times count from its start.
#[derive(Debug, Clone, Default)]
pub struct RunHistory {
    /// The killmails that the log must have, in feed order; `None` if they are unknown.
    pub published: Option<Vec<Published>>,
    /// The records of the log, by offset.
    pub log: BTreeMap<u64, Appended>,
    /// The last offset that retention may have removed by the end of the run.
    pub trimmed: u64,
    /// The number of records that retention removed before any client could read them.
    pub unseen: usize,
    /// The clients that read streams.
    pub clients: Vec<Client>,
    /// Every crash (kill -9) of the server.
    pub crashes: Vec<Crash>,
    /// The server's memory while some clients stalled.
    pub memory: Memory,
    /// The latency of the clients that keep up while others stall.
    pub latency: Latency,
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// `ingested_time`, in milliseconds since 1970; a gap has none.
    pub ingested_ms: i64,
    /// The killmail, or `None` for a gap.
    pub killmail: Option<Published>,
    /// A digest of the encoded record.
    pub digest: u64,
}

/// One client and its streams, one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// The client's name in descriptions of violations.
    pub name: String,
    /// The streams in the order in which the client opened them.
    pub streams: Vec<Stream>,
}

/// One stream. All connections of a resuming client count as one stream, with the same guarantees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    pub start: Start,
    /// The killmails that match its filter; `None` without a filter.
    pub wanted: Option<BTreeSet<u64>>,
    /// Whether the stream includes revisions above 0.
    pub updates: bool,
    /// The events in the order of their arrival.
    pub events: Vec<Received>,
    /// The client read up to the last record of `RunHistory::log`, so that every record is due.
    pub to_the_end: bool,
}

/// The requested start of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At the head of the log at that time.
    Latest,
    /// At the oldest record, where records up to `trimmed` are not due.
    Earliest {
        /// The last removed offset, queried after the first event arrived.
        trimmed: u64,
    },
    /// After this offset, from a cursor.
    After(u64),
    /// At the first record ingested at or after this time.
    Since(i64),
}

/// One event as a client received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The time of the event's arrival.
    pub at: Duration,
    /// The offset in the event's cursor.
    pub offset: u64,
    pub seen: Observed,
}

/// The content of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// A record of the log.
    Record(Appended),
    /// A Progress heartbeat.
    Progress,
    /// A Gap CURSOR_EXPIRED, which only this stream received.
    Expired,
}

/// A crash (kill -9) of the server.
#[derive(Debug, Clone, Copy)]
pub struct Crash {
    pub at: Duration,
    /// The head of the log after the restart.
    pub head_after: u64,
}

/// The server's resident memory in bytes.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// The memory without stalled clients.
    pub before: u64,
    /// Samples over time: the number of stalled clients, and the resident memory.
    pub stalled: Vec<(u64, u64)>,
    /// Memory allowed for any number of clients.
    ///
    /// The window of recent records and the allocator's slack do not depend on it.
    pub slack: u64,
    /// Memory allowed per stalled client.
    pub per_client: u64,
}

/// The delivery latency of clients that keep up while others stall.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// Each killmail's id and the time from its publication to its arrival.
    pub waits: Vec<(u64, Duration)>,
    /// The allowed maximum.
    pub limit: Duration,
}

impl RunHistory {
    /// Adds the records that clients received to the log.
    ///
    /// Runs in which no client could read the whole log need this. If clients disagree about a record, the first
    /// version stays, and the others violate [`super::Guarantee::DurableFirst`].
    pub fn learn_log(&mut self) {
        let streams = self.clients.iter().flat_map(|client| &client.streams);
        for event in streams.flat_map(|stream| &stream.events) {
            if let Observed::Record(record) = &event.seen {
                self.log.entry(event.offset).or_insert_with(|| record.clone());
            }
        }
    }
}

impl Stream {
    /// Returns whether the stream's options select this record, regardless of its offset.
    pub(super) fn wants(&self, record: &Appended) -> bool {
        match record.killmail {
            None => true,
            Some((_, revision)) if revision > 0 && !self.updates => false,
            Some((id, _)) => self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&id)),
        }
    }

    /// Returns the offset after which every matching record is due; `None` if the start is unknown.
    pub(super) fn due_after(&self, log: &BTreeMap<u64, Appended>) -> Option<u64> {
        match self.start {
            Start::After(offset) => Some(offset),
            Start::Earliest { trimmed } => Some(trimmed),
            Start::Since(ms) => {
                let first = log
                    .iter()
                    .find(|(_, record)| record.killmail.is_some() && record.ingested_ms >= ms);
                first.map(|(offset, _)| offset.saturating_sub(1))
            }
            Start::Latest => self.events.first().map(|event| event.offset),
        }
    }
}

/// Returns the offset of a cursor in the contract's text form `k1-<log id>-<hexadecimal offset>`.
///
/// # Panics
///
/// Panics if the cursor has another form.
pub fn offset(cursor: &str) -> u64 {
    let digits = cursor.rsplit('-').next().unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("invalid cursor: {cursor:?}"))
}
