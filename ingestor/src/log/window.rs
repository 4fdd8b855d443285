//! The newest records in memory, shared by all who read them: a stream at the head never waits for the disk, also while the
//! disk fails.

use std::{collections::VecDeque, sync::Arc};

use killfeed::cursor::Offset;

use super::{ReadLimit, Record};

/// How much memory a record is counted with for each of its bytes: once as it is, and four times for its decoded form, which
/// stays with it once a filtered stream has looked (3.5 measured, by `cargo run --example log_figures`).
pub(super) const MEMORY_PER_BYTE: usize = 5;

/// A run of records without omission up to the head, bounded in memory.
#[derive(Debug)]
pub(super) struct Window {
    records: VecDeque<Arc<Record>>,
    /// Every record of the log above this offset is in here.
    floor: Offset,
    memory: usize,
    budget: usize,
}

impl Window {
    /// Empty, at the head of a log.
    pub(super) fn new(head: Offset, budget: usize) -> Self {
        Self {
            records: VecDeque::new(),
            floor: head,
            memory: 0,
            budget,
        }
    }

    /// Filled from disk: `newest` are all records above `floor`, in order.
    pub(super) fn filled(floor: Offset, newest: Vec<Arc<Record>>, budget: usize) -> Self {
        let mut window = Self::new(floor, budget);
        window.push(newest);
        window
    }

    /// Filled anew: `newest` are all records above `floor`, in order.
    #[cfg(feature = "jetstream")]
    pub(super) fn refill(&mut self, floor: Offset, newest: Vec<Arc<Record>>) {
        *self = Self::filled(floor, newest, self.budget);
    }

    /// The log grew by these, in order. The oldest go as long as it is too much.
    pub(super) fn push(&mut self, records: Vec<Arc<Record>>) {
        for record in records {
            self.memory += memory(&record);
            self.records.push_back(record);
        }
        while self.memory > self.budget {
            self.drop_oldest();
        }
    }

    /// The log removed what lies at or below this offset.
    pub(super) fn trim(&mut self, trimmed: Offset) {
        while self.records.front().is_some_and(|oldest| oldest.offset <= trimmed) {
            self.drop_oldest();
        }
        self.floor = self.floor.max(trimmed);
    }

    /// Begins anew at this head.
    pub(super) fn restart(&mut self, head: Offset) {
        *self = Self::new(head, self.budget);
    }

    /// The records after `after`, or `None` if the window does not reach back that far.
    pub(super) fn read(&self, after: Offset, limit: ReadLimit) -> Option<Vec<Arc<Record>>> {
        if after < self.floor {
            return None;
        }
        let from = self.records.partition_point(|record| record.offset <= after);
        let mut bytes = 0;
        let within = self.records.range(from..).enumerate().take_while(|(count, record)| {
            let fits = limit.admits(*count, bytes);
            bytes += record.bytes.len();
            fits
        });
        Some(within.map(|(_, record)| Arc::clone(record)).collect())
    }

    /// The offset after which the first record appended at or after `since_ms` comes, if the window can tell.
    pub(super) fn seek(&self, since_ms: i64) -> Option<Offset> {
        let at = self.records.partition_point(|record| record.ingested_ms < since_ms);
        let before = at.checked_sub(1)?;
        Some(self.records[before].offset)
    }

    /// Bytes of memory it is counted with.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.records.pop_front() {
            self.memory -= memory(&oldest);
            self.floor = oldest.offset;
        } else {
            self.memory = 0;
        }
    }
}

impl ReadLimit {
    /// Whether one more record may follow `records` of them with `bytes` together: the first always may.
    pub(super) fn admits(&self, records: usize, bytes: usize) -> bool {
        records == 0 || (records < self.records && bytes < self.bytes)
    }
}

/// What a record is counted with.
pub(crate) fn memory(record: &Record) -> usize {
    size_of::<Record>() + record.bytes.len() * MEMORY_PER_BYTE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::RecordKind;

    fn record(offset: u64, len: usize) -> Arc<Record> {
        let bytes = vec![0; len].into();
        Arc::new(Record::new(Offset(offset), offset as i64 * 10, RecordKind::Gap, bytes))
    }

    fn offsets(read: Option<Vec<Arc<Record>>>) -> Option<Vec<u64>> {
        Some(read?.iter().map(|record| record.offset.0).collect())
    }

    const ALL: ReadLimit = ReadLimit {
        records: 100,
        bytes: usize::MAX,
    };

    #[test]
    fn reads_what_it_holds_and_says_when_it_does_not_reach_back() {
        let mut window = Window::new(Offset(5), 1 << 20);
        assert_eq!(offsets(window.read(Offset(5), ALL)), Some(vec![]));
        assert_eq!(offsets(window.read(Offset(4), ALL)), None);
        window.push(vec![record(6, 1), record(9, 1), record(10, 1)]);
        assert_eq!(offsets(window.read(Offset(4), ALL)), None);
        assert_eq!(offsets(window.read(Offset(5), ALL)), Some(vec![6, 9, 10]));
        assert_eq!(offsets(window.read(Offset(7), ALL)), Some(vec![9, 10]));
        assert_eq!(offsets(window.read(Offset(10), ALL)), Some(vec![]));
    }

    #[test]
    fn limits_hold_but_one_record_always_comes() {
        let mut window = Window::new(Offset(0), 1 << 20);
        window.push((1..=5).map(|offset| record(offset, 100)).collect());
        let read = |records, bytes| offsets(window.read(Offset(0), ReadLimit { records, bytes })).unwrap();
        assert_eq!(read(2, 10_000), [1, 2]);
        assert_eq!(read(100, 150), [1, 2]);
        assert_eq!(read(100, 1), [1]);
        assert_eq!(read(0, 0), [1]);
    }

    #[test]
    fn memory_is_bounded_and_counted_back_to_zero() {
        let one = memory(&record(1, 100));
        let mut window = Window::new(Offset(0), one * 3);
        window.push((1..=10).map(|offset| record(offset, 100)).collect());
        assert_eq!(window.memory(), one * 3);
        assert_eq!(offsets(window.read(Offset(7), ALL)), Some(vec![8, 9, 10]));
        assert_eq!(offsets(window.read(Offset(6), ALL)), None);
        // One that alone is too much leaves nothing, and the head stays readable.
        window.push(vec![record(11, 10_000)]);
        assert_eq!(window.memory(), 0);
        assert_eq!(offsets(window.read(Offset(11), ALL)), Some(vec![]));
        assert_eq!(offsets(window.read(Offset(10), ALL)), None);
    }

    #[test]
    fn trimming_takes_records_away() {
        let mut window = Window::new(Offset(0), 1 << 20);
        window.push((1..=4).map(|offset| record(offset, 100)).collect());
        window.trim(Offset(2));
        assert_eq!(offsets(window.read(Offset(1), ALL)), None);
        assert_eq!(offsets(window.read(Offset(2), ALL)), Some(vec![3, 4]));
        window.trim(Offset(4));
        assert_eq!(window.memory(), 0);
    }

    #[test]
    fn seeks_by_time_where_it_knows_the_record_before() {
        let mut window = Window::new(Offset(0), 1 << 20);
        window.push(vec![record(2, 1), record(5, 1), record(6, 1)]);
        assert_eq!(window.seek(20), None);
        assert_eq!(window.seek(21), Some(Offset(2)));
        assert_eq!(window.seek(50), Some(Offset(2)));
        assert_eq!(window.seek(60), Some(Offset(5)));
        assert_eq!(window.seek(61), Some(Offset(6)));
    }
}
