//! The delay before the next attempt after a failure.
//!
//! A [`Backoff`] only computes delays: it does not read a clock, and it does not sleep.

use std::time::Duration;

/// A retry delay that doubles up to a maximum, with full jitter.
///
/// Each delay is random between zero and a ceiling. The ceiling starts at `initial`, doubles with each failure and never
/// exceeds `max`. The jitter spreads the clients of one server, so that they do not retry at the same moment.
///
/// ```
/// use std::time::Duration;
/// use killfeed::backoff::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// assert!(backoff.next_delay() <= Duration::from_secs(1));
/// assert!(backoff.next_delay() <= Duration::from_secs(2));
/// backoff.reset();
/// assert_eq!(backoff.ceiling(), Duration::from_secs(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Returns a backoff without failures.
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            failures: 0,
        }
    }

    /// Returns this backoff after `failures` failures in a row, for a caller that counts them elsewhere.
    pub const fn with_failures(self, failures: u32) -> Self {
        Self { failures, ..self }
    }

    /// Changes the longest delay, and keeps the count of failures.
    pub const fn set_max(&mut self, max: Duration) {
        self.max = max;
    }

    /// Returns how many failures in a row were counted.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns the upper bound of the next delay.
    pub fn ceiling(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures);
        self.initial.saturating_mul(doubled).min(self.max)
    }

    /// Counts a failure and returns the delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.next_delay_with(fastrand::f64())
    }

    /// Counts a failure and returns the delay before the next attempt, at least as long as the server asks for.
    ///
    /// The caller bounds `retry_after`: no limit applies to it here.
    pub fn next_delay_after(&mut self, retry_after: Option<Duration>) -> Duration {
        self.next_delay().max(retry_after.unwrap_or_default())
    }

    /// Does the same as [`Backoff::next_delay`] with the caller's random number between 0 and 1.
    pub fn next_delay_with(&mut self, random: f64) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(random.clamp(0.0, 1.0))
    }

    /// Clears the count of failures after a success.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn ceiling_doubles_up_to_the_maximum() {
        let ceiling = |failures| Backoff::new(SECOND, MINUTE).with_failures(failures).ceiling().as_secs();
        assert_eq!(
            [0, 1, 2, 5, 6, 7, 40, u32::MAX].map(ceiling),
            [1, 2, 4, 32, 60, 60, 60, 60]
        );
        let longest = Backoff::new(Duration::MAX, Duration::MAX).with_failures(u32::MAX);
        assert_eq!(longest.ceiling(), Duration::MAX);
    }

    #[test]
    fn ceiling_never_exceeds_the_maximum_when_initial_does() {
        assert_eq!(Backoff::new(MINUTE, SECOND).ceiling(), SECOND);
    }

    #[test]
    fn delay_is_a_random_share_of_the_ceiling() {
        let mut backoff = Backoff::new(SECOND, MINUTE);
        assert_eq!(backoff.next_delay_with(0.0), Duration::ZERO);
        assert_eq!(backoff.next_delay_with(0.5), SECOND);
        assert_eq!(backoff.next_delay_with(1.0), SECOND * 4);
        assert_eq!(backoff.next_delay_with(7.0), SECOND * 8);
        assert_eq!(backoff.failures(), 4);
        for _ in 0..100 {
            let ceiling = backoff.ceiling();
            assert!(backoff.next_delay() <= ceiling);
        }
        assert_eq!(backoff.ceiling(), MINUTE);
    }

    #[test]
    fn reset_returns_to_the_initial_delay() {
        let mut backoff = Backoff::new(SECOND, MINUTE).with_failures(9);
        backoff.reset();
        assert_eq!((backoff.failures(), backoff.ceiling()), (0, SECOND));
    }

    #[test]
    fn delay_is_at_least_retry_after() {
        let mut backoff = Backoff::new(SECOND, MINUTE);
        assert_eq!(backoff.next_delay_after(Some(MINUTE * 5)), MINUTE * 5);
        assert_eq!(backoff.failures(), 1);
        assert!(backoff.next_delay_after(None) <= SECOND * 2);
    }

    #[test]
    fn new_maximum_keeps_the_failure_count() {
        let mut backoff = Backoff::new(SECOND, MINUTE).with_failures(7);
        backoff.set_max(MINUTE * 60);
        assert_eq!(backoff.ceiling(), SECOND * 128);
    }
}
