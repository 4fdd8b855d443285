//! Two ingestors, one the relay of the other.
//!
//! Both logs hold the same records, and clients of both survive kills and a promotion.

use killfeed::{
    client::{Client, FollowOptions, Start},
    v1::{Killmail, OnExpired, Position, StreamKillmailsRequest, stream_killmails_request::Start as From},
    wire::{Received, ReceivedEvent},
};
use killfeed_support::{
    FakeUpstream, corpus,
    fake_upstream::{FIRST, Host},
    process::{Binary, Service, eventually},
};
use serde_json::Value;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{TEST_TIMEOUT, TestIngestor, from_the_beginning, killmails};

fn documents(n: usize) -> Vec<Value> {
    corpus::some(n)
}

fn ids(documents: &[Value]) -> Vec<u64> {
    documents
        .iter()
        .map(|document| document["killmail_id"].as_u64().unwrap())
        .collect()
}

fn ids_of(killmails: &[Killmail]) -> Vec<u64> {
    killmails.iter().map(|killmail| killmail.killmail_id).collect()
}

async fn relay_of(other: &TestIngestor, upstream: &FakeUpstream) -> TestIngestor {
    let source = format!("relay:{}", other.url());
    TestIngestor::start(upstream, &[("INGESTOR_SOURCE", &source)]).await
}

/// Reads every record of a log in its wire form.
async fn history(ingestor: &TestIngestor) -> Vec<ReceivedEvent> {
    let request = StreamKillmailsRequest {
        start: Some(From::Position(Position::Earliest.into())),
        on_expired: OnExpired::Fail.into(),
        include_updates: true,
        ..Default::default()
    };
    let mut stream = ingestor.client().receive(request).await.unwrap();
    let mut events = Vec::new();
    loop {
        let event = tokio::time::timeout(TEST_TIMEOUT, stream.message())
            .await
            .expect("an event comes in time");
        let event = event.unwrap().expect("the stream has no end");
        match &event.event {
            Received::Progress(progress) if progress.caught_up => return events,
            Received::Progress(_) => {}
            _ => events.push(event),
        }
    }
}

/// Starts a stream after a cursor and returns the log's error if it rejects the cursor.
async fn place(ingestor: &TestIngestor, cursor: &str) -> Result<(), tonic::Status> {
    let request = StreamKillmailsRequest {
        start: Some(From::AfterCursor(cursor.into())),
        ..Default::default()
    };
    ingestor.client().receive(request).await.map(|_| ())
}

async fn at_the_same_place(one: &TestIngestor, other: &TestIngestor) {
    eventually("both logs end at the same offset", TEST_TIMEOUT, async || {
        let (one, other) = (one.status().await, other.status().await);
        one.head_cursor == other.head_cursor && one.killmails == other.killmails
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_copies_the_log_of_its_upstream_byte_for_byte() {
    let upstream = FakeUpstream::start().await;
    let documents = documents(200);
    upstream.publish_all(documents[..100].iter().cloned());
    // A document that never appears becomes a gap, and a republished one becomes an update. The relay copies both.
    upstream.reserve();
    let mut changed = documents[3].clone();
    changed["zkb"]["labels"] = serde_json::json!(["ganked"]);
    upstream.publish(changed);
    upstream.rewrite_sequence();
    let first = TestIngestor::start(&upstream, &[("INGESTOR_FEED_HOLE_RECHECKS", "200ms,400ms")]).await;
    first.wait_for_killmails(100).await;
    eventually("the hole becomes a gap", TEST_TIMEOUT, async || {
        first.metric("killfeed_feed_gaps_total").await > 0.0
    })
    .await;

    let second = relay_of(&first, &upstream).await;
    // The relay was ready, so it holds every record.
    assert_eq!(second.status().await.killmails, 100);
    upstream.publish_all(documents[100..].iter().cloned());
    first.wait_for_killmails(200).await;
    at_the_same_place(&first, &second).await;
    let (one, other) = (history(&first).await, history(&second).await);
    assert!(one.iter().any(|event| matches!(event.event, Received::Gap(_))));
    assert_eq!(one.len(), 202, "200 killmails, an update and a gap");
    assert_eq!(one, other);
    let (a, b) = (first.status().await, second.status().await);
    assert_eq!((&a.log_id, &a.earliest_cursor), (&b.log_id, &b.earliest_cursor));
    for event in one.iter().step_by(20) {
        assert!(place(&first, &event.cursor).await.is_ok() && place(&second, &event.cursor).await.is_ok());
    }
    assert_eq!(
        second.metric("killfeed_feed_requests_total").await,
        0.0,
        "the relay does not call zKillboard"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn client_of_relay_and_upstream_loses_nothing_despite_crashes() {
    let upstream = FakeUpstream::start().await;
    let documents = documents(300);
    let expected = ids(&documents);
    upstream.publish_all(documents[..100].iter().cloned());
    let mut first = TestIngestor::start(&upstream, &[]).await;
    let mut second = relay_of(&first, &upstream).await;
    let both = Client::builder()
        .endpoints([first.url(), second.url()])
        .client_name("both")
        .build()
        .unwrap();
    let mut events = both.follow(FollowOptions::new("", Start::Earliest));
    let mut seen = killmails(&mut events, 60).await;

    upstream.publish_all(documents[100..200].iter().cloned());
    seen.extend(killmails(&mut events, 50).await);
    first.kill_and_begin().await;
    upstream.publish_all(documents[200..250].iter().cloned());
    seen.extend(killmails(&mut events, 90).await);
    // Kill the second ingestor too: the client may read from either.
    second.kill_and_begin().await;
    upstream.publish_all(documents[250..].iter().cloned());
    seen.extend(killmails(&mut events, expected.len() - seen.len()).await);
    assert_eq!(ids_of(&seen), expected, "every killmail once, in order");
    first.wait_for_killmails(300).await;
    at_the_same_place(&first, &second).await;
    assert_eq!(history(&first).await, history(&second).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_relay_walks_and_the_failed_ingestor_follows_it() {
    let upstream = FakeUpstream::start().await;
    let documents = documents(80);
    upstream.publish_all(documents[..50].iter().cloned());
    let mut first = TestIngestor::start(&upstream, &[]).await;
    first.wait_for_killmails(50).await;
    let mut second = relay_of(&first, &upstream).await;
    at_the_same_place(&first, &second).await;
    let before = second.status().await;
    let last = history(&second).await.pop().unwrap().cursor;

    // The first ingestor never returns as the upstream, and the second one is promoted to walk.
    assert_eq!(first.stop().await, Some(0));
    assert_eq!(second.stop().await, Some(0));
    upstream.journal().clear();
    upstream.publish_all(documents[50..70].iter().cloned());
    second.set("INGESTOR_SOURCE", "r2z2");
    second.set("INGESTOR_FEED_HOLE_RECHECKS", "200ms,400ms");
    second.launch().await;
    second.wait_for_killmails(70).await;
    let walked = upstream.journal().of(Host::Feed);
    let numbers = walked.iter().filter_map(|seen| {
        let file = seen.path.strip_prefix("/ephemeral/")?.strip_suffix(".json")?;
        file.parse::<u64>().ok()
    });
    let highest = FIRST + 49;
    assert_eq!(
        numbers.min(),
        Some(highest - 2_000),
        "the walk starts 2,000 below the highest relayed sequence"
    );

    let after = second.status().await;
    assert_ne!(after.log_id, before.log_id);
    let mut stream = from_the_beginning(&second.client(), "");
    assert_eq!(
        ids_of(&killmails(&mut stream, 70).await),
        ids(&documents[..70]),
        "each killmail once"
    );
    let updates = history(&second).await.into_iter().filter(|event| match &event.event {
        Received::Killmail(bytes) => prost::Message::decode(bytes.clone()).is_ok_and(|k: Killmail| k.revision > 0),
        _ => false,
    });
    assert_eq!(updates.count(), 0, "the dedup entries drop relayed killmails");

    // A cursor of the other log resumes at its position; a cursor beyond the shared records is unrelated.
    let position = killfeed::client::Position {
        cursor: last.clone(),
        time: Default::default(),
    };
    let mut on = second.client().follow(FollowOptions::new("", Start::After(position)));
    assert_eq!(ids_of(&killmails(&mut on, 20).await), ids(&documents[50..70]));
    let (log, offset) = last.rsplit_once('-').unwrap();
    let beyond = format!("{log}-{:x}", u64::from_str_radix(offset, 16).unwrap() + 1);
    let status = place(&second, &beyond).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "LOG_MISMATCH");

    // The failed ingestor returns as the relay of the other: its own log is the beginning of the other's log.
    first.set("INGESTOR_SOURCE", &format!("relay:{}", second.url()));
    first.launch().await;
    upstream.publish_all(documents[70..].iter().cloned());
    second.wait_for_killmails(80).await;
    at_the_same_place(&second, &first).await;
    assert_eq!(first.status().await.log_id, after.log_id);
    assert_eq!(history(&first).await, history(&second).await);
    assert!(
        place(&first, &last).await.is_ok(),
        "the log accepts its ancestors' cursors"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_serves_its_log_when_the_upstream_is_unavailable() {
    let upstream = FakeUpstream::start().await;
    upstream.publish_all(documents(20));
    let mut first = TestIngestor::start(&upstream, &[]).await;
    first.wait_for_killmails(20).await;
    let mut second = relay_of(&first, &upstream).await;
    at_the_same_place(&first, &second).await;
    first.stop().await;
    second.kill_and_begin().await;
    let mut stream = from_the_beginning(&second.client(), "");
    assert_eq!(killmails(&mut stream, 20).await.len(), 20);
    let status = second.status().await;
    assert!(
        status.feed_health != 1 && status.feed_detail.contains(&first.url()),
        "{status:?}"
    );
    first.launch().await;
    eventually("the relay follows again", TEST_TIMEOUT, async || {
        second.status().await.feed_health == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_rejects_an_unrelated_log_and_keeps_it() {
    let upstream = FakeUpstream::start().await;
    upstream.publish_all(documents(10));
    let first = TestIngestor::start(&upstream, &[]).await;
    let mut other = TestIngestor::start(&upstream, &[]).await;
    first.wait_for_killmails(10).await;
    other.wait_for_killmails(10).await;
    let (status, cursor) = (other.status().await, other.status().await.head_cursor);
    let mismatch = place(&first, &cursor).await.unwrap_err();
    assert_eq!(
        mismatch.get_error_details().error_info().unwrap().reason,
        "LOG_MISMATCH"
    );
    other.stop().await;
    other.set("INGESTOR_SOURCE", &format!("relay:{}", first.url()));
    let mut refused = Service::start(Binary::Ingestor, &other.settings()).await;
    assert_eq!(refused.end().await.code(), Some(78), "{}", refused.stderr());
    let said = refused.stderr();
    let sentence = said.lines().last().unwrap();
    assert!(
        sentence.contains("does not continue the local log") && sentence.contains("move the folder away"),
        "{said}"
    );
    other.set("INGESTOR_SOURCE", "r2z2");
    other.launch().await;
    assert_eq!(other.status().await.log_id, status.log_id);
    // The timeout guards against a rejected relay that hangs.
    tokio::time::timeout(TEST_TIMEOUT, other.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_sends_its_token_and_reports_a_missing_one() {
    let upstream = FakeUpstream::start().await;
    upstream.publish_all(documents(5));
    let folder = tempfile::tempdir().unwrap();
    let (tokens, token) = (folder.path().join("tokens"), folder.path().join("token"));
    std::fs::write(&tokens, "replica hunter2\n").unwrap();
    std::fs::write(&token, "hunter2\n").unwrap();
    let first = TestIngestor::start(&upstream, &[("INGESTOR_TOKENS_FILE", tokens.to_str().unwrap())]).await;
    eventually("the first ingestor holds the killmails", TEST_TIMEOUT, async || {
        first.metric("killfeed_logged_total").await >= 5.0
    })
    .await;
    let source = format!("relay:{}", first.url());
    let settings = [
        ("INGESTOR_SOURCE", source.as_str()),
        ("INGESTOR_RELAY_TOKEN_FILE", token.to_str().unwrap()),
    ];
    let mut second = TestIngestor::start(&upstream, &settings).await;
    // Readiness means that the relay caught up, so the upstream accepted the token.
    assert_eq!(second.status().await.killmails, 5);
    second.stop().await;
    second.set("INGESTOR_RELAY_TOKEN_FILE", "");
    let mut refused = Service::start(Binary::Ingestor, &second.settings()).await;
    assert_eq!(refused.end().await.code(), Some(78), "{}", refused.stderr());
    assert!(
        refused.stderr().contains("INGESTOR_RELAY_TOKEN"),
        "{}",
        refused.stderr()
    );
}
