//! Later revisions of killmails that were posted.

use super::*;

impl DeliveryHarness {
    /// A later revision of a killmail, which says what it is worth. `to` still match it.
    fn revised(&self, killmail_id: u64, revision: u32, value: f64, to: &[Destination], posted: &[Destination]) {
        let time = self.clock.now().unix_ms();
        let stamp = Some(Timestamp {
            seconds: i64::try_from(time / 1_000).unwrap(),
            nanos: 0,
        });
        let killmail = Killmail {
            killmail_id,
            revision,
            kill_time: stamp,
            published_time: stamp,
            value: Some(killfeed::v1::Valuation {
                total: Some(value),
                ..Default::default()
            }),
            ..Default::default()
        };
        let matched = |destination: &Destination| Match {
            destination: destination.clone(),
            subscriptions: vec![(SubscriptionId(subscription(destination)), KillOutcome::Neutral)],
            in_time: true,
        };
        let arrival = IncomingKillmail {
            killmail_id,
            revision,
            bytes: killmail.encode_to_vec(),
            kill_time: time,
            published: time,
            system: 0,
            value: None,
            matches: to.iter().map(matched).collect(),
            posted: posted.to_vec(),
        };
        self.outbox()
            .enqueue(&[arrival], None, self.clock.now().unix_ms())
            .unwrap();
    }

    fn edits(&self) -> Vec<Edit> {
        self.fake.state.lock().unwrap().edits.clone()
    }
}

fn text(edit: &Edit) -> String {
    serde_json::to_string(&edit.embeds).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_later_revision_edits_the_post_also_where_it_no_longer_matches() {
    let bench = DeliveryHarness::start("").await;
    bench.arrive([1, 2, 3], &[HERE, THERE]);
    bench.drained().await;
    let post = bench.outbox().post(&HERE, 2).unwrap().unwrap();
    assert_eq!(post.together, [1, 2, 3], "all three in one message");
    // HERE still matches, THERE does not any more.
    bench.revised(2, 1, 1.5e9, &[HERE], &[THERE]);
    bench.drained().await;
    let edits = bench.edits();
    assert_eq!(edits.len(), 2);
    for edit in &edits {
        assert_eq!(edit.embeds.len(), 3, "its neighbours stay");
        assert!(
            edit.embeds[1].url.ends_with("/2/") && text(edit).contains("1.50b"),
            "{}",
            text(edit)
        );
        assert!(edit.added.is_empty());
    }
    assert_eq!(edits[0].message_id, post.message_id.min(edits[0].message_id));
    let posted = bench.fake.state.lock().unwrap().posted.len();
    assert_eq!(posted, 2, "nothing is posted a second time");
    let post = bench.outbox().post(&HERE, 2).unwrap().unwrap();
    assert_eq!(
        (post.state(), post.posted_revision, post.sequence),
        (PostState::Sent, 1, 0)
    );
    assert!(
        bench.outbox().killmail(2).unwrap().is_none(),
        "its bytes are not needed any more"
    );
    // The same revision again, and an older one: nothing to do.
    bench.revised(2, 1, 9.0, &[HERE], &[]);
    bench.drained().await;
    assert_eq!(bench.edits().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_comes_while_the_post_is_on_its_way_edits_it_afterwards() {
    let mut bench = DeliveryHarness::start("").await;
    bench.fake.fault(HERE, [Fault::PostedHang]);
    bench.arrive([1], &[HERE]);
    bench.outbox().flush().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.revised(1, 1, 2e9, &[HERE], &[]);
    bench.outbox().flush().await.unwrap();
    bench.restart().await;
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1]);
    let edits = bench.edits();
    assert_eq!(edits.len(), 1);
    assert!(text(&edits[0]).contains("2.00b"), "{}", text(&edits[0]));
}

#[tokio::test(start_paused = true)]
async fn an_edit_is_tried_until_it_is_there_and_let_go_where_it_cannot_be() {
    let bench = DeliveryHarness::start("").await;
    bench.arrive([1, 2], &[HERE]);
    bench.drained().await;
    bench.fake.state.lock().unwrap().edit_answers = [
        SendOutcome::Unknown { reason: "502".into() },
        SendOutcome::RateLimited {
            retry_after: Duration::from_secs(7),
        },
        refused(403, 50001),
    ]
    .into();
    bench.revised(1, 1, 1e9, &[HERE], &[]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(bench.running().subscriptions.snapshot().suspension(&HERE).is_some());
    bench.drained().await;
    assert_eq!(bench.edits().len(), 4);
    assert_eq!(bench.running().subscriptions.snapshot().suspension(&HERE), None);
    // Somebody deleted the message: that is no reason to suspend anything, or to post it again.
    bench.fake.state.lock().unwrap().edit_answers = [refused(404, 10008)].into();
    bench.revised(2, 1, 1e9, &[HERE], &[]);
    bench.drained().await;
    assert_eq!(bench.running().subscriptions.snapshot().suspension(&HERE), None);
    assert_eq!((bench.edits().len(), bench.fake.killmails(&HERE).len()), (5, 2));
    assert_eq!(bench.state(&HERE, 2), PostState::Sent);
}

#[tokio::test(start_paused = true)]
async fn a_death_in_the_middle_of_an_edit_repeats_it() {
    let mut bench = DeliveryHarness::start("").await;
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    bench.revised(1, 1, 3e9, &[HERE], &[]);
    bench.outbox().flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    bench.restart().await;
    bench.drained().await;
    assert!(text(bench.edits().last().unwrap()).contains("3.00b"));
    assert_eq!(bench.outbox().post(&HERE, 1).unwrap().unwrap().posted_revision, 1);
}
