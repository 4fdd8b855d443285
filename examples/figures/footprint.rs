//! Measures the start time and memory of both services: `cargo run --release --example footprint`.
//!
//! The services run as real processes against a fake zKillboard. They use CCP's complete static data if `../shared/data`
//! exists. Otherwise they use the bundled sample, which says little about memory; the output says which one it was.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed measurement should stop with the reason"
)]

use std::{fmt::Write as _, time::Duration};

use killfeed_support::{
    FakeUpstream, corpus,
    pair::{Pair, ready},
    process::{Binary, eventually},
};
use tokio::time::Instant;

const SUBSCRIPTIONS: usize = 1_000;

#[tokio::main]
async fn main() {
    let upstream = FakeUpstream::start().await;
    let corpus = corpus::best();
    let pair = Pair::new();
    let settings = pair.ingestor(&upstream, &[]);
    // The first start is not measured, because it downloads the static data and builds the programs.
    ready(Binary::Ingestor, &settings).await.stop().await;

    let mut starts = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let ingestor = ready(Binary::Ingestor, &settings).await;
        starts.push(begun.elapsed());
        ingestor.stop().await;
    }
    starts.sort();

    let ingestor = ready(Binary::Ingestor, &settings).await;
    let ingestor_ready = ingestor.resident().unwrap();
    let documents = corpus.documents.len();
    upstream.publish_all(corpus.documents);
    let client = killfeed::client::Client::builder()
        .endpoint(pair.url())
        .build()
        .unwrap();
    let begun = Instant::now();
    eventually("all documents are in the log", Duration::from_secs(300), async || {
        let status = client
            .killmails()
            .get_feed_status(killfeed::v1::GetFeedStatusRequest {})
            .await;
        status.is_ok_and(|status| status.get_ref().killmails >= documents as u64)
    })
    .await;
    let walked = begun.elapsed();
    let ingestor_walked = ingestor.resident().unwrap();

    let console = [("NOTIFIER_SINK", "console".to_owned())];
    let notifier = ready(Binary::Notifier, &pair.notifier(&console, &many_subscriptions(), &[])).await;
    let notifier_ready = notifier.resident().unwrap();

    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / 1_048_576.0);
    let data = if corpus.real {
        "CCP's complete static data and real killmails"
    } else {
        "the bundled sample"
    };
    println!("measured with {data}\n");
    println!("| measurement | result | limit |\n|---|---|---|");
    println!(
        "| ingestor: start until ready, with cached static data (median of 5) | {:.2?} | < 2 s |",
        starts[2]
    );
    println!(
        "| ingestor: resident memory when ready | {} | < 200 MB |",
        mib(ingestor_ready)
    );
    println!(
        "| ingestor: resident memory after {documents} documents | {} | < 200 MB |",
        mib(ingestor_walked)
    );
    println!("| ingestor: {documents} documents from the fake zKillboard to the log | {walked:.2?} | - |");
    println!(
        "| notifier: resident memory with {SUBSCRIPTIONS} subscriptions | {} | < 60 MB |",
        mib(notifier_ready)
    );
    notifier.stop().await;
    ingestor.stop().await;
}

/// Returns a thousand typical subscriptions: distances, groups, values and places.
fn many_subscriptions() -> String {
    let filters = [
        "value>=1b",
        "region:Devoid group:(Dreadnought OR Marauder)",
        "space:(lowsec OR nullsec) attackers>=5 NOT npc",
        "attacker.alliance:498125261 -victim.alliance:498125261",
        "near(Turnur, 7ly) victim.category:Ship",
    ];
    (0..SUBSCRIPTIONS).fold(String::new(), |mut text, n| {
        let filter = filters[n % filters.len()];
        writeln!(
            text,
            "[[subscription]]\nname = \"number {n}\"\nguild = {}\nchannel = {}\nfilter = \"{filter}\"\n",
            1_000_000 + n / 10,
            2_000_000 + n
        )
        .unwrap();
        text
    })
}
