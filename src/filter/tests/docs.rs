//! docs/filters.md: what it shows is what is so.

use std::collections::BTreeSet;

use super::{super::fields, *};

const DOCS: &str = include_str!("../../../docs/filters.md");

/// The lines of the code blocks of one kind.
fn blocks(kind: &str) -> Vec<&'static str> {
    let opening = format!("\n```{kind}\n");
    let blocks = DOCS
        .split(&opening)
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next());
    blocks.flat_map(str::lines).collect()
}

/// The rows of the tables: what stands in each cell, without its backquotes.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = DOCS
        .lines()
        .filter(|line| line.starts_with("| `") || line.ends_with("` |"));
    let cell = |cell: &'static str| cell.trim().trim_matches('`');
    rows.map(|row| row.trim_matches('|').split(" | ").map(cell).collect())
        .collect()
}

#[test]
fn every_example_is_a_filter_without_a_warning() {
    let mut examples = blocks("filter");
    examples.extend(rows().into_iter().filter_map(|row| row.last().copied()));
    assert!(examples.len() > 45, "{}", examples.len());
    for example in examples {
        let compiled = compiled(example);
        assert!(compiled.warnings.is_empty(), "{example}: {:?}", compiled.warnings);
    }
}

#[test]
fn what_is_shown_as_refused_is_refused() {
    let refused = blocks("refused");
    assert!(refused.len() > 5);
    for example in refused {
        invalid(example);
    }
}

/// A field that is added is explained.
#[test]
fn every_field_has_its_row_and_its_example_uses_it() {
    let rows = rows();
    let explained: BTreeSet<&str> = rows.iter().filter_map(|row| row.first().copied()).collect();
    for name in fields::bare_names().into_iter().chain(["near"]) {
        assert!(explained.contains(name), "{name} has no row in docs/filters.md");
        let row = rows.iter().find(|row| row[0] == name).unwrap();
        assert!(row[row.len() - 1].contains(name), "{row:?}");
    }
}
