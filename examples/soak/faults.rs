//! What goes wrong in a day, drawn from a seed.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use killfeed_support::{
    fake_discord::{self, GUILD, permission},
    fake_upstream::{self, Host},
};

use crate::environment::{EVERYTHING, Environment, LOWSEC, OF_DOCUMENTS};

/// One document in so many goes wrong at first.
const OF_DOCUMENTS_ONE_IN: u32 = 100;
/// In each hour so many of the rest.
const AN_HOUR: usize = 6;

/// The day's misfortunes, and how many there were.
pub(crate) struct Faults {
    random: fastrand::Rng,
    told: BTreeMap<&'static str, usize>,
}

/// Those of an hour, by when they strike (0..1).
pub(crate) struct Plan(Vec<(f64, Strike)>);

/// Something that happens to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// zKillboard answers 502 for a while.
    FeedAway,
    /// zKillboard bans for a second.
    FeedBans,
    /// ESI answers 502 for a while.
    EsiAway,
    /// Discord posts, and its answer is lost.
    AnswerLost,
    /// Discord fails some times.
    DiscordFails,
    /// A rate limit that nobody could know of.
    DiscordLimits,
    /// The bot may not post for a while.
    PermissionLost,
    /// kill -9, and a new start.
    KillIngestor,
    /// The same.
    KillNotifier,
}

const STRIKES: [(Strike, &str); 9] = [
    (Strike::FeedAway, "zKillboard away"),
    (Strike::FeedBans, "zKillboard bans"),
    (Strike::EsiAway, "ESI away"),
    (Strike::AnswerLost, "Discord's answer lost"),
    (Strike::DiscordFails, "Discord fails"),
    (Strike::DiscordLimits, "Discord limits"),
    (Strike::PermissionLost, "permission lost and given back"),
    (Strike::KillIngestor, "ingestor killed"),
    (Strike::KillNotifier, "notifier killed"),
];

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            told: BTreeMap::new(),
        }
    }

    /// What goes wrong in the next hour.
    pub(crate) fn hour(&mut self) -> Plan {
        let mut plan: Vec<(f64, Strike)> = (0..AN_HOUR)
            .map(|_| {
                let (strike, name) = STRIKES[self.random.usize(..STRIKES.len())];
                *self.told.entry(name).or_default() += 1;
                (self.random.f64(), strike)
            })
            .collect();
        // The last one first: they are taken from the end.
        plan.sort_by(|a, b| b.0.total_cmp(&a.0));
        Plan(plan)
    }

    /// What goes wrong with the next document, if anything.
    pub(crate) fn document(&mut self) -> Option<fake_upstream::Fault> {
        if self.random.u32(..OF_DOCUMENTS_ONE_IN) > 0 {
            return None;
        }
        *self.told.entry("a document that fails at first").or_default() += 1;
        self.random.choice(OF_DOCUMENTS.iter()).cloned()
    }

    /// All of them, for the report.
    pub(crate) fn told(&self) -> String {
        let mut text = String::from("| what went wrong | times |\n|---|---|\n");
        for (name, times) in &self.told {
            writeln!(text, "| {name} | {times} |").unwrap();
        }
        text
    }
}

impl Plan {
    /// The next one, if its time (0..1 of the hour) has come.
    pub(crate) fn due(&mut self, now: f64) -> Option<Strike> {
        let (at, _) = self.0.last()?;
        if *at <= now {
            self.0.pop().map(|(_, strike)| strike)
        } else {
            None
        }
    }
}

impl Strike {
    /// Lets it happen; `hour` is as long as an hour takes here.
    pub(crate) async fn strike(self, world: &mut Environment, hour: Duration) {
        // Two minutes of life, and never shorter than somebody needs to notice.
        let while_ = (hour / 30).clamp(Duration::from_millis(500), Duration::from_secs(5));
        match self {
            Self::FeedAway => {
                world
                    .upstream
                    .host_fault(Host::Feed, fake_upstream::Fault::Status(502), None);
                tokio::time::sleep(while_).await;
                world.upstream.heal(Host::Feed);
            }
            Self::FeedBans => {
                let ban = fake_upstream::Fault::TooManyRequests(Some(1));
                world.upstream.host_fault(Host::Feed, ban, Some(1));
            }
            Self::EsiAway => {
                world
                    .upstream
                    .host_fault(Host::Esi, fake_upstream::Fault::Status(502), None);
                tokio::time::sleep(while_).await;
                world.upstream.heal(Host::Esi);
            }
            Self::AnswerLost => world
                .discord
                .fault(EVERYTHING, fake_discord::Fault::AcceptedThenCut, Some(1)),
            Self::DiscordFails => world
                .discord
                .fault(EVERYTHING, fake_discord::Fault::Status(503), Some(3)),
            Self::DiscordLimits => {
                let limit = fake_discord::Fault::RateLimited {
                    retry_after: Duration::from_secs(1),
                    scope: "shared",
                };
                world.discord.fault(LOWSEC, limit, Some(2));
            }
            Self::PermissionLost => {
                world.discord.add_channel(GUILD, LOWSEC, permission::VIEW_CHANNEL);
                tokio::time::sleep(while_).await;
                world.discord.add_channel(GUILD, LOWSEC, permission::ALL);
            }
            Self::KillIngestor => {
                world.ingestor.take().expect("it runs").kill().await;
                world.begin_ingestor().await;
            }
            Self::KillNotifier => {
                world.notifier.take().expect("it runs").kill().await;
                world.begin_notifier().await;
            }
        }
    }
}
