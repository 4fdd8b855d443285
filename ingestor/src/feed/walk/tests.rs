//! Every rule of the walk against a board that lives in memory, under a clock that the test turns.

use std::collections::{BTreeMap, BTreeSet};

use killfeed::v1::GapReason;

use super::*;

mod history;

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
struct World {
    now: Millis,
    walk: Walk,
    files: BTreeSet<u64>,
    head: u64,
    /// Answers given instead, first come first served.
    faults: BTreeMap<u64, VecDeque<Answer>>,
    head_faults: VecDeque<Answer>,
    verdicts: BTreeMap<u64, Verdict>,
    held: Option<u64>,
    events: Vec<(Millis, Event)>,
    random: f64,
}

impl World {
    fn new(start: FeedStart, files: impl IntoIterator<Item = u64>, head: u64) -> Self {
        Self::restart(State::default(), start, files, head)
    }

    fn restart(state: State, start: FeedStart, files: impl IntoIterator<Item = u64>, head: u64) -> Self {
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
                    let answer = self.head_faults.pop_front().unwrap_or(Answer::Head(self.head));
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
            None if self.files.contains(&number) => Answer::Found,
            None => Answer::Missing,
        };
        if !known {
            self.log(Event::Asked(number));
        }
        match self.walk.apply(Some(number), answer, self.now, self.random) {
            Keep::Deliver => {
                self.log(Event::Delivered(number));
                let verdict = self.verdicts.get(&number).cloned();
                let verdict = verdict.unwrap_or(Verdict::Taken { fetch_again: None });
                self.walk.settle(&[(number, verdict)], self.now);
            }
            Keep::Hold => self.held = Some(number),
            Keep::Drop => {}
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

fn at(next: u64) -> State {
    State {
        next: Some(next),
        known_head: next - 1,
        last_found: Some(next - 1),
        ..Default::default()
    }
}

#[test]
fn a_first_start_begins_where_sequence_json_says() {
    let mut world = World::new(FeedStart::Latest, 90..=110, 100);
    world.run_until(MINUTE);
    assert_eq!(world.delivered(), (100..=110).collect::<Vec<_>>());
    assert_eq!(world.events[0].1, Event::Head);
}

#[test]
fn a_number_in_the_settings_is_where_it_begins() {
    let mut world = World::new(FeedStart::Sequence(95), 90..=110, 100);
    world.run_until(MINUTE);
    assert_eq!(world.delivered(), (95..=110).collect::<Vec<_>>());
}

#[test]
fn without_sequence_json_a_known_position_goes_on() {
    for (state, start) in [(at(95), FeedStart::Latest), (State::default(), FeedStart::Sequence(95))] {
        let mut world = World::restart(state, start, 90..=110, 100);
        world.head_faults = (0..100).map(|_| Answer::Failed { retry_after: None }).collect();
        world.run_until(MINUTE);
        assert_eq!(world.delivered(), (95..=110).collect::<Vec<_>>());
    }
}

#[test]
fn a_stored_position_counts_more_than_the_settings() {
    let mut world = World::restart(at(105), FeedStart::Sequence(95), 90..=110, 100);
    world.run_until(MINUTE);
    assert_eq!(
        world.delivered(),
        (105..=110).collect::<Vec<_>>(),
        "and it never goes back to sequence.json"
    );
}

#[test]
fn earliest_is_found_by_bisection() {
    for (oldest, newest, most) in [
        (1, 5, 20),
        (95_000, 220_000, 100),
        (40, 47, 40),
        (1, 1, 20),
        (7, 3_000, 100),
    ] {
        let mut world = World::new(FeedStart::Earliest, oldest..=newest, newest);
        let probes = |world: &World| world.requests() - world.delivered().len();
        while world.delivered().is_empty() {
            world.run_until(world.now + 1_000);
        }
        assert_eq!(world.delivered()[0], oldest);
        assert!(probes(&world) <= most, "{} probes", probes(&world));
    }
}

#[test]
fn earliest_on_a_board_with_nothing_yet_begins_at_the_head() {
    let mut world = World::new(FeedStart::Earliest, [], 1_000);
    world.run_until(MINUTE);
    assert_eq!(world.walk.state.next, Some(1_000));
    world.files.insert(1_000);
    world.run_until(2 * MINUTE);
    assert_eq!(world.delivered(), [1_000]);
}

#[test]
fn holes_near_the_oldest_do_not_mislead() {
    let files = (10..=400).filter(|number| !(11..=12).contains(number));
    let mut world = World::new(FeedStart::Earliest, files, 400);
    world.run_until(10 * MINUTE);
    assert_eq!(world.delivered()[..3], [10, 13, 14]);
}

#[test]
fn at_the_head_the_same_number_is_asked_for_every_poll_interval() {
    let mut world = World::new(FeedStart::Latest, [], 100);
    world.run_until(2 * MINUTE);
    let asked = world.asked(100);
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 6_000), "{asked:?}");
    assert!(asked.len() >= 18, "{asked:?}");
    let others = world
        .events
        .iter()
        .any(|(_, event)| matches!(event, Event::Asked(number) if *number != 100));
    assert!(!others, "nothing beyond the head is asked for");
    assert!(
        world.heads().len() >= 3,
        "a long silence makes it look at sequence.json"
    );
    assert!(world.walk.is_at_head());
    world.files.insert(100);
    world.run_until(3 * MINUTE);
    assert_eq!(world.delivered(), [100]);
}

#[test]
fn a_later_number_in_sequence_json_makes_the_head_a_hole() {
    let mut world = World::restart(at(100), FeedStart::Latest, [101, 102, 103], 99);
    world.run_until(20_000);
    assert!(world.walk.is_at_head());
    world.head = 103;
    world.run_until(3 * MINUTE);
    assert_eq!(world.delivered(), [101, 102, 103]);
    let hole = world.walk.state.holes[&100];
    assert_eq!(hole.checks, 1);
    assert!(!world.walk.waiting_for_holes());
}

#[test]
fn a_late_file_is_waited_for_and_delivered_in_its_place() {
    let mut world = World::restart(at(100), FeedStart::Latest, [101, 102], 102);
    world.run_until(30_000);
    assert!(world.delivered().is_empty(), "the walk waits");
    assert_eq!(world.walk.waits_for(), Some(100));
    assert_eq!(world.asked(101).len(), 1, "one look ahead, and no more");
    assert_eq!(world.asked(102).len(), 0);
    world.files.insert(100);
    world.run_until(2 * MINUTE);
    assert_eq!(world.delivered(), [100, 101, 102]);
    assert_eq!(world.asked(101).len(), 1, "what was found ahead is kept");
    assert!(world.walk.state.holes.is_empty());
}

#[test]
fn rechecks_count_from_the_first_404_and_end_in_a_gap() {
    let mut world = World::restart(at(100), FeedStart::Latest, 101..=110, 110);
    world.run_until(7 * HOUR);
    let asked = world.asked(100);
    let first = asked[0];
    let after: Vec<_> = asked.iter().map(|time| (time - first) / MINUTE).collect();
    assert_eq!(after, [0, 1, 5, 30, 360], "{asked:?}");
    let [(time, gap)] = world.gaps()[..] else {
        panic!("one gap")
    };
    assert_eq!((time - first) / MINUTE, 360);
    assert_eq!((gap.reason(), gap.missing), (GapReason::UpstreamMissing, 1));
    assert_eq!(gap.to_time, Some(crate::feed::timestamp(first)));
    assert!(world.walk.state.holes.is_empty());
    assert_eq!(world.delivered(), (101..=110).collect::<Vec<_>>());
}

#[test]
fn a_hole_that_answers_later_is_delivered_then() {
    let mut world = World::restart(at(100), FeedStart::Latest, 101..=110, 110);
    world.run_until(10 * MINUTE);
    world.files.insert(100);
    world.run_until(7 * HOUR);
    assert_eq!(world.delivered().last(), Some(&100));
    assert_eq!(world.gaps(), []);
    assert!(world.walk.state.holes.is_empty());
}

#[test]
fn numbers_in_a_row_wait_together() {
    let mut world = World::restart(at(100), FeedStart::Latest, 120..=130, 130);
    world.files.insert(99);
    world.run_until(2 * MINUTE);
    assert_eq!(
        world.delivered(),
        (120..=130).collect::<Vec<_>>(),
        "20 holes take one minute, not 20"
    );
    world.run_until(7 * HOUR);
    let [(_, gap)] = world.gaps()[..] else {
        panic!("one gap for all: {:?}", world.gaps())
    };
    assert_eq!(gap.missing, 20);
}

#[test]
fn what_is_gone_for_good_is_stepped_over_at_once() {
    let mut state = at(500);
    state.head_since = Some(-5 * HOUR);
    let mut world = World::restart(state, FeedStart::Latest, 100_000..=200_000, 200_000);
    world.run_until(MINUTE);
    let [(time, gap)] = world.gaps()[..] else {
        panic!("one gap")
    };
    assert!(time < MINUTE);
    assert_eq!((gap.reason(), gap.missing), (GapReason::UpstreamExpired, 99_500));
    assert_eq!(gap.from_time, Some(crate::feed::timestamp(-5 * HOUR)));
    assert_eq!(world.delivered()[..2], [100_000, 100_001]);
    assert!(world.requests() - world.delivered().len() < 80);
    assert!(world.walk.state.holes.is_empty());
}

#[test]
fn a_start_number_older_than_what_exists_is_an_expired_gap_too() {
    let mut world = World::new(FeedStart::Sequence(1), 1_000..=1_100, 1_100);
    world.run_until(MINUTE);
    assert_eq!(world.delivered()[0], 1_000);
    let [(_, gap)] = world.gaps()[..] else {
        panic!("one gap")
    };
    assert_eq!((gap.reason(), gap.missing), (GapReason::UpstreamExpired, 999));
    assert_eq!(gap.from_time, None);
}

#[test]
fn an_outage_while_running_is_noticed_by_sequence_json() {
    let mut world = World::restart(at(500), FeedStart::Latest, [499], 499);
    world.run_until(MINUTE);
    world.files = (9_000..=9_010).collect();
    world.head = 9_010;
    world.run_until(3 * MINUTE);
    assert_eq!(world.delivered(), (9_000..=9_010).collect::<Vec<_>>());
    assert_eq!(world.gaps()[0].1.missing, 8_500);
}

#[test]
fn an_upstream_that_answers_404_to_everything_expires_nothing() {
    let mut world = World::restart(at(500), FeedStart::Latest, [], 600);
    world.run_until(10 * MINUTE);
    assert_eq!(world.gaps(), []);
    assert!(
        world.walk.state.next < Some(560),
        "it does not run to the head: {:?}",
        world.walk.state.next
    );
    world.files = (400..=600).collect();
    world.run_until(7 * HOUR);
    let mut read = world.delivered();
    read.sort_unstable();
    assert_eq!(read, (500..=600).collect::<Vec<_>>());
    assert_eq!(world.gaps(), []);
}

#[test]
fn a_sequence_json_from_another_world_does_not_carry_the_walk_away() {
    let mut world = World::restart(at(500), FeedStart::Latest, 400..=520, 4_000_000);
    world.run_until(HOUR);
    assert!(world.walk.state.next < Some(1_000), "{:?}", world.walk.state.next);
    assert_eq!(world.delivered(), (500..=520).collect::<Vec<_>>());
    assert!(world.requests() < 1_500, "{}", world.requests());
}

#[test]
fn a_refusal_silences_everything_and_survives_a_restart() {
    let mut world = World::restart(at(100), FeedStart::Latest, 100..=110, 110);
    let refused = Answer::Refused {
        retry_after: Some(Duration::from_secs(600)),
    };
    world.faults.insert(103, VecDeque::from([refused]));
    world.run_until(5 * MINUTE);
    assert_eq!(world.delivered(), [100, 101, 102]);
    let last = world.asked(103)[0];
    let until = world.walk.state.ban.active(world.now).unwrap();
    assert_eq!(until, last + 600_000);

    let stored = State::from_bytes(&world.walk.state.to_bytes()).unwrap();
    let mut again = World::restart(stored, FeedStart::Latest, 100..=110, 110);
    again.now = world.now;
    again.run_until(20 * MINUTE);
    let first = again.events[0].0;
    assert!(first >= until, "{first} is before {until}");
    assert_eq!(again.delivered(), (103..=110).collect::<Vec<_>>());
}

#[test]
fn refusals_without_a_time_grow() {
    let mut world = World::restart(at(100), FeedStart::Latest, 100..=110, 110);
    let refused = Answer::Refused { retry_after: None };
    world.faults.insert(100, VecDeque::from(vec![refused; 3]));
    world.random = 0.0;
    world.run_until(10 * MINUTE);
    let asked = world.asked(100);
    let pauses: Vec<_> = asked.windows(2).map(|pair| (pair[1] - pair[0]) / MINUTE).collect();
    assert_eq!(pauses, [1, 2, 4]);
    assert_eq!(world.delivered().len(), 11);
}

#[test]
fn failures_back_off_on_the_same_number() {
    let mut world = World::restart(at(100), FeedStart::Latest, 100..=101, 101);
    let failed = Answer::Failed { retry_after: None };
    world.faults.insert(100, VecDeque::from(vec![failed; 8]));
    world.run_until(10 * MINUTE);
    let asked = world.asked(100);
    let pauses: Vec<_> = asked.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30], "the ceiling of full jitter");
    assert_eq!(world.delivered(), [100, 101]);
    assert!(world.walk.state.holes.is_empty());
}

#[test]
fn a_503_may_ask_for_a_pause() {
    let mut world = World::restart(at(100), FeedStart::Latest, 100..=101, 101);
    let failed = Answer::Failed {
        retry_after: Some(Duration::from_secs(90)),
    };
    world.faults.insert(100, VecDeque::from([failed]));
    world.run_until(10 * MINUTE);
    let asked = world.asked(100);
    assert_eq!((asked[1] - asked[0]) / 1_000, 90);
}

#[test]
fn a_body_that_never_unpacks_becomes_a_hole_and_a_gap() {
    let mut world = World::restart(at(100), FeedStart::Latest, 100..=105, 105);
    world.faults.insert(101, VecDeque::from(vec![Answer::Garbled; 100]));
    world.run_until(MINUTE);
    assert_eq!(world.delivered(), [100, 102, 103, 104, 105], "it holds nobody up");
    assert_eq!(world.asked(101).len(), 3);
    world.run_until(7 * HOUR);
    assert_eq!(world.gaps().len(), 1);
    assert_eq!(world.asked(101).len(), 7);
}

#[test]
fn an_unreadable_document_is_asked_for_again_then_reported() {
    let mut world = World::restart(at(100), FeedStart::Latest, 100..=105, 105);
    world.verdicts.insert(102, Verdict::Unreadable);
    world.run_until(MINUTE / 2);
    assert_eq!(world.delivered().len(), 6, "it holds nobody up");
    world.run_until(7 * HOUR);
    assert_eq!(world.asked(102).len(), 5);
    let [(_, gap)] = world.gaps()[..] else {
        panic!("one gap")
    };
    assert_eq!((gap.reason(), gap.missing), (GapReason::UpstreamMissing, 1));
}

#[test]
fn an_unreadable_document_that_is_mended_is_no_gap() {
    let mut world = World::restart(at(100), FeedStart::Latest, 100..=105, 105);
    world.verdicts.insert(102, Verdict::Unreadable);
    world.run_until(2 * MINUTE);
    world.verdicts.remove(&102);
    world.run_until(7 * HOUR);
    assert_eq!(world.gaps(), []);
    assert_eq!(world.asked(102).len(), 3);
}

#[test]
fn placeholders_are_gone_past() {
    let mut world = World::restart(at(100), FeedStart::Latest, 100..=105, 105);
    world.verdicts.insert(102, Verdict::Placeholder);
    world.run_until(7 * HOUR);
    assert_eq!((world.delivered().len(), world.gaps().len()), (6, 0));
    assert_eq!(world.asked(102).len(), 1);
}

#[test]
fn an_announced_number_is_fetched_once_more() {
    let mut world = World::restart(at(100), FeedStart::Latest, 50..=105, 105);
    let announce = |older| Verdict::Taken {
        fetch_again: Some(older),
    };
    world.verdicts.insert(102, announce(60));
    world.verdicts.insert(60, announce(102));
    world.verdicts.insert(104, announce(104));
    world.run_until(HOUR);
    assert_eq!(world.asked(60).len(), 1);
    assert_eq!(world.asked(102).len(), 1, "announcements do not go round in a circle");
    assert_eq!(world.asked(104).len(), 1);
    assert_eq!(world.delivered().iter().filter(|number| **number == 60).count(), 1);
}

#[test]
fn an_announced_number_that_is_not_there_is_given_up_without_a_gap() {
    let mut world = World::restart(at(100), FeedStart::Latest, 100..=105, 105);
    world.verdicts.insert(102, Verdict::Taken { fetch_again: Some(60) });
    world.run_until(7 * HOUR);
    assert_eq!(world.asked(60).len(), 3);
    assert_eq!(world.gaps(), []);
    assert!(world.walk.state.again.is_empty());
}

#[test]
fn an_announced_number_that_cannot_be_read_is_no_gap() {
    let mut world = World::restart(at(100), FeedStart::Latest, 50..=105, 105);
    world.verdicts.insert(102, Verdict::Taken { fetch_again: Some(60) });
    world.verdicts.insert(60, Verdict::Unreadable);
    world.run_until(7 * HOUR);
    assert_eq!((world.asked(60).len(), world.gaps().len()), (1, 0));
}

#[test]
fn many_holes_do_not_starve_the_walk() {
    let mut state = at(1_000);
    for number in 100..900 {
        let hole = crate::feed::state::Hole {
            since: -10 * MINUTE,
            after: None,
            checks: 2,
            unreadable: false,
        };
        state.holes.insert(number, hole);
        state.last_found = Some(999);
    }
    let mut world = World::restart(state, FeedStart::Latest, 999..=2_000, 2_000);
    world.now = 20 * MINUTE;
    world.run_until(21 * MINUTE);
    let walked = world.delivered().len();
    let rechecked = world.requests() - walked;
    assert!(
        walked > 200 && rechecked > 200,
        "{walked} walked, {rechecked} re-checked"
    );
}

#[test]
fn rechecks_missed_in_an_outage_are_not_made_up_one_by_one() {
    let mut world = World::restart(at(100), FeedStart::Latest, 101..=105, 105);
    world.run_until(2 * MINUTE);
    world.now = 10 * HOUR;
    world.run_until(11 * HOUR);
    assert_eq!(
        world.asked(100).len(),
        3,
        "first, after a minute, and once after the outage"
    );
    assert_eq!(world.gaps().len(), 1);
}

#[test]
fn what_was_handed_out_is_not_asked_for_again_before_its_verdict() {
    let mut walk = Walk::new(
        at(100),
        FeedStart::Latest,
        Duration::from_secs(6),
        &[Duration::from_secs(60)],
    );
    walk.apply(None, Answer::Head(102), 0, 0.0);
    assert_eq!(walk.apply(Some(100), Answer::Missing, 0, 0.0), Keep::Drop);
    assert_eq!(walk.apply(Some(101), Answer::Found, 0, 0.0), Keep::Hold);
    let recheck = Action::Fetch {
        number: 100,
        again: true,
    };
    assert_eq!(walk.next(MINUTE), recheck);
    assert_eq!(walk.apply(Some(100), Answer::Found, MINUTE, 0.0), Keep::Deliver);
    let on = Action::Fetch {
        number: 101,
        again: false,
    };
    assert_eq!(walk.next(MINUTE), on, "and the walk goes on");
    assert!(walk.state.holes.contains_key(&100), "a crash now asks for it again");
    walk.settle(&[(100, Verdict::Taken { fetch_again: None })], MINUTE);
    assert!(walk.state.holes.is_empty());
}

#[test]
fn no_rechecks_means_no_waiting() {
    let mut walk = Walk::new(at(100), FeedStart::Latest, Duration::from_secs(6), &[]);
    walk.apply(None, Answer::Head(102), 0, 0.0);
    walk.apply(Some(100), Answer::Missing, 0, 0.0);
    assert!(matches!(walk.next(0), Action::Report(gap) if gap.missing == 1));
    assert!(matches!(walk.next(0), Action::Fetch { number: 101, .. }));
}
