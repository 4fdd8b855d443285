//! Which killmail stands where, of every record that the stream holds: JetStream finds messages by sequence and subject only, and
//! counts neither killmails nor their revisions as of an earlier head. Pure. About 80 bytes a record.

use std::collections::{HashMap, VecDeque};

use killfeed::{cursor::Offset, id::KillmailId};

use super::super::RecordKind;

/// Stands for "no record": sequences begin at 1.
const NONE: u64 = 0;

#[derive(Debug, Clone, Copy)]
struct IndexEntry {
    sequence: u64,
    ingested_ms: i64,
    /// `NONE` for a gap.
    killmail: u64,
    /// The record of the same killmail before this one; it may be gone.
    before: u64,
}

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// In order of their sequences.
    entries: VecDeque<IndexEntry>,
    /// Killmail → its newest record.
    newest: HashMap<u64, u64>,
}

impl Index {
    /// A record came; its sequence lies above all before.
    pub(super) fn push(&mut self, sequence: u64, ingested_ms: i64, kind: RecordKind) {
        let (killmail, before) = match kind {
            RecordKind::Gap => (NONE, NONE),
            RecordKind::Killmail { id, .. } => (id.0, self.newest.insert(id.0, sequence).unwrap_or(NONE)),
        };
        self.entries.push_back(IndexEntry {
            sequence,
            ingested_ms,
            killmail,
            before,
        });
    }

    /// Everything up to here is gone.
    pub(super) fn trim(&mut self, trimmed: Offset) {
        while let Some(oldest) = self.entries.front().filter(|oldest| oldest.sequence <= trimmed.0) {
            if self.newest.get(&oldest.killmail) == Some(&oldest.sequence) {
                self.newest.remove(&oldest.killmail);
            }
            self.entries.pop_front();
        }
    }

    /// Distinct killmails.
    pub(super) fn killmails(&self) -> u64 {
        self.newest.len() as u64
    }

    /// When the oldest record was appended.
    pub(super) fn earliest_ms(&self) -> Option<i64> {
        self.entries.front().map(|oldest| oldest.ingested_ms)
    }

    /// Where the killmail stands in the revision that was its newest at `head`.
    pub(super) fn newest_at(&self, id: KillmailId, head: Offset) -> Option<Offset> {
        let mut sequence = *self.newest.get(&id.0)?;
        while sequence > head.0 {
            sequence = self.at(sequence)?.before;
        }
        self.at(sequence).map(|entry| Offset(entry.sequence))
    }

    /// The offset before the first record appended at or after `since_ms`; `None` = they are all older.
    pub(super) fn seek(&self, since_ms: i64) -> Option<Offset> {
        let first = self.entries.partition_point(|entry| entry.ingested_ms < since_ms);
        self.entries.get(first).map(|entry| Offset(entry.sequence - 1))
    }

    fn at(&self, sequence: u64) -> Option<&IndexEntry> {
        let place = self.entries.partition_point(|entry| entry.sequence < sequence);
        self.entries.get(place).filter(|entry| entry.sequence == sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        for (sequence, killmail) in [(3, 70), (4, 71), (6, 70), (7, 0), (9, 72), (10, 70)] {
            let kind = match killmail {
                0 => RecordKind::Gap,
                id => RecordKind::Killmail {
                    id: KillmailId(id),
                    revision: 0,
                },
            };
            index.push(sequence, sequence as i64 * 100, kind);
        }
        index
    }

    #[test]
    fn a_killmail_is_found_as_it_was_at_any_head() {
        let index = index();
        let at = |id, head| index.newest_at(KillmailId(id), Offset(head)).map(|found| found.0);
        assert_eq!(
            [2, 3, 5, 6, 9, 10, 99].map(|head| at(70, head)),
            [None, Some(3), Some(3), Some(6), Some(6), Some(10), Some(10)]
        );
        assert_eq!((at(71, 99), at(72, 8), at(73, 99)), (Some(4), None, None));
    }

    #[test]
    fn what_is_trimmed_is_forgotten() {
        let mut index = index();
        assert_eq!((index.killmails(), index.earliest_ms()), (3, Some(300)));
        index.trim(Offset(5));
        assert_eq!((index.killmails(), index.earliest_ms()), (2, Some(600)));
        // The revision before is gone as well.
        assert_eq!(index.newest_at(KillmailId(70), Offset(5)), None);
        assert_eq!(index.newest_at(KillmailId(70), Offset(8)), Some(Offset(6)));
        index.trim(Offset(10));
        assert_eq!((index.killmails(), index.earliest_ms()), (0, None));
    }

    #[test]
    fn a_time_is_found() {
        let index = index();
        let seek = |ms| index.seek(ms).map(|found| found.0);
        assert_eq!(
            [0, 300, 301, 500, 700, 1000, 1001].map(seek),
            [Some(2), Some(2), Some(3), Some(5), Some(6), Some(9), None]
        );
    }
}
