//! One destination's worker: chooses, seals, sends, and does with the outcome what `after` says.

mod battle;
mod compose;
mod edit;
mod suspend;
mod traced;

use std::{sync::Arc, time::Duration};

use tokio::{sync::SemaphorePermit, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    DeliverError, Shared, Wake,
    after::{self, After, Attempt, NONCE_LIFE},
    choose::{self, Choice, Draft},
};
use crate::{
    database::{BatchKind, BatchRow, PostState, PostsRow, StorageError},
    matching, metrics,
    outbox::{BatchEnd, Head},
    render::EMBEDS,
    sink::{Destination, Post},
    subscriptions::WEBHOOK_GUILD,
};

/// A worker that nothing comes for ends.
const IDLE: Duration = Duration::from_secs(60);
/// Probes of a suspended destination are never further apart.
const LONGEST_PROBE: Duration = Duration::from_secs(3_600);
/// A sink is bounded in time by itself; this bounds one that is not.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// The same target of the same channel is not pinged again for this long.
const PING_COOLDOWN: u64 = 5 * 60 * 1_000;
/// How many killmails one post that says `N more killmails` counts at most.
const FOLD: usize = 10_000;

pub(super) struct Worker {
    shared: Arc<Shared>,
    destination: Destination,
    wake: Arc<Wake>,
    /// Tries and looks in vain for the batch that is sealed now.
    failures: u32,
    /// Up to this sequence each killmail goes alone: Discord refused a message of several.
    alone_until: u64,
    probing: Option<Probing>,
}

/// The destination takes no posts.
#[derive(Debug, Clone, Copy)]
struct Probing {
    next: Instant,
    interval: Duration,
}

/// The right to have a message on its way, held until its outcome is known. The semaphore is never closed; if it were, sending
/// without a permit would only be less polite.
type Turn<'a> = Option<SemaphorePermit<'a>>;

/// What a step comes to.
enum Pace {
    /// The next step at once.
    Go,
    /// Nothing waits.
    Idle,
    /// Not before this is over.
    Sleep(Duration),
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, destination: Destination, wake: Arc<Wake>) -> Self {
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
                Pace::Go => {}
                Pace::Idle => tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = self.wake.work.notified() => {}
                    () = tokio::time::sleep(IDLE) => break,
                },
                Pace::Sleep(wait) => tokio::select! {
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

    async fn step(&mut self) -> Result<Pace, DeliverError> {
        let snapshot = self.shared.subscriptions.snapshot();
        if snapshot.is_elsewhere(&self.destination) {
            return Ok(Pace::Idle);
        }
        if snapshot
            .suspension(&self.destination)
            .is_some_and(|suspension| suspension.retired)
        {
            self.shared
                .outbox
                .abandon(&self.destination, "the channel is gone", self.now())?;
            self.shared.outbox.flush().await?;
            return Ok(Pace::Idle);
        }
        match (self.probing, snapshot.suspension(&self.destination)) {
            // Suspended by somebody else, or before a restart: many probed at once would be many refusals, for which Discord
            // bans an address.
            (None, Some(_)) => {
                let interval = self.shared.probe_interval;
                self.probing = Some(Probing {
                    next: Instant::now() + interval.mul_f64(fastrand::f64()),
                    interval,
                });
            }
            // Lifted by somebody else, or whoever had subscribed has done so anew: a refusal marks it again.
            (Some(_), None) if snapshot.guild(&self.destination).is_some() => self.probing = None,
            _ => {}
        }
        if let Some(probing) = self.probing {
            let wait = probing.next.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                return Ok(Pace::Sleep(wait));
            }
        }
        // Before anything is chosen: whoever waits for a turn holds nothing, and what is sealed is sent at once.
        let shared = self.shared.clone();
        let turn = shared.permits.acquire().await.ok();
        let head = self.shared.outbox.head(&self.destination, EMBEDS + 1)?;
        match (&head.batch, head.rows.first()) {
            (Some(batch), _) => self.resume(batch, turn).await,
            (None, None) => Ok(Pace::Idle),
            (None, Some((sequence, row))) if row.edit => self.edit(*sequence, row, turn).await,
            (None, Some(_)) => self.begin(head, turn).await,
        }
    }

    /// Chooses what is posted next, seals it, and sends it.
    async fn begin(&mut self, head: Head, turn: Turn<'_>) -> Result<Pace, DeliverError> {
        let now = self.now();
        let snapshot = self.shared.subscriptions.snapshot();
        let limits = &self.shared.limits;
        let guild = snapshot
            .guild(&self.destination)
            .filter(|guild| *guild != WEBHOOK_GUILD);
        let today = match guild {
            Some(guild) => self.shared.outbox.posts_today(guild, now)?,
            None => PostsRow::default(),
        };
        let spent = today.posted >= limits.max_posts;
        let choose = |head: &Head| choose::choose(head, &snapshot, limits, spent, self.alone_until, now);
        let mut choice = choose(&head);
        if matches!(choice.draft, Some(Draft::Fold(_))) && head.rows.len() < head.waiting {
            choice = choose(&self.shared.outbox.head(&self.destination, FOLD)?);
        }
        let Choice { mut ended, draft } = choice;
        let batch = match draft {
            None => None,
            Some(Draft::Fold(_)) if spent && today.told && ended.is_empty() => {
                // Counted, and told tomorrow: a post about each would be a post for each.
                return Ok(Pace::Sleep(until_tomorrow(now)));
            }
            Some(Draft::Fold(_)) if spent && today.told => None,
            Some(Draft::Fold(folded)) => Some(self.fold(&folded, guild.filter(|_| spent), now)?),
            Some(Draft::Battle(system, chosen)) => match self.shared.outbox.battle(&self.destination, system, now)? {
                Some(battle) if ended.is_empty() => return self.grow(system, &battle, &chosen, turn).await,
                // Those that end are written first; the battle has its turn right after.
                Some(_) => None,
                None => self.open(system, &chosen, &mut ended, now)?,
            },
            Some(Draft::Posts(chosen)) => self.compose(&chosen, &mut ended, now)?,
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
            None => Ok(Pace::Go),
        }
    }

    /// A batch that is sealed already: it may have been posted.
    async fn resume(&mut self, batch: &BatchRow, turn: Turn<'_>) -> Result<Pace, DeliverError> {
        if let Destination::Webhook(_) = self.destination {
            // Neither a nonce nor a history: once more, counted on disk, and then not again.
            if batch.tries > 1 {
                let post = self.post(batch)?;
                return self.carry_out(After::Lost(after::SENT_TWICE), batch, &post).await;
            }
            let tried = self.tried(batch, batch.tries + 1)?;
            self.shared.outbox.flush().await?;
            return match tried {
                Some(batch) => self.send(&batch, true, turn).await,
                None => Ok(Pace::Go),
            };
        }
        if self.age(batch) < NONCE_LIFE {
            return self.send(batch, true, turn).await;
        }
        let post = self.post(batch)?;
        let since = std::time::UNIX_EPOCH + Duration::from_millis(batch.sealed);
        let found = tokio::time::timeout(SEND_TIMEOUT, self.shared.sink.find(&post, since)).await;
        let found = found.unwrap_or_else(|_| crate::sink::Found::Failed {
            reason: "the look took too long".into(),
        });
        drop(turn);
        tracing::info!(destination = ?self.destination, nonce = batch.nonce, ?found, "looked for a message whose outcome is unknown");
        self.failures = self.failures.saturating_add(1);
        let after = after::looked(&found, self.attempt(batch));
        self.carry_out(after, batch, &post).await
    }

    /// `again`: it was tried before, and nothing is known of what came of that.
    async fn send(&mut self, batch: &BatchRow, again: bool, turn: Turn<'_>) -> Result<Pace, DeliverError> {
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
        let after = after::sent(&outcome, attempt);
        self.carry_out(after, batch, &post).await
    }

    async fn carry_out(&mut self, after: After, batch: &BatchRow, post: &Post) -> Result<Pace, DeliverError> {
        let pace = match after {
            After::Sent(message_id) => {
                self.sent(batch, message_id)?;
                self.takes_posts().await?;
                Pace::Go
            }
            After::Unseal => {
                self.unseal(batch)?;
                Pace::Go
            }
            After::Wait(wait) => {
                self.unseal(batch)?;
                Pace::Sleep(wait)
            }
            After::Hold(wait) => {
                self.not_tried(batch)?;
                Pace::Sleep(wait)
            }
            After::Unsure(at_most) => Pace::Sleep(at_most.mul_f64(fastrand::f64())),
            After::EachAlone => {
                self.unseal(batch)?;
                self.alone_until = batch
                    .entries
                    .iter()
                    .map(|entry| entry.sequence)
                    .max()
                    .unwrap_or_default();
                Pace::Go
            }
            After::Dead(reason) => {
                let body = String::from_utf8_lossy(&batch.message);
                tracing::error!(destination = ?self.destination, killmails = ?post.killmails, reason, %body, "Discord refuses this message: it is not posted");
                metrics::dead_letters(PostState::Dead, batch.entries.len());
                self.finish(batch, PostState::Dead, 0, &reason)?;
                Pace::Go
            }
            After::Lost(why) => {
                tracing::warn!(destination = ?self.destination, killmails = ?post.killmails, "{why}; it is not posted again");
                metrics::dead_letters(PostState::Unknown, batch.entries.len());
                self.finish(batch, PostState::Unknown, 0, why)?;
                Pace::Go
            }
            After::Suspend { keep, code, reason } => {
                if keep {
                    self.not_tried(batch)?;
                } else {
                    self.unseal(batch)?;
                }
                self.suspend(code, reason).await?
            }
            After::Retire(reason) => self.retire(reason).await?,
            After::Stop => return Err(DeliverError::Unauthorized),
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
        let end = BatchEnd {
            embeds: &embeds,
            guild: self.shared.subscriptions.snapshot().guild(&self.destination),
            state,
            message_id,
            detail,
            cooldown_until: if pinged { now + PING_COOLDOWN } else { 0 },
        };
        self.shared.outbox.finish(&self.destination, batch, end, now)
    }

    fn tried(&self, batch: &BatchRow, tries: u32) -> Result<Option<BatchRow>, StorageError> {
        self.shared.outbox.tried(&self.destination, batch, tries, self.now())
    }

    /// The try that was counted before it was made was refused: for a webhook, which has only two, it does not count.
    fn not_tried(&self, batch: &BatchRow) -> Result<(), StorageError> {
        match self.destination {
            Destination::Webhook(_) => self.tried(batch, batch.tries.saturating_sub(1)).map(drop),
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
        self.shared.clock.now()
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
