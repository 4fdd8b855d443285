//! The fakes of zKillboard, ESI and static data answer as the real hosts do.
//!
//! The other tests rely on them.

use std::{collections::HashSet, time::Duration};

use killfeed_support::{
    FakeUpstream,
    corpus::{self, SampleLine},
    fake_upstream::{FIRST, Fault, Host},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::TEST_TIMEOUT;

fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().user_agent("killfeed-tests/0 (nobody@example.com)");
    builder.timeout(TEST_TIMEOUT).build().unwrap()
}

fn document(upstream: &FakeUpstream, number: u64) -> String {
    format!("{}/ephemeral/{number}.json", upstream.feed_url())
}

fn killmail(id: u64) -> Value {
    json!({
        "killmail_id": id, "hash": format!("{id:040x}"), "uploaded_at": 1_787_227_200,
        "esi": {
            "killmail_id": id, "killmail_time": "2026-08-18T00:00:00Z", "solar_system_id": 30_000_142,
            "victim": {"character_id": 2_112_000_001, "corporation_id": 98_000_001, "damage_taken": 1, "ship_type_id": 670},
            "attackers": [{"character_id": 2_112_000_002, "damage_done": 1, "final_blow": true, "security_status": 0.1}]
        },
        "zkb": {"hash": format!("{id:040x}"), "labels": []}
    })
}

#[tokio::test]
async fn feed_serves_files_by_sequence_and_sequence_json_lags() {
    let upstream = FakeUpstream::start_with_sample().await;
    let client = client();
    let sequence = async || {
        let url = format!("{}/ephemeral/sequence.json", upstream.feed_url());
        let answer: Value = client.get(url).send().await.unwrap().json().await.unwrap();
        answer["sequence"].as_u64().unwrap()
    };
    assert_eq!(sequence().await, FIRST);

    let (first, last) = upstream.publish_all((1..=51).map(killmail));
    assert_eq!((first, last), (FIRST, FIRST + 50));
    assert_eq!(
        sequence().await,
        FIRST,
        "the fake rewrites sequence.json only after more than 50 sequences"
    );
    upstream.publish(killmail(52));
    assert_eq!(sequence().await, FIRST + 51);

    let answer: Value = client
        .get(document(&upstream, FIRST))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(answer["sequence_id"], FIRST);
    assert_eq!(answer["killmail_id"], 1);
    let beyond = client.get(document(&upstream, FIRST + 52)).send().await.unwrap();
    assert_eq!(beyond.status(), 404);
    assert_eq!(upstream.journal().of(Host::Feed).len(), 5);
    assert!(
        upstream.journal().all()[0]
            .header("user-agent")
            .contains("nobody@example.com")
    );
}

#[tokio::test]
async fn faults_replace_the_document() {
    let upstream = FakeUpstream::start_with_sample().await;
    let client = client();
    let number = upstream.publish(killmail(1));
    let ask = async || client.get(document(&upstream, number)).send().await.unwrap();

    upstream.fault(number, Fault::TooManyRequests(Some(7)), Some(1));
    let banned = ask().await;
    assert_eq!(banned.status(), 429);
    assert_eq!(banned.headers()["retry-after"], "7");
    assert_eq!(
        ask().await.status(),
        200,
        "a fault for one request ends after that request"
    );

    upstream.fault(number, Fault::TruncatedGzip, Some(1));
    assert!(ask().await.bytes().await.is_err());
    upstream.fault(number, Fault::Cut, Some(1));
    assert!(ask().await.bytes().await.is_err());
    upstream.fault(number, Fault::StallInBody, Some(1));
    // The fake sends headers and a part of the body, and never the rest.
    let mut stalled = ask().await;
    let body = async { while stalled.chunk().await.unwrap().is_some() {} };
    assert!(timeout(Duration::from_secs(1), body).await.is_err());
    upstream.fault(number, Fault::Empty, Some(1));
    assert!(ask().await.bytes().await.unwrap().is_empty());

    upstream.host_fault(Host::Feed, Fault::Forbidden, None);
    assert_eq!(ask().await.status(), 403);
    upstream.heal(Host::Feed);
    assert_eq!(ask().await.status(), 200);
}

#[tokio::test]
async fn esi_names_published_ids_and_rejects_batches_with_bad_ids() {
    let upstream = FakeUpstream::start_with_sample().await;
    let client = client();
    upstream.publish_without_esi(killmail(1));
    upstream.names(|names| names.corporation(98_000_001, "Bruised Knuckles", "BRUIS"));
    let names = async |ids: &[u64]| {
        let url = format!("{}/universe/names", upstream.esi_url());
        client.post(url).json(&ids).send().await.unwrap()
    };
    let answer = names(&[2_112_000_001, 98_000_001]).await;
    assert!(answer.headers().contains_key("x-esi-error-limit-remain"));
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer[0]["category"], "character");
    assert_eq!(answer[1]["name"], "Bruised Knuckles");
    assert_eq!(names(&[98_000_001, 2_112_999_999]).await.status(), 404);

    let get = async |path: &str| client.get(upstream.esi_url() + path).send().await.unwrap();
    let corporation: Value = get("/corporations/98000001").await.json().await.unwrap();
    assert_eq!(corporation["ticker"], "BRUIS");
    let body = get(&format!("/killmails/1/{:040x}", 1)).await;
    assert_eq!(body.headers()["x-ratelimit-group"], "killmail");
    assert_eq!(body.json::<Value>().await.unwrap()["killmail_id"], 1);
    assert_eq!(get("/killmails/1/0000").await.status(), 422);
}

/// Checks the variety of the sample, on which the demo and the tests rely.
#[tokio::test]
async fn bundled_sample_is_varied_and_the_fakes_serve_it() {
    let upstream = FakeUpstream::start_with_sample().await;
    let feed = corpus::sample_feed();
    assert!(feed.iter().any(|entry| matches!(entry, SampleLine::WithoutEsi(_))));
    assert!(feed.contains(&SampleLine::Placeholder));
    let killmails = corpus::sample();
    assert!(killmails.len() >= 40);
    assert!(killmails.len() + 1 < feed.len(), "the sample repeats a killmail");
    let most = killmails
        .iter()
        .filter_map(|killmail| killmail["esi"]["attackers"].as_array().map(Vec::len))
        .max();
    assert_eq!(most, Some(300));
    for label in [
        "loc:highsec",
        "loc:lowsec",
        "loc:nullsec",
        "loc:w-space",
        "loc:pochven",
        "cat:65",
        "npc",
        "awox",
        "ganked",
        "isk:100b+",
    ] {
        let labels = |killmail: &Value| {
            killmail["zkb"]["labels"]
                .as_array()
                .is_some_and(|all| all.contains(&label.into()))
        };
        assert!(
            killmails.iter().any(labels),
            "the sample has no killmail labeled {label}"
        );
    }
    feed.into_iter().for_each(|entry| {
        upstream.play(entry);
    });

    // Every id in the sample has a name.
    let mut ids = HashSet::new();
    for killmail in &killmails {
        collect_ids(&killmail["esi"], &mut ids);
    }
    let ids: Vec<u64> = ids.into_iter().collect();
    assert!(ids.len() > 400);
    for batch in ids.chunks(1_000) {
        let url = format!("{}/universe/names", upstream.esi_url());
        assert_eq!(client().post(url).json(&batch).send().await.unwrap().status(), 200);
    }
    let latest = format!("{}/tranquility/latest.jsonl", upstream.static_data_url());
    let latest: Value = client().get(latest).send().await.unwrap().json().await.unwrap();
    assert_eq!(latest["buildNumber"], corpus::SAMPLE_BUILD);
}

/// Collects every id in an ESI killmail that has a name.
fn collect_ids(value: &Value, ids: &mut HashSet<u64>) {
    const NAMED: [&str; 8] = [
        "character_id",
        "corporation_id",
        "alliance_id",
        "faction_id",
        "ship_type_id",
        "weapon_type_id",
        "item_type_id",
        "solar_system_id",
    ];
    match value {
        Value::Object(fields) => fields.iter().for_each(|(field, value)| match value.as_u64() {
            Some(id) if NAMED.contains(&field.as_str()) => {
                ids.insert(id);
            }
            _ => collect_ids(value, ids),
        }),
        Value::Array(values) => values.iter().for_each(|value| collect_ids(value, ids)),
        _ => {}
    }
}
