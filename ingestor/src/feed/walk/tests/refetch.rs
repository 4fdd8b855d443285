//! Numbers published anew, many holes at once, and what is handed out twice.

use super::*;

#[test]
fn an_announced_number_is_fetched_once_more() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 50..=105, 105);
    let announce = |older| DocumentOutcome::Accepted { refetch: Some(older) };
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
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 100..=105, 105);
    world
        .verdicts
        .insert(102, DocumentOutcome::Accepted { refetch: Some(60) });
    world.run_until(7 * HOUR);
    assert_eq!(world.asked(60).len(), 3);
    assert_eq!(world.gaps(), []);
    assert!(world.walk.state.again.is_empty());
}

#[test]
fn an_announced_number_that_cannot_be_read_is_no_gap() {
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 50..=105, 105);
    world
        .verdicts
        .insert(102, DocumentOutcome::Accepted { refetch: Some(60) });
    world.verdicts.insert(60, DocumentOutcome::Unreadable);
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
    let mut world = FeedSim::restart(state, FeedStart::Latest, 999..=2_000, 2_000);
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
    let mut world = FeedSim::restart(at(100), FeedStart::Latest, 101..=105, 105);
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
    walk.apply(None, FetchAnswer::Head(102), 0, 0.0);
    assert_eq!(walk.apply(Some(100), FetchAnswer::Missing, 0, 0.0), Disposition::Drop);
    assert_eq!(walk.apply(Some(101), FetchAnswer::Found, 0, 0.0), Disposition::Hold);
    let recheck = Action::Fetch {
        number: 100,
        again: true,
    };
    assert_eq!(walk.next(MINUTE), recheck);
    assert_eq!(
        walk.apply(Some(100), FetchAnswer::Found, MINUTE, 0.0),
        Disposition::Deliver
    );
    let on = Action::Fetch {
        number: 101,
        again: false,
    };
    assert_eq!(walk.next(MINUTE), on, "and the walk goes on");
    assert!(walk.state.holes.contains_key(&100), "a crash now asks for it again");
    walk.settle(&[(100, DocumentOutcome::Accepted { refetch: None })], MINUTE);
    assert!(walk.state.holes.is_empty());
}

#[test]
fn no_rechecks_means_no_waiting() {
    let mut walk = Walk::new(at(100), FeedStart::Latest, Duration::from_secs(6), &[]);
    walk.apply(None, FetchAnswer::Head(102), 0, 0.0);
    walk.apply(Some(100), FetchAnswer::Missing, 0, 0.0);
    assert!(matches!(walk.next(0), Action::Report(gap) if gap.missing == 1));
    assert!(matches!(walk.next(0), Action::Fetch { number: 101, .. }));
}

#[test]
fn a_hole_that_is_announced_is_asked_for_at_once_besides_its_rechecks() {
    for there in [true, false] {
        let files = (99..=110).filter(|number| *number != 102);
        let mut world = FeedSim::restart(at(100), FeedStart::Latest, files, 110);
        world
            .verdicts
            .insert(105, DocumentOutcome::Accepted { refetch: Some(102) });
        // Its first re-check is over, the walk goes on past it.
        world.run_until(MINUTE + 400);
        assert!(world.walk.state.holes.contains_key(&102));
        if there {
            world.files.insert(102);
        }
        world.run_until(2 * MINUTE);
        assert_eq!(world.delivered().contains(&102), there);
        world.run_until(7 * HOUR);
        let first = world.asked(102)[0];
        let asked: Vec<_> = world.asked(102).iter().map(|time| (time - first) / MINUTE).collect();
        let expected: &[Millis] = if there { &[0, 1, 1] } else { &[0, 1, 1, 5, 30, 360] };
        assert_eq!(asked, expected);
        assert_eq!(world.gaps().len(), usize::from(!there));
        assert!(world.walk.state.again.is_empty());
    }
}
