//! Subscriptions: which killmails go where, and how they look. The truth is on disk; the snapshot that killmails are
//! matched against is made from it and swapped. Nobody waits on a lock across an await.

mod compile;
pub mod copies;
pub mod file;
mod removed_guilds;
mod index;
pub mod offline;
mod service;
mod store;

use std::{fmt, str::FromStr, time::Duration};

pub use compile::{Compile, CompileError, Round, caret, compile_pending, trees};
pub use index::{ActiveSubscription, Snapshot, Us};
pub use service::{Actor, ChangeError, ReconcileStats, Subscriptions};

use crate::{
    database::{CompiledRow, SuspensionRow},
    settings::Secret,
    sink::Destination,
};

/// The name guild of webhook rows, which belong to no guild.
pub const WEBHOOK_GUILD: u64 = 0;

/// Pings are for what happens now: kills older than this ping nobody, unless the subscription says otherwise.
pub const PING_MAX_AGE: Duration = Duration::from_secs(15 * 60);

/// A subscription's id, counted locally and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub u64);

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a person says: everything of a subscription that the file, a command or the API can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionSpec {
    /// Unique in its guild, 1 to 100 characters.
    pub name: String,
    /// Discord's id; [`WEBHOOK_GUILD`] for a webhook.
    pub guild: u64,
    /// Where posts go.
    pub destination: Destination,
    /// Filter language.
    pub filter: String,
    /// Who "we" are, as inside `attacker( )`; empty = nobody.
    pub us: String,
    /// Which of our kills and losses.
    pub side: Side,
    /// Who is pinged.
    pub ping: Option<Ping>,
    /// Kills older than this ping nobody; `None` = [`PING_MAX_AGE`].
    pub ping_max_age: Option<Duration>,
    /// Kills older than this are not posted.
    pub max_age: MaxAge,
    /// How posts look.
    pub style: Style,
    /// By a person.
    pub paused: bool,
    /// Of a webhook row.
    pub webhook_url: Option<Secret>,
}

/// A subscription as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Stays the same when it is renamed or edited.
    pub id: SubscriptionId,
    /// What a person said.
    pub spec: SubscriptionSpec,
    /// Who says so.
    pub source: SubscriptionSource,
    /// Discord's id of the user who made it and when (milliseconds); 0 = not through Discord.
    pub created: (u64, u64),
    /// The same of its last change.
    pub changed: (u64, u64),
    /// Killmails published before this (milliseconds) are never queued by it.
    pub active_from: u64,
    /// Set while its destination takes no posts.
    pub suspension: Option<SuspensionRow>,
    /// Why there is no compiled form, or why it is old; empty = all is well.
    pub problem: String,
    /// Its filters with every name resolved; a cache.
    pub compiled: Option<CompiledRow>,
}

/// Which of our kills and losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// Some attacker is us and the victim is not.
    Kills,
    /// The victim is us.
    Losses,
    /// Either.
    #[default]
    Both,
}

/// Who is pinged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ping {
    /// Everyone in the channel who is online.
    Here,
    /// Everyone in the channel.
    Everyone,
    /// A role.
    Role(u64),
}

/// How old a kill may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MaxAge {
    /// The notifier's NOTIFIER_MAX_AGE.
    #[default]
    Default,
    /// This.
    Limit(Duration),
    /// Any age.
    Unlimited,
}

/// How posts look, from the shortest to the fullest: of several, the greatest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Style {
    /// A live digest of a battle; only if every match says so.
    Battle,
    /// zKillboard's link.
    Link,
    /// Two lines.
    Compact,
    /// Everything.
    #[default]
    Full,
}

/// Who made a subscription, and so who may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionSource {
    /// The subscriptions file: gone from there, gone here.
    File,
    /// A slash command.
    Command,
    /// The admin API.
    Admin,
}

/// A word that is none of those expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct Expected(pub &'static str);

macro_rules! words {
    ($type:ty, $expected:literal, $($word:literal => $value:expr),+) => {
        impl FromStr for $type {
            type Err = Expected;

            fn from_str(text: &str) -> Result<Self, Expected> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(Expected($expected)),
                }
            }
        }

        impl $type {
            /// The contract's word for it.
            pub fn word(self) -> &'static str {
                $(if self == $value { return $word; })+
                // The list above names every variant: the test below holds it to that.
                ""
            }
        }
    };
}

words!(Side, "kills, losses or both", "kills" => Self::Kills, "losses" => Self::Losses, "both" => Self::Both);
words!(Style, "full, compact, link or battle",
    "full" => Self::Full, "compact" => Self::Compact, "link" => Self::Link, "battle" => Self::Battle);
words!(SubscriptionSource, "file, command or admin", "file" => Self::File, "command" => Self::Command, "admin" => Self::Admin);

impl FromStr for Ping {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        match text {
            "here" => Ok(Self::Here),
            "everyone" => Ok(Self::Everyone),
            role => role
                .strip_prefix("role:")
                .and_then(|id| id.parse().ok())
                .filter(|id| *id != 0)
                .map(Self::Role)
                .ok_or(Expected("here, everyone or role:<id>")),
        }
    }
}

impl fmt::Display for Ping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("here"),
            Self::Everyone => f.write_str("everyone"),
            Self::Role(id) => write!(f, "role:{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_its_word() {
        for side in [Side::Kills, Side::Losses, Side::Both] {
            assert_eq!(side.word().parse(), Ok(side));
        }
        for style in [Style::Full, Style::Compact, Style::Link, Style::Battle] {
            assert_eq!(style.word().parse(), Ok(style));
        }
        for source in [
            SubscriptionSource::File,
            SubscriptionSource::Command,
            SubscriptionSource::Admin,
        ] {
            assert_eq!(source.word().parse(), Ok(source));
        }
        for ping in [Ping::Here, Ping::Everyone, Ping::Role(7)] {
            assert_eq!(ping.to_string().parse(), Ok(ping));
        }
        assert_eq!("role:x".parse::<Ping>(), Err(Expected("here, everyone or role:<id>")));
        assert!(Style::Full > Style::Compact && Style::Compact > Style::Link && Style::Link > Style::Battle);
    }
}
