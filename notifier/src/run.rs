//! Puts the parts together and runs them as one: whichever ends first ends all.

mod dead_letters;
mod maintenance;

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use killfeed_service::settings::SettingError;
use killfeed_service::trace::Traces;
use killfeed_service::{
    clock::Clock,
    probes::{self, Probes},
};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin,
    commands::{CommandService, Commands, OperatorLimits},
    database::{self, Database},
    deliver::{Deliver, Limits},
    discord::{self, BotToken, Discord, DiscordSettings},
    follow::{self, StreamConsumer},
    guilds,
    ingestor::{self, IngestorClient},
    metrics,
    outbox::Outbox,
    settings::{self, Settings, SinkKind},
    sink::{Sink, console::Console},
    subscriptions::{Compile, Subscription, SubscriptionSpec, Subscriptions, WEBHOOK_GUILD, copies, file},
};

/// How long messages on their way may take to end after a shutdown began.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What can be put in from outside.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Instead of the sink of the settings.
    pub sink: Option<Arc<dyn Sink>>,
    /// Notified to have the subscriptions file read again (SIGHUP).
    pub reload: Arc<Notify>,
}

/// Runs until `shutdown`, then drains.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> anyhow::Result<()> {
    run_with(settings, Hooks::default(), shutdown).await
}

/// As [`run`], with parts of one's own.
pub async fn run_with(settings: Settings, hooks: Hooks, shutdown: CancellationToken) -> anyhow::Result<()> {
    let clock = Clock::system();
    let traces = traces(&settings)?;
    // What can be wrong with the settings comes first, then the disk, then the ports.
    let wishes = settings
        .subscriptions_file
        .as_deref()
        .map(|path| read_file(path, &settings))
        .transpose()?;
    let bot_wanted = settings.sink == SinkKind::Discord && settings.discord_token.is_none();
    let only_webhooks = |wishes: &Vec<SubscriptionSpec>| wishes.iter().all(|wish| wish.guild == WEBHOOK_GUILD);
    if bot_wanted && !wishes.as_ref().is_some_and(only_webhooks) {
        return Err(SettingError::unseen("NOTIFIER_DISCORD_TOKEN", settings::TOKEN_EXPECTED).into());
    }
    let client = ingestor::client(&settings, &traces)?;
    let admin_tokens = settings.admin_tokens_file.as_deref().map(read_tokens).transpose()?;
    let opened = database::open(&settings.data_dir, clock.now().wall)?;
    if let Some(moved) = &opened.moved_aside {
        tracing::error!(
            moved_to = %moved.to.display(),
            reason = moved.reason,
            last_written = ?moved.last_written,
            hint = "queued killmails, and those since the last write, are not posted",
            "database is corrupt and was moved aside"
        );
    }
    let database = Arc::new(opened.database);
    let subscriptions = Arc::new(subscriptions_of(&settings, database.clone())?);
    if opened.moved_aside.is_some() {
        restore(&settings, &subscriptions).await?;
    }
    let outbox = Arc::new(Outbox::new(database));
    if outbox.skip_backlog(settings.skip_backlog).await? {
        tracing::warn!("NOTIFIER_SKIP_BACKLOG: outbox dropped, starting at the head");
    }
    if let Some(wishes) = wishes {
        take_file(&subscriptions, wishes, &clock).await?;
    }
    let listener = TcpListener::bind(settings.http_addr)
        .await
        .with_context(|| format!("cannot listen on NOTIFIER_HTTP_ADDR={}", settings.http_addr))?;
    let admin = match settings.admin_addr {
        None => None,
        Some(addr) => {
            let listener = TcpListener::bind(addr).await;
            Some(listener.with_context(|| format!("cannot listen on NOTIFIER_ADMIN_ADDR={addr}"))?)
        }
    };
    tracing::info!(http = %listener.local_addr()?, data = %settings.data_dir.display(), "the notifier has started");

    // The first one that ends, however it ends, ends the others: half a notifier is none.
    let stop = shutdown.child_token();
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let (ready, following) = watch::channel(false);
    let metrics = metrics::install();
    let connected = Arc::new(std::sync::OnceLock::new());
    let probes = Probes {
        metrics,
        refresh_gauges: Box::new(|| ()),
        pages: vec![dead_letters::page(outbox.clone())],
        ready: readiness(
            following.clone(),
            settings.sink == SinkKind::Discord && settings.discord_token.is_some() && hooks.sink.is_none(),
            connected.clone(),
        ),
    };
    let serving = probes::serve(listener, probes, stop.clone());
    tasks.spawn(async move { serving.await.context("the HTTP endpoints failed") });

    let started = match hooks.sink {
        Some(sink) => Ok((sink, None)),
        None => start_sink(&settings, &subscriptions, &stop).await,
    };
    let (sink, bot) = match started {
        // Asked to end before anything was begun that could be drained.
        Err(error) if matches!(error.downcast_ref(), Some(discord::ConnectError::ShutDown)) => return Ok(()),
        started => started?,
    };
    let office: Arc<dyn Commands> = Arc::new(CommandService {
        terms: terms(&settings),
        ingestor: IngestorClient(client.clone()),
        subscriptions: subscriptions.clone(),
        outbox: outbox.clone(),
        sink: sink.clone(),
        data_dir: settings.data_dir.clone(),
        following: following.clone(),
        clock: clock.clone(),
    });
    let deliver = Deliver::new(
        outbox.clone(),
        subscriptions.clone(),
        sink,
        Limits {
            max_backlog: settings.max_backlog,
            max_delay: settings.max_delay,
            max_posts: settings.max_posts,
        },
        settings.probe_interval,
        clock.clone(),
        traces.clone(),
    );
    if let Some(bot) = bot {
        // It is set here only, once.
        let _ = connected.set(bot.ready.clone());
        let (task, subscriptions, prober) = (bot.task, subscriptions.clone(), deliver.prober());
        let (clock, token) = (clock.clone(), stop.clone());
        tasks.spawn(async move {
            let following = guilds::follow(bot.events, bot.shards, &subscriptions, prober, clock, token);
            Ok(following.await?)
        });
        tasks.spawn(async move { Ok(task.await??) });
        tasks.spawn(bot.interactions.serve(office.clone(), stop.clone()));
    }
    if let Some(listener) = admin {
        let (settings, stop) = (settings.clone(), stop.clone());
        let serves = Arc::new(move |guild| settings.serves(guild));
        tasks.spawn(admin::serve(listener, office.clone(), admin_tokens, serves, stop));
    }
    let token = stop.clone();
    tasks.spawn(async move { Ok(deliver.run(token).await?) });
    let changed = Arc::new(Notify::new());
    let compile: Arc<dyn Compile> = Arc::new(IngestorClient(client.clone()));
    {
        let (subscriptions, outbox, compile, clock) =
            (subscriptions.clone(), outbox.clone(), compile.clone(), clock.clone());
        let (token, traces) = (stop.clone(), traces.clone());
        tasks.spawn(async move {
            follow::compile_first(&subscriptions, &*compile, &token).await?;
            let follower = StreamConsumer {
                client,
                outbox,
                subscriptions,
                clock,
                ready,
                traces,
            };
            Ok(follower.run(token).await?)
        });
    }
    let compiling = follow::keep_compiled(subscriptions.clone(), compile, following, changed.clone(), stop.clone());
    tasks.spawn(async move { Ok(compiling.await?) });
    let (folder, forget_after) = (settings.data_dir.clone(), settings.forget_after);
    tasks.spawn(maintenance::upkeep(
        outbox,
        subscriptions.clone(),
        folder,
        forget_after,
        clock.clone(),
        stop.clone(),
    ));
    tasks.spawn(reload(
        settings,
        hooks.reload,
        subscriptions,
        changed,
        clock,
        stop.clone(),
    ));

    let first = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        Some(ended) = tasks.join_next() => ended?,
    };
    stop.cancel();
    let drained = tokio::time::timeout(DRAIN_TIMEOUT, async {
        let mut result = first;
        while let Some(ended) = tasks.join_next().await {
            result = result.and(ended?);
        }
        result
    });
    let ended = drained.await;
    traces.finish().await;
    ended.unwrap_or_else(|_| {
        anyhow::bail!(
            "shutdown took longer than {} s; the next start cleans up",
            DRAIN_TIMEOUT.as_secs()
        )
    })
}

fn traces(settings: &Settings) -> Result<Traces, SettingError> {
    let Some(endpoint) = &settings.otlp_endpoint else {
        return Ok(Traces::default());
    };
    let ca = settings.otlp_ca.as_deref();
    Traces::start(endpoint, ca, "killfeed-notifier", env!("CARGO_PKG_VERSION"))
        .map_err(|error| SettingError::new(error.variable, &error.value, error.expected))
}

fn read_tokens(path: &Path) -> Result<admin::Tokens, SettingError> {
    admin::Tokens::read(path)
        .map_err(|error| SettingError::new("NOTIFIER_ADMIN_TOKENS_FILE", &path.to_string_lossy(), error.to_string()))
}

fn terms(settings: &Settings) -> OperatorLimits {
    OperatorLimits {
        guilds: settings.guilds.clone(),
        max_subscriptions: settings.max_subscriptions,
        max_age: settings.max_age,
        max_delay: settings.max_delay,
        discord_api_url: settings.discord_api_url.clone(),
    }
}

type Connected = Arc<std::sync::OnceLock<watch::Receiver<discord::Readiness>>>;

fn readiness(
    following: watch::Receiver<bool>,
    needs_bot: bool,
    connected: Connected,
) -> Box<dyn Fn() -> Result<String, String> + Send + Sync> {
    Box::new(move || {
        if !*following.borrow() {
            return Err(not_ready(
                "no stream from an ingestor is open yet, or its position is not on disk",
            ));
        }
        if needs_bot {
            let shards = connected.get().map(|readiness| readiness.borrow().clone());
            return match shards {
                Some(readiness) if readiness.all() => Ok(format!("ready: shards {}\n", readiness.shards)),
                Some(readiness) => Err(not_ready(&format!(
                    "of the shards {}, only {:?} are connected to Discord",
                    readiness.shards, readiness.connected
                ))),
                None => Err(not_ready("no connection to Discord yet")),
            };
        }
        Ok("ready\n".to_owned())
    })
}

fn not_ready(reason: &str) -> String {
    format!("not ready: {reason}\n")
}

async fn start_sink(
    settings: &Settings,
    subscriptions: &Arc<Subscriptions>,
    stop: &CancellationToken,
) -> anyhow::Result<(Arc<dyn Sink>, Option<Discord>)> {
    let webhooks = || {
        let subscriptions = subscriptions.clone();
        discord::Webhooks::new(Arc::new(move |id| subscriptions.webhook_url(id))).map_err(anyhow::Error::msg)
    };
    match (settings.sink, &settings.discord_token) {
        (SinkKind::Console, _) => Ok((Arc::new(Console::stdout()), None)),
        (SinkKind::Discord, Some(token)) => {
            let discord = DiscordSettings {
                token: BotToken::new(token.reveal()),
                api_url: settings.discord_api_url.clone(),
                shards: settings.shards,
            };
            let bot = discord::start(discord, stop.clone()).await?;
            let sink = discord::Routed {
                bot: Some(bot.sink.clone()),
                webhooks: webhooks()?,
            };
            Ok((Arc::new(sink), Some(bot)))
        }
        // Only with a file in which every row is a webhook.
        (SinkKind::Discord, None) => {
            let sink = discord::Routed {
                bot: None,
                webhooks: webhooks()?,
            };
            Ok((Arc::new(sink), None))
        }
    }
}

/// All of them, of which those of other processes' guilds match nothing here.
fn subscriptions_of(settings: &Settings, database: Arc<Database>) -> Result<Subscriptions, database::StorageError> {
    let scope = settings.clone();
    let no_bot = settings.sink == SinkKind::Discord && settings.discord_token.is_none();
    let serves = move |one: &Subscription| match one.spec.guild {
        WEBHOOK_GUILD => scope.serves_webhooks(),
        guild => !no_bot && scope.serves(guild),
    };
    let subscriptions = Subscriptions::open_serving(database, settings.max_age, serves.clone())?;
    let elsewhere = subscriptions.list().iter().filter(|one| !serves(one)).count();
    if elsewhere > 0 {
        tracing::warn!(
            subscriptions = elsewhere,
            hint = "check NOTIFIER_SHARDS and NOTIFIER_GUILDS, or move them with killfeed-notifier export --shards",
            "subscriptions of guilds that this process does not serve"
        );
    }
    Ok(subscriptions)
}

/// After damage: what the newest readable copy has.
async fn restore(settings: &Settings, subscriptions: &Subscriptions) -> Result<(), database::StorageError> {
    match copies::newest(&settings.data_dir) {
        Some(found) => {
            let count = subscriptions.restore(&found).await?;
            tracing::error!(
                from = %found.path.display(),
                made = ?SystemTime::UNIX_EPOCH + Duration::from_millis(found.made),
                subscriptions = count,
                "subscriptions restored from a copy, later changes are lost"
            );
        }
        None => tracing::error!("no copy found, subscriptions made by commands are lost"),
    }
    Ok(())
}

/// The wishes of the file that belong to this process.
fn read_file(path: &Path, settings: &Settings) -> Result<Vec<SubscriptionSpec>, SettingError> {
    let bad = |reason: String| SettingError::new("NOTIFIER_SUBSCRIPTIONS_FILE", &path.to_string_lossy(), reason);
    let text = std::fs::read_to_string(path).map_err(|error| bad(format!("a readable file ({error})")))?;
    let mut wishes = file::parse(&text, &settings.discord_api_url)
        .map_err(|error| bad(format!("a TOML or JSON file of subscriptions ({error})")))?;
    wishes.retain(|wish| {
        let here = match wish.guild {
            WEBHOOK_GUILD => settings.serves_webhooks(),
            guild => settings.serves(guild),
        };
        if !here {
            tracing::info!(
                name = wish.name,
                guild = wish.guild,
                "row of the subscriptions file skipped, guild not served here"
            );
        }
        here
    });
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for wish in &wishes {
        *counts.entry(wish.guild).or_default() += 1;
    }
    let over = counts
        .into_iter()
        .find(|(_, count)| *count > settings.max_subscriptions);
    match over {
        Some((guild, count)) => Err(bad(format!(
            "at most {} subscriptions per guild (NOTIFIER_MAX_SUBSCRIPTIONS), but guild {guild} has {count}",
            settings.max_subscriptions
        ))),
        None => Ok(wishes),
    }
}

async fn take_file(
    subscriptions: &Subscriptions,
    wishes: Vec<SubscriptionSpec>,
    clock: &Clock,
) -> Result<(), database::StorageError> {
    let counts = subscriptions.take_file(wishes, clock.now().unix_ms()).await?;
    tracing::info!(
        added = counts.added,
        changed = counts.changed,
        removed = counts.removed,
        kept = counts.kept,
        "subscriptions file loaded"
    );
    Ok(())
}

/// Reads the file again whenever asked to; a bad one changes nothing.
async fn reload(
    settings: Settings,
    asked: Arc<Notify>,
    subscriptions: Arc<Subscriptions>,
    changed: Arc<Notify>,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while stop.run_until_cancelled(asked.notified()).await.is_some() {
        let Some(path) = settings.subscriptions_file.as_deref() else {
            tracing::warn!("cannot reload, NOTIFIER_SUBSCRIPTIONS_FILE is not set");
            continue;
        };
        match read_file(path, &settings) {
            Ok(wishes) => {
                take_file(&subscriptions, wishes, &clock).await?;
                changed.notify_one();
            }
            Err(error) => tracing::error!(%error, "subscriptions file rejected, keeping the old subscriptions"),
        }
    }
    Ok(())
}
