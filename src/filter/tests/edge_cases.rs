//! Rules of the language that no other test covers, in the order of its definition.

use super::{super::program::Program, *};
use crate::v1::{Killmail, Location, Victim, filter_node::Node};

/// Asserts that both texts of each pair compile to the same filter.
#[track_caller]
fn same(pairs: &[(&str, &str)]) {
    for (one, other) in pairs {
        assert_eq!(compiled(one).filter, compiled(other).filter, "{one} is {other}");
    }
}

#[test]
fn blank_text_matches_everything() {
    same(&[(" \t ", ""), ("\u{200b}\u{202e}", "")]);
    let everything = Program::new(&compiled("").filter).unwrap();
    assert!(everything.matches(&Killmail::default()));
}

#[test]
fn alternative_spellings_compile_to_the_same_filter() {
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
        // Phones and word processors produce these characters in place of plain ones.
        ("–npc", "-npc"),
        ("—(npc OR solo)", "-(npc OR solo)"),
        ("value≤1b security≥–0.5 class≠3", "value<=1b security>=-0.5 class!=3"),
        ("ship:„Brutix Navy Issue“", "ship:\"Brutix Navy Issue\""),
        ("character:\"Mynxee O‘Neill\"", "character:\"Mynxee O'Neill\""),
        ("system:C‑J6MT", "system:C-J6MT"),
        // `!=` equals `-` only for fields that are not numbers.
        ("space!=lowsec", "-space:lowsec"),
        ("label!=pvp", "-label:pvp"),
    ]);
    assert_ne!(compiled("class!=3").filter, compiled("-class:3").filter);
}

#[test]
fn name_resolves_to_every_type_that_has_it() {
    let ids = |text: &str| match &compiled(text).filter.nodes[0].node {
        Some(Node::Participant(participant)) => participant.values[0].ids.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(ids("ship:\"Two Of A Name\""), [40_001, 40_002]);
    assert_eq!(ids("weapon:\"two of a name\""), [40_001, 40_002]);
    assert_eq!(ids("victim.ship:Keepstar"), [35_834]);
    assert_eq!(ids("attacker.ship:PLEX"), [44_992]);
    // A wildcard works in quotes too, and canonical text keeps it.
    assert_eq!(ids("ship:\"*navy*\""), [33_151]);
    assert_eq!(compiled("ship:\"*navy issue\"").canonical, "ship:\"*navy issue\"");
}

/// Autocomplete writes names this way, so they must compile to the same name.
#[test]
fn names_are_quoted_only_when_needed() {
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
fn star_is_literal_in_corporation_and_alliance_names() {
    let filter = compiled("corporation:Star*Dust").filter;
    assert_eq!(canonical(&filter), "corporation:Star*Dust");
    invalid("corporation:Star*");
    invalid("alliance:*");
}

/// A resolver that panics when a name is looked up.
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
    /// Returns more systems than the limit for ids, which does not apply to `near( )`.
    fn within_light_years(&self, _: u64, _: f64) -> Option<Vec<u32>> {
        Some((1..=8_000).collect())
    }
    fn within_jumps(&self, _: u64, _: u32) -> Option<Vec<u32>> {
        Some((1..=8_000).collect())
    }
}

#[test]
fn ids_compile_without_a_lookup() {
    let fields = super::super::fields::bare_names();
    let named = fields
        .into_iter()
        .filter(|name| super::super::fields::Field::named(name).is_ok_and(|field| field.kind().is_some()));
    let mut count = 0;
    for field in named {
        for id in ["1", "00001", "18446744073709551615"] {
            // Two conditions on the place would look up locations to check for a contradiction.
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
    // Digits in quotes are a name, which does not exist here.
    assert_eq!(invalid("alliance:\"1354830081\"")[0].start, 9);
}

#[test]
fn near_has_no_maximum_distance() {
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
fn label_can_be_any_text() {
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
fn diagnostic_spans_cover_the_error() {
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

/// The limit counts characters, not bytes.
#[test]
fn length_limit_counts_characters() {
    let label = |count: usize| format!("label:{}", "é".repeat(count - 6));
    compiled(&label(2_000));
    let first = &invalid(&label(2_001))[0];
    assert_eq!(first.start as usize, 6 + 2 * 1_994);
    assert!(first.message.contains("2001 characters"), "{}", first.message);
}

#[test]
fn class_conditions_need_only_the_class() {
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
