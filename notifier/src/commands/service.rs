//! Carries the commands out.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use killfeed::v1::{CompileFilterResponse, Entity, EntityKind, GetFeedStatusResponse, Killmail};
use killfeed_service::clock::Clock;
use tokio::sync::watch;

use super::{
    ActivityReport, Actor, ChangeError, Commands, ForgetReport, OperatorLimits, QueryError, StreamStatus, Unavailable,
};
use crate::{
    database::{CompiledRow, CountersRow, PostRow, StorageError},
    ingestor::IngestorClient,
    matching, metrics,
    outbox::Outbox,
    sink::{Destination, Post, SendOutcome, Sink},
    subscriptions::{
        self, Compile, CompileError, Subscription, SubscriptionId, SubscriptionSpec, Subscriptions, copies,
    },
};

/// Everything that the commands stand on.
pub struct CommandService {
    /// What the operator has set.
    pub terms: OperatorLimits,
    /// Who is asked about filters, names and the log.
    pub ingestor: IngestorClient,
    /// What is changed.
    pub subscriptions: Arc<Subscriptions>,
    /// What became of killmails.
    pub outbox: Arc<Outbox>,
    /// Where tests go.
    pub sink: Arc<dyn Sink>,
    /// The data folder, where the daily copies are.
    pub data_dir: PathBuf,
    /// Whether the stream is open.
    pub following: watch::Receiver<bool>,
    /// The wall clock.
    pub clock: Clock,
}

impl CommandService {
    /// Drops the killmails that are queued only for these subscriptions, which no longer match anything.
    async fn withdraw(&self, gone: &[Arc<Subscription>]) -> Result<(), StorageError> {
        let destinations: BTreeSet<&Destination> = gone.iter().map(|one| &one.spec.destination).collect();
        for destination in destinations {
            let here = gone.iter().filter(|one| one.spec.destination == *destination);
            let ids: BTreeSet<u64> = here.map(|one| one.id.0).collect();
            let dropped = self.outbox.withdraw(destination, &ids, self.clock.now().unix_ms())?;
            if dropped > 0 {
                tracing::info!(
                    ?destination,
                    dropped,
                    "queued killmails of removed or paused subscriptions dropped"
                );
                self.outbox.touch([destination.clone()]);
            }
        }
        self.outbox.flush().await
    }
}

#[async_trait]
impl Commands for CommandService {
    fn terms(&self) -> &OperatorLimits {
        &self.terms
    }

    fn now(&self) -> u64 {
        self.clock.now().unix_ms()
    }

    async fn describe(&self, filter: &str) -> Result<CompileFilterResponse, Unavailable> {
        self.ingestor.describe(filter).await
    }

    async fn build(&self) -> Result<String, Unavailable> {
        let build = self.ingestor.static_data_build().await;
        build.map_err(|error| Unavailable(error.to_string()))
    }

    async fn compile(&self, wish: &SubscriptionSpec, build: &str) -> Result<CompiledRow, (&'static str, CompileError)> {
        subscriptions::trees(&self.ingestor, wish, build).await
    }

    async fn search(&self, query: &str, kinds: &[EntityKind], limit: usize) -> Result<Vec<Entity>, Unavailable> {
        self.ingestor.search(query, kinds, limit).await
    }

    async fn feed_status(&self) -> Result<GetFeedStatusResponse, Unavailable> {
        self.ingestor.feed_status().await
    }

    async fn count(&self, filter: &str, since: u64, until: u64) -> Result<u64, QueryError> {
        self.ingestor.count(filter, since, until).await
    }

    async fn newest(&self, filter: &str, since: u64, limit: usize) -> Result<Vec<Killmail>, QueryError> {
        self.ingestor.newest(filter, since, limit).await
    }

    async fn killmail(&self, killmail_id: u64) -> Result<Option<Killmail>, Unavailable> {
        self.ingestor.killmail(killmail_id).await
    }

    fn subscriptions(&self, guild: u64) -> Vec<Arc<Subscription>> {
        self.subscriptions.of_guild(guild)
    }

    fn all(&self) -> Vec<Arc<Subscription>> {
        self.subscriptions.list()
    }

    async fn add(
        &self,
        wishes: Vec<(SubscriptionSpec, CompiledRow)>,
        by: Actor,
    ) -> Result<Vec<Arc<Subscription>>, ChangeError> {
        let added = self.subscriptions.add(wishes, self.terms.max_subscriptions, by).await?;
        metrics::subscriptions(self.subscriptions.snapshot().len());
        Ok(added)
    }

    async fn edit(
        &self,
        seen: &Arc<Subscription>,
        wish: SubscriptionSpec,
        compiled: CompiledRow,
        by: Actor,
    ) -> Result<Arc<Subscription>, ChangeError> {
        let edited = self.subscriptions.edit(seen, wish, compiled, by).await?;
        self.withdraw(std::slice::from_ref(seen)).await?;
        Ok(edited)
    }

    async fn set_paused(
        &self,
        guild: u64,
        names: &[String],
        paused: bool,
        by: Actor,
    ) -> Result<Vec<Arc<Subscription>>, ChangeError> {
        let changed = self.subscriptions.set_paused(guild, names, paused, by).await?;
        if paused {
            self.withdraw(&changed).await?;
        }
        metrics::subscriptions(self.subscriptions.snapshot().len());
        Ok(changed)
    }

    async fn remove(&self, guild: u64, names: &[String]) -> Result<Vec<Arc<Subscription>>, ChangeError> {
        let removed = self.subscriptions.remove(guild, names).await?;
        self.withdraw(&removed).await?;
        metrics::subscriptions(self.subscriptions.snapshot().len());
        Ok(removed)
    }

    async fn forget(&self, guild: u64, channels: BTreeSet<u64>) -> Result<ForgetReport, StorageError> {
        let removed = self.subscriptions.forget(guild).await?;
        let of_rows = removed.iter().map(|one| one.spec.destination.clone());
        let destinations: BTreeSet<Destination> =
            channels.into_iter().map(Destination::Channel).chain(of_rows).collect();
        for destination in &destinations {
            self.outbox.forget(destination, self.clock.now().unix_ms())?;
        }
        self.outbox.forget_guild(guild)?;
        self.outbox.flush().await?;
        metrics::subscriptions(self.subscriptions.snapshot().len());
        // Last: a copy that is written from now on has nothing of it.
        let data_dir = self.data_dir.clone();
        let rewritten = tokio::task::spawn_blocking(move || copies::without(&data_dir, &[guild])).await;
        let copies = match rewritten {
            Ok(rewritten) => rewritten.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = &copies {
            tracing::error!(
                guild,
                error,
                hint = "make the data folder writable; until the copies expire, they contain the guild",
                "daily copies cannot be rewritten without a guild"
            );
        }
        Ok(ForgetReport {
            subscriptions: removed.len(),
            copies,
        })
    }

    fn post(&self, destination: &Destination, killmail_id: u64) -> Result<Option<PostRow>, StorageError> {
        self.outbox.post(destination, killmail_id)
    }

    fn received(&self, killmail_id: u64) -> Result<bool, StorageError> {
        self.outbox.seen(killmail_id, 0)
    }

    async fn history(&self, destinations: BTreeSet<Destination>) -> Result<ActivityReport, StorageError> {
        let (outbox, now) = (self.outbox.clone(), self.clock.now().unix_ms());
        // Thousands of rows a channel, perhaps: off the runtime.
        let counted = tokio::task::spawn_blocking(move || {
            let mut history = ActivityReport::default();
            for destination in &destinations {
                for row in outbox.posts(destination) {
                    history.count(destination, &row?.1, now);
                }
            }
            Ok(history)
        });
        counted
            .await
            .unwrap_or_else(|error| Err(StorageError::Interrupted(error.to_string())))
    }

    fn counters(&self, id: SubscriptionId) -> Result<CountersRow, StorageError> {
        self.outbox.counters(id)
    }

    fn standing(&self) -> Result<StreamStatus, StorageError> {
        let position = self.outbox.position()?;
        Ok(StreamStatus {
            following: *self.following.borrow(),
            time: position
                .as_ref()
                .map_or(0, |position| matching::millis(&Some(position.time))),
            cursor: position.map(|position| position.cursor).unwrap_or_default(),
            began: self.outbox.began()?.unwrap_or_default(),
            waiting: self.outbox.waiting(),
        })
    }

    fn kill_to_post(&self) -> Vec<f64> {
        metrics::kill_to_post()
    }

    async fn send(&self, post: &Post) -> SendOutcome {
        self.sink.send(post).await
    }
}
