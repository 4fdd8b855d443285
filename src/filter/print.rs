//! Canonical text of trees: text that compiles to the same tree.

use super::{
    fields, quantity,
    text::{is_dash, plain},
    tree::{Leaf, Tree},
};
use crate::v1::{Comparison, EntityKind, FilterValue, NumberField, filter_near::Reach};

/// Returns the canonical text of a filter.
pub(super) fn canonical(tree: &Tree) -> String {
    let mut text = String::new();
    write(tree, Around::Nothing, &mut text);
    text
}

/// Puts a name in quotes.
pub(super) fn quoted(name: &str) -> String {
    let mut text = String::from('"');
    for c in name.chars() {
        // A typographic quote ends a name too, so it needs the same escape as a plain one.
        if plain(c) == '"' || c == '\\' {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

/// Writes a name as a filter needs it: in quotes unless it is a single ordinary word.
pub fn name(name: &str) -> String {
    let ordinary = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '\'' | '_' | '.' | '*');
    let is_word = name.chars().all(ordinary) && !name.starts_with(|c| is_dash(c) || c == '\'');
    let is_id = name.chars().all(|c| c.is_ascii_digit());
    if is_word && !is_id && !fields::KEYWORDS.contains(&name.to_lowercase().as_str()) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// The context of a tree, which decides whether it needs parentheses.
#[derive(Clone, Copy, PartialEq)]
enum Around {
    Nothing,
    Operator,
}

fn write(tree: &Tree, around: Around, text: &mut String) {
    match tree {
        Tree::All(operands) => write_joined(operands, Comparison::NotEqual, " ", around, text),
        Tree::Any(operands) => write_joined(operands, Comparison::Equal, " OR ", around, text),
        Tree::Not(operand) => {
            // `--` is not valid, so a double negation starts with NOT.
            text.push_str(if matches!(**operand, Tree::Not(_)) { "NOT " } else { "-" });
            write(operand, Around::Operator, text);
        }
        Tree::Group(role, operand) => {
            text.push_str(fields::role_prefix(*role).trim_end_matches('.'));
            text.push('(');
            write(operand, Around::Nothing, text);
            text.push(')');
        }
        Tree::Leaf(leaf) => text.push_str(&condition(leaf)),
    }
}

fn write_joined(operands: &[Tree], listed: Comparison, between: &str, around: Around, text: &mut String) {
    let runs = runs(operands, listed);
    let parentheses = around != Around::Nothing && runs.len() > 1;
    if parentheses {
        text.push('(');
    }
    for (index, run) in runs.iter().enumerate() {
        if index > 0 {
            text.push_str(between);
        }
        match run {
            // A single run needs no parentheses of its own, so it inherits the context.
            [one] => write(one, if runs.len() > 1 { Around::Operator } else { around }, text),
            several => text.push_str(&number_list(several, listed)),
        }
    }
    if parentheses {
        text.push(')');
    }
}

/// Groups adjacent operands that can be written as one list, such as `class:(5 OR 6)`.
///
/// The tree has one operand for each number or hour. Every other operand forms a run of its own.
pub(super) fn runs(operands: &[Tree], comparison: Comparison) -> Vec<&[Tree]> {
    let mut runs = Vec::new();
    let mut rest = operands;
    while let Some(first) = rest.first() {
        let alike = rest
            .iter()
            .take_while(|other| is_listed(first, other, comparison))
            .count();
        let (run, after) = rest.split_at(alike.max(1));
        runs.push(run);
        rest = after;
    }
    runs
}

fn number_list(run: &[Tree], comparison: Comparison) -> String {
    let values: Vec<String> = run.iter().filter_map(list_value).collect();
    let sign = if comparison == Comparison::NotEqual { "!=" } else { ":" };
    let field = match run.first() {
        Some(Tree::Leaf(Leaf::Number { field, .. })) => fields::number(*field),
        _ => "hour",
    };
    format!("{field}{sign}({})", values.join(" OR "))
}

fn is_listed(first: &Tree, other: &Tree, wanted: Comparison) -> bool {
    match (first, other) {
        (
            Tree::Leaf(Leaf::Number {
                field: a,
                comparison: x,
                ..
            }),
            Tree::Leaf(Leaf::Number {
                field: b,
                comparison: y,
                ..
            }),
        ) => a == b && x == y && *x == wanted,
        (Tree::Leaf(Leaf::Hour { .. }), Tree::Leaf(Leaf::Hour { .. })) => wanted == Comparison::Equal,
        _ => false,
    }
}

fn list_value(tree: &Tree) -> Option<String> {
    match *tree {
        Tree::Leaf(Leaf::Number { field, value, .. }) => Some(number(field, value)),
        Tree::Leaf(Leaf::Hour { from, to }) => Some(hours(from, to)),
        _ => None,
    }
}

/// Returns the text of a condition.
pub(super) fn condition(leaf: &Leaf) -> String {
    match leaf {
        Leaf::Participant {
            role,
            field,
            values: ids,
        } => {
            format!(
                "{}{}:{}",
                fields::role_prefix(*role),
                fields::participant(*field),
                values(ids)
            )
        }
        Leaf::Item {
            kind: EntityKind::Group,
            values: ids,
        } => format!("item_group:{}", values(ids)),
        Leaf::Item { values: ids, .. } => format!("item:{}", values(ids)),
        Leaf::Place { kind, values: ids } => format!("{}:{}", fields::kind_word(*kind), values(ids)),
        Leaf::Space(spaces) => format!(
            "space:{}",
            list(spaces.iter().map(|&space| fields::space(space).to_owned()))
        ),
        Leaf::Number {
            field,
            comparison,
            value,
        } => {
            let sign = match (field, comparison) {
                (NumberField::Class, Comparison::Equal) => ":",
                _ => fields::sign(*comparison),
            };
            format!("{}{sign}{}", fields::number(*field), number(*field, *value))
        }
        Leaf::Near { origin, reach, .. } => {
            let reach = match reach {
                Reach::LightYears(distance) => format!("{}ly", quantity::plain_number(*distance)),
                Reach::Jumps(jumps) => format!("{jumps}j"),
            };
            format!("near({}, {reach})", value(origin))
        }
        Leaf::Flag(flag) => fields::flag(*flag).to_owned(),
        Leaf::Label(labels) => format!("label:{}", list(labels.iter().map(|label| name(label)))),
        &Leaf::Hour { from, to } => format!("hour:{}", hours(from, to)),
        Leaf::Age { comparison, seconds } => {
            format!("age{}{}", fields::sign(*comparison), quantity::age_text(*seconds))
        }
    }
}

/// Returns the text of a number, with a suffix if the field is in ISK.
pub(super) fn number(field: NumberField, value: f64) -> String {
    if fields::is_isk(field) {
        quantity::isk(value)
    } else {
        quantity::plain_number(value)
    }
}

fn hours(from: u32, to: u32) -> String {
    if from == to {
        from.to_string()
    } else {
        format!("{from}-{to}")
    }
}

fn values(values: &[FilterValue]) -> String {
    list(values.iter().map(value))
}

fn value(value: &FilterValue) -> String {
    match value.ids.first() {
        Some(id) if value.text.is_empty() => id.to_string(),
        _ => name(&value.text),
    }
}

fn list(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    match values.as_slice() {
        [only] => only.clone(),
        _ => format!("({})", values.join(" OR ")),
    }
}
