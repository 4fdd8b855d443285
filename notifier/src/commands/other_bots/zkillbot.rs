//! zKillBot: the list that its `/list` prints, its filters as they are typed, and a document of its database. A channel gets
//! what any of its entries matches, so each entry is a subscription.

use serde_json::Value;

use super::{BotImport, ImportedRow, any_of, isk, of_id};
use crate::commands::RowError;

const FROM: &str = "zKillBot";
const ADVANCED: &str = "not supported: it uses zKillboard's raw field names. Rewrite it in the filter language.";

pub(super) fn list(text: &str) -> Option<BotImport> {
    let mut foreign = BotImport {
        from: FROM,
        ..Default::default()
    };
    let mut understood = false;
    for line in text.lines() {
        let line = line.trim().trim_start_matches(['•', '-', '*', ' ']).trim();
        if line.is_empty() || line.ends_with("in this channel:") {
            continue;
        }
        let (entry, title) = split_title(line);
        let lower = entry.to_lowercase();
        let rows: Option<Vec<String>> = if let Some(value) = lower.strip_prefix("isk:") {
            let value = value.trim().trim_start_matches(">=");
            isk(value).map(|value| vec![format!("value>={value}")])
        } else if let Some(labels) = lower.strip_prefix("labels:").or(lower.strip_prefix("label:")) {
            let labels: Vec<String> = labels
                .split(',')
                .map(str::trim)
                .filter(|label| !label.is_empty())
                .map(label)
                .collect();
            (!labels.is_empty()).then_some(labels)
        } else if let Some(group) = lower.strip_prefix("group:") {
            group
                .trim()
                .parse()
                .ok()
                .and_then(|id| any_of("group", &[id]))
                .map(|row| vec![row])
        } else {
            entry.parse().ok().filter(|id| *id != 0).map(|id| vec![of_id(id)])
        };
        understood |= rows.is_some();
        match rows {
            Some(rows) => foreign.rows.extend(rows.into_iter().map(|filter| ImportedRow {
                name: if title.is_empty() {
                    filter.clone()
                } else {
                    title.to_owned()
                },
                filter,
                ..Default::default()
            })),
            None => foreign.untranslated.push(RowError {
                name: line.chars().take(80).collect(),
                why: if lower.starts_with("advanced") {
                    ADVANCED
                } else {
                    "not an id, isk:, label: or group:"
                }
                .to_owned(),
            }),
        }
    }
    understood.then_some(foreign)
}

pub(super) fn document(value: &Value) -> Option<BotImport> {
    let known = ["entityIds", "labels", "iskValue", "advanced"];
    if !known.iter().any(|key| value.get(key).is_some()) {
        return None;
    }
    let channel = match value.get("channelId") {
        Some(Value::String(id)) => id.parse().ok(),
        Some(id) => id.as_u64(),
        None => None,
    };
    let mut lines: Vec<String> = Vec::new();
    for entry in value["entityIds"].as_array().into_iter().flatten() {
        lines.push(entry.as_str().map_or_else(|| entry.to_string(), str::to_owned));
    }
    if let Some(value) = value["iskValue"].as_f64().filter(|value| *value > 0.0) {
        lines.push(format!("isk:{value}"));
    }
    for label in value["labels"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        lines.push(format!("label:{label}"));
    }
    if value["advanced"].as_str().is_some_and(|text| !text.is_empty()) {
        lines.push("advanced".to_owned());
    }
    let mut foreign = list(&lines.join("\n"))?;
    for row in &mut foreign.rows {
        row.channel = channel;
    }
    Some(foreign)
}

/// `98000001 — Some Corp` → the entry and its title.
fn split_title(line: &str) -> (&str, &str) {
    let cut = [" — ", " – ", " - "].iter().find_map(|dash| line.split_once(dash));
    cut.map_or((line, ""), |(entry, title)| (entry.trim(), title.trim()))
}

fn label(label: &str) -> String {
    format!("label:\"{}\"", label.replace('\\', "\\\\").replace('"', "\\\""))
}
