//! The enricher as a whole, against a stand-in for ESI and for CCP's static data.

mod refresh;
pub(crate) mod fake_esi;

use std::{path::Path, time::Duration};

use killfeed::{
    id::KillmailId,
    v1::{Attacker, Entity, EntityKind, Item, Killmail, Location, Position3d, Space, Victim},
};
use serde_json::json;
use tokio::time::{self, Instant};

use fake_esi::{Mood, StandIn};

use super::{
    Enricher, NAMES_TIMEOUT,
    esi::EsiError,
    sde::test_data::{small_members, zip},
};

const PILOT: u64 = 90_000_001;
const CORPORATION: u64 = 98_000_001;
const ALLIANCE: u64 = 99_000_001;

async fn world() -> StandIn {
    let stand_in = StandIn::start().await;
    stand_in.world(|world| {
        world.archive = Some((7, zip(&small_members())));
        world.names.insert(PILOT, ("Some Pilot", "character", ""));
        world
            .names
            .insert(CORPORATION, ("Some Corporation", "corporation", "CORP"));
        world.names.insert(ALLIANCE, ("Some Alliance", "alliance", "ALLY"));
    });
    stand_in
}

fn killmail(character_id: u64) -> Killmail {
    Killmail {
        killmail_id: 1,
        location: Some(Location {
            system_id: 30_000_001,
            celestial_id: 40_000_001,
            ..Location::default()
        }),
        victim: Some(Victim {
            character_id,
            corporation_id: CORPORATION,
            alliance_id: ALLIANCE,
            faction_id: 500_001,
            ship_type_id: 587,
            items: vec![Item {
                type_id: 587,
                items: vec![Item {
                    type_id: 587,
                    ..Item::default()
                }],
                ..Item::default()
            }],
            ..Victim::default()
        }),
        attackers: vec![Attacker {
            ship_type_id: 587,
            weapon_type_id: 587,
            corporation_id: CORPORATION,
            ..Attacker::default()
        }],
        ..Killmail::default()
    }
}

fn dictionary(killmail: &Killmail) -> Vec<String> {
    let line = |entity: &Entity| format!("{:?} {} {} [{}]", entity.kind(), entity.id, entity.name, entity.ticker);
    killmail.entities.iter().map(line).collect()
}

fn name(killmail: &Killmail, kind: EntityKind) -> Option<&str> {
    killmail
        .entities
        .iter()
        .find(|entity| entity.kind() == kind)
        .map(|entity| &*entity.name)
}

async fn enriched(enrich: &Enricher, character_id: u64) -> Killmail {
    let mut killmails = [killmail(character_id)];
    enrich.enrich(&mut killmails).await;
    let [killmail] = killmails;
    killmail
}

/// Enriched with everything that ESI has to say, however slow the machine is.
async fn complete(enrich: &Enricher) -> Killmail {
    loop {
        let done = enriched(enrich, PILOT).await;
        let complete = |entity: &Entity| {
            !entity.ticker.is_empty() || !matches!(entity.kind(), EntityKind::Corporation | EntityKind::Alliance)
        };
        if done.entities.len() == 10 && done.entities.iter().all(complete) {
            return done;
        }
    }
}

async fn opened(stand_in: &StandIn, data_dir: &Path) -> Enricher {
    let enrich = stand_in.enrich(data_dir).await;
    enrich.wait_ready().await;
    enrich
}

#[tokio::test]
async fn what_happened_at_a_stargate_says_where_that_leads() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    let enrich = opened(&stand_in, dir.path()).await;
    let at = async |x: f64| {
        let mut killmails = [killmail(PILOT)];
        let position = Position3d { x, y: -2e11, z: 3e12 };
        killmails[0].location.as_mut().unwrap().position = Some(position);
        enrich.enrich(&mut killmails).await;
        let [killmail] = killmails;
        let location = killmail.location.clone().unwrap();
        assert_eq!(location.position, Some(position));
        let named = killmail
            .entities
            .iter()
            .any(|entity| entity.kind() == EntityKind::System && entity.id == 30_000_002);
        (location.gate_to_system_id, location.gate_to_system_name, named)
    };
    assert_eq!(at(1e12 + 20_000.0).await, (30_000_002, "Beta".to_owned(), true));
    assert_eq!(at(1.1e12).await, (0, String::new(), false));
    let without = enriched(&enrich, PILOT).await.location.unwrap();
    assert_eq!(without.gate_to_system_id, 0);
}

#[tokio::test]
async fn a_killmail_gets_places_groups_and_names() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    let enrich = opened(&stand_in, dir.path()).await;
    assert_eq!(enrich.static_build(), "7");
    let done = complete(&enrich).await;
    insta::assert_snapshot!(dictionary(&done).join("\n"));
    let location = done.location.as_ref().unwrap();
    assert_eq!(
        (location.space(), location.wormhole_class, location.celestial_id),
        (Space::Lowsec, 8, 40_000_001)
    );
    assert_eq!((&*location.region_name, location.security_status), ("Testland", 0.3));
    let victim = done.victim.as_ref().unwrap();
    assert_eq!((victim.ship_group_id, victim.ship_category_id), (25, 6));
    assert_eq!((victim.items[0].group_id, victim.items[0].items[0].group_id), (25, 25));
    let attacker = &done.attackers[0];
    assert_eq!(
        (
            attacker.ship_group_id,
            attacker.ship_category_id,
            attacker.weapon_group_id
        ),
        (25, 6, 25)
    );
    // All names in one request, each ticker in one; and nothing is asked for twice, not even by the next process.
    let again = enriched(&enrich, PILOT).await;
    assert_eq!(again, done);
    assert_eq!(stand_in.requests("/universe/names"), [3]);
    assert_eq!(stand_in.requests("/organisation/").len(), 2);
    stand_in.world(|world| {
        assert_eq!(world.headers["user-agent"], "killfeed/test (tests@example.com)");
        assert_eq!(world.headers["x-compatibility-date"], "2026-08-18");
    });
}

#[tokio::test]
async fn names_and_static_data_outlive_the_process_and_the_network() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    let token = tokio_util::sync::CancellationToken::new();
    let enrich = Enricher::open(stand_in.settings(dir.path()), token.clone())
        .await
        .unwrap();
    enrich.wait_ready().await;
    let before = complete(&enrich).await;
    token.cancel();
    drop(enrich);
    stand_in.world(|world| world.mood = Mood::Down);
    let after = reopened(&stand_in, dir.path()).await;
    assert!(after.ready());
    assert_eq!(enriched(&after, PILOT).await, before);
    let without = enriched(&after, PILOT + 1).await;
    assert_eq!(name(&without, EntityKind::Character), None);
    assert_eq!(name(&without, EntityKind::Corporation), Some("Some Corporation"));
}

/// The lanes of the process before let go of the file once their tasks have ended.
async fn reopened(stand_in: &StandIn, data_dir: &Path) -> Enricher {
    for _ in 0..1_000 {
        match Enricher::open(stand_in.settings(data_dir), Default::default()).await {
            Ok(enrich) => return enrich,
            Err(super::EnrichOpenError::Names(super::CacheError::Locked { .. })) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the names are still locked");
}

#[tokio::test]
async fn without_network_and_cache_it_opens_is_not_ready_and_becomes_so() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    stand_in.world(|world| world.mood = Mood::Down);
    let enrich = stand_in.enrich(dir.path()).await;
    assert!(!enrich.ready());
    assert_eq!(enrich.static_build(), "");
    stand_in.world(|world| world.mood = Mood::Well);
    enrich.wait_ready().await;
    assert!(enrich.ready());
}

#[tokio::test]
async fn a_broken_archive_changes_nothing_and_the_next_good_one_is_taken() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    stand_in.world(|world| world.archive = Some((8, b"half of an archive".to_vec())));
    let enrich = stand_in.enrich(dir.path()).await;
    while stand_in.requests("/static/eve-online").is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!enrich.ready());
    // It is asked after again and again, but the archive itself is not fetched over and over.
    while stand_in.requests("/static/latest.jsonl").len() < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stand_in.requests("/static/eve-online").len(), 1);
    stand_in.world(|world| world.archive = Some((9, zip(&small_members()))));
    enrich.wait_ready().await;
    assert_eq!(enrich.static_build(), "9");
    let left = std::fs::read_dir(dir.path().join("static")).unwrap();
    assert_eq!(left.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_esi_costs_a_second_once_and_names_only() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    let enrich = opened(&stand_in, dir.path()).await;
    stand_in.world(|world| world.mood = Mood::Hanging);
    let start = Instant::now();
    let done = enriched(&enrich, PILOT).await;
    assert!(start.elapsed() <= Duration::from_millis(1_500), "{:?}", start.elapsed());
    assert_eq!(name(&done, EntityKind::Character), None);
    assert_eq!(name(&done, EntityKind::System), Some("Alpha"));
    // While it says nothing nobody waits for it again.
    let start = Instant::now();
    for _ in 0..100 {
        enriched(&enrich, PILOT).await;
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_esi_that_is_down_costs_no_time() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    let enrich = opened(&stand_in, dir.path()).await;
    stand_in.world(|world| world.mood = Mood::Down);
    let start = Instant::now();
    for _ in 0..20 {
        let done = enriched(&enrich, PILOT).await;
        assert_eq!(name(&done, EntityKind::Character), None);
        assert_eq!(name(&done, EntityKind::Type), Some("Rifter"));
    }
    // Had each waited as long as names may take, it would be twice that.
    assert!(start.elapsed() < 10 * NAMES_TIMEOUT, "{:?}", start.elapsed());
    assert!(
        stand_in.requests("/universe/names").len() < 20,
        "it is left alone for a while"
    );
}

#[tokio::test]
async fn one_bad_id_costs_no_other_name() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    let enrich = opened(&stand_in, dir.path()).await;
    let done = loop {
        let done = enriched(&enrich, 12_345).await;
        if name(&done, EntityKind::Alliance).is_some() {
            break done;
        }
    };
    assert_eq!(name(&done, EntityKind::Character), None);
    assert_eq!(name(&done, EntityKind::Corporation), Some("Some Corporation"));
    // One refusal proves nothing: it is neither remembered as nameless, nor asked for again at once.
    let asked = stand_in.requests("/universe/names").len();
    enriched(&enrich, 12_345).await;
    assert_eq!(stand_in.requests("/universe/names").len(), asked);
}

#[tokio::test]
async fn what_is_newer_than_the_static_data_is_asked_of_esi() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    stand_in.world(|world| {
        let mut say = |what: &str, id, value| world.universe.insert((what.to_owned(), id), value);
        say(
            "types",
            99_999,
            json!({"name": "New Ship", "group_id": 777, "published": true}),
        );
        say("groups", 777, json!({"name": "New Group", "category_id": 6}));
        let system = json!({"name": "New System", "constellation_id": 20_000_001, "security_status": 0.9});
        say("systems", 30_009_999, system);
    });
    let enrich = opened(&stand_in, dir.path()).await;
    let mut new = killmail(PILOT);
    new.victim.as_mut().unwrap().ship_type_id = 99_999;
    new.location.as_mut().unwrap().system_id = 30_009_999;
    new.attackers[0].weapon_type_id = 88_888;
    let mut killmails = [new.clone()];
    enrich.enrich(&mut killmails).await;
    let victim = killmails[0].victim.as_ref().unwrap();
    assert_eq!((victim.ship_group_id, victim.ship_category_id), (777, 6));
    let location = killmails[0].location.as_ref().unwrap();
    assert_eq!(
        (&*location.system_name, &*location.region_name, location.space()),
        ("New System", "Testland", Space::Highsec)
    );
    insta::assert_snapshot!(dictionary(&killmails[0]).join("\n"));
    // What ESI does not know either is not asked for again.
    let asked = stand_in.requests("/universe/types/88888").len();
    enrich.enrich(&mut [new]).await;
    assert_eq!((asked, stand_in.requests("/universe/types/88888").len()), (1, 1));
}

#[tokio::test]
async fn bodies_of_killmails() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    stand_in.world(|world| world.killmails.insert(5, r#"{"killmail_id":5}"#));
    let enrich = opened(&stand_in, dir.path()).await;
    let body = |id, hash: &'static str| {
        let enrich = enrich.clone();
        async move { enrich.killmail_body(KillmailId(id), hash).await }
    };
    assert_eq!(body(5, "00ab").await.unwrap(), r#"{"killmail_id":5}"#);
    assert_eq!(body(6, "00ab").await, Err(EsiError::NotFound));
    assert!(matches!(body(5, "../x").await, Err(EsiError::Rejected { .. })));
    stand_in.world(|world| world.mood = Mood::Down);
    assert!(matches!(body(5, "00ab").await, Err(EsiError::Unavailable { .. })));
}

#[tokio::test]
async fn a_refusal_counts_also_if_its_body_is_cut() {
    let (stand_in, dir) = (world().await, tempfile::tempdir().unwrap());
    let enrich = opened(&stand_in, dir.path()).await;
    stand_in.world(|world| world.mood = Mood::RefusingAndCut(600));
    for _ in 0..3 {
        let refused = enrich.killmail_body(KillmailId(5), "00ab").await;
        assert!(
            matches!(refused, Err(EsiError::Unavailable { retry_in }) if retry_in > Duration::from_secs(500)),
            "{refused:?}"
        );
    }
    assert_eq!(stand_in.requests("/killmails/").len(), 1, "asked once, and not again");
}
