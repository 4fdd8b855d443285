//! The filter language: compiling, printing, describing and evaluating filters.
//!
//! ```text
//! region:Devoid group:(Dreadnought OR Marauder) value>=1b
//! ```
//!
//! [`compile`] parses text and resolves the names in it through a [`Resolve`]. The result is a tree as a message
//! ([`v1::Filter`]) with its [`canonical`] text and its [`describe`]d meaning, or [`v1::Diagnostic`]s with the errors and
//! their places. A [`Program`] evaluates one checked tree; a [`FilterSet`] evaluates up to a million together.
//!
//! The module uses no clock, no disk and no async runtime.

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

/// Resolves names to ids for the filter compiler.
///
/// The methods are synchronous. An implementation that needs the network fetches the [`names`] of a text before compiling it.
///
/// Two names are equal if their [`fold`]s are equal. Folding covers more than letter case: static data has names with
/// typographic apostrophes and quotes (`Mordu’s Special Warfare Unit`), which the language treats as plain ones.
pub trait Resolve {
    /// Finds every id of `kind` with exactly this name (equal [`fold`]s).
    fn exact(&self, kind: EntityKind, name: &str) -> Resolution;
    /// Finds every id of a static `kind` whose English name matches `pattern`, in ascending order.
    ///
    /// `*` matches any number of characters.
    fn wildcard(&self, kind: EntityKind, pattern: &str) -> Vec<u64>;
    /// Suggests existing names that resemble `name`, best first.
    ///
    /// The suggestions include the full names of corporations and alliances whose ticker is `name`.
    fn similar(&self, kind: EntityKind, name: &str) -> Vec<String>;
    /// Finds the systems within a straight distance in light years (9.46e15 m), in ascending order.
    ///
    /// The result includes the origin. Returns `None` if the origin's position is unknown.
    fn within_light_years(&self, system: u64, light_years: f64) -> Option<Vec<u32>>;
    /// Finds the systems within a number of stargate jumps, in ascending order.
    ///
    /// The result includes the origin. Returns `None` if the origin is unknown.
    fn within_jumps(&self, system: u64, jumps: u32) -> Option<Vec<u32>>;
    /// Returns the distance of each of `systems` from `origin`, in their order.
    ///
    /// Distances are only shown with a killmail; matching does not use them. By default there are none.
    fn distances(&self, origin: u64, systems: &[u32]) -> Option<v1::FilterDistances> {
        let _ = (origin, systems);
        None
    }
    /// Returns the full names of the corporations or alliances with this ticker (case-insensitive).
    ///
    /// A diagnostic then says that the name is a ticker. By default there are none.
    fn by_ticker(&self, kind: EntityKind, ticker: &str) -> Vec<String> {
        let _ = (kind, ticker);
        Vec::new()
    }
    /// Returns the location of a system, whose names may be empty.
    ///
    /// Only warnings about places that exclude each other (`system:Jita space:nullsec`) use it. Without a location there is
    /// no such warning.
    fn location(&self, system: u32) -> Option<v1::Location> {
        let _ = system;
        None
    }
}

/// The result of resolving a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// The name exists.
    Found {
        /// The name in its official spelling.
        name: String,
        /// Every id with this name, in ascending order; at least one.
        ids: Vec<u64>,
    },
    /// Nothing has this name.
    Unknown,
    /// The name cannot be looked up now: ESI is unavailable, and the name is not cached.
    Unavailable,
}

/// The result of compiling a filter text.
#[derive(Debug, Clone, PartialEq)]
pub enum CompileOutcome {
    /// The text is a filter.
    Compiled(Compiled),
    /// The text is not a filter. There is at least one diagnostic, in the order of the text.
    Invalid(Vec<v1::Diagnostic>),
    /// These names cannot be looked up now. The text has no other errors.
    Unavailable(Vec<(EntityKind, String)>),
}

/// A compiled filter with its texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// The tree, with every name resolved to ids.
    pub filter: v1::Filter,
    /// A text that compiles to the same tree.
    pub canonical: String,
    /// A description of the matching killmails, in plain English.
    pub description: String,
    /// Parts that are valid but probably unintended. Their suggestions are complete filter texts.
    pub warnings: Vec<v1::Diagnostic>,
}

/// The reason why a tree is not a filter.
///
/// A newer or faulty compiler made the tree. Treat it as a filter that matches nothing, and report it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// The language version is not supported.
    #[error(
        "this filter uses version {0} of the language, and this program knows only version {LANGUAGE_VERSION}; compile its text again"
    )]
    Version(u32),
    /// A node violates the rules of the proto file.
    #[error("node {node} of this filter is invalid: {reason}; compile its text again")]
    Node {
        /// The index into `Filter.nodes`.
        node: usize,
        /// The violated rule.
        reason: &'static str,
    },
}

/// The version of the language that this crate reads and writes.
pub const LANGUAGE_VERSION: u32 = 1;

/// The maximum number of diagnostics. More do not help a user, and a gRPC status has little room for them.
const MAX_DIAGNOSTICS: usize = 20;

/// Compiles a filter text.
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

/// Returns the names of characters, corporations and alliances in the text, without duplicates.
///
/// Only ESI knows these names, so callers fetch them in one batch before they call [`compile`]. The result is empty for a
/// text that does not parse.
pub fn names(text: &str) -> Vec<(EntityKind, String)> {
    match parser::parse(text) {
        Ok(Some(term)) => resolve::names(&term),
        Ok(None) | Err(_) => Vec::new(),
    }
}

/// Returns whether the outermost operator of the text is OR.
///
/// Such a text needs parentheses before it can be joined with another by AND. Its names need not exist.
pub fn is_either(text: &str) -> bool {
    match parser::parse(text) {
        Ok(Some(term)) => matches!(term.kind, syntax::Kind::Any { .. }),
        Ok(None) | Err(_) => false,
    }
}

/// Describes the matching killmails in plain English.
pub fn describe(filter: &v1::Filter) -> String {
    match Tree::from_filter(filter) {
        Ok(tree) => describe::describe(&tree),
        Err(invalid) => format!("Nothing: {invalid}."),
    }
}

/// Returns a text that compiles to this filter.
///
/// For an invalid tree the text does not compile, because the empty text would match everything.
pub fn canonical(filter: &v1::Filter) -> String {
    match Tree::from_filter(filter) {
        Ok(tree) => print::canonical(&tree),
        Err(_) => "@broken".to_owned(),
    }
}

/// Joins the filters with AND.
pub fn all_of<'a>(filters: impl IntoIterator<Item = &'a v1::Filter>) -> Result<v1::Filter, InvalidFilter> {
    let trees = filters
        .into_iter()
        .map(Tree::from_filter)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Tree::all(trees).to_filter())
}

/// Joins the filters with OR.
///
/// Returns an error if there are no filters, because no filter matches nothing.
pub fn any_of<'a>(filters: impl IntoIterator<Item = &'a v1::Filter>) -> Result<v1::Filter, InvalidFilter> {
    let trees = filters
        .into_iter()
        .map(Tree::from_filter)
        .collect::<Result<Vec<_>, _>>()?;
    if trees.is_empty() {
        let reason = "an OR of no filters matches nothing";
        return Err(InvalidFilter::Node { node: 0, reason });
    }
    // The tree that matches everything is valid only as a whole filter, not as an operand.
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
