//! Sentences of the language's definition that no other test holds, in its order.

use super::{super::program::Program, *};
use crate::v1::{Killmail, Location, Victim, filter_node::Node};

/// Both texts are one filter.
#[track_caller]
fn same(pairs: &[(&str, &str)]) {
    for (one, other) in pairs {
        assert_eq!(compiled(one).filter, compiled(other).filter, "{one} is {other}");
    }
}

#[test]
fn nothing_written_is_everything() {
    same(&[(" \t ", ""), ("\u{200b}\u{202e}", "")]);
    let everything = Program::new(&compiled("").filter).unwrap();
    assert!(everything.matches(&Killmail::default()));
}

#[test]
fn what_is_written_in_another_way_is_the_same() {
    same(&[
        ("ship=Nyx", "ship:Nyx"),
        ("SHIP:nYX", "ship:Nyx"),
        ("ship : Nyx", "ship:Nyx"),
        ("ship != Nyx", "-ship:Nyx"),
        ("ship!=(Nyx OR Brutix)", "-ship:(Nyx OR Brutix)"),
        ("not ship:Nyx", "-ship:Nyx"),
        ("npc and solo", "npc solo"),
        ("npc Or solo", "npc OR solo"),
        ("npc solo OR awox war", "(npc AND solo) OR (awox AND war)"),
        ("-npc OR solo", "(NOT npc) OR solo"),
        ("any.ship:Nyx", "ship:Nyx"),
        ("attacker(ship!=Nyx)", "attacker(-ship:Nyx)"),
        ("hour:5", "hour:5-5"),
        ("class=3", "class:3"),
        ("value:1b", "value=1000000000"),
        ("value >= 1.5b", "value>=1500m"),
        ("region:\"The Forge\"", "region:“the forge”"),
        // What phones and word processors make of plain signs.
        ("–npc", "-npc"),
        ("—(npc OR solo)", "-(npc OR solo)"),
        ("value≤1b security≥–0.5 class≠3", "value<=1b security>=-0.5 class!=3"),
        ("ship:„Brutix Navy Issue“", "ship:\"Brutix Navy Issue\""),
        ("character:\"Mynxee O‘Neill\"", "character:\"Mynxee O'Neill\""),
        ("system:C‑J6MT", "system:C-J6MT"),
        // `!=` of a field without numbers is `-`; of a number it is not.
        ("space!=lowsec", "-space:lowsec"),
        ("label!=pvp", "-label:pvp"),
    ]);
    assert_ne!(compiled("class!=3").filter, compiled("-class:3").filter);
}

#[test]
fn a_name_is_everything_that_bears_it_and_ship_is_any_type() {
    let ids = |text: &str| match &compiled(text).filter.nodes[0].node {
        Some(Node::Participant(participant)) => participant.values[0].ids.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(ids("ship:\"Two Of A Name\""), [40_001, 40_002]);
    assert_eq!(ids("weapon:\"two of a name\""), [40_001, 40_002]);
    assert_eq!(ids("victim.ship:Keepstar"), [35_834]);
    assert_eq!(ids("attacker.ship:PLEX"), [44_992]);
    // In quotes too, and it stays a wildcard in canonical text.
    assert_eq!(ids("ship:\"*navy*\""), [33_151]);
    assert_eq!(compiled("ship:\"*navy issue\"").canonical, "ship:\"*navy issue\"");
}

/// What an autocomplete offers is read again as the name that it is.
#[test]
fn names_are_quoted_where_they_must_be() {
    for (known, text) in [
        ("Jita", "Jita"),
        ("C-J6MT", "C-J6MT"),
        ("Goonswarm Federation", "\"Goonswarm Federation\""),
        ("12345", "\"12345\""),
        ("-10-", "\"-10-\""),
        ("or", "\"or\""),
        ("a\"b\\", "\"a\\\"b\\\\\""),
    ] {
        assert_eq!(name(known), text);
    }
    for (kind, _, known) in universe::NAMES.iter().filter(|row| row.0 == EntityKind::Type) {
        let text = format!("ship:{}", name(known));
        assert_eq!(compiled(&text).warnings, [], "{kind:?} {text}");
    }
}

#[test]
fn in_names_of_people_a_star_is_a_letter() {
    let filter = compiled("corporation:Star*Dust").filter;
    assert_eq!(canonical(&filter), "corporation:Star*Dust");
    invalid("corporation:Star*");
    invalid("alliance:*");
}

/// Whoever is asked for a name here has made a mistake.
struct EmptyResolver;

impl Resolve for EmptyResolver {
    fn exact(&self, kind: EntityKind, name: &str) -> Resolution {
        panic!("an id was looked up: {kind:?} {name}")
    }
    fn wildcard(&self, kind: EntityKind, pattern: &str) -> Vec<u64> {
        panic!("an id was looked up: {kind:?} {pattern}")
    }
    fn similar(&self, _: EntityKind, _: &str) -> Vec<String> {
        Vec::new()
    }
    /// More than a filter may name by itself.
    fn within_light_years(&self, _: u64, _: f64) -> Option<Vec<u32>> {
        Some((1..=8_000).collect())
    }
    fn within_jumps(&self, _: u64, _: u32) -> Option<Vec<u32>> {
        Some((1..=8_000).collect())
    }
}

#[test]
fn an_id_needs_no_look_up_whatever_it_is_of() {
    let fields = super::super::fields::bare_names();
    let named = fields
        .into_iter()
        .filter(|name| super::super::fields::Field::named(name).is_ok_and(|field| field.kind().is_some()));
    let mut count = 0;
    for field in named {
        for id in ["1", "00001", "18446744073709551615"] {
            // One condition at a time: of two on the place it is asked whether they can hold together.
            for text in [format!("{field}:{id}"), format!("{field}:(2 OR {id})")] {
                assert!(
                    matches!(compile(&text, &EmptyResolver), CompileOutcome::Compiled(_)),
                    "{text}"
                );
            }
        }
        for zero in ["0", "(1 OR 0)", "000"] {
            let text = format!("{field}:{zero}");
            assert!(
                matches!(compile(&text, &EmptyResolver), CompileOutcome::Invalid(_)),
                "{text}"
            );
        }
        count += 1;
    }
    assert_eq!(count, 14);
    // In quotes digits are a name, and nobody is called so.
    assert_eq!(invalid("alliance:\"1354830081\"")[0].start, 9);
}

#[test]
fn near_is_as_large_as_it_is() {
    for text in [
        "near(30000142, 1000000ly)",
        "near(30000142, 4294967296j)",
        "near(1, 0ly) OR near(2, 0j)",
    ] {
        let CompileOutcome::Compiled(compiled) = compile(text, &EmptyResolver) else {
            panic!("{text} is a filter");
        };
        let CompileOutcome::Compiled(again) = compile(&compiled.canonical, &EmptyResolver) else {
            panic!("{} is a filter", compiled.canonical);
        };
        assert_eq!(again.filter, compiled.filter, "{text}");
    }
}

#[test]
fn a_label_is_any_text() {
    let with = |label: &str| Killmail {
        labels: vec![label.to_owned()],
        ..Killmail::default()
    };
    for (text, label) in [
        ("label:#:10+", "#:10+"),
        ("label:ISK:1B+", "isk:1b+"),
        ("label:<=>", "<=>"),
        ("label:@me", "@ME"),
        ("label:0", "0"),
        ("label:-x", "-X"),
        ("label:*", "*"),
        ("label:\"a \\\"b\\\" \\\\ c\"", "A \"b\" \\ c"),
        ("label:\"or\"", "OR"),
        ("label:ÄÖ", "äö"),
    ] {
        let program = Program::new(&compiled(text).filter).unwrap();
        assert!(program.matches(&with(label)), "{text}");
        assert!(!program.matches(&with("something else")), "{text}");
        let again = compiled(&compiled(text).canonical);
        assert_eq!(again.filter, compiled(text).filter, "{text}");
    }
}

#[test]
fn a_span_ends_after_what_is_wrong_and_lies_at_the_end_where_something_is_missing() {
    for (text, start, end) in [
        ("npc ship:Nyxx", 9, 13),
        ("npc ship:\"Nyx x\" solo", 9, 16),
        ("npc shp:Nyx", 4, 7),
        ("npc )", 4, 5),
        ("npc AND", 7, 7),
        ("ship:", 5, 5),
        ("ship:(Nyx", 9, 9),
        ("(npc", 4, 4),
        ("near(Jita, 5j", 13, 13),
    ] {
        let first = &invalid(text)[0];
        assert_eq!((first.start, first.end), (start, end), "{text}: {}", first.message);
    }
}

/// Characters are counted, not bytes.
#[test]
fn the_longest_text_is_counted_in_characters() {
    let label = |count: usize| format!("label:{}", "é".repeat(count - 6));
    compiled(&label(2_000));
    let first = &invalid(&label(2_001))[0];
    assert_eq!(first.start as usize, 6 + 2 * 1_994);
    assert!(first.message.contains("2001 characters"), "{}", first.message);
}

#[test]
fn places_are_compared_where_they_are_known() {
    let program = |text: &str| Program::new(&compiled(text).filter).unwrap();
    let thera = Killmail {
        location: Some(Location {
            space: crate::v1::Space::Wormhole.into(),
            wormhole_class: 12,
            ..Location::default()
        }),
        victim: Some(Victim::default()),
        ..Killmail::default()
    };
    for text in ["class:(12 OR 13)", "class>=12", "class<=25", "class!=11"] {
        assert!(program(text).matches(&thera), "{text}");
    }
    for text in ["class<12", "class:(1 OR 2)", "class!=12", "victim.ship:1"] {
        assert!(!program(text).matches(&thera), "{text}");
    }
}
