//! Numbers below the head without a usable document: when they are asked for again, and when they are given up.

use killfeed::v1::{Gap, GapReason};

use super::{MAX_HOLES, Millis, Walk};
use crate::feed::{metrics, state::Hole, timestamp};

/// Holes were found one after the other, at the feed's pace, and get their last re-checks likewise.
const MERGE_WINDOW: Millis = 60_000;

/// Holes that lie side by side and are given up together.
struct MissingRange {
    last: u64,
    count: u64,
    from: Option<Millis>,
    to: Millis,
}

impl Walk {
    /// Some number before the next one is missing and its first re-check is not over: the walk does not go past it yet.
    pub(super) fn waiting_for_holes(&self) -> bool {
        self.open_holes().any(|(_, hole)| self.is_blocking(hole))
    }

    /// The first of those numbers, for people.
    pub(in crate::feed) fn waits_for(&self) -> Option<u64> {
        let hole = self.open_holes().find(|(_, hole)| self.is_blocking(hole));
        hole.map(|(number, _)| *number)
    }

    /// Those that are still asked for: not given up, and not handed out and waiting for their verdict.
    fn open_holes(&self) -> impl Iterator<Item = (&u64, &Hole)> {
        let open = |(number, hole): &(&u64, &Hole)| !self.handed.contains(number) && !self.is_exhausted(hole);
        self.state.holes.iter().filter(open)
    }

    fn is_exhausted(&self, hole: &Hole) -> bool {
        hole.checks as usize >= self.rechecks.len()
    }

    fn is_blocking(&self, hole: &Hole) -> bool {
        hole.checks == 0 && !hole.unreadable && !self.rechecks.is_empty()
    }

    /// The number whose time has come: holes first, those of announced ones after.
    pub(super) fn due(&self, now: Millis) -> Option<u64> {
        let mut holes = self.open_holes().filter(|(_, hole)| self.due_at(hole) <= now);
        holes.next().map(|(number, _)| *number).or_else(|| {
            let again = self.state.again.iter().find(|again| again.at <= now);
            again.map(|again| again.number)
        })
    }

    /// When that will be the next time.
    pub(super) fn next_due(&self) -> Option<Millis> {
        let holes = self.open_holes().map(|(_, hole)| self.due_at(hole));
        holes.chain(self.state.again.iter().map(|again| again.at)).min()
    }

    fn due_at(&self, hole: &Hole) -> Millis {
        let recheck = self.rechecks.get(hole.checks as usize);
        recheck.map_or(hole.since, |recheck| hole.since.saturating_add(*recheck))
    }

    pub(super) fn open_hole(&mut self, number: u64, now: Millis, unreadable: bool) {
        if self.state.holes.len() >= MAX_HOLES
            && let Some(mut oldest) = self.state.holes.first_entry()
        {
            tracing::warn!(
                number = oldest.key(),
                "too many holes, giving up the oldest before its re-check"
            );
            oldest.get_mut().checks = u32::MAX;
        }
        ::metrics::counter!(metrics::HOLES).increment(1);
        tracing::info!(
            number,
            unreadable,
            "no usable document below the head, re-checking it later"
        );
        let hole = Hole {
            since: now,
            after: self.state.head_since,
            checks: 0,
            unreadable,
        };
        self.state.holes.insert(number, hole);
    }

    /// Asked for once more in vain. Re-checks whose time passed unused (an outage, a ban) are not made up for one by one.
    pub(super) fn recheck_failed(&mut self, number: u64, now: Millis) {
        let Some(hole) = self.state.holes.get_mut(&number) else {
            return;
        };
        let over = |recheck: &&Millis| hole.since.saturating_add(**recheck) <= now;
        let passed = self.rechecks.iter().filter(over).count();
        hole.checks = u32::try_from(passed)
            .unwrap_or(u32::MAX)
            .max(hole.checks.saturating_add(1));
    }

    /// Holes whose last re-check is over become gaps, one for those that lie side by side.
    pub(super) fn give_up_exhausted_holes(&mut self, now: Millis) {
        let holes = &self.state.holes;
        // Nearly always there is none, and this runs with every step.
        let mut exhausted = holes.iter().filter(|(_, hole)| self.is_exhausted(hole)).peekable();
        if exhausted.peek().is_none() {
            return;
        }
        // A neighbour that is about to get its last re-check will belong to the same gap.
        let soon =
            |hole: &Hole| hole.checks as usize + 1 >= self.rechecks.len() && self.due_at(hole) <= now + MERGE_WINDOW;
        if exhausted.any(|(number, _)| {
            holes
                .get(&(number + 1))
                .is_some_and(|next| !self.is_exhausted(next) && soon(next))
        }) {
            return;
        }
        let mut lost: Option<MissingRange> = None;
        let mut gaps = Vec::new();
        let rechecks = self.rechecks.len();
        let gone = |_: &u64, hole: &mut Hole| hole.checks as usize >= rechecks;
        for (number, hole) in self.state.holes.extract_if(.., gone) {
            tracing::error!(number, "document never arrived, reporting a gap");
            match &mut lost {
                Some(lost) if lost.last + 1 == number => {
                    lost.last = number;
                    lost.count += 1;
                    lost.to = lost.to.max(hole.since);
                }
                _ => {
                    gaps.extend(lost.replace(MissingRange {
                        last: number,
                        count: 1,
                        from: hole.after,
                        to: hole.since,
                    }));
                }
            }
        }
        gaps.extend(lost);
        self.gaps.extend(gaps.into_iter().map(|lost| Gap {
            reason: GapReason::UpstreamMissing.into(),
            from_time: lost.from.map(timestamp),
            to_time: Some(timestamp(lost.to)),
            missing: lost.count,
        }));
    }
}
