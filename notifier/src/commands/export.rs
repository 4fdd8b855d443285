//! Subscriptions → the file that `import` and NOTIFIER_SUBSCRIPTIONS_FILE take, as JSON.

use serde::Serialize;

use crate::{
    sink::Destination,
    subscriptions::{MaxAge, Side, Style, Subscription},
};

#[derive(Serialize)]
struct ExportFile {
    subscription: Vec<ExportRow>,
}

#[derive(Serialize)]
struct ExportRow {
    name: String,
    guild: String,
    channel: String,
    filter: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    us: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ping: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ping_max_age: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    style: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    paused: bool,
}

/// The file. Webhook rows are left out: their URLs are secrets.
pub fn json<'a>(subscriptions: impl IntoIterator<Item = &'a Subscription>) -> String {
    let rows = subscriptions.into_iter().filter_map(row);
    let document = ExportFile {
        subscription: rows.collect(),
    };
    // Strings and booleans only: nothing in it can fail to be JSON.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// A duration as the settings have it, in the largest unit that is exact: `90s`, `15m`, `6h`, `7d`.
pub fn duration(duration: std::time::Duration) -> String {
    let ms = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let exact = units
        .into_iter()
        .find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    exact.map_or_else(|| format!("{ms}ms"), |(unit, name)| format!("{}{name}", ms / unit))
}

fn row(subscription: &Subscription) -> Option<ExportRow> {
    let wish = &subscription.spec;
    let Destination::Channel(channel) = wish.destination else {
        return None;
    };
    Some(ExportRow {
        name: wish.name.clone(),
        guild: wish.guild.to_string(),
        channel: channel.to_string(),
        filter: wish.filter.clone(),
        us: wish.us.clone(),
        side: (wish.side != Side::default()).then(|| wish.side.word()),
        ping: wish.ping.map(|ping| ping.to_string()),
        ping_max_age: wish.ping_max_age.map(duration),
        max_age: match wish.max_age {
            MaxAge::Default => None,
            MaxAge::Limit(limit) => Some(duration(limit)),
            MaxAge::Unlimited => Some("unlimited".to_owned()),
        },
        style: (wish.style != Style::default()).then(|| wish.style.word()),
        paused: wish.paused,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        matching::tests::subscription,
        subscriptions::{Ping, file},
    };

    #[test]
    fn what_is_exported_is_imported_as_it_was() {
        let mut full = subscription(1);
        full.spec.us = "alliance:\"A \\\"b\\\"\"".into();
        full.spec.side = Side::Losses;
        full.spec.ping = Some(Ping::Role(42));
        full.spec.ping_max_age = Some(Duration::from_secs(90));
        full.spec.max_age = MaxAge::Unlimited;
        full.spec.style = Style::Link;
        full.spec.paused = true;
        let mut webhook = subscription(3);
        webhook.spec.destination = Destination::Webhook(9);
        let all = [full, subscription(2), webhook];
        let json = json(&all);
        let wishes = file::parse(&json, "").unwrap();
        assert_eq!(wishes, [all[0].spec.clone(), all[1].spec.clone()]);
        assert!(json.contains("\"guild\": \"1\""), "ids are strings: {json}");
    }

    #[test]
    fn durations_are_exact() {
        for (ms, text) in [
            (90_000, "90s"),
            (900_000, "15m"),
            (21_600_000, "6h"),
            (604_800_000, "7d"),
            (1_500, "1500ms"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
            assert_eq!(
                killfeed_service::settings::duration(text),
                Some(Duration::from_millis(ms))
            );
        }
    }
}
