//! The whole thing in one process: `cargo run --release --example demo`.
//!
//! A stand-in zKillboard plays the bundled sample; the real ingestor reads it, and the real notifier follows the ingestor over
//! gRPC and prints what it would post to Discord. Needs no network, no token and nothing set up.
//! `-- --follow` goes on until Ctrl-C; `-- --live --contact you@example.com` follows the real zKillboard.

#[path = "demo/screen.rs"]
mod screen;
#[path = "demo/timed_sink.rs"]
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
use killfeed_notifier::Hooks;
use killfeed_support::{
    FakeUpstream,
    corpus::{self, SampleLine},
    process::free_address,
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use timed_sink::TimedSink;

/// Killmails from a stand-in zKillboard, through both services, to the terminal.
#[derive(Debug, Parser)]
struct Arguments {
    /// Go on until Ctrl-C, with gRPC on 127.0.0.1:50051 for other clients
    #[arg(long)]
    follow: bool,
    /// Follow the real zKillboard instead of the sample (asks CCP for static data and names too)
    #[arg(long, requires = "contact")]
    live: bool,
    /// With --live: an e-mail address or URL of yours, for zKillboard and CCP
    #[arg(long)]
    contact: Option<String>,
    /// With --live: print only what matches this
    #[arg(long, default_value = "")]
    filter: String,
}

/// (name, filter, further lines of the subscription): one channel each.
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

/// How long the sample takes to play, about.
const PLAY: Duration = Duration::from_secs(12);
/// How long a part may take to be ready; a debug build on a busy machine needs some of it.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// The first start of `--live` downloads CCP's static data.
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

/// The sample, played by a stand-in.
async fn played(arguments: Arguments, scratch: &Path, shutdown: CancellationToken) -> anyhow::Result<()> {
    screen::intro("zKillboard is played from examples/sample: invented pilots, real ships and systems.");
    let upstream = FakeUpstream::start_with_sample().await;
    let feed = corpus::sample_feed();
    screen::part(
        "zKillboard",
        "stand-in",
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
        // The stand-in is ours to ask as often as we like.
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

/// Publishes the sample at an even pace, everything in it happening now. Later rounds are other killmails.
async fn play(
    upstream: &FakeUpstream,
    feed: &[SampleLine],
    round: u64,
    pace: Duration,
    watched: &TimedSink,
    shutdown: &CancellationToken,
) {
    // The place in the feed decides on the times, so that the repeated killmail repeats them.
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
            // Ids count up by one: as good as the place, and the same for the repetition.
            let since_begin = pace * u32::try_from(first % 1_000).unwrap_or_default();
            let upload = begun + since_begin;
            corpus::set_times(document, upload - Duration::from_secs(31 + first % 40), upload);
            watched.published(id);
        }
        upstream.play(entry);
    }
}

/// The real zKillboard, until Ctrl-C.
async fn live(arguments: Arguments, scratch: &Path, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Some(contact) = arguments.contact else {
        bail!("--live needs --contact");
    };
    screen::intro(
        "This is the real zKillboard. The first start downloads CCP's static data (about 100 MB) into data/demo.",
    );
    screen::part(
        "zKillboard",
        "the real one",
        "https://r2z2.zkillboard.com",
        "one killmail every 5 to 6 s on an ordinary day",
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

/// The two services, wired together. They end in order, the notifier first.
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
            "the real one",
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
            ended = &mut notifier => ended?.and(Err(anyhow::anyhow!("it ended"))).context("the notifier")?,
            waited = ready(&http, patience, shutdown) => waited.context("the notifier")?,
        }
        screen::part(
            "notifier",
            "the real one",
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

    /// Waits until the log holds `expected` killmails and no post has come for a while; gives what the log holds.
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

/// A setting's text, as the services' own main functions take it from flags and the environment.
fn value(settings: &[(&str, String)], variable: &str) -> Option<String> {
    settings
        .iter()
        .find(|(name, _)| *name == variable)
        .map(|(_, value)| value.clone())
}

/// The subscriptions file: channel 11, 12, ... of an invented guild.
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

/// Waits for a 200 from `/readyz`.
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
