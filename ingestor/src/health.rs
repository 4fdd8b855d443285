//! How the feed is doing: said by the feed, shown by gRPC, `/readyz` and the metrics.

use std::time::SystemTime;

use killfeed::v1::FeedHealth;
use metrics::gauge;
use tokio::sync::watch;

/// 0 = OK, 1 = DELAYED, 2 = DOWN.
pub const HEALTH: &str = "killfeed_feed_health";

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
            detail: "starting: no feed request sent yet".into(),
            last_document: None,
            upstream_sequence: 0,
        }
    }
}

impl FeedReport {
    /// Says it to whoever watches, and in the metrics; a change of health to the operator as well.
    pub fn publish(self, to: &watch::Sender<FeedReport>) {
        let grade = match self.health {
            FeedHealth::Unspecified | FeedHealth::Ok => 0.0,
            FeedHealth::Delayed => 1.0,
            FeedHealth::Down => 2.0,
        };
        gauge!(HEALTH).set(grade);
        to.send_if_modified(|current| {
            if current.health != self.health {
                tracing::info!(
                    health = self.health.as_str_name(),
                    detail = self.detail,
                    "feed health changed"
                );
            }
            let changed = *current != self;
            *current = self;
            changed
        });
    }
}

/// The writing end goes to the feed, the reading end to whoever shows it.
pub fn channel() -> (watch::Sender<FeedReport>, watch::Receiver<FeedReport>) {
    watch::channel(FeedReport::default())
}
