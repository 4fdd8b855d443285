//! The feed's figures: `cargo run --release --example feed_figures` prints them as a table.
//!
//! A real ingestor process against the stand-in zKillboard and ESI on loopback. A live day is played a hundred times faster
//! than life (documents and the poll interval alike), so that the requests per killmail are those of the day; times that the
//! ingestor itself needs are not scaled and are given as they are.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot be made ends with the reason"
)]

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use killfeed::client::{Client, Follow, Start, What};
use killfeed_support::{
    Upstream, corpus,
    pair::{Pair, ready},
    process::{Binary, Service, eventually},
    upstream::Host,
};
use serde_json::Value;

/// How much faster than life the day goes.
const FASTER: f64 = 100.0;
/// An ordinary day.
const DOCUMENTS_A_DAY: f64 = 16_000.0;
/// Killmails that the cache of names has seen before the day begins.
const WARM: usize = 1_000;

struct Ingestor {
    service: Service,
    client: Client,
    _pair: Pair,
}

async fn ingestor(upstream: &Upstream, poll: &str) -> Ingestor {
    let pair = Pair::new();
    let settings = pair.ingestor(upstream, &[("INGESTOR_FEED_POLL_INTERVAL", poll), ("RUST_LOG", "warn")]);
    Ingestor {
        service: ready(Binary::Ingestor, &settings).await,
        client: Client::builder().endpoint(pair.url()).build().unwrap(),
        _pair: pair,
    }
}

/// Until so many killmails are in the log: when each came out of a stream.
async fn follow(client: &Client, count: usize) -> HashMap<u64, Instant> {
    let mut events = client.follow(Follow::new("", Start::Earliest));
    let mut come = HashMap::new();
    while come.len() < count {
        let event = tokio::time::timeout(Duration::from_secs(120), events.next()).await;
        if let What::Killmail(killmail) = event.expect("in time").unwrap().what {
            come.insert(killmail.feed_sequence, Instant::now());
        }
    }
    come
}

/// The same killmail as another one.
fn renumbered(document: &Value, id: u64) -> Value {
    let mut document = document.clone();
    document["killmail_id"] = id.into();
    document["esi"]["killmail_id"] = id.into();
    document
}

fn percentile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * part) as usize]
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}

/// Documents a second from a backlog, with names from a stand-in that answers at once.
async fn catch_up(documents: &[Value]) -> String {
    let upstream = Upstream::start().await;
    let count = 10_000;
    let many = (0..count).map(|n| renumbered(&documents[n % documents.len()], 200_000_000 + n as u64));
    upstream.publish_all(many);
    upstream.rewrite_sequence();
    let ingestor = ingestor(&upstream, "50ms").await;
    let begun = upstream.journal().of(Host::Feed)[0].at;
    let come = follow(&ingestor.client, count).await;
    let took = come.values().max().unwrap().duration_since(begun).as_secs_f64();
    ingestor.service.stop().await;
    format!("{:.0} documents/s ({count} in {took:.1} s)", count as f64 / took)
}

/// One part of a day: requests to zKillboard and ESI per killmail, and the times.
struct Day {
    feed: f64,
    esi: f64,
    killmails: usize,
    available: Vec<Duration>,
    fetched: Vec<Duration>,
}

async fn live_day(documents: &[Value], poll: Duration) -> Day {
    let upstream = Upstream::start().await;
    let scaled = poll.div_f64(FASTER);
    upstream.publish_all(documents[..WARM].iter().cloned());
    let ingestor = ingestor(&upstream, &format!("{}ms", scaled.as_millis())).await;
    follow(&ingestor.client, WARM).await;
    let esi = || upstream.journal().of(Host::Esi).len();
    let mut before = usize::MAX;
    eventually("the names have come", Duration::from_secs(300), async || {
        let quiet = before == esi();
        before = esi();
        tokio::time::sleep(Duration::from_secs(1)).await;
        quiet
    })
    .await;
    upstream.journal().clear();
    let day = &documents[WARM..];
    let (client, wanted) = (ingestor.client.clone(), WARM + day.len());
    let follower = tokio::spawn(async move { follow(&client, wanted).await });
    let mean = 86_400.0 / DOCUMENTS_A_DAY / FASTER;
    let mut published = Vec::new();
    let mut due = Instant::now();
    for document in day {
        // Arrivals that know nothing of each other: exponential times between them.
        due += Duration::from_secs_f64(-mean * (1.0 - fastrand::f64()).ln());
        tokio::time::sleep_until(due.into()).await;
        let mut document = document.clone();
        corpus::set_times(&mut document, SystemTime::now(), SystemTime::now());
        published.push((upstream.publish(document), Instant::now()));
    }
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
    let esi = esi();
    ingestor.service.stop().await;
    Day {
        feed: requests as f64 / day.len() as f64,
        esi: esi as f64 / day.len() as f64,
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
        "these figures need the killmails of ../shared/data beside the project"
    );
    println!("| figure | value |\n|---|---|");
    println!(
        "| catch-up with the rate limit lifted | {} |",
        catch_up(&documents).await
    );
    for seconds in [6, 60] {
        let mut day = live_day(&documents, Duration::from_secs(seconds)).await;
        println!(
            "| requests to zKillboard per killmail, polling every {seconds} s | {:.2} |",
            day.feed
        );
        println!(
            "| requests to ESI per killmail, {WARM} killmails' names known before ({} measured) | {:.2} |",
            day.killmails, day.esi
        );
        println!(
            "| from the request that found a document to its arrival on a stream, median / 99 % | {} / {} |",
            ms(percentile(&mut day.fetched, 0.5)),
            ms(percentile(&mut day.fetched, 0.99))
        );
        let real = |time: Duration| format!("{:.1} s", time.as_secs_f64() * FASTER);
        println!(
            "| from a document's availability to its log record, in the day's time, median / 99 % | {} / {} |",
            real(percentile(&mut day.available, 0.5)),
            real(percentile(&mut day.available, 0.99))
        );
    }
}
