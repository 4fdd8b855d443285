//! Numbers that answer with nothing but failures (5xx, timeouts, cut connections): is it the host, or only they?
//!
//! A host in trouble is waited for, however long. One document in trouble on a sound host must not hold up all the others: a
//! client that waited for its one stalled file froze for days. What tells the two apart is the answer about some other document.

use std::collections::BTreeMap;

use super::{Action, FetchAnswer, Millis, POLLS_BEFORE_HEAD_CHECK, Walk};

/// So many failures in a row of one number, before another one is asked for to compare.
const FAILURE_THRESHOLD: u32 = 3;
/// So many numbers after it are taken for the comparison, in turn.
const PROBE_SPAN: u64 = 16;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct FailureTracker {
    sick: BTreeMap<u64, FailingSequence>,
    /// Answers about documents that show that the host is well, so far.
    good: u64,
    /// The number being asked for to compare, and the sick one that it is about.
    probing: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct FailingSequence {
    tries: u32,
    /// How many good answers there were before the first failure.
    good_before: u64,
    probes: u32,
}

impl FailureTracker {
    /// It failed once more: how often in a row by now, and whether the host is well, so that it is the number itself.
    fn failed(&mut self, number: u64) -> (u32, bool) {
        let good = self.good;
        let sick = self.sick.entry(number).or_insert(FailingSequence {
            tries: 0,
            good_before: good,
            probes: 0,
        });
        sick.tries = sick.tries.saturating_add(1);
        (sick.tries, sick.tries >= FAILURE_THRESHOLD && good > sick.good_before)
    }

    /// Whether it failed so often that a comparison is due: one with each failure from then on.
    fn wants_probe(&self, number: u64) -> Option<u32> {
        let sick = self.sick.get(&number)?;
        let due = sick.tries >= FAILURE_THRESHOLD + sick.probes && sick.good_before == self.good;
        due.then_some(sick.probes)
    }

    fn forget(&mut self, number: u64) {
        self.sick.remove(&number);
    }
}

impl Walk {
    /// Asks for a number, or for one to compare it with.
    pub(super) fn fetch(&mut self, number: u64, again: bool) -> Action {
        match self.probe_for(number) {
            None => Action::Fetch { number, again },
            Some(probe) => {
                self.sickbay.probing = Some((probe, number));
                Action::Fetch {
                    number: probe,
                    again: true,
                }
            }
        }
    }

    /// Nothing is being compared yet: called before each decision, which may be taken again before its request goes out.
    pub(super) fn no_probe(&mut self) {
        self.sickbay.probing = None;
    }

    /// Takes in an answer about a document as far as it tells the host's health. True = it was only asked for to compare.
    pub(super) fn examine(&mut self, number: u64, answer: &FetchAnswer, now: Millis) -> bool {
        let good = matches!(
            answer,
            FetchAnswer::Found | FetchAnswer::Missing | FetchAnswer::Undecodable
        );
        if good {
            self.sickbay.good += 1;
            self.sickbay.forget(number);
        }
        let Some((_, sick)) = self.sickbay.probing.take_if(|(probe, _)| *probe == number) else {
            return false;
        };
        if good {
            self.backoff.reset();
            self.skip(sick, now);
        } else if let Some(sick) = self.sickbay.sick.get_mut(&sick) {
            sick.probes = sick.probes.saturating_add(1);
        }
        true
    }

    /// A request for this number failed: what that means for it.
    pub(super) fn failed(&mut self, number: u64, now: Millis) {
        // The walk has its turn before a re-check is tried once more.
        self.rechecked |= self.state.next != Some(number);
        let (tries, itself) = self.sickbay.failed(number);
        if self.may_not_exist(number) {
            // Perhaps there are later ones.
            self.look |= tries.is_multiple_of(POLLS_BEFORE_HEAD_CHECK);
        } else if itself {
            self.skip(number, now);
        }
    }

    /// It is what is waited for at the head: failures say nothing about it.
    fn may_not_exist(&self, number: u64) -> bool {
        self.search.is_none() && self.state.next == Some(number) && number > self.state.known_head
    }

    /// The host is well, and this number fails all the same: it is treated like a document that cannot be read.
    fn skip(&mut self, number: u64, now: Millis) {
        self.sickbay.forget(number);
        self.retry_at = now;
        tracing::warn!(number, "document keeps failing while others succeed, skipping it");
        if let Some(search) = self.search.take_if(|search| search.candidate() == number) {
            self.searched(search, true, now);
        } else if self.state.next == Some(number) {
            self.step_past(number);
            self.open_hole(number, now, true);
        } else if self.state.holes.contains_key(&number) {
            self.rechecked = true;
            self.take_announced(number);
            self.recheck_failed(number, now);
        } else {
            self.rechecked = true;
            self.refetched(number, false, now);
        }
    }

    /// Something that should be there if the host is well: what was read last, or what follows.
    fn probe_for(&self, number: u64) -> Option<u64> {
        let turn = self
            .sickbay
            .wants_probe(number)
            .filter(|_| !self.may_not_exist(number))?;
        let held = self.held.then_some(self.state.next).flatten();
        let neighbours = number + 1..=self.state.known_head.min(number.saturating_add(PROBE_SPAN));
        let candidates: Vec<u64> = self
            .state
            .last_found
            .into_iter()
            .chain(neighbours)
            .filter(|candidate| *candidate != number && Some(*candidate) != held)
            .collect();
        candidates.get(turn as usize % candidates.len().max(1)).copied()
    }
}
