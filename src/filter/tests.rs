//! The language from outside: goldens of what people see, properties over random texts, rules of evaluation.

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

/// Compiles a text that must be a filter.
fn compiled(text: &str) -> Compiled {
    match compile(text, &Universe) {
        CompileOutcome::Compiled(compiled) => compiled,
        other => panic!("{text}: {other:?}"),
    }
}

/// The diagnostics of a text that must not be a filter.
#[track_caller]
fn invalid(text: &str) -> Vec<v1::Diagnostic> {
    match compile(text, &Universe) {
        CompileOutcome::Invalid(diagnostics) => diagnostics,
        other => panic!("{text}: {other:?}"),
    }
}
