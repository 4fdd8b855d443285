//! What people bring from other bots → filters of ours. Pure.
//!
//! A condition that has no equivalent here is never left out in silence, which would post more than before: its row is not
//! taken, and is named with the reason.

mod hazardous;
mod zk_activity;
mod zkillbot;

use std::time::Duration;

use super::RowError;
use crate::subscriptions::Ping;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BotImport {
    /// The bot it comes from.
    pub from: &'static str,
    /// Rows that say the same here.
    pub rows: Vec<ImportedRow>,
    /// Rows that have no equivalent, and why.
    pub untranslated: Vec<RowError>,
}

/// One subscription of another bot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImportedRow {
    /// Made of what stood there.
    pub name: String,
    /// Filter language.
    pub filter: String,
    /// Its channel; `None` = it does not say.
    pub channel: Option<u64>,
    /// Whom it pings.
    pub ping: Option<Ping>,
    /// How old a kill may be for that.
    pub ping_max_age: Option<Duration>,
}

/// Reads what another bot wrote; `None` = this is no such thing.
pub fn read(text: &str) -> Option<BotImport> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let mut foreign = match text.chars().next()? {
        '{' | '[' if !text.starts_with("[[") => {
            let value: serde_json::Value = serde_json::from_str(text).ok()?;
            zk_activity::read(&value).or_else(|| zkillbot::document(&value))?
        }
        _ => hazardous::read(text).or_else(|| zkillbot::list(text))?,
    };
    unique_names(&mut foreign.rows);
    Some(foreign)
}

/// Two rows of one name: the later ones are numbered.
fn unique_names(rows: &mut [ImportedRow]) {
    let mut seen = std::collections::HashSet::new();
    for row in rows {
        let base: String = row.name.chars().take(90).collect();
        let mut name = base.clone();
        let mut number = 1;
        while !seen.insert(name.clone()) {
            number += 1;
            name = format!("{base} ({number})");
        }
        row.name = name;
    }
}

/// `field:(1 OR 2)`, `field:1`; `None` for no ids.
fn any_of(field: &str, ids: &[u64]) -> Option<String> {
    match ids {
        [] => None,
        [one] => Some(format!("{field}:{one}")),
        several => {
            let list: Vec<String> = several.iter().map(u64::to_string).collect();
            Some(format!("{field}:({})", list.join(" OR ")))
        }
    }
}

/// What an id of EVE can be, by the ranges CCP gives them out of.
fn of_id(id: u64) -> String {
    match id {
        500_000..=599_999 => format!("faction:{id}"),
        1_000_000..=1_999_999 => format!("corporation:{id}"),
        10_000_000..=19_999_999 => format!("region:{id}"),
        20_000_000..=29_999_999 => format!("constellation:{id}"),
        30_000_000..=39_999_999 => format!("system:{id}"),
        90_000_000..=97_999_999 => format!("character:{id}"),
        98_000_000..=98_999_999 => format!("corporation:{id}"),
        99_000_000..=99_999_999 => format!("alliance:{id}"),
        2_100_000_000.. => format!("character:{id}"),
        // Before 2010 everybody's ids came out of one range.
        100_000_000.. => format!("(character:{id} OR corporation:{id} OR alliance:{id})"),
        _ => format!("ship:{id}"),
    }
}

/// `1000000000`, `1,000,000`, `1b`, `1.5b`: whole ISK.
fn isk(text: &str) -> Option<u64> {
    let text = text.trim().replace([',', '_', ' '], "").to_lowercase();
    let (digits, factor) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 1e3),
        'm' => (&text[..text.len() - 1], 1e6),
        'b' => (&text[..text.len() - 1], 1e9),
        't' => (&text[..text.len() - 1], 1e12),
        _ => (&text[..], 1.0),
    };
    let value = digits.parse::<f64>().ok()? * factor;
    // Far above any killmail, and exact below.
    ((0.0..=9e15).contains(&value)).then(|| value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let foreign = read(text).unwrap();
        let rows = foreign.rows.iter().map(|row| {
            let channel = row.channel.map(|id| format!(" #{id}")).unwrap_or_default();
            let ping = row
                .ping
                .map(|ping| format!(" @{ping} {:?}", row.ping_max_age))
                .unwrap_or_default();
            format!("{} => {}{channel}{ping}", row.name, row.filter)
        });
        let not = foreign
            .untranslated
            .iter()
            .map(|row| format!("{} !! {}", row.name, row.why));
        format!("{}\n{}", foreign.from, rows.chain(not).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_list_of_zkillbot() {
        insta::assert_snapshot!(
            "zkillbot",
            shown(
                "📋 Subscriptions in this channel:\n• 98000001 — Some Corp\n• 99000002 — Some Alliance\n• 587 — Rifter\n\
             • 1234567890 — Old One\nisk: >= 1000000000\nlabels: solo, #:10+\n• group:30 — Titan\nadvanced: {\"a\": 1}\nisk:5b\nlabel:ganked\ngroup:883"
            )
        );
        insta::assert_snapshot!(
            "zkillbot_document",
            shown(
                r#"{"guildId": "1", "channelId": "22", "entityIds": [98000001, "group:30"], "iskValue": 1e9, "labels": ["solo"], "advanced": "x"}"#
            )
        );
    }

    #[test]
    fn a_guild_file_of_zk_activity() {
        insta::assert_snapshot!("zk_activity", shown(include_str!("other_bots/tests/zk_activity.json")));
        insta::assert_snapshot!(
            "zk_activity_old",
            shown(include_str!("other_bots/tests/zk_activity_old.json"))
        );
    }

    #[test]
    fn commands_of_hazardous_killbot() {
        insta::assert_snapshot!(
            "hazardous",
            shown(
                "/zkill-subscribe corporation id:98000001 min-value:100000000\n/zkill-subscribe alliance 99000002 1000000 \n\
             /zkill-subscribe region id: 10000002 limit-system-ids: 30000142,30000144\n/zkill-subscribe public min-value:5b\n\
             /zkill-subscribe link url:https://zkillboard.com/alliance/99000003/losses/ \n/zkill-subscribe link https://zkillboard.com/related/1/2/\n\
             /zkill-subscribe group 30\n/zkill-subscribe planet 5\n/zkill-unsubscribe all\n"
            )
        );
    }

    #[test]
    fn nothing_else_is_taken_for_one_of_them() {
        for text in [
            "",
            "{\"subscription\": []}",
            "[[subscription]]\nname = \"x\"",
            "hello world",
            "[1, 2]",
            "{",
            "{\"a\": {}}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
