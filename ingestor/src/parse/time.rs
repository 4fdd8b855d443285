//! Times as CCP and older boards write them: `2018-09-20T23:35:51Z`, `2018-09-20 23:35:51`, with or without a fraction.

use prost_types::Timestamp;
use time::{Date, Month};

use super::{Node, Reject};

const EXPECTED: &str = "a time like 2026-01-31T12:34:56Z";

/// EVE's time is UTC; a text without a zone is taken for that. A number counts seconds since 1970.
pub(super) fn parse(node: &Node<'_>) -> Result<Timestamp, Reject> {
    let seconds = match node {
        Node::Integer(seconds) => return from_unix_seconds(*seconds),
        // An offset may lead out of the years that can be held.
        Node::Text(text) => unix_seconds(text.trim()).filter(|seconds| HOLDS.contains(seconds)),
        _ => None,
    };
    seconds.map(at).ok_or_else(|| Reject::wrong_type("", node, EXPECTED))
}

/// What a protobuf timestamp can hold: any second of the years 1 to 9999.
const HOLDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

pub(super) fn from_unix_seconds(seconds: i128) -> Result<Timestamp, Reject> {
    let valid = i64::try_from(seconds).ok().filter(|seconds| HOLDS.contains(seconds));
    valid
        .map(at)
        .ok_or_else(|| Reject::wrong_type("", &Node::Integer(seconds), "seconds since 1970"))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn unix_seconds(text: &str) -> Option<i64> {
    let mut rest = Rest(text.as_bytes());
    let year = rest.digits(4)?;
    let separator = rest.one_of(b"-./")?;
    let month = rest.digits(2)?;
    rest.one_of(&[separator])?;
    let date = date(year, month, rest.digits(2)?)?;
    rest.one_of(b"Tt ")?;
    let hour = rest.digits(2)?;
    rest.one_of(b":")?;
    let minute = rest.digits(2)?;
    let second = if rest.one_of(b":").is_some() {
        rest.digits(2)?
    } else {
        0
    };
    if rest.one_of(b".,").is_some() {
        rest.skip_digits()?;
    }
    let offset = rest.offset_seconds()?;
    let valid = year >= 1 && hour < 24 && minute < 60 && second <= 60;
    // A leap second counts as the last ordinary one.
    let of_day = hour * 3600 + minute * 60 + second.min(59);
    let midnight = date.midnight().assume_utc().unix_timestamp();
    valid.then_some(midnight + of_day - offset)
}

fn date(year: i64, month: i64, day: i64) -> Option<Date> {
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()
}

/// What of the text is not read yet.
struct Rest<'t>(&'t [u8]);

impl Rest<'_> {
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let number = digits.iter().try_fold(0, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
        })?;
        self.0 = rest;
        Some(number)
    }

    fn one_of(&mut self, allowed: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        allowed.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    fn skip_digits(&mut self) -> Option<()> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.0 = &self.0[count..];
        (count > 0).then_some(())
    }

    /// `Z`, `+01:00`, `+0100`, or nothing; and nothing may follow.
    fn offset_seconds(&mut self) -> Option<i64> {
        let offset = match self.one_of(b"Zz+-") {
            None | Some(b'Z' | b'z') => 0,
            Some(sign) => {
                let hours = self.digits(2)?;
                let _ = self.one_of(b":");
                let minutes = if self.0.is_empty() { 0 } else { self.digits(2)? };
                let seconds = hours * 3600 + minutes * 60;
                if sign == b'-' { -seconds } else { seconds }
            }
        };
        self.0.is_empty().then_some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_and_their_relatives() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2018-09-20T23:35:51Z", 1_537_486_551),
            ("2018-09-20 23:35:51", 1_537_486_551),
            ("2018.09.20 23:35:51", 1_537_486_551),
            ("2018-09-20T23:35:51.123Z", 1_537_486_551),
            ("2018-09-20T23:35:51+00:00", 1_537_486_551),
            ("2018-09-21T01:35:51+02:00", 1_537_486_551),
            ("2018-09-20T23:35", 1_537_486_500),
            ("2024-02-29 12:00:00", 1_709_208_000),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("2016-12-31T23:59:60Z", 1_483_228_799),
        ] {
            assert_eq!(unix_seconds(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "now",
            "2018-09-20",
            "2018-09-20T",
            "2018-13-20T23:35:51Z",
            "2018-02-29T23:35:51Z",
            "1900-02-29T23:35:51Z",
            "2018-09-20T24:00:00Z",
            "2018-09-20T23:35:51ZZ",
            "2018-09-20T23:35:51+1",
            "2018-09.20T23:35:51Z",
            "２018-09-20T23:35:51Z",
        ] {
            assert_eq!(unix_seconds(text), None, "{text}");
        }
        assert!(from_unix_seconds(i128::MAX).is_err());
        for text in ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"] {
            assert!(parse(&Node::Text(text.into())).is_err(), "{text}");
        }
    }
}
