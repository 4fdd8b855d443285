//! One number that only fails, on a host that is well, holds up nobody; a host in trouble is waited for.

use super::*;

fn failures(count: usize) -> VecDeque<FetchAnswer> {
    vec![FetchAnswer::Failed { retry_after: None }; count].into()
}

#[test]
fn one_document_that_only_fails_is_gone_past_and_asked_for_again_later() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 99..=110, 110);
    world.faults.insert(103, failures(1_000));
    world.run_until(MINUTE);
    assert_eq!(world.delivered(), [100, 101, 102, 104, 105, 106, 107, 108, 109, 110]);
    assert_eq!(world.asked(103).len(), 3);
    assert_eq!(
        world.asked(102).len(),
        2,
        "read once, and once more to see that the host is well"
    );
    world.faults.remove(&103);
    world.run_until(7 * HOUR);
    assert_eq!(world.delivered().last(), Some(&103));
    assert_eq!(world.gaps(), []);
}

#[test]
fn the_first_document_of_all_may_be_the_one() {
    let mut world = FeedSim::new(FeedStart::Sequence(100), 100..=105, 105);
    world.faults.insert(100, failures(1_000));
    world.faults.insert(101, failures(1_000));
    world.run_until(2 * MINUTE);
    assert_eq!(world.delivered(), [102, 103, 104, 105]);
}

#[test]
fn a_document_that_never_comes_right_is_a_gap_in_the_end_and_its_rechecks_starve_nobody() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 99..=110, 110);
    world.faults.insert(100, failures(100_000));
    world.run_until(MINUTE);
    // From here on there is always something to walk.
    world.files.extend(111..=400);
    world.head = 400;
    world.run_until(7 * HOUR);
    assert_eq!(world.delivered(), (101..=400).collect::<Vec<_>>());
    let [(_, gap)] = world.gaps()[..] else {
        panic!("one gap: {:?}", world.gaps())
    };
    assert_eq!((gap.reason(), gap.missing), (GapReason::UpstreamMissing, 1));
    // Three tries at first and at each of the four re-checks, and perhaps one more for the last comparison.
    assert!(world.asked(100).len() <= 5 * 3 + 1, "{}", world.asked(100).len());
}

#[test]
fn a_missing_document_that_begins_to_fail_holds_nobody_up_either() {
    let mut world = FeedSim::restart(
        at(100),
        FeedStart::Latest,
        (99..=110).filter(|number| *number != 100),
        110,
    );
    world.run_until(30_000);
    assert!(world.delivered().is_empty(), "it is waited for");
    world.faults.insert(100, failures(100_000));
    world.run_until(2 * MINUTE);
    assert_eq!(world.delivered(), (101..=110).collect::<Vec<_>>());
    world.run_until(7 * HOUR);
    assert_eq!(world.gaps().len(), 1);
}

#[test]
fn a_host_that_only_fails_is_waited_for_and_nothing_is_gone_past() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 99..=110, 110);
    for number in 90..=120 {
        world.faults.insert(number, failures(100_000));
    }
    world.run_until(7 * HOUR);
    assert!(world.delivered().is_empty());
    assert_eq!(world.walk.state.next, Some(100));
    assert!(world.walk.state.holes.is_empty());
    // At the ceiling of the backoff, with full jitter's worst case: nobody is hammered.
    assert!(world.requests() < 900, "{}", world.requests());
    world.faults.clear();
    world.run_until(8 * HOUR);
    assert_eq!(world.delivered(), (100..=110).collect::<Vec<_>>());
}

#[test]
fn failures_at_the_head_go_nowhere_but_to_sequence_json() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 99..=99, 99);
    world.faults.insert(100, failures(100_000));
    world.run_until(HOUR);
    assert_eq!(world.walk.state.next, Some(100), "it may not exist");
    assert!(world.heads().len() > 10);
    world.files.extend(100..=102);
    world.head = 102;
    world.run_until(2 * HOUR);
    assert_eq!(world.delivered(), [101, 102], "now it is known to exist");
    world.faults.clear();
    world.run_until(9 * HOUR);
    assert_eq!(world.delivered(), [101, 102, 100]);
}

#[test]
fn who_starts_again_and_again_at_the_head_asks_no_more_often() {
    let mut asked = Vec::new();
    let mut now = 0;
    for _ in 0..40 {
        let mut world = FeedSim::restart(at(100), FeedStart::Latest, [99], 99);
        world.now = now;
        world.run_until(now + 2_500);
        asked.extend(world.asked(100));
        now = world.now;
    }
    assert!(asked.is_empty(), "killed before its time came: {asked:?}");
    // What is known to exist is read at once.
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 99..=105, 105);
    world.run_until(1_500);
    assert_eq!(world.delivered(), (100..=105).collect::<Vec<_>>());
}
