use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::*;

/// The 1,540 real killmails that lie beside the project; `None` where they do not.
///
/// Their ids, numbers and shapes are real. The names that the ingestor would add are not known here: each id gets one of its
/// own, as long and as hostile as names can be.
fn killmails() -> Option<Vec<Killmail>> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/data/killmails/r2z2-open.jsonl.gz"
    );
    let file = std::fs::File::open(path).ok()?;
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let documents = text.lines().filter(|line| !line.trim().is_empty());
    Some(
        documents
            .map(|line| killmail(&serde_json::from_str(line).unwrap()))
            .collect(),
    )
}

fn killmail(document: &Value) -> Killmail {
    let (esi, zkb) = (&document["esi"], &document["zkb"]);
    let victim = &esi["victim"];
    let attackers = esi["attackers"].as_array().unwrap();
    let system = small(&esi["solar_system_id"]);
    let mut killmail = Killmail {
        killmail_id: id(&document["killmail_id"]),
        kill_time: Some(esi["killmail_time"].as_str().unwrap().parse().unwrap()),
        published_time: document["uploaded_at"]
            .as_i64()
            .map(|seconds| Timestamp { seconds, nanos: 0 }),
        location: Some(Location {
            system_id: system,
            system_name: hostile_name(system.into()),
            region_name: hostile_name(1),
            security_status: f64::from(system % 20) / 10.0 - 1.0,
            space: i32::try_from(system % 7).unwrap(),
            wormhole_class: system % 26,
            ..Default::default()
        }),
        victim: Some(Victim {
            character_id: id(&victim["character_id"]),
            corporation_id: id(&victim["corporation_id"]),
            alliance_id: id(&victim["alliance_id"]),
            faction_id: small(&victim["faction_id"]),
            ship_type_id: small(&victim["ship_type_id"]),
            ship_group_id: small(&victim["ship_type_id"]) % 50,
            damage_taken: id(&victim["damage_taken"]),
            ..Default::default()
        }),
        attackers: attackers.iter().map(attacker).collect(),
        value: Some(Valuation {
            total: zkb["totalValue"].as_f64(),
            dropped: zkb["droppedValue"].as_f64(),
            ..Default::default()
        }),
        npc: zkb["npc"] == true,
        solo: zkb["solo"] == true,
        awox: zkb["awox"] == true,
        war_id: id(&esi["war_id"]),
        ..Default::default()
    };
    killmail.entities = entities(&killmail);
    killmail
}

fn attacker(attacker: &Value) -> Attacker {
    Attacker {
        character_id: id(&attacker["character_id"]),
        corporation_id: id(&attacker["corporation_id"]),
        alliance_id: id(&attacker["alliance_id"]),
        faction_id: small(&attacker["faction_id"]),
        ship_type_id: small(&attacker["ship_type_id"]),
        ship_group_id: small(&attacker["ship_type_id"]) % 50,
        final_blow: attacker["final_blow"] == true,
        ..Default::default()
    }
}

fn entities(killmail: &Killmail) -> Vec<Entity> {
    let victim = killmail.victim.as_ref().unwrap();
    let mut ids = std::collections::BTreeSet::new();
    let blow = killmail.attackers.iter().find(|attacker| attacker.final_blow);
    ids.insert((EntityKind::Character, victim.character_id));
    ids.insert((EntityKind::Corporation, victim.corporation_id));
    ids.insert((EntityKind::Alliance, victim.alliance_id));
    ids.insert((EntityKind::Type, victim.ship_type_id.into()));
    ids.extend(blow.map(|blow| (EntityKind::Character, blow.character_id)));
    for attacker in &killmail.attackers {
        ids.insert((EntityKind::Corporation, attacker.corporation_id));
        ids.insert((EntityKind::Alliance, attacker.alliance_id));
        ids.insert((EntityKind::Group, attacker.ship_group_id.into()));
    }
    ids.into_iter()
        .map(|(kind, id)| entity(kind, id, &hostile_name(id), "@[*]_"))
        .collect()
}

/// As they are in the game: most have 8 to 20 characters, a few up to 26.
fn ordinary_name(id: u64) -> String {
    let names = [
        "Ama Vey",
        "Rook Ontari",
        "Night Freight Ltd.",
        "The Long Watch",
        "Dreadnought",
        "Kalmar Expeditionary Force",
        "Tornado",
        "Brutix Navy Issue",
        "Ember Pact",
    ];
    names[usize::try_from(id % 9).unwrap()].to_owned()
}

fn hostile_name(id: u64) -> String {
    let names = [
        "@everyone \u{202e}**x** [a](https://evil.example)",
        "<@&1> `||spoiler||` <#2> </help:3>",
        "***___~~~```|||",
        "1. Ordinary Name of Fifty Characters, More or Less ",
        "名前\u{200b}🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀",
        "",
    ];
    let at = usize::try_from(id % 6).unwrap();
    names[at].to_owned()
}

fn id(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn small(value: &Value) -> u32 {
    u32::try_from(id(value)).unwrap()
}

#[test]
fn every_real_killmail_in_every_style_is_what_discord_takes() {
    let (Some(killmails), Some(validator)) = (killmails(), discord()) else {
        eprintln!("../shared/data is not there: real killmails are not tried");
        return;
    };
    assert!(killmails.len() >= 1_540, "{}", killmails.len());
    let outcomes = [
        KillOutcome::Neutral,
        KillOutcome::Kill,
        KillOutcome::Loss,
        KillOutcome::FriendlyFire,
    ];
    for (killmail, outcome) in killmails.iter().zip(outcomes.iter().cycle()) {
        for style in [Style::Full, Style::Compact, Style::Link, Style::Battle] {
            let message = rendered(killmail, *outcome, style, &[Ping::Here]);
            check(&validator, &message);
            harmless(&message, killmail.killmail_id);
        }
    }
    // Packed: as many as fit, until all are through.
    for style in [Style::Full, Style::Compact, Style::Link] {
        let items: Vec<_> = killmails.iter().map(|k| item(k, KillOutcome::Kill, style)).collect();
        let mut rest = &items[..];
        while !rest.is_empty() {
            let next = &rest[..rest.len().min(EMBEDS)];
            let (message, taken) = super::super::killmails(next, &[Ping::Role(1)]);
            assert!(taken >= 1);
            check(&validator, &message);
            rest = &rest[taken..];
        }
    }
    for size in [1, 7, 60, 400] {
        for part in killmails.chunks(size) {
            let items: Vec<_> = part
                .iter()
                .map(|k| item(k, KillOutcome::Neutral, Style::Battle))
                .collect();
            check(&validator, &battle(&items, &[]).0);
        }
    }
}

/// Not the largest battles, whose fleets take their room, but what comes when a channel is busy.
#[test]
fn ten_ordinary_killmails_are_one_message() {
    let Some(mut killmails) = killmails() else {
        eprintln!("../shared/data is not there: real killmails are not tried");
        return;
    };
    for killmail in &mut killmails {
        for entity in &mut killmail.entities {
            entity.name = ordinary_name(entity.id);
            entity.ticker = if entity.ticker.is_empty() { "" } else { "EMBER" }.to_owned();
        }
        let location = killmail.location.as_mut().unwrap();
        location.system_name = ordinary_name(location.system_id.into());
        location.region_name = "Vale of the Silent".to_owned();
    }
    let items: Vec<_> = killmails
        .iter()
        .map(|killmail| PostItem {
            subscriptions: vec!["caps near staging", "everything"],
            ..near(killmail, KillOutcome::Loss, Style::Full)
        })
        .collect();
    let (mut whole, mut all) = (0, 0);
    for ten in items.chunks_exact(EMBEDS) {
        let (message, taken) = super::super::killmails(ten, &[Ping::Here]);
        all += 1;
        whole += usize::from(taken == EMBEDS && message.embeds.len() == EMBEDS);
    }
    assert_eq!((all, whole), (154, 154));
}

/// Names ping nobody, hide nothing, and lead nowhere; the killmail's link is there once.
fn harmless(message: &Message, killmail_id: u64) {
    let body = serde_json::to_string(message).unwrap();
    assert_eq!(body.matches(&link(killmail_id)).count(), 1, "{body}");
    assert!(!body.contains('\u{202e}') && !body.contains('\u{200b}'), "{body}");
    assert!(message.content == "@here" || message.content == format!("@here\n{}", link(killmail_id)));
    let embeds = message.embeds.iter();
    let texts = embeds.flat_map(|embed| {
        let fields = embed.fields.iter().map(|field| field.value.as_str());
        fields.chain([embed.title.as_str(), embed.description.as_str()])
    });
    for text in texts {
        // Escaped, the sign before it is a backslash.
        for sign in ["@everyone", "<@&1>", "<#2>", "</help:3>", "||", "```", "](https://evil"] {
            assert!(
                !text.contains(sign) || text.contains(&format!("\\{sign}")),
                "{sign} in {text}"
            );
        }
    }
}
