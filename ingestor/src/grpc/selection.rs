//! Which records a stream delivers. Streams that want the same share one [`Selection`], and with it what was made for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use killfeed::{filter::Program, v1};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::log::{Record, RecordKind};

/// Dead entries are looked for when so many are known, and again when their number has doubled.
const SWEEP: usize = 64;

/// A filter and whether updates are wanted: what decides, together with the log, which bytes a stream sends.
#[derive(Debug)]
pub(super) struct Selection {
    /// Different for different selections, and never used twice.
    pub(super) number: u64,
    /// `None` = everything: then nothing is ever decoded.
    program: Option<Program>,
    include_updates: bool,
}

impl Selection {
    /// Whether a stream of this selection delivers `record`.
    pub(super) fn admits(&self, record: &Record) -> bool {
        match record.kind {
            // Whoever misses documents here misses them whatever the filter.
            RecordKind::Gap => true,
            RecordKind::Killmail { revision, .. } if revision > 0 && !self.include_updates => false,
            RecordKind::Killmail { .. } => match &self.program {
                None => true,
                Some(program) => record.killmail().is_some_and(|killmail| program.matches(killmail)),
            },
        }
    }

    /// Whether it lets everything through: then reading and sending are the same work.
    pub(super) fn is_filtered(&self) -> bool {
        self.program.is_some()
    }
}

/// A filter that was compiled, and what tells it from others: its tree with every id, not its text, because the same name can
/// mean other ids after new static data.
#[derive(Debug)]
pub(super) struct Filtered {
    pub(super) program: Program,
    tree: [u8; 32],
}

impl Filtered {
    pub(super) fn new(program: Program, filter: &v1::Filter) -> Self {
        Self {
            program,
            tree: Sha256::digest(filter.encode_to_vec()).into(),
        }
    }
}

/// Tree (`None` = everything) and updates.
type SelectionKey = (Option<[u8; 32]>, bool);

/// All selections that streams have now.
#[derive(Debug, Default)]
pub(super) struct Selections(Mutex<SelectionTable>);

#[derive(Debug, Default)]
struct SelectionTable {
    selections: HashMap<SelectionKey, Weak<Selection>>,
    given: u64,
    sweep_at: usize,
}

impl Selections {
    /// The one that other streams use, or a new one.
    pub(super) fn get(&self, filter: Option<Filtered>, include_updates: bool) -> Arc<Selection> {
        // A plain mutex: held for a look-up, never across an await.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (filter.as_ref().map(|filter| filter.tree), include_updates);
        if let Some(selection) = known.selections.get(&key).and_then(Weak::upgrade) {
            return selection;
        }
        if known.selections.len() >= known.sweep_at {
            known.selections.retain(|_, selection| selection.strong_count() > 0);
            known.sweep_at = SWEEP.max(known.selections.len() * 2);
        }
        known.given += 1;
        let selection = Arc::new(Selection {
            number: known.given,
            program: filter.map(|filter| filter.program),
            include_updates,
        });
        known.selections.insert(key, Arc::downgrade(&selection));
        selection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::tests::npc;

    fn filtered() -> Option<Filtered> {
        Some(Filtered::new(Program::new(&npc()).unwrap(), &npc()))
    }

    #[test]
    fn streams_that_want_the_same_share_it() {
        let selections = Selections::default();
        let everything = selections.get(None, false);
        assert!(Arc::ptr_eq(&everything, &selections.get(None, false)));
        let others = [
            selections.get(None, true),
            selections.get(filtered(), false),
            selections.get(filtered(), true),
        ];
        let mut numbers: Vec<u64> = others.iter().map(|other| other.number).collect();
        numbers.extend([everything.number]);
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 4);
        assert!(Arc::ptr_eq(&others[1], &selections.get(filtered(), false)));
    }

    #[test]
    fn what_nobody_wants_any_more_is_forgotten() {
        let selections = Selections::default();
        let first = selections.get(None, false).number;
        assert_ne!(selections.get(None, false).number, first, "nobody held it");
        for n in 0..1_000_u64 {
            let mut filter = filtered().unwrap();
            filter.tree[..8].copy_from_slice(&n.to_le_bytes());
            selections.get(Some(filter), false);
        }
        assert!(selections.0.lock().unwrap().selections.len() <= SWEEP);
    }
}
