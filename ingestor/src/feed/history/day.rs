//! Days, as people write them and as zKillboard names its files.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::{Date, Month, OffsetDateTime};

/// A day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(Date);

/// A text that is no day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid day {0:?}: expected one like 2026-08-01")]
pub struct ParseDayError(String);

impl Day {
    /// The day of this time, in milliseconds since 1970.
    pub fn of(ms: i64) -> Self {
        let time = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000));
        Self(time.unwrap_or(OffsetDateTime::UNIX_EPOCH).date())
    }

    /// The day after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.next_day().unwrap_or(self.0))
    }

    /// How many days lie between the two.
    pub fn days_since(self, earlier: Self) -> u64 {
        u64::try_from((self.0 - earlier.0).whole_days()).unwrap_or(0)
    }

    /// `20260801`.
    pub(super) fn file(self) -> String {
        self.to_string().replace('-', "")
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        write!(f, "{year:04}-{:02}-{day:02}", u8::from(month))
    }
}

impl FromStr for Day {
    type Err = ParseDayError;

    fn from_str(text: &str) -> Result<Self, ParseDayError> {
        let bad = || ParseDayError(text.into());
        let shape = text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !shape {
            return Err(bad());
        }
        let number = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<u16>().ok());
        let date = || {
            let month = Month::try_from(u8::try_from(number(5, 7)?).ok()?).ok()?;
            Date::from_calendar_date(number(0, 4)?.into(), month, u8::try_from(number(8, 10)?).ok()?).ok()
        };
        date().map(Self).ok_or_else(bad)
    }
}

impl TryFrom<String> for Day {
    type Error = ParseDayError;

    fn try_from(text: String) -> Result<Self, ParseDayError> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_survive_their_text() {
        for text in ["1970-01-01", "2024-02-29", "2026-08-01", "2026-12-31"] {
            let day: Day = text.parse().unwrap();
            assert_eq!(day.to_string(), text);
            assert_eq!(serde_json::to_string(&day).unwrap(), format!("{text:?}"));
        }
        let day: Day = "2026-12-31".parse().unwrap();
        assert_eq!(
            (day.file(), day.next().to_string()),
            ("20261231".into(), "2027-01-01".into())
        );
        assert_eq!(Day::of(1_785_542_400_000 + 86_399_999).to_string(), "2026-08-01");
        assert_eq!(day.days_since("2026-12-24".parse().unwrap()), 7);
        for text in [
            "",
            "today",
            "2026-8-1",
            "2026-13-01",
            "2026-02-30",
            "20260801",
            "2026-08-01T00:00:00Z",
            "+026-08-01",
        ] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }
}
