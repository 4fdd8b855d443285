use killfeed::{
    Timestamp,
    v1::{Attacker, Entity, EntityKind, Location, Space, Valuation, Victim},
};

use super::*;
use crate::sink::Message;

/// Over all real killmails.
mod real;

fn entity(kind: EntityKind, id: u64, name: &str, ticker: &str) -> Entity {
    Entity {
        kind: kind.into(),
        id,
        name: name.into(),
        ticker: ticker.into(),
    }
}

/// A dreadnought that died to two pilots and an NPC.
pub(crate) fn dreadnought(id: u64) -> Killmail {
    let attacker = |character, ship, group, final_blow| Attacker {
        character_id: character,
        corporation_id: if character == 0 { 0 } else { 21 },
        alliance_id: if character == 0 { 0 } else { 31 },
        ship_type_id: ship,
        ship_group_id: group,
        damage_done: 1_000,
        final_blow,
        ..Default::default()
    };
    Killmail {
        killmail_id: id,
        kill_time: Some(Timestamp {
            seconds: 1_785_672_000,
            nanos: 0,
        }),
        published_time: Some(Timestamp {
            seconds: 1_785_672_040,
            nanos: 0,
        }),
        location: Some(Location {
            system_id: 30_002_086,
            system_name: "Turnur".into(),
            region_id: 10_000_042,
            region_name: "Metropolis".into(),
            security_status: 0.351,
            space: Space::Lowsec.into(),
            ..Default::default()
        }),
        victim: Some(Victim {
            character_id: 10,
            corporation_id: 20,
            alliance_id: 30,
            ship_type_id: 19_722,
            ship_group_id: 485,
            damage_taken: 1_234_567,
            ..Default::default()
        }),
        attackers: vec![
            attacker(11, 4_310, 1_201, false),
            attacker(12, 0, 0, true),
            attacker(0, 23_707, 639, false),
        ],
        value: Some(Valuation {
            total: Some(2_412_345_678.0),
            dropped: Some(999_950.0),
            ..Default::default()
        }),
        war_id: 7,
        entities: vec![
            entity(EntityKind::Character, 10, "Ama Vey", ""),
            entity(EntityKind::Character, 12, "Rook Ontari", ""),
            entity(EntityKind::Corporation, 20, "Dust Harbour", "DUSTH"),
            entity(EntityKind::Corporation, 21, "Night Freight", "NFRT"),
            entity(EntityKind::Alliance, 30, "The Long Watch", "WATCH"),
            entity(EntityKind::Alliance, 31, "Ember Pact", "EMBER"),
            entity(EntityKind::Type, 19_722, "Naglfar", ""),
            entity(EntityKind::Type, 4_310, "Tornado", ""),
            entity(EntityKind::Type, 23_707, "Hornet EC-300", ""),
            entity(EntityKind::Group, 485, "Dreadnought", ""),
            entity(EntityKind::Group, 639, "Electronic Warfare Drone", ""),
            entity(EntityKind::Group, 1_201, "Attack Battlecruiser", ""),
        ],
        ..Default::default()
    }
}

/// Everything in it that players choose tries to do harm, and much is missing.
pub(crate) fn hostile(id: u64) -> Killmail {
    Killmail {
        killmail_id: id,
        kill_time: Some(Timestamp {
            seconds: 1_785_600_000,
            nanos: 0,
        }),
        victim: Some(Victim {
            character_id: 10,
            corporation_id: 20,
            ship_type_id: 1,
            ..Default::default()
        }),
        attackers: vec![Attacker {
            corporation_id: 21,
            ship_type_id: 2,
            ..Default::default()
        }],
        location: Some(Location {
            system_id: 31_000_005,
            system_name: "J123456".into(),
            space: Space::Wormhole.into(),
            wormhole_class: 5,
            ..Default::default()
        }),
        npc: true,
        entities: vec![
            entity(EntityKind::Character, 10, "@everyone **x** \u{202e}evil\u{7}", ""),
            entity(EntityKind::Corporation, 20, "[free ISK](https://evil.example)", "@here"),
            entity(EntityKind::Type, 2, "`Rifter`", ""),
        ],
        ..Default::default()
    }
}

fn item(killmail: &Killmail, outcome: KillOutcome, style: Style) -> PostItem<'_> {
    PostItem {
        killmail,
        outcome,
        style,
        subscriptions: vec!["caps near staging", "everything", "**third**", "fourth", "fifth"],
        distances: Vec::new(),
    }
}

fn from(origin_name: &str, milli_light_years: u32, jumps: Option<u32>) -> Distance {
    Distance {
        milli_light_years,
        jumps,
        origin: origin_name.bytes().map(u64::from).sum(),
        origin_name: origin_name.into(),
    }
}

/// At the gate to Bosena, within reach of what three watch.
fn near(killmail: &Killmail, outcome: KillOutcome, style: Style) -> PostItem<'_> {
    PostItem {
        distances: vec![
            from("Vard", 2_144, Some(1)),
            from("Amamake", 3_500, Some(4)),
            from("Thera", 9_999, None),
            from("Jita", 10_132, Some(14)),
        ],
        ..item(killmail, outcome, style)
    }
}

fn rendered(killmail: &Killmail, outcome: KillOutcome, style: Style, pings: &[Ping]) -> Message {
    let (message, taken) = super::killmails(&[item(killmail, outcome, style)], pings);
    assert_eq!(taken, 1);
    message
}

#[test]
fn goldens() {
    let everyone = [Ping::Everyone, Ping::Role(42)];
    insta::assert_json_snapshot!(
        "full_loss",
        rendered(&dreadnought(1), KillOutcome::Loss, Style::Full, &everyone)
    );
    insta::assert_json_snapshot!(
        "full_hostile",
        rendered(&hostile(2), KillOutcome::Neutral, Style::Full, &[])
    );
    insta::assert_json_snapshot!(
        "compact_kill",
        rendered(&dreadnought(1), KillOutcome::Kill, Style::Compact, &[])
    );
    insta::assert_json_snapshot!(
        "link",
        rendered(&dreadnought(1), KillOutcome::FriendlyFire, Style::Link, &[])
    );
    insta::assert_json_snapshot!(
        "nothing_known",
        rendered(&Killmail::default(), KillOutcome::FriendlyFire, Style::Full, &[])
    );
    let systems = [(30_002_086, "Turnur".to_owned(), 9)];
    insta::assert_json_snapshot!("folded", folded(12, &[3.4e9; 12], &systems));
    let mut late = dreadnought(1);
    late.published_time.as_mut().unwrap().seconds += 3 * 3_600 + 12 * 60;
    insta::assert_json_snapshot!("full_late", rendered(&late, KillOutcome::Kill, Style::Full, &[]));
    insta::assert_json_snapshot!(
        "compact_late",
        rendered(&late, KillOutcome::Neutral, Style::Compact, &[])
    );
    insta::assert_json_snapshot!(
        "compact_hostile",
        rendered(&hostile(2), KillOutcome::Neutral, Style::Compact, &[])
    );
    let mut at_gate = dreadnought(1);
    let location = at_gate.location.as_mut().unwrap();
    (location.gate_to_system_id, location.gate_to_system_name) = (30_002_060, "Bosena".into());
    for (name, style) in [("full_near", Style::Full), ("compact_near", Style::Compact)] {
        let (message, _) = super::killmails(&[near(&at_gate, KillOutcome::Neutral, style)], &[]);
        insta::assert_json_snapshot!(name, message);
    }
}

/// The dreadnought's side loses it, and takes two ships of the other.
pub(crate) fn engagement() -> Vec<(Killmail, KillOutcome)> {
    let mut killmails = vec![(dreadnought(1), KillOutcome::Loss)];
    for id in [2, 3] {
        let mut killmail = dreadnought(id);
        let victim = killmail.victim.as_mut().unwrap();
        (victim.character_id, victim.corporation_id, victim.alliance_id) = (12, 21, 31);
        (victim.ship_type_id, victim.ship_group_id) = (4_310, 1_201);
        killmail.attackers.truncate(1);
        let attacker = &mut killmail.attackers[0];
        (attacker.character_id, attacker.corporation_id, attacker.alliance_id) = (10, 20, 30);
        killmail.kill_time.as_mut().unwrap().seconds += i64::try_from(id).unwrap() * 60;
        killmail.value = (id == 2).then_some(Valuation {
            total: Some(95_000_000.0),
            ..Default::default()
        });
        killmails.push((killmail, KillOutcome::Kill));
    }
    killmails
}

fn fought(killmails: &[(Killmail, KillOutcome)]) -> Vec<PostItem<'_>> {
    let items = killmails.iter();
    items
        .map(|(killmail, outcome)| item(killmail, *outcome, Style::Battle))
        .collect()
}

#[test]
fn battles() {
    let killmails = engagement();
    let (message, linked) = battle(&fought(&killmails), &[Ping::Here]);
    assert_eq!(linked, 3);
    insta::assert_json_snapshot!("battle", message);
    let (again, _) = battle(&fought(&killmails), &[Ping::Here]);
    assert_eq!(message, again);

    // Two watch Vard, one of them Amamake too, a third Jita: each place once, the nearest first.
    let mut watched = fought(&killmails);
    watched[0].distances = vec![from("Vard", 2_144, Some(1)), from("Amamake", 3_500, Some(4))];
    watched[1].distances = vec![from("Vard", 2_144, Some(1)), from("Jita", 10_132, Some(14))];
    watched[2].distances = vec![from("Dodixie", 900, None)];
    insta::assert_json_snapshot!("battle_near", battle(&watched, &[]).0);

    let many: Vec<_> = (1..=400).map(|id| (dreadnought(id), KillOutcome::Neutral)).collect();
    let (message, linked) = battle(&fought(&many), &[]);
    let text = &message.embeds[0].description;
    assert_eq!(text.matches("https://zkillboard.com/kill/").count(), linked);
    assert!(linked > 40, "{linked}");
    assert!(text.ends_with(&format!("{} more killmails", 400 - linked)), "{text}");
    assert_eq!(battle(&[], &[]).1, 0);
}

#[test]
fn as_many_as_fit_and_never_more() {
    let many: Vec<Killmail> = (1..=40).map(dreadnought).collect();
    for style in [Style::Full, Style::Compact, Style::Link, Style::Battle] {
        let items: Vec<_> = many
            .iter()
            .map(|killmail| item(killmail, KillOutcome::Neutral, style))
            .collect();
        let (message, taken) = super::killmails(&items, &[Ping::Here]);
        assert!(taken >= 10, "{taken} {style:?}");
        assert!(message.content.len() <= 2_000 && message.embeds.len() <= 10);
        assert!(message.embeds.iter().map(limits::characters).sum::<usize>() <= 6_000);
    }
    assert_eq!(super::killmails(&[], &[]).1, 0);
    let roles: Vec<Ping> = (0..500).map(|n| Ping::Role(u64::MAX - n)).collect();
    let (message, taken) = super::killmails(&[item(&many[0], KillOutcome::Kill, Style::Link)], &roles);
    assert_eq!(taken, 1);
    assert!(message.content.len() <= 2_000 && message.allowed_mentions.roles.len() <= 100);
}

/// The longest names that could come, from a source that keeps to no limit.
fn monstrous() -> Killmail {
    let mut killmail = dreadnought(u64::MAX);
    for entity in &mut killmail.entities {
        entity.name = "🚀*".repeat(5_000);
        entity.ticker = "_".repeat(5_000);
    }
    let location = killmail.location.as_mut().unwrap();
    location.system_name = "*".repeat(9_000);
    location.region_name = "*".repeat(9_000);
    killmail
}

/// What Discord's own description of its API says about the body, and what it leaves out.
#[test]
fn every_style_is_what_discord_takes() {
    let Some(validator) = discord() else {
        eprintln!("../shared/data/discord-openapi.json is not there: messages are held to the limits only");
        return;
    };
    let killmails = [dreadnought(1), hostile(2), Killmail::default(), monstrous()];
    for killmail in &killmails {
        for style in [Style::Full, Style::Compact, Style::Link, Style::Battle] {
            for outcome in [
                KillOutcome::Neutral,
                KillOutcome::Kill,
                KillOutcome::Loss,
                KillOutcome::FriendlyFire,
            ] {
                check(
                    &validator,
                    &rendered(killmail, outcome, style, &[Ping::Here, Ping::Role(1)]),
                );
            }
        }
    }
    let items: Vec<_> = killmails
        .iter()
        .cycle()
        .take(30)
        .map(|k| item(k, KillOutcome::Kill, Style::Full))
        .collect();
    check(&validator, &super::killmails(&items, &[]).0);
    let systems = [1, 2, 3].map(|id| (id, "🚀*".repeat(5_000), 9));
    check(&validator, &folded(10_000, &[f64::MAX; 10_000], &systems));
    check(&validator, &folded(1, &[], &[]));
    let all = killmails.map(|killmail| (killmail, KillOutcome::Loss));
    check(&validator, &battle(&fought(&all), &[Ping::Here]).0);
    let crowd: Vec<_> = (0..60).map(|_| (monstrous(), KillOutcome::Kill)).collect();
    check(&validator, &battle(&fought(&crowd), &[]).0);
}

fn check(validator: &jsonschema::Validator, message: &Message) {
    let mut body = serde_json::to_value(message).unwrap();
    body["nonce"] = "ABCDEFGHIJKLMNOPQRSTUVWXY".into();
    body["enforce_nonce"] = true.into();
    if let Err(error) = validator.validate(&body) {
        panic!("{error} at {}\n{body:#}", error.instance_path());
    }
    assert!(message.content.chars().count() <= 2_000);
    assert!(!message.content.is_empty() || message.allowed_mentions == AllowedMentions::default());
    assert!(!message.content.is_empty() || !message.embeds.is_empty());
    assert!(message.embeds.iter().map(limits::characters).sum::<usize>() <= 6_000);
    for field in message.embeds.iter().flat_map(|embed| &embed.fields) {
        assert!(!field.name.trim().is_empty() && !field.value.trim().is_empty());
    }
}

/// A validator of the body of `POST /channels/{id}/messages`.
fn discord() -> Option<jsonschema::Validator> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/discord-openapi.json");
    let text = std::fs::read_to_string(path).ok()?;
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pointer = "/paths/~1channels~1{channel_id}~1messages/post/requestBody/content/application~1json/schema";
    let body = document
        .pointer(pointer)
        .expect("the description has the operation")
        .clone();
    let components = document["components"].take();
    let schema = serde_json::json!({"allOf": [body], "components": components});
    Some(jsonschema::validator_for(&schema).unwrap())
}
