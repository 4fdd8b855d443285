//! Random histories of a board, late files and faults of all kinds: every document once, every other number in a gap.

use proptest::prelude::*;

use super::*;

/// What happens to one number.
#[derive(Debug, Clone)]
struct SequencePlan {
    /// Seconds from its being given out to its upload; `None` = never.
    upload: Option<Millis>,
    faults: Vec<FetchAnswer>,
}

fn fate() -> impl Strategy<Value = SequencePlan> {
    let upload = prop_oneof![
        8 => Just(Some(0)),
        2 => (0..90i64).prop_map(Some),
        1 => (90..3_600i64).prop_map(Some),
        1 => Just(None),
    ];
    let fault = prop_oneof![
        3 => Just(FetchAnswer::Failed { retry_after: None }),
        1 => Just(FetchAnswer::Missing),
        1 => Just(FetchAnswer::Undecodable),
        1 => Just(FetchAnswer::Banned { retry_after: None }),
    ];
    let faults = prop_oneof![9 => Just(Vec::new()), 1 => prop::collection::vec(fault, 1..3)];
    (upload, faults).prop_map(|(upload, faults)| SequencePlan { upload, faults })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_document_once_and_every_other_number_in_a_gap(
        fates in prop::collection::vec(fate(), 1..120),
        pace in 1..8i64,
        restart_at in 0..120i64,
        random in 0.0..1.0f64,
    ) {
        const FIRST: u64 = 1_000;
        let mut world = FeedSim::restart(at(FIRST), FeedStart::Latest, 900..FIRST, FIRST - 1);
        world.random = random;
        let mut uploads: Vec<(Millis, u64)> = Vec::new();
        let mut lost = 0;
        let last = FIRST + fates.len() as u64;
        for (number, fate) in (FIRST..).zip(&fates) {
            let given_out = (number - FIRST) as Millis * pace * 1_000;
            match fate.upload {
                Some(delay) => uploads.push((given_out + delay * 1_000, number)),
                None => lost += 1,
            }
            world.faults.insert(number, fate.faults.iter().cloned().collect());
        }
        // The newest is there, so that all before it are known to be below the head.
        let end = fates.len() as Millis * pace * 1_000;
        uploads.push((end, last));
        uploads.sort_unstable();
        let mut position = world.walk.state.next;
        for second in 0..(end / 1_000 + 2 * 3_600) {
            let now = second * 1_000;
            while let Some((time, number)) = uploads.first().copied().filter(|(time, _)| *time <= now) {
                uploads.retain(|upload| *upload != (time, number));
                world.files.insert(number);
            }
            // It lags, and in the end it does not.
            let given_out = FIRST + u64::try_from(now / (pace * 1_000)).unwrap();
            world.head = world.head.max(if now >= end { last } else { (given_out / 50 * 50).min(last) });
            world.run_until(now);
            prop_assert!(world.walk.state.next >= position, "backwards");
            position = world.walk.state.next;
            if second == restart_at * pace {
                let stored = FeedState::from_bytes(&world.walk.state.to_bytes()).unwrap();
                let start = FeedStart::Latest;
                let rechecks = [1, 5, 30, 360].map(|minutes| Duration::from_secs(minutes * 60));
                world.walk = Walk::new(stored.restored(world.now), start, Duration::from_secs(6), &rechecks);
                world.held = None;
            }
        }
        world.run_until(end + 12 * HOUR);
        let mut read = world.delivered();
        read.sort_unstable();
        let there: Vec<u64> = world.files.iter().copied().filter(|number| *number >= FIRST).collect();
        prop_assert_eq!(read, there);
        let missing: u64 = world.gaps().iter().map(|(_, gap)| gap.missing).sum();
        prop_assert_eq!(missing, lost);
        prop_assert!(world.walk.state.holes.is_empty());
        prop_assert_eq!(world.walk.state.next, Some(last + 1));
    }
}
