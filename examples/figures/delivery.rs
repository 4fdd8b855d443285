//! Measures how fast and at what cost posts are delivered: `cargo run --release --example delivery`.
//!
//! Add `latency`, `burst` or `many` to run only that part. The output is the table in `docs/performance.md`.
//!
//! The services run as real processes against the fakes on loopback. A Discord message id contains the millisecond of the
//! post, and a killmail contains its ingestion time, so their difference is the delivery time from the log to Discord.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed measurement should stop with the reason"
)]

use std::{
    collections::HashMap,
    fmt::Write as _,
    time::{Duration, Instant, SystemTime},
};

use killfeed::{
    client::{Client, EventKind, FollowOptions, Start},
    v1::Killmail,
};
use killfeed_support::{
    FakeDiscord, FakeUpstream, corpus,
    fake_discord::{CHANNEL, GUILD, permission},
    pair::{Pair, ready},
    process::{Binary, Service, eventually},
};
use serde_json::Value;

/// The interval between killmails. zKillboard publishes about one in 4 s, so this is more than a busy evening.
const PACE: Duration = Duration::from_millis(100);
const SINGLE: usize = 600;
const BURST: usize = 2_000;
const GUILDS: u64 = 1_000;
const SUBSCRIPTIONS_EACH: u64 = 10;
/// Discord's epoch, 2015-01-01, in milliseconds since 1970.
const DISCORD_EPOCH: u64 = 1_420_070_400_000;
const TIMEOUT: Duration = Duration::from_secs(900);
/// Discord's usual rate limit for a channel.
const LIMIT: (u32, Duration) = (5, Duration::from_secs(5));

struct Environment {
    upstream: FakeUpstream,
    discord: FakeDiscord,
    pair: Pair,
    _ingestor: Service,
    notifier: Service,
}

impl Environment {
    async fn start(rows: &str, guilds: &[(u64, u64)]) -> Self {
        let upstream = FakeUpstream::start().await;
        let discord = FakeDiscord::start().await;
        for (guild, channel) in guilds {
            discord.add_channel(*guild, *channel, permission::ALL);
        }
        let pair = Pair::new();
        let settings = pair.ingestor(&upstream, &[("INGESTOR_FEED_POLL_INTERVAL", "20ms")]);
        let ingestor = ready(Binary::Ingestor, &settings).await;
        let notifier = ready(Binary::Notifier, &pair.notifier(&discord.settings(), rows, &[])).await;
        Self {
            upstream,
            discord,
            pair,
            _ingestor: ingestor,
            notifier,
        }
    }

    /// Returns the ingestion time of each of `count` killmails, in milliseconds.
    async fn ingested(&self, count: usize) -> HashMap<u64, u64> {
        let client = Client::builder().endpoint(self.pair.url()).build().unwrap();
        let mut events = client.follow(FollowOptions::new("", Start::Earliest));
        let mut seen = HashMap::new();
        while seen.len() < count {
            if let EventKind::Killmail(killmail) = events.next().await.unwrap().kind {
                seen.insert(killmail.killmail_id, millis(&killmail));
            }
        }
        seen
    }
}

#[tokio::main]
async fn main() {
    let mut table = String::from("| measurement | result |\n|---|---|\n");
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|one| one == part);
    if wants("latency") {
        latency(&mut table).await;
    }
    if wants("burst") {
        burst(&mut table).await;
    }
    if wants("many") {
        many_subscriptions(&mut table).await;
    }
    println!("{table}");
    if cfg!(debug_assertions) {
        println!("This is a debug build, so the figures are not meaningful.");
    }
}

async fn latency(table: &mut String) {
    let rows = row("all", GUILD, CHANNEL, "");
    let world = Environment::start(&rows, &[]).await;
    world.discord.limit_posts(None);
    for document in fresh(SINGLE) {
        world.upstream.publish(document);
        tokio::time::sleep(PACE).await;
    }
    eventually("all killmails are posted", TIMEOUT, async || {
        carried(&world.discord, CHANNEL).len() >= SINGLE
    })
    .await;
    let ingested = world.ingested(SINGLE).await;
    let mut waits: Vec<u64> = carried(&world.discord, CHANNEL)
        .into_iter()
        .map(|(killmail, posted)| posted.saturating_sub(ingested[&killmail]))
        .collect();
    waits.sort_unstable();
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    let _ = writeln!(
        table,
        "| from ingestion to the Discord message, {SINGLE} killmails, one every {} ms, no rate limit | p50 {} ms, p99 {} ms, longest {} ms |",
        PACE.as_millis(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

async fn burst(table: &mut String) {
    let rows = row("all", GUILD, CHANNEL, "");
    let world = Environment::start(&rows, &[]).await;
    world.discord.limit_posts(Some(LIMIT));
    let begun = Instant::now();
    world.upstream.publish_all(fresh(BURST));
    eventually("all killmails are posted", TIMEOUT, async || {
        carried(&world.discord, CHANNEL).len() >= BURST
    })
    .await;
    let took = begun.elapsed();
    let messages = world.discord.posts(CHANNEL).len();
    // The time that the rate limit alone requires.
    let alone = LIMIT.1.as_secs_f64() * BURST as f64 / f64::from(LIMIT.0);
    let _ = writeln!(
        table,
        "| {BURST} killmails at the same time into a channel limited to 5 messages in 5 s | {:.1} min in {messages} messages; with one embed per message, at least {:.1} min |",
        took.as_secs_f64() / 60.0,
        alone / 60.0
    );
}

async fn many_subscriptions(table: &mut String) {
    let filters = [
        "group:Titan",
        "group:Supercarrier value>=1b",
        "region:Delve space:nullsec",
        "near(Jita, 5j) value>=100m",
        "attacker.group:Dreadnought",
        "victim.category:Structure",
        "system:Turnur",
        "space:wormhole class:>=5",
        "solo NOT npc value>=2b",
        "ship:Vulture attackers<=3",
    ];
    let guild = |n: u64| (n + 1) << 22;
    let mut rows = String::new();
    let mut guilds = Vec::new();
    for n in 0..GUILDS {
        guilds.push((guild(n), guild(n) + 1));
        for (k, filter) in (0..SUBSCRIPTIONS_EACH).zip(filters.iter().cycle()) {
            rows += &row(&format!("s{k}"), guild(n), guild(n) + 1, filter);
        }
    }
    let begun = Instant::now();
    let world = Environment::start(&rows, &guilds).await;
    let ready = begun.elapsed();
    world.discord.limit_posts(None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = cpu(&world.notifier);
    let documents = fresh(SINGLE);
    let count = documents.len();
    for document in documents {
        world.upstream.publish(document);
        tokio::time::sleep(PACE).await;
    }
    world.ingested(count).await;
    eventually("the queue is empty", TIMEOUT, async || {
        let posts = world.discord.requests().len();
        tokio::time::sleep(Duration::from_secs(3)).await;
        posts == world.discord.requests().len()
    })
    .await;
    let used = cpu(&world.notifier) - before;
    let messages = world
        .discord
        .requests()
        .iter()
        .filter(|asked| asked.path.ends_with("/messages"))
        .count();
    let _ = writeln!(
        table,
        "| {} subscriptions in {GUILDS} guilds: first start, with all filters to compile | {:.0} s |",
        GUILDS * SUBSCRIPTIONS_EACH,
        ready.as_secs_f64()
    );
    let _ = writeln!(
        table,
        "| the same: CPU time of the notifier | {:.2} ms per killmail ({messages} messages for {count} killmails) |",
        used * 1_000.0 / count as f64
    );
    let _ = writeln!(
        table,
        "| the same: memory of the notifier | {:.0} MiB |",
        world.notifier.resident().unwrap_or_default() as f64 / 1_048_576.0
    );
}

fn row(name: &str, guild: u64, channel: u64, filter: &str) -> String {
    format!("[[subscription]]\nname = \"{name}\"\nguild = {guild}\nchannel = {channel}\nfilter = \"{filter}\"\n")
}

/// Returns real killmails with current times, repeated under new ids if there are too few.
fn fresh(count: usize) -> Vec<Value> {
    let now = SystemTime::now();
    let real = corpus::best().documents;
    let again = real.iter().cycle().take(count).cloned().enumerate();
    again
        .map(|(index, mut document)| {
            corpus::set_times(&mut document, now, now);
            let round = (index / real.len()) as u64;
            if round > 0 {
                let id = document["killmail_id"].as_u64().unwrap() + round * 1_000_000_000;
                document["killmail_id"] = id.into();
                document["esi"]["killmail_id"] = id.into();
            }
            document
        })
        .collect()
}

/// Returns the time of each posted killmail, in milliseconds.
fn carried(discord: &FakeDiscord, channel: u64) -> HashMap<u64, u64> {
    let mut found = HashMap::new();
    for post in discord.posts(channel) {
        let posted = (post.id >> 22) + DISCORD_EPOCH;
        for embed in post.body["embeds"].as_array().into_iter().flatten() {
            let url = embed["url"].as_str().unwrap_or_default();
            let id = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            if let Ok(id) = id.parse() {
                found.insert(id, posted);
            }
        }
    }
    found
}

fn millis(killmail: &Killmail) -> u64 {
    let time = killmail.ingested_time.unwrap_or_default();
    u64::try_from(time.seconds).unwrap() * 1_000 + u64::try_from(time.nanos).unwrap() / 1_000_000
}

/// Returns the CPU time of a process in seconds, from /proc.
fn cpu(service: &Service) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.id())).unwrap();
    // User and system time are fields 12 and 13 after the name, which ends with the last parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    // USER_HZ is 100 on Linux.
    (ticks(11) + ticks(12)) / 100.0
}
