//! Checks whether Discord would accept a message.
//!
//! Most checks come from Discord's own API description. The others are limits that the description omits.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

/// A limit from Discord's documentation that the API description omits.
const MAX_CONTENT_CHARS: usize = 2_000;
/// The limit for all embeds of a message together, from Discord's documentation.
const MAX_EMBEDS_CHARS: usize = 6_000;

/// Returns the first error in the body of `POST /channels/{id}/messages`.
pub(super) fn message(body: &Value) -> Option<String> {
    if let Some(validator) = validator() {
        let coerced = coerce(body.clone());
        if let Some(error) = validator.iter_errors(&coerced).next() {
            return Some(format!("{}: {error}", error.instance_path()));
        }
    }
    beyond_the_description(body)
}

/// Returns the first error in the body of `PUT /applications/{id}/commands`.
pub(super) fn registration(body: &Value) -> Option<String> {
    let mut coerced = body.clone();
    for command in coerced.as_array_mut().into_iter().flatten() {
        if let Some(permissions) = command["default_member_permissions"]
            .as_str()
            .and_then(|text| text.parse::<u64>().ok())
        {
            command["default_member_permissions"] = permissions.into();
        }
    }
    against(
        "ApplicationCommandUpdateRequest",
        coerced.as_array().into_iter().flatten(),
    )
}

/// Returns the first error in the body of an interaction callback.
pub(super) fn callback(body: &Value) -> Option<String> {
    let schema = match body["type"].as_u64() {
        Some(4 | 5) => "CreateMessageInteractionCallbackRequest",
        Some(6 | 7) => "UpdateMessageInteractionCallbackRequest",
        Some(8) => "ApplicationCommandAutocompleteCallbackRequest",
        Some(9) => "ModalInteractionCallbackRequest",
        other => return Some(format!("unknown callback type {other:?}")),
    };
    against(schema, [body]).or_else(|| interaction_message(&body["data"]))
}

/// Returns the first error in the edit of a deferred response.
pub(super) fn edited(body: &Value) -> Option<String> {
    against("IncomingWebhookUpdateRequestPartial", [body]).or_else(|| interaction_message(body))
}

/// Returns the first error in a response to an interaction: the limits of messages apply, and killfeed's responses
/// never ping.
fn interaction_message(data: &Value) -> Option<String> {
    let said = data.get("embeds").is_some() || data.get("content").is_some();
    if said && data["allowed_mentions"]["parse"] != json!([]) {
        return Some("allowed_mentions is missing or not empty".into());
    }
    if said { beyond_the_description(data) } else { None }
}

/// Returns the first error that a schema of the description finds.
fn against<'a>(schema: &str, bodies: impl IntoIterator<Item = &'a Value>) -> Option<String> {
    static BUILT: Mutex<BTreeMap<String, Option<Arc<Validator>>>> = Mutex::new(BTreeMap::new());
    let validator = {
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        let made = built
            .entry(schema.to_owned())
            .or_insert_with(|| build(schema).map(Arc::new));
        made.clone()?
    };
    bodies.into_iter().find_map(|body| {
        let coerced = coerce(body.clone());
        let error = validator.iter_errors(&coerced).next()?;
        Some(format!("{}: {error}", error.instance_path()))
    })
}

fn beyond_the_description(body: &Value) -> Option<String> {
    let content = body["content"].as_str().unwrap_or_default();
    let embeds: &[Value] = body["embeds"].as_array().map_or(&[], Vec::as_slice);
    if content.is_empty() && embeds.is_empty() {
        return Some("the message is empty".into());
    }
    if characters(&body["content"]) > MAX_CONTENT_CHARS {
        return Some(format!("content has more than {MAX_CONTENT_CHARS} characters"));
    }
    let sum: usize = embeds.iter().map(size).sum();
    if sum > MAX_EMBEDS_CHARS {
        return Some(format!(
            "the embeds have {sum} characters, more than {MAX_EMBEDS_CHARS}"
        ));
    }
    embeds.iter().find_map(embed)
}

fn embed(embed: &Value) -> Option<String> {
    for field in embed["fields"].as_array().into_iter().flatten() {
        if characters(&field["name"]) == 0 || characters(&field["value"]) == 0 {
            return Some("a field has no name or no value".into());
        }
    }
    let urls = [
        &embed["url"],
        &embed["thumbnail"]["url"],
        &embed["image"]["url"],
        &embed["author"]["url"],
        &embed["author"]["icon_url"],
        &embed["footer"]["icon_url"],
    ];
    let bad = urls
        .into_iter()
        .filter_map(Value::as_str)
        .find(|url| !url.starts_with("https://") && !url.starts_with("http://"));
    bad.map(|url| format!("{url:?} is not a well formed URL"))
}

fn size(embed: &Value) -> usize {
    let fields = embed["fields"].as_array().into_iter().flatten();
    characters(&embed["title"])
        + characters(&embed["description"])
        + characters(&embed["footer"]["text"])
        + characters(&embed["author"]["name"])
        + fields
            .map(|field| characters(&field["name"]) + characters(&field["value"]))
            .sum::<usize>()
}

/// Counts the characters as Discord does, after trimming.
fn characters(text: &Value) -> usize {
    text.as_str().unwrap_or_default().trim().chars().count()
}

/// Converts attachment ids to text: Discord accepts numbers too, although its description does not.
fn coerce(mut body: Value) -> Value {
    for attachment in body["attachments"].as_array_mut().into_iter().flatten() {
        if let Some(number) = attachment["id"].as_u64() {
            attachment["id"] = number.to_string().into();
        }
    }
    body
}

/// Returns the validator of messages, or `None` if `../shared/data` does not have the description.
fn validator() -> Option<&'static Validator> {
    static VALIDATOR: OnceLock<Option<Validator>> = OnceLock::new();
    VALIDATOR.get_or_init(read).as_ref()
}

fn read() -> Option<Validator> {
    build("MessageCreateRequest")
}

/// Builds the validator of one schema of the description.
fn build(schema: &str) -> Option<Validator> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/discord-openapi.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!(
            "note: no ../shared/data/discord-openapi.json: messages are checked only against killfeed's own list of limits"
        );
        return None;
    };
    let mut description: Value = serde_json::from_str(&text).expect("Discord's API description is JSON");
    let schema = json!({
        "$ref": format!("#/components/schemas/{schema}"),
        "components": { "schemas": description["components"]["schemas"].take() },
    });
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .build(&schema)
        .expect("Discord's API description is a schema");
    Some(validator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_message_is_accepted() {
        let fine = json!({
            "embeds": [{"title": "Loss", "url": "https://zkillboard.com/kill/1/", "color": 1,
                        "timestamp": "2026-08-18T00:00:00Z", "fields": [{"name": "a", "value": "b", "inline": true}]}],
            "allowed_mentions": {"parse": []}, "nonce": "0123456789012345678901234", "enforce_nonce": true,
            "attachments": [{"id": 0, "filename": "x.json"}],
        });
        assert_eq!(message(&fine), None);
    }

    #[test]
    fn message_over_undescribed_limits_is_rejected() {
        let long = "x".repeat(2_001);
        let fields = |n: usize| -> Vec<Value> {
            (0..n)
                .map(|_| json!({"name": "n", "value": "v".repeat(1_000)}))
                .collect()
        };
        for (bad, why) in [
            (json!({"content": long}), "more than 2000"),
            (json!({}), "empty"),
            (
                json!({"embeds": [{"fields": [{"name": " ", "value": "x"}]}]}),
                "no name",
            ),
            (
                json!({"embeds": [{"title": "a", "fields": fields(3)}, {"fields": fields(3)}]}),
                "6007",
            ),
            (
                json!({"embeds": [{"title": "a", "url": "zkillboard.com"}]}),
                "well formed",
            ),
        ] {
            let error = message(&bad).unwrap_or_default();
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn message_against_the_api_description_is_rejected() {
        if validator().is_none() {
            return;
        }
        for bad in [
            json!({"content": "x", "nonce": "01234567890123456789012345"}),
            json!({"embeds": [{"title": "t".repeat(257)}]}),
            json!({"embeds": vec![json!({"title": "t"}); 11]}),
            json!({"content": 5}),
        ] {
            assert!(message(&bad).is_some(), "{bad}");
        }
    }
}
