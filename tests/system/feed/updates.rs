//! Tests of killmails that zKillboard publishes again.
//!
//! Changed content becomes a new revision. The ingestor drops a document with the same content.

use killfeed::{
    client::{Events, FollowOptions, Start},
    v1::{GetKillmailRequest, Killmail, ListKillmailsRequest},
};
use killfeed_support::{FakeUpstream, fake_upstream::Fault, process::eventually};

use super::{at_the_head, documents, id};
use crate::harness::{TEST_TIMEOUT, TestIngestor, from_the_beginning, killmails};

fn with_updates(ingestor: &TestIngestor) -> Events {
    let mut follow = FollowOptions::new("", Start::Earliest);
    follow.include_updates = true;
    ingestor.client().follow(follow)
}

fn told(killmails: &[Killmail]) -> Vec<(u64, u32)> {
    killmails
        .iter()
        .map(|killmail| (killmail.killmail_id, killmail.revision))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn republished_sequence_becomes_the_next_revision() {
    let upstream = FakeUpstream::start_with_sample().await;
    let mut all = documents(5);
    let first = upstream.publish(all[0].clone());
    upstream.publish_all(all[1..3].iter().cloned());
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(3).await;

    // zKillboard adds the label like this: it rewrites the old file, and a later document announces that.
    let labels = all[0]["zkb"]["labels"].as_array_mut().unwrap();
    labels.push("ganked".into());
    all[0]["uploaded_at"] = (all[0]["uploaded_at"].as_u64().unwrap() + 600).into();
    upstream.deliver(first, all[0].clone());
    // The file fails for a moment, and the ingestor is killed while it waits to refetch it.
    upstream.fault(first, Fault::Status(503), Some(2));
    let mut announcing = all[3].clone();
    announcing["sequence_updated"] = first.into();
    upstream.publish(announcing.clone());
    ingestor.wait_for_killmails(4).await;
    ingestor.kill_and_begin().await;

    let updated = (id(&all[0]), 1);
    let mut events = with_updates(&ingestor);
    let seen = killmails(&mut events, 5).await;
    let mut expected: Vec<_> = all[..4].iter().map(|document| (id(document), 0)).collect();
    expected.push(updated);
    assert_eq!(told(&seen), expected);
    assert!(seen[4].labels.iter().any(|label| label == "ganked"));
    assert!(!seen[0].labels.iter().any(|label| label == "ganked"));
    assert_eq!(seen[4].feed_sequence, first);

    // Another announcement of the same file, and the announcing killmail under another sequence: no new revision.
    announcing["sequence_updated"] = first.into();
    let last = upstream.publish(announcing);
    upstream.publish(all[4].clone());
    at_the_head(&ingestor, last + 2).await;
    eventually(
        "the ingestor reads the announced file again",
        TEST_TIMEOUT,
        async || ingestor.metric("killfeed_duplicates_total").await >= 2.0,
    )
    .await;
    assert_eq!(told(&killmails(&mut events, 1).await), [(id(&all[4]), 0)]);

    // A stream without updates delivers each killmail once.
    let mut plain = from_the_beginning(&ingestor.client(), "");
    let plain = told(&killmails(&mut plain, 5).await);
    assert_eq!(plain, all.iter().map(|document| (id(document), 0)).collect::<Vec<_>>());
    ingestor.wait_for_killmails(5).await;

    // A lookup of one killmail returns the newest revision.
    let client = ingestor.client();
    let request = GetKillmailRequest {
        killmail_id: id(&all[0]),
    };
    let one = client.killmails().get_killmail(request).await.unwrap().into_inner();
    assert_eq!(one.killmail.as_ref().map(|killmail| killmail.revision), Some(1));
    let request = ListKillmailsRequest {
        filter: "ganked".into(),
        ..Default::default()
    };
    let listed = client.killmails().list_killmails(request).await.unwrap().into_inner();
    assert_eq!(
        told(&listed.killmails).iter().filter(|told| **told == updated).count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn republished_killmail_is_an_update_only_if_changed() {
    let upstream = FakeUpstream::start_with_sample().await;
    let all = documents(3);
    upstream.publish_all(all.iter().cloned());
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(3).await;

    let mut again = all[1].clone();
    again["uploaded_at"] = (again["uploaded_at"].as_u64().unwrap() + 60).into();
    upstream.publish(again.clone());
    again["zkb"]["totalValue"] = 123_456_789.5.into();
    upstream.publish(again.clone());
    // The same content, but the body comes from ESI. A null `esi` and an embedded one have the same content hash.
    let last = upstream.publish_without_esi(again);
    at_the_head(&ingestor, last + 1).await;

    let mut events = with_updates(&ingestor);
    let seen = killmails(&mut events, 4).await;
    assert_eq!(
        told(&seen),
        [(id(&all[0]), 0), (id(&all[1]), 0), (id(&all[2]), 0), (id(&all[1]), 1)]
    );
    assert_eq!(
        seen[3].value.as_ref().and_then(|value| value.total),
        Some(123_456_789.5)
    );
    eventually("the ingestor drops the two duplicates", TEST_TIMEOUT, async || {
        ingestor.metric("killfeed_duplicates_total").await == 2.0
    })
    .await;
    ingestor.wait_for_killmails(3).await;
}
