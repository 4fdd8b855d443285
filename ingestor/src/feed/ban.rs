//! Refusals (429, 403): every request to the host stops, for as long as zKillboard says, else for longer each time.
//!
//! Clients that kept retrying stayed refused for hours.

use std::time::{Duration, SystemTime};

use killfeed::backoff::Backoff;
use serde::{Deserialize, Serialize};

use super::Millis;

/// The ban if zKillboard does not say how long it lasts. zKillboard's own text says "ban will last up to 1 hour".
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(3_600));
/// No answer makes us believe that we have to be silent for longer than a day.
const MAX_RETRY_AFTER: Millis = 24 * 3_600_000;
/// A refusal this long after the last one is a new story.
const RESET_AFTER: Millis = 600_000;

/// Until when we are silent, and how often in a row we had to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ban {
    until: Millis,
    step: u32,
    /// When we were refused last; 0 = not known.
    #[serde(default)]
    since: Millis,
}

impl Ban {
    /// We were refused. `random` in 0..1 spreads those who were refused together; it only ever makes the silence longer.
    pub(super) fn refuse(&mut self, now: Millis, retry_after: Option<Duration>, random: f64) {
        self.step = if now > self.until + RESET_AFTER {
            1
        } else {
            self.step + 1
        };
        let pause = match retry_after {
            Some(asked) => Millis::try_from(asked.as_millis())
                .unwrap_or(MAX_RETRY_AFTER)
                .clamp(1_000, MAX_RETRY_AFTER),
            None => {
                let pause = BACKOFF.with_failures(self.step - 1).ceiling().as_millis() as Millis;
                pause + (pause as f64 * 0.1 * random) as Millis
            }
        };
        (self.since, self.until) = (now, now + pause);
    }

    /// The end of the silence, while it lasts.
    pub(super) fn active(&self, now: Millis) -> Option<Millis> {
        (self.until > now).then_some(self.until)
    }

    /// Of two refusals the one that silences us for longer.
    pub(super) fn longer(self, other: Self) -> Self {
        if other.until > self.until { other } else { self }
    }

    /// After a restart: with a clock that was set back since the refusal nothing tells how much of the silence is over, so it begins
    /// anew; but none is longer than any would be.
    pub(super) fn restored(self, now: Millis) -> Self {
        let set_back = now < self.since;
        let until = if set_back {
            now + (self.until - self.since)
        } else {
            self.until
        };
        Self {
            since: self.since.min(now),
            until: until.min(now + MAX_RETRY_AFTER),
            ..self
        }
    }
}

/// `Retry-After` is a number of seconds or an HTTP date.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_an_hour_and_is_forgiven() {
        let mut ban = Ban::default();
        let mut now = 10_000_000;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            ban.refuse(now, None, 0.0);
            assert_eq!(ban.active(now), Some(now + minutes * 60_000));
            now += minutes * 60_000;
            assert_eq!(ban.active(now), None);
        }
        ban.refuse(now + RESET_AFTER + 1, None, 0.999);
        let pause = ban.active(now + RESET_AFTER + 1).unwrap() - (now + RESET_AFTER + 1);
        assert!((60_000..66_000).contains(&pause), "{pause}");
    }

    #[test]
    fn as_long_as_asked() {
        let mut ban = Ban::default();
        for (asked, pause) in [(7, 7_000), (0, 1_000), (90_000_000, MAX_RETRY_AFTER)] {
            ban.refuse(5_000, Some(Duration::from_secs(asked)), 0.5);
            assert_eq!(ban.active(5_000), Some(5_000 + pause));
        }
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_silence_longer() {
        let mut ban = Ban::default();
        ban.refuse(100_000_000, Some(Duration::from_secs(60)), 0.0);
        assert_eq!(ban.restored(100_020_000), ban);
        assert_eq!(ban.restored(30_000_000).active(30_000_000), Some(30_060_000));
        assert_eq!(ban.restored(200_000_000).active(200_000_000), None);
        // As a version wrote it that did not say since when.
        let old: Ban = serde_json::from_str(r#"{"until":100060000,"step":1}"#).unwrap();
        assert_eq!(old.restored(100_020_000).active(100_020_000), Some(100_060_000));
        assert_eq!(
            old.restored(5_000_000).active(5_000_000),
            Some(5_000_000 + MAX_RETRY_AFTER)
        );
    }

    #[test]
    fn seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("Sun, 06 Foo 1994 08:50:37 GMT", None),
            ("-5", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
