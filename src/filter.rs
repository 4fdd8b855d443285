//! The filter language: text → tree → does this killmail match.

use crate::v1::EntityKind;

/// Names → ids, as the filter compiler needs them. Knows nothing of how they are found.
///
/// Synchronous: who has to ask the network collects the unknown names first (see `Resolution::Unknown`), and compiles again.
pub trait Resolve {
    /// Every id of `kind` that bears `name` exactly (case-insensitive).
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
