//! zk-activity: a guild's file of subscriptions with filter trees, and the flat files of its versions before that.

use std::time::Duration;

use serde_json::Value;

use super::{BotImport, ImportedRow, any_of};
use crate::{commands::RowError, subscriptions::Ping};

const FROM: &str = "zk-activity";
/// Deeper trees than the filter language has parentheses for are not written by people.
const MAX_DEPTH: usize = 50;

type Translated = Result<String, String>;

pub(super) fn read(value: &Value) -> Option<BotImport> {
    let mut foreign = BotImport {
        from: FROM,
        ..Default::default()
    };
    match value {
        Value::Array(rows) if rows.iter().any(|row| row.get("filter").is_some()) => {
            for row in rows {
                let name = [&row["description"], &row["id"]]
                    .into_iter()
                    .find_map(|text| text.as_str())
                    .unwrap_or("?");
                take(&mut foreign, name, subscription(row, name));
            }
        }
        Value::Object(document) if document.contains_key("channels") => {
            for (channel, of_channel) in document["channels"].as_object()? {
                for (name, row) in of_channel["subscriptions"].as_object().into_iter().flatten() {
                    let row = old::filter(row).map(|filter| ImportedRow {
                        name: format!("{name} in {channel}"),
                        filter,
                        channel: channel.parse().ok(),
                        ..Default::default()
                    });
                    take(&mut foreign, &format!("{name} in {channel}"), row);
                }
            }
        }
        _ => return None,
    }
    Some(foreign)
}

fn take(foreign: &mut BotImport, name: &str, row: Result<ImportedRow, String>) {
    match row {
        Ok(row) => foreign.rows.push(row),
        Err(why) => foreign.untranslated.push(RowError {
            name: name.chars().take(80).collect(),
            why,
        }),
    }
}

fn subscription(row: &Value, name: &str) -> Result<ImportedRow, String> {
    let action = &row["action"];
    let channel = match &action["channel_id"] {
        Value::String(id) => id.parse().ok(),
        id => id.as_u64(),
    };
    let (ping, ping_max_age) = match &action["ping_type"] {
        Value::Null => (None, None),
        Value::Object(ping) => {
            let (word, rest) = ping.iter().next().ok_or("the ping is empty")?;
            let target = match word.as_str() {
                "Here" => Ping::Here,
                "Everyone" => Ping::Everyone,
                _ => return Err(format!("the ping {word} is not supported")),
            };
            let minutes = rest["max_ping_delay_minutes"].as_u64().filter(|minutes| *minutes > 0);
            (
                Some(target),
                minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
            )
        }
        _ => return Err("the ping is not supported".to_owned()),
    };
    Ok(ImportedRow {
        name: name.chars().take(100).collect(),
        filter: node(&row["filter"], 0)?,
        channel,
        ping,
        ping_max_age,
    })
}

fn node(value: &Value, depth: usize) -> Translated {
    if depth > MAX_DEPTH {
        return Err("the filter is nested too deeply".to_owned());
    }
    let (word, inner) = variant(value)?;
    let several = |joint: &str| -> Translated {
        let nodes = inner.as_array().ok_or("the filter has an operator without operands")?;
        let parts: Result<Vec<String>, String> = nodes.iter().map(|one| node(one, depth + 1)).collect();
        match parts?.as_slice() {
            [] => Err("the filter has an operator without operands".to_owned()),
            [one] => Ok(one.clone()),
            several => Ok(format!("({})", several.join(joint))),
        }
    };
    match word {
        "And" => several(" "),
        "Or" => several(" OR "),
        "Not" => Ok(format!("NOT ({})", node(inner, depth + 1)?)),
        "Condition" => condition(inner),
        other => Err(format!("{other} is not supported")),
    }
}

fn condition(value: &Value) -> Translated {
    let (word, inner) = variant(value)?;
    match word {
        "Simple" => condition(inner),
        "Targeted" => {
            let prefix = match inner["target"].as_str().unwrap_or("Any") {
                "Victim" => "victim.",
                "Attacker" => "attacker.",
                _ => "",
            };
            let (word, inner) = variant(&inner["condition"])?;
            targeted(prefix, word, inner)
        }
        "TotalValue" => range("value", inner),
        "DroppedValue" => range("dropped", inner),
        "Pilots" => range("attackers", inner),
        "Region" => ids("region", inner),
        "System" => ids("system", inner),
        "Security" => security(inner.as_str().unwrap_or_default()),
        "IsNpc" => Ok(flag("npc", inner)),
        "IsSolo" => Ok(flag("solo", inner)),
        "LyRangeFrom" => near(inner),
        "TimeRange" => hours(&inner["start"], &inner["end"]),
        "IgnoreHighStanding" => {
            Err("standings are not supported: exclude alliances by name, like -alliance:\"Name\"".to_owned())
        }
        other => targeted("", other, inner),
    }
}

fn targeted(prefix: &str, word: &str, inner: &Value) -> Translated {
    match word {
        "Alliance" => ids(&format!("{prefix}alliance"), inner),
        "Corporation" => ids(&format!("{prefix}corporation"), inner),
        "Character" => ids(&format!("{prefix}character"), inner),
        "ShipType" => ids(&format!("{prefix}ship"), inner),
        "ShipGroup" => ids(&format!("{prefix}group"), inner),
        "NameFragment" => {
            let fragment = inner.as_str().unwrap_or_default().replace(['"', '\\', '*'], "");
            if fragment.is_empty() {
                return Err("the NameFragment is empty".to_owned());
            }
            Ok(format!("{prefix}ship:\"*{fragment}*\""))
        }
        other => Err(format!("{other} is not supported")),
    }
}

fn variant(value: &Value) -> Result<(&str, &Value), String> {
    let object = value.as_object().filter(|object| object.len() == 1);
    let entry = object.and_then(|object| object.iter().next());
    entry
        .map(|(word, inner)| (word.as_str(), inner))
        .ok_or_else(|| "the filter is not in zk-activity's format".to_owned())
}

fn ids(field: &str, value: &Value) -> Translated {
    let ids: Option<Vec<u64>> = value.as_array().and_then(|ids| ids.iter().map(Value::as_u64).collect());
    ids.and_then(|ids| any_of(field, &ids))
        .ok_or_else(|| format!("the list for {field} is empty or does not consist of ids"))
}

fn range(field: &str, value: &Value) -> Translated {
    let bound = |key: &str, sign: &str| value[key].as_u64().map(|bound| format!("{field}{sign}{bound}"));
    let bounds: Vec<String> = bound("min", ">=").into_iter().chain(bound("max", "<=")).collect();
    if bounds.is_empty() {
        return Err(format!("the bounds for {field} are empty"));
    }
    Ok(bounds.join(" "))
}

/// `0.5..=1.0`, `-1.0..0.0`.
fn security(text: &str) -> Translated {
    let bad = || format!("the security {text:?} is not a range");
    let (from, to) = text.split_once("..").ok_or_else(bad)?;
    let (to, sign) = to.strip_prefix('=').map_or((to, "<"), |to| (to, "<="));
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| bad());
    Ok(format!("security>={} security{sign}{}", number(from)?, number(to)?))
}

fn near(value: &Value) -> Translated {
    let ranges = value.as_array().filter(|ranges| !ranges.is_empty());
    let one = |range: &Value| {
        Some(format!(
            "near({}, {}ly)",
            range["system_id"].as_u64()?,
            range["range"].as_f64()?
        ))
    };
    let all: Option<Vec<String>> = ranges.and_then(|ranges| ranges.iter().map(one).collect());
    match all.as_deref() {
        None => Err("the LyRangeFrom is not in zk-activity's format".to_owned()),
        Some([one]) => Ok(one.clone()),
        Some(several) => Ok(format!("({})", several.join(" OR "))),
    }
}

fn hours(start: &Value, end: &Value) -> Translated {
    let hour = |value: &Value| match value {
        Value::String(text) => text.trim().parse::<u64>().ok(),
        number => number.as_u64(),
    };
    match (hour(start), hour(end)) {
        (Some(start @ 0..=23), Some(end @ 0..=23)) => Ok(format!("hour:{start}-{end}")),
        _ => Err("the hours are not between 0 and 23".to_owned()),
    }
}

fn flag(word: &str, value: &Value) -> String {
    if value.as_bool().unwrap_or(true) {
        word.to_owned()
    } else {
        format!("NOT {word}")
    }
}

/// The flat files of 2022 to 2024.
mod old {
    use super::{Translated, Value, any_of, hours};

    pub(super) fn filter(row: &Value) -> Translated {
        let mut terms: Vec<String> = Vec::new();
        match row["subType"].as_str() {
            Some("public") => {}
            Some(
                kind @ ("corporation" | "alliance" | "character" | "region" | "constellation" | "system" | "group"
                | "ship"),
            ) => {
                terms.push(format!("{kind}:{}", number(&row["id"]).ok_or("the id is missing")?));
            }
            _ => return Err("the subType is not supported".to_owned()),
        }
        let attackers_too = row["inclusionLimitAlsoComparesAttacker"].as_bool().unwrap_or(false);
        let prefix = if attackers_too { "" } else { "victim." };
        let limits = row["limitTypes"].as_object();
        let mut times = (None, None);
        for (name, value) in limits.into_iter().flatten() {
            let list = |field: &str| {
                let ids: Option<Vec<u64>> = value
                    .as_str()
                    .map(|ids| ids.split(',').map(|id| id.trim().parse().ok()).collect())
                    .unwrap_or_else(|| number(value).map(|id| vec![id]));
                ids.and_then(|ids| any_of(field, &ids))
                    .ok_or_else(|| format!("the {name} is not a list of ids"))
            };
            let bound = |field: &str, sign: &str| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let number = text
                    .trim()
                    .parse::<f64>()
                    .map_err(|_| format!("the {name} is not a number"))?;
                Ok::<_, String>(format!("{field}{sign}{number}"))
            };
            match name.as_str() {
                "region" | "constellation" | "system" => terms.push(list(name)?),
                "type" => terms.push(list(&format!("{prefix}ship"))?),
                "character" | "corporation" | "alliance" => terms.push(list(&format!("{prefix}{name}"))?),
                "nameFragment" => {
                    let fragment = value.as_str().unwrap_or_default().replace(['"', '\\', '*'], "");
                    terms.push(format!("{prefix}ship:\"*{fragment}*\""));
                }
                "securityMaxExclusive" => terms.push(bound("security", "<")?),
                "securityMaxInclusive" => terms.push(bound("security", "<=")?),
                "securityMinExclusive" => terms.push(bound("security", ">")?),
                "securityMinInclusive" => terms.push(bound("security", ">=")?),
                "minNumInvolved" => terms.push(bound("attackers", ">=")?),
                "maxNumInvolved" => terms.push(bound("attackers", "<=")?),
                "npcOnly" if value == &Value::Bool(false) => terms.push("NOT npc".to_owned()),
                "startingTime" => times.0 = Some(value),
                "endingTime" => times.1 = Some(value),
                other => return Err(format!("the limit {other} is not supported")),
            }
        }
        match times {
            (Some(start), Some(end)) => terms.push(hours(start, end)?),
            (None, None) => {}
            _ => return Err("only one of startingTime and endingTime is given".to_owned()),
        }
        if let Some(value) = number(&row["minValue"]).filter(|value| *value > 0) {
            terms.push(format!("value>={value}"));
        }
        Ok(terms.join(" "))
    }

    fn number(value: &Value) -> Option<u64> {
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    }
}
