//! hazardous-killbot: its commands as they were typed, one a line.

use super::{BotImport, ImportedRow, any_of, isk};
use crate::commands::RowError;

const COMMAND: &str = "zkill-subscribe";

pub(super) fn read(text: &str) -> Option<BotImport> {
    let mut foreign = BotImport {
        from: "hazardous-killbot",
        ..Default::default()
    };
    if !text.contains(COMMAND) {
        return None;
    }
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match command(line) {
            Ok(filter) => foreign.rows.push(ImportedRow {
                name: line
                    .split_once(COMMAND)
                    .map_or(line, |(_, rest)| rest)
                    .trim()
                    .chars()
                    .take(100)
                    .collect(),
                filter,
                ..Default::default()
            }),
            Err(why) => foreign.untranslated.push(RowError {
                name: line.chars().take(80).collect(),
                why: why.to_owned(),
            }),
        }
    }
    Some(foreign)
}

fn command(line: &str) -> Result<String, &'static str> {
    let rest = line
        .trim_start_matches('/')
        .strip_prefix(COMMAND)
        .ok_or("not a /zkill-subscribe command")?;
    // Discord shows `name:value`; people also write `name: value`, or the values alone in their order.
    let rest = rest.replace(": ", ":");
    let mut words = rest.split_whitespace();
    let what = words
        .next()
        .ok_or("the kind of subscription is missing")?
        .to_lowercase();
    let (mut id, mut min_value, mut url) = (None, None, None);
    let mut terms = Vec::new();
    for word in words {
        let (name, value) = match word.split_once(':') {
            Some((name, value)) if !name.starts_with("http") => (name.to_lowercase(), value),
            _ if what == "link" && url.is_none() => ("url".to_owned(), word),
            _ if id.is_none() && !matches!(what.as_str(), "public" | "link") => ("id".to_owned(), word),
            _ => ("min-value".to_owned(), word),
        };
        match name.as_str() {
            "id" => id = Some(value.parse::<u64>().map_err(|_| "the id is not a number")?),
            "min-value" => min_value = Some(isk(value).ok_or("the min-value is not a number")?),
            "url" | "link" => url = Some(value.to_owned()),
            "limit-region-ids" => terms.push(limit("region", value)?),
            "limit-constellation-ids" => terms.push(limit("constellation", value)?),
            "limit-system-ids" => terms.push(limit("system", value)?),
            _ => return Err("an option is not supported"),
        }
    }
    let first = match what.as_str() {
        "public" => None,
        "link" => Some(link(&url.ok_or("the link is missing")?)?),
        "corporation" | "alliance" | "character" | "region" | "constellation" | "system" | "group" | "ship"
        | "faction" => Some(format!("{what}:{}", id.ok_or("the id is missing")?)),
        _ => return Err("this kind of subscription is not supported"),
    };
    let value = min_value
        .filter(|value| *value > 0)
        .map(|value| format!("value>={value}"));
    let all: Vec<String> = first.into_iter().chain(terms).chain(value).collect();
    Ok(all.join(" "))
}

fn limit(field: &str, ids: &str) -> Result<String, &'static str> {
    let ids: Option<Vec<u64>> = ids.split(',').map(|id| id.trim().parse().ok()).collect();
    ids.and_then(|ids| any_of(field, &ids))
        .ok_or("the limit is not a list of ids")
}

/// A page of zKillboard → a filter.
fn link(url: &str) -> Result<String, &'static str> {
    let path = url
        .split_once("zkillboard.com/")
        .ok_or("the link is not a zKillboard link")?
        .1;
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let none = "this zKillboard page has no equivalent filter";
    let (Some(field), Some(id)) = (parts.next(), parts.next()) else {
        return Err(none);
    };
    let id: u64 = id.parse().map_err(|_| none)?;
    let field = if field == "location" { return Err(none) } else { field };
    let of_people = matches!(
        field,
        "corporation" | "alliance" | "character" | "ship" | "group" | "faction"
    );
    if !of_people && !matches!(field, "region" | "constellation" | "system") {
        return Err(none);
    }
    let mut filter = format!("{field}:{id}");
    for part in parts {
        match part {
            "kills" if of_people => filter = format!("attacker.{field}:{id}"),
            "losses" if of_people => filter = format!("victim.{field}:{id}"),
            "solo" => filter.push_str(" solo"),
            "page" | "1" => {}
            _ => return Err(none),
        }
    }
    Ok(filter)
}
