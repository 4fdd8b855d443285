//! One bad id fails a whole batch with 404, so the batch is halved until the bad one stands alone. And since sound batches are
//! refused now and then too, one 404 proves nothing: only a second one, later and alone, does. Pure decisions.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::enrich::esi::MAX_IDS;

/// From the first 404 of an id to when it is asked for again: a passing fault of ESI is over by then.
const CONFIRM_AFTER: Duration = Duration::from_secs(60);
/// More suspects than this are forgotten; they are found again.
const MAX_SUSPECTS: usize = 10_000;

/// Batches to ask for.
#[derive(Debug, Default)]
pub(super) struct Bisect {
    /// The last one is asked for next.
    todo: Vec<Vec<u64>>,
}

impl Bisect {
    /// `together` in batches as large as they may be, and each of `alone` by itself.
    pub(super) fn new(together: &[u64], alone: &[u64]) -> Self {
        let singles = alone.iter().map(|id| vec![*id]);
        let batches = together.chunks(MAX_IDS).map(<[u64]>::to_vec);
        let mut todo: Vec<_> = batches.chain(singles).collect();
        todo.reverse();
        Self { todo }
    }

    /// What to ask for next.
    pub(super) fn next(&mut self) -> Option<Vec<u64>> {
        self.todo.pop()
    }

    /// The batch was refused: it is halved, or it is one id, which is then the bad one.
    pub(super) fn refused(&mut self, mut batch: Vec<u64>) -> Option<u64> {
        if batch.len() <= 1 {
            return batch.pop();
        }
        let second = batch.split_off(batch.len() / 2);
        self.todo.push(second);
        self.todo.push(batch);
        None
    }
}

/// Ids that were refused once.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    since: HashMap<u64, Instant>,
}

/// How an id may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryMode {
    /// With others.
    Sound,
    /// Refused before: alone, so that it does not fail others.
    Alone,
    /// Refused a moment ago: not now.
    NotNow,
}

impl Suspects {
    pub(super) fn standing(&self, id: u64, now: Instant) -> QueryMode {
        match self.since.get(&id) {
            None => QueryMode::Sound,
            Some(since) if now.duration_since(*since) < CONFIRM_AFTER => QueryMode::NotNow,
            Some(_) => QueryMode::Alone,
        }
    }

    /// It was refused, alone. True if that confirms an earlier refusal: nothing bears it.
    pub(super) fn refused(&mut self, id: u64, now: Instant) -> bool {
        match self.since.get(&id) {
            Some(since) if now.duration_since(*since) >= CONFIRM_AFTER => {
                self.since.remove(&id);
                true
            }
            Some(_) => false,
            None => {
                if self.since.len() >= MAX_SUSPECTS {
                    self.since.clear();
                }
                self.since.insert(id, now);
                false
            }
        }
    }

    /// It has a name after all.
    pub(super) fn found(&mut self, id: u64) {
        self.since.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks a stand-in that refuses batches with a bad id: (found, bad, requests).
    fn ask(ids: &[u64], bad: &[u64]) -> (Vec<u64>, Vec<u64>, usize) {
        let (mut found, mut bad_ones, mut requests) = (vec![], vec![], 0);
        let mut plan = Bisect::new(ids, &[]);
        while let Some(batch) = plan.next() {
            requests += 1;
            if batch.iter().any(|id| bad.contains(id)) {
                bad_ones.extend(plan.refused(batch));
            } else {
                found.extend(batch);
            }
        }
        (found, bad_ones, requests)
    }

    #[test]
    fn bad_ids_are_found_and_all_others_named() {
        let ids: Vec<u64> = (1..=1_000).collect();
        let (found, bad, requests) = ask(&ids, &[]);
        assert_eq!((found.len(), bad.len(), requests), (1_000, 0, 1));
        let (found, bad, requests) = ask(&ids, &[500]);
        assert_eq!((found.len(), bad), (999, vec![500]));
        assert!(requests <= 21, "{requests}");
        let (found, bad, _) = ask(&ids, &[1, 2, 999, 1_000]);
        assert_eq!((found.len(), bad), (996, vec![1, 2, 999, 1_000]));
        assert!(found.is_sorted());
        assert_eq!(ask(&[7], &[7]), (vec![], vec![7], 1));
        assert_eq!(ask(&[], &[]).2, 0);
    }

    #[test]
    fn batches_are_no_larger_than_esi_takes_them() {
        let ids: Vec<u64> = (1..=2_500).collect();
        let mut plan = Bisect::new(&ids, &[9_001, 9_002]);
        let sizes: Vec<_> = std::iter::from_fn(|| plan.next().map(|batch| batch.len())).collect();
        assert_eq!(sizes, [1_000, 1_000, 500, 1, 1]);
    }

    #[test]
    fn a_refusal_counts_only_when_it_is_confirmed_later() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        assert_eq!(suspects.standing(5, now), QueryMode::Sound);
        assert!(!suspects.refused(5, now));
        assert!(!suspects.refused(5, now + CONFIRM_AFTER / 2));
        assert_eq!(suspects.standing(5, now + CONFIRM_AFTER / 2), QueryMode::NotNow);
        assert_eq!(suspects.standing(5, now + CONFIRM_AFTER), QueryMode::Alone);
        assert!(suspects.refused(5, now + CONFIRM_AFTER));
        assert_eq!(suspects.standing(5, now + CONFIRM_AFTER), QueryMode::Sound);
        suspects.refused(6, now);
        suspects.found(6);
        assert_eq!(suspects.standing(6, now), QueryMode::Sound);
    }
}
