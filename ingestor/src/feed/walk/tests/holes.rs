//! Numbers that are missing below the head, and what is gone for good.

use super::*;

#[test]
fn at_the_head_the_same_number_is_asked_for_every_poll_interval() {
    let mut world = FeedSim::new(FeedStart::Latest, [], 100);
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
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, [101, 102, 103], 99);
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
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, [101, 102], 102);
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
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 101..=110, 110);
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
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 101..=110, 110);
    world.run_until(10 * MINUTE);
    world.files.insert(100);
    world.run_until(7 * HOUR);
    assert_eq!(world.delivered().last(), Some(&100));
    assert_eq!(world.gaps(), []);
    assert!(world.walk.state.holes.is_empty());
}

#[test]
fn numbers_in_a_row_wait_together() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 120..=130, 130);
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
    let mut world = FeedSim::restart(state, FeedStart::Latest, 100_000..=200_000, 200_000);
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
    let mut world = FeedSim::new(FeedStart::Sequence(1), 1_000..=1_100, 1_100);
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
    let mut world = FeedSim::restart(at(500), FeedStart::Latest, [499], 499);
    world.run_until(MINUTE);
    world.files = (9_000..=9_010).collect();
    world.head = 9_010;
    world.run_until(3 * MINUTE);
    assert_eq!(world.delivered(), (9_000..=9_010).collect::<Vec<_>>());
    assert_eq!(world.gaps()[0].1.missing, 8_500);
}

#[test]
fn an_upstream_that_answers_404_to_everything_expires_nothing() {
    let mut world = FeedSim::restart(at(500), FeedStart::Latest, [], 600);
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
    let mut world = FeedSim::restart(at(500), FeedStart::Latest, 400..=520, 4_000_000);
    world.run_until(HOUR);
    assert!(world.walk.state.next < Some(1_000), "{:?}", world.walk.state.next);
    assert_eq!(world.delivered(), (500..=520).collect::<Vec<_>>());
    assert!(world.requests() < 1_500, "{}", world.requests());
}
