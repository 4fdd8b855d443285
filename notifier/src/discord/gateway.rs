//! Runs serenity's gateway: which shards are connected, what happens to guilds, and the ends that are final.
//!
//! serenity runs on threads of its own: after a close with 4003, 4010 or 4011 version 0.12 polls the closed connection without
//! ever yielding until its heartbeat is due, which would stop everything else on the thread.

mod events;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use killfeed_service::clock::Clock;
use serenity::{
    all::{Client, ClientBuilder, ConnectionStage, GatewayError, GatewayIntents, HttpBuilder, ShardManager},
    cache::Settings as CacheSettings,
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    BotToken, BotUser, FatalError, Readiness,
    api::{Api, GetError, RequestError},
    interactions::GatewayInput,
    probe, start,
};
use crate::shards::Shards;
use events::EventHandler;
pub use events::{GatewayEvent, METRIC_EVENTS_DROPPED, METRIC_GUILDS};

/// How many shards served here are connected.
pub const METRIC_SHARDS_READY: &str = "notifier_discord_shards_ready";

/// Threads for serenity: a stuck shard must not stop the others.
const THREADS: usize = 2;
/// How often the shards' states are read.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// A shard not connected for this long is looked into; Discord answers an IDENTIFY within a few seconds.
const DIAGNOSE_AFTER: Duration = Duration::from_secs(15);
/// How often it is looked into: each look costs one of the day's 1,000 IDENTIFYs.
const DIAGNOSE_INTERVAL: Duration = Duration::from_secs(120);
/// serenity starts one shard every 5 s.
const START_INTERVAL: Duration = Duration::from_secs(5);
/// For saying goodbye to the gateway.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit of connecting: below this many IDENTIFYs left, a shard that cannot connect is given up.
const IDENTIFY_THRESHOLD: u64 = 50;

/// All that is needed to connect.
pub(super) struct GatewayConfig {
    pub(super) api: Arc<Api>,
    pub(super) api_url: String,
    pub(super) gateway_url: String,
    pub(super) token: BotToken,
    pub(super) shards: Shards,
    pub(super) identity: BotUser,
    pub(super) ready: watch::Sender<Readiness>,
    pub(super) events: mpsc::Sender<GatewayEvent>,
    pub(super) heard: mpsc::Sender<GatewayInput>,
}

/// serenity, running.
pub(super) struct Gateway {
    plan: GatewayConfig,
    manager: Arc<ShardManager>,
    client: JoinHandle<Result<(), serenity::Error>>,
    threads: Threads,
    connected: BTreeSet<u32>,
    /// For each shard not connected: since when, or when it was last looked into.
    overdue: Vec<(u32, Instant)>,
}

/// A runtime that can be dropped from within another one.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        // Waiting for it is neither possible here nor wanted: a stuck shard would never end.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Gateway {
    /// Starts serenity with these shards.
    pub(super) async fn connect(plan: GatewayConfig) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("discord-gateway")
            .enable_all()
            .build()
            .map_err(|error| format!("no threads for the gateway: {error}"))?;
        let handle = runtime.handle().clone();
        let threads = Threads(Some(runtime));
        let handler = EventHandler {
            identity: plan.identity.clone(),
            events: plan.events.clone(),
            guilds: Default::default(),
            heard: plan.heard.clone(),
        };
        let builder = client(&plan, handler);
        let url = plan.gateway_url.clone();
        let built = handle.spawn(async move {
            let client: Client = builder.await?;
            // serenity asked for the address once more, and would have taken the public one if that failed.
            *client.ws_url.lock().await = url;
            Ok::<_, serenity::Error>(client)
        });
        let mut client = built
            .await
            .map_err(|error| format!("serenity failed: {error}"))?
            .map_err(|error| format!("serenity cannot be set up: {error}"))?;
        let manager = Arc::clone(&client.shard_manager);
        let shards = plan.shards;
        // The end of this range is included, whatever its type says.
        let range = shards.first()..shards.last();
        let client = handle.spawn(async move { client.start_shard_range(range, shards.total()).await });
        let now = Instant::now();
        let overdue = (0..)
            .zip(shards.iter())
            .map(|(n, shard)| (shard, now + START_INTERVAL * n));
        Ok(Self {
            overdue: overdue.collect(),
            plan,
            manager,
            client,
            threads,
            connected: BTreeSet::new(),
        })
    }

    /// Watches it until `shutdown`, or until it cannot go on.
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Result<(), FatalError> {
        let mut looks = interval(CHECK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                () = shutdown.cancelled() => break self.say_goodbye().await,
                ended = &mut self.client => break Err(reason(ended)),
                _ = looks.tick() => {}
            }
            self.check().await;
            if let Some(shard) = self.next_overdue(Instant::now()) {
                // Boxed: a TLS handshake is large, and rare here.
                let looked = shutdown.run_until_cancelled(Box::pin(self.diagnose(shard))).await;
                if let Some(Err(fatal)) = looked {
                    break Err(fatal);
                }
            }
        };
        self.publish(BTreeSet::new());
        drop(self.threads);
        end
    }

    /// Reads which shards are connected. The manager's own list is the truth: not every loss is an event.
    async fn check(&mut self) {
        let Ok(runners) = timeout(CHECK_INTERVAL, self.manager.runners.lock()).await else {
            return;
        };
        let connected = runners
            .iter()
            .filter(|(_, runner)| runner.stage == ConnectionStage::Connected)
            .map(|(id, _)| id.0)
            .collect();
        drop(runners);
        self.publish(connected);
    }

    fn publish(&mut self, connected: BTreeSet<u32>) {
        let now = Instant::now();
        for &shard in connected.difference(&self.connected) {
            tracing::info!(shard, "shard connected");
            self.overdue.retain(|(overdue, _)| *overdue != shard);
            events::send(&self.plan.events, GatewayEvent::ShardReady { shard });
        }
        for &shard in self.connected.difference(&connected) {
            tracing::warn!(shard, "shard lost its connection");
            self.overdue.push((shard, now));
            events::send(&self.plan.events, GatewayEvent::ShardLost { shard });
        }
        metrics::gauge!(METRIC_SHARDS_READY).set(u32::try_from(connected.len()).unwrap_or(u32::MAX));
        self.plan.ready.send_if_modified(|ready| {
            let changed = ready.connected != connected;
            ready.connected.clone_from(&connected);
            changed
        });
        self.connected = connected;
    }

    /// A shard that should be connected by now, at most every [`DIAGNOSE_INTERVAL`].
    fn next_overdue(&mut self, now: Instant) -> Option<u32> {
        let (shard, since) = self
            .overdue
            .iter_mut()
            .find(|(_, since)| now.saturating_duration_since(*since) >= DIAGNOSE_AFTER)?;
        *since = now + DIAGNOSE_INTERVAL - DIAGNOSE_AFTER;
        Some(*shard)
    }

    /// Finds out why a shard is not connected: serenity tries again for ever, also where that resets the token.
    async fn diagnose(&self, shard: u32) -> Result<(), FatalError> {
        let bot = match start::ask(&self.plan.api).await {
            Ok(bot) => bot,
            Err(GetError::NoAnswer(RequestError::TokenDead)) => return Err(FatalError::Unauthorized),
            Err(GetError::Rejected(refusal)) if refusal.status == 401 => return Err(FatalError::Unauthorized),
            Err(error) => {
                tracing::warn!(shard, %error, "shard is not connected, cause unknown");
                return Ok(());
            }
        };
        let limit = &bot.session_start_limit;
        if limit.remaining < IDENTIFY_THRESHOLD.max(u64::from(self.plan.shards.count())) {
            return Err(FatalError::IdentifiesSpent {
                shards: self.plan.shards.to_string(),
                remaining: limit.remaining,
                resets: limit.resets(Clock::system().now().wall),
            });
        }
        let total = self.plan.shards.total();
        match probe::probe(&self.plan.gateway_url, &self.plan.token, shard, total).await {
            Ok(probe::IdentifyOutcome::Closed(code)) if super::is_fatal(code) => Err(FatalError::Closed { code }),
            Ok(answer) => {
                tracing::warn!(shard, ?answer, "shard is not connected, answer to a test connection");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(shard, error, "shard is not connected, gateway is unreachable");
                Ok(())
            }
        }
    }

    async fn say_goodbye(&self) -> Result<(), FatalError> {
        if timeout(CLOSE_TIMEOUT, self.manager.shutdown_all()).await.is_err() {
            tracing::warn!("gateway did not close in time");
        }
        Ok(())
    }
}

fn client(plan: &GatewayConfig, handler: EventHandler) -> ClientBuilder {
    let mut http = HttpBuilder::new(plan.token.expose());
    if plan.api_url != "https://discord.com" {
        // serenity's rate limiter builds its requests without the proxy.
        http = http.proxy(&plan.api_url).ratelimiter_disabled(true);
    }
    let mut cache = CacheSettings::default();
    // Nothing here reads messages or members of others.
    cache.max_messages = 0;
    cache.cache_users = false;
    ClientBuilder::new_with_http(http.build(), GatewayIntents::GUILDS)
        .cache_settings(cache)
        .raw_event_handler(handler)
}

/// Why serenity ended by itself.
fn reason(ended: Result<Result<(), serenity::Error>, tokio::task::JoinError>) -> FatalError {
    match ended {
        Ok(Err(serenity::Error::Gateway(error))) => match error {
            GatewayError::InvalidAuthentication | GatewayError::NoAuthentication => FatalError::Closed { code: 4004 },
            GatewayError::InvalidShardData => FatalError::Closed { code: 4010 },
            GatewayError::OverloadedShard => FatalError::Closed { code: 4011 },
            GatewayError::InvalidGatewayIntents => FatalError::Closed { code: 4013 },
            GatewayError::DisallowedGatewayIntents => FatalError::Closed { code: 4014 },
            other => FatalError::Ended(other.to_string()),
        },
        Ok(Err(error)) => FatalError::Ended(error.to_string()),
        Ok(Ok(())) => FatalError::Ended("serenity gave no reason".into()),
        Err(error) => FatalError::Ended(error.to_string()),
    }
}
