//! What each subscription got, counted for good.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_matched_and_what_was_posted_is_counted_once_whatever_dies() {
    let mut bench = DeliveryHarness::start("").await;
    let counters = |bench: &DeliveryHarness, id| bench.outbox().counters(SubscriptionId(id)).unwrap();
    bench.fake.fault(HERE, [Fault::PostedHang]);
    bench.arrive(1..=4, &[HERE, THERE]);
    bench.outbox().flush().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.restart().await;
    // The same killmails again, as after a lost acknowledgement; and one that is too late to be posted by itself.
    bench.arrive(1..=4, &[HERE, THERE]);
    bench.arrive_aged([5], &[HERE], 2 * 3_600_000);
    bench.drained().await;
    let (here, there) = (counters(&bench, 1), counters(&bench, 2));
    assert_eq!(
        (here.matched, here.posted),
        (5, 4),
        "what is folded matched all the same"
    );
    assert_eq!((there.matched, there.posted), (4, 4));
    assert!(START <= here.last_match && here.last_post <= bench.clock.now().unix_ms());
    assert_eq!(counters(&bench, 3), crate::database::CountersRow::default());
    bench.restart().await;
    assert_eq!(counters(&bench, 1), here);
}

#[tokio::test(start_paused = true)]
async fn a_battle_counts_what_comes_to_it() {
    let bench = DeliveryHarness::start("style = \"battle\"").await;
    for id in 1..=3 {
        bench.arrive([id], &[HERE]);
        bench.drained().await;
    }
    let counters = bench.outbox().counters(SubscriptionId(1)).unwrap();
    assert_eq!((counters.matched, counters.posted), (3, 3));
}
