//! How the feed is doing: said by the feed, shown by gRPC, `/readyz` and the metrics.

use std::time::SystemTime;

use killfeed::v1::FeedHealth;
use tokio::sync::watch;

/// The feed's state in words and numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedReport {
    /// OK, DELAYED or DOWN.
    pub health: FeedHealth,
    /// Why, in words for an operator.
    pub detail: String,
    /// When the last document came; `None` = none since the start.
    pub last_document: Option<SystemTime>,
    /// The next number that will be asked for; 0 = not known yet.
    pub upstream_sequence: u64,
}

impl Default for FeedReport {
    fn default() -> Self {
        Self {
            health: FeedHealth::Delayed,
            detail: "starting: nothing asked of the feed yet".into(),
            last_document: None,
            upstream_sequence: 0,
        }
    }
}

/// The writing end goes to the feed, the reading end to whoever shows it.
pub fn channel() -> (watch::Sender<FeedReport>, watch::Receiver<FeedReport>) {
    watch::channel(FeedReport::default())
}
