//! Comparison of the filter set with its filters evaluated one by one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    properties::{filter, killmail},
    reference, *,
};
use crate::v1::{Attacker, FilterNode, FilterParticipant, FilterValue, Killmail, Victim, filter_node::Node};

type Model = BTreeMap<u64, v1::Filter>;

/// An operation on a set.
#[derive(Debug, Clone)]
enum Step {
    Add(u64, Box<v1::Filter>),
    Remove(u64),
    /// Copies the set, as readers do.
    Copy,
}

/// Generates few different ids, so that they repeat, and sometimes the largest possible ones.
fn id() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0_u64..12, 1 => select(vec![u64::MAX, u64::MAX - 1, 1 << 62])]
}

fn step() -> impl Strategy<Value = Step> {
    let tree = prop_oneof![
        4 => filter().prop_filter("a text of ordinary length", |text| text.chars().count() <= 1_500)
            .prop_map(|text| compiled(&text).filter),
        1 => wide(),
    ];
    prop_oneof![
        6 => (id(), tree).prop_map(|(id, tree)| Step::Add(id, Box::new(tree))),
        3 => id().prop_map(Step::Remove),
        1 => Just(Step::Copy),
    ]
}

/// Generates filters with lists of more ids than the index uses as keys.
///
/// The lists occur alone, negated, in groups and beside other conditions.
fn wide() -> impl Strategy<Value = v1::Filter> {
    let known: Vec<String> = super::universe::NAMES
        .iter()
        .map(|(kind, id, _)| match kind {
            EntityKind::Group | EntityKind::Type | EntityKind::Alliance => id.to_string(),
            _ => (id % 3_000 + 1).to_string(),
        })
        .collect();
    let list = vec(select(known), 9..30).prop_map(|ids| format!("({})", ids.join(" OR ")));
    let shape = select(vec![
        "ship:L",
        "victim.ship:L",
        "final.alliance:L",
        "-attacker.group:L",
        "attacker(ship:L -alliance:L)",
        "attacker(group:Titan -ship:L) OR item:L",
        "group:L ship:L",
        "npc OR ship:L OR item:L",
        "solo alliance:L",
        "victim(ship:L OR alliance:L) -item_group:L",
    ]);
    (list, shape).prop_map(|(list, shape)| compiled(&shape.replace('L', &list)).filter)
}

fn expected(model: &Model, killmail: &Killmail) -> BTreeSet<u64> {
    let matching = model.iter().filter(|(_, filter)| reference::matches(filter, killmail));
    matching.map(|(id, _)| *id).collect()
}

#[track_caller]
fn assert_same(set: &FilterSet, model: &Model, killmail: &Killmail) {
    let found = set.matches(killmail);
    let distinct: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(found.len(), distinct.len(), "an id twice: {found:?}");
    let expected = expected(model, killmail);
    let wrong = distinct.symmetric_difference(&expected).next();
    if let Some(id) = wrong {
        let filter = model.get(id).map(canonical);
        panic!("{id}: in the set {}, {filter:?} on {killmail:?}", distinct.contains(id));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// After any sequence of additions and removals, the set and its earlier copies match what each filter matches alone.
    #[test]
    fn set_agrees_with_each_filter(steps in vec(step(), 1..40), killmails in vec(killmail(), 4)) {
        let (mut set, mut model) = (FilterSet::new(), Model::new());
        let mut copies = Vec::new();
        for step in steps {
            match step {
                Step::Add(id, filter) => {
                    set.add(id, &filter).unwrap();
                    model.insert(id, *filter);
                }
                Step::Remove(id) => prop_assert_eq!(set.remove(id), model.remove(&id).is_some()),
                Step::Copy => copies.push((set.clone(), model.clone())),
            }
            prop_assert_eq!(set.len(), model.len());
        }
        copies.push((set, model));
        for (set, model) in &copies {
            for killmail in &killmails {
                assert_same(set, model, killmail);
            }
        }
        // Removed filters leave no entries behind.
        for (mut set, model) in copies {
            for id in model.keys() {
                prop_assert!(set.contains(*id) && set.remove(*id));
            }
            prop_assert!(set.is_empty());
            for killmail in &killmails {
                prop_assert_eq!(set.matches(killmail), Vec::<u64>::new());
            }
        }
    }
}

fn set_of(texts: &[&str]) -> (FilterSet, Model) {
    let model: Model = (0..).zip(texts).map(|(id, text)| (id, compiled(text).filter)).collect();
    let mut set = FilterSet::new();
    for (id, filter) in &model {
        set.add(*id, filter).unwrap();
    }
    (set, model)
}

#[test]
fn or_branches_with_equal_keys_match_like_the_filter() {
    let (mut set, model) = set_of(&[
        "(victim.ship:Nyx npc) OR (victim.ship:Nyx solo)",
        "attacker.alliance:1 OR (attacker.alliance:1 npc)",
        "attacker(alliance:1 ship:Nyx) OR attacker(alliance:1 ship:Brutix)",
    ]);
    let killmail = |npc, solo| Killmail {
        npc,
        solo,
        victim: Some(Victim {
            ship_type_id: 23_913,
            ..Victim::default()
        }),
        attackers: vec![Attacker {
            alliance_id: 1,
            ship_type_id: 16_229,
            ..Attacker::default()
        }],
        ..Killmail::default()
    };
    for (npc, solo) in [(false, false), (true, false), (false, true), (true, true)] {
        assert_same(&set, &model, &killmail(npc, solo));
    }
    (0..3).for_each(|id| assert!(set.remove(id)));
    assert!(set.matches(&killmail(true, true)).is_empty());
}

/// Copying the code of this filter to each of its many keys would take too much memory.
#[test]
fn long_or_matches_like_the_filter() {
    let parts: Vec<String> = (1..=40)
        .map(|id| format!("(attacker.ship:{id} victim.ship:{id} value>={id})"))
        .collect();
    let text = format!("({}) -npc", parts.join(" OR "));
    let (set, model) = set_of(&[&text, "npc"]);
    for id in [1, 40, 41] {
        for npc in [false, true] {
            let killmail = Killmail {
                npc,
                victim: Some(Victim {
                    ship_type_id: id,
                    ..Victim::default()
                }),
                attackers: (1..=id)
                    .map(|ship_type_id| Attacker {
                        ship_type_id,
                        ..Attacker::default()
                    })
                    .collect(),
                value: Some(v1::Valuation {
                    total: Some(60.0),
                    ..v1::Valuation::default()
                }),
                ..Killmail::default()
            };
            assert_same(&set, &model, &killmail);
        }
    }
}

/// EVE has no ids of this size, but a tree and a killmail can contain them.
#[test]
fn ids_too_large_for_a_key_are_found() {
    let of = |ids: Vec<u64>| v1::Filter {
        language_version: LANGUAGE_VERSION,
        nodes: vec![FilterNode {
            node: Some(Node::Participant(FilterParticipant {
                role: v1::ParticipantRole::Any.into(),
                field: v1::ParticipantField::Alliance.into(),
                values: vec![FilterValue {
                    text: String::new(),
                    ids,
                }],
            })),
        }],
    };
    let model: Model = [(1, of(vec![u64::MAX])), (2, of(vec![5])), (3, of(vec![5, 1 << 54]))].into();
    let mut set = FilterSet::new();
    for (id, filter) in &model {
        set.add(*id, filter).unwrap();
    }
    for alliance_id in [5, 1 << 54, u64::MAX, (1 << 54) + 5, 0] {
        let killmail = Killmail {
            attackers: vec![Attacker {
                alliance_id,
                ..Attacker::default()
            }],
            ..Killmail::default()
        };
        assert_same(&set, &model, &killmail);
    }
    (1..=3).for_each(|id| assert!(set.remove(id)));
}

/// Two labels with the same hash, which a test of `key` checks. A search over some 170 million hashes found them.
const ONE_HASH: [&str; 2] = ["rbnm4aasjdi", "bnr10pmey5i"];

#[test]
fn labels_with_equal_hashes_stay_distinct() {
    let [first, second] = ONE_HASH;
    let texts = [
        format!("label:{first}"),
        format!("label:{second}"),
        format!("-label:{second}"),
        format!("label:({first} OR {second})"),
        format!("label:{first} -label:{second}"),
        format!("label:{} solo", second.to_uppercase()),
        "label:pvp".to_owned(),
        "ganked".to_owned(),
    ];
    let killmails: Vec<Killmail> = [
        vec![],
        vec![first],
        vec![second],
        vec![first, second, "PVP"],
        vec!["Ganked"],
    ]
    .into_iter()
    .flat_map(|labels| {
        [false, true].map(|solo| Killmail {
            solo,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            ..Killmail::default()
        })
    })
    .collect();
    // The label that is added first gets the key. After its removal, the other one can get it.
    for turn in 0..texts.len() {
        let texts: Vec<&str> = (0..texts.len())
            .map(|at| texts[(at + turn) % texts.len()].as_str())
            .collect();
        let (mut set, mut model) = set_of(&texts);
        for gone in 0..texts.len() as u64 {
            killmails
                .iter()
                .for_each(|killmail| assert_same(&set, &model, killmail));
            assert!(set.remove(gone));
            model.remove(&gone);
            let again = compiled(texts[1]).filter;
            set.add(100, &again).unwrap();
            model.insert(100, again);
        }
        killmails
            .iter()
            .for_each(|killmail| assert_same(&set, &model, killmail));
    }
}

#[test]
fn invalid_tree_leaves_the_set_unchanged() {
    let (mut set, model) = set_of(&["npc"]);
    set.add(0, &v1::Filter::default()).unwrap_err();
    set.add(7, &v1::Filter::default()).unwrap_err();
    assert!(!set.contains(7) && !set.remove(7));
    let killmail = Killmail {
        npc: true,
        ..Killmail::default()
    };
    assert_same(&set, &model, &killmail);
}

#[test]
fn joined_filters_equal_the_joined_text() {
    let tree = |text: &str| compiled(text).filter;
    let (npc, either, everything) = (tree("npc"), tree("solo OR awox"), tree(""));
    assert_eq!(all_of([&npc, &either]), Ok(tree("npc (solo OR awox)")));
    assert_eq!(all_of([&everything, &npc]), Ok(npc.clone()));
    assert_eq!(any_of([&npc, &either]), Ok(tree("npc OR solo OR awox")));
    assert_eq!(any_of([&npc, &everything]), Ok(everything.clone()));
    assert_eq!(all_of([]), Ok(everything));
    any_of([]).unwrap_err();
    all_of([&npc, &v1::Filter::default()]).unwrap_err();
}

/// The index keeps several flags in one list. "None is set" is a stronger condition than "one is not set".
#[test]
fn negated_flags_match_only_when_none_is_set() {
    let (set, model) = set_of(&[
        "-(npc OR war)",
        "-(npc OR solo OR awox)",
        "npc OR -(solo OR war)",
        "-npc -war",
    ]);
    for flags in 0..16_u32 {
        let killmail = Killmail {
            npc: flags & 1 > 0,
            solo: flags & 2 > 0,
            awox: flags & 4 > 0,
            war_id: u64::from(flags & 8),
            ..Killmail::default()
        };
        assert_same(&set, &model, &killmail);
    }
}
