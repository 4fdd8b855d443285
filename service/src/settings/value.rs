//! Parsers of values. The error of each parser is the expected form.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

/// A text that is never shown: neither by `Debug` nor in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A value that an empty text turns off; `None` if it is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrOff<T>(pub Option<T>);

/// Returns a parser with `expected` as its error if `parse` returns `None`.
pub fn expect<T>(
    expected: impl Into<String>,
    parse: impl Fn(&str) -> Option<T> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    let expected = expected.into();
    move |text| parse(text).ok_or_else(|| expected.clone())
}

/// Parses a duration: `<number><unit>` with ms, s, m, h or d, up to a hundred years.
pub fn duration(text: &str) -> Option<Duration> {
    /// The limit keeps the sum of a duration and any time from overflowing.
    const MAX: Duration = Duration::from_secs(36_500 * 86_400);
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.checked_mul(ms)?);
    (duration <= MAX).then_some(duration)
}

/// Returns a parser of durations of at least `min`.
pub fn min_duration(min: Duration) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    let expected = format!(
        "a duration of at least {}, like 500ms, 6s, 5m, 2h or 7d",
        DisplayDuration(min)
    );
    expect(expected, move |text| duration(text).filter(|value| *value >= min))
}

/// Returns a parser of whole numbers of at least `min`.
pub fn min_number<T>(min: T) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + fmt::Display + Clone + Send + Sync + 'static,
{
    let expected = format!("a whole number of at least {min}");
    expect(expected, move |text| text.parse().ok().filter(|value| *value >= min))
}

/// Returns a parser that accepts only the given words.
pub fn one_of<T: Clone + Send + Sync + 'static>(
    expected: &'static str,
    words: &'static [(&'static str, T)],
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    expect(expected, |text| {
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| value.clone())
    })
}

/// Parses `IP:PORT`.
pub fn addr(text: &str) -> Result<SocketAddr, String> {
    let parsed = text.parse();
    parsed.map_err(|_| "an address with a port, like 127.0.0.1:50051".to_owned())
}

/// Parses `IP:PORT`, or an empty text.
pub fn addr_or_off(text: &str) -> Result<OrOff<SocketAddr>, String> {
    match text {
        "" => Ok(OrOff(None)),
        text => addr(text).map(|addr| OrOff(Some(addr))),
    }
}

/// Parses `true` or `false`.
pub fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "true or false".to_owned())
}

/// Displays a duration in the largest unit that represents it exactly, as [`duration`] parses it.
#[derive(Debug, Clone, Copy)]
pub struct DisplayDuration(pub Duration);

impl fmt::Display for DisplayDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let fitting = units
            .into_iter()
            .find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
        match fitting {
            Some((unit, name)) => write!(f, "{}{name}", ms / unit),
            None => write!(f, "{ms}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_needs_a_number_and_a_unit() {
        for (text, ms) in [
            ("6s", 6_000),
            ("500ms", 500),
            ("7d", 604_800_000),
            ("0s", 0),
            ("90m", 5_400_000),
            ("36500d", 3_153_600_000_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "6", "s", "-1s", "1.5s", "6 s", "1w", "１s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn duration_is_at_most_a_hundred_years() {
        for text in [
            "36501d",
            "3153600000001ms",
            "18446744073709551615s",
            "18446744073709551615d",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn duration_is_shown_in_its_largest_unit() {
        for text in ["90m", "1500ms", "7d", "0ms", "1s"] {
            assert_eq!(DisplayDuration(duration(text).unwrap()).to_string(), text);
        }
    }

    #[test]
    fn secret_is_never_shown() {
        assert!(!format!("{:?}", Secret::new("hunter2")).contains("hunter2"));
        assert_eq!(Secret::from("hunter2").reveal(), "hunter2");
    }
}
