//! The only rate limiter of the services.
//!
//! ESI and Discord announce their limits in responses; other modules track those.

use std::time::Duration;

use crate::clock::Uptime;

/// The tolerance for rounding errors: a token at 0.999... is available.
const ROUNDING: f64 = 1e-9;

/// A token bucket that refills steadily. It reads no clock: the caller passes the time.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimiter {
    per_second: f64,
    burst: f64,
    tokens: f64,
    /// The time for which `tokens` was computed. If it is in the future, no tokens are refilled until then.
    at: Uptime,
}

impl RateLimiter {
    /// Returns a full limiter, which allows a burst right away. Use it for our own callers.
    pub fn full(per_second: f64, burst: f64, now: Uptime) -> Self {
        Self {
            per_second,
            burst,
            tokens: burst,
            at: now,
        }
    }

    /// Returns a limiter without tokens. Use it for calls to other servers.
    ///
    /// Without tokens at the start, a restart loop sends no more requests than a running process.
    pub fn empty(per_second: f64, burst: f64, now: Uptime) -> Self {
        Self {
            tokens: 0.0,
            ..Self::full(per_second, burst, now)
        }
    }

    /// Takes `count` tokens, or returns the delay until they are available.
    ///
    /// A count above the burst needs a full bucket and overdraws it, so later calls wait longer.
    pub fn take(&mut self, count: f64, now: Uptime) -> Result<(), Duration> {
        let delay = self.delay(count, now);
        if !delay.is_zero() {
            return Err(delay);
        }
        self.tokens = self.tokens_at(now) - count;
        self.at = self.at.max(now);
        Ok(())
    }

    /// Returns the delay until `count` tokens are available.
    pub fn delay(&self, count: f64, now: Uptime) -> Duration {
        let missing = count.min(self.burst) - self.tokens_at(now);
        if missing <= ROUNDING {
            return Duration::ZERO;
        }
        let refill = Duration::try_from_secs_f64(missing / self.per_second).unwrap_or(Duration::MAX);
        (self.at - now).saturating_add(refill)
    }

    /// Returns whether all taken tokens are refilled, so that the limiter equals a new one.
    pub fn is_full(&self, now: Uptime) -> bool {
        self.tokens_at(now) >= self.burst
    }

    fn tokens_at(&self, now: Uptime) -> f64 {
        let refilled = (now - self.at).as_secs_f64() * self.per_second;
        (self.tokens + refilled).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Uptime {
        Uptime::new(Duration::from_millis(ms))
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn full_limiter_allows_a_burst_and_then_the_rate() {
        let mut limiter = RateLimiter::full(20.0, 40.0, at(0));
        assert_eq!((0..50).filter(|_| limiter.take(1.0, at(0)).is_ok()).count(), 40);
        assert_eq!(limiter.take(1.0, at(0)), Err(ms(50)));
        assert_eq!(limiter.take(1.0, at(50)), Ok(()));
        assert_eq!(limiter.take(1.0, at(50)), Err(ms(50)));
        assert_eq!((0..50).filter(|_| limiter.take(1.0, at(60_000)).is_ok()).count(), 40);
    }

    #[test]
    fn empty_limiter_spaces_requests_evenly() {
        let mut limiter = RateLimiter::empty(8.0, 1.0, at(0));
        for step in 1..=7 {
            let now = at(step * 125);
            assert_eq!(limiter.delay(1.0, at(step * 125 - 125)), ms(125));
            assert_eq!(limiter.take(1.0, now), Ok(()), "{step}");
        }
    }

    #[test]
    fn idle_time_refills_at_most_a_burst() {
        let mut limiter = RateLimiter::empty(8.0, 1.0, at(0));
        assert_eq!(limiter.take(1.0, at(60_000)), Ok(()));
        assert_eq!(limiter.take(1.0, at(60_000)), Err(ms(125)));
    }

    #[test]
    fn oversized_request_delays_later_requests() {
        let mut limiter = RateLimiter::full(1.0, 60.0, at(0));
        assert_eq!(limiter.take(100.0, at(0)), Ok(()));
        assert_eq!(limiter.take(1.0, at(0)), Err(ms(41_000)));
        assert_eq!(limiter.take(1.0, at(41_000)), Ok(()));
        assert_eq!(limiter.take(100.0, at(42_000)), Err(ms(59_000)));
    }

    #[test]
    fn limiter_refills_nothing_before_a_future_start() {
        let mut limiter = RateLimiter::empty(8.0, 1.0, at(1_000));
        assert_eq!(limiter.take(1.0, at(0)), Err(ms(1_125)));
        assert_eq!(limiter.take(1.0, at(1_125)), Ok(()));
    }

    #[test]
    fn backward_time_refills_nothing() {
        let mut limiter = RateLimiter::full(1.0, 1.0, at(5_000));
        assert_eq!(limiter.take(1.0, at(0)), Ok(()));
        assert_eq!(limiter.take(1.0, at(5_500)), Err(ms(500)));
    }

    #[test]
    fn limiter_is_full_once_refilled() {
        let mut limiter = RateLimiter::full(1.0, 2.0, at(0));
        assert!(limiter.is_full(at(0)));
        limiter.take(1.0, at(0)).unwrap();
        assert!(!limiter.is_full(at(999)));
        assert!(limiter.is_full(at(1_000)));
    }

    #[test]
    fn slow_rate_never_overflows() {
        let limiter = RateLimiter::empty(1e-30, 1.0, at(0));
        assert_eq!(limiter.delay(1.0, at(0)), Duration::MAX);
        assert_eq!(RateLimiter::empty(0.1, 1.0, at(0)).delay(1.0, at(0)), ms(10_000));
    }
}
