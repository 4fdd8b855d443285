//! Where the oldest document is that still exists: by bisection, not one by one.

use killfeed::v1::{Gap, GapReason};

use super::{Millis, RUN_BEFORE_SEARCH, Walk};
use crate::feed::timestamp;

/// One missing number says little (it may be a hole); so many in a row say that nothing this old is left.
const MISSING_THRESHOLD: u64 = 3;
/// What lies this close together is looked through one by one, so that a hole near the oldest does not mislead.
const LINEAR_SEARCH_THRESHOLD: u64 = 16;
/// The first step down from the head; small enough for a young board, and wide enough to step over a hole.
const FIRST_STEP: u64 = 8;

/// A search between a number that is gone and one that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    why: SearchReason,
    /// Gone, and everything below it.
    low: u64,
    /// There (or believed to be).
    high: u64,
    /// Going down from `high` in steps that double, until something is gone.
    step: Option<u64>,
    /// The number in question, and how many after it were found missing too.
    middle: u64,
    missing: u64,
    /// Something was there: without that, nothing proves that the feed answers as it should.
    confirmed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SearchReason {
    /// To begin at the oldest.
    Start,
    /// To see whether documents we had are gone by now.
    Suspicion { run_start: u64 },
    /// They are not: to see whether the number that makes us think the run is one of holes is really there.
    Proof,
    /// What we stand on is gone: to go on at the oldest.
    Expired { run_start: u64 },
}

impl Search {
    /// The oldest, for a first start.
    pub(super) fn downwards(head: u64) -> Self {
        Self::new(SearchReason::Start, 0, head, Some(FIRST_STEP))
    }

    fn new(why: SearchReason, low: u64, high: u64, step: Option<u64>) -> Self {
        let mut search = Self {
            why,
            low,
            high,
            step,
            middle: 0,
            missing: 0,
            confirmed: false,
        };
        search.aim();
        search
    }

    /// About one number only.
    fn of_one(why: SearchReason, number: u64) -> Self {
        Self {
            middle: number,
            ..Self::new(why, 0, number, None)
        }
    }

    /// What to ask for.
    pub(super) fn candidate(&self) -> u64 {
        self.middle + self.missing
    }

    fn aim(&mut self) {
        self.missing = 0;
        self.middle = match self.step {
            Some(step) => self.high.saturating_sub(step).max(self.low + 1),
            None if self.is_close() => self.low + 1,
            None => self.low + (self.high - self.low) / 2,
        };
    }

    fn is_close(&self) -> bool {
        self.high.saturating_sub(self.low) <= LINEAR_SEARCH_THRESHOLD
    }

    /// The oldest, once it is found.
    fn done(&self) -> Option<u64> {
        (self.high <= self.low + 1).then_some(self.high)
    }

    fn answered(&mut self, there: bool) {
        let linear = self.step.is_none() && self.is_close();
        if there {
            self.confirmed = true;
            self.high = self.high.min(self.candidate());
            self.step = self.step.map(|step| step.saturating_mul(2));
            if linear {
                self.low = self.high.saturating_sub(1);
            }
            self.aim();
        } else if !linear && self.missing + 1 < MISSING_THRESHOLD && self.candidate() + 1 < self.high {
            self.missing += 1;
        } else {
            self.low = self.candidate();
            self.step = None;
            self.aim();
        }
    }
}

impl Walk {
    /// After some numbers in a row that are missing: are they late, or is everything this old gone? What we had before
    /// tells: if that is gone as well, it is age.
    pub(super) fn suspect_expiry(&mut self, now: Millis) {
        let (Some(run_start), Some(next)) = (self.run_start, self.state.next) else {
            return;
        };
        if self.run_is_young || next - run_start < RUN_BEFORE_SEARCH || next >= self.state.known_head {
            return;
        }
        match self.state.last_found {
            Some(had) => self.search = Some(Search::of_one(SearchReason::Suspicion { run_start }, had)),
            None => self.find_oldest(run_start, now),
        }
    }

    fn find_oldest(&mut self, run_start: u64, now: Millis) {
        let low = self.state.next.map_or(0, |next| next.saturating_sub(1));
        let search = Search::new(SearchReason::Expired { run_start }, low, self.state.known_head, None);
        self.begin_search(search, now);
    }

    pub(super) fn begin_search(&mut self, mut search: Search, now: Millis) {
        match (search.done(), search.why) {
            // Everything but the head is gone, so it seems: then at least that has to be there.
            (Some(oldest), SearchReason::Expired { .. }) if !search.confirmed => {
                search.middle = oldest;
                search.missing = 0;
                self.search = Some(search);
            }
            (Some(oldest), SearchReason::Expired { run_start }) => self.expire(run_start, oldest, now),
            (Some(oldest), SearchReason::Start) => {
                tracing::info!(oldest, "starting at the oldest document that exists");
                self.state.next = self.state.next.or(Some(oldest));
            }
            _ => self.search = Some(search),
        }
    }

    pub(super) fn searched(&mut self, mut search: Search, there: bool, now: Millis) {
        match search.why {
            SearchReason::Suspicion { .. } if there => {
                self.search = Some(Search::of_one(SearchReason::Proof, self.state.known_head));
            }
            SearchReason::Suspicion { run_start } => self.find_oldest(run_start, now),
            SearchReason::Proof if there => self.run_is_young = true,
            SearchReason::Proof => self.distrust_head(),
            // An upstream that answers 404 to everything is in trouble; nothing is expired because of that.
            SearchReason::Expired { .. } if !there && !search.confirmed && search.done().is_some() => {
                self.distrust_head()
            }
            SearchReason::Start | SearchReason::Expired { .. } => {
                search.answered(there);
                self.begin_search(search, now);
            }
        }
    }

    /// The number said to be the head is not there either. Perhaps sequence.json is wrong, perhaps nothing is there right
    /// now: the run goes no further, and the next number is waited for as if it were the head, until sequence.json is
    /// looked at again.
    fn distrust_head(&mut self) {
        tracing::warn!(
            head = self.state.known_head,
            "document named by sequence.json is missing, waiting for it"
        );
        self.state.known_head = self.state.next.unwrap_or(0);
        self.run_start = None;
    }

    /// What lies before `oldest` is gone for good.
    fn expire(&mut self, run_start: u64, oldest: u64, now: Millis) {
        self.state
            .holes
            .retain(|number, _| *number < run_start || *number >= oldest);
        let missing = oldest.saturating_sub(run_start);
        tracing::error!(
            from = run_start,
            to = oldest,
            missing,
            "documents expired before they were read, reporting a gap"
        );
        self.gaps.push_back(Gap {
            reason: GapReason::UpstreamExpired.into(),
            from_time: self.state.head_since.map(timestamp),
            to_time: Some(timestamp(now)),
            missing,
        });
        // Never backwards: the search begins above the run.
        self.state.next = self.state.next.max(Some(oldest));
        self.run_start = None;
        self.held = false;
    }
}
