//! The walk along zKillboard's numbers, as decisions only: what to ask for next, and what an answer means.
//!
//! No clock and no network: both come in as arguments, so that every rule can be tested by itself. The rules are those of
//! zKillboard's wiki and of what clients before us got wrong: the number only ever grows; a 404 at the head means "not
//! yet"; a 404 below the head is waited for, then gone past, asked for again later, and in the end reported.

mod holes;
mod search;
mod failing;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use killfeed::{backoff::Backoff, v1::Gap};

use self::{failing::FailureTracker, search::Search};
use super::{
    DocumentOutcome, FeedStart, MAX_RETRY_AFTER, Millis,
    state::{FeedState, Refetch},
};

/// After this many 404s in a row at the head, sequence.json is looked at: perhaps we sit on a hole.
const POLLS_BEFORE_HEAD_CHECK: u32 = 5;
/// After this many numbers in a row below the head that are not there, it is found out whether the feed still has anything
/// this old.
const RUN_BEFORE_SEARCH: u64 = 5;
/// So many holes are remembered; beyond, the oldest is given up before its time. A day has about 16,000 numbers.
const MAX_HOLES: usize = 5_000;
/// So many announced numbers wait to be fetched once more.
const MAX_REFETCHES: usize = 1_000;
/// An announced number that is not there is asked for this often.
const MAX_REFETCH_ATTEMPTS: u32 = 3;
/// And as long apart.
const REFETCH_RETRY_DELAY: Millis = 60_000;
/// A number that answers 200 without a body that can be read is asked for this often before it becomes a hole.
const MAX_UNDECODABLE_ATTEMPTS: u32 = 3;
/// The longest first delay after a failure, and the longest delay of all. A shorter poll interval shortens the first one.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A poll interval of less does not shorten the first delay further.
const MIN_INITIAL_BACKOFF: Duration = Duration::from_millis(50);

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Ask for sequence.json.
    FetchHead,
    /// Ask for a document. `again`: it was asked for before, so no cache may answer.
    Fetch { number: u64, again: bool },
    /// Nothing to do before this time.
    WaitUntil(Millis),
    /// Say that documents are missing.
    Report(Gap),
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FetchAnswer {
    /// sequence.json's number.
    Head(u64),
    /// A document with a body.
    Found,
    /// 404.
    Missing,
    /// 200, but its body could not be unpacked, or has no end.
    Undecodable,
    /// 429 or 403.
    Banned { retry_after: Option<Duration> },
    /// Anything else: 5xx, timeouts, cut connections.
    Failed { retry_after: Option<Duration> },
}

/// What to do with what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    /// Hand it out.
    Deliver,
    /// Its turn comes later: the walk will ask for it again.
    Hold,
    /// It was only about whether it is there.
    Drop,
}

/// The walk.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) state: FeedState,
    start: FeedStart,
    poll_interval: Millis,
    rechecks: Vec<Millis>,
    /// sequence.json is to be looked at.
    look: bool,
    /// 404s in a row at the head.
    polls: u32,
    /// Not before this is the next number asked for.
    poll_at: Millis,
    /// Failures in a row, of whatever request.
    backoff: Backoff,
    retry_at: Millis,
    /// Answers in a row without a readable body, of one number.
    garbled: (Option<u64>, u32),
    /// The next number was found, but waits for the holes before it.
    held: bool,
    /// The last request was a re-check: the walk has its turn now.
    rechecked: bool,
    /// The first number of the run of missing ones that ends just below the next number.
    run_start: Option<u64>,
    /// That run was looked into: it is not the feed's end.
    run_is_young: bool,
    search: Option<Search>,
    /// Numbers whose requests fail.
    sickbay: FailureTracker,
    /// The position is a stored one, and nothing was answered since: the process before may have asked a moment ago.
    resumed: bool,
    /// Holes and announced numbers that were found and handed out, until their verdict is in.
    handed: BTreeSet<u64>,
    gaps: VecDeque<Gap>,
}

impl Walk {
    pub(super) fn new(state: FeedState, start: FeedStart, poll_interval: Duration, rechecks: &[Duration]) -> Self {
        let millis = |duration: &Duration| Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX / 4);
        let mut rechecks: Vec<Millis> = rechecks.iter().map(millis).collect();
        rechecks.sort_unstable();
        Self {
            resumed: state.next.is_some(),
            state,
            start,
            poll_interval: millis(&poll_interval),
            rechecks,
            look: true,
            polls: 0,
            poll_at: 0,
            backoff: Backoff::new(BACKOFF.0.min(poll_interval.max(MIN_INITIAL_BACKOFF)), BACKOFF.1),
            retry_at: 0,
            garbled: (None, 0),
            held: false,
            rechecked: false,
            run_start: None,
            run_is_young: false,
            search: None,
            sickbay: FailureTracker::default(),
            handed: BTreeSet::new(),
            gaps: VecDeque::new(),
        }
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Millis) -> Action {
        self.no_probe();
        self.give_up_exhausted_holes(now);
        if let Some(gap) = self.gaps.pop_front() {
            return Action::Report(gap);
        }
        if let Some(until) = self.state.ban.active(now) {
            return Action::WaitUntil(until);
        }
        if self.retry_at > now {
            return Action::WaitUntil(self.retry_at);
        }
        if let Some(search) = &self.search {
            let number = search.candidate();
            return self.fetch(number, false);
        }
        let Some(next) = self.state.next else {
            return match self.start {
                FeedStart::Sequence(number) if !self.look => {
                    self.state.next = Some(number);
                    self.fetch(number, false)
                }
                _ => Action::FetchHead,
            };
        };
        let waiting = self.waiting_for_holes();
        let may_walk = !waiting && self.poll_at <= now;
        if let Some(number) = self.due(now)
            && !(self.rechecked && may_walk)
        {
            return self.fetch(number, true);
        }
        if waiting {
            // Those that are missing wait together: see how far the hole reaches, up to the first that is there.
            return if !self.held && next < self.state.known_head && self.state.holes.len() < MAX_HOLES {
                self.fetch(next, false)
            } else {
                Action::WaitUntil(self.next_due().unwrap_or(now))
            };
        }
        if self.poll_at > now {
            let due = self.next_due().unwrap_or(Millis::MAX);
            return Action::WaitUntil(self.poll_at.min(due));
        }
        if self.look {
            return Action::FetchHead;
        }
        let again = self.polls > 0 || self.backoff.failures() > 0 || self.garbled.0 == Some(next);
        self.fetch(next, again)
    }

    /// What the answer to a request means: for a document (by its number), or for sequence.json (`None`). `random` in 0..1.
    pub(super) fn apply(&mut self, asked: Option<u64>, answer: FetchAnswer, now: Millis, random: f64) -> Disposition {
        // Without sequence.json the walk can go on; it is looked at again at the next long silence.
        if asked.is_none() && self.state.next.or(self.start.sequence()).is_some() {
            self.look = false;
            self.delay_first_poll(&answer, now);
        }
        let probe = asked.is_some_and(|number| self.examine(number, &answer, now));
        match answer {
            FetchAnswer::Banned { retry_after } => {
                self.state.ban.refuse(now, retry_after, random);
                return Disposition::Drop;
            }
            FetchAnswer::Failed { retry_after } => {
                self.fail(now, retry_after, random);
                if let Some(number) = asked.filter(|_| !probe) {
                    self.failed(number, now);
                }
                return Disposition::Drop;
            }
            _ if probe => return Disposition::Drop,
            FetchAnswer::Undecodable if self.garbled_again(asked) < MAX_UNDECODABLE_ATTEMPTS => {
                self.fail(now, None, random);
                return Disposition::Drop;
            }
            _ => self.backoff.reset(),
        }
        let Some(number) = asked else {
            if let FetchAnswer::Head(head) = answer {
                self.see_head(head, now);
            }
            return Disposition::Drop;
        };
        let there = answer == FetchAnswer::Found;
        if let Some(search) = self.search.take_if(|search| search.candidate() == number) {
            self.searched(search, there || answer == FetchAnswer::Undecodable, now);
            return Disposition::Drop;
        }
        if self.state.next == Some(number) {
            self.rechecked = false;
            return match answer {
                FetchAnswer::Found => self.found_next(number),
                FetchAnswer::Undecodable => {
                    self.step_past(number);
                    self.open_hole(number, now, true);
                    Disposition::Drop
                }
                _ => {
                    self.missed_next(number, now);
                    Disposition::Drop
                }
            };
        }
        self.rechecked = true;
        if self.state.holes.contains_key(&number) {
            // Asked for out of turn because it was announced: that is no re-check.
            let announced = self.take_announced(number);
            if !there && !announced {
                self.recheck_failed(number, now);
            }
            // Found: it stays a hole until the verdict says that it can be used.
            return if there { self.deliver(number) } else { Disposition::Drop };
        }
        self.refetched(number, there, now)
    }

    /// What became of documents that were handed out.
    pub(super) fn settle(&mut self, verdicts: &[(u64, DocumentOutcome)], now: Millis) {
        for (number, verdict) in verdicts {
            let handed = self.handed.remove(number);
            match verdict {
                DocumentOutcome::Unreadable if self.state.holes.contains_key(number) => {
                    self.recheck_failed(*number, now)
                }
                DocumentOutcome::Unreadable if handed => {
                    tracing::warn!(number, "refetched document is malformed, keeping the first version");
                }
                DocumentOutcome::Unreadable => self.open_hole(*number, now, true),
                DocumentOutcome::Placeholder => {
                    self.state.holes.remove(number);
                }
                DocumentOutcome::Accepted { refetch: fetch_again } => {
                    self.state.holes.remove(number);
                    if let Some(older) = fetch_again {
                        self.announce(*older, *number, now);
                    }
                }
            }
        }
        self.handed.clear();
    }

    /// The walk has nothing more to fetch now but the number that is not there yet.
    pub(super) fn is_at_head(&self) -> bool {
        let none_known = self.state.next.is_some_and(|next| next >= self.state.known_head);
        self.polls > 0 && none_known && !self.waiting_for_holes() && self.search.is_none()
    }

    /// It is looking for the oldest document that still exists.
    pub(super) fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    /// So many requests in a row failed.
    pub(super) fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Whoever is started again and again at the head does not ask for the same number more often than one who runs: without
    /// a sign that it exists by now, the first question for it comes a poll interval after the start.
    fn delay_first_poll(&mut self, answer: &FetchAnswer, now: Millis) {
        let head = match answer {
            FetchAnswer::Head(head) => self.state.known_head.max(*head),
            _ => self.state.known_head,
        };
        if std::mem::take(&mut self.resumed) && self.state.next.is_some_and(|next| next > head) {
            self.poll_at = now + self.poll_interval;
        }
    }

    /// sequence.json lags behind the head, so it only ever tells that the head is further than we thought.
    fn see_head(&mut self, head: u64, now: Millis) {
        self.look = false;
        self.state.known_head = self.state.known_head.max(head);
        if self.state.next.is_some() {
            return;
        }
        match self.start {
            FeedStart::Latest => self.state.next = Some(head),
            FeedStart::Sequence(number) => self.state.next = Some(number),
            FeedStart::Earliest => self.begin_search(Search::downwards(head), now),
        }
    }

    fn found_next(&mut self, number: u64) -> Disposition {
        if self.waiting_for_holes() {
            self.held = true;
            return Disposition::Hold;
        }
        self.state.last_found = Some(number);
        self.step_past(number);
        self.run_start = None;
        Disposition::Deliver
    }

    fn step_past(&mut self, number: u64) {
        self.state.next = Some(number + 1);
        self.state.known_head = self.state.known_head.max(number);
        self.polls = 0;
        self.poll_at = 0;
        self.held = false;
    }

    fn missed_next(&mut self, number: u64, now: Millis) {
        if number < self.state.known_head {
            if self.run_start.is_none() {
                self.run_start = Some(number);
                self.run_is_young = false;
            }
            self.step_past(number);
            self.open_hole(number, now, false);
            self.suspect_expiry(now);
            return;
        }
        if self.polls == 0 {
            self.state.head_since = Some(now);
        }
        self.run_start = None;
        self.polls = self.polls.saturating_add(1);
        self.look = self.polls.is_multiple_of(POLLS_BEFORE_HEAD_CHECK);
        self.poll_at = now + self.poll_interval;
    }

    fn announce(&mut self, older: u64, by: u64, now: Millis) {
        // Only ever older ones, so that announcements cannot go round in a circle.
        let known = self.state.again.iter().any(|again| again.number == older);
        if older >= by || known {
            return;
        }
        if self.state.again.len() >= MAX_REFETCHES {
            tracing::warn!(number = older, "too many pending refetches, skipping this one");
            return;
        }
        self.state.again.push_back(Refetch {
            number: older,
            at: now,
            tries: 0,
        });
    }

    fn take_announced(&mut self, number: u64) -> bool {
        let place = self.state.again.iter().position(|again| again.number == number);
        place.is_some_and(|place| self.state.again.remove(place).is_some())
    }

    fn refetched(&mut self, number: u64, there: bool, now: Millis) -> Disposition {
        let Some(place) = self.state.again.iter().position(|again| again.number == number) else {
            return Disposition::Drop;
        };
        if let Some(again) = self.state.again.get_mut(place)
            && !there
            && again.tries + 1 < MAX_REFETCH_ATTEMPTS
        {
            again.tries += 1;
            again.at = now + REFETCH_RETRY_DELAY;
            return Disposition::Drop;
        }
        self.state.again.remove(place);
        if !there {
            tracing::info!(number, "refetched document is missing, keeping the first version");
            return Disposition::Drop;
        }
        self.deliver(number)
    }

    fn deliver(&mut self, number: u64) -> Disposition {
        self.handed.insert(number);
        Disposition::Deliver
    }

    fn garbled_again(&mut self, asked: Option<u64>) -> u32 {
        let before = if self.garbled.0 == asked { self.garbled.1 } else { 0 };
        self.garbled = (asked, before + 1);
        before + 1
    }

    /// Sets the time of the next attempt after a failure.
    fn fail(&mut self, now: Millis, retry_after: Option<Duration>, random: f64) {
        // A 503 may ask for a pause too, which is believed up to a few minutes.
        let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        let delay = self.backoff.next_delay_with(random).max(asked);
        // At most five minutes, which fits.
        self.retry_at = now + delay.as_millis() as Millis;
    }
}
