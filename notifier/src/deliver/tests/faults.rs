//! What Discord refuses, forgets to answer, or takes and does not say so; deaths in the middle of it.

use super::*;
use crate::render;

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_waited_for() {
    let bench = DeliveryHarness::start("").await;
    let limited = SendOutcome::RateLimited {
        retry_after: Duration::from_secs(30),
    };
    bench.fake.fault(HERE, [Fault::Answer(limited)]);
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    let state = bench.fake.state.lock().unwrap();
    assert_eq!(state.tries.len(), 2);
    let waited = state.tries[1].0 - state.tries[0].0;
    assert!(
        waited >= Duration::from_secs(30) && waited < Duration::from_secs(31),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_the_same_body_and_nonce_and_then_a_look() {
    let bench = DeliveryHarness::start("").await;
    bench.fake.fault(HERE, [Fault::PostedUnknown]);
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    {
        let state = bench.fake.state.lock().unwrap();
        assert_eq!((state.posted.len(), state.tries.len(), state.looks), (1, 2, 0));
        assert_eq!(state.tries[0].1, state.tries[1].1);
    }
    // Unknown for longer than a nonce lives: it is looked for, found, and not posted again.
    let unknown = || Fault::Answer(SendOutcome::Unknown { reason: "502".into() });
    bench.fake.fault(HERE, [Fault::PostedUnknown]);
    bench.fake.fault(HERE, (0..200).map(|_| unknown()));
    bench.arrive([2], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2]);
    assert_eq!(bench.fake.state.lock().unwrap().looks, 1);
    assert_eq!(bench.state(&HERE, 2), PostState::Sent);
    // The same, but it never got there: sent again.
    bench.fake.state.lock().unwrap().faults.clear();
    bench.fake.fault(HERE, vec![Fault::Hang; 3]);
    bench.arrive([3], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_is_not_posted_again() {
    let bench = DeliveryHarness::start("").await;
    bench.fake.state.lock().unwrap().finds = [
        LookupOutcome::Failed { reason: "cut".into() },
        LookupOutcome::Inconclusive,
    ]
    .into();
    bench.fake.fault(HERE, [Fault::PostedUnknown, Fault::Hang, Fault::Hang]);
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.state(&HERE, 1), PostState::Unknown);
    let state = bench.fake.state.lock().unwrap();
    assert_eq!((state.posted.len(), state.looks), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_poisonous_killmail_is_the_only_one_lost() {
    let bench = DeliveryHarness::start("").await;
    bench.fake.state.lock().unwrap().poison = vec![4];
    bench.arrive(1..=7, &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2, 3, 5, 6, 7]);
    assert_eq!(bench.state(&HERE, 4), PostState::Dead);
    bench.arrive(8..=10, &[HERE]);
    bench.drained().await;
    let state = bench.fake.state.lock().unwrap();
    assert_eq!(state.posted.last().unwrap().1.killmails, [8, 9, 10], "together again");
}

#[tokio::test(start_paused = true)]
async fn a_channel_without_permissions_is_suspended_probed_and_resumes() {
    let bench = DeliveryHarness::start("").await;
    bench.fake.fault(HERE, vec![Fault::Answer(refused(403, 50013)); 3]);
    bench.arrive([1, 2], &[HERE]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let snapshot = bench.running().subscriptions.snapshot();
    assert_eq!(snapshot.suspension(&HERE).map(|row| row.code), Some(50013));
    assert_eq!(snapshot.suspension(&THERE), None);
    // What comes meanwhile does not hasten it.
    bench.arrive([3], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2, 3]);
    {
        let state = bench.fake.state.lock().unwrap();
        let times: Vec<_> = state
            .tries
            .windows(2)
            .map(|two| (two[1].0 - two[0].0).as_secs())
            .collect();
        assert_eq!(times, [300, 600, 1200]);
    }
    assert_eq!(bench.running().subscriptions.snapshot().suspension(&HERE), None);
    // A hint that the permissions are back is tried at once.
    bench.fake.fault(HERE, [Fault::Answer(refused(403, 50001))]);
    bench.arrive([4], &[HERE]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    bench.running().prober.try_now(HERE);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2, 3, 4]);
}

/// As when somebody removes the subscription of a channel that takes no posts, and makes it anew.
#[tokio::test(start_paused = true)]
async fn a_suspension_that_is_gone_is_not_waited_out() {
    let bench = DeliveryHarness::start("").await;
    bench.fake.fault(HERE, vec![Fault::Answer(refused(403, 50013)); 4]);
    bench.arrive([1], &[HERE]);
    tokio::time::sleep(Duration::from_secs(2_000)).await;
    assert_eq!(
        bench.fake.state.lock().unwrap().tries.len(),
        3,
        "the next one is 20 minutes away"
    );
    let subscriptions = &bench.running().subscriptions;
    subscriptions.set_suspension(&HERE, None).await.unwrap();
    bench.arrive([2], &[HERE]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.fake.state.lock().unwrap().tries.len(), 4, "tried at once");
    assert!(
        subscriptions.snapshot().suspension(&HERE).is_some(),
        "refused, and marked again"
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(
        bench.fake.state.lock().unwrap().tries.len(),
        4,
        "and not more often than before"
    );
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_gone_is_never_tried_again() {
    let bench = DeliveryHarness::start("").await;
    bench.fake.fault(HERE, [Fault::Answer(refused(404, 10003))]);
    bench.arrive([1, 2], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.state(&HERE, 1), PostState::Gone);
    let retired = bench
        .running()
        .subscriptions
        .snapshot()
        .suspension(&HERE)
        .is_some_and(|row| row.retired);
    assert!(
        retired && bench.running().subscriptions.list().len() == 3,
        "listed as such, not deleted"
    );
    bench.arrive([3], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.state.lock().unwrap().tries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_ends_the_process_and_loses_nothing() {
    let mut bench = DeliveryHarness::start("").await;
    bench.fake.fault(HERE, [Fault::Answer(SendOutcome::Unauthorized)]);
    bench.arrive([1], &[HERE]);
    let error = (&mut bench.running.as_mut().unwrap().task).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("NOTIFIER_DISCORD_TOKEN"), "{error}");
    let running = bench.running.take().unwrap();
    drop((running.outbox, running.subscriptions));
    bench.restart().await;
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1]);
}

#[tokio::test(start_paused = true)]
async fn late_ones_and_too_many_become_one_post_that_links_nothing() {
    let bench = DeliveryHarness::start("").await;
    bench.arrive_aged(1..=30, &[HERE], 2 * 3_600_000);
    bench.arrive([31], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [31]);
    assert_eq!(bench.state(&HERE, 7), PostState::Folded);
    {
        let state = bench.fake.state.lock().unwrap();
        let turnur = (30_002_086, "Turnur".to_owned(), 30);
        assert_eq!(state.posted[0].1.message, render::folded(30, &[1e9; 30], &[turnur]));
    }
    // 210 wait and 200 may: the oldest ten are folded.
    bench.arrive(101..=310, &[THERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&THERE), (111..=310).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn pings_have_an_age_and_a_cooldown_that_survives() {
    let mut bench = DeliveryHarness::start("ping = \"here\"\nping_max_age = \"1m\"").await;
    let pings = |bench: &DeliveryHarness| {
        let state = bench.fake.state.lock().unwrap();
        state
            .posted
            .iter()
            .map(|(_, post)| post.message.content.contains("@here"))
            .collect::<Vec<_>>()
    };
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    bench.arrive([2], &[HERE]);
    bench.drained().await;
    assert!(bench.outbox().post(&HERE, 2).unwrap().unwrap().ping_held_back);
    bench.restart().await;
    bench.arrive([3], &[HERE]);
    bench.drained().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    bench.arrive_aged([4], &[HERE], 61_000);
    bench.drained().await;
    bench.arrive([5], &[HERE]);
    bench.drained().await;
    assert_eq!(pings(&bench), [true, false, false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn deaths_at_any_point_lose_nothing_and_post_nothing_twice() {
    for seed in 0..25 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bench = DeliveryHarness::start("").await;
        let mut next = 1;
        for _ in 0..8 {
            let more = random.u64(0..15);
            bench.arrive(next..next + more, &[HERE, THERE]);
            bench.outbox().flush().await.unwrap();
            next += more;
            for destination in [HERE, THERE] {
                let fault = match random.u8(0..6) {
                    0 => Fault::PostedHang,
                    1 => Fault::Hang,
                    2 => Fault::PostedUnknown,
                    3 => Fault::Answer(SendOutcome::Unknown { reason: "502".into() }),
                    _ => continue,
                };
                bench.fake.fault(destination, [fault]);
            }
            tokio::time::sleep(Duration::from_millis(random.u64(0..400))).await;
            if random.bool() {
                bench.restart().await;
            }
            if random.u8(0..8) == 0 {
                // Down for longer than a nonce lives.
                tokio::time::sleep(Duration::from_secs(400)).await;
            }
        }
        bench.fake.state.lock().unwrap().faults.clear();
        bench.drained().await;
        for destination in [HERE, THERE] {
            assert_eq!(
                bench.fake.killmails(&destination),
                (1..next).collect::<Vec<_>>(),
                "seed {seed}"
            );
        }
        bench.running().shutdown.cancel();
        (&mut bench.running.as_mut().unwrap().task).await.unwrap().unwrap();
    }
}
