//! Settings of the two services: raw text → value, or the one line that a person needs. Pure: nothing is read here.

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr, time::Duration};

/// One setting, as `--help` and the README list it. The flag is the variable without its prefix, in kebab case.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Environment variable, with the service's prefix.
    pub variable: &'static str,
    /// Default as text; empty = none.
    pub default: &'static str,
    /// What it does, in one sentence.
    pub help: &'static str,
    /// Never shown, and read from the file named by `<variable>_FILE` too.
    pub secret: bool,
}

impl Setting {
    /// The flag: the variable without its service's prefix, in kebab case. What has no such prefix keeps its whole name:
    /// `RUST_LOG` is `--rust-log`, beside the ingestor's `--log`.
    pub fn flag(&self) -> String {
        let prefixes = ["INGESTOR_", "NOTIFIER_"];
        let name = prefixes.iter().find_map(|prefix| self.variable.strip_prefix(prefix));
        name.unwrap_or(self.variable).to_lowercase().replace('_', "-")
    }
}

/// A setting that cannot be used: names the variable, the value and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingError {
    /// The environment variable.
    pub variable: String,
    /// Its value; `None` = not shown (a secret) or missing.
    pub value: Option<String>,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={:?}: expected {}", self.variable, value, self.expected),
            None => write!(f, "{}: expected {}", self.variable, self.expected),
        }
    }
}

impl SettingError {
    /// For `variable`, whose `value` is shown.
    pub fn new(variable: &str, value: &str, expected: impl Into<String>) -> Self {
        Self {
            variable: variable.into(),
            value: Some(value.into()),
            expected: expected.into(),
        }
    }

    /// For a `variable` that is missing, or whose value is a secret.
    pub fn unseen(variable: &str, expected: impl Into<String>) -> Self {
        Self {
            variable: variable.into(),
            value: None,
            expected: expected.into(),
        }
    }
}

/// The raw texts of all settings, flags over environment over defaults. An empty text counts as given (and means "off"
/// where a setting can be off); [`RawSettings::get`] treats it as absent.
#[derive(Debug, Default, Clone)]
pub struct RawSettings(BTreeMap<String, String>);

impl RawSettings {
    /// Takes every setting's text from `lookup` (flags first, then environment), else its default.
    pub fn collect(settings: &[Setting], lookup: impl Fn(&Setting) -> Option<String>) -> Self {
        let text = |setting: &Setting| lookup(setting).unwrap_or_else(|| setting.default.to_owned());
        Self(
            settings
                .iter()
                .map(|setting| (setting.variable.to_owned(), text(setting)))
                .collect(),
        )
    }

    /// The text, trimmed; `None` if empty or unknown.
    pub fn get(&self, variable: &str) -> Option<&str> {
        self.0
            .get(variable)
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
    }

    /// The text, which must be there.
    pub fn require(&self, variable: &str, expected: &str) -> Result<&str, SettingError> {
        self.get(variable)
            .ok_or_else(|| SettingError::unseen(variable, expected))
    }

    /// The text read by `parse`; `None` if empty.
    pub fn parse<T>(
        &self,
        variable: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingError> {
        let read = |text| parse(text).ok_or_else(|| SettingError::new(variable, text, expected));
        self.get(variable).map(read).transpose()
    }

    /// As [`RawSettings::parse`], for settings that always have a value.
    pub fn parse_required<T>(
        &self,
        variable: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, SettingError> {
        self.parse(variable, expected, parse)?
            .ok_or_else(|| SettingError::unseen(variable, expected))
    }

    /// A duration of at least `min`.
    pub fn duration(&self, variable: &str, min: Duration) -> Result<Duration, SettingError> {
        let expected = format!(
            "a duration of at least {}, like 500ms, 6s, 5m, 2h or 7d",
            DisplayDuration(min)
        );
        self.parse_required(variable, &expected, |text| duration(text).filter(|value| *value >= min))
    }

    /// `IP:PORT`.
    pub fn addr(&self, variable: &str) -> Result<SocketAddr, SettingError> {
        self.parse_required(variable, "an address with a port, like 127.0.0.1:50051", |text| {
            text.parse().ok()
        })
    }

    /// A whole number of at least `min`.
    pub fn number<T: FromStr + PartialOrd + fmt::Display>(&self, variable: &str, min: T) -> Result<T, SettingError> {
        let expected = format!("a whole number of at least {min}");
        self.parse_required(variable, &expected, |text| {
            text.parse().ok().filter(|value| *value >= min)
        })
    }

    /// `true` or `false`.
    pub fn flag(&self, variable: &str) -> Result<bool, SettingError> {
        self.parse_required(variable, "true or false", |text| text.parse().ok())
    }
}

/// Longer than anybody means, and still short enough to be added to any time.
const MAX_DURATION: Duration = Duration::from_secs(36_500 * 86_400);

/// `<number><unit>` with ms, s, m, h, d; up to a hundred years.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.checked_mul(millis)?);
    (duration <= MAX_DURATION).then_some(duration)
}

/// A duration in the largest unit that holds it whole, as [`duration`] reads it.
#[derive(Debug, Clone, Copy)]
pub struct DisplayDuration(pub Duration);

impl fmt::Display for DisplayDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        match units
            .into_iter()
            .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit))
        {
            Some((unit, name)) => write!(f, "{}{name}", millis / unit),
            None => write!(f, "{millis}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("6s", 6_000),
            ("500ms", 500),
            ("7d", 604_800_000),
            ("0s", 0),
            ("90m", 5_400_000),
            ("36500d", 3_153_600_000_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "6", "s", "-1s", "1.5s", "6 s", "1w", "１s"] {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in [
            "36501d",
            "3153600000001ms",
            "18446744073709551615s",
            "18446744073709551615d",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(DisplayDuration(Duration::from_secs(5_400)).to_string(), "90m");
        assert_eq!(DisplayDuration(Duration::from_millis(1_500)).to_string(), "1500ms");
    }

    #[test]
    fn a_bad_value_says_which_what_and_what_was_expected() {
        let settings = [Setting {
            variable: "INGESTOR_POLL_INTERVAL",
            default: "6s",
            help: "",
            secret: false,
        }];
        let raw = RawSettings::collect(&settings, |_| Some("soon".into()));
        let error = raw
            .duration("INGESTOR_POLL_INTERVAL", Duration::from_secs(1))
            .unwrap_err();
        let line = r#"INGESTOR_POLL_INTERVAL="soon": expected a duration of at least 1s, like 500ms, 6s, 5m, 2h or 7d"#;
        assert_eq!(error.to_string(), line);
        assert_eq!(settings[0].flag(), "poll-interval");
        let shared = Setting {
            variable: "RUST_LOG",
            ..settings[0]
        };
        assert_eq!(shared.flag(), "rust-log");
        let defaults = RawSettings::collect(&settings, |_| None);
        assert_eq!(
            defaults.duration("INGESTOR_POLL_INTERVAL", Duration::ZERO),
            Ok(Duration::from_secs(6))
        );
    }
}
