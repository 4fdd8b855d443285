//! One token bucket for everything that is sent to the feed's host.

use std::time::Duration;

use killfeed_service::{clock::Uptime, rate::RateLimiter};
use serde::{Deserialize, Serialize};

use super::Millis;

/// zKillboard asks for at least 100 ms between requests, whatever the rate says.
const ZKILLBOARD_RATE: f64 = 10.0;

/// The bucket.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TokenBucket {
    limiter: RateLimiter,
    /// The time of the last request, or of the start.
    at: Millis,
}

/// What of the bucket is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedBucket {
    /// When it last changed.
    at: Millis,
}

impl TokenBucket {
    /// After a start, whatever was before: empty, because what was sent after the state was last stored is not known. A
    /// program that is restarted again and again sends no more than one that runs.
    pub(super) fn start(rate: f64, zkillboard: bool, saved: SavedBucket, now: Millis) -> Self {
        let rate = if zkillboard { rate.min(ZKILLBOARD_RATE) } else { rate };
        // A clock that was set back must not hold up the first request.
        let at = saved.at.clamp(now, now + 1_000);
        // A tenth of a second's worth and at least one: for zKillboard that is one, so requests are spaced evenly.
        let burst = (rate / 10.0).max(1.0);
        Self {
            limiter: RateLimiter::empty(rate, burst, uptime(at)),
            at,
        }
    }

    pub(super) fn save(&self) -> SavedBucket {
        SavedBucket { at: self.at }
    }

    /// When the next request may go out.
    pub(super) fn ready_at(&self, now: Millis) -> Millis {
        let delay = self.limiter.delay(1.0, uptime(now));
        now + delay.as_micros().div_ceil(1_000) as Millis
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Millis) -> bool {
        let taken = self.limiter.take(1.0, uptime(now)).is_ok();
        if taken {
            self.at = self.at.max(now);
        }
        taken
    }
}

/// The feed counts in milliseconds of its steady wall clock, because its state is stored with such times.
fn uptime(time: Millis) -> Uptime {
    Uptime::new(Duration::from_millis(u64::try_from(time).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many go out in the `span` after a start.
    fn sent(mut bucket: TokenBucket, from: Millis, span: Millis) -> Vec<Millis> {
        let mut times = Vec::new();
        let mut now = bucket.ready_at(from);
        while now < from + span {
            assert!(bucket.take(now));
            times.push(now - from);
            now = bucket.ready_at(now);
        }
        times
    }

    #[test]
    fn even_spacing_from_an_empty_start() {
        let times = sent(
            TokenBucket::start(8.0, true, SavedBucket::default(), 1_000),
            1_000,
            1_000,
        );
        assert_eq!(times, [125, 250, 375, 500, 625, 750, 875]);
    }

    #[test]
    fn zkillboard_is_never_asked_more_often_than_every_100_ms() {
        let times = sent(TokenBucket::start(1_000.0, true, SavedBucket::default(), 0), 0, 10_000);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 100), "{times:?}");
        let elsewhere = sent(TokenBucket::start(1_000.0, false, SavedBucket::default(), 0), 0, 1_000);
        assert!((950..=1_000).contains(&elsewhere.len()), "{}", elsewhere.len());
    }

    #[test]
    fn idle_time_does_not_pile_up() {
        let mut bucket = TokenBucket::start(8.0, true, SavedBucket::default(), 0);
        assert!(bucket.take(60_000));
        assert!(!bucket.take(60_000));
        assert_eq!(bucket.ready_at(60_000), 60_125);
    }

    #[test]
    fn a_restart_gives_nothing_away() {
        let mut bucket = TokenBucket::start(8.0, true, SavedBucket::default(), 0);
        assert!(bucket.take(125));
        let again = TokenBucket::start(8.0, true, bucket.save(), 130);
        assert_eq!(again.ready_at(130), 255);
        let clock_set_back = TokenBucket::start(8.0, true, SavedBucket { at: 1_000_000 }, 130);
        assert_eq!(clock_set_back.ready_at(130), 1_255);
    }

    #[test]
    fn slow_rates_work_too() {
        let bucket = TokenBucket::start(0.1, false, SavedBucket::default(), 0);
        assert_eq!(bucket.ready_at(0), 10_000);
    }
}
