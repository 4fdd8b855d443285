//! What people can ask and change, wherever they do: slash commands, the admin API. Knows no Discord and no wire.
//!
//! - [`Commands`] is all that those who serve people see; `service` carries it out over the subscriptions, an ingestor, the
//!   outbox's reading end and the sink.
//! - `filters` puts filter texts together, `explain` says clause by clause what a filter makes of a killmail, `history` what
//!   became of killmails here, `arrival` whether one has come at all, `other_bots` reads what people bring from other bots.

pub mod explain;
pub mod export;
pub mod filters;
pub mod other_bots;
mod history;
mod service;
pub mod arrival;
mod compile_all;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use killfeed::v1::{CompileFilterResponse, Entity, EntityKind, GetFeedStatusResponse, Killmail};

use crate::{
    database::{CompiledRow, CountersRow, PostRow, StorageError},
    sink::{Destination, Post, SendOutcome},
    subscriptions::{CompileError, Subscription, SubscriptionId, SubscriptionSpec},
};
pub use crate::{
    ingestor::{QueryError, Unavailable},
    subscriptions::{Actor, ChangeError},
};
pub use compile_all::{RowError, compile_all};
pub use history::{Activity, ActivityReport};
pub use service::CommandService;

/// What the operator has set.
#[derive(Debug, Clone)]
pub struct OperatorLimits {
    /// NOTIFIER_GUILDS; empty = all.
    pub guilds: BTreeSet<u64>,
    /// NOTIFIER_MAX_SUBSCRIPTIONS.
    pub max_subscriptions: usize,
    /// NOTIFIER_MAX_AGE.
    pub max_age: Duration,
    /// NOTIFIER_MAX_DELAY.
    pub max_delay: Duration,
    /// NOTIFIER_DISCORD_API_URL.
    pub discord_api_url: String,
}

impl OperatorLimits {
    /// Whether a guild may use this bot.
    pub fn serves(&self, guild: u64) -> bool {
        self.guilds.is_empty() || self.guilds.contains(&guild)
    }
}

/// Where the notifier stands in the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamStatus {
    /// The stream is open and its position on disk.
    pub following: bool,
    /// The cursor; empty = none yet.
    pub cursor: String,
    /// When that place of the log was reached, by the ingestor's clock (milliseconds).
    pub time: u64,
    /// When the stream began, by the ingestor's clock (milliseconds): what the log had before never came. 0 = not known.
    pub began: u64,
    /// Killmails that wait over all destinations.
    pub waiting: usize,
}

/// What was deleted of a guild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetReport {
    /// How many subscriptions.
    pub subscriptions: usize,
    /// Why it is still in the daily copies, if it is.
    pub copies: Result<(), String>,
}

/// Everything that people can ask and change. A change is on disk when its method returns.
#[async_trait]
pub trait Commands: Send + Sync + 'static {
    /// What the operator has set.
    fn terms(&self) -> &OperatorLimits;
    /// The wall clock, milliseconds.
    fn now(&self) -> u64;

    /// What a filter means, or what is wrong with it.
    async fn describe(&self, filter: &str) -> Result<CompileFilterResponse, Unavailable>;
    /// The build of the static data that trees are made with now.
    async fn build(&self) -> Result<String, Unavailable>;
    /// The trees of a wish, made with `build`; or which of its fields has none, and why.
    async fn compile(&self, wish: &SubscriptionSpec, build: &str) -> Result<CompiledRow, (&'static str, CompileError)>;
    /// Names like `query`, best first.
    async fn search(&self, query: &str, kinds: &[EntityKind], limit: usize) -> Result<Vec<Entity>, Unavailable>;
    /// How the feed and the log are.
    async fn feed_status(&self) -> Result<GetFeedStatusResponse, Unavailable>;
    /// How many killmails match, ingested in `since..until` (milliseconds).
    async fn count(&self, filter: &str, since: u64, until: u64) -> Result<u64, QueryError>;
    /// The newest that match, ingested at or after `since`.
    async fn newest(&self, filter: &str, since: u64, limit: usize) -> Result<Vec<Killmail>, QueryError>;
    /// One killmail; `None` = not in the log.
    async fn killmail(&self, killmail_id: u64) -> Result<Option<Killmail>, Unavailable>;

    /// All of a guild, ordered by name.
    fn subscriptions(&self, guild: u64) -> Vec<Arc<Subscription>>;
    /// All of this process, ordered by guild, then name.
    fn all(&self) -> Vec<Arc<Subscription>>;
    /// Adds all or none.
    async fn add(
        &self,
        wishes: Vec<(SubscriptionSpec, CompiledRow)>,
        by: Actor,
    ) -> Result<Vec<Arc<Subscription>>, ChangeError>;
    /// Makes `seen` be `wish`; refused if it is not as it was seen any more.
    async fn edit(
        &self,
        seen: &Arc<Subscription>,
        wish: SubscriptionSpec,
        compiled: CompiledRow,
        by: Actor,
    ) -> Result<Arc<Subscription>, ChangeError>;
    /// Pauses or resumes; returns those that were not so already.
    async fn set_paused(
        &self,
        guild: u64,
        names: &[String],
        paused: bool,
        by: Actor,
    ) -> Result<Vec<Arc<Subscription>>, ChangeError>;
    /// Removes all or none of them.
    async fn remove(&self, guild: u64, names: &[String]) -> Result<Vec<Arc<Subscription>>, ChangeError>;
    /// Deletes everything kept about a guild, whose channels these are, from the daily copies too.
    async fn forget(&self, guild: u64, channels: BTreeSet<u64>) -> Result<ForgetReport, StorageError>;

    /// What became of a killmail in a destination.
    fn post(&self, destination: &Destination, killmail_id: u64) -> Result<Option<PostRow>, StorageError>;
    /// Whether the killmail has come through the stream.
    fn received(&self, killmail_id: u64) -> Result<bool, StorageError>;
    /// What became of everything in these destinations.
    async fn history(&self, destinations: BTreeSet<Destination>) -> Result<ActivityReport, StorageError>;
    /// What a subscription got in all its life.
    fn counters(&self, id: SubscriptionId) -> Result<CountersRow, StorageError>;
    /// Where the notifier stands in the stream.
    fn standing(&self) -> Result<StreamStatus, StorageError>;
    /// Seconds from kill to post of the newest posts of this process, unordered.
    fn kill_to_post(&self) -> Vec<f64>;

    /// Sends a message outside of the queue: for tests.
    async fn send(&self, post: &Post) -> SendOutcome;
}
