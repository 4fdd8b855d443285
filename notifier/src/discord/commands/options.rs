//! Options of `subscribe` and `edit`, or fields of the form → a subscription; and its compiled form, or what is wrong.

use std::{collections::BTreeMap, time::Duration};

use killfeed::v1::CompileFilterResponse;
use killfeed_service::settings;

use super::{CommandContext, CommandError, format, say};
use crate::{
    commands::{Unavailable, filters},
    database::CompiledRow,
    discord::interactions::CommandOptions,
    sink::Destination,
    subscriptions::{CompileError, MaxAge, Side, Style, SubscriptionSpec},
};

/// The contract's longest name.
const NAME: usize = 100;

/// What clears an option.
const NONE: &str = "none";

/// What is to be changed of a wish; `None` = left as it is, an empty text = cleared.
#[derive(Debug, Default)]
pub(super) struct SpecPatch {
    name: Option<String>,
    channel: Option<u64>,
    filter: Option<String>,
    add: Option<String>,
    us: Option<String>,
    side: Option<String>,
    ping: Option<String>,
    ping_max_age: Option<String>,
    max_age: Option<String>,
    style: Option<String>,
}

impl SpecPatch {
    /// As a command has them. `none` clears, where something can be cleared.
    pub(super) fn given(given: &CommandOptions, name: &str) -> Self {
        let text = |option: &str| given.text(option).map(filters::clean);
        let clearable = |option: &str| {
            let text = text(option)?;
            Some(if text.eq_ignore_ascii_case(NONE) {
                String::new()
            } else {
                text
            })
        };
        Self {
            name: text(name),
            channel: given.channels.get("channel").map(|chosen| chosen.id),
            filter: clearable("filter"),
            add: text("add"),
            us: clearable("us"),
            side: clearable("side"),
            ping: clearable("ping"),
            ping_max_age: clearable("ping_max_age"),
            max_age: clearable("max_age"),
            style: clearable("style"),
        }
    }

    /// As the form has them: an empty field clears, but a name.
    pub(super) fn form(inputs: &BTreeMap<String, String>) -> Self {
        let text = |field: &str| inputs.get(field).map(|text| filters::clean(text));
        Self {
            name: text("name").filter(|name| !name.is_empty()),
            filter: text("filter"),
            us: text("us"),
            ping: text("ping"),
            max_age: text("max_age"),
            ..Default::default()
        }
    }

    /// Another filter.
    pub(super) fn filter(filter: String) -> Self {
        Self {
            filter: Some(filter),
            ..Default::default()
        }
    }

    /// One more condition.
    pub(super) fn add(term: &str) -> Self {
        Self {
            add: Some(term.to_owned()),
            ..Default::default()
        }
    }

    /// Whether nothing is to be changed.
    pub(super) fn is_empty(&self) -> bool {
        let texts = [
            &self.name,
            &self.filter,
            &self.add,
            &self.us,
            &self.side,
            &self.ping,
            &self.ping_max_age,
            &self.max_age,
            &self.style,
        ];
        self.channel.is_none() && texts.into_iter().all(Option::is_none)
    }

    /// The wish with these changes.
    pub(super) fn apply(self, mut wish: SubscriptionSpec) -> Result<SubscriptionSpec, CommandError> {
        if let Some(name) = self.name {
            wish.name = name;
        }
        if let Some(channel) = self.channel {
            wish.destination = Destination::Channel(channel);
        }
        if let Some(filter) = self.filter {
            wish.filter = filter;
        }
        if let Some(add) = self.add {
            wish.filter = filters::and(&wish.filter, &add);
        }
        if let Some(us) = self.us {
            wish.us = us;
            if wish.us.is_empty() && self.side.is_none() {
                wish.side = Side::Both;
            }
        }
        if let Some(side) = self.side {
            wish.side = word(&side, "side")?;
        }
        if let Some(ping) = self.ping {
            wish.ping = match ping.as_str() {
                "" => None,
                text => Some(text.trim_start_matches('@').parse().map_err(|_| {
                    say(
                        "Invalid option",
                        "`ping` must be `here`, `everyone`, or one of the roles offered while you type.",
                    )
                })?),
            };
        }
        if let Some(age) = self.ping_max_age {
            wish.ping_max_age = age_of(&age, "ping_max_age")?;
        }
        if let Some(age) = self.max_age {
            wish.max_age = match age.to_lowercase().as_str() {
                "unlimited" => MaxAge::Unlimited,
                _ => age_of(&age, "max_age")?.map_or(MaxAge::Default, MaxAge::Limit),
            };
        }
        if let Some(style) = self.style {
            wish.style = word(&style, "style")?;
        }
        if wish.side != Side::Both && wish.us.is_empty() {
            return Err(say(
                "Option missing",
                "`side` needs `us` to tell kills from losses, like `us: alliance:\"Goonswarm Federation\"`.",
            ));
        }
        check_name(&wish.name)?;
        Ok(wish)
    }
}

/// A new subscription before its options.
pub(super) fn blank(guild: u64, channel: u64) -> SubscriptionSpec {
    SubscriptionSpec {
        name: String::new(),
        guild,
        destination: Destination::Channel(channel),
        filter: String::new(),
        us: String::new(),
        side: Side::Both,
        ping: None,
        ping_max_age: None,
        max_age: MaxAge::Default,
        style: Style::Full,
        paused: false,
        webhook_url: None,
    }
}

/// Returns a name made from a filter that no subscription of the guild has.
pub(super) fn name_for(desk: &CommandContext<'_>, guild: u64, filter: &str) -> String {
    let all = desk.commands.subscriptions(guild);
    let taken = |name: &str| all.iter().any(|one| one.spec.name == name);
    let base: String = match filter.trim() {
        "" => "everything".to_owned(),
        filter => filter.chars().take(NAME - 8).collect::<String>().trim().to_owned(),
    };
    let mut name = base.clone();
    let mut number = 1;
    while taken(&name) {
        number += 1;
        name = format!("{base} ({number})");
    }
    name
}

/// What the filter means, and its trees; or the filter with a caret where it is wrong.
pub(super) async fn compile(
    desk: &CommandContext<'_>,
    wish: &SubscriptionSpec,
) -> Result<(CompileFilterResponse, CompiledRow), CommandError> {
    let meaning = desk.commands.describe(&wish.filter).await?;
    if meaning.filter.is_none() {
        return Err(say("Invalid filter", format::wrong(&wish.filter, &meaning.diagnostics)));
    }
    let build = desk.commands.build().await?;
    match desk.commands.compile(wish, &build).await {
        Ok(compiled) => Ok((meaning, compiled)),
        Err(("us", CompileError::Bad(diagnostics))) => Err(say(
            "Invalid `us`",
            format::wrong(&wish.us, &diagnostics)
                + "Write it as inside `attacker( )`, like `alliance:\"Goonswarm Federation\" OR corporation:98000001`.",
        )),
        Err((_, CompileError::Bad(diagnostics))) => {
            Err(say("Invalid filter", format::wrong(&wish.filter, &diagnostics)))
        }
        Err((_, CompileError::Unavailable(reason))) => Err(Unavailable(reason).into()),
    }
}

fn check_name(name: &str) -> Result<(), CommandError> {
    match name.chars().count() {
        1..=NAME if name.trim() == "*" => Err(say(
            "Invalid name",
            "`*` means all subscriptions of a channel. Choose another name.",
        )),
        1..=NAME => Ok(()),
        count => Err(say(
            "Invalid name",
            format!("A name has 1 to {NAME} characters. This one has {count}."),
        )),
    }
}

fn age_of(text: &str, option: &str) -> Result<Option<Duration>, CommandError> {
    if text.is_empty() {
        return Ok(None);
    }
    let age = settings::duration(text).filter(|age| *age >= Duration::from_secs(1));
    age.map(Some).ok_or_else(|| {
        let unlimited = if option == "max_age" { ", or `unlimited`" } else { "" };
        say(
            "Invalid option",
            format!(
                "`{option}` must be a duration of at least one second, like `10m`, `6h` or `7d`{unlimited}; {} is not.",
                format::code(text)
            ),
        )
    })
}

fn word<T: std::str::FromStr<Err = crate::subscriptions::Expected> + Default>(
    text: &str,
    option: &str,
) -> Result<T, CommandError> {
    if text.is_empty() {
        return Ok(T::default());
    }
    text.parse().map_err(|error: crate::subscriptions::Expected| {
        say("Invalid option", format!("`{option}` must be {}.", error.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriptions::Ping;

    fn given(options: &[(&str, &str)]) -> CommandOptions {
        CommandOptions {
            texts: options
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
            ..Default::default()
        }
    }

    fn named() -> SubscriptionSpec {
        SubscriptionSpec {
            name: "x".into(),
            filter: "npc OR solo".into(),
            us: "alliance:1".into(),
            side: Side::Kills,
            ping: Some(Ping::Here),
            max_age: MaxAge::Limit(Duration::from_secs(60)),
            ..blank(1, 2)
        }
    }

    fn changed(options: &[(&str, &str)]) -> Result<SubscriptionSpec, String> {
        let applied = SpecPatch::given(&given(options), "new_name").apply(named());
        applied.map_err(|stop| match stop {
            CommandError::Say(reply) => reply.embeds[0].description.clone(),
            CommandError::Storage(error) => error.to_string(),
        })
    }

    #[test]
    fn none_clears_and_what_is_left_out_stays() {
        assert_eq!(changed(&[]), Ok(named()));
        let cleared = changed(&[
            ("us", "none"),
            ("ping", "None"),
            ("max_age", "none"),
            ("filter", "none"),
        ])
        .unwrap();
        assert_eq!(
            (cleared.us.as_str(), cleared.side, cleared.filter.as_str()),
            ("", Side::Both, "")
        );
        assert_eq!((cleared.ping, cleared.max_age), (None, MaxAge::Default));
        assert_eq!(changed(&[("max_age", "Unlimited")]).unwrap().max_age, MaxAge::Unlimited);
        assert_eq!(changed(&[("add", "-war")]).unwrap().filter, "(npc OR solo) -war");
        assert_eq!(changed(&[("ping", "role:5")]).unwrap().ping, Some(Ping::Role(5)));
        assert_eq!(changed(&[("new_name", " y\u{202e} ")]).unwrap().name, "y");
    }

    #[test]
    fn what_is_not_understood_says_what_is() {
        for (options, said) in [
            (&[("max_age", "soon")][..], "`6h` or `7d`, or `unlimited`"),
            (
                &[("ping_max_age", "0s")],
                "`ping_max_age` must be a duration of at least one second",
            ),
            (&[("ping", "role:x")], "one of the roles offered"),
            (&[("us", "none"), ("side", "kills")], "needs `us`"),
            (&[("new_name", "*")], "`*` means all"),
            (&[("style", "long")], "`style` must be full, compact, link or battle"),
        ] {
            let error = changed(options).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        let long = "x".repeat(101);
        assert!(
            changed(&[("new_name", &long)])
                .unwrap_err()
                .contains("This one has 101")
        );
    }
}
