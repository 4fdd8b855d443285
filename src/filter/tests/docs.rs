//! Checks of docs/filters.md against the language.

use std::collections::BTreeSet;

use super::{super::fields, *};

const DOCS: &str = include_str!("../../../docs/filters.md");

/// Returns the lines of all code blocks of one kind.
fn blocks(kind: &str) -> Vec<&'static str> {
    let opening = format!("\n```{kind}\n");
    let blocks = DOCS
        .split(&opening)
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next());
    blocks.flat_map(str::lines).collect()
}

/// Returns the cells of each table row, without backquotes around them.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = DOCS
        .lines()
        .filter(|line| line.starts_with("| `") || line.ends_with("` |"));
    let cell = |cell: &'static str| cell.trim().trim_matches('`');
    rows.map(|row| row.trim_matches('|').split(" | ").map(cell).collect())
        .collect()
}

#[test]
fn documented_examples_compile_without_warnings() {
    let mut examples = blocks("filter");
    examples.extend(rows().into_iter().filter_map(|row| row.last().copied()));
    assert!(examples.len() > 45, "{}", examples.len());
    for example in examples {
        let compiled = compiled(example);
        assert!(compiled.warnings.is_empty(), "{example}: {:?}", compiled.warnings);
    }
}

#[test]
fn documented_errors_do_not_compile() {
    let refused = blocks("refused");
    assert!(refused.len() > 5);
    for example in refused {
        invalid(example);
    }
}

/// A new field fails this test until docs/filters.md explains it.
#[test]
fn every_field_has_a_row_and_an_example() {
    let rows = rows();
    let explained: BTreeSet<&str> = rows.iter().filter_map(|row| row.first().copied()).collect();
    for name in fields::bare_names().into_iter().chain(["near"]) {
        assert!(explained.contains(name), "{name} has no row in docs/filters.md");
        let row = rows.iter().find(|row| row[0] == name).unwrap();
        assert!(row[row.len() - 1].contains(name), "{row:?}");
    }
}
