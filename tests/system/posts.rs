//! Random histories of a failing Discord and of a notifier that is killed.
//!
//! A channel shows each killmail that its filter matches once, in log order. One history with a fixed seed is among the
//! fast tests. The long test plays random histories: `KILLFEED_CHAOS_CASES` sets their number, `KILLFEED_CHAOS_SEED`
//! repeats one.

use std::time::Duration;

use fastrand::Rng;
use killfeed_support::{
    FakeDiscord, FakeUpstream,
    fake_discord::{CHANNEL, Fault, GUILD, permission},
    process::eventually,
};
use tokio::time::sleep;

use crate::{
    harness::{TEST_TIMEOUT, TestIngestor},
    notifier::{TestNotifier, fresh, matching, posted, row},
};

/// The filters of the channels: the first one of [`CHANNEL`], the others of the channels after it.
const FILTERS: [&str; 5] = [
    "",
    "space:lowsec",
    "value>=100m OR npc",
    "NOT solo",
    "attackers<5 -space:highsec",
];
const CHANNELS: usize = 3;
const ROUNDS: usize = 8;
/// The seed of the fast test's history.
const SEED: u64 = 1;
/// The number of killmails in one history.
const KILLMAILS: usize = 320;
/// The number of kills; each costs Discord's 5 s between two IDENTIFYs.
const KILLS: usize = 2;
/// The number of requests without a response; each costs the bot's timeout of 15 s.
const STALLS: usize = 2;

/// A disruption of Discord.
#[derive(Debug)]
enum Disruption {
    /// The next posts to a channel get this fault.
    Fault(u64, Fault, u32),
    /// The bot loses the permission to post in a channel and regains it after this time.
    Forbidden(u64, Duration),
    /// The gateway's connection closes.
    Cut,
    /// The gateway's connection closes, and Discord forgets the session.
    Forgotten,
}

fn trouble(random: &mut Rng) -> Disruption {
    let channel = CHANNEL + random.u64(..CHANNELS as u64);
    let faults = [
        Fault::RateLimited {
            retry_after: Duration::from_millis(700),
            scope: "user",
        },
        Fault::RateLimited {
            retry_after: Duration::from_millis(300),
            scope: "shared",
        },
        Fault::Status(500),
        Fault::Status(502),
        Fault::AcceptedThenCut,
        Fault::AcceptedThenStatus(502),
        Fault::AcceptedThenStall,
        Fault::Stall,
        Fault::Late(Duration::from_millis(800)),
        Fault::Rejected(403, 50_001),
    ];
    match random.u32(..12) {
        0 => Disruption::Cut,
        1 => Disruption::Forgotten,
        2 | 3 => Disruption::Forbidden(channel, Duration::from_millis(random.u64(200..2_500))),
        _ => Disruption::Fault(channel, faults[random.usize(..faults.len())].clone(), random.u32(1..3)),
    }
}

async fn make(discord: &FakeDiscord, trouble: Disruption) {
    match trouble {
        Disruption::Fault(channel, fault, times) => discord.fault(channel, fault, Some(times)),
        Disruption::Forbidden(channel, back) => {
            discord.add_channel(GUILD, channel, permission::VIEW_CHANNEL);
            sleep(back).await;
            discord.add_channel(GUILD, channel, permission::ALL);
        }
        Disruption::Cut => discord.cut(0),
        Disruption::Forgotten => {
            discord.forget_sessions();
            discord.cut(0);
        }
    }
}

async fn history(seed: u64) {
    println!("KILLFEED_CHAOS_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    discord.limit_posts(Some((random.u32(3..8), Duration::from_secs(1))));
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    let mut filters = FILTERS;
    random.shuffle(&mut filters);
    let channels: Vec<(u64, &str)> = (CHANNEL..).zip(filters).take(CHANNELS).collect();
    let mut rows = String::new();
    for (channel, filter) in &channels {
        discord.add_channel(GUILD, *channel, permission::ALL);
        rows += &row(&format!("of {channel}"), GUILD, *channel, filter);
    }
    // A second subscription of the first channel still yields one post for each killmail.
    rows += &row("once more", GUILD, CHANNEL, "attackers>=1");
    let everything = match channels[0].1 {
        "" => String::new(),
        filter => format!("({filter}) OR attackers>=1"),
    };
    let settings = [("NOTIFIER_PROBE_INTERVAL", "1s")];
    let mut notifier = TestNotifier::start_with(&ingestor, &discord.settings(), &rows, &settings).await;

    let documents = fresh(KILLMAILS);
    let mut rest = &documents[..];
    let mut stalls = 0;
    let deaths: Vec<usize> = (0..KILLS).map(|_| random.usize(..ROUNDS)).collect();
    for round in 0..ROUNDS {
        for _ in 0..random.usize(1..4) {
            let mut trouble = trouble(&mut random);
            if let Disruption::Fault(_, Fault::Stall | Fault::AcceptedThenStall, times) = &mut trouble {
                stalls += 1;
                *times = 1;
                if stalls > STALLS {
                    continue;
                }
            }
            println!("{round}: {trouble:?}");
            make(&discord, trouble).await;
        }
        let take = if round + 1 == ROUNDS {
            rest.len()
        } else {
            random.usize(..=rest.len().min(2 * KILLMAILS / ROUNDS))
        };
        if take > 0 {
            upstream.publish_all(rest[..take].iter().cloned());
        }
        rest = &rest[take..];
        sleep(Duration::from_millis(random.u64(..1_200))).await;
        if deaths.contains(&round) {
            println!("{round}: kill -9");
            notifier.kill().await;
            notifier.launch().await;
        }
    }
    ingestor.wait_for_killmails(documents.len() as u64).await;
    let mut some = 0;
    for (channel, filter) in &channels {
        let filter = if *channel == CHANNEL {
            everything.as_str()
        } else {
            *filter
        };
        let expected = matching(&ingestor, filter).await;
        some += expected.len();
        let what = format!("seed {seed}: {} killmails in channel {channel}", expected.len());
        eventually(&what, TEST_TIMEOUT * 3, async || {
            posted(&discord, *channel).len() >= expected.len()
        })
        .await;
        // No killmail waits any more, and a repeated post would come in this time.
        sleep(Duration::from_secs(2)).await;
        assert_eq!(posted(&discord, *channel), expected, "seed {seed}: {filter:?}");
    }
    assert!(some > KILLMAILS, "seed {seed} posts too few killmails: {some}");
    assert_eq!(discord.rejected(), [""; 0], "seed {seed}");
    assert_eq!(notifier.stop().await, Some(0), "seed {seed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_show_each_match_once_under_faults() {
    history(SEED).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: .ci/run --long runs it"]
async fn channels_show_each_match_once_under_random_faults() {
    let number = |variable| std::env::var(variable).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("KILLFEED_CHAOS_SEED") {
        return history(seed).await;
    }
    for _ in 0..number("KILLFEED_CHAOS_CASES").unwrap_or(5) {
        history(fastrand::u64(..)).await;
    }
}
