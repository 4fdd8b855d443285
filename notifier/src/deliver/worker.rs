//! One destination's worker: chooses, seals, sends, and does with the outcome what `after` says.

use std::{sync::Arc, time::Duration};

use killfeed::v1::Killmail;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    DeliverError, Shared, Wake,
    after::{self, After, Attempt, NONCE_LIFE},
    choose::{self, Choice, Chosen, Draft},
    nonce,
};
use crate::{
    database::{BatchEntryRow, BatchKind, BatchRow, PostState, StorageError, SuspensionRow},
    matching, metrics,
    outbox::{BatchEnd, Ended, Head},
    render::{self, EMBEDS, Item},
    sink::{Destination, Message, Post},
    subscriptions::Ping,
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
                    () = tokio::time::sleep(wait) => {}
                },
            }
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<Pace, DeliverError> {
        let snapshot = self.shared.subscriptions.snapshot();
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
        if self.probing.is_none() && snapshot.suspension(&self.destination).is_some() {
            // Suspended by somebody else, or before a restart: many probed at once would be many refusals, for which Discord
            // bans an address.
            let interval = self.shared.probe_interval;
            self.probing = Some(Probing {
                next: Instant::now() + interval.mul_f64(fastrand::f64()),
                interval,
            });
        }
        if let Some(probing) = self.probing {
            let wait = probing.next.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                return Ok(Pace::Sleep(wait));
            }
        }
        let head = self.shared.outbox.head(&self.destination, EMBEDS + 1)?;
        match &head.batch {
            Some(batch) => self.resume(batch).await,
            None if head.rows.is_empty() => Ok(Pace::Idle),
            None => self.begin(head).await,
        }
    }

    /// Chooses what is posted next, seals it, and sends it.
    async fn begin(&mut self, head: Head) -> Result<Pace, DeliverError> {
        let now = self.now();
        let snapshot = self.shared.subscriptions.snapshot();
        let choose = |head: &Head| choose::choose(head, &snapshot, &self.shared.limits, self.alone_until, now);
        let mut choice = choose(&head);
        if matches!(choice.draft, Some(Draft::Fold(_))) && head.rows.len() < head.waiting {
            choice = choose(&self.shared.outbox.head(&self.destination, FOLD)?);
        }
        let Choice { mut ended, draft } = choice;
        let batch = match draft {
            None => None,
            Some(Draft::Fold(folded)) => Some(self.fold(&folded, now)?),
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
            Some(batch) => self.send(&batch).await,
            None => Ok(Pace::Go),
        }
    }

    fn fold(&self, folded: &[(u64, u64)], now: u64) -> Result<BatchRow, StorageError> {
        let entry = |(sequence, killmail_id): &(u64, u64)| BatchEntryRow {
            sequence: *sequence,
            killmail_id: *killmail_id,
            revision: 0,
        };
        let entries = folded.iter().map(entry).collect();
        self.batch(BatchKind::Folded, entries, &render::folded(folded.len()), now)
    }

    /// As many of the chosen killmails as fit into one message; `None` if not one of them can be read.
    fn compose(&self, chosen: &[Chosen], ended: &mut Vec<Ended>, now: u64) -> Result<Option<BatchRow>, StorageError> {
        let mut readable: Vec<(&Chosen, Killmail)> = Vec::new();
        for post in chosen {
            match self.shared.outbox.killmail(post.killmail_id)? {
                Some(killmail) => readable.push((post, killmail)),
                None => {
                    tracing::error!(
                        killmail = post.killmail_id,
                        "a queued killmail has no bytes: it cannot be posted"
                    );
                    ended.push(Ended {
                        sequence: post.sequence,
                        state: PostState::Dead,
                    });
                }
            }
        }
        let item = |(post, killmail): &'_ (&'_ Chosen, Killmail)| (post.sequence, post.killmail_id, killmail.revision);
        let entries: Vec<_> = readable.iter().map(item).collect();
        let items: Vec<Item<'_>> = readable
            .iter()
            .map(|(post, killmail)| Item {
                killmail,
                outcome: post.outcome,
                style: post.style,
                subscriptions: post.names.iter().map(String::as_str).collect(),
            })
            .collect();
        let (mut pings, mut held_back) = self.pings(&readable, now)?;
        let (mut message, taken) = render::killmails(&items, &pings);
        if taken == 0 {
            return Ok(None);
        }
        if taken < readable.len() {
            // Only those that go along may ping.
            (pings, held_back) = self.pings(&readable[..taken], now)?;
            (message, _) = render::killmails(&items[..taken], &pings);
        }
        let entry = |(sequence, killmail_id, revision): (u64, u64, u32)| BatchEntryRow {
            sequence,
            killmail_id,
            revision,
        };
        let entries = entries.into_iter().take(taken).map(entry).collect();
        let style = readable.iter().take(taken).map(|(post, _)| post.style).max();
        Ok(Some(BatchRow {
            pings: pings.iter().map(Ping::to_string).collect(),
            pings_held_back: held_back.iter().map(Ping::to_string).collect(),
            style: style.unwrap_or_default().word().to_owned(),
            ..self.batch(BatchKind::Post, entries, &message, now)?
        }))
    }

    fn batch(
        &self,
        kind: BatchKind,
        entries: Vec<BatchEntryRow>,
        message: &Message,
        now: u64,
    ) -> Result<BatchRow, StorageError> {
        let message = serde_json::to_vec(message).map_err(|error| unreadable(&error))?;
        Ok(BatchRow {
            kind: kind.into(),
            nonce: nonce::nonce(&self.destination, kind, &entries),
            entries,
            message,
            sealed: now,
            ..Default::default()
        })
    }

    /// Whom these ping now, and whom they would ping but for the cooldown. Each target has its own.
    fn pings(&self, posts: &[(&Chosen, Killmail)], now: u64) -> Result<(Vec<Ping>, Vec<Ping>), StorageError> {
        let mut wanted: Vec<Ping> = posts.iter().flat_map(|(post, _)| post.pings.iter().copied()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let (mut pings, mut held_back) = (Vec::new(), Vec::new());
        for ping in wanted {
            let until = self.shared.outbox.cooldown(&self.destination, &ping.to_string())?;
            if until <= now {
                pings.push(ping)
            } else {
                held_back.push(ping)
            }
        }
        Ok((pings, held_back))
    }

    /// A batch that is sealed already: it may have been posted.
    async fn resume(&mut self, batch: &BatchRow) -> Result<Pace, DeliverError> {
        if self.age(batch) < NONCE_LIFE {
            return self.send(batch).await;
        }
        let post = self.post(batch)?;
        let since = std::time::UNIX_EPOCH + Duration::from_millis(batch.sealed);
        let found = tokio::time::timeout(SEND_TIMEOUT, self.shared.sink.find(&post, since)).await;
        let found = found.unwrap_or_else(|_| crate::sink::Found::Failed {
            reason: "the look took too long".into(),
        });
        tracing::info!(destination = ?self.destination, nonce = batch.nonce, ?found, "looked for a message whose outcome is unknown");
        self.failures = self.failures.saturating_add(1);
        let after = after::looked(&found, self.attempt(batch));
        self.carry_out(after, batch, &post).await
    }

    async fn send(&mut self, batch: &BatchRow) -> Result<Pace, DeliverError> {
        let post = self.post(batch)?;
        let outcome = {
            // The semaphore is never closed; if it were, sending without a permit would only be less polite.
            let _permit = self.shared.permits.acquire().await.ok();
            let sending = tokio::time::timeout(SEND_TIMEOUT, self.shared.sink.send(&post));
            sending.await.unwrap_or_else(|_| crate::sink::SendOutcome::Unknown {
                reason: "the sink took too long".into(),
            })
        };
        metrics::tried(&outcome);
        tracing::debug!(destination = ?self.destination, killmails = ?post.killmails, ?outcome, "sent");
        self.failures = self.failures.saturating_add(1);
        let after = after::sent(&outcome, self.attempt(batch));
        self.carry_out(after, batch, &post).await
    }

    async fn carry_out(&mut self, after: After, batch: &BatchRow, post: &Post) -> Result<Pace, DeliverError> {
        let pace = match after {
            After::Sent(message_id) => {
                self.sent(batch, message_id)?;
                if self.probing.take().is_some() {
                    tracing::info!(destination = ?self.destination, "the destination takes posts again");
                    self.shared
                        .subscriptions
                        .set_suspension(&self.destination, None)
                        .await?;
                }
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
                self.finish(batch, PostState::Dead, 0, &reason)?;
                Pace::Go
            }
            After::Lost => {
                tracing::warn!(destination = ?self.destination, killmails = ?post.killmails,
                    "whether this was posted cannot be told (the bot lacks Read Message History there): it is not posted again");
                self.finish(batch, PostState::Unknown, 0, "outcome unknown")?;
                Pace::Go
            }
            After::Suspend { code, reason } => {
                self.unseal(batch)?;
                self.suspend(code, reason).await?
            }
            After::Retire(reason) => {
                tracing::warn!(destination = ?self.destination, reason, "the channel is gone: its subscriptions are retired");
                self.shared.outbox.abandon(&self.destination, &reason, self.now())?;
                let row = self.suspension(0, reason, true);
                self.shared
                    .subscriptions
                    .set_suspension(&self.destination, Some(row))
                    .await?;
                Pace::Idle
            }
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
        let end = BatchEnd {
            state,
            message_id,
            detail,
            cooldown_until: if pinged { now + PING_COOLDOWN } else { 0 },
        };
        self.shared.outbox.finish(&self.destination, batch, end, now)
    }

    fn unseal(&self, batch: &BatchRow) -> Result<(), StorageError> {
        self.shared.outbox.unseal(&self.destination, batch, self.now())
    }

    async fn suspend(&mut self, code: u32, reason: String) -> Result<Pace, DeliverError> {
        let interval = match self.probing {
            None => {
                tracing::warn!(destination = ?self.destination, code, reason, "the destination takes no posts: suspended, tried again by itself");
                let row = self.suspension(code, reason, false);
                self.shared
                    .subscriptions
                    .set_suspension(&self.destination, Some(row))
                    .await?;
                self.shared.probe_interval
            }
            Some(probing) => (probing.interval * 2).min(LONGEST_PROBE.max(self.shared.probe_interval)),
        };
        self.probing = Some(Probing {
            next: Instant::now() + interval,
            interval,
        });
        Ok(Pace::Sleep(interval))
    }

    fn suspension(&self, code: u32, reason: String, retired: bool) -> SuspensionRow {
        SuspensionRow {
            reason,
            code,
            since: self.now(),
            retired,
        }
    }

    fn probe_now(&mut self) {
        if let Some(probing) = &mut self.probing {
            *probing = Probing {
                next: Instant::now(),
                interval: self.shared.probe_interval,
            };
        }
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
        }
    }

    fn age(&self, batch: &BatchRow) -> Duration {
        Duration::from_millis(self.now().saturating_sub(batch.sealed))
    }

    fn now(&self) -> u64 {
        self.shared.clock.now()
    }
}

fn unreadable(error: &serde_json::Error) -> StorageError {
    StorageError::Row {
        tree: "queue",
        reason: format!("the message of a batch: {error}"),
    }
}
