//! What a run leaves behind, as the validator reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A killmail in one revision.
pub type Published = (u64, u32);

/// Everything that was recorded of a run. Times count from its beginning.
#[derive(Debug, Clone, Default)]
pub struct RunHistory {
    /// What zKillboard published and the log has to hold, in feed order; `None` = not known.
    pub published: Option<Vec<Published>>,
    /// What was appended, by offset.
    pub log: BTreeMap<u64, Appended>,
    /// Retention has reached up to here in the end: records at or below it may be gone.
    pub trimmed: u64,
    /// So many records, of which nothing else is known, went before anybody saw them: retention took them while nobody could read.
    pub unseen: usize,
    /// Who read.
    pub clients: Vec<Client>,
    /// Each kill -9 of the server.
    pub crashes: Vec<Crash>,
    /// The server's memory, while some clients stalled.
    pub memory: Memory,
    /// How fast the others were served meanwhile.
    pub latency: Latency,
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// `ingested_time`, in milliseconds since 1970; a gap has none.
    pub ingested_ms: i64,
    /// Which killmail; `None` = a gap.
    pub killmail: Option<Published>,
    /// Of its encoded bytes.
    pub digest: u64,
}

/// One client: one stream after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// For messages.
    pub name: String,
    /// In the order in which they were opened.
    pub streams: Vec<Stream>,
}

/// One stream. A resuming client's many connections are one stream too: it promises the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Where it was asked to start.
    pub start: Start,
    /// The killmails that its filter matches; `None` = no filter.
    pub wanted: Option<BTreeSet<u64>>,
    /// Also revisions above 0.
    pub updates: bool,
    /// In the order in which they came.
    pub events: Vec<Received>,
    /// It was read up to the head of the log as it is in `RunHistory::log`: everything is due.
    pub to_the_end: bool,
}

/// Where a stream was asked to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At the head, wherever that was.
    Latest,
    /// At the oldest record kept: below `trimmed`, asked for after the first event had come, nothing was due.
    Earliest {
        /// An offset.
        trimmed: u64,
    },
    /// After this offset, from a cursor.
    After(u64),
    /// At the first record ingested at or after this time.
    Since(i64),
}

/// One event as a client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// When.
    pub at: Duration,
    /// The offset in its cursor.
    pub offset: u64,
    /// What.
    pub seen: Observed,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// A record of the log.
    Record(Appended),
    /// A sign of life.
    Progress,
    /// A Gap CURSOR_EXPIRED, made for this stream alone.
    Expired,
}

/// A kill -9.
#[derive(Debug, Clone, Copy)]
pub struct Crash {
    /// When.
    pub at: Duration,
    /// The head of the log once the server was back.
    pub head_after: u64,
}

/// The server's resident memory in bytes.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// With no client stalling.
    pub before: u64,
    /// (stalling clients, resident memory), as time went on.
    pub stalled: Vec<(u64, u64)>,
    /// What may be added whatever the number of clients: the shared window of recent records, the allocator's slack.
    pub slack: u64,
    /// What one stalling client may cost.
    pub per_client: u64,
}

/// How long clients that read at once waited for a killmail after it was published, while others stalled.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// (killmail, how long).
    pub waits: Vec<(u64, Duration)>,
    /// At most this.
    pub limit: Duration,
}

impl RunHistory {
    /// Adds what all clients saw to the log: for runs in which nobody could read all of it afterwards. What they contradict
    /// each other in stays as first seen, and fails [`super::Guarantee::DurableFirst`].
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
    /// Whether this record is to be delivered, wherever the stream is.
    pub(super) fn wants(&self, record: &Appended) -> bool {
        match record.killmail {
            None => true,
            Some((_, revision)) if revision > 0 && !self.updates => false,
            Some((id, _)) => self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&id)),
        }
    }

    /// After this offset every record wanted is due; `None` = nothing is known of the beginning.
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

/// The offset in a cursor, by the contract's text form `k1-<log id>-<hexadecimal offset>`.
///
/// # Panics
/// If it has another form.
pub fn offset(cursor: &str) -> u64 {
    let digits = cursor.rsplit('-').next().unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("no cursor: {cursor:?}"))
}
