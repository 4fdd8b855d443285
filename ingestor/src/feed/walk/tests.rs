//! Every rule of the walk against a board that lives in memory, under a clock that the test turns.

use std::collections::{BTreeMap, BTreeSet};

use killfeed::v1::GapReason;

use super::*;

mod refetch;
mod faults;
mod random;
mod failing;
mod holes;
mod starts;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
/// Between two requests, and for each to be answered.
const PACE: Millis = 125;

/// What one step of the walk was.
#[derive(Debug, Clone, PartialEq)]
enum Event {
    Asked(u64),
    Head,
    Delivered(u64),
    Gap(Gap),
}

/// A zKillboard, and a walk over it.
struct FeedSim {
    now: Millis,
    walk: Walk,
    files: BTreeSet<u64>,
    head: u64,
    /// Answers given instead, first come first served.
    faults: BTreeMap<u64, VecDeque<FetchAnswer>>,
    head_faults: VecDeque<FetchAnswer>,
    verdicts: BTreeMap<u64, DocumentOutcome>,
    held: Option<u64>,
    events: Vec<(Millis, Event)>,
    random: f64,
}

impl FeedSim {
    fn new(start: FeedStart, files: impl IntoIterator<Item = u64>, head: u64) -> Self {
        Self::restart(FeedState::default(), start, files, head)
    }

    fn restart(state: FeedState, start: FeedStart, files: impl IntoIterator<Item = u64>, head: u64) -> Self {
        let minutes = [1, 5, 30, 360].map(|minutes| Duration::from_secs(minutes * 60));
        Self {
            now: 0,
            walk: Walk::new(state, start, Duration::from_secs(6), &minutes),
            files: files.into_iter().collect(),
            head,
            faults: BTreeMap::new(),
            head_faults: VecDeque::new(),
            verdicts: BTreeMap::new(),
            held: None,
            events: Vec::new(),
            random: 1.0,
        }
    }

    /// Lets the walk go on until that time; every document is settled at once.
    fn run_until(&mut self, until: Millis) {
        while self.now < until {
            match self.walk.next(self.now) {
                Action::WaitUntil(time) => {
                    assert!(time > self.now, "a wait into the past spins");
                    self.now = time.min(until);
                }
                Action::Report(gap) => self.log(Event::Gap(gap)),
                Action::FetchHead => {
                    self.log(Event::Head);
                    let answer = self.head_faults.pop_front().unwrap_or(FetchAnswer::Head(self.head));
                    self.walk.apply(None, answer, self.now, self.random);
                    self.now += PACE;
                }
                Action::Fetch { number, .. } => self.fetch(number),
            }
        }
    }

    fn fetch(&mut self, number: u64) {
        let known = self.held.take_if(|held| *held == number).is_some();
        let fault = self.faults.get_mut(&number).and_then(VecDeque::pop_front);
        let answer = match fault {
            Some(fault) => fault,
            None if self.files.contains(&number) => FetchAnswer::Found,
            None => FetchAnswer::Missing,
        };
        if !known {
            self.log(Event::Asked(number));
        }
        match self.walk.apply(Some(number), answer, self.now, self.random) {
            Disposition::Deliver => {
                self.log(Event::Delivered(number));
                let verdict = self.verdicts.get(&number).cloned();
                let verdict = verdict.unwrap_or(DocumentOutcome::Accepted { refetch: None });
                self.walk.settle(&[(number, verdict)], self.now);
            }
            Disposition::Hold => self.held = Some(number),
            Disposition::Drop => {}
        }
        self.now += PACE;
    }

    fn log(&mut self, event: Event) {
        self.events.push((self.now, event));
    }

    fn delivered(&self) -> Vec<u64> {
        let number = |(_, event): &(Millis, Event)| match event {
            Event::Delivered(number) => Some(*number),
            _ => None,
        };
        self.events.iter().filter_map(number).collect()
    }

    fn asked(&self, number: u64) -> Vec<Millis> {
        let same = |(time, event): &(Millis, Event)| (*event == Event::Asked(number)).then_some(*time);
        self.events.iter().filter_map(same).collect()
    }

    fn requests(&self) -> usize {
        let sent = |(_, event): &&(Millis, Event)| matches!(event, Event::Asked(_) | Event::Head);
        self.events.iter().filter(sent).count()
    }

    fn gaps(&self) -> Vec<(Millis, Gap)> {
        let gap = |(time, event): &(Millis, Event)| match event {
            Event::Gap(gap) => Some((*time, *gap)),
            _ => None,
        };
        self.events.iter().filter_map(gap).collect()
    }

    fn heads(&self) -> Vec<Millis> {
        let head = |(time, event): &(Millis, Event)| (*event == Event::Head).then_some(*time);
        self.events.iter().filter_map(head).collect()
    }
}

fn at(next: u64) -> FeedState {
    FeedState {
        next: Some(next),
        known_head: next - 1,
        last_found: Some(next - 1),
        ..Default::default()
    }
}
