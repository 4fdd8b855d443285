//! Tests of the language: golden files, properties over random texts, and evaluation rules.

mod docs;
mod evaluate;
mod edge_cases;
mod goldens;
mod properties;
mod reference;
mod set;
mod universe;

use super::*;
use universe::Universe;

/// Compiles a text that must be valid.
fn compiled(text: &str) -> Compiled {
    match compile(text, &Universe) {
        CompileOutcome::Compiled(compiled) => compiled,
        other => panic!("{text}: {other:?}"),
    }
}

/// Returns the diagnostics of a text that must be invalid.
#[track_caller]
fn invalid(text: &str) -> Vec<v1::Diagnostic> {
    match compile(text, &Universe) {
        CompileOutcome::Invalid(diagnostics) => diagnostics,
        other => panic!("{text}: {other:?}"),
    }
}
