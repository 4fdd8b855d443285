//! Runs of the log as they go over the wire: framed messages with their cursors, made once and shared by all streams that want
//! the same. A filter is asked once per killmail, however many streams use it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use killfeed::{
    cursor::{Cursor, LogId, Offset},
    wire::EncodedEvent,
};
use moka::{
    future::Cache,
    ops::compute::{CompResult, Op},
    policy::EvictionPolicy,
};

use super::{segments::SegmentCache, selection::Selection};
use crate::log::{LogError, LogRead, ReadLimit, Record, RecordKind};

/// Runs end where the offset is a multiple of this, so that streams that began at different cursors soon share them. A
/// filtered one costs little memory and a wake-up each, so it may be longer.
const SEGMENT_LEN: u64 = 64;
const FILTERED_SEGMENT_LEN: u64 = 256;
/// A run of very large killmails ends earlier.
const MAX_CHUNK_BYTES: usize = 256 * 1024;
/// Kept of what was made: streams that catch up side by side are seldom further apart.
const BUDGET: u64 = 32 * 1024 * 1024;
/// What a run is counted with beside its bytes.
const OVERHEAD: usize = 256;

/// A run of the log, ready to be sent.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Framed messages; empty if nothing was wanted of it.
    pub(super) frames: Bytes,
    /// How many.
    pub(super) events: usize,
    /// The last record that it covers, wanted or not.
    pub(super) through: Offset,
    /// When that was ingested.
    pub(super) through_ms: i64,
    /// It ends where runs end; else where the log ended when it was made.
    full: bool,
}

/// Why there is no run.
#[derive(Debug)]
pub(super) enum ChunkError {
    /// The log could not be read.
    Log(LogError),
    /// Retention took records after this offset.
    Trimmed,
    /// Nothing was found, although the head says there is something.
    Nothing,
}

/// The runs that were made last.
#[derive(Debug)]
pub(super) struct ChunkCache {
    made: Cache<ChunkKey, Arc<Chunk>>,
    cells: SegmentCache,
}

/// Selection and offset after which the run begins.
type ChunkKey = (u64, Offset);

impl ChunkCache {
    pub(super) fn new() -> Self {
        Self::with_budget(BUDGET)
    }

    fn with_budget(budget: u64) -> Self {
        let weigh = |_: &ChunkKey, chunk: &Arc<Chunk>| u32::try_from(OVERHEAD + chunk.frames.len()).unwrap_or(u32::MAX);
        let made = Cache::builder().max_capacity(budget).weigher(weigh);
        Self {
            // Streams read on and on: the chunk that was used longest ago goes, however often it was used.
            made: made.eviction_policy(EvictionPolicy::lru()).build(),
            cells: SegmentCache::new(),
        }
    }

    /// The run after `after`, if it was made and nothing can be added to it.
    pub(super) async fn peek(&self, selection: &Selection, after: Offset, head: Offset) -> Option<Arc<Chunk>> {
        let made = self.made.get(&(selection.number, after)).await;
        made.filter(|chunk| chunk.serves(head))
    }

    /// The run after `after`, made if need be. To be called in a task of its own: what others wait for has to go on also when
    /// the client of the stream that began it does not read.
    pub(super) async fn get(
        &self,
        log: &dyn LogRead,
        selection: &Selection,
        after: Offset,
        head: Offset,
    ) -> Result<Arc<Chunk>, ChunkError> {
        let entry = self.made.entry((selection.number, after));
        // One call per key at a time: the others find what the first one made.
        let made = entry.and_try_compute_with(async |made| match made {
            Some(made) if made.value().serves(head) => Ok(Op::Nop),
            _ => {
                let chunk = self.make(log, selection, (after, head), i64::MIN).await?;
                Ok(Op::Put(Arc::new(chunk)))
            }
        });
        match made.await? {
            CompResult::Inserted(entry) | CompResult::ReplacedWith(entry) | CompResult::Unchanged(entry) => {
                Ok(entry.into_value())
            }
            CompResult::StillNone(_) | CompResult::Removed(_) => Err(ChunkError::Nothing),
        }
    }

    /// Makes the run after `after` for one stream, of what is not older than `not_before_ms`. A stretch that is filtered and cannot grow is
    /// read and decoded once, however many filters there are.
    pub(super) async fn make(
        &self,
        log: &dyn LogRead,
        selection: &Selection,
        (after, head): (Offset, Offset),
        not_before_ms: i64,
    ) -> Result<Chunk, ChunkError> {
        let cell = if selection.is_filtered() {
            FILTERED_SEGMENT_LEN
        } else {
            SEGMENT_LEN
        };
        let read = async || read_segment(log, after, cell).await;
        let may_grow = head.0 < (after.0 / cell + 1) * cell;
        let (records, full) = if selection.is_filtered() && !may_grow {
            self.cells.get(after, read).await.map_err(ChunkError::Log)?
        } else {
            let (records, full) = read().await.map_err(ChunkError::Log)?;
            (records.into(), full)
        };
        // Asked after the read: what was there to be read was not trimmed by then.
        if log.status().trimmed > after {
            return Err(ChunkError::Trimmed);
        }
        Chunk::of(log.id(), selection, &records, full, not_before_ms).ok_or(ChunkError::Nothing)
    }
}

impl Chunk {
    /// Whether reading again would give no more than this.
    fn serves(&self, head: Offset) -> bool {
        self.full || self.through >= head
    }

    fn of(log: LogId, selection: &Selection, records: &[Arc<Record>], full: bool, not_before_ms: i64) -> Option<Self> {
        let last = records.last()?;
        let wanted: Vec<EncodedEvent> = records
            .iter()
            .filter(|record| record.ingested_ms >= not_before_ms && selection.admits(record))
            .map(|record| event(log, record))
            .collect();
        let mut frames = BytesMut::with_capacity(wanted.iter().map(EncodedEvent::framed_len).sum());
        for event in &wanted {
            event.frame(&mut frames);
        }
        Some(Self {
            frames: frames.freeze(),
            events: wanted.len(),
            through: last.offset,
            through_ms: last.ingested_ms,
            full,
        })
    }
}

/// The records after `after` that lie in one cell, and whether nothing can be added to them.
async fn read_segment(log: &dyn LogRead, after: Offset, cell: u64) -> Result<(Vec<Arc<Record>>, bool), LogError> {
    let limit = ReadLimit {
        // A cell holds no more records than offsets.
        records: usize::try_from(cell).unwrap_or(usize::MAX),
        bytes: MAX_CHUNK_BYTES,
    };
    let mut records = log.read(after, limit).await?;
    let taken = within_a_cell(&records, cell);
    let full = taken < records.len() || ends_a_cell(&records, cell) || is_limited(&records, limit);
    records.truncate(taken);
    Ok((records, full))
}

/// How many of them lie in the cell of the first: a cell of 64 holds the offsets 1 to 64, the next one 65 to 128.
fn within_a_cell(records: &[Arc<Record>], cell: u64) -> usize {
    let number = |record: &Arc<Record>| record.offset.0.saturating_sub(1) / cell;
    records.first().map_or(0, |first| {
        let first = number(first);
        records.partition_point(|record| number(record) == first)
    })
}

fn ends_a_cell(records: &[Arc<Record>], cell: u64) -> bool {
    records.last().is_some_and(|last| last.offset.0.is_multiple_of(cell))
}

fn is_limited(records: &[Arc<Record>], limit: ReadLimit) -> bool {
    let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
    records.len() >= limit.records || bytes >= limit.bytes
}

fn event(log: LogId, record: &Record) -> EncodedEvent {
    let cursor = Cursor {
        log,
        offset: record.offset,
    };
    let bytes = record.bytes.clone();
    match record.kind {
        RecordKind::Killmail { .. } => EncodedEvent::killmail(cursor.to_string(), bytes),
        RecordKind::Gap => EncodedEvent::encoded_gap(cursor.to_string(), bytes),
    }
}

#[cfg(test)]
mod tests;
