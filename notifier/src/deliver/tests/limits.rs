//! What a guild gets a day, and who hears of a channel that takes no posts.

use super::*;

#[tokio::test(start_paused = true)]
async fn beyond_the_posts_of_a_day_killmails_are_counted_and_that_is_said_once() {
    let mut bench = DeliveryHarness::start("").await;
    bench.max_posts = 12;
    bench.restart().await;
    // Both channels are of one guild, which has one allowance.
    bench.arrive(1..=10, &[HERE]);
    bench.drained().await;
    bench.arrive(11..=13, &[THERE]);
    bench.drained().await;
    assert_eq!(
        bench.fake.killmails(&THERE),
        [11, 12, 13],
        "a message begun within the allowance is not torn apart"
    );
    bench.arrive(14..=17, &[HERE, THERE]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    bench.arrive(18..=20, &[HERE]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let contents = |bench: &DeliveryHarness| {
        let state = bench.fake.state.lock().unwrap();
        let limit = |post: &Post| post.message.content.contains("limit of 12 posts for today");
        state.posted.iter().filter(|(_, post)| limit(post)).count()
    };
    assert_eq!(contents(&bench), 1, "said once for the whole guild");
    assert!(bench.outbox().waiting() > 0, "what came after it waits, counted");
    // The next day it goes on: what is too late by then is one post, what is new is posted.
    let day = 86_400_000;
    let midnight = day - bench.clock.now().unix_ms() % day;
    tokio::time::sleep(Duration::from_millis(midnight + 60_000)).await;
    bench.arrive([21], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE).last(), Some(&21));
    assert!(matches!(bench.state(&HERE, 19), PostState::Folded | PostState::TooOld));
    assert_eq!(contents(&bench), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_made_the_subscription_is_told_once_and_in_private() {
    let bench = DeliveryHarness::start("").await;
    let by_somebody = {
        let list = bench.running().subscriptions.list();
        let mut one =
            crate::subscriptions::Subscription::clone(&list.iter().find(|one| one.id.0 == 1).unwrap().clone());
        one.created = (4711, 1);
        one
    };
    bench.running().subscriptions.put_all(&[by_somebody]).await.unwrap();
    bench.fake.fault(HERE, vec![Fault::Answer(refused(403, 50013)); 3]);
    bench.fake.fault(THERE, [Fault::Answer(refused(403, 50013))]);
    bench.arrive([1], &[HERE, THERE]);
    bench.drained().await;
    let state = bench.fake.state.lock().unwrap();
    assert_eq!(
        state.told.len(),
        1,
        "three refusals, one word; nobody for THERE, which a file made"
    );
    assert_eq!(state.told[0].0, 4711);
    assert!(state.told[0].1.contains("<#2>"), "{}", state.told[0].1);
    assert!(
        state
            .posted
            .iter()
            .all(|(_, post)| !post.message.content.contains("suspended"))
    );
}
