//! Parsing of the services' settings.
//!
//! The module turns text into values, or into an error that fits on one line. It reads no files, flags or variables.

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr, time::Duration};

/// One setting, as `--help` and docs/settings.md list it. The flag is the variable without its prefix, in kebab case.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable, with the service's prefix.
    pub variable: &'static str,
    /// The default value as text. An empty text means that there is none.
    pub default: &'static str,
    /// A description in one sentence.
    pub help: &'static str,
    /// Whether the value is never shown and can also come from the file that `<variable>_FILE` names.
    pub secret: bool,
}

impl Setting {
    /// Returns the flag's name: the variable without the service's prefix, in kebab case.
    ///
    /// A variable without such a prefix keeps its whole name: `RUST_LOG` becomes `rust-log`, because the ingestor has `log`.
    pub fn flag(&self) -> String {
        let prefixes = ["INGESTOR_", "NOTIFIER_"];
        let name = prefixes.iter().find_map(|prefix| self.variable.strip_prefix(prefix));
        name.unwrap_or(self.variable).to_lowercase().replace('_', "-")
    }
}

/// An invalid setting, with its variable, its value and the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingError {
    /// The environment variable.
    pub variable: String,
    /// The value. `None` if the setting is a secret or missing.
    pub value: Option<String>,
    /// A description of the expected form.
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
    /// Creates an error that shows the value.
    pub fn new(variable: &str, value: &str, expected: impl Into<String>) -> Self {
        Self {
            variable: variable.into(),
            value: Some(value.into()),
            expected: expected.into(),
        }
    }

    /// Creates an error for a missing variable or a secret one, whose value must not be shown.
    pub fn unseen(variable: &str, expected: impl Into<String>) -> Self {
        Self {
            variable: variable.into(),
            value: None,
            expected: expected.into(),
        }
    }
}

/// The texts of all settings. A flag overrides the environment, which overrides the default.
///
/// An empty text overrides too (it means "off" where a setting can be off). [`RawSettings::get`] treats it as absent.
#[derive(Debug, Default, Clone)]
pub struct RawSettings(BTreeMap<String, String>);

impl RawSettings {
    /// Takes the text of each setting from `lookup`, or else from its default.
    pub fn collect(settings: &[Setting], lookup: impl Fn(&Setting) -> Option<String>) -> Self {
        let text = |setting: &Setting| lookup(setting).unwrap_or_else(|| setting.default.to_owned());
        Self(
            settings
                .iter()
                .map(|setting| (setting.variable.to_owned(), text(setting)))
                .collect(),
        )
    }

    /// Returns the trimmed text; `None` if it is empty or the variable is unknown.
    pub fn get(&self, variable: &str) -> Option<&str> {
        self.0
            .get(variable)
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
    }

    /// Returns the trimmed text, or an error if it is missing.
    pub fn require(&self, variable: &str, expected: &str) -> Result<&str, SettingError> {
        self.get(variable)
            .ok_or_else(|| SettingError::unseen(variable, expected))
    }

    /// Parses the text with `parse`; returns `None` if the text is empty.
    pub fn parse<T>(
        &self,
        variable: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingError> {
        let read = |text| parse(text).ok_or_else(|| SettingError::new(variable, text, expected));
        self.get(variable).map(read).transpose()
    }

    /// Parses the text like [`RawSettings::parse`], but returns an error if the text is empty.
    pub fn parse_required<T>(
        &self,
        variable: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, SettingError> {
        self.parse(variable, expected, parse)?
            .ok_or_else(|| SettingError::unseen(variable, expected))
    }

    /// Parses a duration that is not shorter than the given minimum.
    pub fn duration(&self, variable: &str, min: Duration) -> Result<Duration, SettingError> {
        let expected = format!(
            "a duration of at least {}, like 500ms, 6s, 5m, 2h or 7d",
            DisplayDuration(min)
        );
        self.parse_required(variable, &expected, |text| duration(text).filter(|value| *value >= min))
    }

    /// Parses an address of the form `IP:PORT`.
    pub fn addr(&self, variable: &str) -> Result<SocketAddr, SettingError> {
        self.parse_required(variable, "an address with a port, like 127.0.0.1:50051", |text| {
            text.parse().ok()
        })
    }

    /// Parses a whole number that is not less than the given minimum.
    pub fn number<T: FromStr + PartialOrd + fmt::Display>(&self, variable: &str, min: T) -> Result<T, SettingError> {
        let expected = format!("a whole number of at least {min}");
        self.parse_required(variable, &expected, |text| {
            text.parse().ok().filter(|value| *value >= min)
        })
    }

    /// Parses `true` or `false`.
    pub fn flag(&self, variable: &str) -> Result<bool, SettingError> {
        self.parse_required(variable, "true or false", |text| text.parse().ok())
    }
}

/// The longest duration, about 100 years: no setting needs more, and adding it to a time never overflows.
const MAX_DURATION: Duration = Duration::from_secs(36_500 * 86_400);

/// Parses `<number><unit>`, where the unit is ms, s, m, h or d, up to 36,500 days.
///
/// Returns `None` for any other text.
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

/// Formats a duration in the largest unit that represents it exactly, as [`duration`] reads it.
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
    fn durations_parse_and_display() {
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
    fn error_names_variable_value_and_expectation() {
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
