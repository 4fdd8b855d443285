//! A destination that does not accept posts: suspended and probed slowly, or retired. The subscribers get a direct message.

use std::collections::BTreeSet;

use killfeed::backoff::Backoff;
use tokio::time::Instant;

use super::{MAX_PROBE_INTERVAL, ProbeState, SEND_TIMEOUT, Worker, WorkerStep};
use crate::{
    database::{StorageError, SuspensionRow},
    deliver::DeliverError,
    sink::Destination,
};

impl Worker {
    /// A suspension, if there was one, is over.
    pub(super) async fn resume(&mut self) -> Result<(), StorageError> {
        if self.probing.take().is_none() {
            return Ok(());
        }
        tracing::info!(destination = ?self.destination, "destination accepts posts again");
        let subscriptions = &self.shared.subscriptions;
        subscriptions.set_suspension(&self.destination, None).await
    }

    /// The channel is gone, and with it everything that waits for it.
    pub(super) async fn retire(&mut self, reason: String) -> Result<WorkerStep, DeliverError> {
        tracing::warn!(destination = ?self.destination, reason, "channel no longer exists, subscriptions retired");
        self.shared.outbox.drop_queue(&self.destination, &reason, self.now())?;
        let row = self.suspension(0, reason, true);
        self.shared
            .subscriptions
            .set_suspension(&self.destination, Some(row))
            .await?;
        self.notify_owners(&format!(
            "⚠️ The channel {} no longer exists, so your subscriptions there are retired. `/killfeed list` still shows them, but nothing \
             is posted.",
            self.channel()
        ))
        .await;
        Ok(WorkerStep::Idle)
    }

    pub(super) fn channel(&self) -> u64 {
        match self.destination {
            Destination::Channel(id) | Destination::Webhook(id) => id,
        }
    }

    /// Tells those who made the subscriptions of this channel, each once and in private: a channel's name may be a secret, and
    /// who cannot be told is not told elsewhere.
    pub(super) async fn notify_owners(&self, text: &str) {
        let list = self.shared.subscriptions.list();
        let here = list.iter().filter(|one| one.spec.destination == self.destination);
        let people: BTreeSet<u64> = here.map(|one| one.created.0).filter(|user| *user != 0).collect();
        for user in people {
            let told = tokio::time::timeout(SEND_TIMEOUT, self.shared.sink.send_dm(user, text)).await;
            tracing::debug!(user, delivered = told.unwrap_or(false), "direct message sent");
        }
    }

    pub(super) async fn suspend(&mut self, code: u32, reason: String) -> Result<WorkerStep, DeliverError> {
        let mut backoff = match self.probing.take() {
            None => {
                tracing::warn!(destination = ?self.destination, code, reason, "destination rejects posts, suspended until a probe succeeds");
                let row = self.suspension(code, reason.clone(), false);
                self.shared
                    .subscriptions
                    .set_suspension(&self.destination, Some(row))
                    .await?;
                self.notify_owners(&format!(
                    "⚠️ Your subscriptions in <#{}> are suspended, because the bot cannot post there: {reason}. They resume as soon as \
                     it can.",
                    self.channel()
                ))
                .await;
                self.probe_backoff()
            }
            Some(probing) => probing.backoff,
        };
        // The longest delay that the backoff allows: a suspended destination is probed rarely.
        let interval = backoff.next_delay_with(1.0);
        self.probing = Some(ProbeState {
            next: Instant::now() + interval,
            backoff,
        });
        Ok(WorkerStep::Sleep(interval))
    }

    pub(super) fn suspension(&self, code: u32, reason: String, retired: bool) -> SuspensionRow {
        SuspensionRow {
            reason,
            code,
            since: self.now(),
            retired,
        }
    }

    pub(super) fn probe_now(&mut self) {
        if self.probing.is_some() {
            self.probing = Some(ProbeState {
                next: Instant::now(),
                backoff: self.probe_backoff().with_failures(1),
            });
        }
    }

    /// Returns the delays between two probes of a suspended destination.
    pub(super) fn probe_backoff(&self) -> Backoff {
        let initial = self.shared.probe_interval;
        Backoff::new(initial, MAX_PROBE_INTERVAL.max(initial))
    }
}
