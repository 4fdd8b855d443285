//! Properties over random texts, random bytes and random killmails.

use proptest::{collection::vec, prelude::*, sample::select};
use prost::Message as _;
use prost_types::Timestamp;

use super::{super::program::Program, reference, universe, *};
use crate::v1::{Attacker, Item, Killmail, Location, Valuation, Victim};

/// Generates a condition on a participant, without the role.
fn participant() -> impl Strategy<Value = String> {
    let field = select(vec![
        "character",
        "corporation",
        "alliance",
        "faction",
        "ship",
        "group",
        "category",
    ]);
    (field, 0_usize..40, 1_usize..4, any::<bool>(), any::<bool>()).prop_map(|(field, first, count, listed, by_id)| {
        let kind = match field {
            "character" => EntityKind::Character,
            "corporation" => EntityKind::Corporation,
            "alliance" => EntityKind::Alliance,
            "faction" => EntityKind::Faction,
            "ship" => EntityKind::Type,
            "group" => EntityKind::Group,
            _ => EntityKind::Category,
        };
        let known: Vec<_> = universe::NAMES.iter().filter(|row| row.0 == kind).collect();
        let one = |index: usize| {
            let (_, id, name) = known[index % known.len()];
            if by_id { id.to_string() } else { print::quoted(name) }
        };
        if listed || count > 1 {
            let values: Vec<String> = (0..count).map(|offset| one(first + offset)).collect();
            format!("{field}:({})", values.join(" OR "))
        } else {
            format!("{field}={}", one(first))
        }
    })
}

fn group() -> impl Strategy<Value = String> {
    participant().prop_recursive(3, 8, 3, operators)
}

fn number() -> impl Strategy<Value = String> {
    let sign = || select(vec!["<", "<=", ">", ">=", "=", "!=", ":", "≥"]);
    prop_oneof![
        (
            select(vec!["value", "dropped", "destroyed", "fitted"]),
            sign(),
            0_u64..5_000_000,
            select(vec!["", "k", "m", "B", "t"])
        )
            .prop_map(|(field, sign, number, suffix)| {
                let (whole, thousandths) = (number / 1_000, number % 1_000);
                format!("{field}{sign}{whole}.{thousandths:03}{suffix}")
            }),
        (
            select(vec!["points", "attackers", "pilots", "damage"]),
            sign(),
            0_u32..6
        )
            .prop_map(|(f, s, n)| format!("{f} {s} {n}")),
        (sign(), -11_i32..11).prop_map(|(s, n)| format!("security{s}{:.1}", f64::from(n) / 10.0)),
        (sign(), 1_u32..26).prop_map(|(s, n)| format!("class{s}{n}")),
        (
            select(vec!["class", "attackers", "value"]),
            select(vec![":", "!="]),
            vec(1_u32..9, 1..4)
        )
            .prop_map(|(f, s, n)| {
                let numbers: Vec<String> = n.iter().map(u32::to_string).collect();
                format!("{f}{s}({})", numbers.join(" OR "))
            }),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (select(vec!["", "any.", "victim.", "Attacker.", "final."]), participant()).prop_map(|(role, rest)| format!("{role}{rest}")),
        2 => (select(vec!["attacker", "victim"]), group()).prop_map(|(role, inner)| format!("{role}({inner})")),
        1 => participant().prop_map(|text| text.replacen([':', '='], "!=", 1)),
        3 => number(),
        1 => select(vec!["weapon:Nyx", "attacker.weapon_group:(Titan OR Carrier)", "item:*Navy*", "item:PLEX", "item_group:(Titan OR 12)"]).prop_map(str::to_owned),
        2 => select(vec!["system:Jita", "system:(C-J6MT OR \"new caldari\")", "region:10000002", "constellation:kimotoro", "space:(lowsec OR wormhole)", "space!=highsec"]).prop_map(str::to_owned),
        1 => select(vec!["near(Turnur, 7ly)", "near( 30000142 ,2.50LY)", "NEAR(\"New Caldari\", 7j)"]).prop_map(str::to_owned),
        2 => select(vec!["npc", "SOLO", "awox", "war", "ganked", "label:pvp", "label:(\"#:10+\" OR 'x)", "label!=\"say \\\"x\\\\\""]).prop_map(str::to_owned),
        1 => (0_u32..24, 0_u32..24).prop_map(|(from, to)| format!("hour:{from}-{to}")),
        1 => vec(0_u32..24, 1..4).prop_map(|hours| format!("hour:({})", hours.iter().map(u32::to_string).collect::<Vec<_>>().join(" OR "))),
        1 => (select(vec!["<", "<=", ">", ">="]), 0_u32..400, select(vec!["m", "h", "d"])).prop_map(|(s, n, u)| format!("age{s}{n}{u}")),
        1 => (0_u32..10_000).prop_map(|n| format!("age>{}.{:02}m", n / 100, n / 5 % 20 * 5)),
    ]
}

fn operators(inner: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    prop_oneof![
        (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} {b}")),
        (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and ({b})")),
        (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} OR {b}")),
        (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
        inner.clone().prop_map(|a| format!("-({a})")),
        inner.clone().prop_map(|a| format!("NOT ({a})")),
        inner.prop_map(|a| format!("NOT {a}")),
    ]
}

pub(super) fn filter() -> impl Strategy<Value = String> {
    condition().prop_recursive(5, 24, 3, operators)
}

/// Generates texts that are almost filters.
fn scrambled() -> impl Strategy<Value = String> {
    let pieces = vec![
        "ship", ":", "(", ")", "Nyx", " OR ", " AND ", "NOT ", "-", "–", "\"", "“", "\\", ",", "value", ">=", "1b",
        "1,000", "near", "Jita", "7ly", "attacker", "victim", "final", ".", "@", "npc", " ", "*", "hour", "22-3",
        "age", "<", "2h", "!=", "≥", "\u{200b}", "\u{202e}", "é", "🚀", "'", "’", "0", "class", "label", "=",
    ];
    vec(select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

/// Generates random bytes, converted to text.
fn bytes() -> impl Strategy<Value = String> {
    vec(any::<u8>(), 0..300).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn id(kind: EntityKind) -> impl Strategy<Value = u64> {
    let mut known: Vec<u64> = universe::NAMES
        .iter()
        .filter(|row| row.0 == kind)
        .map(|row| row.1)
        .collect();
    known.extend([0, 12]);
    select(known)
}

fn small(kind: EntityKind) -> impl Strategy<Value = u32> {
    id(kind).prop_map(|id| u32::try_from(id).unwrap())
}

fn ship() -> impl Strategy<Value = (u32, u32, u32)> {
    (
        small(EntityKind::Type),
        small(EntityKind::Group),
        small(EntityKind::Category),
    )
}

fn owner() -> impl Strategy<Value = (u64, u64, u64, u32)> {
    (
        id(EntityKind::Character),
        id(EntityKind::Corporation),
        id(EntityKind::Alliance),
        small(EntityKind::Faction),
    )
}

fn item() -> impl Strategy<Value = Item> {
    let leaf = (small(EntityKind::Type), small(EntityKind::Group)).prop_map(|(type_id, group_id)| Item {
        type_id,
        group_id,
        ..Item::default()
    });
    leaf.prop_recursive(3, 6, 2, |inner| {
        (inner.clone(), vec(inner, 0..3)).prop_map(|(item, items)| Item { items, ..item })
    })
}

fn attacker() -> impl Strategy<Value = Attacker> {
    (
        owner(),
        ship(),
        small(EntityKind::Type),
        small(EntityKind::Group),
        any::<bool>(),
    )
        .prop_map(|(owner, ship, weapon, weapon_group, final_blow)| Attacker {
            character_id: owner.0,
            corporation_id: owner.1,
            alliance_id: owner.2,
            faction_id: owner.3,
            ship_type_id: ship.0,
            ship_group_id: ship.1,
            ship_category_id: ship.2,
            weapon_type_id: weapon,
            weapon_group_id: weapon_group,
            final_blow,
            ..Attacker::default()
        })
}

fn victim() -> impl Strategy<Value = Victim> {
    (owner(), ship(), 0_u64..6, vec(item(), 0..3)).prop_map(|(owner, ship, damage_taken, items)| Victim {
        character_id: owner.0,
        corporation_id: owner.1,
        alliance_id: owner.2,
        faction_id: owner.3,
        ship_type_id: ship.0,
        ship_group_id: ship.1,
        ship_category_id: ship.2,
        damage_taken,
        items,
    })
}

fn place() -> impl Strategy<Value = Option<Location>> {
    let system = select(vec![
        30_000_142, 30_000_145, 30_002_187, 30_002_086, 30_000_839, 30_045_345, 31_002_238, 1,
    ]);
    (system, any::<bool>()).prop_map(|(system, known)| {
        let location = universe::location(system)?;
        Some(if known {
            location
        } else {
            Location { space: 0, ..location }
        })
    })
}

pub(super) fn killmail() -> impl Strategy<Value = Killmail> {
    let isk = || proptest::option::of(select(vec![0.0, 1.0, 4.999e6, 1e9, 1.5e9, 3e12, f64::NAN]));
    let value = proptest::option::of(
        (isk(), isk(), isk(), isk()).prop_map(|(total, fitted, dropped, destroyed)| Valuation {
            total,
            fitted,
            dropped,
            destroyed,
            droppable: None,
        }),
    );
    let times = proptest::option::of((0_i64..200_000, 0_i32..2, 0_i64..40_000));
    let labels = vec(
        select(vec!["PVP", "pvp", "#:10+", "ganked", "'x", "say \"x\\", "cat:6"]),
        0..3,
    );
    let flags = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        0_u64..2,
        proptest::option::of(0_u32..6),
    );
    (
        place(),
        proptest::option::weighted(0.9, victim()),
        vec(attacker(), 0..5),
        value,
        times,
        labels,
        flags,
    )
        .prop_map(
            |(location, victim, attackers, value, times, labels, (npc, solo, awox, war_id, points))| Killmail {
                location,
                victim,
                attackers,
                value,
                kill_time: times.map(|(seconds, nanos, _)| Timestamp { seconds, nanos }),
                ingested_time: times.map(|(seconds, _, age)| Timestamp {
                    seconds: seconds + age,
                    nanos: 0,
                }),
                labels: labels.into_iter().map(str::to_owned).collect(),
                npc,
                solo,
                awox,
                war_id,
                points,
                ..Killmail::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_text_compiles_to_the_same_filter(text in filter()) {
        prop_assume!(text.chars().count() <= 1_500);
        let first = compiled(&text);
        let again = compiled(&first.canonical);
        prop_assert_eq!(&again.filter, &first.filter, "{}", first.canonical);
        prop_assert_eq!(again.canonical, first.canonical);
        prop_assert_eq!(again.description, first.description);
        prop_assert_eq!(Tree::from_filter(&first.filter).unwrap().to_filter(), first.filter);
    }

    #[test]
    fn warning_suggestions_compile(text in filter()) {
        prop_assume!(text.chars().count() <= 1_500);
        for warning in compiled(&text).warnings {
            for suggestion in warning.suggestions {
                compiled(&suggestion);
            }
        }
    }

    #[test]
    fn program_agrees_with_the_reference(text in filter(), killmails in vec(killmail(), 8)) {
        prop_assume!(text.chars().count() <= 1_500);
        let filter = compiled(&text).filter;
        let program = Program::new(&filter).unwrap();
        for killmail in killmails {
            prop_assert_eq!(program.matches(&killmail), reference::matches(&filter, &killmail), "{} {:?}", text, killmail);
        }
    }

    /// Any text compiles or has diagnostics, and their spans lie within the text.
    #[test]
    fn compile_never_panics(text in prop_oneof![scrambled(), any::<String>(), ".*", bytes()]) {
        names(&text);
        match compile(&text, &Universe) {
            CompileOutcome::Compiled(first) => {
                let again = compiled(&first.canonical);
                prop_assert_eq!(again.filter, first.filter, "{} = {}", text, first.canonical);
            }
            CompileOutcome::Invalid(diagnostics) => {
                prop_assert!(!diagnostics.is_empty());
                for diagnostic in diagnostics {
                    let (start, end) = (diagnostic.start as usize, diagnostic.end as usize);
                    prop_assert!(text.get(start..end).is_some(), "{:?} {:?}", text, diagnostic);
                    prop_assert!(!diagnostic.message.is_empty());
                }
            }
            CompileOutcome::Unavailable(names) => prop_assert!(!names.is_empty()),
        }
    }

    /// The program and the set accept the same altered trees.
    #[test]
    fn altered_trees_never_panic(text in filter(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), killmail in killmail()) {
        prop_assume!(text.chars().count() <= 1_500);
        let mut bytes = compiled(&text).filter.encode_to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let Ok(filter) = v1::Filter::decode(bytes.as_slice()) else { return Ok(()) };
        let mut set = FilterSet::new();
        match Program::new(&filter) {
            Ok(program) => {
                set.add(7, &filter).unwrap();
                prop_assert_eq!(!set.matches(&killmail).is_empty(), program.matches(&killmail), "{:?}", filter);
            }
            Err(error) => prop_assert_eq!(set.add(7, &filter), Err(error)),
        }
        describe(&filter);
        canonical(&filter);
    }
}
