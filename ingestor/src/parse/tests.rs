use std::{io::Read as _, path::PathBuf};

use serde_json::{Value, json};

use super::*;

mod robust;

/// The real killmails that lie beside the project, if they do.
fn shared_data() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/killmails");
    let found = [folder, "/work/shared/data/killmails".into()]
        .into_iter()
        .find(|folder| folder.is_dir());
    if found.is_none() {
        eprintln!("../shared/data is not there: checked over the small own samples only");
    }
    found
}

/// One R2Z2 document per line.
fn real_documents() -> Vec<String> {
    let Some(folder) = shared_data() else {
        return vec![sample().to_string()];
    };
    let file = std::fs::File::open(folder.join("r2z2-open.jsonl.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

const HASH: &str = "00112233445566778899aabbccddeeff00112233";

/// Invented, in the shape of a real one.
fn sample() -> Value {
    json!({
        "killmail_id": 130_000_001u64,
        "hash": HASH,
        "esi": {
            "attackers": [
                {"alliance_id": 99_000_001, "character_id": 2_110_000_001u64, "corporation_id": 98_000_001,
                 "damage_done": 2673, "final_blow": true, "security_status": -0.6, "ship_type_id": 35683, "weapon_type_id": 3178},
                {"damage_done": 5, "final_blow": false, "security_status": 0.0}
            ],
            "killmail_id": 130_000_001u64,
            "killmail_time": "2026-09-20T23:35:51Z",
            "solar_system_id": 30_003_284,
            "war_id": 7,
            "victim": {
                "character_id": 2_110_000_002u64, "corporation_id": 98_000_002, "damage_taken": 4654, "ship_type_id": 16242,
                "position": {"x": 2_826_489_315_549.089, "y": 534_847_375_330.226, "z": -3_395_545_869_878.781},
                "items": [
                    {"flag": 5, "item_type_id": 3297, "quantity_dropped": 1, "singleton": 0, "items": [
                        {"flag": 5, "item_type_id": 34, "quantity_destroyed": 10, "singleton": 0}
                    ]}
                ]
            }
        },
        "zkb": {
            "hash": HASH, "fittedValue": 1.0, "droppedValue": 2, "destroyedValue": 3.5, "totalValue": 5.5,
            "totalDroppableValue": 4.25, "points": 33, "npc": false, "solo": true, "awox": false,
            "labels": ["cat:6", "#:2+"], "attackerCount": 2, "locationID": 40_111_699,
            "href": "https://esi.evetech.net/killmails/130000001/00112233445566778899aabbccddeeff00112233/"
        },
        "uploaded_at": 1_787_227_200, "sequence_id": 97_500_000
    })
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut document = sample();
    change(&mut document);
    document
}

fn document(value: &Value) -> ParsedDocument {
    match parse(value.to_string().as_bytes()) {
        Ok(Parsed::Killmail(document)) => *document,
        other => panic!("expected a killmail, got {other:?}"),
    }
}

fn reject(value: &Value) -> String {
    parse(value.to_string().as_bytes()).unwrap_err().to_string()
}

#[test]
fn everything_a_document_says() {
    let ParsedDocument {
        killmail,
        content,
        sequence_updated,
    } = document(&sample());
    assert!(content.is_some());
    assert_eq!(sequence_updated, None);
    let timestamp = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let expected = v1::Killmail {
        killmail_id: 130_000_001,
        hash: HASH.into(),
        kill_time: timestamp(1_789_947_351),
        published_time: timestamp(1_787_227_200),
        location: Some(v1::Location {
            system_id: 30_003_284,
            celestial_id: 40_111_699,
            position: Some(v1::Position3d {
                x: 2_826_489_315_549.089,
                y: 534_847_375_330.226,
                z: -3_395_545_869_878.781,
            }),
            ..Default::default()
        }),
        victim: Some(v1::Victim {
            character_id: 2_110_000_002,
            corporation_id: 98_000_002,
            ship_type_id: 16242,
            damage_taken: 4654,
            items: vec![v1::Item {
                type_id: 3297,
                flag: 5,
                quantity_dropped: 1,
                items: vec![v1::Item {
                    type_id: 34,
                    flag: 5,
                    quantity_destroyed: 10,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }),
        attackers: vec![
            v1::Attacker {
                character_id: 2_110_000_001,
                corporation_id: 98_000_001,
                alliance_id: 99_000_001,
                ship_type_id: 35683,
                weapon_type_id: 3178,
                damage_done: 2673,
                final_blow: true,
                security_status: -0.6,
                ..Default::default()
            },
            v1::Attacker {
                damage_done: 5,
                ..Default::default()
            },
        ],
        value: Some(v1::Valuation {
            total: Some(5.5),
            fitted: Some(1.0),
            dropped: Some(2.0),
            destroyed: Some(3.5),
            droppable: Some(4.25),
        }),
        solo: true,
        points: Some(33),
        labels: vec!["cat:6".into(), "#:2+".into()],
        war_id: 7,
        feed_sequence: 97_500_000,
        ..Default::default()
    };
    assert_eq!(killmail, expected);
}

#[test]
fn every_real_document_parses() {
    let documents = real_documents();
    for (index, text) in documents.iter().enumerate() {
        let value: Value = serde_json::from_str(text).unwrap();
        let ParsedDocument { killmail, content, .. } = document(&value);
        assert!(content.is_some(), "line {index}");
        assert_eq!(
            Some(killmail.killmail_id),
            value["killmail_id"].as_u64(),
            "line {index}"
        );
        assert_eq!(
            killmail.attackers.len(),
            value["esi"]["attackers"].as_array().unwrap().len()
        );
        assert_eq!(
            killmail.value.unwrap().total,
            value["zkb"]["totalValue"].as_f64(),
            "line {index}"
        );
        let items = value["esi"]["victim"]["items"].as_array().map_or(0, Vec::len);
        assert_eq!(killmail.victim.unwrap().items.len(), items, "line {index}");
    }
    if shared_data().is_some() {
        assert_eq!(documents.len(), 1540);
    }
}

#[test]
fn documents_of_an_older_feed_parse() {
    let Some(folder) = shared_data() else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(folder.join("redisq-2018")).unwrap() {
        let text = std::fs::read(entry.unwrap().path()).unwrap();
        let old: Value = serde_json::from_slice(&text).unwrap();
        let (esi, zkb) = (&old["package"]["killmail"], &old["package"]["zkb"]);
        let wrapped = json!({
            "killmail_id": esi["killmail_id"], "hash": zkb["hash"], "esi": esi, "zkb": zkb,
            "uploaded_at": 1_787_227_200, "sequence_id": 97_500_000
        });
        let killmail = document(&wrapped).killmail;
        assert!(killmail.kill_time.unwrap().seconds > 1_500_000_000);
        assert!(killmail.attackers.iter().any(|attacker| attacker.damage_done > 0));
        count += 1;
    }
    assert_eq!(count, 40);
}

#[test]
fn null_is_absent_and_absent_is_none() {
    let bare = document(&with(|document| {
        let zkb = &mut document["zkb"];
        for name in ["totalValue", "points", "npc", "labels", "locationID"] {
            zkb[name] = Value::Null;
        }
        let victim = &mut document["esi"]["victim"];
        victim["character_id"] = json!(0);
        victim["items"] = Value::Null;
        victim.as_object_mut().unwrap().remove("position");
        document["esi"]["attackers"] = json!([]);
        document["uploaded_at"] = Value::Null;
    }))
    .killmail;
    let value = bare.value.unwrap();
    assert_eq!((value.total, value.fitted), (None, Some(1.0)));
    assert_eq!((bare.points, bare.npc, bare.labels.len()), (None, false, 0));
    let location = bare.location.unwrap();
    assert_eq!((location.celestial_id, location.position), (0, None));
    assert!(bare.attackers.is_empty() && bare.published_time.is_none());
}

#[test]
fn loose_numbers_are_understood() {
    let killmail = document(&with(|document| {
        let attacker = &mut document["esi"]["attackers"][0];
        attacker["damage_done"] = json!(16_289_204.0);
        attacker["character_id"] = json!("95465499");
        attacker["weapon_type_id"] = json!(-1);
        attacker["ship_type_id"] = json!(1e30);
        attacker["final_blow"] = json!(1);
        let other = &mut document["esi"]["attackers"][1];
        other["damage_done"] = json!(-5);
        document["zkb"]["points"] = json!(1.0);
        document["zkb"]["totalValue"] = json!("12.5");
        document["esi"]["victim"]["damage_taken"] = json!(1e40);
        document["esi"]["killmail_time"] = json!("2026-09-20 23:35:51");
    }))
    .killmail;
    let [first, second] = killmail.attackers.as_slice() else {
        panic!("two attackers")
    };
    assert_eq!((first.damage_done, first.character_id), (16_289_204, 95_465_499));
    assert_eq!(
        (first.weapon_type_id, first.ship_type_id, first.final_blow),
        (0, 0, true)
    );
    assert_eq!(second.damage_done, 0);
    assert_eq!(killmail.points, Some(1));
    assert_eq!(killmail.value.unwrap().total, Some(12.5));
    assert_eq!(killmail.victim.unwrap().damage_taken, u64::MAX);
    assert_eq!(killmail.kill_time.unwrap().seconds, 1_789_947_351);
}

#[test]
fn php_writes_lists_with_holes_as_objects() {
    let killmail = document(&with(|document| {
        document["zkb"]["labels"] = json!({"10": "c", "2": "b", "0": "a"});
    }))
    .killmail;
    assert_eq!(killmail.labels, ["a", "b", "c"]);
}

#[test]
fn placeholders_are_no_rejects() {
    let nulls = json!({"killmail_id": null, "hash": null, "esi": null, "uploaded_at": 5, "sequence_id": 9,
        "zkb": {"locationID": null, "hash": null, "totalValue": null, "labels": null, "attackerCount": 0,
                "href": "https://esi.evetech.net/killmails///"}});
    let without_href = json!({"killmail_id": null, "hash": null, "esi": null, "zkb": null, "sequence_id": 9});
    for value in [nulls, without_href] {
        assert_eq!(parse(value.to_string().as_bytes()), Ok(Parsed::Placeholder), "{value}");
    }
}

#[test]
fn without_a_body_it_has_to_be_fetched() {
    let whole = sample();
    let esi = whole["esi"].to_string();
    for empty in [json!(null), json!({}), json!([])] {
        let headless = with(|document| document["esi"] = empty.clone()).to_string();
        let Ok(Parsed::NeedsBody(headless)) = parse(headless.as_bytes()) else {
            panic!("esi {empty} has to be fetched");
        };
        assert_eq!((headless.id().0, headless.hash()), (130_000_001, HASH));
        let filled = headless.clone().with_body(esi.as_bytes()).unwrap();
        assert_eq!(filled, document(&whole), "the same killmail with the same content hash");

        let error = headless
            .clone()
            .with_body(br#"{"error":"Invalid killmail"}"#)
            .unwrap_err();
        assert_eq!(error.to_string(), "missing esi.killmail_time");
        let error = headless.clone().with_body(b"null").unwrap_err();
        assert_eq!(error.to_string(), "missing esi");
        let other = with(|document| document["esi"]["killmail_id"] = json!(5));
        let error = headless.with_body(other["esi"].to_string().as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "killmail_id is 130000001, but the body belongs to killmail 5"
        );
    }
}

#[test]
fn a_reject_names_the_field() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 12] = [
        (
            |d| d["killmail_id"] = json!(5),
            "killmail_id is 5, but the body belongs to killmail 130000001",
        ),
        (
            |d| d["hash"] = json!("../../x"),
            "hash is the text \"../../x\", expected 40 hexadecimal digits",
        ),
        (|d| d["esi"]["killmail_time"] = json!(null), "missing esi.killmail_time"),
        (
            |d| d["esi"]["killmail_time"] = json!("yesterday"),
            "esi.killmail_time is the text \"yesterday\", expected a time like 2026-01-31T12:34:56Z",
        ),
        (|d| d["esi"]["victim"] = json!(null), "missing esi.victim"),
        (|d| d["esi"]["victim"] = json!(7), "esi.victim is 7, expected an object"),
        (
            |d| d["esi"]["victim"]["ship_type_id"] = json!(-1),
            "esi.victim.ship_type_id is -1, expected an id from 1 to 4294967295",
        ),
        (
            |d| d["esi"]["attackers"] = json!("many"),
            "esi.attackers is the text \"many\", expected a list",
        ),
        (
            |d| d["esi"]["attackers"][1]["damage_done"] = json!([1]),
            "esi.attackers[1].damage_done is a list of 1, expected a whole number",
        ),
        (
            |d| d["esi"]["victim"]["items"][0]["items"][0] = json!(true),
            "esi.victim.items[0].items[0] is true, expected an object",
        ),
        (
            |d| d["zkb"]["solo"] = json!("no"),
            "zkb.solo is the text \"no\", expected true or false",
        ),
        (
            |d| d["uploaded_at"] = json!(1e30),
            "uploaded_at is 1000000000000000019884624838656, expected seconds since 1970",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(reject(&with(change)), expected);
    }
    for (text, expected) in [
        ("", "the document is empty"),
        (" \n", "the document is empty"),
        ("[1]", "the document is a list of 1, expected an object"),
        ("{}", "missing killmail_id"),
        ("{", "not JSON: EOF while parsing an object at line 1 column 1"),
        ("<html>", "not JSON: expected value at line 1 column 1"),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn the_content_hash_sees_content_only() {
    let plain = document(&sample()).content;
    type Change = fn(&mut Value);
    let same: [Change; 5] = [
        |d| d["sequence_id"] = json!(5),
        |d| d["uploaded_at"] = json!(5),
        |d| d["sequence_updated"] = json!(5),
        |d| d["zkb"]["points"] = json!(33.0),
        |d| d["zkb"]["new"] = json!(null),
    ];
    for change in same {
        assert_eq!(document(&with(change)).content, plain);
    }
    let different: [Change; 4] = [
        |d| d["zkb"]["labels"] = json!(["cat:6", "#:2+", "ganked"]),
        |d| d["zkb"]["totalValue"] = json!(5.6),
        |d| d["zkb"]["new"] = json!(1),
        |d| d["esi"]["attackers"][0]["damage_done"] = json!(1),
    ];
    for change in different {
        assert_ne!(document(&with(change)).content, plain);
    }
    for empty in [json!(null), json!({}), json!([])] {
        let bare = document(&with(|document| document["zkb"] = empty));
        assert_eq!((bare.content, bare.killmail.value), (None, None));
    }
}

#[test]
fn an_announced_number_is_passed_on() {
    assert_eq!(
        document(&with(|d| d["sequence_updated"] = json!(77.0))).sequence_updated,
        Some(77)
    );
    assert_eq!(
        document(&with(|d| d["sequence_updated"] = json!(0))).sequence_updated,
        None
    );
}

#[test]
fn depth_and_size_are_bounded() {
    let mut item = json!({"item_type_id": 1, "flag": 5, "singleton": 0});
    for _ in 0..20 {
        item = json!({"item_type_id": 1, "items": [item]});
    }
    let killmail = document(&with(|document| document["esi"]["victim"]["items"] = json!([item]))).killmail;
    fn count(items: &[v1::Item], depth: usize) -> (usize, usize) {
        items.iter().fold((0, depth), |(total, deepest), item| {
            let (inner, reached) = count(&item.items, depth + 1);
            (total + 1 + inner, deepest.max(reached))
        })
    }
    assert_eq!(count(&killmail.victim.unwrap().items, 0), (21, ITEM_DEPTH));

    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(parse(deep.as_bytes()), Err(Reject::NotJson(_))));
    let wide = format!("[{}0]", "0,".repeat(3_000_000));
    assert_eq!(parse(wide.as_bytes()), Err(Reject::TooMany { limit: 2_000_000 }));
    let attackers = vec![json!({"damage_done": 1, "final_blow": false, "security_status": 0.0}); 20_000];
    let killmail = document(&with(|document| document["esi"]["attackers"] = json!(attackers))).killmail;
    assert_eq!(killmail.attackers.len(), 20_000);
}

#[test]
fn of_duplicate_keys_the_last_counts() {
    let text = sample()
        .to_string()
        .replacen("\"war_id\":7", "\"war_id\":7,\"war_id\":8,\"war_id\":9", 1);
    let Ok(Parsed::Killmail(document)) = parse(text.as_bytes()) else {
        panic!("a killmail")
    };
    assert_eq!(document.killmail.war_id, 9);
}
