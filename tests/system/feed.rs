//! Tests of the feed: the real ingestor against a fake zKillboard and a fake ESI with faults.

mod chaos;
mod health;
mod rate_limits;
mod updates;

use killfeed_support::{corpus, process::eventually};
use serde_json::Value;

use crate::harness::{TEST_TIMEOUT, TestIngestor};

/// Returns `count` different killmails with their bodies. None of them has the `ganked` label.
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

/// Waits until the walk has read everything before sequence `next`.
async fn at_the_head(ingestor: &TestIngestor, next: u64) {
    eventually("the walk is at the head", TEST_TIMEOUT, async || {
        ingestor.status().await.upstream_sequence == next
    })
    .await;
}
