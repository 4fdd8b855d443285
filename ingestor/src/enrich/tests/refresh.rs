//! What is kept over time: names and tickers that are refreshed, static data that is checked each day, refusals.

use std::sync::Arc;

use super::*;
use crate::enrich::cache::{NameEntry, NameStore};

/// Long ago, in seconds since 1970.
const LONG_AGO: u64 = 1_700_000_000;

/// What was known before this start, of so long ago that it is asked for again.
fn known_before(dir: &Path, entries: &[(EntityKind, u64, &str, &str, &str)]) {
    let store = NameStore::open(dir).unwrap();
    let entry = |(kind, id, name, ticker, _): &(EntityKind, u64, &str, &str, &str)| {
        let named = NameEntry {
            name: (*name).into(),
            ticker: (*ticker).into(),
            name_at: LONG_AGO,
            ticker_at: LONG_AGO,
        };
        ((*kind, *id), Arc::new(named))
    };
    store.put(&entries.iter().map(entry).collect::<Vec<_>>());
    let tag = |(kind, id, _, _, tag): &(EntityKind, u64, &str, &str, &str)| ((*kind, *id), (*tag).to_owned());
    store.put_tags(&entries.iter().map(tag).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_old_is_given_at_once_and_refreshed_with_a_conditional_request() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    known_before(
        dir.path(),
        &[
            (EntityKind::Character, PILOT, "Some Pilot", "", ""),
            // Nothing changed here.
            (
                EntityKind::Alliance,
                ALLIANCE,
                "Some Alliance",
                "ALLY",
                "W/\"Some Alliance ALLY\"",
            ),
            // This one was renamed meanwhile.
            (
                EntityKind::Corporation,
                CORPORATION,
                "Old Name",
                "OLD",
                "W/\"Old Name OLD\"",
            ),
        ],
    );
    let enrich = opened(&stand_in, dir.path()).await;
    let done = enriched(&enrich, PILOT).await;
    assert_eq!(
        name(&done, EntityKind::Corporation),
        Some("Old Name"),
        "nobody waits for a refresh"
    );
    loop {
        // Nobody waits in there for what is known: the lanes need their turn.
        time::sleep(Duration::from_millis(1)).await;
        let done = enriched(&enrich, PILOT).await;
        let ticker = |kind| {
            done.entities
                .iter()
                .find(|entity| entity.kind() == kind)
                .unwrap()
                .ticker
                .clone()
        };
        if ticker(EntityKind::Corporation) == "CORP" {
            assert_eq!(name(&done, EntityKind::Corporation), Some("Some Corporation"));
            assert_eq!(ticker(EntityKind::Alliance), "ALLY");
            break;
        }
    }
    assert_eq!(
        stand_in.world(|world| world.not_modified),
        1,
        "the alliance was not sent again"
    );
    // Both are fresh now.
    let asked = stand_in.requests("/organisation/").len();
    assert_eq!(asked, 2);
    for _ in 0..20 {
        enriched(&enrich, PILOT).await;
    }
    assert_eq!(stand_in.requests("/organisation/").len(), asked);
}

#[tokio::test]
async fn a_refusal_by_esi_outlives_the_process() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    let token = tokio_util::sync::CancellationToken::new();
    let enrich = Enricher::open(stand_in.settings(dir.path()), token.clone())
        .await
        .unwrap();
    enrich.wait_ready().await;
    stand_in.world(|world| world.mood = Mood::Refusing(600));
    enriched(&enrich, PILOT).await;
    // Until it is on disk.
    while enrich.names.cached_refusals().await.is_empty() {
        tokio::task::yield_now().await;
    }
    token.cancel();
    drop(enrich);
    stand_in.world(|world| world.mood = Mood::Well);
    let esi = |stand_in: &StandIn| stand_in.requests("/universe/").len() + stand_in.requests("/organisation/").len();
    let before = esi(&stand_in);
    let after = reopened(&stand_in, dir.path()).await;
    for _ in 0..20 {
        let without = enriched(&after, PILOT).await;
        assert_eq!(name(&without, EntityKind::Character), None);
    }
    assert!(matches!(
        after.killmail_body(KillmailId(5), "00ab").await,
        Err(EsiError::Unavailable { retry_in }) if retry_in > Duration::from_secs(500)
    ));
    assert_eq!(esi(&stand_in), before, "not one request");
}

#[tokio::test(start_paused = true)]
async fn a_new_build_is_found_within_a_day_and_swapped_at_once() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    let enrich = opened(&stand_in, dir.path()).await;
    assert_eq!(enrich.static_build(), "7");
    let checks = |stand_in: &StandIn| stand_in.requests("/static/latest.jsonl").len();
    let archives = |stand_in: &StandIn| stand_in.requests("/static/eve-online").len();
    // A day without a new one costs one small request.
    let begun = Instant::now();
    while checks(&stand_in) < 3 {
        time::sleep(Duration::from_secs(600)).await;
    }
    let passed = begun.elapsed();
    assert!(passed > Duration::from_secs(2 * 24 * 3600 - 3600), "{passed:?}");
    assert_eq!(archives(&stand_in), 1);
    let mut members = small_members();
    members[4]
        .1
        .push_str("{\"_key\":588,\"name\":{\"en\":\"Reaper\"},\"groupID\":25,\"published\":true}\n");
    stand_in.world(|world| world.archive = Some((8, zip(&members))));
    let begun = Instant::now();
    let held = enrich.universe().static_data().unwrap();
    while enrich.static_build() == "7" {
        time::sleep(Duration::from_secs(600)).await;
    }
    assert!(
        begun.elapsed() <= Duration::from_secs(25 * 3600),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(enrich.static_build(), "8");
    let new = enrich.universe().static_data().unwrap();
    assert_eq!(new.name(EntityKind::Type, 588), Some("Reaper"));
    assert_eq!(
        held.name(EntityKind::Type, 588),
        None,
        "who reads the old one reads on undisturbed"
    );
}
