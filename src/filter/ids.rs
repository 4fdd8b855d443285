//! A set of ids with fast lookup.
//!
//! Most sets hold one id, those of wildcards hold thousands, and a killmail of 3,753 attackers looks up each of them.

use crate::v1::FilterValue;

/// Up to this length, a linear search is faster than a binary search.
const LINEAR_SEARCH_THRESHOLD: usize = 8;

/// A sorted set of ids without duplicates.
#[derive(Debug)]
pub(super) struct IdSet(Box<[u64]>);

impl IdSet {
    /// Collects the ids of all values.
    pub(super) fn of(values: &[FilterValue]) -> Self {
        values.iter().flat_map(|value| value.ids.iter().copied()).collect()
    }

    /// Returns whether the set contains `id`.
    pub(super) fn contains(&self, id: u64) -> bool {
        if self.0.len() <= LINEAR_SEARCH_THRESHOLD {
            self.0.contains(&id)
        } else {
            self.0.binary_search(&id).is_ok()
        }
    }
}

impl FromIterator<u64> for IdSet {
    fn from_iter<T: IntoIterator<Item = u64>>(ids: T) -> Self {
        let mut ids: Vec<u64> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self(ids.into())
    }
}
