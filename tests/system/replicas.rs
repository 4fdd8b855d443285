//! Replicas: two ingestors, the second a relay of the first, and clients of both.
//!
//! Kills under load lose and repeat nothing, according to the validator.

use std::time::Duration;

use killfeed::client::{Client, FollowOptions, Start};
use killfeed_support::{
    FakeUpstream, corpus,
    process::eventually,
    validator::{self, Observed, offset, validate},
};
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{
    harness::{TEST_TIMEOUT, TestIngestor},
    recorder::{Recorder, begun, whole_log},
};

const CLIENTS: usize = 10;
const KILLMAILS: usize = 300;

/// Follows both, starting with `first`, until every record up to the given head has come.
pub(crate) async fn follow(
    endpoints: Vec<String>,
    recorder: Recorder,
    head: watch::Receiver<Option<u64>>,
    n: usize,
) -> validator::Client {
    let client = Client::builder().endpoints(endpoints).build().unwrap();
    let mut events = client.follow(FollowOptions {
        include_updates: true,
        ..FollowOptions::new("", Start::Earliest)
    });
    let mut stream = begun(validator::Start::Earliest { trimmed: 0 }, None, true);
    loop {
        let next = timeout(2 * TEST_TIMEOUT, events.next())
            .await
            .expect("an event comes in time")
            .unwrap();
        let received = recorder.event(&next);
        let (at, progress) = (received.offset, received.seen == Observed::Progress);
        stream.events.push(received);
        if progress && head.borrow().is_some_and(|head| at >= head) {
            break;
        }
    }
    stream.to_the_end = true;
    validator::Client {
        name: format!("client {n}"),
        streams: vec![stream],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_two_replicas_lose_nothing_despite_crashes() {
    let upstream = FakeUpstream::start().await;
    let mut first = TestIngestor::start(&upstream, &[]).await;
    let source = format!("relay:{}", first.url());
    let mut second = TestIngestor::start(&upstream, &[("INGESTOR_SOURCE", &source)]).await;
    let (told, head) = watch::channel(None);
    let recorder = Recorder::new();
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let mut endpoints = vec![first.url(), second.url()];
        endpoints.rotate_left(n % 2);
        clients.spawn(follow(endpoints, recorder, head.clone(), n));
    }

    let documents: Vec<Value> = corpus::some(KILLMAILS);
    let published: Vec<_> = documents
        .iter()
        .map(|document| (document["killmail_id"].as_u64().unwrap(), 0))
        .collect();
    // The publisher runs during the kills, so that both are killed under load.
    let load = async {
        for document in documents {
            upstream.publish(document);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let kills = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.kill_and_begin().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        second.kill_and_begin().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        first.kill_and_begin().await;
    };
    tokio::join!(load, kills);

    first.wait_for_killmails(KILLMAILS as u64).await;
    eventually("the relay has every record", TEST_TIMEOUT, async || {
        second.status().await.head_cursor == first.status().await.head_cursor
    })
    .await;
    // Both logs hold the same bytes.
    let mut history = whole_log(&first).await;
    assert_eq!(history.log, whole_log(&second).await.log);
    // Only the relay runs from here on.
    assert_eq!(first.stop().await, Some(0));
    told.send_replace(Some(offset(&second.status().await.head_cursor)));
    history.clients = timeout(2 * TEST_TIMEOUT, clients.join_all())
        .await
        .expect("every client receives every record");
    history.published = Some(published);
    validate(&history);
    assert_eq!(second.stop().await, Some(0));
}
