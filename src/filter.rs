//! The filter language: text → tree → does this killmail match.
//!
//! ```text
//! region:Devoid group:(Dreadnought OR Marauder) value>=1b
//! ```
//!
//! [`compile`] reads text, asks a [`Resolve`] what the names in it stand for and gives the tree as a message
//! ([`v1::Filter`]), its [`canonical`] text and its [`describe`]d meaning, or [`v1::Diagnostic`]s that say what is wrong
//! and where. [`Program`] is a tree that was checked and is ready to run. Nothing here knows a clock, a disk or a runtime.

mod text;

use crate::v1::{self, EntityKind};

pub use text::fold;

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
pub enum Outcome {
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

/// Text → filter.
pub fn compile(text: &str, resolve: &dyn Resolve) -> Outcome {
    let _ = resolve;
    if text.trim().is_empty() {
        let filter = everything();
        return Outcome::Compiled(Compiled {
            canonical: canonical(&filter),
            description: describe(&filter),
            filter,
            warnings: Vec::new(),
        });
    }
    Outcome::Invalid(vec![v1::Diagnostic {
        message: "the filter compiler is being built".to_owned(),
        ..v1::Diagnostic::default()
    }])
}

/// The names of characters, corporations and alliances in the text, which must be known before [`compile`]: ESI is asked
/// for them in one batch beforehand. Without duplicates; empty for text that does not parse.
pub fn names(text: &str) -> Vec<(EntityKind, String)> {
    let _ = text;
    Vec::new()
}

/// What a filter matches, in plain English.
pub fn describe(filter: &v1::Filter) -> String {
    let _ = filter;
    "Every killmail.".to_owned()
}

/// Text that compiles to this filter.
pub fn canonical(filter: &v1::Filter) -> String {
    let _ = filter;
    String::new()
}

/// A filter that was checked and is ready to run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Program(std::sync::Arc<v1::Filter>);

impl Program {
    /// Checks every node.
    pub fn new(filter: &v1::Filter) -> Result<Self, InvalidFilter> {
        if filter.language_version != LANGUAGE_VERSION {
            return Err(InvalidFilter::Version(filter.language_version));
        }
        Ok(Self(filter.clone().into()))
    }

    /// Matches every killmail.
    pub fn everything() -> Self {
        Self(everything().into())
    }

    /// Whether `killmail` is what the filter asks for.
    pub fn matches(&self, killmail: &v1::Killmail) -> bool {
        let _ = killmail;
        self.0.nodes.len() == 1
    }
}

fn everything() -> v1::Filter {
    v1::Filter {
        language_version: LANGUAGE_VERSION,
        nodes: vec![v1::FilterNode {
            node: Some(v1::filter_node::Node::All(v1::FilterAll::default())),
        }],
    }
}
