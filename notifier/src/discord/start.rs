//! Asks Discord whether this bot may connect before serenity is let loose: if serenity cannot read the gateway's address it
//! silently takes the token to the public gateway, and an IDENTIFY beyond the day's allowance resets the token.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use killfeed::backoff::Backoff;
use killfeed_service::clock::Clock;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    BotUser, Discord, DiscordSettings, Readiness,
    api::{Api, GetError, RequestError},
    gateway,
    interactions::{Interactions, QUEUE_CAPACITY},
    limiter::Route,
    sink::DiscordSink,
};
use crate::shards::Shards;

/// Tries before giving up: together about 15 s, then whoever runs the process starts it anew.
const MAX_ATTEMPTS: u32 = 6;
/// The delay between two attempts. The number of attempts bounds it too.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(256));
/// The longest pause a 429 is obeyed for before giving up.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Events not taken yet: all guilds of a full shard (2,500) and more.
const EVENT_CAPACITY: usize = 4_096;

/// Why the bot was not started. Nothing was connected.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// 401.
    #[error("{api_url} rejected the bot's token (HTTP 401): set a valid one in NOTIFIER_DISCORD_TOKEN")]
    Unauthorized {
        /// Where it was asked.
        api_url: String,
    },
    /// `/gateway/bot` cannot be had.
    #[error(
        "cannot use {api_url}/api/v10/gateway/bot: {reason}; not connecting, because the gateway's address and the remaining \
         IDENTIFYs are unknown"
    )]
    NoGateway {
        /// Where it was asked.
        api_url: String,
        /// What happened.
        reason: String,
    },
    /// Connecting would reset the token.
    #[error(
        "shards {shards} need {needed} IDENTIFYs, but discord allows only {remaining} more ({resets}); not connecting, because \
         discord resets the token after one too many"
    )]
    TooFewIdentifies {
        /// The shards to serve.
        shards: Shards,
        /// How many are needed.
        needed: u32,
        /// How many are left.
        remaining: u64,
        /// When there will be more.
        resets: String,
    },
    /// Something here is missing: threads, certificates, ...
    #[error("cannot start the connection to discord: {0}")]
    Local(String),
    /// Shut down while starting.
    #[error("shut down while connecting to discord")]
    ShutDown,
}

impl ConnectError {
    /// Whether Discord refuses the token, so that a restart changes nothing (exit code 78).
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Unauthorized { .. })
    }
}

/// What `GET /gateway/bot` answers.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct BotGateway {
    pub(super) url: String,
    pub(super) shards: u32,
    pub(super) session_start_limit: SessionStartLimit,
}

/// How many IDENTIFYs the bot has left.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SessionStartLimit {
    pub(super) remaining: u64,
    /// Milliseconds.
    pub(super) reset_after: u64,
}

/// Checks everything with Discord, then connects. Returns before the shards are connected: [`Discord::ready`] tells.
pub async fn start(settings: DiscordSettings, shutdown: CancellationToken) -> Result<Discord, ConnectError> {
    keep_frames_out_of_the_log();
    let api_url = settings.api_url.trim_end_matches('/').to_owned();
    let api = Arc::new(Api::new(&api_url, &settings.token).map_err(ConnectError::Local)?);
    let asked = shutdown.run_until_cancelled(ask_patiently(&api, &api_url)).await;
    let bot = asked.ok_or(ConnectError::ShutDown)??;
    let shards = settings.shards.resolve(bot.shards);
    check(&bot, shards, &api_url)?;
    if shards.total() < bot.shards {
        tracing::warn!(
            shards = shards.total(),
            recommended = bot.shards,
            "discord recommends more shards than NOTIFIER_SHARDS sets"
        );
    }
    tracing::info!(
        %shards,
        identifies_left = bot.session_start_limit.remaining,
        gateway = bot.url,
        "connecting to discord"
    );
    let identity = BotUser::default();
    let (ready_in, ready) = watch::channel(Readiness {
        shards,
        connected: Default::default(),
    });
    let (events_in, events) = mpsc::channel(EVENT_CAPACITY);
    let (heard_in, heard) = mpsc::channel(QUEUE_CAPACITY);
    let interactions = Interactions {
        heard,
        api: Arc::clone(&api),
        api_url: api_url.clone(),
        identity: identity.clone(),
        shards,
    };
    let plan = gateway::GatewayConfig {
        api: Arc::clone(&api),
        api_url,
        gateway_url: bot.url,
        token: settings.token,
        shards,
        identity: identity.clone(),
        ready: ready_in,
        events: events_in,
        heard: heard_in,
    };
    let gateway = gateway::Gateway::connect(plan).await.map_err(ConnectError::Local)?;
    Ok(Discord {
        sink: Arc::new(DiscordSink { api, identity }),
        ready,
        events,
        interactions,
        shards,
        task: tokio::spawn(gateway.run(shutdown)),
    })
}

/// tungstenite writes every frame to the `log` crate at TRACE, and an IDENTIFY carries the token. tracing is not concerned.
fn keep_frames_out_of_the_log() {
    log::set_max_level(log::max_level().min(log::LevelFilter::Debug));
}

/// Asks once.
pub(super) async fn ask(api: &Api) -> Result<BotGateway, GetError> {
    let route = Route {
        template: "GET /gateway/bot",
        major: 0,
    };
    api.get(route, "/gateway/bot").await
}

async fn ask_patiently(api: &Api, api_url: &str) -> Result<BotGateway, ConnectError> {
    let mut backoff = BACKOFF;
    loop {
        let error = match ask(api).await {
            Ok(bot) => return Ok(bot),
            Err(error) => error,
        };
        let give_up = |error: GetError| match error {
            GetError::NoAnswer(RequestError::TokenDead) => unauthorized(api_url),
            GetError::Rejected(refusal) if refusal.status == 401 => unauthorized(api_url),
            error => no_gateway(api_url, error.to_string()),
        };
        match pause(&error, &mut backoff) {
            Some(pause) if backoff.failures() < MAX_ATTEMPTS => {
                let tries = backoff.failures();
                tracing::warn!(%error, tries, pause_ms = pause.as_millis(), "gateway/bot failed, retrying");
                tokio::time::sleep(pause).await;
            }
            _ => return Err(give_up(error)),
        }
    }
}

/// Counts a failure and returns the delay before the next attempt; `None` where another attempt is of no use.
fn pause(error: &GetError, backoff: &mut Backoff) -> Option<Duration> {
    let delay = backoff.next_delay();
    match error {
        GetError::NoAnswer(RequestError::TokenDead) => None,
        GetError::NoAnswer(_) | GetError::Unreadable(_) => Some(delay),
        GetError::Rejected(refusal) => match (refusal.status, refusal.retry_after) {
            (429, Some(wait)) => (wait <= MAX_RETRY_AFTER).then_some(wait.max(delay)),
            (500.., _) => Some(delay),
            _ => None,
        },
    }
}

fn check(bot: &BotGateway, shards: Shards, api_url: &str) -> Result<(), ConnectError> {
    if !bot.url.starts_with("wss://") && !bot.url.starts_with("ws://") {
        return Err(no_gateway(
            api_url,
            format!("{:?} is not a ws:// or wss:// address", bot.url),
        ));
    }
    let limit = &bot.session_start_limit;
    if limit.remaining < u64::from(shards.count()) {
        return Err(ConnectError::TooFewIdentifies {
            shards,
            needed: shards.count(),
            remaining: limit.remaining,
            resets: limit.resets(Clock::system().now().wall),
        });
    }
    Ok(())
}

impl SessionStartLimit {
    /// When there will be more, for a person.
    pub(super) fn resets(&self, now: SystemTime) -> String {
        // A day at most, whatever was sent.
        let left = Duration::from_millis(self.reset_after).min(Duration::from_secs(24 * 60 * 60));
        let mut at = prost_types::Timestamp::from(now + left);
        at.nanos = 0;
        let minutes = left.as_secs().div_ceil(60);
        format!("the limit resets in {} h {} min, at {at}", minutes / 60, minutes % 60)
    }
}

fn unauthorized(api_url: &str) -> ConnectError {
    ConnectError::Unauthorized {
        api_url: api_url.into(),
    }
}

fn no_gateway(api_url: &str, reason: String) -> ConnectError {
    ConnectError::NoGateway {
        api_url: api_url.into(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bot(url: &str, remaining: u64) -> BotGateway {
        let limit =
            serde_json::json!({"total": 1000, "remaining": remaining, "reset_after": 12_345_678, "max_concurrency": 1});
        serde_json::from_value(serde_json::json!({"url": url, "shards": 3, "session_start_limit": limit})).unwrap()
    }

    #[test]
    fn connects_only_where_it_is_safe() {
        let url = "https://discord.com";
        assert!(check(&bot("wss://gateway.discord.gg", 3), Shards::all(3), url).is_ok());
        assert!(check(&bot("ws://127.0.0.1:1234", 3), Shards::all(3), url).is_ok());
        let too_few = check(&bot("wss://gateway.discord.gg", 2), Shards::all(3), url).unwrap_err();
        assert!(matches!(
            too_few,
            ConnectError::TooFewIdentifies {
                needed: 3,
                remaining: 2,
                ..
            }
        ));
        let odd = check(&bot("https://gateway.discord.gg", 3), Shards::all(3), url).unwrap_err();
        let line = "cannot use https://discord.com/api/v10/gateway/bot: \"https://gateway.discord.gg\" is not a ws:// or wss:// \
                    address; not connecting, because the gateway's address and the remaining IDENTIFYs are unknown";
        assert_eq!(odd.to_string(), line);
        assert!(check(&bot("wss://x", 1), Shards::new(5, 5, 6).unwrap(), url).is_ok());
    }

    #[test]
    fn says_when_there_are_more() {
        let limit = bot("", 2).session_start_limit;
        let error = ConnectError::TooFewIdentifies {
            shards: Shards::all(3),
            needed: 3,
            remaining: 2,
            resets: limit.resets(SystemTime::UNIX_EPOCH),
        };
        let line = "shards 0-2/3 need 3 IDENTIFYs, but discord allows only 2 more (the limit resets in 3 h 26 min, at \
                    1970-01-01T03:25:45Z); not connecting, because discord resets the token after one too many";
        assert_eq!(error.to_string(), line);
    }

    #[test]
    fn asks_again_only_where_that_may_help() {
        let refused = |status, retry_after| {
            GetError::Rejected(super::super::api::ApiError {
                status,
                code: 0,
                message: String::new(),
                retry_after,
            })
        };
        for failures in [0, 1, 5, 999] {
            let after = || BACKOFF.with_failures(failures);
            let most = after().ceiling();
            assert!(pause(&refused(502, None), &mut after()).is_some_and(|pause| pause <= most));
            let lost = GetError::NoAnswer(RequestError::Lost("cut".into()));
            assert!(pause(&lost, &mut after()).is_some_and(|pause| pause <= most));
        }
        for status in [400, 401, 403, 404] {
            assert_eq!(
                pause(&refused(status, None), &mut BACKOFF.with_failures(0)),
                None,
                "{status}"
            );
        }
        let wait = Duration::from_secs(3);
        assert_eq!(
            pause(&refused(429, Some(wait)), &mut BACKOFF.with_failures(0)),
            Some(wait)
        );
        let hour = refused(429, Some(Duration::from_secs(3_600)));
        assert_eq!(pause(&hour, &mut BACKOFF.with_failures(0)), None);
    }
}
