//! Evaluation rules, and the trees and texts that are invalid.

use prost_types::Timestamp;

use super::{super::program::Program, universe, *};
use crate::v1::{
    Attacker, FilterNode, FilterValue, Item, Killmail, Location, Space, Valuation, Victim, filter_node::Node,
};

/// A Test dreadnought that dies in Turnur to a Goonswarm Nyx, a Brutix and a structure.
fn killmail() -> Killmail {
    Killmail {
        killmail_id: 1,
        // 2026-11-23T23:30:00Z
        kill_time: Some(Timestamp {
            seconds: 1_795_476_600,
            nanos: 0,
        }),
        ingested_time: Some(Timestamp {
            seconds: 1_795_476_600 + 7_200,
            nanos: 0,
        }),
        location: universe::location(30_002_086),
        victim: Some(Victim {
            character_id: 90_000_001,
            corporation_id: 98_000_001,
            alliance_id: 498_125_261,
            ship_type_id: 19_720,
            ship_group_id: 485,
            ship_category_id: 6,
            damage_taken: 1_000_000,
            items: vec![Item {
                type_id: 3_465,
                group_id: 12,
                items: vec![Item {
                    type_id: 44_992,
                    group_id: 1_875,
                    ..Item::default()
                }],
                ..Item::default()
            }],
            ..Victim::default()
        }),
        attackers: vec![
            Attacker {
                character_id: 90_000_002,
                corporation_id: 98_000_002,
                alliance_id: 1_354_830_081,
                ship_type_id: 23_913,
                ship_group_id: 659,
                ship_category_id: 6,
                weapon_type_id: 3_520,
                weapon_group_id: 515,
                ..Attacker::default()
            },
            Attacker {
                character_id: 90_000_003,
                corporation_id: 98_000_003,
                ship_type_id: 16_229,
                ship_group_id: 419,
                ship_category_id: 6,
                final_blow: true,
                ..Attacker::default()
            },
            Attacker {
                ship_type_id: 35_834,
                ship_group_id: 1_657,
                ship_category_id: 65,
                ..Attacker::default()
            },
        ],
        value: Some(Valuation {
            total: Some(1.5e9),
            dropped: Some(0.0),
            ..Valuation::default()
        }),
        points: Some(10),
        labels: vec!["cat:6".into(), "#:2+".into(), "PvP".into()],
        war_id: 7,
        ..Killmail::default()
    }
}

fn matches(text: &str, killmail: &Killmail) -> bool {
    Program::new(&compiled(text).filter).unwrap().matches(killmail)
}

#[track_caller]
fn assert_all(killmail: &Killmail, holds: &[&str], fails: &[&str]) {
    for text in holds {
        assert!(matches(text, killmail), "{text} should match");
    }
    for text in fails {
        assert!(!matches(text, killmail), "{text} should not match");
    }
}

#[test]
fn participant_conditions_respect_roles() {
    assert_all(
        &killmail(),
        &[
            "",
            r#"alliance:"Goonswarm Federation""#,
            "alliance:498125261",
            "-victim.alliance:1354830081",
            "attacker.ship:Nyx weapon:\"Siege Module I\"",
            "final.ship:Brutix -final.ship:Nyx",
            "victim.group:Dreadnought category:Structure ship:*rutix",
            "-attacker.alliance:498125261",
            "attacker(NOT alliance:1354830081)",
            "attacker(ship:Nyx alliance:1354830081) -attacker(ship:Brutix alliance:1354830081)",
            "victim(group:Dreadnought NOT ship:Nyx)",
            "attacker(ship:Nyx OR group:Titan)",
            "attacker(-character:(90000002 OR 90000003))",
        ],
        &[
            "victim.ship:Nyx",
            "-alliance:\"Goonswarm Federation\"",
            "-attacker.alliance:1354830081",
            "victim.category:Structure",
            "weapon:Nyx",
            "attacker(ship:Brutix weapon:\"Siege Module I\")",
            "-(npc OR ship:Nyx)",
        ],
    );
}

#[test]
fn conditions_match_the_rest_of_the_killmail() {
    assert_all(
        &killmail(),
        &[
            "item:PLEX item_group:1875 item:3465 -item:Nyx",
            "system:Turnur region:Metropolis space:(nullsec OR lowsec) class:8 near(Jita, 7ly) -near(Jita, 1j)",
            "security=0.4 security>0.3 security!=0.36 security<0.5",
            "value>=1.5b value<=1.5b value!=1b dropped=0 points>=10 attackers=3 pilots=2 damage>999999",
            "war -npc -solo -ganked label:pvp label:\"#:2+\" -label:\"#:2\"",
            "hour:23 hour:22-3 -hour:0-22 hour!=0",
            "age<=2h age>=120m age>1.5h age<1d",
        ],
        &[
            "item:Nyx",
            "system:Jita",
            "space:wormhole",
            "value>1.5b",
            "attackers=2",
            "ganked",
            "hour:3-22",
            "age<2h",
            "age>2h",
        ],
    );
}

#[test]
fn absent_value_makes_only_its_own_condition_false() {
    let mut killmail = killmail();
    killmail.value = None;
    killmail.points = None;
    killmail.kill_time = None;
    killmail.location = Some(Location {
        system_id: 30_002_086,
        region_id: 10_000_042,
        ..Location::default()
    });
    assert_all(
        &killmail,
        &[
            "NOT value>=1b",
            "-value!=1b",
            "-points<5",
            "-space:lowsec space!=lowsec",
            "-class:3",
            "-security<1",
            "-hour:23",
            "-age<2h",
            "-near(Turnur, 7ly)",
        ],
        &[
            "value<1b",
            "value!=1b",
            "points!=3",
            "system:Turnur",
            "region:Metropolis",
            "security!=0.1",
            "class!=3",
            "space:lowsec",
            "near(Turnur, 7ly)",
            "hour:0-23",
            "age>0m",
            "fitted>=0",
        ],
    );
    killmail.location = Some(Location {
        space: Space::Abyssal.into(),
        ..Location::default()
    });
    assert_all(&killmail, &["space:abyssal", "-class:3"], &["class!=3", "class<25"]);
    assert_all(
        &Killmail::default(),
        &["-alliance:1", "attackers=0", "-damage>=0", "-victim(NOT ship:1)"],
        &[
            "victim(NOT ship:1)",
            "attacker(NOT ship:1)",
            "damage>=0",
            "final.ship:1",
        ],
    );
}

#[test]
fn security_compares_as_displayed() {
    let at = |security_status| Killmail {
        location: Some(Location {
            security_status,
            space: Space::Lowsec.into(),
            ..Location::default()
        }),
        ..Killmail::default()
    };
    for (security, displayed) in [
        (0.9459, "0.9"),
        (1.0, "1"),
        (0.45, "0.5"),
        (0.449_999, "0.4"),
        (0.05, "0.1"),
        (0.049, "0.1"),
        (0.000_001, "0.1"),
        (0.0, "0"),
        (-0.04, "0"),
        (-0.05, "0.0"),
        (-0.06, "-0.1"),
        (-0.99, "-1"),
        (0.35, "0.4"),
        (0.25, "0.3"),
        (0.15, "0.2"),
    ] {
        let text = format!("security={displayed} -security!={displayed} security<={displayed}");
        assert!(matches(&text, &at(security)), "{security} is displayed as {displayed}");
    }
}

#[test]
fn filters_compile_up_to_every_limit() {
    let spaces = |count: usize| format!("npc{}", " ".repeat(count - 3));
    compiled(&spaces(2_000));
    assert_eq!(
        (invalid(&spaces(2_001))[0].start, invalid(&spaces(2_001))[0].end),
        (2_000, 2_001)
    );
    let nested = |levels: usize| format!("{}npc{}", "(".repeat(levels), ")".repeat(levels));
    compiled(&nested(64));
    assert_eq!(invalid(&nested(65))[0].start, 64);
    let negated = |levels: usize| format!("{}npc", "NOT ".repeat(levels));
    let deepest = compiled(&negated(64));
    assert_eq!(compiled(&deepest.canonical).filter, deepest.filter);
    assert!(matches(
        &negated(64),
        &Killmail {
            npc: true,
            ..Killmail::default()
        }
    ));
    invalid(&negated(65));
    let grouped = |levels: usize| format!("{}attacker(ship:Nyx){}", "(".repeat(levels), ")".repeat(levels));
    compiled(&grouped(63));
    invalid(&grouped(64));
    compiled("item:**");
    invalid("item:** ship:Nyx");
    // An OR and an AND on every level give the deepest tree that a text can produce.
    let both = format!("{}npc{}", "(npc OR solo ".repeat(64), ")".repeat(64));
    Program::new(&compiled(&both).filter).unwrap();
}

#[test]
fn names_returns_only_names_from_esi() {
    use EntityKind::{Alliance, Character, Corporation};
    assert_eq!(
        names(
            "alliance:(A OR 5 OR \"5\" OR a) victim.alliance:a -character:\" B \" attacker(corporation:A ship:Nyx) near(Jita, 5j) weapon:x"
        ),
        [
            (Alliance, "A".to_owned()),
            (Alliance, "5".to_owned()),
            (Character, "B".to_owned()),
            (Corporation, "A".to_owned())
        ]
    );
    assert_eq!(names("alliance:A ("), []);
    assert_eq!(names(""), []);
    assert_eq!(
        compile("alliance:Away OR victim.alliance:(Away OR 1)", &Universe),
        CompileOutcome::Unavailable(vec![(Alliance, "Away".to_owned())])
    );
    // A definite error is reported even if another name is unavailable.
    assert_eq!(invalid("alliance:Away OR ship:Nyxx").len(), 1);
}

#[test]
fn spans_refer_to_the_original_text() {
    // Characters of two and three bytes and invisible ones come before the error.
    let text = "label:“ä”\u{200e} value≥1b \u{202e}ship:\u{200b}Nyxx";
    let diagnostics = invalid(text);
    let (start, end) = (diagnostics[0].start as usize, diagnostics[0].end as usize);
    assert_eq!(&text[start..end], "Nyxx");
    assert_eq!(compiled("ship:Ny\u{200b}x\u{0}\n\tnpc").canonical, "ship:Nyx npc");
}

#[test]
fn invalid_trees_are_rejected() {
    let leaf = || {
        Node::Flag(v1::FilterFlag {
            flag: v1::KillmailFlag::Npc.into(),
        })
    };
    let filter = |nodes: Vec<Option<Node>>| v1::Filter {
        language_version: LANGUAGE_VERSION,
        nodes: nodes.into_iter().map(|node| FilterNode { node }).collect(),
    };
    let all = |operands: &[u32]| {
        Some(Node::All(v1::FilterAll {
            operands: operands.to_vec(),
        }))
    };
    let any = |operands: &[u32]| {
        Some(Node::Any(v1::FilterAny {
            operands: operands.to_vec(),
        }))
    };
    let not = |operand| Some(Node::Not(v1::FilterNot { operand }));
    let value = |ids: &[u64]| FilterValue {
        text: "x".into(),
        ids: ids.to_vec(),
    };
    let participant = |role: i32, field: i32, ids: &[u64]| {
        Some(Node::Participant(v1::FilterParticipant {
            role,
            field,
            values: vec![value(ids)],
        }))
    };
    let group = |role: i32| Some(Node::ParticipantGroup(v1::FilterParticipantGroup { role, operand: 1 }));
    let number = |field: i32, comparison: i32, value: f64| {
        Some(Node::Number(v1::FilterNumber {
            field,
            comparison,
            value,
        }))
    };
    let near = |ids: &[u64], reach: Option<v1::filter_near::Reach>| {
        Some(Node::Near(v1::FilterNear {
            origin: Some(value(ids)),
            reach,
            system_ids: vec![1],
            distances: None,
        }))
    };
    let deep = (1..=256).map(not).chain([Some(leaf())]).collect();
    let broken = [
        filter(vec![]),
        filter(vec![None]),
        filter(vec![all(&[1]), None]),
        filter(vec![all(&[0])]),
        filter(vec![all(&[1])]),
        filter(vec![all(&[1, 1]), Some(leaf())]),
        filter(vec![all(&[1]), Some(leaf()), Some(leaf())]),
        filter(vec![not(1), all(&[])]),
        filter(vec![not(2), Some(leaf()), Some(leaf())]),
        filter(vec![any(&[1]), Some(leaf())]),
        filter(vec![any(&[])]),
        filter(vec![not(u32::MAX)]),
        filter(deep),
        filter(vec![participant(0, 1, &[1])]),
        filter(vec![participant(99, 1, &[1])]),
        filter(vec![participant(1, 0, &[1])]),
        filter(vec![participant(1, 1, &[])]),
        filter(vec![participant(1, 1, &[0])]),
        filter(vec![participant(5, 1, &[1])]),
        filter(vec![participant(2, 8, &[1])]),
        filter(vec![Some(Node::Participant(v1::FilterParticipant {
            role: 1,
            field: 1,
            values: vec![],
        }))]),
        filter(vec![group(2), participant(5, 8, &[1])]),
        filter(vec![group(2), participant(2, 1, &[1])]),
        filter(vec![group(1), participant(5, 1, &[1])]),
        filter(vec![group(3), Some(leaf())]),
        filter(vec![group(3)]),
        filter(vec![Some(Node::Item(v1::FilterItem {
            kind: EntityKind::Category.into(),
            values: vec![value(&[1])],
        }))]),
        filter(vec![Some(Node::Place(v1::FilterPlace {
            kind: 0,
            values: vec![value(&[1])],
        }))]),
        filter(vec![Some(Node::Space(v1::FilterSpace { spaces: vec![] }))]),
        filter(vec![Some(Node::Space(v1::FilterSpace { spaces: vec![1, 0] }))]),
        filter(vec![Some(Node::Space(v1::FilterSpace { spaces: vec![1, 77] }))]),
        filter(vec![number(0, 1, 1.0)]),
        filter(vec![number(1, 0, 1.0)]),
        filter(vec![number(1, 1, f64::NAN)]),
        filter(vec![number(1, 1, f64::INFINITY)]),
        filter(vec![near(&[1], None)]),
        filter(vec![near(&[], Some(v1::filter_near::Reach::Jumps(1)))]),
        filter(vec![near(&[1, 2], Some(v1::filter_near::Reach::Jumps(1)))]),
        filter(vec![near(&[1], Some(v1::filter_near::Reach::LightYears(-1.0)))]),
        filter(vec![Some(Node::Flag(v1::FilterFlag { flag: 0 }))]),
        filter(vec![Some(Node::Label(v1::FilterLabel { labels: vec![] }))]),
        filter(vec![Some(Node::Hour(v1::FilterHour { from: 24, to: 0 }))]),
        filter(vec![Some(Node::Age(v1::FilterAge {
            comparison: 5,
            seconds: 1,
        }))]),
        v1::Filter {
            language_version: 2,
            ..compiled("npc").filter
        },
        v1::Filter::default(),
    ];
    for filter in broken {
        let error = Program::new(&filter).expect_err(&format!("{filter:?}"));
        assert!(error.to_string().contains("compile its text again"));
        assert!(describe(&filter).starts_with("Nothing: "));
        assert!(!invalid(&canonical(&filter)).is_empty());
    }
    Program::new(&filter(vec![all(&[])])).unwrap();
    Program::new(&filter((1..=255).map(not).chain([Some(leaf())]).collect())).unwrap();
}
