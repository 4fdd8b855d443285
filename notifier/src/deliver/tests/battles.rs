//! The style `battle`: one post that grows.

use super::*;

async fn battle() -> DeliveryHarness {
    DeliveryHarness::start("style = \"battle\"").await
}

fn edits(bench: &DeliveryHarness) -> Vec<Edit> {
    bench.fake.state.lock().unwrap().edits.clone()
}

#[tokio::test(start_paused = true)]
async fn a_battle_is_one_post_that_is_edited_and_links_each_killmail() {
    let bench = battle().await;
    bench.arrive([1, 2], &[HERE]);
    bench.drained().await;
    for more in [3..=3, 4..=9] {
        bench.arrive(more, &[HERE]);
        bench.drained().await;
    }
    let posted = bench.fake.state.lock().unwrap().posted.len();
    assert_eq!(posted, 1);
    let last = edits(&bench).pop().unwrap();
    let text = serde_json::to_string(&last.embeds).unwrap();
    for id in 1..=9 {
        assert!(text.contains(&render_link(id)), "{id}: {text}");
        assert_eq!(bench.state(&HERE, id), PostState::Sent);
        assert!(
            bench.outbox().killmail(id).unwrap().is_some(),
            "the digest is made of all of them"
        );
    }
    assert_eq!(last.added, (4..=9).collect::<Vec<_>>());
    // Quiet for a while: the next killmail begins another battle.
    tokio::time::sleep(crate::outbox::IDLE_TIMEOUT).await;
    bench.arrive([10], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.state.lock().unwrap().posted.len(), 2);
    assert!(bench.outbox().killmail(5).unwrap().is_none());
    tokio::time::sleep(crate::outbox::IDLE_TIMEOUT).await;
    assert_eq!(
        bench.outbox().end_quiet_battles(bench.clock.now().unix_ms()).unwrap(),
        1
    );
    assert!(bench.outbox().killmail(10).unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_battle_says_how_far_away_it_is_also_after_it_grew() {
    let mut bench = battle().await;
    let near = crate::matching::tests::watching(1, 30_002_060, 2_144, 30_002_086);
    let subscriptions = bench.running().subscriptions.clone();
    let all = subscriptions.list();
    let one = all.iter().find(|one| one.id == SubscriptionId(1)).unwrap();
    subscriptions
        .set_compiled(one, near.compiled, String::new())
        .await
        .unwrap();
    // The database is to be let go of with the bench.
    drop((subscriptions, all));
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    let away = "2.14 ly, 1 jump from Alpha";
    let first = bench.fake.state.lock().unwrap().posted[0].1.clone();
    let first = serde_json::to_string(&first.message).unwrap();
    assert_eq!(first.matches(away).count(), 1, "{first}");
    bench.arrive([2, 3], &[HERE]);
    bench.drained().await;
    let grown = serde_json::to_string(&edits(&bench).pop().unwrap().embeds).unwrap();
    assert!(
        grown.contains(&render_link(1)) && grown.contains(&render_link(3)),
        "{grown}"
    );
    assert_eq!(grown.matches(away).count(), 1, "{grown}");
    // Nobody watches it from there any more.
    bench.restart().await;
    bench.arrive([4], &[HERE]);
    bench.drained().await;
    let grown = serde_json::to_string(&edits(&bench).pop().unwrap().embeds).unwrap();
    assert!(grown.contains(&render_link(4)) && !grown.contains(away), "{grown}");
}

#[tokio::test(start_paused = true)]
async fn deaths_lose_nothing_of_a_battle_and_post_it_once() {
    for seed in 0..10 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bench = battle().await;
        let mut next = 1;
        for _ in 0..6 {
            let more = random.u64(1..6);
            bench.arrive(next..next + more, &[HERE]);
            bench.outbox().flush().await.unwrap();
            next += more;
            if random.bool() {
                bench.fake.fault(HERE, [Fault::PostedUnknown]);
            }
            if random.bool() {
                let unknown = SendOutcome::Unknown { reason: "502".into() };
                bench.fake.state.lock().unwrap().edit_answers.push_back(unknown);
            }
            tokio::time::sleep(Duration::from_millis(random.u64(0..200))).await;
            bench.restart().await;
        }
        bench.drained().await;
        assert_eq!(bench.fake.state.lock().unwrap().posted.len(), 1, "seed {seed}");
        let first = bench.fake.killmails(&HERE);
        let text = edits(&bench)
            .pop()
            .map(|edit| serde_json::to_string(&edit.embeds).unwrap());
        for id in 1..next {
            let shown = first.contains(&id) || text.as_ref().is_some_and(|text| text.contains(&render_link(id)));
            assert!(shown && bench.state(&HERE, id) == PostState::Sent, "seed {seed}: {id}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_somebody_deleted_begins_anew() {
    let bench = battle().await;
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    bench.fake.state.lock().unwrap().edit_answers = [refused(404, 10008)].into();
    bench.arrive([2], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2]);
    assert_eq!(bench.running().subscriptions.snapshot().suspension(&HERE), None);
}

fn render_link(id: u64) -> String {
    crate::render::link(id)
}
