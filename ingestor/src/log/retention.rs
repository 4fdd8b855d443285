//! When records may go: after the retention, unless the clock is not to be trusted. Pure; the writer asks and removes.

use std::{fmt, time::Duration};

use killfeed_service::clock::Now;

/// How far the wall clock may be off what the monotonic clock expects before retention pauses (storage.md).
const TOLERANCE_MS: i64 = 10 * 60 * 1000;

/// Retention is enforced at least every minute, and at least once within itself.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// Why nothing is removed at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PauseReason {
    /// The wall clock moved by this many milliseconds more than time passed.
    Jumped(i64),
    /// At the start it stood this many milliseconds after the newest record: a wrong clock, or a long time without the service.
    AheadOfHead(i64),
}

/// What the guard says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetentionDecision {
    /// Records appended before this many milliseconds since 1970 may go.
    RemoveBefore(i64),
    /// Nothing may go now.
    Pause(PauseReason),
}

/// Keeps a jump of the clock from emptying the log.
///
/// A pause ends when the clock is back where it was expected, and in any case after the retention: by then everything that
/// was there when it began is older than the retention by the monotonic clock as well, and whatever came since bears the new
/// time.
#[derive(Debug, Clone)]
pub(super) struct ClockGuard {
    retention: Duration,
    /// The clocks agreed here.
    trusted: Now,
    /// At the start the clock was in doubt already: coming back to what it showed then proves nothing.
    doubtful: bool,
    pause: Option<Pause>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    since: Now,
    why: PauseReason,
}

impl ClockGuard {
    /// At the start of the process; `head_ms` = when the newest record was appended.
    pub(super) fn start(now: Now, head_ms: Option<i64>, retention: Duration) -> Self {
        let ahead = head_ms.map_or(0, |head| now.wall_ms().saturating_sub(head));
        let pause = (ahead > to_ms(retention)).then_some(Pause {
            since: now,
            why: PauseReason::AheadOfHead(ahead),
        });
        Self {
            retention,
            trusted: now,
            doubtful: pause.is_some(),
            pause,
        }
    }

    /// What may go now.
    pub(super) fn check(&mut self, now: Now) -> RetentionDecision {
        let off = off(self.trusted, now);
        match self.pause {
            None if off.abs() > TOLERANCE_MS => self.pause_for(now, off),
            Some(Pause {
                why: PauseReason::Jumped(_),
                ..
            }) if off.abs() <= TOLERANCE_MS && !self.doubtful => self.pause = None,
            // Jumped once more: what counts is the time since then.
            Some(pause) if self::off(pause.since, now).abs() > TOLERANCE_MS => self.pause_for(now, off),
            Some(pause) if now.up - pause.since.up > self.retention => {
                self.pause = None;
                self.trusted = now;
                self.doubtful = false;
            }
            _ => {}
        }
        match self.pause {
            Some(pause) => RetentionDecision::Pause(pause.why),
            None => RetentionDecision::RemoveBefore(now.wall_ms().saturating_sub(to_ms(self.retention))),
        }
    }

    fn pause_for(&mut self, now: Now, off: i64) {
        self.pause = Some(Pause {
            since: now,
            why: PauseReason::Jumped(off),
        });
    }
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = |ms: i64| ms.abs() / 60_000;
        match *self {
            Self::Jumped(ms) if ms < 0 => write!(f, "the clock was set back by {} min", minutes(ms)),
            Self::Jumped(ms) => write!(f, "the clock jumped ahead by {} min", minutes(ms)),
            Self::AheadOfHead(ms) => write!(
                f,
                "the clock is {} min ahead of the newest record, which is more than the retention",
                minutes(ms)
            ),
        }
    }
}

/// How often to enforce a retention: twice within the bound promised, so that it holds with the work included.
pub(super) fn interval(retention: Duration) -> Duration {
    retention.min(MAX_INTERVAL) / 2
}

/// How much more the wall clock moved since `then` than time passed, in milliseconds.
fn off(then: Now, now: Now) -> i64 {
    let passed = to_ms(now.up - then.up);
    now.wall_ms().saturating_sub(then.wall_ms()).saturating_sub(passed)
}

/// Whole milliseconds; more than 292 million years count as that.
fn to_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use killfeed_service::clock::{Uptime, from_ms};

    use super::*;

    const HOUR: i64 = 3_600_000;
    const WEEK: Duration = Duration::from_secs(7 * 86_400);
    const WEEK_MS: i64 = 7 * 24 * HOUR;
    /// Some moment in 2026.
    const T0: i64 = 1_790_000_000_000;

    fn at(passed_ms: i64, jumped_ms: i64) -> Now {
        Now {
            wall: from_ms(T0 + passed_ms + jumped_ms),
            up: Uptime::new(Duration::from_millis(passed_ms as u64)),
        }
    }

    fn guard() -> ClockGuard {
        ClockGuard::start(at(0, 0), Some(T0 - HOUR), WEEK)
    }

    #[test]
    fn ordinary_time_removes_what_is_older_than_the_retention() {
        let mut guard = guard();
        assert_eq!(guard.check(at(0, 0)), RetentionDecision::RemoveBefore(T0 - WEEK_MS));
        // Ten minutes of correction are still ordinary.
        assert_eq!(
            guard.check(at(HOUR, 600_000)),
            RetentionDecision::RemoveBefore(T0 + HOUR + 600_000 - WEEK_MS)
        );
    }

    #[test]
    fn a_jump_pauses_until_the_clock_is_back() {
        for jump in [700_000, -700_000, 30 * 24 * HOUR] {
            let mut guard = guard();
            assert_eq!(
                guard.check(at(1000, jump)),
                RetentionDecision::Pause(PauseReason::Jumped(jump))
            );
            assert_eq!(
                guard.check(at(2 * HOUR, jump)),
                RetentionDecision::Pause(PauseReason::Jumped(jump))
            );
            assert!(matches!(
                guard.check(at(3 * HOUR, 0)),
                RetentionDecision::RemoveBefore(_)
            ));
        }
    }

    #[test]
    fn a_jump_that_stays_pauses_for_the_retention() {
        let mut guard = guard();
        let jump = 30 * 24 * HOUR;
        assert!(matches!(guard.check(at(1000, jump)), RetentionDecision::Pause(_)));
        assert!(matches!(
            guard.check(at(1000 + WEEK_MS, jump)),
            RetentionDecision::Pause(_)
        ));
        let later = at(1001 + WEEK_MS, jump);
        assert_eq!(
            guard.check(later),
            RetentionDecision::RemoveBefore(later.wall_ms() - WEEK_MS)
        );
        // The new time is the trusted one now.
        assert!(matches!(
            guard.check(at(WEEK_MS + HOUR, jump)),
            RetentionDecision::RemoveBefore(_)
        ));
        assert!(matches!(
            guard.check(at(WEEK_MS + HOUR, 0)),
            RetentionDecision::Pause(_)
        ));
    }

    #[test]
    fn a_second_jump_begins_the_pause_anew() {
        let mut guard = guard();
        guard.check(at(1000, HOUR));
        guard.check(at(WEEK_MS, 5 * HOUR));
        assert!(matches!(
            guard.check(at(WEEK_MS + HOUR, 5 * HOUR)),
            RetentionDecision::Pause(_)
        ));
        assert!(matches!(
            guard.check(at(2 * WEEK_MS + 1, 5 * HOUR)),
            RetentionDecision::RemoveBefore(_)
        ));
    }

    #[test]
    fn a_start_long_after_the_newest_record_pauses_for_the_retention() {
        let ahead = WEEK_MS + 1;
        let mut guard = ClockGuard::start(at(0, 0), Some(T0 - ahead), WEEK);
        assert_eq!(
            guard.check(at(0, 0)),
            RetentionDecision::Pause(PauseReason::AheadOfHead(ahead))
        );
        assert!(matches!(guard.check(at(WEEK_MS, 0)), RetentionDecision::Pause(_)));
        assert!(matches!(
            guard.check(at(WEEK_MS + 1, 0)),
            RetentionDecision::RemoveBefore(_)
        ));
        // Not a millisecond longer than that is no reason, and an empty log has nothing to lose.
        for head in [Some(T0 - WEEK_MS), Some(T0 + HOUR), None] {
            let mut guard = ClockGuard::start(at(0, 0), head, WEEK);
            assert!(
                matches!(guard.check(at(0, 0)), RetentionDecision::RemoveBefore(_)),
                "{head:?}"
            );
        }
    }

    #[test]
    fn enforced_within_the_retention_and_within_a_minute() {
        assert_eq!(interval(Duration::from_secs(1)), Duration::from_millis(500));
        assert_eq!(interval(WEEK), Duration::from_secs(30));
    }

    #[test]
    fn reasons_are_sentences() {
        assert_eq!(
            PauseReason::Jumped(-HOUR).to_string(),
            "the clock was set back by 60 min"
        );
        assert_eq!(
            PauseReason::AheadOfHead(2 * HOUR).to_string(),
            "the clock is 120 min ahead of the newest record, which is more than the retention"
        );
    }
}
