//! When a stream shows that it lives. Decisions only.

use std::time::Duration;

use tokio::time::Instant;

/// The contract's interval between two signs of life, counted from the last one.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// When the next sign of life is due.
#[derive(Debug)]
pub(super) struct Heartbeat {
    pub(super) next: Instant,
    /// The client knows that it has caught up: the first time it is told at once.
    told: bool,
}

impl Heartbeat {
    pub(super) fn new(now: Instant, random: f64) -> Self {
        Self {
            next: now + interval(random),
            told: false,
        }
    }

    /// Whether a Progress is due now; if so it counts as sent.
    pub(super) fn beats(&mut self, now: Instant, at_head: bool, random: f64) -> bool {
        let due = now >= self.next || (at_head && !self.told);
        if due {
            self.told |= at_head;
            self.next = now + interval(random);
        }
        due
    }
}

/// 15 s ±10 %, so that a thousand streams opened at once do not beat at once. `random` lies in 0..1.
fn interval(random: f64) -> Duration {
    PROGRESS_INTERVAL.mul_f64(0.9 + 0.2 * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heart_beats_when_caught_up_and_then_steadily() {
        let begun = Instant::now();
        let at = |seconds: f64| begun + Duration::from_secs_f64(seconds);
        let mut heart = Heartbeat::new(begun, 0.5);
        assert!(!heart.beats(at(1.0), false, 0.5), "a scan has begun");
        assert!(heart.beats(at(15.0), false, 0.5), "it takes long");
        assert!(!heart.beats(at(16.0), false, 0.5));
        assert!(heart.beats(at(17.0), true, 0.5), "caught up: at once");
        assert!(!heart.beats(at(18.0), true, 0.5));
        assert!(!heart.beats(at(31.9), true, 0.5), "counted from the last one");
        assert!(heart.beats(at(32.0), false, 0.5), "also while events flow");
        assert!(!heart.beats(at(33.0), true, 0.5), "told once that it has caught up");
        assert_eq!(interval(0.0), Duration::from_millis(13_500));
        assert_eq!(interval(1.0), Duration::from_millis(16_500));
    }
}
