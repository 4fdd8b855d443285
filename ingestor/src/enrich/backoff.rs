//! How long to wait before the next try: up to twice as long each time, never over a ceiling, at random (full jitter) so that
//! many clients of one server do not come back together.

use std::time::Duration;

/// Counts the tries in a row that failed.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration) -> Self {
        Self { first, failures: 0 }
    }

    /// Counts a failure: how long to wait now, at most `max`.
    pub(super) fn next(&mut self, max: Duration) -> Duration {
        let ceiling = ceiling(self.first, self.failures, max);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(fastrand::f64())
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

fn ceiling(first: Duration, failures: u32, max: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_ceiling_and_starts_anew() {
        let most = Duration::from_secs(60);
        let seconds = |failures| ceiling(Duration::from_secs(1), failures, most).as_secs();
        assert_eq!(
            [0, 1, 2, 5, 6, 7, 40, u32::MAX].map(seconds),
            [1, 2, 4, 32, 60, 60, 60, 60]
        );
        let mut backoff = Backoff::new(Duration::from_secs(1));
        for _ in 0..100 {
            assert!(backoff.next(most) <= most);
        }
        backoff.reset();
        assert!(backoff.next(most) <= Duration::from_secs(1));
    }
}
