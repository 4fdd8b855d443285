//! Measures the feed: `cargo run --release --example feed_figures` prints a table.
//!
//! A real ingestor process runs against a fake zKillboard and ESI on loopback. A live day is played a hundred times faster,
//! documents and poll interval alike, so that the number of requests per killmail is that of a real day. The ingestor's
//! own processing times are not scaled.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed measurement should stop with the reason"
)]

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::{Duration, Instant, SystemTime},
};

use killfeed::client::{Client, EventKind, FollowOptions, Start};
use killfeed_support::{
    FakeUpstream, corpus,
    fake_upstream::Host,
    pair::{Pair, ready},
    process::{Binary, Service, eventually},
};
use serde_json::Value;

/// The factor by which the day is played faster.
const FASTER: f64 = 100.0;
/// The number of documents on a normal day.
const DOCUMENTS_A_DAY: f64 = 16_000.0;
/// The number of killmails whose names are cached before the day starts.
const WARM: usize = 1_000;

struct TestIngestor {
    service: Service,
    client: Client,
    _pair: Pair,
}

async fn ingestor(upstream: &FakeUpstream, poll: &str) -> TestIngestor {
    let pair = Pair::new();
    let settings = pair.ingestor(upstream, &[("INGESTOR_FEED_POLL_INTERVAL", poll), ("RUST_LOG", "warn")]);
    TestIngestor {
        service: ready(Binary::Ingestor, &settings).await,
        client: Client::builder().endpoint(pair.url()).build().unwrap(),
        _pair: pair,
    }
}

/// Follows the stream until `count` killmails have arrived, and returns their arrival times.
async fn follow(client: &Client, count: usize) -> HashMap<u64, Instant> {
    let mut events = client.follow(FollowOptions::new("", Start::Earliest));
    let mut come = HashMap::new();
    while come.len() < count {
        let event = tokio::time::timeout(Duration::from_secs(120), events.next()).await;
        if let EventKind::Killmail(killmail) = event.expect("in time").unwrap().kind {
            come.insert(killmail.feed_sequence, Instant::now());
        }
    }
    come
}

fn percentile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * part) as usize]
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}

/// Measures documents per second from a backlog, with an ESI that responds immediately.
async fn catch_up(documents: &[Value]) -> String {
    let upstream = FakeUpstream::start().await;
    let count = 10_000;
    let many = (0..count).map(|n| corpus::renumbered(&documents[n % documents.len()], 200_000_000 + n as u64));
    upstream.publish_all(many);
    upstream.rewrite_sequence();
    let ingestor = ingestor(&upstream, "50ms").await;
    let begun = upstream.journal().of(Host::Feed)[0].at;
    let come = follow(&ingestor.client, count).await;
    let took = come.values().max().unwrap().duration_since(begun).as_secs_f64();
    ingestor.service.stop().await;
    format!("{:.0} documents/s ({count} in {took:.1} s)", count as f64 / took)
}

/// The requests per killmail and the times of a day.
struct Day {
    feed: f64,
    esi: EsiRequests,
    /// The requests for the same killmails, published again under new ids.
    esi_again: EsiRequests,
    killmails: usize,
    available: Vec<Duration>,
    fetched: Vec<Duration>,
}

/// The number of requests to ESI, by route.
struct EsiRequests {
    by_kind: BTreeMap<String, usize>,
    killmails: usize,
}

impl EsiRequests {
    /// Counts the requests since the journal was cleared.
    fn of(upstream: &FakeUpstream, killmails: usize) -> Self {
        let mut by_kind = BTreeMap::new();
        for seen in upstream.journal().of(Host::Esi) {
            let words = seen.path.trim_start_matches('/').split(['/', '?']);
            let kind: Vec<&str> = words
                .filter(|word| word.parse::<u64>().is_err() && !word.is_empty())
                .collect();
            *by_kind.entry(kind.join("/")).or_default() += 1;
        }
        Self { by_kind, killmails }
    }
}

impl fmt::Display for EsiRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_killmail = |requests: usize| requests as f64 / self.killmails as f64;
        write!(f, "{:.2}", per_killmail(self.by_kind.values().sum()))?;
        let parts = self.by_kind.iter();
        let parts = parts.map(|(kind, requests)| format!("{kind} {:.2}", per_killmail(*requests)));
        match parts.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => Ok(()),
            parts => write!(f, " ({parts})"),
        }
    }
}

/// Waits until there are no more requests to ESI.
async fn quiet(upstream: &FakeUpstream) {
    let esi = || upstream.journal().of(Host::Esi).len();
    let mut before = usize::MAX;
    eventually("the names have arrived", Duration::from_secs(300), async || {
        let quiet = before == esi();
        before = esi();
        tokio::time::sleep(Duration::from_secs(1)).await;
        quiet
    })
    .await;
}

/// Publishes killmails at the pace of the day, with exponentially distributed intervals.
///
/// Returns each sequence with its publication time.
async fn publish(upstream: &FakeUpstream, day: impl Iterator<Item = Value>) -> Vec<(u64, Instant)> {
    let mean = 86_400.0 / DOCUMENTS_A_DAY / FASTER;
    let mut published = Vec::new();
    let mut due = Instant::now();
    for mut document in day {
        due += Duration::from_secs_f64(-mean * (1.0 - fastrand::f64()).ln());
        tokio::time::sleep_until(due.into()).await;
        corpus::set_times(&mut document, SystemTime::now(), SystemTime::now());
        published.push((upstream.publish(document), Instant::now()));
    }
    published
}

async fn live_day(documents: &[Value], poll: Duration) -> Day {
    let upstream = FakeUpstream::start().await;
    let scaled = poll.div_f64(FASTER);
    upstream.publish_all(documents[..WARM].iter().cloned());
    let ingestor = ingestor(&upstream, &format!("{}ms", scaled.as_millis())).await;
    follow(&ingestor.client, WARM).await;
    quiet(&upstream).await;
    upstream.journal().clear();
    let day = &documents[WARM..];
    let (client, wanted) = (ingestor.client.clone(), WARM + day.len());
    let follower = tokio::spawn(async move { follow(&client, wanted).await });
    let published = publish(&upstream, day.iter().cloned()).await;
    let come = follower.await.unwrap();
    let asked: HashMap<String, Instant> = upstream
        .journal()
        .of(Host::Feed)
        .into_iter()
        .filter(|seen| seen.status == Some(200))
        .map(|seen| (seen.path, seen.at))
        .collect();
    let requests = upstream.journal().of(Host::Feed).len();
    let since = |number: u64, time: Instant| come[&number].saturating_duration_since(time);
    let fetched = published.iter().map(|(number, _)| {
        let asked = asked[&format!("/ephemeral/{number}.json")];
        since(*number, asked)
    });
    let fetched = fetched.collect();
    let available = published.iter().map(|(number, time)| since(*number, *time)).collect();
    quiet(&upstream).await;
    let esi = EsiRequests::of(&upstream, day.len());
    upstream.journal().clear();
    let again = (300_000_000..)
        .zip(day)
        .map(|(id, document)| corpus::renumbered(document, id));
    publish(&upstream, again).await;
    follow(&ingestor.client, WARM + 2 * day.len()).await;
    quiet(&upstream).await;
    let esi_again = EsiRequests::of(&upstream, day.len());
    ingestor.service.stop().await;
    Day {
        feed: requests as f64 / day.len() as f64,
        esi,
        esi_again,
        killmails: day.len(),
        available,
        fetched,
    }
}

#[tokio::main]
async fn main() {
    let corpus = corpus::best();
    let documents: Vec<Value> = corpus.documents;
    assert!(
        documents.len() > WARM + 100,
        "this measurement needs the killmails in ../shared/data"
    );
    println!("| measurement | result |\n|---|---|");
    println!("| catch-up without the rate limit | {} |", catch_up(&documents).await);
    for seconds in [6, 60] {
        let mut day = live_day(&documents, Duration::from_secs(seconds)).await;
        println!(
            "| requests to zKillboard per killmail, polling every {seconds} s | {:.2} |",
            day.feed
        );
        println!(
            "| requests to ESI per killmail, with the names of {WARM} killmails cached ({} measured) | {} |",
            day.killmails, day.esi
        );
        println!("| the same when the same pilots appear again | {} |", day.esi_again);
        println!(
            "| from the request that fetched a document to its arrival on a stream, median / 99 % | {} / {} |",
            ms(percentile(&mut day.fetched, 0.5)),
            ms(percentile(&mut day.fetched, 0.99))
        );
        let real = |time: Duration| format!("{:.1} s", time.as_secs_f64() * FASTER);
        println!(
            "| from a document's publication to its arrival on a stream, in real-time scale, median / 99 % | {} / {} |",
            real(percentile(&mut day.available, 0.5)),
            real(percentile(&mut day.available, 0.99))
        );
    }
}
