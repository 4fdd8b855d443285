//! How far each caller's slowest stream is behind the log's head. Streams say where they are; it is worked out when somebody
//! looks at the metrics, because a stream that is not read from runs no code that could.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use killfeed::cursor::Offset;
use metrics::gauge;

use crate::log::Head;

/// Events of the log that the slowest stream has still to look at, labelled by the token's name.
pub const LAG_EVENTS: &str = "killfeed_stream_lag_events";
/// How long the slowest stream has been left behind, in the log's time, labelled by the token's name.
pub const LAG: &str = "killfeed_stream_lag_seconds";

/// Where all streams are. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LagTracker(Arc<Mutex<TrackedStreams>>);

#[derive(Debug, Default)]
struct TrackedStreams {
    streams: Vec<(Arc<str>, Weak<StreamPosition>)>,
    /// Shown the last time: what has no stream any more is shown as 0, once and for all.
    shown: BTreeMap<Arc<str>, Lag>,
}

/// Where one stream is.
#[derive(Debug)]
pub(super) struct StreamPosition {
    /// `u64::MAX` until it begins.
    at: AtomicU64,
    /// When the record there was ingested; 0 = none was read yet.
    at_ms: AtomicI64,
}

/// How far behind.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Lag {
    events: u64,
    seconds: f64,
}

impl StreamPosition {
    /// Everything up to here was handed out or left out.
    pub(super) fn moved(&self, at: Offset, at_ms: Option<i64>) {
        self.at.store(at.0, Ordering::Relaxed);
        self.at_ms.store(at_ms.unwrap_or_default(), Ordering::Relaxed);
    }

    fn lag(&self, head: Head) -> Lag {
        let at = self.at.load(Ordering::Relaxed);
        if at >= head.offset.0 {
            return Lag::default();
        }
        let at_ms = self.at_ms.load(Ordering::Relaxed);
        let behind = if at_ms == 0 { 0 } else { head.ingested_ms - at_ms };
        Lag {
            events: head.offset.0 - at,
            // Milliseconds of any two dates fit a double exactly.
            seconds: behind.max(0) as f64 / 1_000.0,
        }
    }
}

impl LagTracker {
    /// One more stream, for as long as what is given back is kept.
    pub(super) fn enter(&self, label: Arc<str>) -> Arc<StreamPosition> {
        let standing = Arc::new(StreamPosition {
            at: AtomicU64::new(u64::MAX),
            at_ms: AtomicI64::default(),
        });
        let mut seen = self.seen();
        // Streams that are gone leave their places to the next ones: the list is as long as there were streams at once.
        seen.streams.retain(|(_, standing)| standing.strong_count() > 0);
        seen.streams.push((label, Arc::downgrade(&standing)));
        standing
    }

    /// Writes the gauges, given where the log ends.
    pub fn record_metrics(&self, head: Head) {
        for (token, lag) in self.measure(head) {
            // Offsets are far below what a double holds exactly.
            gauge!(LAG_EVENTS, "token" => token.to_string()).set(lag.events as f64);
            gauge!(LAG, "token" => token.to_string()).set(lag.seconds);
        }
    }

    fn measure(&self, head: Head) -> BTreeMap<Arc<str>, Lag> {
        let mut seen = self.seen();
        let mut lags: BTreeMap<Arc<str>, Lag> =
            seen.shown.keys().map(|token| (token.clone(), Lag::default())).collect();
        for (token, standing) in &seen.streams {
            let Some(standing) = standing.upgrade() else {
                continue;
            };
            let (most, lag) = (lags.entry(token.clone()).or_default(), standing.lag(head));
            most.events = most.events.max(lag.events);
            most.seconds = most.seconds.max(lag.seconds);
        }
        seen.shown.clone_from(&lags);
        lags
    }

    /// A plain mutex: held for a few comparisons, never across an await. A panic elsewhere leaves numbers as good as before.
    fn seen(&self) -> MutexGuard<'_, TrackedStreams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(offset: u64, ingested_ms: i64) -> Head {
        Head {
            offset: Offset(offset),
            ingested_ms,
        }
    }

    fn lag(lags: &LagTracker, token: &str, head: Head) -> Lag {
        lags.measure(head)[token]
    }

    #[test]
    fn the_slowest_stream_of_a_token_counts_and_those_at_the_head_are_not_behind() {
        let lags = LagTracker::default();
        let (quick, slow, other) = (lags.enter("a".into()), lags.enter("a".into()), lags.enter("b".into()));
        quick.moved(Offset(100), Some(60_000));
        slow.moved(Offset(40), Some(20_000));
        other.moved(Offset(100), None);
        let behind = Lag {
            events: 60,
            seconds: 40.0,
        };
        assert_eq!(lag(&lags, "a", head(100, 60_000)), behind);
        assert_eq!(lag(&lags, "b", head(100, 60_000)), Lag::default());
        slow.moved(Offset(100), Some(60_000));
        assert_eq!(lag(&lags, "a", head(100, 60_000)), Lag::default());
    }

    #[test]
    fn a_stream_that_has_read_nothing_yet_is_behind_by_events_only() {
        let lags = LagTracker::default();
        let fresh = lags.enter("a".into());
        assert_eq!(lag(&lags, "a", head(100, 60_000)), Lag::default());
        fresh.moved(Offset(0), None);
        let behind = Lag {
            events: 100,
            seconds: 0.0,
        };
        assert_eq!(lag(&lags, "a", head(100, 60_000)), behind);
    }

    #[test]
    fn what_has_gone_is_shown_as_nothing_and_takes_no_room() {
        let lags = LagTracker::default();
        let stream = lags.enter("a".into());
        stream.moved(Offset(1), Some(1));
        assert_eq!(lag(&lags, "a", head(5, 1_001)).events, 4);
        drop(stream);
        assert_eq!(lag(&lags, "a", head(9, 2_000)), Lag::default());
        let _next = lags.enter("b".into());
        assert_eq!(lags.seen().streams.len(), 1);
    }
}
