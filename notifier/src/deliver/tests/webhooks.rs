//! A webhook knows no nonce and cannot be read: what is unknown goes out once more, and then not again.

use super::*;

const HOOK: Destination = Destination::Webhook(9);

fn unknown() -> Fault {
    Fault::Answer(SendOutcome::Unknown { reason: "502".into() })
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_sent_once_more_and_not_again() {
    let bench = DeliveryHarness::start("").await;
    bench.fake.fault(HOOK, [unknown()]);
    bench.arrive([1], &[HOOK]);
    bench.drained().await;
    assert_eq!(bench.state(&HOOK, 1), PostState::Sent);
    bench.fake.fault(HOOK, [unknown(), unknown()]);
    bench.arrive([2], &[HOOK]);
    bench.drained().await;
    assert_eq!(bench.state(&HOOK, 2), PostState::Unknown);
    let state = bench.fake.state.lock().unwrap();
    assert_eq!((state.tries.len(), state.looks), (4, 0));
    drop(state);
    let letters = bench.outbox().dead_letters(10).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].killmail_id, letters[0].state), (2, PostState::Unknown));
    assert!(letters[0].detail.contains("webhook"), "{}", letters[0].detail);
}

#[tokio::test(start_paused = true)]
async fn the_tries_are_counted_over_deaths() {
    let mut bench = DeliveryHarness::start("").await;
    bench.fake.fault(HOOK, vec![Fault::Hang; 5]);
    bench.arrive([1], &[HOOK]);
    bench.outbox().flush().await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        bench.restart().await;
    }
    bench.drained().await;
    assert_eq!(bench.fake.state.lock().unwrap().tries.len(), 2);
    assert_eq!(bench.state(&HOOK, 1), PostState::Unknown);
}

/// What came through may be the first try: unsealed, the killmail would have two more.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_second_try_costs_none_and_gives_none() {
    let limited = || {
        Fault::Answer(SendOutcome::RateLimited {
            retry_after: Duration::from_secs(2),
        })
    };
    let bench = DeliveryHarness::start("").await;
    bench.fake.fault(HOOK, [unknown(), limited(), limited()]);
    bench.arrive([1], &[HOOK]);
    bench.drained().await;
    assert_eq!(bench.state(&HOOK, 1), PostState::Sent);
    assert_eq!(bench.fake.state.lock().unwrap().tries.len(), 4);
    bench.fake.fault(HOOK, [unknown(), limited(), unknown()]);
    bench.arrive([2], &[HOOK]);
    bench.drained().await;
    assert_eq!(bench.state(&HOOK, 2), PostState::Unknown);
    assert_eq!(bench.fake.state.lock().unwrap().tries.len(), 7);
}
