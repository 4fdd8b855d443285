//! The feed is OK, DELAYED or DOWN for each cause, with the reason in every place.
//!
//! Unit tests of the feed check the contract's ten seconds on a paused clock.

use killfeed::{
    client::{EventKind, FollowOptions, Start},
    v1::FeedHealth,
};
use killfeed_support::{
    FakeUpstream,
    fake_upstream::{Fault, Host},
    process::eventually,
};

use super::{at_the_head, documents};
use crate::harness::{TEST_TIMEOUT, TestIngestor};

/// The re-checks are so late that even on a slow machine the hole does not become a gap.
const RECHECKS: &str = "15s,30s,1m,2m,3m,4m,5m,6m,8m,10m";

/// Removes the host's faults and waits for its first good response.
async fn healed(upstream: &FakeUpstream) {
    let before = upstream.journal().of(Host::Feed).len();
    upstream.heal(Host::Feed);
    eventually("the next good response", TEST_TIMEOUT, async || {
        let seen = upstream.journal().of(Host::Feed);
        seen[before..].iter().any(|seen| matches!(seen.status, Some(200 | 404)))
    })
    .await;
}

/// Waits for a health and a reason, and checks every place that shows them.
async fn becomes(ingestor: &TestIngestor, health: FeedHealth, reason: &str) {
    let what = format!("{health:?} because of {reason:?}");
    eventually(&what, TEST_TIMEOUT, async || {
        let status = ingestor.status().await;
        status.feed_health() == health && status.feed_detail.contains(reason)
    })
    .await;
    let (word, grade) = match health {
        FeedHealth::Ok => ("feed: OK (", 0.0),
        FeedHealth::Delayed => ("feed: DELAYED (", 1.0),
        FeedHealth::Down => ("feed: DOWN (", 2.0),
        FeedHealth::Unspecified => unreachable!("tests never wait for Unspecified"),
    };
    let url = format!("http://{}/readyz", ingestor.http);
    let ready = reqwest::Client::new()
        .get(url)
        .timeout(TEST_TIMEOUT)
        .send()
        .await
        .unwrap();
    assert_eq!(
        ready.status(),
        200,
        "the ingestor stays ready during an outage of the feed"
    );
    let ready = ready.text().await.unwrap();
    assert!(ready.contains(word) && ready.contains(reason), "{ready}");
    eventually(&format!("killfeed_feed_health {grade}"), TEST_TIMEOUT, async || {
        ingestor.metric("killfeed_feed_health").await == grade
    })
    .await;
    let mut events = ingestor.client().follow(FollowOptions::new("", Start::Latest));
    let said = tokio::time::timeout(TEST_TIMEOUT, async {
        loop {
            if let EventKind::Progress(progress) = events.next().await.unwrap().kind {
                return progress;
            }
        }
    });
    assert_eq!(said.await.expect("a Progress").feed_health(), health);
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_health_reports_each_cause_and_recovers() {
    let upstream = FakeUpstream::start_with_sample().await;
    let mut all = documents(20).into_iter();
    let mut next = || all.next().unwrap();
    upstream.publish(next());
    let rechecks = ("INGESTOR_FEED_HOLE_RECHECKS", RECHECKS);
    let mut ingestor = TestIngestor::start(&upstream, &[rechecks]).await;
    becomes(&ingestor, FeedHealth::Ok, "at the head").await;

    upstream.host_fault(Host::Feed, Fault::Status(503), None);
    becomes(&ingestor, FeedHealth::Delayed, "503 Service Unavailable").await;
    healed(&upstream).await;
    becomes(&ingestor, FeedHealth::Ok, "at the head").await;

    upstream.host_fault(Host::Feed, Fault::Stall, None);
    becomes(&ingestor, FeedHealth::Delayed, "no response yet").await;
    healed(&upstream).await;
    becomes(&ingestor, FeedHealth::Ok, "at the head").await;

    // A document below the head is missing.
    let late = upstream.reserve();
    let last = upstream.publish(next());
    upstream.rewrite_sequence();
    becomes(&ingestor, FeedHealth::Delayed, &format!("document {late} is missing")).await;
    upstream.deliver(late, next());
    at_the_head(&ingestor, last + 1).await;
    becomes(&ingestor, FeedHealth::Ok, "at the head").await;

    upstream.host_fault(Host::Feed, Fault::TooManyRequests(Some(3_600)), Some(1));
    becomes(&ingestor, FeedHealth::Down, "429 Too Many Requests").await;
    // The next process reports the same without a request.
    let asked = upstream.journal().of(Host::Feed).len();
    ingestor.kill_and_begin().await;
    becomes(&ingestor, FeedHealth::Down, "banned by the feed's host").await;
    assert_eq!(upstream.journal().of(Host::Feed).len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_pauses_the_feed_without_a_loss() {
    let upstream = FakeUpstream::start_with_sample().await;
    let all = documents(12);
    upstream.publish_all(all[..6].iter().cloned());
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(6).await;
    // No disk has this much space: 2^40 MiB is an exbibyte.
    ingestor.set("INGESTOR_DISK_RESERVE", "1099511627776");
    ingestor.kill_and_begin().await;
    upstream.publish_all(all[6..].iter().cloned());
    becomes(&ingestor, FeedHealth::Down, "kept in reserve").await;
    ingestor.wait_for_killmails(6).await;
    let mut events = crate::harness::from_the_beginning(&ingestor.client(), "");
    assert_eq!(
        crate::harness::killmails(&mut events, 6).await.len(),
        6,
        "reads work with a full disk"
    );

    ingestor.set("INGESTOR_DISK_RESERVE", "1");
    ingestor.kill_and_begin().await;
    ingestor.wait_for_killmails(12).await;
    assert_eq!(
        crate::harness::killmails(&mut events, 6).await.len(),
        6,
        "the open stream continues"
    );
    becomes(&ingestor, FeedHealth::Ok, "at the head").await;
}
