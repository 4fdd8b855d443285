//! From the feed through the log to a stream, over real processes.
//!
//! The stream delivers each killmail once, in order, regardless of kills.

use std::collections::HashSet;

use killfeed::{
    client::EventKind,
    v1::{GetKillmailRequest, Killmail, SearchEntitiesRequest},
};
use killfeed_support::{FakeUpstream, corpus, process::eventually};
use serde_json::Value;

use crate::harness::{TEST_TIMEOUT, TestIngestor, from_the_beginning, killmails};

fn ids(documents: &[Value]) -> Vec<u64> {
    documents
        .iter()
        .map(|document| document["killmail_id"].as_u64().unwrap())
        .collect()
}

fn ids_of(killmails: &[Killmail]) -> Vec<u64> {
    killmails.iter().map(|killmail| killmail.killmail_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn real_killmails_are_streamed_once_in_order_with_names() {
    let upstream = FakeUpstream::start().await;
    let corpus = corpus::best();
    let expected = ids(&corpus.documents);
    upstream.publish_all(corpus.documents.iter().cloned());
    // zKillboard republishes a document under a new sequence whenever it processes the killmail again.
    upstream.publish_all(corpus.documents.iter().take(50).cloned());
    let ingestor = TestIngestor::start(&upstream, &[]).await;

    let mut events = from_the_beginning(&ingestor.client(), "");
    let seen = killmails(&mut events, expected.len()).await;
    assert_eq!(ids_of(&seen), expected, "every killmail once, in feed order");
    assert!(seen.is_sorted_by_key(|killmail| killmail.feed_sequence));
    assert!(seen.is_sorted_by_key(|killmail| {
        let time = killmail.ingested_time.unwrap();
        (time.seconds, time.nanos)
    }));

    ingestor.wait_for_killmails(expected.len() as u64).await;
    assert_eq!(ingestor.metric("killfeed_rejects_total").await, 0.0);
    let last = upstream.next_number();
    eventually("the walk reads the duplicates", TEST_TIMEOUT, async || {
        ingestor.status().await.upstream_sequence == last
    })
    .await;
    ingestor.wait_for_killmails(expected.len() as u64).await;
    events.holds_against(&ingestor).await;

    for killmail in &seen {
        let place = killmail.location.as_ref().unwrap();
        assert!(
            !place.system_name.is_empty() && !place.region_name.is_empty(),
            "{killmail:?}"
        );
        assert_ne!(
            killmail.victim.as_ref().unwrap().ship_group_id,
            0,
            "{}",
            killmail.killmail_id
        );
    }
    let named = seen.iter().filter(|killmail| {
        let id = killmail.victim.as_ref().unwrap().corporation_id;
        killmail
            .entities
            .iter()
            .any(|entity| entity.id == id && !entity.name.is_empty())
    });
    let named = named.count();
    assert!(
        named * 10 > seen.len() * 9,
        "{named} of {} victims' corporations have names",
        seen.len()
    );

    let client = ingestor.client();
    let one = client
        .killmails()
        .get_killmail(GetKillmailRequest {
            killmail_id: expected[0],
        })
        .await
        .unwrap();
    assert_eq!(one.into_inner().killmail.as_ref(), Some(&seen[0]));
    let none = client
        .killmails()
        .get_killmail(GetKillmailRequest { killmail_id: 1 })
        .await
        .unwrap_err();
    assert_eq!(none.code(), tonic::Code::NotFound);
    let query = SearchEntitiesRequest {
        query: "turn".into(),
        ..Default::default()
    };
    let found = client.universe().search_entities(query).await.unwrap().into_inner();
    assert!(found.entities.iter().any(|entity| entity.name == "Turnur"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_loses_and_repeats_nothing_when_ingestor_is_killed() {
    let upstream = FakeUpstream::start().await;
    let documents: Vec<Value> = corpus::some(400);
    let expected = ids(&documents);
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    let mut events = from_the_beginning(&ingestor.client(), "");
    let mut seen = Vec::new();
    for (round, part) in documents.chunks(documents.len().div_ceil(4)).enumerate() {
        upstream.publish_all(part.iter().cloned());
        // The ingestor is killed during the walk: the client has received only some killmails of this part.
        seen.extend(killmails(&mut events, 3 + 7 * round).await);
        ingestor.kill_and_begin().await;
    }
    seen.extend(killmails(&mut events, expected.len() - seen.len()).await);
    assert_eq!(
        ids_of(&seen),
        expected,
        "the stream resumes exactly after its last event"
    );
    ingestor.wait_for_killmails(expected.len() as u64).await;
    events.holds_against(&ingestor).await;

    // A second reader finds the same records.
    let mut again = from_the_beginning(&ingestor.client(), "");
    assert_eq!(killmails(&mut again, expected.len()).await, seen);
    assert_eq!(ingestor.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_documents_never_stall_the_feed() {
    let upstream = FakeUpstream::start().await;
    let documents: Vec<Value> = corpus::some(20);
    upstream.publish_all(documents[..5].iter().cloned());
    upstream.publish_raw("{\"killmail_id\": 1, ");
    upstream.publish_raw("[]");
    upstream.publish_raw(r#"{"killmail_id":"x","hash":7,"esi":[],"zkb":{}}"#);
    upstream.publish_raw("");
    upstream.publish_placeholder();
    upstream.publish_without_esi(documents[5].clone());
    upstream.publish_all(documents[6..].iter().cloned());
    // More than 50 documents follow, so that sequence.json shows that the unreadable ones are below the head.
    upstream.rewrite_sequence();
    let ingestor = TestIngestor::start(&upstream, &[("INGESTOR_FEED_HOLE_RECHECKS", "300ms,600ms")]).await;
    let mut events = from_the_beginning(&ingestor.client(), "");
    let mut seen = HashSet::new();
    let mut missing = 0;
    while seen.len() < documents.len() || missing < 4 {
        let event = tokio::time::timeout(TEST_TIMEOUT, events.next())
            .await
            .expect("an event comes in time")
            .unwrap();
        match event.kind {
            EventKind::Killmail(killmail) => assert!(seen.insert(killmail.killmail_id)),
            EventKind::Gap(gap) => missing += gap.missing,
            EventKind::Progress(_) => {}
        }
    }
    assert_eq!(seen, ids(&documents).into_iter().collect());
    assert_eq!(missing, 4, "four documents are unreadable; a placeholder is not a gap");
    eventually("the metrics count the placeholder", TEST_TIMEOUT, async || {
        ingestor.metric("killfeed_feed_placeholders_total").await >= 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killmails_have_no_names_when_esi_is_unavailable() {
    use killfeed_support::fake_upstream::{Fault, Host};
    let upstream = FakeUpstream::start().await;
    upstream.host_fault(Host::Esi, Fault::Status(503), None);
    let documents: Vec<Value> = corpus::some(10);
    upstream.publish_all(documents.iter().cloned());
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let mut events = from_the_beginning(&ingestor.client(), "");
    let seen = killmails(&mut events, documents.len()).await;
    assert_eq!(ids_of(&seen), ids(&documents));
    for killmail in seen {
        let place = killmail.location.unwrap();
        assert!(!place.system_name.is_empty(), "static data names the places, not ESI");
        let pilot = killmail.victim.unwrap().character_id;
        assert!(
            !killmail
                .entities
                .iter()
                .any(|entity| entity.kind == 1 && entity.id == pilot)
        );
    }
}
