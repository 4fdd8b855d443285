//! Checks recorded runs against the seven guarantees of `StreamKillmails`.
//!
//! A [`RunHistory`] records what zKillboard published, the records of the log, the events of every client's streams,
//! and all crashes. [`validate`] depends only on the contract, not on the services' code.

mod checks;
mod history;

use std::fmt;

pub use history::{
    Appended, Client, Crash, Latency, Memory, Observed, Published, Received, RunHistory, Start, Stream, offset,
};

/// The contract's guarantees of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guarantee {
    /// Events come in log order.
    Ordered,
    /// Each revision of a killmail comes at most once per stream.
    Unique,
    /// No event of the log is skipped.
    Reliable,
    /// A stream with `after_cursor` starts exactly after the cursor.
    Resumable,
    /// A Progress cursor never covers an undelivered match.
    Bookmarkable,
    /// Nothing is streamed that a crash could take back.
    DurableFirst,
    /// A slow client uses a constant amount of memory and does not delay other clients.
    Bounded,
}

/// A violated guarantee in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub guarantee: Guarantee,
    /// The observed events and the expected ones.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {:?}: {}", self.guarantee, self.what)
    }
}

/// Checks one guarantee and returns the violations.
type Check = fn(&RunHistory) -> Vec<String>;

const CHECKS: [(Guarantee, Check); 7] = [
    (Guarantee::Ordered, checks::ordered),
    (Guarantee::Unique, checks::unique),
    (Guarantee::Reliable, checks::reliable),
    (Guarantee::Resumable, checks::resumable),
    (Guarantee::Bookmarkable, checks::bookmarkable),
    (Guarantee::DurableFirst, checks::durable_first),
    (Guarantee::Bounded, checks::bounded),
];

/// Returns all violations in a history; empty if all seven guarantees hold.
pub fn violations(history: &RunHistory) -> Vec<Violation> {
    let of = |(guarantee, check): &(Guarantee, Check)| {
        let guarantee = *guarantee;
        check(history)
            .into_iter()
            .map(move |what| Violation { guarantee, what })
    };
    CHECKS.iter().flat_map(of).collect()
}

/// Asserts that a history has no violations.
///
/// # Panics
///
/// Panics with the first violations if there are any.
pub fn validate(history: &RunHistory) {
    let found = violations(history);
    let first: Vec<String> = found.iter().take(20).map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), first.join("\n"));
}

#[cfg(test)]
mod tests;
