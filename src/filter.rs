//! The filter language: text → tree → does this killmail match.
//!
//! ```text
//! region:Devoid group:(Dreadnought OR Marauder) value>=1b
//! ```
//!
//! [`compile`] reads text, asks a [`Resolve`] what the names in it stand for and gives the tree as a message
//! ([`v1::Filter`]), its [`canonical`] text and its [`describe`]d meaning, or [`v1::Diagnostic`]s that say what is wrong
//! and where. [`Program`] is a tree that was checked and is ready to run; a [`FilterSet`] asks a million of them at once. Nothing here knows a clock, a disk or a runtime.

mod bare;
mod condition;
mod contradiction;
mod describe;
mod distance;
mod fields;
mod ids;
mod near;
mod parser;
mod print;
mod program;
mod quantity;
mod resolve;
mod scanner;
mod set;
mod syntax;
mod text;
mod tree;
mod warn;

#[cfg(test)]
mod tests;

use crate::v1::{self, EntityKind};

pub use distance::{Distance, distances};
pub use fields::{kind_word, names_of, participant_fields, participant_kind};
pub use print::name;
pub use program::Program;
pub use set::FilterSet;
pub use text::fold;
use tree::Tree;

/// Names → ids, as the filter compiler needs them. Knows nothing of how they are found.
///
/// Synchronous: who has to ask the network asks for [`names`] first, and compiles then.
///
/// Names are equal if their [`fold`]s are: that is more than letter case. Static data has names with typographic
/// apostrophes and quotes (`Mordu’s Special Warfare Unit`), which the language takes as plain ones.
pub trait Resolve {
    /// Every id of `kind` that bears `name` exactly (equal [`fold`]s).
    fn exact(&self, kind: EntityKind, name: &str) -> Resolution;
    /// Every id of a static `kind` whose English name matches `pattern` (`*` = any run of characters), ascending.
    fn wildcard(&self, kind: EntityKind, pattern: &str) -> Vec<u64>;
    /// Names like `name` that exist, best first, for suggestions; and full names of what bears `name` as ticker.
    fn similar(&self, kind: EntityKind, name: &str) -> Vec<String>;
    /// Systems within a straight line of so many light years (9.46e15 m), origin included, ascending.
    /// `None` if the origin's place is not known.
    fn within_light_years(&self, system: u64, light_years: f64) -> Option<Vec<u32>>;
    /// Systems within so many stargate jumps, origin included, ascending. `None` if the origin is not known.
    fn within_jumps(&self, system: u64, jumps: u32) -> Option<Vec<u32>>;
    /// How far each of `systems` is from `origin`, in their order. Only for what is told about a killmail; without it
    /// nothing is.
    fn distances(&self, origin: u64, systems: &[u32]) -> Option<v1::FilterDistances> {
        let _ = (origin, systems);
        None
    }
    /// Full names of the corporations or alliances whose ticker is `ticker` (case-insensitive), so that the diagnostic
    /// can say so. Without it, they are suggested as merely similar.
    fn by_ticker(&self, kind: EntityKind, ticker: &str) -> Vec<String> {
        let _ = (kind, ticker);
        Vec::new()
    }
    /// Where a system is; its names may be empty. Only for warnings about places that exclude each other
    /// (`system:Jita space:nullsec`), which are left out where this says `None`.
    fn location(&self, system: u32) -> Option<v1::Location> {
        let _ = system;
        None
    }
}

/// What became of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Found: the name as it is properly written, and every id that bears it, ascending.
    Found {
        /// As it is properly written.
        name: String,
        /// At least one.
        ids: Vec<u64>,
    },
    /// Nothing bears this name.
    Unknown,
    /// It cannot be said now (ESI is away and the name was not seen before).
    Unavailable,
}

/// What became of a filter text.
#[derive(Debug, Clone, PartialEq)]
pub enum CompileOutcome {
    /// It is a filter.
    Compiled(Compiled),
    /// It is not: at least one diagnostic, in the order of the text.
    Invalid(Vec<v1::Diagnostic>),
    /// It may be one: these names can't be looked up now, and nothing else is wrong.
    Unavailable(Vec<(EntityKind, String)>),
}

/// A filter, and what to tell about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// The tree, every name resolved to ids.
    pub filter: v1::Filter,
    /// Text that compiles to the same tree.
    pub canonical: String,
    /// What it matches, in plain English.
    pub description: String,
    /// What is probably not as it was meant; suggestions are whole filter texts.
    pub warnings: Vec<v1::Diagnostic>,
}

/// Why a tree is no filter. Who meets one matches nothing and says so: it is made by something newer or broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// Made by a newer (or broken) compiler.
    #[error(
        "this filter is in version {0} of the language; only version {LANGUAGE_VERSION} is known here: compile its text again"
    )]
    Version(u32),
    /// A node is not what the proto file says.
    #[error("node {node} of this filter is broken: {reason}; compile its text again")]
    Node {
        /// Index into `Filter.nodes`.
        node: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The version of the language that this crate reads and writes.
pub const LANGUAGE_VERSION: u32 = 1;

/// Nobody reads more at once, and a status has little room for them.
const MAX_DIAGNOSTICS: usize = 20;

/// Text → filter.
pub fn compile(text: &str, resolve: &dyn Resolve) -> CompileOutcome {
    let mut term = match parser::parse(text) {
        Ok(Some(term)) => term,
        Ok(None) => return CompileOutcome::Compiled(compiled(&Tree::EVERYTHING, Vec::new())),
        Err(mut problems) => {
            problems.truncate(MAX_DIAGNOSTICS);
            for problem in &mut problems {
                if let Some(word) = problem.bare_word.take() {
                    problem.suggestions.splice(0..0, resolve::bare_word(&word, resolve));
                }
            }
            return CompileOutcome::Invalid(diagnostics(problems));
        }
    };
    let mut resolver = resolve::TermResolver::new(resolve);
    resolver.term(&mut term);
    if !resolver.problems.is_empty() {
        return CompileOutcome::Invalid(diagnostics(resolver.problems));
    }
    if !resolver.unavailable.is_empty() {
        return CompileOutcome::Unavailable(resolver.unavailable);
    }
    CompileOutcome::Compiled(compiled(
        &term.tree(),
        diagnostics(warn::warnings(text, &term, resolve)),
    ))
}

/// The names of characters, corporations and alliances in the text, which must be known before [`compile`]: ESI is asked
/// for them in one batch beforehand. Without duplicates; empty for text that does not parse.
pub fn names(text: &str) -> Vec<(EntityKind, String)> {
    match parser::parse(text) {
        Ok(Some(term)) => resolve::names(&term),
        Ok(None) | Err(_) => Vec::new(),
    }
}

/// Whether the text is one thing OR another: beside another text it needs parentheses, as AND binds tighter. Names need not exist.
pub fn is_either(text: &str) -> bool {
    match parser::parse(text) {
        Ok(Some(term)) => matches!(term.kind, syntax::Kind::Any { .. }),
        Ok(None) | Err(_) => false,
    }
}

/// What a filter matches, in plain English.
pub fn describe(filter: &v1::Filter) -> String {
    match Tree::from_filter(filter) {
        Ok(tree) => describe::describe(&tree),
        Err(invalid) => format!("Nothing: {invalid}."),
    }
}

/// Text that compiles to this filter. For a broken one it is text that does not compile: the empty text would mean
/// everything.
pub fn canonical(filter: &v1::Filter) -> String {
    match Tree::from_filter(filter) {
        Ok(tree) => print::canonical(&tree),
        Err(_) => "@broken".to_owned(),
    }
}

/// What every one of the filters matches.
pub fn all_of<'a>(filters: impl IntoIterator<Item = &'a v1::Filter>) -> Result<v1::Filter, InvalidFilter> {
    let trees = filters
        .into_iter()
        .map(Tree::from_filter)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Tree::all(trees).to_filter())
}

/// What at least one of the filters matches. Without any, an error: there is no filter that matches nothing.
pub fn any_of<'a>(filters: impl IntoIterator<Item = &'a v1::Filter>) -> Result<v1::Filter, InvalidFilter> {
    let trees = filters
        .into_iter()
        .map(Tree::from_filter)
        .collect::<Result<Vec<_>, _>>()?;
    if trees.is_empty() {
        let reason = "it is one of no filters";
        return Err(InvalidFilter::Node { node: 0, reason });
    }
    // "Everything" is a filter as a whole only.
    let everything = trees.contains(&Tree::EVERYTHING);
    let tree = if everything { Tree::EVERYTHING } else { Tree::any(trees) };
    Ok(tree.to_filter())
}

fn compiled(tree: &Tree, warnings: Vec<v1::Diagnostic>) -> Compiled {
    Compiled {
        filter: tree.to_filter(),
        canonical: print::canonical(tree),
        description: describe::describe(tree),
        warnings,
    }
}

fn diagnostics(problems: Vec<syntax::Problem>) -> Vec<v1::Diagnostic> {
    problems
        .into_iter()
        .take(MAX_DIAGNOSTICS)
        .map(syntax::Problem::diagnostic)
        .collect()
}
