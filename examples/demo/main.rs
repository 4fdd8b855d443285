//! Runs all of killfeed in one process: `cargo demo`, or optimized: `cargo run --release --example demo`.
//!
//! A fake zKillboard plays the bundled sample. The real ingestor reads it, and the real notifier follows the ingestor over
//! gRPC and prints what it would post to Discord. The demo needs no network, no token and no setup.
//!
//! `cargo demo --follow` keeps running until Ctrl-C. `cargo run --release --example demo -- --live --contact you@example.com`
//! follows the real zKillboard, whose static data takes an optimized build to read quickly.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]

mod screen;
mod timed_sink;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use killfeed::v1::{GetFeedStatusRequest, killmail_service_client::KillmailServiceClient};
use killfeed_fakes::{
    FakeUpstream,
    address::free_address,
    corpus::{self, SampleLine},
};
use killfeed_notifier::Hooks;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use timed_sink::TimedSink;

/// Plays killmails from a fake zKillboard through both services to the terminal
#[derive(Debug, Parser)]
struct Arguments {
    /// Keep running until Ctrl-C, with gRPC on 127.0.0.1:50051 for other clients
    #[arg(long)]
    follow: bool,
    /// Follow the real zKillboard instead of the sample (also loads static data and names from CCP)
    #[arg(long, requires = "contact")]
    live: bool,
    /// With --live: your e-mail address or URL, for zKillboard and CCP
    #[arg(long)]
    contact: Option<String>,
    /// With --live: print only killmails that match this filter
    #[arg(long, default_value = "")]
    filter: String,
}

/// The subscriptions: name, filter and further TOML lines. Each one has a channel of its own.
const SUBSCRIPTIONS: [(&str, &str, &str); 4] = [
    (
        "capitals near staging",
        r#"near(Turnur, 7ly) victim.group:(Dreadnought OR Carrier OR "Force Auxiliary" OR Titan)"#,
        r#"ping = "here""#,
    ),
    ("big losses", "value>=10b -npc", ""),
    ("highsec ganks", "space:highsec ganked", r#"style = "compact""#),
    (
        "our killboard",
        r#"alliance:"Ember Compact" value>=200m"#,
        "us = 'alliance:\"Ember Compact\"'\nstyle = \"compact\"",
    ),
];

/// The approximate duration of the sample.
const PLAY: Duration = Duration::from_secs(12);
/// The timeout for a service to become ready. A debug build on a busy machine needs part of it.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for `--live`, whose first start downloads CCP's static data.
const LIVE_READY_TIMEOUT: Duration = Duration::from_secs(900);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let quiet = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(quiet)
        .with_writer(std::io::stderr)
        .init();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let interrupted = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    let scratch = tempfile::tempdir().context("a temporary folder")?;
    if arguments.live {
        live(arguments, scratch.path(), shutdown).await
    } else {
        played(arguments, scratch.path(), shutdown).await
    }
}

/// Plays the sample from a fake zKillboard.
async fn played(arguments: Arguments, scratch: &Path, shutdown: CancellationToken) -> anyhow::Result<()> {
    screen::intro("A fake zKillboard plays examples/sample: fictional pilots, real ships and systems.");
    let upstream = FakeUpstream::start_with_sample().await;
    let feed = corpus::sample_feed();
    screen::part(
        "zKillboard",
        "fake",
        &upstream.feed_url(),
        &format!("{} documents in about {} s", feed.len(), PLAY.as_secs()),
    );
    let mut settings: Vec<(&str, String)> = upstream.settings().into();
    settings.extend([
        (
            "INGESTOR_GRPC_ADDR",
            if arguments.follow {
                "127.0.0.1:50051"
            } else {
                "127.0.0.1:0"
            }
            .into(),
        ),
        ("INGESTOR_CONTACT", "demo@example.com".into()),
        // The fake zKillboard has no rate limit.
        ("INGESTOR_FEED_POLL_INTERVAL", "50ms".into()),
        ("INGESTOR_FEED_RATE", "500".into()),
    ]);
    let system = DemoServices::start(
        scratch.join("ingestor"),
        settings,
        scratch,
        &subscriptions(&SUBSCRIPTIONS),
        READY_TIMEOUT,
        &shutdown,
    )
    .await?;
    screen::subscriptions(&SUBSCRIPTIONS.map(|(name, filter, _)| (name, filter)));
    if arguments.follow {
        screen::join(&system.grpc);
    }

    let pace = PLAY / u32::try_from(feed.len()).context("the sample is small")?;
    play(&upstream, &feed, 0, pace, &system.watched, &shutdown).await;
    let expected = corpus::sample().len() as u64;
    let logged = system.settled(expected, &shutdown).await?;
    if !shutdown.is_cancelled() {
        screen::summary(feed.len(), logged, &system.watched.tally());
        ensure!(
            logged == expected,
            "{expected} killmails were published, but {logged} are in the log"
        );
    }
    if arguments.follow {
        for round in 1.. {
            play(
                &upstream,
                &feed,
                round,
                Duration::from_secs(2),
                &system.watched,
                &shutdown,
            )
            .await;
            if shutdown.is_cancelled() {
                break;
            }
        }
    } else {
        screen::next();
    }
    system.stop().await
}

/// Publishes the sample at an even pace with current times. Later rounds publish it under new ids.
async fn play(
    upstream: &FakeUpstream,
    feed: &[SampleLine],
    round: u64,
    pace: Duration,
    watched: &TimedSink,
    shutdown: &CancellationToken,
) {
    // Times depend on the killmail id, so that the repeated killmail has the same times again.
    let begun = SystemTime::now();
    for entry in feed {
        if shutdown.run_until_cancelled(sleep(pace)).await.is_none() {
            return;
        }
        let mut entry = entry.clone();
        if let SampleLine::Document(document) | SampleLine::WithoutEsi(document) = &mut entry {
            let first = document["killmail_id"].as_u64().unwrap_or_default();
            let id = first + round * 1_000;
            document["killmail_id"] = id.into();
            document["esi"]["killmail_id"] = id.into();
            // Ids increase by one, so their order is that of the feed.
            let since_begin = pace * u32::try_from(first % 1_000).unwrap_or_default();
            let upload = begun + since_begin;
            corpus::set_times(document, upload - Duration::from_secs(31 + first % 40), upload);
            watched.published(id);
        }
        upstream.play(entry);
    }
}

/// Follows the real zKillboard until Ctrl-C.
async fn live(arguments: Arguments, scratch: &Path, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Some(contact) = arguments.contact else {
        bail!("--live needs --contact");
    };
    screen::intro(
        "This follows the real zKillboard. The first start downloads CCP's static data (about 100 MB) into data/demo.",
    );
    screen::part(
        "zKillboard",
        "live",
        "https://r2z2.zkillboard.com",
        "usually one killmail every 5 to 6 s",
    );
    let settings = vec![
        ("INGESTOR_GRPC_ADDR", "127.0.0.1:50051".into()),
        ("INGESTOR_CONTACT", contact),
    ];
    let everything = [("live", arguments.filter.as_str(), "style = \"compact\"")];
    let system = DemoServices::start(
        "data/demo/ingestor".into(),
        settings,
        scratch,
        &subscriptions(&everything),
        LIVE_READY_TIMEOUT,
        &shutdown,
    )
    .await?;
    screen::subscriptions(&everything.map(|(name, filter, _)| (name, filter)));
    screen::join(&system.grpc);
    shutdown.cancelled().await;
    system.stop().await
}

/// The two connected services. The notifier stops first.
struct DemoServices {
    grpc: String,
    watched: Arc<TimedSink>,
    ingestor: killfeed_ingestor::Running,
    end_ingestor: CancellationToken,
    notifier: JoinHandle<anyhow::Result<()>>,
    end_notifier: CancellationToken,
}

impl DemoServices {
    async fn start(
        data: PathBuf,
        mut settings: Vec<(&str, String)>,
        scratch: &Path,
        subscriptions: &str,
        patience: Duration,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        settings.push(("INGESTOR_HTTP_ADDR", "127.0.0.1:0".into()));
        settings.push(("INGESTOR_DATA_DIR", data.display().to_string()));
        let begun = Instant::now();
        let settings = killfeed_ingestor::settings::Settings::load(|setting| value(&settings, setting.variable))?;
        let (end_ingestor, end_notifier) = (CancellationToken::new(), CancellationToken::new());
        let ingestor = killfeed_ingestor::start(settings, end_ingestor.clone())
            .await
            .context("the ingestor")?;
        ready(&ingestor.http_addr.to_string(), patience, shutdown)
            .await
            .context("the ingestor")?;
        let grpc = format!("http://{}", ingestor.grpc_addr);
        screen::part(
            "ingestor",
            "real service",
            &grpc,
            &format!("ready after {} ms", begun.elapsed().as_millis()),
        );

        let begun = Instant::now();
        let file = scratch.join("subscriptions.toml");
        std::fs::write(&file, subscriptions).context("writing the subscriptions")?;
        let http = free_address();
        let settings = [
            ("NOTIFIER_INGESTOR_URLS", grpc.clone()),
            ("NOTIFIER_HTTP_ADDR", http.clone()),
            ("NOTIFIER_ADMIN_ADDR", String::new()),
            ("NOTIFIER_DATA_DIR", scratch.join("notifier").display().to_string()),
            ("NOTIFIER_SINK", "console".into()),
            ("NOTIFIER_SUBSCRIPTIONS_FILE", file.display().to_string()),
        ];
        let settings = killfeed_notifier::settings::Settings::load(|setting| value(&settings, setting.variable))?;
        let watched = Arc::new(TimedSink::default());
        let hooks = Hooks {
            sink: Some(watched.clone()),
            ..Hooks::default()
        };
        let mut notifier = tokio::spawn(killfeed_notifier::run_with(settings, hooks, end_notifier.clone()));
        tokio::select! {
            ended = &mut notifier => ended?.and(Err(anyhow::anyhow!("it stopped early"))).context("the notifier")?,
            waited = ready(&http, patience, shutdown) => waited.context("the notifier")?,
        }
        screen::part(
            "notifier",
            "real service",
            "",
            &format!("ready after {} ms, prints its posts", begun.elapsed().as_millis()),
        );
        Ok(Self {
            grpc,
            watched,
            ingestor,
            end_ingestor,
            notifier,
            end_notifier,
        })
    }

    /// Waits until the log has `expected` killmails and no post has arrived for a while.
    ///
    /// Returns the number of killmails in the log.
    async fn settled(&self, expected: u64, shutdown: &CancellationToken) -> anyhow::Result<u64> {
        let mut client = KillmailServiceClient::connect(self.grpc.clone()).await?;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = timeout(Duration::from_secs(5), client.get_feed_status(GetFeedStatusRequest {})).await??;
            let logged = status.into_inner().killmails;
            let quiet = self.watched.quiet_for() >= Duration::from_millis(1_500);
            if (logged >= expected && quiet) || Instant::now() >= deadline {
                return Ok(logged);
            }
            if shutdown
                .run_until_cancelled(sleep(Duration::from_millis(100)))
                .await
                .is_none()
            {
                return Ok(logged);
            }
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.end_notifier.cancel();
        self.notifier.await?.context("the notifier")?;
        self.end_ingestor.cancel();
        self.ingestor.finished().await.context("the ingestor")
    }
}

/// Looks up a setting's text, as the services do with flags and the environment.
fn value(settings: &[(&str, String)], variable: &str) -> Option<String> {
    settings
        .iter()
        .find(|(name, _)| *name == variable)
        .map(|(_, value)| value.clone())
}

/// Returns the subscriptions file, with channels 11, 12, ... of a fictional guild.
fn subscriptions(rows: &[(&str, &str, &str)]) -> String {
    let row = |(index, (name, filter, more)): (usize, &(&str, &str, &str))| {
        let channel = screen::FIRST_CHANNEL + index as u64;
        let filter = filter.replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            "[[subscription]]\nname = \"{name}\"\nguild = 1\nchannel = {channel}\nfilter = \"{filter}\"\n{more}\n\n"
        )
    };
    rows.iter().enumerate().map(row).collect()
}

/// Waits until `/readyz` responds with success.
async fn ready(address: &str, patience: Duration, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()?;
    let asked = async {
        loop {
            let answer = client.get(format!("http://{address}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = shutdown.run_until_cancelled(timeout(patience, asked)).await;
    waited
        .context("interrupted")?
        .with_context(|| format!("not ready within {patience:?}"))
}
