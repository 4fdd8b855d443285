//! The command, as it is registered with Discord.

use serde_json::{Value, json};

use crate::discord::permissions::MANAGE_CHANNELS;

const STRING: u8 = 3;
const INTEGER: u8 = 4;
const CHANNEL: u8 = 7;
const ATTACHMENT: u8 = 11;

/// Text, announcement, voice text, and the three kinds of threads.
pub(super) const CHANNEL_TYPES: [u8; 6] = [0, 5, 2, 10, 11, 12];

/// How far back `preview` looks at most: what an ingestor keeps by default.
pub(super) const MAX_HOURS: u64 = 168;

/// One command, for servers only, for those who may manage channels unless a server says otherwise.
pub(in crate::discord) fn registration() -> Value {
    let name = || {
        typed(STRING, "name", "Name of the subscription; * = all in this channel")
            .required()
            .completed()
    };
    let one = || typed(STRING, "name", "Name of the subscription").required().completed();
    let channel = |what| typed(CHANNEL, "channel", what).channels();
    json!({
        "name": "killfeed",
        "type": 1,
        "description": "EVE Online killmails in your channels",
        "contexts": [0],
        "integration_types": [0],
        "default_member_permissions": MANAGE_CHANNELS.to_string(),
        "options": [
            sub("subscribe", "Post killmails that match a filter into a channel", &[
                &typed(STRING, "filter", "Killmails to post, like: group:Titan value>=1b; see /killfeed help").required().completed(),
                &typed(STRING, "name", "Name of the subscription; default: made from the filter").at_most(100),
                &channel("Channel to post in; default: this one"),
                &us(), &side(false), &ping(), &ping_max_age(), &max_age(), &style(false),
            ]),
            sub("unsubscribe", "Remove a subscription, or all in this channel", &[&name()]),
            sub("pause", "Stop posting for a subscription until you resume it", &[&name()]),
            sub("resume", "Resume a paused subscription; kills during the pause are not posted", &[&name()]),
            sub("edit", "Change a subscription", &[
                &one(),
                &typed(STRING, "filter", "New filter, instead of the old one").completed(),
                &typed(STRING, "add", "Conditions to add, to make the filter narrower").completed(),
                &typed(STRING, "new_name", "New name").at_most(100),
                &channel("Move it to this channel"),
                &us(), &side(true), &ping(), &ping_max_age(), &max_age(), &style(true),
            ]),
            sub("list", "Show every subscription with its state and activity", &[&channel("Only this channel")]),
            sub("preview", "Show what a filter would have posted, without subscribing", &[
                &typed(STRING, "filter", "Filter to try").completed(),
                &typed(STRING, "name", "Or: use the filter of this subscription").completed(),
                &typed(INTEGER, "hours", "How many hours to look back; default: 24").between(1, MAX_HOURS),
            ]),
            sub("why", "Explain why a killmail was posted here, or why not", &[
                &typed(STRING, "kill", "Killmail id or zKillboard link").required(),
                &typed(STRING, "name", "Only for this subscription").completed(),
            ]),
            sub("test", "Post the newest matching killmail, marked as a test", &[&one()]),
            sub("status", "Show the state of the feed, the queue and the posts", &[]),
            sub("check", "Check the bot's permissions in a channel", &[&channel("Channel to check; default: this one")]),
            sub("export", "Get all subscriptions of this server as a file", &[]),
            sub("import", "Add subscriptions from an export or from another bot's file", &[
                &typed(ATTACHMENT, "file", "File to import, at most 1 MiB").required(),
            ]),
            sub("forget", "Delete everything stored about this server", &[]),
            sub("help", "Show the filter language on one screen", &[]),
        ],
    })
}

struct Declared(Value);

fn typed(kind: u8, name: &str, description: &str) -> Declared {
    Declared(json!({ "type": kind, "name": name, "description": description }))
}

impl Declared {
    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0[key] = value.into();
        self
    }

    fn required(self) -> Self {
        self.with("required", true)
    }

    fn completed(self) -> Self {
        self.with("autocomplete", true)
    }

    fn at_most(self, characters: u32) -> Self {
        self.with("max_length", characters)
    }

    fn between(self, min: u64, max: u64) -> Self {
        self.with("min_value", min).with("max_value", max)
    }

    fn channels(self) -> Self {
        self.with("channel_types", CHANNEL_TYPES.to_vec())
    }

    /// `none` clears, where that is allowed.
    fn choices(self, words: &[(&str, &str)], clears: bool) -> Self {
        let none = clears.then_some(("none: use the default", "none"));
        let choice = |(name, value): (&str, &str)| json!({ "name": name, "value": value });
        let choices: Vec<Value> = words.iter().copied().chain(none).map(choice).collect();
        self.with("choices", choices)
    }
}

fn sub(name: &str, description: &str, options: &[&Declared]) -> Value {
    let options: Vec<&Value> = options.iter().map(|option| &option.0).collect();
    json!({ "type": 1, "name": name, "description": description, "options": options })
}

fn us() -> Declared {
    typed(
        STRING,
        "us",
        "Your side, to tell kills from losses, like: alliance:\"Goonswarm Federation\"",
    )
    .completed()
}

fn side(clears: bool) -> Declared {
    let words = [("your kills", "kills"), ("your losses", "losses"), ("both", "both")];
    typed(
        STRING,
        "side",
        "Post only your kills or only your losses; needs the option us",
    )
    .choices(&words, clears)
}

fn ping() -> Declared {
    typed(STRING, "ping", "Ping here, everyone, or a role").completed()
}

fn ping_max_age() -> Declared {
    typed(
        STRING,
        "ping_max_age",
        "Maximum age of a kill that pings, like 10m; default: 15m",
    )
    .at_most(20)
}

fn max_age() -> Declared {
    typed(
        STRING,
        "max_age",
        "Maximum age of a kill to post, like 6h, or unlimited",
    )
    .at_most(20)
}

fn style(clears: bool) -> Declared {
    let words = [
        ("full: everything", "full"),
        ("compact: two lines", "compact"),
        ("link: the zKillboard link", "link"),
        ("battle: one live post per battle", "battle"),
    ];
    typed(STRING, "style", "How posts look").choices(&words, clears)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_discord_s_limits() {
        let command = registration();
        let mut characters = 0;
        let mut visit = vec![&command];
        while let Some(value) = visit.pop() {
            let text = |key: &str| value[key].as_str().unwrap_or_default().chars().count();
            let (name, description) = (text("name"), text("description"));
            characters += name + description;
            assert!((1..=32).contains(&name), "{value}");
            assert!((1..=100).contains(&description), "{value}");
            let options: Vec<&Value> = value["options"].as_array().into_iter().flatten().collect();
            assert!(options.len() <= 25);
            let mut optional = false;
            for option in &options {
                let required = option["required"] == true;
                assert!(!(optional && required), "required options come first: {value}");
                optional |= !required;
            }
            for choice in value["choices"].as_array().into_iter().flatten() {
                let count = |key: &str| choice[key].as_str().unwrap_or_default().chars().count();
                characters += count("name") + count("value");
                assert!(count("name") <= 100);
            }
            visit.extend(options);
        }
        assert!(characters <= 8_000, "{characters} characters in all");
        insta::assert_json_snapshot!("registration", command);
    }
}
