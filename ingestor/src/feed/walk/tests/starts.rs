//! Where the walk begins.

use super::*;

#[test]
fn a_first_start_begins_where_sequence_json_says() {
    let mut world = FeedSim::new(FeedStart::Latest, 90..=110, 100);
    world.run_until(MINUTE);
    assert_eq!(world.delivered(), (100..=110).collect::<Vec<_>>());
    assert_eq!(world.events[0].1, Event::Head);
}

#[test]
fn a_number_in_the_settings_is_where_it_begins() {
    let mut world = FeedSim::new(FeedStart::Sequence(95), 90..=110, 100);
    world.run_until(MINUTE);
    assert_eq!(world.delivered(), (95..=110).collect::<Vec<_>>());
}

#[test]
fn without_sequence_json_a_known_position_goes_on() {
    for (state, start) in [
        (at(95), FeedStart::Latest),
        (FeedState::default(), FeedStart::Sequence(95)),
    ] {
        let mut world = FeedSim::restart(state, start, 90..=110, 100);
        world.head_faults = (0..100).map(|_| FetchAnswer::Failed { retry_after: None }).collect();
        world.run_until(MINUTE);
        assert_eq!(world.delivered(), (95..=110).collect::<Vec<_>>());
    }
}

#[test]
fn a_stored_position_counts_more_than_the_settings() {
    let mut world = FeedSim::restart(at(105), FeedStart::Sequence(95), 90..=110, 100);
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
        let mut world = FeedSim::new(FeedStart::Earliest, oldest..=newest, newest);
        let probes = |world: &FeedSim| world.requests() - world.delivered().len();
        while world.delivered().is_empty() {
            world.run_until(world.now + 1_000);
        }
        assert_eq!(world.delivered()[0], oldest);
        assert!(probes(&world) <= most, "{} probes", probes(&world));
    }
}

#[test]
fn earliest_on_a_board_with_nothing_yet_begins_at_the_head() {
    let mut world = FeedSim::new(FeedStart::Earliest, [], 1_000);
    world.run_until(MINUTE);
    assert_eq!(world.walk.state.next, Some(1_000));
    world.files.insert(1_000);
    world.run_until(2 * MINUTE);
    assert_eq!(world.delivered(), [1_000]);
}

#[test]
fn holes_near_the_oldest_do_not_mislead() {
    let files = (10..=400).filter(|number| !(11..=12).contains(number));
    let mut world = FeedSim::new(FeedStart::Earliest, files, 400);
    world.run_until(10 * MINUTE);
    assert_eq!(world.delivered()[..3], [10, 13, 14]);
}
