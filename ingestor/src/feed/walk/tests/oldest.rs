//! Where the feed begins, and what is gone from it for good.

use super::*;

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
