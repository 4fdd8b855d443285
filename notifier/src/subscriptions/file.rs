//! The subscriptions file: TOML or JSON text → wishes, or the row, the field and what was expected there. Pure.

use std::{collections::HashSet, time::Duration};

use killfeed_service::settings;
use serde::Deserialize;

use super::{MaxAge, SubscriptionSpec, WEBHOOK_GUILD};
use crate::{settings::Secret, sink::Destination};

/// What is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionsFileError {
    /// Not TOML or JSON, or not of this shape.
    #[error("{0}")]
    Syntax(String),
    /// A row that cannot be used.
    #[error("subscription {row}{name}: {field}: expected {expected}")]
    Row {
        /// Which row, counted from 1.
        row: usize,
        /// Its name in quotes and parentheses, if it has one.
        name: String,
        /// Which field.
        field: &'static str,
        /// What was expected there.
        expected: String,
    },
}

/// Reads the file. JSON begins with a brace, TOML never does. Webhooks may also lie under `api_url`.
pub fn parse(text: &str, api_url: &str) -> Result<Vec<SubscriptionSpec>, SubscriptionsFileError> {
    parse_each(text, api_url)?.into_iter().collect()
}

/// As [`parse`], with every row that cannot be used in its place.
pub fn parse_each(
    text: &str,
    api_url: &str,
) -> Result<Vec<Result<SubscriptionSpec, SubscriptionsFileError>>, SubscriptionsFileError> {
    let text = text.trim_start_matches('\u{feff}');
    let document: SubscriptionsFile = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| SubscriptionsFileError::Syntax(error.to_string()))?
    } else {
        toml::from_str(text).map_err(|error| SubscriptionsFileError::Syntax(one_line(&error, text)))?
    };
    let mut names = HashSet::new();
    let rows = document.subscription.into_iter().enumerate();
    Ok(rows
        .map(|(index, row)| wish(index + 1, row, api_url, &mut names))
        .collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscriptionsFile {
    #[serde(default)]
    subscription: Vec<FileRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRow {
    name: Option<String>,
    guild: Option<Id>,
    channel: Option<Id>,
    filter: Option<String>,
    us: Option<String>,
    side: Option<String>,
    ping: Option<String>,
    ping_max_age: Option<String>,
    max_age: Option<String>,
    style: Option<String>,
    paused: Option<bool>,
    webhook: Option<String>,
}

/// Discord's ids are too large for many JSON tools, so they may be written as strings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Number(u64),
    Text(String),
}

impl Id {
    fn read(&self) -> Option<u64> {
        match self {
            Self::Number(id) => Some(*id),
            Self::Text(text) => text.trim().parse().ok(),
        }
        .filter(|id| *id != 0)
    }
}

fn wish(
    number: usize,
    row: FileRow,
    api_url: &str,
    names: &mut HashSet<(u64, String)>,
) -> Result<SubscriptionSpec, SubscriptionsFileError> {
    let shown = row
        .name
        .as_deref()
        .map(|name| format!(" ({name:?})"))
        .unwrap_or_default();
    let bad = |field: &'static str, expected: &str| SubscriptionsFileError::Row {
        row: number,
        name: shown.clone(),
        field,
        expected: expected.to_owned(),
    };
    let name = row.name.as_deref().map(str::trim).unwrap_or_default().to_owned();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(bad("name", "1 to 100 characters on one line"));
    }
    let (guild, destination) = match &row.webhook {
        Some(_) if row.guild.is_some() || row.channel.is_some() => {
            return Err(bad("webhook", "either webhook, or guild and channel"));
        }
        Some(url) => {
            let expected = "a webhook's URL like https://discord.com/api/webhooks/<id>/<token>";
            let id = webhook_id(url, api_url).ok_or_else(|| bad("webhook", expected))?;
            (WEBHOOK_GUILD, Destination::Webhook(id))
        }
        None => {
            let id = |field, id: &Option<Id>| {
                let expected = "Discord's id, like 123456789012345678 or \"123456789012345678\"";
                id.as_ref().and_then(Id::read).ok_or_else(|| bad(field, expected))
            };
            let guild = id("guild", &row.guild)?;
            (guild, Destination::Channel(id("channel", &row.channel)?))
        }
    };
    if !names.insert((guild, name.clone())) {
        return Err(bad("name", "a name that no other subscription of this guild has"));
    }
    let filter = row
        .filter
        .ok_or_else(|| bad("filter", "a filter; \"\" matches everything"))?;
    let us = row.us.map(|us| us.trim().to_owned()).unwrap_or_default();
    let side = word(&row.side).map_err(|error: super::Expected| bad("side", error.0))?;
    if side != super::Side::Both && us.is_empty() {
        return Err(bad(
            "us",
            "your side, because side is kills or losses, like us = 'alliance:\"Goonswarm Federation\"'",
        ));
    }
    let ping = match row.ping.as_deref() {
        None | Some("") => None,
        Some(ping) => Some(ping.parse().map_err(|error: super::Expected| bad("ping", error.0))?),
    };
    let age = |field, text: &Option<String>| match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => duration(text)
            .map(Some)
            .ok_or_else(|| bad(field, "a duration of at least 1s, like 10m, 6h or 7d")),
    };
    Ok(SubscriptionSpec {
        ping_max_age: age("ping_max_age", &row.ping_max_age)?,
        max_age: match row.max_age.as_deref() {
            Some("unlimited") => MaxAge::Unlimited,
            _ => age("max_age", &row.max_age)?.map_or(MaxAge::Default, MaxAge::Limit),
        },
        style: word(&row.style).map_err(|error: super::Expected| bad("style", error.0))?,
        paused: row.paused.unwrap_or_default(),
        webhook_url: row.webhook.map(Secret::new),
        name,
        guild,
        destination,
        filter,
        us,
        side,
        ping,
    })
}

fn word<T: std::str::FromStr + Default>(text: &Option<String>) -> Result<T, T::Err> {
    text.as_deref().map_or(Ok(T::default()), str::parse)
}

fn duration(text: &str) -> Option<Duration> {
    settings::duration(text.trim()).filter(|value| *value >= Duration::from_secs(1))
}

/// The id in a webhook's URL, if the URL lies where Discord's webhooks are.
fn webhook_id(url: &str, api_url: &str) -> Option<u64> {
    let bases = ["https://discord.com", "https://discordapp.com", api_url];
    let rest = bases
        .iter()
        .find_map(|base| url.strip_prefix(base)?.strip_prefix("/api/webhooks/"))?;
    let (id, token) = rest.split_once('/')?;
    let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    id.parse().ok().filter(|id| plain && *id != 0)
}

/// toml's errors draw the line over several lines; an operator's log wants one.
fn one_line(error: &toml::de::Error, text: &str) -> String {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map(|before| before.matches('\n').count() + 1);
    let message = error.message().replace('\n', " ");
    line.map_or_else(|| message.clone(), |line| format!("line {line}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriptions::{Ping, Side, Style};

    const API: &str = "https://discord.com";

    const EVERYTHING: &str = r#"
[[subscription]]
name = "caps near staging"
guild = 123456789012345678
channel = "223456789012345678"
filter = "near(Turnur, 7ly) group:(Dreadnought OR Carrier OR Titan)"
us = 'alliance:"Goonswarm Federation"'
side = "losses"
ping = "role:42"
ping_max_age = "10m"
max_age = "6h"
style = "compact"
paused = true

[[subscription]]
name = "hook"
webhook = "https://discord.com/api/webhooks/77/abc-DEF_1"
filter = ""
max_age = "unlimited"
"#;

    #[test]
    fn toml_and_json_say_the_same() {
        let rows = parse(EVERYTHING, API).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].guild, 123_456_789_012_345_678);
        assert_eq!(rows[0].destination, Destination::Channel(223_456_789_012_345_678));
        assert_eq!(
            (rows[0].side, rows[0].style, rows[0].paused),
            (Side::Losses, Style::Compact, true)
        );
        assert_eq!(rows[0].ping, Some(Ping::Role(42)));
        assert_eq!(rows[0].max_age, MaxAge::Limit(Duration::from_secs(6 * 3_600)));
        assert_eq!(rows[1].destination, Destination::Webhook(77));
        assert_eq!((rows[1].guild, rows[1].max_age), (WEBHOOK_GUILD, MaxAge::Unlimited));
        assert!(!format!("{rows:?}").contains("abc-DEF"));
        let value: serde_json::Value = toml::from_str(EVERYTHING).unwrap();
        assert_eq!(parse(&value.to_string(), API).unwrap(), rows);
        assert_eq!(parse("", API), Ok(vec![]));
    }

    #[test]
    fn a_bad_row_is_named_with_its_field_and_what_was_expected() {
        let row = |extra: &str| format!("[[subscription]]\nname = \"x\"\n{extra}\n");
        let good = "guild = 1\nchannel = 2\nfilter = \"\"\n";
        for (text, expected) in [
            (
                row("channel = 2\nfilter = \"\""),
                "subscription 1 (\"x\"): guild: expected Discord's id",
            ),
            (
                row("guild = \"one\"\nchannel = 2\nfilter = \"\""),
                "subscription 1 (\"x\"): guild: expected Discord's id",
            ),
            (
                row("guild = 1\nchannel = 2"),
                "subscription 1 (\"x\"): filter: expected a filter",
            ),
            (
                row(&format!("{good}side = \"kill\"")),
                "side: expected kills, losses or both",
            ),
            (row(&format!("{good}side = \"kills\"")), "us: expected your side"),
            (
                row(&format!("{good}ping = \"all\"")),
                "ping: expected here, everyone or role:<id>",
            ),
            (
                row(&format!("{good}ping_max_age = \"10\"")),
                "ping_max_age: expected a duration",
            ),
            (
                row(&format!("{good}max_age = \"soon\"")),
                "max_age: expected a duration",
            ),
            (
                row(&format!("{good}style = \"long\"")),
                "style: expected full, compact, link or battle",
            ),
            (
                row(&format!("{good}webhook = \"https://discord.com/api/webhooks/1/x\"")),
                "either webhook, or guild",
            ),
            (
                row("filter = \"\"\nwebhook = \"https://evil.example/api/webhooks/1/x\""),
                "webhook: expected a webhook's URL",
            ),
            (
                format!("{0}{0}", row(good)),
                "subscription 2 (\"x\"): name: expected a name that no other",
            ),
            (
                "[[subscription]]\nname = \"\"".to_owned(),
                "subscription 1 (\"\"): name: expected 1 to 100 characters",
            ),
            (row("chanel = 2"), "line 3: unknown field `chanel`"),
            ("not toml".to_owned(), "line 1: "),
            ("{\"subscription\": 3}".to_owned(), "expected a sequence"),
        ] {
            let error = parse(&text, API).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}\n{expected}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
