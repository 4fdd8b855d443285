//! Searches and filters over a small world and over CCP's real static data.

use std::{fs, path::Path};

use killfeed::{
    filter::{self, CompileOutcome, Distance},
    v1::{Entity, EntityKind},
};

use super::Universe;
use crate::enrich::{
    sde::test_data::{real_path, small_members, zip},
    tests::fake_esi::{Mood, StandIn},
};

async fn universe(stand_in: &StandIn, dir: &Path) -> Universe {
    let enrich = stand_in.enrich(dir).await;
    enrich.wait_ready().await;
    Universe::new(enrich.universe())
}

async fn small() -> (StandIn, tempfile::TempDir, Universe) {
    let stand_in = StandIn::start().await;
    stand_in.world(|world| {
        world.archive = Some((7, zip(&small_members())));
        world
            .names
            .insert(1_354_830_081, ("Goonswarm Federation", "alliance", "CONDI"));
        world.names.insert(98_000_001, ("Rifter Fans", "corporation", "GOON"));
        world.names.insert(90_000_001, ("Rif Raff", "character", ""));
        world.names.insert(90_000_002, ("Old Rifter", "character", ""));
        world.names.insert(90_000_003, ("Goon", "character", ""));
    });
    let dir = tempfile::tempdir().unwrap();
    let universe = universe(&stand_in, dir.path()).await;
    (stand_in, dir, universe)
}

fn names(found: &[Entity]) -> Vec<String> {
    found
        .iter()
        .map(|entity| format!("{:?} {} [{}]", entity.kind(), entity.name, entity.ticker))
        .collect()
}

/// All names of the small world, seen.
async fn seen(universe: &Universe) {
    let names = ["Goonswarm Federation", "Rifter Fans", "Rif Raff", "Old Rifter", "Goon"].map(str::to_owned);
    universe.read.names().query_esi(&names).await.unwrap();
    // Their tickers come in the background.
    while universe.search("condi", &[], 25).await.is_empty()
        || universe.search("goon", &[], 1).await[0].ticker.is_empty()
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn tickers_then_names_then_words() {
    let (_stand_in, _dir, universe) = small().await;
    seen(&universe).await;
    let found = async |query: &str, kinds: &[EntityKind]| names(&universe.search(query, kinds, 25).await);
    assert_eq!(
        found("goon", &[]).await,
        [
            "Corporation Rifter Fans [GOON]",
            "Character Goon []",
            "Alliance Goonswarm Federation [CONDI]"
        ]
    );
    assert_eq!(
        found("RIF", &[]).await,
        [
            "Type Rifter []",
            "Character Rif Raff []",
            "Corporation Rifter Fans [GOON]",
            "Character Old Rifter []"
        ]
    );
    assert_eq!(
        found("rif", &[EntityKind::Character]).await,
        ["Character Rif Raff []", "Character Old Rifter []"]
    );
    assert_eq!(found("  ", &[]).await, [""; 0]);
    assert_eq!(universe.search("rif", &[], 2).await.len(), 2);
}

#[tokio::test]
async fn what_nothing_begins_with_is_asked_of_esi_once_a_second_and_remembered() {
    let (stand_in, _dir, universe) = small().await;
    let asked = || stand_in.requests("/universe/ids").len();
    assert!(universe.search("go", &[], 25).await.is_empty());
    // An answer that comes too late for its search is there for the next; no time passes between them.
    tokio::time::pause();
    assert!(
        universe
            .search("goonswarm federation", &[EntityKind::Type], 25)
            .await
            .is_empty()
    );
    assert_eq!(asked(), 0);
    let found = loop {
        let found = universe.search("goonswarm federation", &[], 25).await;
        if !found.is_empty() {
            break found;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(found[0].id, 1_354_830_081);
    assert_eq!(asked(), 1);
    assert!(!universe.search("goons", &[], 25).await.is_empty());
    // The second has not passed.
    assert!(universe.search("rif raff", &[], 25).await.is_empty());
    assert_eq!(asked(), 1);
}

#[tokio::test]
async fn filters_compile_with_names_of_every_source() {
    let (stand_in, dir, universe) = small().await;
    let text = r#"alliance:"goonswarm federation" ship:Rifter system:(Alpha OR Beta) near(Alpha, 2ly)"#;
    let CompileOutcome::Compiled(compiled) = universe.compile(text).await else {
        panic!("{:?}", universe.compile(text).await)
    };
    assert!(
        compiled.canonical.contains(r#"alliance:"Goonswarm Federation""#),
        "{}",
        compiled.canonical
    );
    // Posts tell how far away a killmail was.
    let beta = filter::distances(&compiled.filter, 30_000_002);
    let expected = Distance {
        milli_light_years: 1_057,
        jumps: Some(1),
        origin: 30_000_001,
        origin_name: "Alpha".to_owned(),
    };
    assert_eq!(beta, [expected]);
    assert_eq!(stand_in.requests("/universe/ids"), [1]);
    // Nothing is asked for twice, and what was resolved once is there without ESI.
    universe.compile(text).await;
    assert!(matches!(
        universe.compile("character:Nobody").await,
        CompileOutcome::Invalid(_)
    ));
    assert!(matches!(
        universe.compile("character:Nobody").await,
        CompileOutcome::Invalid(_)
    ));
    assert_eq!(stand_in.requests("/universe/ids"), [1, 1]);
    stand_in.world(|world| world.mood = Mood::Down);
    assert!(matches!(universe.compile(text).await, CompileOutcome::Compiled(_)));
    let unseen = universe.compile("character:Unseen").await;
    assert!(
        matches!(&unseen, CompileOutcome::Unavailable(names) if names.len() == 1),
        "{unseen:?}"
    );
    drop(dir);
}

#[tokio::test]
async fn a_ticker_is_no_name_but_leads_to_it() {
    let (_stand_in, _dir, universe) = small().await;
    seen(&universe).await;
    let CompileOutcome::Invalid(diagnostics) = universe.compile("alliance:CONDI").await else {
        panic!()
    };
    assert!(
        diagnostics[0].suggestions[0].contains("Goonswarm Federation"),
        "{diagnostics:?}"
    );
}

#[tokio::test]
async fn over_the_real_static_data() {
    let Some(archive) = real_path() else { return };
    let (stand_in, dir) = (StandIn::start().await, tempfile::tempdir().unwrap());
    fs::create_dir(dir.path().join("static")).unwrap();
    fs::copy(&archive, dir.path().join("static").join(archive.file_name().unwrap())).unwrap();
    let universe = universe(&stand_in, dir.path()).await;
    let mut text = String::new();
    for (query, kinds) in [
        ("rift", &[][..]),
        ("tur", &[EntityKind::System]),
        ("navy issue", &[EntityKind::Type]),
        ("titan", &[EntityKind::Group, EntityKind::Type]),
        ("c-j", &[]),
    ] {
        text += &format!(
            "{query}: {}\n",
            names(&universe.search(query, kinds, 6).await).join(", ")
        );
    }
    for filter in [
        "ship:Rifterr",
        "group:(Dreadnought OR Carrier) near(Turnur, 5j)",
        "ship:*navy* region:Devoid",
        "system:Jtia",
    ] {
        text += &match universe.compile(filter).await {
            CompileOutcome::Compiled(compiled) => format!("{filter} → {}\n", compiled.canonical),
            CompileOutcome::Invalid(found) => format!("{filter} → {} {:?}\n", found[0].message, found[0].suggestions),
            CompileOutcome::Unavailable(names) => format!("{filter} → unavailable {names:?}\n"),
        };
    }
    insta::assert_snapshot!(text);
}
