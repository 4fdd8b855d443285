//! The faults of a day, chosen from a seed.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use killfeed_support::{
    fake_discord::{self, GUILD, permission},
    fake_upstream::{self, Host},
};

use crate::environment::{EVERYTHING, Environment, LOWSEC, OF_DOCUMENTS};

/// The average number of documents per document that fails at first.
const OF_DOCUMENTS_ONE_IN: u32 = 100;
/// The number of other faults per hour.
const AN_HOUR: usize = 6;

/// The generator of faults, which also counts them.
pub(crate) struct Faults {
    random: fastrand::Rng,
    told: BTreeMap<&'static str, usize>,
}

/// The faults of an hour, with their times in the hour (0..1).
pub(crate) struct Plan(Vec<(f64, Strike)>);

/// A fault of the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    /// zKillboard responds with 502 for a while.
    FeedAway,
    /// zKillboard bans the ingestor for a second.
    FeedBans,
    /// ESI responds with 502 for a while.
    EsiAway,
    /// Discord accepts a message, but its response is lost.
    AnswerLost,
    /// Discord fails several requests.
    DiscordFails,
    /// Discord applies a rate limit that no header announced.
    DiscordLimits,
    /// The bot has no permission to post for a while.
    PermissionLost,
    /// The ingestor is killed with SIGKILL and started again.
    KillIngestor,
    /// The notifier is killed with SIGKILL and started again.
    KillNotifier,
}

const STRIKES: [(Strike, &str); 9] = [
    (Strike::FeedAway, "zKillboard unavailable"),
    (Strike::FeedBans, "zKillboard bans"),
    (Strike::EsiAway, "ESI unavailable"),
    (Strike::AnswerLost, "Discord response lost"),
    (Strike::DiscordFails, "Discord fails"),
    (Strike::DiscordLimits, "Discord rate limit"),
    (Strike::PermissionLost, "permission removed and restored"),
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

    /// Returns the faults of the next hour.
    pub(crate) fn hour(&mut self) -> Plan {
        let mut plan: Vec<(f64, Strike)> = (0..AN_HOUR)
            .map(|_| {
                let (strike, name) = STRIKES[self.random.usize(..STRIKES.len())];
                *self.told.entry(name).or_default() += 1;
                (self.random.f64(), strike)
            })
            .collect();
        // The latest fault comes first, because they are taken from the end.
        plan.sort_by(|a, b| b.0.total_cmp(&a.0));
        Plan(plan)
    }

    /// Returns the fault of the next document, if it has one.
    pub(crate) fn document(&mut self) -> Option<fake_upstream::Fault> {
        if self.random.u32(..OF_DOCUMENTS_ONE_IN) > 0 {
            return None;
        }
        *self.told.entry("document that fails at first").or_default() += 1;
        self.random.choice(OF_DOCUMENTS.iter()).cloned()
    }

    /// Returns the counts as a table.
    pub(crate) fn told(&self) -> String {
        let mut text = String::from("| fault | count |\n|---|---|\n");
        for (name, times) in &self.told {
            writeln!(text, "| {name} | {times} |").unwrap();
        }
        text
    }
}

impl Plan {
    /// Returns the next fault if it is due at this time of the hour (0..1).
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
    /// Causes the fault. `hour` is the duration of a simulated hour.
    pub(crate) async fn strike(self, world: &mut Environment, hour: Duration) {
        // Two simulated minutes, but long enough for the services to notice.
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
                world.ingestor.take().expect("the service is running").kill().await;
                world.begin_ingestor().await;
            }
            Self::KillNotifier => {
                world.notifier.take().expect("the service is running").kill().await;
                world.begin_notifier().await;
            }
        }
    }
}
