//! The serenity side: the only modules that know Discord's wire.
//!
//! - [`start()`] asks Discord whether it may connect at all, then starts the gateway; `gateway` runs it: readiness, events,
//!   fatal ends; `probe` finds out why a shard does not get in.
//! - `webhook` sends through webhooks, without a bot.
//! - `interactions` answers people; what the commands do and say is in `commands`, one file each; `guild_directory` knows who may do
//!   what in which channel.
//! - `sink` sends messages and `message_lookup` looks for them, both through `api`, whose `limiter` keeps Discord's rate limits. Nothing
//!   of it goes through serenity's own HTTP client.

mod api;
mod commands;
mod message_lookup;
mod gateway;
mod interactions;
mod invite;
mod limiter;
mod permissions;
mod probe;
mod sink;
mod start;
mod webhook;
mod guild_directory;

use std::{collections::BTreeSet, fmt, sync::Arc};

use tokio::{
    sync::{OnceCell, mpsc, watch},
    task::JoinHandle,
};

use crate::{
    shards::{ShardSetting, Shards},
    sink::Sink,
};
use api::{Api, GetError};
pub use {
    gateway::{GatewayEvent, METRIC_EVENTS_DROPPED, METRIC_GUILDS, METRIC_SHARDS_READY},
    interactions::{Interactions, METRIC_DROPPED, METRIC_INTERACTIONS},
    invite::invitation,
    limiter::METRIC_PAUSED,
    start::{ConnectError, start},
    webhook::{Routed, WebhookUrls, Webhooks},
};

/// What the bot is and where Discord is.
#[derive(Debug, Clone)]
pub struct DiscordSettings {
    /// The bot's token.
    pub token: BotToken,
    /// `https://discord.com`, or a proxy or stand-in; plain `http://` is accepted.
    pub api_url: String,
    /// Which shards to serve.
    pub shards: ShardSetting,
}

/// A bot's token. It appears in no log, error or debug output.
#[derive(Clone)]
pub struct BotToken(String);

/// A bot that is connecting, or connected.
pub struct Discord {
    /// Sends messages, also while the gateway is away.
    pub sink: Arc<dyn Sink>,
    /// Which shards are connected, kept up to date.
    pub ready: watch::Receiver<Readiness>,
    /// What the gateway says about guilds and shards.
    pub events: mpsc::Receiver<GatewayEvent>,
    /// What people ask; nobody is answered before it is served.
    pub interactions: Interactions,
    /// The shards served here: which guilds are this process's.
    pub shards: Shards,
    /// Ends with `Ok` after a shutdown, else when the bot can no longer work.
    pub task: JoinHandle<Result<(), FatalError>>,
}

/// Which shards are connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Those served here.
    pub shards: Shards,
    /// Those of them that are connected.
    pub connected: BTreeSet<u32>,
}

/// Why the bot cannot go on: an operator has to act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FatalError {
    /// The token is not valid (any more).
    #[error("discord rejected the bot's token: set a valid one in NOTIFIER_DISCORD_TOKEN")]
    Unauthorized,
    /// The gateway closed the connection with a code that forbids another try.
    #[error("discord's gateway closed the connection permanently, code {code}: {}", meaning(*.code))]
    Closed {
        /// Discord's close code.
        code: u16,
    },
    /// Another IDENTIFY could reset the token.
    #[error(
        "shards {shards} cannot connect, and discord resets the token after {remaining} more IDENTIFYs ({resets}): stopped to \
         keep the token valid"
    )]
    IdentifiesSpent {
        /// The shards served here.
        shards: String,
        /// How many are left.
        remaining: u64,
        /// When there will be more.
        resets: String,
    },
    /// serenity ended without a reason.
    #[error("the connection to discord's gateway ended: {0}")]
    Ended(String),
}

impl FatalError {
    /// Whether Discord refuses what it was given, so that a restart changes nothing (exit code 78).
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Unauthorized | Self::Closed { .. })
    }
}

impl BotToken {
    /// Takes it with or without the word `Bot` before it.
    pub fn new(text: &str) -> Self {
        let text = text.trim();
        Self(text.strip_prefix("Bot ").unwrap_or(text).trim().to_owned())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BotToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BotToken(...)")
    }
}

impl Readiness {
    /// Whether every shard served here is connected.
    pub fn all(&self) -> bool {
        self.shards.iter().all(|shard| self.connected.contains(&shard))
    }
}

/// Close codes after which Discord allows no further try.
pub(crate) fn is_fatal(code: u16) -> bool {
    matches!(code, 4004 | 4010..=4014)
}

fn meaning(code: u16) -> &'static str {
    match code {
        4004 => "the token is invalid; set a valid one in NOTIFIER_DISCORD_TOKEN",
        4010 => "the shard does not exist; check NOTIFIER_SHARDS",
        4011 => "a shard has more servers than allowed; set NOTIFIER_SHARDS to more shards, or to auto",
        4012 => "this gateway version is no longer supported; update killfeed",
        4013 => "the intents are invalid; update killfeed",
        4014 => "the bot may not use these intents; killfeed needs no privileged ones, check the bot's settings",
        _ => "see Discord's list of close codes",
    }
}

/// The bot's own user id: from the gateway's READY, else asked for.
#[derive(Debug, Clone, Default)]
struct BotUser(Arc<OnceCell<u64>>);

impl BotUser {
    fn set(&self, id: u64) {
        // It never changes, so a second READY says nothing new.
        let _ = self.0.set(id);
    }

    async fn get(&self, api: &Api) -> Result<u64, GetError> {
        #[derive(serde::Deserialize)]
        struct Me {
            id: String,
        }
        let route = limiter::Route {
            template: "GET /users/@me",
            major: 0,
        };
        let ask = async || {
            let me: Me = api.get(route, "/users/@me").await?;
            me.id
                .parse()
                .map_err(|_| GetError::Unreadable(format!("{:?} is not a user id", me.id)))
        };
        self.0.get_or_try_init(ask).await.copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_never_shown() {
        let token = BotToken::new(" Bot abc.def ");
        assert_eq!(token.expose(), "abc.def");
        let settings = DiscordSettings {
            token,
            api_url: "https://discord.com".into(),
            shards: ShardSetting::Auto,
        };
        assert!(!format!("{settings:?}").contains("abc"));
    }

    #[test]
    fn ready_means_all_shards_served_here() {
        let mut ready = Readiness {
            shards: Shards::new(2, 3, 8).unwrap(),
            connected: BTreeSet::from([2]),
        };
        assert!(!ready.all());
        ready.connected.insert(3);
        assert!(ready.all());
    }

    #[test]
    fn fatal_codes_are_explained() {
        let fatal: Vec<u16> = (4000..4100).filter(|&code| is_fatal(code)).collect();
        assert_eq!(fatal, [4004, 4010, 4011, 4012, 4013, 4014]);
        let line = "discord's gateway closed the connection permanently, code 4011: a shard has more servers than allowed; \
                    set NOTIFIER_SHARDS to more shards, or to auto";
        assert_eq!(FatalError::Closed { code: 4011 }.to_string(), line);
    }
}
