//! Battles: the first killmails of one are a post, those that follow edit it.

use std::time::Duration;

use killfeed::{filter::Distance, v1::Killmail};

use super::{SendPermit, Worker, WorkerStep, edit::EditAttempt};
use crate::{
    database::{BatchEntryRow, BatchKind, BatchRow, BattleKillmailRow, BattleRow, StorageError},
    deliver::{DeliverError, plan::PlannedPost},
    outbox::{BattleUpdate, SkippedRow},
    render::{self, PostItem},
    sink::Edit,
    subscriptions::{Ping, Style},
};

impl Worker {
    /// The post that a battle begins with; `None` if not one of its killmails can be read.
    pub(super) fn start_battle(
        &self,
        system: u32,
        chosen: &[PlannedPost],
        ended: &mut Vec<SkippedRow>,
        now: u64,
    ) -> Result<Option<BatchRow>, StorageError> {
        // One that is over, or as large as it may be, goes first: its killmails' bytes are not needed any more.
        self.shared.outbox.end_battle(&self.destination, system)?;
        let readable = self.readable(chosen, ended)?;
        if readable.is_empty() {
            return Ok(None);
        }
        let (pings, held_back) = self.pings(&readable, now)?;
        let items: Vec<_> = readable
            .iter()
            .map(|(post, killmail)| item(killmail, post.outcome, &post.names, post.distances.clone()))
            .collect();
        let (message, _) = render::battle(&items, &pings);
        let entry = |(post, killmail): &(&PlannedPost, Killmail)| BatchEntryRow {
            sequence: post.sequence,
            killmail_id: post.killmail_id,
            revision: killmail.revision,
            names: post.names.clone(),
            style: Style::Battle.word().to_owned(),
            outcome: post.outcome.into(),
        };
        let entries = readable.iter().map(entry).collect();
        Ok(Some(BatchRow {
            pings: pings.iter().map(Ping::to_string).collect(),
            suppressed_pings: held_back.iter().map(Ping::to_string).collect(),
            style: Style::Battle.word().to_owned(),
            battle: system,
            ..self.batch(BatchKind::Post, entries, &message, now)?
        }))
    }

    /// Edits the digest so that it shows these killmails too. The same edit twice is the same as once: nothing is sealed.
    pub(super) async fn extend_battle(
        &mut self,
        system: u32,
        battle: &BattleRow,
        chosen: &[PlannedPost],
        turn: SendPermit<'_>,
    ) -> Result<WorkerStep, DeliverError> {
        let new: Vec<(u64, BattleKillmailRow)> = chosen
            .iter()
            .map(|post| {
                let row = BattleKillmailRow {
                    killmail_id: post.killmail_id,
                    outcome: post.outcome.into(),
                    names: post.names.clone(),
                };
                (post.sequence, row)
            })
            .collect();
        let rows: Vec<&BattleKillmailRow> = battle.killmails.iter().chain(new.iter().map(|(_, row)| row)).collect();
        let mut killmails = Vec::with_capacity(rows.len());
        let mut distances = Vec::with_capacity(rows.len());
        for row in &rows {
            // Without the bytes of an earlier one (NOTIFIER_SKIP_BACKLOG drops them) the digest cannot be made again.
            let Some(killmail) = self.shared.outbox.killmail(row.killmail_id)? else {
                self.shared.outbox.end_battle(&self.destination, system)?;
                self.shared.outbox.flush().await?;
                return Ok(WorkerStep::Go);
            };
            let post = self.shared.outbox.post(&self.destination, row.killmail_id)?;
            distances.push(post.map_or_else(Vec::new, |post| self.distances(&post, &killmail)));
            killmails.push(killmail);
        }
        let items: Vec<_> = rows
            .iter()
            .zip(&killmails)
            .zip(distances)
            .map(|((row, killmail), distances)| item(killmail, row.outcome(), &row.names, distances))
            .collect();
        let edit = Edit {
            destination: self.destination.clone(),
            message_id: battle.message_id,
            embeds: render::battle(&items, &[]).0.embeds,
            added: new.iter().map(|(_, row)| row.killmail_id).collect(),
        };
        let shown: Vec<(u64, u32)> = killmails[battle.killmails.len()..]
            .iter()
            .map(|it| (it.killmail_id, it.revision))
            .collect();
        match self.try_edit(&edit, &shown, Duration::ZERO, turn).await? {
            EditAttempt::Done => {
                let revisions: Vec<u32> = shown.iter().map(|(_, revision)| *revision).collect();
                let joined = BattleUpdate {
                    killmails: &new,
                    revisions: &revisions,
                    guild: self.shared.subscriptions.snapshot().guild(&self.destination),
                };
                let now = self.now();
                self.shared
                    .outbox
                    .join_battle(&self.destination, system, battle, &joined, now)?;
            }
            EditAttempt::Later(pace) => return Ok(pace),
            // Deleted by somebody, or refused as it is: what came now begins a post of its own.
            EditAttempt::Never(after) => {
                tracing::warn!(destination = ?self.destination, system, ?after, "digest cannot be edited, starting a new one");
                self.shared.outbox.end_battle(&self.destination, system)?;
            }
        }
        self.shared.outbox.flush().await?;
        Ok(WorkerStep::Go)
    }
}

fn item<'a>(
    killmail: &'a Killmail,
    outcome: crate::database::KillOutcome,
    names: &'a [String],
    distances: Vec<Distance>,
) -> PostItem<'a> {
    PostItem {
        killmail,
        outcome,
        style: Style::Battle,
        subscriptions: names.iter().map(String::as_str).collect(),
        distances,
    }
}
