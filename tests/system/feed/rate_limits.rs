//! The limits of zKillboard and ESI, measured in the fakes' journals of requests, also across kill -9.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use killfeed_support::{
    FakeUpstream, corpus,
    fake_upstream::{Fault, Host, RecordedRequest},
    process::eventually,
};
use serde_json::Value;

use super::{at_the_head, documents};
use crate::harness::{TEST_TIMEOUT, TestIngestor};

/// Lets the ingestor run for a time without an event to wait for.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

fn file(seen: &RecordedRequest) -> &str {
    seen.path.strip_prefix("/ephemeral/").unwrap_or(&seen.path)
}

/// Checks a rate: the n-th request must not arrive earlier than n intervals after `start`.
///
/// A busy machine delays requests, so a request arrives when it is sent or later. The distance between two arrivals
/// proves nothing: the first request may have been delayed more than the second. Returns the number of requests.
fn paced<'s>(requests: impl Iterator<Item = &'s RecordedRequest>, start: Instant, interval: Duration) -> usize {
    let mut times: Vec<Instant> = requests.map(|seen| seen.at).collect();
    times.sort_unstable();
    for (n, at) in (0..).zip(&times) {
        let earliest = interval.saturating_sub(Duration::from_millis(1)) * n;
        assert!(*at - start >= earliest, "request {n} came after {:?}", *at - start);
    }
    times.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_rate_limit_holds_across_crashes() {
    const RATE: u32 = 20;
    let upstream = FakeUpstream::start_with_sample().await;
    let all = documents(40);
    upstream.publish_all(all.iter().cloned());
    let settings = [("INGESTOR_FEED_RATE", "20"), ("INGESTOR_FEED_POLL_INTERVAL", "1s")];
    let start = Instant::now();
    let mut ingestor = TestIngestor::start(&upstream, &settings).await;
    for _ in 0..5 {
        pass(Duration::from_millis(300)).await;
        ingestor.kill_and_begin().await;
    }
    ingestor.wait_for_killmails(all.len() as u64).await;
    let next = upstream.next_number();
    at_the_head(&ingestor, next).await;
    // At the head, a killed and restarted ingestor polls at most once per poll interval.
    for _ in 0..4 {
        pass(Duration::from_millis(400)).await;
        ingestor.kill_and_begin().await;
    }
    pass(Duration::from_millis(2_500)).await;
    let seen = upstream.journal().of(Host::Feed);
    // Each process starts without saved permits. All requests count, including those for sequence.json.
    paced(seen.iter(), start, Duration::from_secs(1) / RATE);
    let head = format!("{next}.json");
    let polls = seen.iter().filter(|seen| file(seen) == head);
    assert!(
        paced(polls, start, Duration::from_secs(1)) > 1,
        "the ingestor polls more than once"
    );
    for name in all
        .iter()
        .zip(upstream.next_number() - 40..)
        .map(|(_, number)| format!("{number}.json"))
    {
        let times = seen.iter().filter(|seen| file(seen) == name).count();
        // A document that was not on disk before a kill is fetched again, at most once per kill.
        assert!((1..=6).contains(&times), "{name} was requested {times} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ban_holds_across_crashes() {
    let upstream = FakeUpstream::start_with_sample().await;
    let all = documents(10);
    upstream.publish_all(all[..5].iter().cloned());
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(5).await;
    upstream.host_fault(Host::Feed, Fault::TooManyRequests(Some(4)), Some(1));
    let refusal = || {
        let seen = upstream.journal().of(Host::Feed);
        seen.iter().find(|seen| seen.status == Some(429)).map(|seen| seen.at)
    };
    // The status reports the ban after it is durable, so no kill can undo it. A slow machine may miss the ban: a
    // request after the 429 shows that it is over.
    eventually("the ingestor is banned", TEST_TIMEOUT, async || {
        let said = ingestor.status().await.feed_detail.contains("429");
        said || refusal().is_some_and(|at| upstream.journal().of(Host::Feed).iter().any(|seen| seen.at > at))
    })
    .await;
    upstream.publish_all(all[5..].iter().cloned());
    let refused = refusal().unwrap();
    while refused.elapsed() < Duration::from_millis(2_500) {
        pass(Duration::from_millis(200)).await;
        ingestor.kill_and_begin().await;
    }
    ingestor.wait_for_killmails(10).await;
    let after = upstream.journal().of(Host::Feed);
    let first = after.iter().find(|seen| seen.at > refused).unwrap().at - refused;
    assert!(
        first >= Duration::from_millis(3_990),
        "the next request came after {first:?}"
    );

    // A 403 has no `Retry-After`: the ban lasts a minute at least.
    upstream.host_fault(Host::Feed, Fault::Forbidden, Some(1));
    let status = |seen: &RecordedRequest| seen.status == Some(403);
    let refused = async || ingestor.status().await.feed_detail.contains("403 Forbidden");
    eventually("the ingestor reports the 403", TEST_TIMEOUT, refused).await;
    // Wait for the disk, because only a durable ban survives a kill.
    pass(Duration::from_millis(500)).await;
    for _ in 0..3 {
        ingestor.kill_and_begin().await;
        pass(Duration::from_millis(500)).await;
    }
    let seen = upstream.journal().of(Host::Feed);
    assert!(
        status(seen.last().unwrap()),
        "no request follows the 403: {:?}",
        seen.last()
    );
    let detail = ingestor.status().await.feed_detail;
    assert!(detail.contains("no requests until"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_the_required_headers() {
    let upstream = FakeUpstream::start_with_sample().await;
    let all = documents(30);
    upstream.publish_all(all[..29].iter().cloned());
    upstream.publish_without_esi(all[29].clone());
    let contact = ("INGESTOR_CONTACT", "operator@example.com");
    let mut ingestor = TestIngestor::start(&upstream, &[contact]).await;
    ingestor.wait_for_killmails(30).await;
    let next = upstream.next_number();
    let polls = || upstream.journal().count(Host::Feed, &format!("/ephemeral/{next}.json"));
    eventually("the ingestor polls the head", TEST_TIMEOUT, async || polls() >= 8).await;
    ingestor.stop().await;
    let agent = concat!("killfeed/", env!("CARGO_PKG_VERSION"), " (operator@example.com)");
    let mut asked: HashMap<String, usize> = HashMap::new();
    for seen in upstream.journal().all() {
        assert_eq!(seen.header("user-agent"), agent, "{}", seen.path);
        match seen.host {
            Host::Feed => {
                assert!(seen.header("accept-encoding").contains("gzip"), "{}", seen.path);
                let again = asked.entry(seen.path.clone()).or_default();
                *again += 1;
                if *again > 1 || file(&seen) == "sequence.json" {
                    assert_eq!(
                        seen.header("cache-control"),
                        "no-cache",
                        "{}, request number {again}",
                        seen.path
                    );
                }
                assert_eq!(
                    seen.header("if-none-match"),
                    "",
                    "the ingestor has no HTTP cache for the feed"
                );
            }
            Host::Esi => assert_eq!(seen.header("x-compatibility-date"), "2026-08-18", "{}", seen.path),
            Host::StaticData => {}
        }
    }
    assert!(
        asked["/ephemeral/sequence.json"] >= 2,
        "an idle feed makes the ingestor check sequence.json: {asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hole_is_rechecked_only_at_its_scheduled_times() {
    let upstream = FakeUpstream::start_with_sample().await;
    let all = documents(6);
    upstream.publish_all(all[..2].iter().cloned());
    let ingestor = TestIngestor::start(&upstream, &[("INGESTOR_FEED_HOLE_RECHECKS", "1s,2s,4s")]).await;
    ingestor.wait_for_killmails(2).await;
    let hole = upstream.reserve();
    upstream.publish_all(all[2..].iter().cloned());
    upstream.rewrite_sequence();
    ingestor.wait_for_killmails(6).await;
    let lost = async || ingestor.metric("killfeed_feed_gaps_total").await >= 1.0;
    eventually("the ingestor reports a gap", TEST_TIMEOUT, lost).await;
    let seen = upstream.journal().of(Host::Feed);
    let name = format!("{hole}.json");
    let times: Vec<Instant> = seen
        .iter()
        .filter(|seen| file(seen) == name)
        .map(|seen| seen.at)
        .collect();
    // The ingestor polls the sequence while it is the head. When the sequence is known to be below the head, only the
    // re-checks fetch it, at their times after its first 404.
    let waited: Vec<_> = times[times.len() - 3..].iter().map(|time| *time - times[0]).collect();
    assert!(
        waited
            .iter()
            .zip([1, 2, 4])
            .all(|(waited, seconds)| *waited >= Duration::from_secs(seconds)),
        "{waited:?}"
    );
    let beyond = upstream.next_number();
    let numbers = seen
        .iter()
        .filter_map(|seen| file(seen).strip_suffix(".json")?.parse::<u64>().ok());
    assert!(
        numbers.max() <= Some(beyond),
        "the ingestor requests nothing beyond the head"
    );
}

/// Returns the ids of everyone in these killmails with a name in ESI.
fn people(documents: &[Value]) -> HashSet<u64> {
    let attackers = |document: &Value| document["esi"]["attackers"].as_array().cloned().unwrap_or_default();
    let participants = documents.iter().flat_map(|document| {
        let victim = document["esi"]["victim"].clone();
        attackers(document).into_iter().chain([victim])
    });
    let ids = |one: Value| ["character_id", "corporation_id", "alliance_id"].map(|field| one[field].as_u64());
    participants.flat_map(ids).flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn name_lookups_stay_below_esi_limits_and_are_cached() {
    let upstream = FakeUpstream::start().await;
    let documents: Vec<Value> = corpus::some(260);
    let count = documents.len();
    upstream.publish_all(documents.iter().cloned());
    // Some ids have no name in ESI. Each of them fails every batch that contains it.
    let victims = documents
        .iter()
        .filter_map(|document| document["esi"]["victim"]["character_id"].as_u64());
    let nameless: Vec<u64> = victims.step_by(200).collect();
    upstream.names(|names| nameless.iter().for_each(|id| names.forget(*id)));
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(count as u64).await;
    let settled = |times: usize| upstream.journal().of(Host::Esi).len() == times;
    let mut before = 0;
    eventually("all names are looked up", 5 * TEST_TIMEOUT, async || {
        let quiet = before > 0 && settled(before);
        before = upstream.journal().of(Host::Esi).len();
        pass(Duration::from_secs(1)).await;
        quiet
    })
    .await;
    let seen = upstream.journal().of(Host::Esi);
    let failed = |seen: &&RecordedRequest| seen.status.is_some_and(|status| status >= 400);
    let failures: Vec<&RecordedRequest> = seen.iter().filter(failed).collect();
    assert!(
        failures.iter().all(|seen| seen.status == Some(404)),
        "no failure other than 404, and so no 420"
    );
    // ESI allows 100 failures per minute.
    let minute = Duration::from_secs(60);
    let within = |first: &&RecordedRequest| {
        failures
            .iter()
            .filter(|seen| seen.at >= first.at && seen.at - first.at < minute)
            .count()
    };
    let most = failures.iter().map(within).max().unwrap_or(0);
    assert!((1..=60).contains(&most), "{most} failures within a minute");
    // The ingestor fetches 20 tickers per second in groups of four, each group after the responses to the previous one.
    // After an idle time, the limiter also allows the requests of one more second and the group at its end.
    let is_ticker =
        |seen: &&RecordedRequest| seen.path.starts_with("/corporations/") || seen.path.starts_with("/alliances/");
    let times: Vec<Instant> = seen.iter().filter(is_ticker).map(|seen| seen.at).collect();
    let a_second_from = |first: Instant| {
        let after = times.iter().filter(|at| **at >= first);
        after.filter(|at| **at - first < Duration::from_secs(1)).count()
    };
    let busiest = times.iter().map(|first| a_second_from(*first)).max().unwrap_or(0);
    assert!(
        (1..=20 + 24 + 4).contains(&busiest),
        "{busiest} ticker requests within a second"
    );
    // One request for names per batch of killmails and per thousand ids. A failed request is split into two halves.
    let named = seen.iter().filter(|seen| seen.path == "/universe/names");
    let (refused, named): (Vec<&RecordedRequest>, Vec<&RecordedRequest>) = named.partition(failed);
    let batches = ingestor.metric("killfeed_log_append_seconds_count").await as usize;
    let thousands = people(&documents).len() / 1_000;
    println!(
        "{} requests for names succeeded and {} failed, for {batches} batches; at most {busiest} tickers per second",
        named.len(),
        refused.len()
    );
    assert!(
        named.len() <= refused.len() + batches + thousands,
        "{} requests for names succeeded and {} failed, for {batches} batches",
        named.len(),
        refused.len()
    );
    let mut organisations: HashMap<&str, usize> = HashMap::new();
    for seen in seen.iter().filter(is_ticker) {
        *organisations.entry(&seen.path).or_default() += 1;
    }
    assert!(
        organisations.values().all(|times| *times == 1),
        "each ticker is requested once"
    );

    // All names are on disk: the same participants cause no further requests, even after a restart.
    ingestor.kill_and_begin().await;
    let asked = upstream.journal().of(Host::Esi).len();
    let again = documents.iter().take(100).cloned().map(|mut document| {
        document["zkb"]["totalValue"] = 1.into();
        document
    });
    let (_, last) = upstream.publish_all(again);
    at_the_head(&ingestor, last + 1).await;
    let more = upstream.journal().of(Host::Esi).len() - asked;
    assert!(more <= 25, "{more} requests for participants with known names");
}

#[tokio::test(flavor = "multi_thread")]
async fn esi_ban_holds_across_crashes_and_delays_only_names() {
    let upstream = FakeUpstream::start_with_sample().await;
    let all = documents(20);
    upstream.host_fault(Host::Esi, Fault::TooManyRequests(Some(600)), None);
    upstream.publish_all(all[..10].iter().cloned());
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(10).await;
    let refused = upstream.journal().of(Host::Esi).len();
    assert!(
        (1..=8).contains(&refused),
        "{refused} requests before the ban took effect"
    );
    upstream.heal(Host::Esi);
    for document in &all[10..] {
        upstream.publish(document.clone());
        ingestor.kill_and_begin().await;
    }
    ingestor.wait_for_killmails(20).await;
    assert_eq!(upstream.journal().of(Host::Esi).len(), refused);
}
