//! The lines of `/readyz`.

use killfeed::v1::FeedHealth;

use crate::health::FeedReport;

/// Returns the lines for a verdict, whose `Err` says what is not ready yet.
///
/// The feed's health is a detail and never changes the verdict.
pub(super) fn lines(verdict: Result<(), &str>, report: &FeedReport) -> Result<String, String> {
    let feed = format!("feed: {} ({})\n", health_word(report.health), report.detail);
    match verdict {
        Ok(()) => Ok(format!("ready\n{feed}")),
        Err(reason) => Err(format!("not ready: {reason}\n{feed}")),
    }
}

fn health_word(health: FeedHealth) -> &'static str {
    match health {
        FeedHealth::Ok => "OK",
        FeedHealth::Delayed => "DELAYED",
        FeedHealth::Down => "DOWN",
        FeedHealth::Unspecified => "unknown",
    }
}
