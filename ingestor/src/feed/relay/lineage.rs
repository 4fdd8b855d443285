//! Whether another log is the continuation of ours, and what of its stream may be stored. Pure: no network, no clock.

use killfeed::{
    Timestamp,
    cursor::{Cursor, LogId, Offset},
    id::KillmailId,
    v1::{FeedHealth, Gap, GapReason, Killmail, Progress},
    wire::{Received, ReceivedEvent},
};
use prost::Message as _;

use crate::feed::{RelayedBody, RelayedRecord, UpstreamLineage, timestamp};

/// Where our log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPosition {
    /// Its id; 0 = it never met an upstream.
    pub id: LogId,
    /// The ids before.
    pub ancestors: Vec<(LogId, Offset)>,
    /// Its newest record.
    pub head: Offset,
    /// When that was appended.
    pub head_ms: i64,
}

impl LogPosition {
    /// Where to go on in a history that continues ours: behind our newest record, or at that history's beginning.
    pub(super) fn cursor_in(&self, history: &UpstreamLineage) -> Cursor {
        let offset = if self.head == Offset(0) {
            history.trimmed
        } else {
            self.head
        };
        Cursor {
            log: history.id,
            offset,
        }
    }
}

/// What another log is to ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LineageMatch {
    /// The same one.
    Same,
    /// Ours is its beginning, or empty: ours becomes a part of it.
    Continuation,
    /// Something else, in words.
    Unrelated(String),
}

pub(super) fn evaluate(own: &LogPosition, other: &UpstreamLineage) -> LineageMatch {
    if own.id == other.id {
        let told = !other.ancestors.is_empty() && other.ancestors != own.ancestors;
        return if told {
            LineageMatch::Continuation
        } else {
            LineageMatch::Same
        };
    }
    if own.id == LogId(0) || own.head == Offset(0) {
        return LineageMatch::Continuation;
    }
    match other.ancestors.iter().rev().find(|(id, _)| *id == own.id) {
        Some((_, last)) if own.head <= *last => LineageMatch::Continuation,
        Some((_, last)) => LineageMatch::Unrelated(format!(
            "its log {} branched off from the local log {} after offset {last}, but the local log continues to offset {}",
            other.id, own.id, own.head
        )),
        None => LineageMatch::Unrelated(format!(
            "its log {} does not continue the local log {} (up to offset {})",
            other.id, own.id, own.head
        )),
    }
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RelayEvent {
    /// To be stored. `sequence`: zKillboard's number of it, 0 = none.
    Record { record: RelayedRecord, sequence: u64 },
    /// Everything that the upstream holds has come; its feed's health.
    CaughtUp(FeedHealth),
    /// It is in the middle of a scan.
    Behind,
    /// Nothing of interest.
    Nothing,
}

/// Reads a stream and knows where it is.
#[derive(Debug)]
pub(super) struct RelayReader {
    place: LogPosition,
    /// Nothing in the upstream is older than this.
    floor_ms: i64,
}

impl RelayReader {
    pub(super) fn new(place: LogPosition) -> Self {
        Self {
            place,
            floor_ms: i64::MIN,
        }
    }

    pub(super) fn place(&self) -> &LogPosition {
        &self.place
    }

    /// Our log is a part of this history from now on.
    pub(super) fn take_over(&mut self, history: &UpstreamLineage) {
        if self.place.head == Offset(0) {
            self.place.head = history.trimmed;
        }
        self.place.id = history.id;
        self.place.ancestors.clone_from(&history.ancestors);
    }

    /// A stream begins; the upstream's oldest record is of that time.
    pub(super) fn start(&mut self, earliest_ms: Option<i64>) {
        self.floor_ms = earliest_ms.unwrap_or(i64::MIN);
    }

    /// Takes in one event, or says why it cannot be stored.
    pub(super) fn take(&mut self, event: ReceivedEvent) -> Result<RelayEvent, String> {
        let cursor: Cursor = event
            .cursor
            .parse()
            .map_err(|_| format!("it sent the invalid cursor {:?}", event.cursor))?;
        if cursor.log != self.place.id {
            return Err(format!("its log now has the id {}", cursor.log));
        }
        match event.event {
            Received::Progress(progress) => Ok(progressed(&progress)),
            Received::Unknown => Ok(RelayEvent::Nothing),
            Received::Killmail(bytes) => {
                let killmail = Killmail::decode(bytes.clone())
                    .map_err(|error| format!("cannot decode the killmail at offset {}: {error}", cursor.offset))?;
                let ingested = killmail.ingested_time.as_ref().map(millis);
                let ingested_ms = ingested.ok_or_else(|| {
                    format!(
                        "killmail {} at offset {} has no ingested_time",
                        killmail.killmail_id, cursor.offset
                    )
                })?;
                let id = KillmailId::new(killmail.killmail_id)
                    .ok_or_else(|| format!("the killmail at offset {} has no id", cursor.offset))?;
                let body = RelayedBody::Killmail {
                    id,
                    revision: killmail.revision,
                    judged: killmail.value.is_some(),
                    published: killmail.published_time.map(|time| time.seconds),
                    bytes,
                };
                let record = self.next(cursor.offset, ingested_ms, body)?;
                Ok(RelayEvent::Record {
                    record,
                    sequence: killmail.feed_sequence,
                })
            }
            Received::Gap(bytes) => {
                let gap = Gap::decode(bytes.clone())
                    .map_err(|error| format!("cannot decode the gap at offset {}: {error}", cursor.offset))?;
                // A gap says no time of its own; it lies behind what came before it, and that is when it counts.
                let ingested_ms = self.place.head_ms.max(self.floor_ms);
                let bytes = if gap.reason() == GapReason::CursorExpired {
                    self.expired(&gap)
                } else {
                    bytes
                };
                let record = self.next(cursor.offset, ingested_ms, RelayedBody::Gap(bytes))?;
                Ok(RelayEvent::Record { record, sequence: 0 })
            }
        }
    }

    /// The upstream's retention was faster than we: made for our stream there, a record of our log here. Readers of ours would
    /// otherwise pass over the hole in silence. Its offset is that of the last record gone, which nobody can read any more.
    fn expired(&self, gap: &Gap) -> bytes::Bytes {
        let known = self.place.head_ms > 0;
        let gap = Gap {
            reason: GapReason::UpstreamExpired.into(),
            from_time: known.then(|| timestamp(self.place.head_ms)),
            to_time: gap.to_time,
            missing: 0,
        };
        gap.encode_to_vec().into()
    }

    fn next(&mut self, offset: Offset, ingested_ms: i64, body: RelayedBody) -> Result<RelayedRecord, String> {
        if offset <= self.place.head {
            return Err(format!("it sent offset {offset} after {}", self.place.head));
        }
        if ingested_ms < self.place.head_ms {
            return Err(format!(
                "it sent offset {offset} with an ingested_time before that of offset {}",
                self.place.head
            ));
        }
        self.place.head = offset;
        self.place.head_ms = ingested_ms;
        Ok(RelayedRecord {
            offset,
            ingested_ms,
            body,
        })
    }
}

fn progressed(progress: &Progress) -> RelayEvent {
    if progress.caught_up {
        RelayEvent::CaughtUp(progress.feed_health())
    } else {
        RelayEvent::Behind
    }
}

/// Milliseconds since 1970; what an ingestor stamps has no finer parts.
pub(super) fn millis(time: &Timestamp) -> i64 {
    time.seconds
        .saturating_mul(1_000)
        .saturating_add(i64::from(time.nanos) / 1_000_000)
}
