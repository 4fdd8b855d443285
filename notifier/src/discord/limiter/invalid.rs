//! Keeps far away from Discord's ban: 10,000 answers of 401, 403 or 429 within 10 minutes ban the address.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Discord's window.
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// A tenth of what bans: the address may be shared with other programs.
const MAX_INVALID: usize = 1_000;

/// Counts invalid requests of the last 10 minutes.
#[derive(Debug, Default)]
pub(super) struct InvalidRequests {
    times: VecDeque<Instant>,
}

impl InvalidRequests {
    pub(super) fn record(&mut self, now: Instant) {
        self.forget_old(now);
        // Bounded: requests under way when the pause began may still come in.
        if self.times.len() >= 2 * MAX_INVALID {
            self.times.pop_front();
        }
        self.times.push_back(now);
    }

    /// When requests may be sent again, if there have been too many.
    pub(super) fn paused_until(&mut self, now: Instant) -> Option<Instant> {
        self.forget_old(now);
        let over = self.times.len().checked_sub(MAX_INVALID)?;
        self.times.get(over).map(|&time| time + WINDOW)
    }

    fn forget_old(&mut self, now: Instant) {
        while self
            .times
            .front()
            .is_some_and(|&time| now.duration_since(time) >= WINDOW)
        {
            self.times.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_at_a_tenth_of_the_ban_until_enough_are_old() {
        let mut invalid = InvalidRequests::default();
        let start = Instant::now();
        for n in 0..MAX_INVALID as u64 {
            let now = start + Duration::from_millis(n);
            assert_eq!(invalid.paused_until(now), None, "{n}");
            invalid.record(now);
        }
        let now = start + Duration::from_secs(2);
        assert_eq!(invalid.paused_until(now), Some(start + WINDOW));
        invalid.record(now);
        assert_eq!(
            invalid.paused_until(now),
            Some(start + WINDOW + Duration::from_millis(1))
        );
        let later = start + WINDOW + Duration::from_millis(1);
        assert_eq!(invalid.paused_until(later), None);
    }
}
