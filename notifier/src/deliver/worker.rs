//! One destination's worker: chooses, seals, sends, and does with the outcome what `outcome` says.

mod battle;
mod compose;
mod edit;
mod suspend;
mod trace;

use std::{sync::Arc, time::Duration};

use killfeed::backoff::Backoff;
use tokio::{sync::SemaphorePermit, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    DeliverError, DeliveryContext, WorkerSignals,
    outcome::{self, Attempt, NONCE_LIFE, NextStep},
    plan::{self, DeliveryPlan, PlannedMessage},
};
use crate::{
    database::{BatchKind, BatchRow, DailyPostsRow, PostState, StorageError},
    matching, metrics,
    outbox::{BatchResult, QueueHead},
    render::EMBEDS,
    sink::{Destination, Post},
    subscriptions::WEBHOOK_GUILD,
};

/// A worker that nothing comes for ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Probes of a suspended destination are never further apart.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(3_600);
/// A sink is bounded in time by itself; this bounds one that is not.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// The same target of the same channel is not pinged again for this long.
const PING_COOLDOWN: u64 = 5 * 60 * 1_000;
/// How many killmails one post that says `N more killmails` counts at most.
const MAX_FOLDED: usize = 10_000;

pub(super) struct Worker {
    shared: Arc<DeliveryContext>,
    destination: Destination,
    wake: Arc<WorkerSignals>,
    /// Tries and looks in vain for the batch that is sealed now.
    failures: u32,
    /// Up to this sequence each killmail goes alone: Discord refused a message of several.
    alone_until: u64,
    probing: Option<ProbeState>,
}

/// The destination takes no posts.
#[derive(Debug)]
struct ProbeState {
    next: Instant,
    backoff: Backoff,
}

/// The right to have a message on its way, held until its outcome is known. The semaphore is never closed; if it were, sending
/// without a permit would only be less polite.
type SendPermit<'a> = Option<SemaphorePermit<'a>>;

/// What a step comes to.
enum WorkerStep {
    /// The next step at once.
    Go,
    /// Nothing waits.
    Idle,
    /// Not before this is over.
    Sleep(Duration),
}

impl Worker {
    pub(super) fn new(shared: Arc<DeliveryContext>, destination: Destination, wake: Arc<WorkerSignals>) -> Self {
        Self {
            shared,
            destination,
            wake,
            failures: 0,
            alone_until: 0,
            probing: None,
        }
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Result<(), DeliverError> {
        while !shutdown.is_cancelled() {
            match self.step().await? {
                WorkerStep::Go => {}
                WorkerStep::Idle => tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = self.wake.work.notified() => {}
                    () = tokio::time::sleep(IDLE_TIMEOUT) => break,
                },
                WorkerStep::Sleep(wait) => tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = self.wake.probe.notified() => self.probe_now(),
                    // Something came: whether it has to wait is seen again.
                    () = self.wake.work.notified(), if self.probing.is_some() => {}
                    () = tokio::time::sleep(wait) => {}
                },
            }
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<WorkerStep, DeliverError> {
        let snapshot = self.shared.subscriptions.snapshot();
        if snapshot.is_elsewhere(&self.destination) {
            return Ok(WorkerStep::Idle);
        }
        if snapshot
            .suspension(&self.destination)
            .is_some_and(|suspension| suspension.retired)
        {
            self.shared
                .outbox
                .drop_queue(&self.destination, "the channel no longer exists", self.now())?;
            self.shared.outbox.flush().await?;
            return Ok(WorkerStep::Idle);
        }
        match (&self.probing, snapshot.suspension(&self.destination)) {
            // Suspended by somebody else, or before a restart: many probed at once would be many refusals, for which Discord
            // bans an address.
            (None, Some(_)) => {
                let mut backoff = self.probe_backoff();
                self.probing = Some(ProbeState {
                    next: Instant::now() + backoff.next_delay(),
                    backoff,
                });
            }
            // Lifted by somebody else, or whoever had subscribed has done so anew: a refusal marks it again.
            (Some(_), None) if snapshot.guild(&self.destination).is_some() => self.probing = None,
            _ => {}
        }
        if let Some(probing) = &self.probing {
            let wait = probing.next.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                return Ok(WorkerStep::Sleep(wait));
            }
        }
        // Before anything is chosen: whoever waits for a turn holds nothing, and what is sealed is sent at once.
        let shared = self.shared.clone();
        let turn = shared.permits.acquire().await.ok();
        let head = self.shared.outbox.head(&self.destination, EMBEDS + 1)?;
        match (&head.batch, head.rows.first()) {
            (Some(batch), _) => self.retry_sealed(batch, turn).await,
            (None, None) => Ok(WorkerStep::Idle),
            (None, Some((sequence, row))) if row.edit => self.edit(*sequence, row, turn).await,
            (None, Some(_)) => self.start(head, turn).await,
        }
    }

    /// Chooses what is posted next, seals it, and sends it.
    async fn start(&mut self, head: QueueHead, turn: SendPermit<'_>) -> Result<WorkerStep, DeliverError> {
        let now = self.now();
        let snapshot = self.shared.subscriptions.snapshot();
        let limits = &self.shared.limits;
        let guild = snapshot
            .guild(&self.destination)
            .filter(|guild| *guild != WEBHOOK_GUILD);
        let today = match guild {
            Some(guild) => self.shared.outbox.posts_today(guild, now)?,
            None => DailyPostsRow::default(),
        };
        let spent = today.posted >= limits.max_posts;
        let choose = |head: &QueueHead| plan::plan(head, &snapshot, limits, spent, self.alone_until, now);
        let mut choice = choose(&head);
        if matches!(choice.draft, Some(PlannedMessage::Fold(_))) && head.rows.len() < head.waiting {
            choice = choose(&self.shared.outbox.head(&self.destination, MAX_FOLDED)?);
        }
        let DeliveryPlan { mut ended, draft } = choice;
        let batch = match draft {
            None => None,
            Some(PlannedMessage::Fold(_)) if spent && today.limit_announced && ended.is_empty() => {
                // Counted, and told tomorrow: a post about each would be a post for each.
                return Ok(WorkerStep::Sleep(until_tomorrow(now)));
            }
            Some(PlannedMessage::Fold(_)) if spent && today.limit_announced => None,
            Some(PlannedMessage::Fold(folded)) => Some(self.fold(&folded, guild.filter(|_| spent), now)?),
            Some(PlannedMessage::Battle(system, chosen)) => {
                match self.shared.outbox.battle(&self.destination, system, now)? {
                    Some(battle) if ended.is_empty() => {
                        return self.extend_battle(system, &battle, &chosen, turn).await;
                    }
                    // Those that end are written first; the battle has its turn right after.
                    Some(_) => None,
                    None => self.start_battle(system, &chosen, &mut ended, now)?,
                }
            }
            Some(PlannedMessage::Posts(chosen)) => self.compose(&chosen, &mut ended, now)?,
        };
        for end in &ended {
            metrics::not_posted(end.state);
        }
        let sealed = self
            .shared
            .outbox
            .seal(&self.destination, &ended, batch.as_ref(), now)?;
        self.shared.outbox.flush().await?;
        self.failures = 0;
        match sealed {
            Some(batch) => self.send(&batch, false, turn).await,
            None => Ok(WorkerStep::Go),
        }
    }

    /// A batch that is sealed already: it may have been posted.
    async fn retry_sealed(&mut self, batch: &BatchRow, turn: SendPermit<'_>) -> Result<WorkerStep, DeliverError> {
        if let Destination::Webhook(_) = self.destination {
            // Neither a nonce nor a history: once more, counted on disk, and then not again.
            if batch.tries > 1 {
                let post = self.post(batch)?;
                return self.apply(NextStep::GiveUp(outcome::SENT_TWICE), batch, &post).await;
            }
            let tried = self.record_attempt(batch, batch.tries + 1)?;
            self.shared.outbox.flush().await?;
            return match tried {
                Some(batch) => self.send(&batch, true, turn).await,
                None => Ok(WorkerStep::Go),
            };
        }
        if self.age(batch) < NONCE_LIFE {
            return self.send(batch, true, turn).await;
        }
        let post = self.post(batch)?;
        let since = std::time::UNIX_EPOCH + Duration::from_millis(batch.sealed);
        let found = tokio::time::timeout(SEND_TIMEOUT, self.shared.sink.lookup(&post, since)).await;
        let found = found.unwrap_or_else(|_| crate::sink::LookupOutcome::Failed {
            reason: "the look took too long".into(),
        });
        drop(turn);
        tracing::info!(destination = ?self.destination, nonce = batch.nonce, ?found, "looked up a message with unknown outcome");
        self.failures = self.failures.saturating_add(1);
        let after = outcome::after_lookup(&found, self.attempt(batch));
        self.apply(after, batch, &post).await
    }

    /// `again`: it was tried before, and nothing is known of what came of that.
    async fn send(&mut self, batch: &BatchRow, again: bool, turn: SendPermit<'_>) -> Result<WorkerStep, DeliverError> {
        let post = self.post(batch)?;
        let begun = self.shared.traces.now();
        let sending = tokio::time::timeout(SEND_TIMEOUT, self.shared.sink.send(&post));
        let outcome = sending.await.unwrap_or_else(|_| crate::sink::SendOutcome::Unknown {
            reason: "the sink took too long".into(),
        });
        drop(turn);
        metrics::tried(&outcome);
        if batch.kind() == BatchKind::Post {
            let killmails = batch.entries.iter().map(|entry| (entry.killmail_id, entry.revision));
            self.trace("post", killmails, begun, &outcome);
        }
        tracing::debug!(destination = ?self.destination, killmails = ?post.killmails, ?outcome, "sent");
        self.failures = self.failures.saturating_add(1);
        let attempt = Attempt {
            again,
            ..self.attempt(batch)
        };
        let after = outcome::sent(&outcome, attempt);
        self.apply(after, batch, &post).await
    }

    async fn apply(&mut self, after: NextStep, batch: &BatchRow, post: &Post) -> Result<WorkerStep, DeliverError> {
        let pace = match after {
            NextStep::Sent(message_id) => {
                self.sent(batch, message_id)?;
                self.resume().await?;
                WorkerStep::Go
            }
            NextStep::Unseal => {
                self.unseal(batch)?;
                WorkerStep::Go
            }
            NextStep::Wait(wait) => {
                self.unseal(batch)?;
                WorkerStep::Sleep(wait)
            }
            NextStep::Hold(wait) => {
                self.not_tried(batch)?;
                WorkerStep::Sleep(wait)
            }
            NextStep::RetryUnknown(mut backoff) => WorkerStep::Sleep(backoff.next_delay()),
            NextStep::Split => {
                self.unseal(batch)?;
                self.alone_until = batch
                    .entries
                    .iter()
                    .map(|entry| entry.sequence)
                    .max()
                    .unwrap_or_default();
                WorkerStep::Go
            }
            NextStep::Dead(reason) => {
                let body = String::from_utf8_lossy(&batch.message);
                tracing::error!(destination = ?self.destination, killmails = ?post.killmails, reason, %body, "discord rejects this message, not posted");
                metrics::dead_letters(PostState::Dead, batch.entries.len());
                self.finish(batch, PostState::Dead, 0, &reason)?;
                WorkerStep::Go
            }
            NextStep::GiveUp(why) => {
                tracing::warn!(destination = ?self.destination, killmails = ?post.killmails, why, "outcome unknown, not posted again");
                metrics::dead_letters(PostState::Unknown, batch.entries.len());
                self.finish(batch, PostState::Unknown, 0, why)?;
                WorkerStep::Go
            }
            NextStep::Suspend { keep, code, reason } => {
                if keep {
                    self.not_tried(batch)?;
                } else {
                    self.unseal(batch)?;
                }
                self.suspend(code, reason).await?
            }
            NextStep::Retire(reason) => self.retire(reason).await?,
            NextStep::Stop => return Err(DeliverError::Unauthorized),
        };
        // Also the end of a batch: lost, it would have to be looked for, which not every sink can.
        self.shared.outbox.flush().await?;
        Ok(pace)
    }

    fn sent(&self, batch: &BatchRow, message_id: u64) -> Result<(), StorageError> {
        let now = self.now();
        for entry in &batch.entries {
            if let (BatchKind::Post, Some(killmail)) = (batch.kind(), self.shared.outbox.killmail(entry.killmail_id)?) {
                let kill_time = matching::millis(&killmail.kill_time);
                metrics::posted(Duration::from_millis(now.saturating_sub(kill_time)));
                let logged = matching::millis(&killmail.ingested_time);
                metrics::posted_from_log(Duration::from_millis(now.saturating_sub(logged)));
            }
        }
        let state = match batch.kind() {
            BatchKind::Folded => PostState::Folded,
            BatchKind::Post | BatchKind::Unspecified => PostState::Sent,
        };
        self.finish(batch, state, message_id, "")
    }

    fn finish(&self, batch: &BatchRow, state: PostState, message_id: u64, detail: &str) -> Result<(), StorageError> {
        let now = self.now();
        let pinged = state == PostState::Sent && !batch.pings.is_empty();
        let embeds = if state == PostState::Sent {
            edit::embeds(batch)?
        } else {
            Vec::new()
        };
        let end = BatchResult {
            embeds: &embeds,
            guild: self.shared.subscriptions.snapshot().guild(&self.destination),
            state,
            message_id,
            detail,
            cooldown_until: if pinged { now + PING_COOLDOWN } else { 0 },
        };
        self.shared.outbox.finish(&self.destination, batch, end, now)
    }

    fn record_attempt(&self, batch: &BatchRow, tries: u32) -> Result<Option<BatchRow>, StorageError> {
        self.shared.outbox.tried(&self.destination, batch, tries, self.now())
    }

    /// The try that was counted before it was made was refused: for a webhook, which has only two, it does not count.
    fn not_tried(&self, batch: &BatchRow) -> Result<(), StorageError> {
        match self.destination {
            Destination::Webhook(_) => self.record_attempt(batch, batch.tries.saturating_sub(1)).map(drop),
            Destination::Channel(_) => Ok(()),
        }
    }

    fn unseal(&self, batch: &BatchRow) -> Result<(), StorageError> {
        self.shared.outbox.unseal(&self.destination, batch, self.now())
    }

    fn post(&self, batch: &BatchRow) -> Result<Post, StorageError> {
        Ok(Post {
            destination: self.destination.clone(),
            nonce: batch.nonce.clone(),
            killmails: match batch.kind() {
                BatchKind::Post => batch.entries.iter().map(|entry| entry.killmail_id).collect(),
                BatchKind::Folded | BatchKind::Unspecified => Vec::new(),
            },
            message: serde_json::from_slice(&batch.message).map_err(|error| unreadable(&error))?,
        })
    }

    fn attempt(&self, batch: &BatchRow) -> Attempt {
        Attempt {
            divisible: batch.kind() == BatchKind::Post && batch.entries.len() > 1,
            failures: self.failures,
            age: self.age(batch),
            again: false,
        }
    }

    fn age(&self, batch: &BatchRow) -> Duration {
        Duration::from_millis(self.now().saturating_sub(batch.sealed))
    }

    fn now(&self) -> u64 {
        self.shared.clock.now().unix_ms()
    }
}

/// To the next midnight of EVE time, and a little more so that it is past it.
fn until_tomorrow(now: u64) -> Duration {
    const DAY: u64 = 86_400_000;
    Duration::from_millis(DAY - now % DAY + 1_000)
}

fn unreadable(error: &serde_json::Error) -> StorageError {
    StorageError::Row {
        tree: "queue",
        reason: format!("the message of a batch: {error}"),
    }
}
