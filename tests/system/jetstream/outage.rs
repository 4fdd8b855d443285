//! NATS is unavailable for a while: live streams wait and report it, and recover without a loss.

use std::time::Duration;

use killfeed::{
    client::{EventKind, FollowOptions, Start},
    cursor::Offset,
    id::KillmailId,
    v1::FeedHealth,
};
use killfeed_support::{
    FakeUpstream, corpus,
    fake_upstream::{Fault, Host},
    nats::Nats,
    process::eventually,
};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::engine::{ALL, T0, batch, killmail, lead, open, reaches, records, try_open};
use crate::{
    harness::{TEST_TIMEOUT, TestIngestor},
    recorder::CheckedEvents,
};
use killfeed_ingestor::log::LogRead as _;

#[tokio::test(flavor = "multi_thread")]
async fn append_during_an_outage_is_applied_once() {
    let Some(mut nats) = Nats::single().await else { return };
    let (end, bare) = (open(&nats).await, try_open(&nats, 0).await.unwrap());
    let leadership = lead(&end).await;
    let log = leadership.writer();
    log.append(batch([killmail(1, 0, T0)], "one")).await.unwrap();
    let mut trouble = end.log.trouble();
    nats.kill(0).await;
    let next = batch((2..=50).map(|id| killmail(id, 0, T0)), "two");
    assert!(log.append(next.clone()).await.is_err());
    timeout(TEST_TIMEOUT, trouble.wait_for(Option::is_some))
        .await
        .unwrap()
        .unwrap();
    // Reads from memory still work; other reads wait and report the outage.
    assert_eq!(records(&end, 0).await, [(1, 0)]);
    assert!(bare.log.read(Offset(0), ALL).await.is_err());

    nats.launch(0).await;
    timeout(TEST_TIMEOUT, trouble.wait_for(Option::is_none))
        .await
        .unwrap()
        .unwrap();
    // The lease may have expired. The next term determines the outcome of the append, as the pipeline does.
    let mut leadership = leadership;
    let mut due = next;
    let head = loop {
        match leadership.writer().append(due.clone()).await {
            Ok(head) => break head,
            Err(_) if leadership.lasts().now() => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(_) => {
                leadership.release().await;
                leadership = lead(&end).await;
                let ids: Vec<KillmailId> = (2..=50).map(KillmailId).collect();
                let known = leadership.writer().dedup_entries(&ids).await.unwrap();
                let missing = ids.iter().zip(known).filter(|(_, known)| known.is_none());
                due = batch(missing.map(|(id, _)| killmail(id.0, 0, T0)), "two");
            }
        }
    };
    assert_eq!(head.offset, Offset(50));
    reaches(&bare, head).await;
    assert_eq!(records(&bare, 0).await, (1..=50).map(|id| (id, 0)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn live_streams_send_progress_during_an_outage_and_resume() {
    let Some(mut nats) = Nats::single().await else { return };
    let upstream = FakeUpstream::start().await;
    let documents: Vec<Value> = corpus::some(60);
    let (before, after) = documents.split_at(30);
    upstream.publish_all(before.iter().cloned());
    let mut ingestor = TestIngestor::start(&upstream, &[("INGESTOR_LOG", &nats.url())]).await;
    ingestor.wait_for_killmails(30).await;
    let mut watched = CheckedEvents::new(&ingestor.client(), FollowOptions::new("", Start::Earliest));
    let mut seen = 0;
    while seen < 30 {
        let event = timeout(TEST_TIMEOUT, watched.next())
            .await
            .expect("an event comes in time")
            .unwrap();
        seen += usize::from(matches!(event.kind, EventKind::Killmail(_)));
    }

    nats.kill(0).await;
    upstream.publish_all(after.iter().cloned());
    let cut = Instant::now();
    eventually("the status says DOWN", TEST_TIMEOUT, async || {
        ingestor.status().await.feed_health() == FeedHealth::Down
    })
    .await;
    println!("DOWN {:?} after the server was killed", cut.elapsed());
    let detail = ingestor.status().await.feed_detail;
    assert!(
        detail.contains("killmails cannot be logged") && detail.contains("shared log is unavailable"),
        "{detail}"
    );
    // The open stream still sends Progress, which reports the outage too.
    let told = async {
        loop {
            let event = watched.next().await.expect("the stream stays open");
            match event.kind {
                EventKind::Progress(progress) if progress.feed_health() == FeedHealth::Down => break,
                EventKind::Progress(_) => {}
                other => panic!("{other:?} during the outage"),
            }
        }
    };
    timeout(TEST_TIMEOUT, told)
        .await
        .expect("Progress reports the outage in time");

    nats.launch(0).await;
    let healed = Instant::now();
    while seen < 60 {
        let event = timeout(TEST_TIMEOUT, watched.next())
            .await
            .expect("an event comes in time")
            .unwrap();
        seen += usize::from(matches!(event.kind, EventKind::Killmail(_)));
    }
    println!(
        "all killmails came {:?} after the restart of the server",
        healed.elapsed()
    );
    eventually("the status says OK", TEST_TIMEOUT, async || {
        ingestor.status().await.feed_health() == FeedHealth::Ok
    })
    .await;
    watched.holds_against(&ingestor).await;
    assert_eq!(ingestor.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ban_during_an_outage_stops_the_polls() {
    let Some(mut nats) = Nats::single().await else { return };
    let upstream = FakeUpstream::start().await;
    upstream.publish_all(corpus::some(5));
    let mut ingestor = TestIngestor::start(&upstream, &[("INGESTOR_LOG", &nats.url())]).await;
    ingestor.wait_for_killmails(5).await;
    // The ingestor is at the head with an empty write queue: it only polls for the next document.
    let next = format!("/ephemeral/{}.json", upstream.next_number());
    eventually("the ingestor polls", TEST_TIMEOUT, async || {
        upstream.journal().count(Host::Feed, &next) > 3
    })
    .await;
    // The log cannot be written from here on, and the next response of zKillboard is a rejection.
    nats.kill(0).await;
    upstream.host_fault(Host::Feed, Fault::TooManyRequests(Some(3_600)), Some(1));
    let refusal = || {
        let seen = upstream.journal().of(Host::Feed);
        seen.iter().find(|seen| seen.status == Some(429)).map(|seen| seen.at)
    };
    eventually("the feed is banned", TEST_TIMEOUT, async || refusal().is_some()).await;
    let refused = refusal().unwrap();
    eventually("the term ends", TEST_TIMEOUT, async || {
        ingestor.metric("killfeed_log_turn").await == 0.0
    })
    .await;
    nats.launch(0).await;
    eventually("the ingestor leads again", TEST_TIMEOUT, async || {
        ingestor.metric("killfeed_log_turn").await > 0.0
    })
    .await;
    eventually("the ingestor reports the ban", TEST_TIMEOUT, async || {
        ingestor.status().await.feed_detail.contains("no requests until")
    })
    .await;
    let after = upstream.journal().of(Host::Feed);
    assert!(
        after.iter().all(|seen| seen.at <= refused),
        "the ingestor sent no request during the ban"
    );
    assert_eq!(ingestor.stop().await, Some(0));
}
