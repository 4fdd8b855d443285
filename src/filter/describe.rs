//! Descriptions of trees in plain English.

use super::{
    fields, print, quantity,
    tree::{Leaf, Tree},
};
use crate::v1::{
    Comparison, EntityKind, FilterValue, KillmailFlag, NumberField, ParticipantField, ParticipantRole, Space,
    filter_near::Reach,
};

/// Describes the matching killmails in one sentence.
pub(super) fn describe(tree: &Tree) -> String {
    match tree {
        Tree::All(operands) if operands.is_empty() => "Every killmail.".to_owned(),
        _ => format!("Killmails where {}.", clause(tree, true, Around::Nothing)),
    }
}

/// The context of a clause, which decides whether it needs parentheses.
#[derive(Clone, Copy, PartialEq)]
enum Around {
    Nothing,
    Operator,
}

/// Describes that the tree holds, or that it does not.
///
/// NOT moves inward to the conditions, where it reads best: "not (A or B)" becomes "not A, and not B".
fn clause(tree: &Tree, holds: bool, around: Around) -> String {
    match tree {
        Tree::All(operands) => joined(operands, true, holds, around),
        Tree::Any(operands) => joined(operands, false, holds, around),
        Tree::Not(operand) => clause(operand, !holds, around),
        Tree::Group(ParticipantRole::Victim, inner) => format!("the victim {}", of_one(inner, holds, Around::Operator)),
        Tree::Group(_, inner) if holds => {
            format!("a single attacker {}", of_one(inner, true, Around::Operator))
        }
        Tree::Group(_, inner) => format!("no single attacker {}", of_one(inner, true, Around::Operator)),
        Tree::Leaf(leaf) => condition(leaf, holds),
    }
}

fn joined(operands: &[Tree], all: bool, holds: bool, around: Around) -> String {
    let comparison = if all { Comparison::NotEqual } else { Comparison::Equal };
    let parts = print::runs(operands, comparison).into_iter().map(|run| match run {
        [one] => clause(one, holds, if operands.len() == 1 { around } else { Around::Operator }),
        several => values_of(several, holds),
    });
    in_a_row(parts.collect(), if all == holds { ", and " } else { ", or " }, around)
}

/// Describes what holds, or does not hold, for one participant, without the subject.
fn of_one(tree: &Tree, holds: bool, around: Around) -> String {
    let joined = |operands: &[Tree], all: bool| {
        let inside = if operands.len() == 1 { around } else { Around::Operator };
        let parts = operands.iter().map(|operand| of_one(operand, holds, inside));
        in_a_row(parts.collect(), if all == holds { " and " } else { " or " }, around)
    };
    match tree {
        Tree::All(operands) => joined(operands, true),
        Tree::Any(operands) => joined(operands, false),
        Tree::Not(operand) => of_one(operand, !holds, around),
        Tree::Leaf(Leaf::Participant { field, values, .. }) => predicate(*field, values, holds),
        // A checked group contains nothing else.
        Tree::Group(..) | Tree::Leaf(_) => String::new(),
    }
}

fn in_a_row(parts: Vec<String>, between: &str, around: Around) -> String {
    let text = parts.join(between);
    if around == Around::Nothing || parts.len() == 1 {
        text
    } else {
        format!("({text})")
    }
}

/// Describes a list of numbers or hours of one field.
fn values_of(run: &[Tree], holds: bool) -> String {
    let hours = run.iter().filter_map(|tree| match *tree {
        Tree::Leaf(Leaf::Hour { from, to }) => Some(hour_words(from, to)),
        _ => None,
    });
    match run.first() {
        Some(&Tree::Leaf(Leaf::Number { field, comparison, .. })) => {
            let values = run.iter().filter_map(|tree| match *tree {
                Tree::Leaf(Leaf::Number { value, .. }) => Some(print::number(field, value)),
                _ => None,
            });
            number(field, comparison, &or(values), holds)
        }
        _ => format!(
            "the time of the kill {} {} UTC",
            if holds { "is" } else { "is not" },
            or(hours)
        ),
    }
}

fn condition(leaf: &Leaf, holds: bool) -> String {
    let is = if holds { "is" } else { "is not" };
    match leaf {
        Leaf::Participant { role, field, values } => {
            // Only attackers have weapons, so a weapon without a role is about them.
            let weapon = matches!(field, ParticipantField::Weapon | ParticipantField::WeaponGroup);
            match (role, holds) {
                (ParticipantRole::Victim, _) => format!("the victim {}", predicate(*field, values, holds)),
                (ParticipantRole::Final, true) => {
                    format!("the attacker with the final blow {}", predicate(*field, values, true))
                }
                (ParticipantRole::Final, false) => {
                    format!("no attacker with the final blow {}", predicate(*field, values, true))
                }
                (ParticipantRole::Attacker, true) => format!("some attacker {}", predicate(*field, values, true)),
                (ParticipantRole::Attacker, false) => format!("no attacker {}", predicate(*field, values, true)),
                (_, true) if weapon => format!("some attacker {}", predicate(*field, values, true)),
                (_, false) if weapon => format!("no attacker {}", predicate(*field, values, true)),
                (_, true) => format!("the victim or some attacker {}", predicate(*field, values, true)),
                (_, false) => format!(
                    "neither the victim nor any attacker {}",
                    predicate(*field, values, true)
                ),
            }
        }
        Leaf::Item { kind, values } => {
            let of = if *kind == EntityKind::Group {
                "an item of the group "
            } else {
                ""
            };
            let verb = if holds {
                "the victim carried or had fitted"
            } else {
                "the victim neither carried nor had fitted"
            };
            format!("{verb} {of}{}", named(values))
        }
        Leaf::Place { kind, values } => format!("the kill {is} in the {} {}", fields::kind_word(*kind), named(values)),
        Leaf::Space(spaces) => format!(
            "the kill {is} in {}",
            or(spaces.iter().map(|&space| space_words(space).to_owned()))
        ),
        Leaf::Number {
            field,
            comparison,
            value,
        } => number(*field, *comparison, &print::number(*field, *value), holds),
        Leaf::Near {
            origin,
            reach,
            system_ids,
            ..
        } => {
            let distance = match *reach {
                Reach::LightYears(1.0) => "1 light year".to_owned(),
                Reach::LightYears(distance) => format!("{} light years", quantity::plain_number(distance)),
                Reach::Jumps(1) => "1 stargate jump".to_owned(),
                Reach::Jumps(jumps) => format!("{jumps} stargate jumps"),
            };
            let systems = if system_ids.len() == 1 { "system" } else { "systems" };
            let origin = match origin.ids.first() {
                Some(id) if origin.text.is_empty() => format!("the system with id {id}"),
                _ => origin.text.clone(),
            };
            format!(
                "the kill {is} within {distance} of {origin} ({} {systems})",
                system_ids.len()
            )
        }
        Leaf::Flag(flag) => flag_words(*flag, holds),
        Leaf::Label(labels) => {
            let has = if holds { "it has" } else { "it does not have" };
            let labels = or(labels.iter().map(|label| print::quoted(label)));
            format!("{has} the label {labels} (a label can arrive later, in an update)")
        }
        Leaf::Hour { from, to } => {
            format!("the time of the kill {is} {} UTC", hour_words(*from, *to))
        }
        Leaf::Age { comparison, seconds } => {
            let than = compared(*comparison);
            format!("the age of the kill when it arrived {is} {than}{}", span(*seconds))
        }
    }
}

fn predicate(field: ParticipantField, values: &[FilterValue], holds: bool) -> String {
    let (is, has, uses) = if holds {
        ("is", "has", "uses")
    } else {
        ("is not", "does not have", "does not use")
    };
    let named = named(values);
    match field {
        ParticipantField::Character => format!("{is} the character {named}"),
        ParticipantField::Corporation => format!("{is} in the corporation {named}"),
        ParticipantField::Alliance => format!("{is} in the alliance {named}"),
        ParticipantField::Faction => format!("{is} in the faction {named}"),
        ParticipantField::Ship => format!("{has} the ship {named}"),
        ParticipantField::Group => format!("{has} a ship of the group {named}"),
        ParticipantField::Category => format!("{has} a ship of the category {named}"),
        ParticipantField::Weapon => format!("{uses} the weapon {named}"),
        ParticipantField::WeaponGroup => format!("{uses} a weapon of the group {named}"),
        // A checked tree does not contain this value.
        ParticipantField::Unspecified => String::new(),
    }
}

fn number(field: NumberField, comparison: Comparison, text: &str, holds: bool) -> String {
    let unit = if fields::is_isk(field) { " ISK" } else { "" };
    // If the number is unknown, both the comparison and its opposite are false.
    let is = if holds { "is" } else { "is unknown or not" };
    let always = if holds { "is" } else { "is not" };
    let of_total = |what: &str, is: &str| match comparison {
        Comparison::NotEqual if holds => format!("{what} is known and is not {text}{unit}"),
        Comparison::NotEqual => format!("{what} is unknown or exactly {text}{unit}"),
        _ => format!("{what} {is} {}{text}{unit}", compared(comparison)),
    };
    let count = |what: &str, always: &str| match comparison {
        Comparison::NotEqual if !holds => format!("the number of {what} is exactly {text}"),
        _ => format!("the number of {what} {always} {}{text}", compared(comparison)),
    };
    match field {
        NumberField::Value => of_total("the total value", is),
        NumberField::Dropped => of_total("the dropped value", is),
        NumberField::Destroyed => of_total("the destroyed value", is),
        NumberField::Fitted => of_total("the value of the hull and its fitting", is),
        NumberField::Points => of_total("the number of zKillboard points", is),
        NumberField::Security => of_total("the displayed security of the system", is),
        NumberField::Class => of_total("the wormhole class of the system", is),
        NumberField::Attackers => count("attackers", always),
        NumberField::Pilots => count("attackers who are players", always),
        NumberField::Damage => count("hit points lost", always),
        // A checked tree does not contain this value.
        NumberField::Unspecified => String::new(),
    }
}

fn compared(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Less => "less than ",
        Comparison::LessOrEqual => "at most ",
        Comparison::Greater => "more than ",
        Comparison::GreaterOrEqual => "at least ",
        Comparison::NotEqual => "not ",
        Comparison::Equal => "exactly ",
        Comparison::Unspecified => "",
    }
}

fn flag_words(flag: KillmailFlag, holds: bool) -> String {
    let is = if holds { "is" } else { "is not" };
    match flag {
        KillmailFlag::Npc => format!("it {is} a kill by NPCs only"),
        KillmailFlag::Solo => format!("it {is} a solo kill"),
        KillmailFlag::Awox => format!("it {is} an awox (a kill of someone in the same corporation)"),
        KillmailFlag::War => format!("it {is} part of a war"),
        KillmailFlag::Ganked => {
            let has = if holds { "has" } else { "does not have" };
            format!("it {has} the label ganked (which can arrive later, in an update)")
        }
        // A checked tree does not contain this value.
        KillmailFlag::Unspecified => String::new(),
    }
}

fn space_words(space: Space) -> &'static str {
    match space {
        Space::Highsec => "highsec",
        Space::Lowsec => "lowsec",
        Space::Nullsec => "nullsec",
        Space::Wormhole => "wormhole space",
        Space::Abyssal => "abyssal space",
        Space::Pochven => "Pochven",
        // A checked tree does not contain this value.
        Space::Unspecified => "",
    }
}

fn hour_words(from: u32, to: u32) -> String {
    format!("{from:02}:00 to {to:02}:59")
}

fn span(seconds: u64) -> String {
    let text = quantity::age_text(seconds);
    let (number, unit) = text.split_at(text.len() - 1);
    let word = match unit {
        "d" => "day",
        "h" => "hour",
        _ => "minute",
    };
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {word}{plural}")
}

fn named(values: &[FilterValue]) -> String {
    or(values.iter().map(one))
}

/// Formats one value. A number is marked as an id, because names can consist of digits too.
fn one(value: &FilterValue) -> String {
    match value.ids.first() {
        Some(id) if value.text.is_empty() => format!("with id {id}"),
        // `*` is a wildcard only with several ids: in a name from ESI it is an ordinary character.
        _ if value.text.contains('*') && value.ids.len() > 1 => format!("{} ({} of them)", value.text, value.ids.len()),
        _ => value.text.clone(),
    }
}

fn or(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => items.concat(),
    }
}
