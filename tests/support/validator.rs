//! Holds recorded histories against the seven guarantees of `StreamKillmails`, each by its name.
//!
//! A [`RunHistory`] is what a run left behind: what zKillboard published, what the log holds, what each client saw on each of
//! its streams, and the crashes in between. [`validate`] knows nothing of the services' code: only the contract's words.

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
    /// A killmail and revision comes at most once per stream.
    Unique,
    /// No event of the log is skipped.
    Reliable,
    /// `after_cursor` continues exactly after it.
    Resumable,
    /// A Progress cursor never covers an undelivered match.
    Bookmarkable,
    /// Nothing is streamed that a crash could take back.
    DurableFirst,
    /// A slow client costs constant memory and delays nobody.
    Bounded,
}

/// Where a history breaks a guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which guarantee.
    pub guarantee: Guarantee,
    /// Who saw what, and what was due.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not {:?}: {}", self.guarantee, self.what)
    }
}

/// The check of one guarantee: what it finds wrong.
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

/// Everything that is wrong with a history; empty = all seven hold.
pub fn violations(history: &RunHistory) -> Vec<Violation> {
    let of = |(guarantee, check): &(Guarantee, Check)| {
        let guarantee = *guarantee;
        check(history)
            .into_iter()
            .map(move |what| Violation { guarantee, what })
    };
    CHECKS.iter().flat_map(of).collect()
}

/// [`violations`], for tests.
///
/// # Panics
/// If there are any; names the first of them.
pub fn validate(history: &RunHistory) {
    let found = violations(history);
    let first: Vec<String> = found.iter().take(20).map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), first.join("\n"));
}

#[cfg(test)]
mod tests;
