//! A post that is there already is made to show a later revision.

use killfeed::{filter::Distance, v1::Killmail};

use crate::{
    database::{BatchKind, BatchRow, KillOutcome, PostRow, QueueRow, StorageError},
    deliver::{
        DeliverError,
        outcome::{self, Attempt, NextStep},
    },
    matching, metrics,
    outbox::Edited,
    render::{self, PostItem},
    sink::{Edit, Embed, Message, SendOutcome},
    subscriptions::{Style, SubscriptionId},
};

use super::{SEND_TIMEOUT, SendPermit, Worker, WorkerStep, unreadable};

/// What came of a try to edit.
pub(super) enum EditAttempt {
    /// It shows what it should.
    Done,
    /// To be tried again, at this pace.
    Later(WorkerStep),
    /// It stays as it is, and why.
    Never(NextStep),
}

impl Worker {
    /// Edits the post of the row at the head. An edit is the same however often it is made, so an unknown outcome is simply
    /// tried again.
    pub(super) async fn edit(
        &mut self,
        sequence: u64,
        row: &QueueRow,
        turn: SendPermit<'_>,
    ) -> Result<WorkerStep, DeliverError> {
        let Some((edit, edited)) = self.compose_edit(row.killmail_id)? else {
            return self.end_edit(sequence, &Edited::default()).await;
        };
        let revision = edited.shows.as_ref().map_or(0, |(_, revision)| *revision);
        let age = std::time::Duration::from_millis(self.now().saturating_sub(row.queued));
        match self.try_edit(&edit, &[(row.killmail_id, revision)], age, turn).await? {
            EditAttempt::Done => self.end_edit(sequence, &edited).await,
            EditAttempt::Later(pace) => Ok(pace),
            EditAttempt::Never(after) => {
                let body = serde_json::to_string(&edit.embeds).unwrap_or_default();
                tracing::warn!(destination = ?self.destination, killmail = row.killmail_id, ?after, body, "post cannot be edited, left unchanged");
                self.end_edit(sequence, &Edited::default()).await
            }
        }
    }

    /// Hands an edit to the sink, and does what the outcome asks for but for what only the caller knows. It is about these
    /// killmails and revisions; `age` = for how long it has been tried.
    pub(super) async fn try_edit(
        &mut self,
        edit: &Edit,
        killmails: &[(u64, u32)],
        age: std::time::Duration,
        turn: SendPermit<'_>,
    ) -> Result<EditAttempt, DeliverError> {
        let begun = self.shared.traces.now();
        let editing = tokio::time::timeout(SEND_TIMEOUT, self.shared.sink.edit(edit));
        let outcome = editing.await.unwrap_or_else(|_| SendOutcome::Unknown {
            reason: "the sink took too long".into(),
        });
        drop(turn);
        metrics::tried(&outcome);
        self.trace("edit", killmails.iter().copied(), begun, &outcome);
        tracing::debug!(destination = ?self.destination, ?killmails, ?outcome, "edited");
        self.failures = self.failures.saturating_add(1);
        let attempt = Attempt {
            divisible: false,
            failures: self.failures,
            age,
            again: false,
        };
        Ok(match outcome::edited(&outcome, attempt) {
            NextStep::Sent(_) => {
                self.resume().await?;
                self.failures = 0;
                EditAttempt::Done
            }
            NextStep::Wait(wait) | NextStep::Hold(wait) => EditAttempt::Later(WorkerStep::Sleep(wait)),
            NextStep::RetryUnknown(mut backoff) => EditAttempt::Later(WorkerStep::Sleep(backoff.next_delay())),
            NextStep::Suspend { code, reason, .. } => EditAttempt::Later(self.suspend(code, reason).await?),
            NextStep::Retire(reason) => {
                let pace = self.retire(reason).await?;
                self.shared.outbox.flush().await?;
                EditAttempt::Later(pace)
            }
            NextStep::Stop => return Err(DeliverError::Unauthorized),
            given_up => {
                self.failures = 0;
                EditAttempt::Never(given_up)
            }
        })
    }

    async fn end_edit(&mut self, sequence: u64, edited: &Edited) -> Result<WorkerStep, DeliverError> {
        self.failures = 0;
        let now = self.now();
        self.shared
            .outbox
            .finish_edit(&self.destination, sequence, edited, now)?;
        self.shared.outbox.flush().await?;
        Ok(WorkerStep::Go)
    }

    /// How far it is from what those watch who wanted it and are still there.
    pub(super) fn distances(&self, post: &PostRow, killmail: &Killmail) -> Vec<Distance> {
        let snapshot = self.shared.subscriptions.snapshot();
        let ids = post.matches.iter().map(|found| SubscriptionId(found.subscription));
        let system = killmail.location.as_ref().map_or(0, |location| location.system_id);
        matching::distances(ids.filter_map(|id| snapshot.get(id)), system)
    }

    /// The whole message with the killmail as it is known now; `None` if there is nothing to edit.
    fn compose_edit(&self, killmail_id: u64) -> Result<Option<(Edit, Edited)>, StorageError> {
        let outbox = &self.shared.outbox;
        let (Some(post), Some(killmail)) = (
            outbox.post(&self.destination, killmail_id)?,
            outbox.killmail(killmail_id)?,
        ) else {
            return Ok(None);
        };
        let mut embeds = Vec::new();
        let mut place = None;
        for id in &post.together {
            let bytes = if *id == killmail_id {
                place = Some(embeds.len());
                Some(post.embed.clone())
            } else {
                outbox.post(&self.destination, *id)?.map(|other| other.embed)
            };
            match bytes.filter(|bytes| !bytes.is_empty()) {
                Some(bytes) => embeds.push(read(&bytes)?),
                // Without its neighbours a message cannot be written anew: better old than mutilated.
                None => return Ok(None),
            }
        }
        let Some(place) = place else { return Ok(None) };
        let style: Style = post.style.parse().unwrap_or_default();
        let distances = self.distances(&post, &killmail);
        for style in [style, Style::Compact] {
            let item = PostItem {
                killmail: &killmail,
                outcome: outcome(&post),
                style,
                subscriptions: post.names.iter().map(String::as_str).collect(),
                distances: distances.clone(),
            };
            let Some(embed) = render::killmails(&[item], &[]).0.embeds.pop() else {
                return Ok(None);
            };
            embeds[place] = embed;
            if render::fit(&embeds) {
                let shows = serde_json::to_vec(&embeds[place]).map_err(|error| unreadable(&error))?;
                let edit = Edit {
                    destination: self.destination.clone(),
                    message_id: post.message_id,
                    embeds,
                    added: Vec::new(),
                };
                let edited = Edited {
                    shows: Some((shows, killmail.revision)),
                };
                return Ok(Some((edit, edited)));
            }
        }
        Ok(None)
    }
}

/// The embed of each killmail of a batch as JSON; empty where they have none of their own.
pub(super) fn embeds(batch: &BatchRow) -> Result<Vec<Vec<u8>>, StorageError> {
    let message: Message = serde_json::from_slice(&batch.message).map_err(|error| unreadable(&error))?;
    if batch.kind() != BatchKind::Post || batch.battle != 0 || message.embeds.len() != batch.entries.len() {
        return Ok(Vec::new());
    }
    let json = |embed: &Embed| serde_json::to_vec(embed).map_err(|error| unreadable(&error));
    message.embeds.iter().map(json).collect()
}

fn outcome(post: &PostRow) -> KillOutcome {
    matching::agreed(post.matches.iter().map(|found| found.outcome()))
}

fn read(bytes: &[u8]) -> Result<Embed, StorageError> {
    serde_json::from_slice(bytes).map_err(|error| unreadable(&error))
}
