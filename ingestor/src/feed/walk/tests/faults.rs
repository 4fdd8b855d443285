//! Refusals, failures, and bodies that cannot be used.

use super::*;

#[test]
fn a_refusal_silences_everything_and_survives_a_restart() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 100..=110, 110);
    let refused = FetchAnswer::Banned {
        retry_after: Some(Duration::from_secs(600)),
    };
    world.faults.insert(103, VecDeque::from([refused]));
    world.run_until(5 * MINUTE);
    assert_eq!(world.delivered(), [100, 101, 102]);
    let last = world.asked(103)[0];
    let until = world.walk.state.ban.active(world.now).unwrap();
    assert_eq!(until, last + 600_000);

    let stored = FeedState::from_bytes(&world.walk.state.to_bytes()).unwrap();
    let mut again = FeedSim::restart(stored, FeedStart::Latest, 100..=110, 110);
    again.now = world.now;
    again.run_until(20 * MINUTE);
    let first = again.events[0].0;
    assert!(first >= until, "{first} is before {until}");
    assert_eq!(again.delivered(), (103..=110).collect::<Vec<_>>());
}

#[test]
fn refusals_without_a_time_grow() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 100..=110, 110);
    let refused = FetchAnswer::Banned { retry_after: None };
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
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 100..=101, 101);
    let failed = FetchAnswer::Failed { retry_after: None };
    world.faults.insert(100, VecDeque::from(vec![failed.clone(); 8]));
    // And so does everything else, or it would be gone past.
    world.faults.insert(99, VecDeque::from(vec![failed.clone(); 8]));
    world.faults.insert(101, VecDeque::from(vec![failed; 8]));
    world.run_until(10 * MINUTE);
    let asked = world.asked(100);
    let pauses: Vec<_> = asked.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
    // The ceilings of full jitter: 1, 2, 4, 8, 16, 30, 30, ...; from the third on every other one is for a comparison.
    assert_eq!(pauses[..8], [1, 2, 4 + 8, 16 + 30, 60, 60, 60, 60]);
    assert_eq!(world.delivered()[0], 100);
}

#[test]
fn a_503_may_ask_for_a_pause() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 100..=101, 101);
    let failed = FetchAnswer::Failed {
        retry_after: Some(Duration::from_secs(90)),
    };
    world.faults.insert(100, VecDeque::from([failed]));
    world.run_until(10 * MINUTE);
    let asked = world.asked(100);
    assert_eq!((asked[1] - asked[0]) / 1_000, 90);
}

#[test]
fn a_body_that_never_unpacks_becomes_a_hole_and_a_gap() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 100..=105, 105);
    world
        .faults
        .insert(101, VecDeque::from(vec![FetchAnswer::Undecodable; 100]));
    world.run_until(MINUTE);
    assert_eq!(world.delivered(), [100, 102, 103, 104, 105], "it holds nobody up");
    assert_eq!(world.asked(101).len(), 3);
    world.run_until(7 * HOUR);
    assert_eq!(world.gaps().len(), 1);
    assert_eq!(world.asked(101).len(), 7);
}

#[test]
fn an_unreadable_document_is_asked_for_again_then_reported() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 100..=105, 105);
    world.verdicts.insert(102, DocumentOutcome::Unreadable);
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
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 100..=105, 105);
    world.verdicts.insert(102, DocumentOutcome::Unreadable);
    world.run_until(2 * MINUTE);
    world.verdicts.remove(&102);
    world.run_until(7 * HOUR);
    assert_eq!(world.gaps(), []);
    assert_eq!(world.asked(102).len(), 3);
}

#[test]
fn placeholders_are_gone_past() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 100..=105, 105);
    world.verdicts.insert(102, DocumentOutcome::Placeholder);
    world.run_until(7 * HOUR);
    assert_eq!((world.delivered().len(), world.gaps().len()), (6, 0));
    assert_eq!(world.asked(102).len(), 1);
}
