//! A set of ids that answers fast: most hold one, wildcards thousands, and a killmail can ask for each of 3,753 attackers.

use crate::v1::FilterValue;

/// Up to so many, looking at every one beats halving.
const LINEAR_SEARCH_THRESHOLD: usize = 8;

/// Ids, sorted, each once.
#[derive(Debug)]
pub(super) struct IdSet(Box<[u64]>);

impl IdSet {
    /// Every id that one of the values stands for.
    pub(super) fn of(values: &[FilterValue]) -> Self {
        values.iter().flat_map(|value| value.ids.iter().copied()).collect()
    }

    /// Whether `id` is one of them.
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
