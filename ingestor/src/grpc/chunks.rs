//! Runs of the log as they go over the wire: framed messages with their cursors, made once and shared by all streams that want
//! the same. A filter is asked once per killmail, however many streams use it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use killfeed::{
    cursor::{Cursor, LogId, Offset},
    wire::EncodedEvent,
};
use tokio::sync::OnceCell;

use super::{segments::SegmentCache, selection::Selection};
use crate::log::{LogError, LogRead, ReadLimit, Record, RecordKind};

/// Runs end where the offset is a multiple of this, so that streams that began at different cursors soon share them. A
/// filtered one costs little memory and a wake-up each, so it may be longer.
const SEGMENT_LEN: u64 = 64;
const FILTERED_SEGMENT_LEN: u64 = 256;
/// A run of very large killmails ends earlier.
const MAX_CHUNK_BYTES: usize = 256 * 1024;
/// Kept of what was made: streams that catch up side by side are seldom further apart.
const BUDGET: usize = 32 * 1024 * 1024;
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
    budget: usize,
    held: Mutex<Held>,
    cells: SegmentCache,
}

/// Selection and offset after which the run begins.
type ChunkKey = (u64, Offset);

#[derive(Debug, Default)]
struct Held {
    slots: HashMap<ChunkKey, Arc<Slot>>,
    /// Oldest first; a slot that was replaced stands here until its turn comes.
    order: VecDeque<(ChunkKey, Arc<Slot>)>,
    /// Of everything in `order`.
    memory: usize,
}

#[derive(Debug, Default)]
struct Slot {
    /// Made by whoever asks first, while the others wait for it.
    chunk: OnceCell<Arc<Chunk>>,
    /// What it is counted with now.
    memory: AtomicUsize,
}

impl ChunkCache {
    pub(super) fn new() -> Self {
        Self::with_budget(BUDGET)
    }

    fn with_budget(budget: usize) -> Self {
        Self {
            budget,
            held: Mutex::default(),
            cells: SegmentCache::new(),
        }
    }

    /// The run after `after`, if it was made and nothing can be added to it.
    pub(super) fn peek(&self, selection: &Selection, after: Offset, head: Offset) -> Option<Arc<Chunk>> {
        let slot = self.locked().slots.get(&(selection.number, after)).cloned()?;
        slot.chunk.get().filter(|chunk| chunk.serves(head)).cloned()
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
        let slot = self.slot((selection.number, after), head);
        let made = slot.chunk.get_or_try_init(async || {
            let chunk = Arc::new(self.make(log, selection, (after, head), i64::MIN).await?);
            self.weigh(&slot, OVERHEAD + chunk.frames.len());
            Ok(chunk)
        });
        made.await.cloned()
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

    fn slot(&self, key: ChunkKey, head: Offset) -> Arc<Slot> {
        let mut held = self.locked();
        if let Some(slot) = held.slots.get(&key)
            && slot.chunk.get().is_none_or(|chunk| chunk.serves(head))
        {
            return slot.clone();
        }
        let slot = Arc::new(Slot::default());
        slot.memory.store(OVERHEAD, Ordering::Relaxed);
        held.memory += OVERHEAD;
        held.slots.insert(key, slot.clone());
        held.order.push_back((key, slot.clone()));
        held.shrink(self.budget);
        slot
    }

    fn weigh(&self, slot: &Slot, memory: usize) {
        let mut held = self.locked();
        let before = slot.memory.swap(memory, Ordering::Relaxed);
        // Zero: it was pushed out while it was made.
        if before > 0 {
            held.memory = held.memory + memory - before;
            held.shrink(self.budget);
        }
    }

    /// A plain mutex: held for a look-up, never across an await.
    fn locked(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn shrink(&mut self, budget: usize) {
        while self.memory > budget {
            let Some((key, slot)) = self.order.pop_front() else {
                return;
            };
            self.memory -= slot.memory.swap(0, Ordering::Relaxed);
            if self.slots.get(&key).is_some_and(|current| Arc::ptr_eq(current, &slot)) {
                self.slots.remove(&key);
            }
        }
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
