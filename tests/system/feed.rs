//! The feed as a whole: the real ingestor against a stand-in zKillboard and ESI that misbehave.

mod chaos;
mod health;
mod rate_limits;
mod updates;

use killfeed_support::{corpus, process::eventually};
use serde_json::Value;

use crate::harness::{TEST_TIMEOUT, TestIngestor};

/// So many killmails with their bodies, each another one; none of them is ganked.
fn documents(count: usize) -> Vec<Value> {
    let sample: Vec<Value> = corpus::sample()
        .into_iter()
        .filter(|document| !is_ganked(document))
        .collect();
    let numbered = |(document, id): (&Value, u64)| {
        let mut document = document.clone();
        document["killmail_id"] = id.into();
        document["esi"]["killmail_id"] = id.into();
        document
    };
    sample
        .iter()
        .cycle()
        .zip(140_000_000..)
        .map(numbered)
        .take(count)
        .collect()
}

fn is_ganked(document: &Value) -> bool {
    let labels = document["zkb"]["labels"].as_array();
    labels.is_none_or(|labels| labels.contains(&"ganked".into()))
}

fn id(document: &Value) -> u64 {
    document["killmail_id"].as_u64().unwrap()
}

/// Waits until the walk has nothing more to read.
async fn at_the_head(ingestor: &TestIngestor, next: u64) {
    eventually("the walk is at the head", TEST_TIMEOUT, async || {
        ingestor.status().await.upstream_sequence == next
    })
    .await;
}
