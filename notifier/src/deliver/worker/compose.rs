//! What a message of killmails says, and whom it pings.

use std::{cmp::Reverse, collections::BTreeMap};

use killfeed::v1::Killmail;

use super::{Worker, unreadable};
use crate::{
    database::{BatchEntryRow, BatchKind, BatchRow, PostState, StorageError},
    deliver::{
        nonce,
        plan::{Folded, PlannedPost},
    },
    outbox::SkippedRow,
    render::{self, PostItem},
    sink::Message,
    subscriptions::Ping,
};

impl Worker {
    /// `N more killmails`, what they are worth, and where to look at them.
    pub(super) fn fold(&self, folded: &[Folded], spent: Option<u64>, now: u64) -> Result<BatchRow, StorageError> {
        let entry = |one: &Folded| BatchEntryRow {
            sequence: one.sequence,
            killmail_id: one.killmail_id,
            ..Default::default()
        };
        let entries = folded.iter().map(entry).collect();
        let values: Vec<f64> = folded.iter().filter_map(|one| one.value).collect();
        let mut message = render::folded(folded.len(), &values, &self.most_of(folded)?);
        if spent.is_some() {
            message.content = format!(
                "This server has reached its limit of {} posts for today. Until 00:00 EVE time, further killmails are only counted.",
                crate::render::text::grouped(self.shared.limits.max_posts)
            );
        }
        Ok(BatchRow {
            tells_limit: spent.unwrap_or_default(),
            ..self.batch(BatchKind::Folded, entries, &message, now)?
        })
    }

    /// The systems that most of them happened in, the name of each and how many.
    fn most_of(&self, folded: &[Folded]) -> Result<Vec<(u32, String, usize)>, StorageError> {
        let mut systems: BTreeMap<u32, (u64, usize)> = BTreeMap::new();
        for one in folded.iter().filter(|one| one.system != 0) {
            systems.entry(one.system).or_insert((one.killmail_id, 0)).1 += 1;
        }
        let mut systems: Vec<_> = systems.into_iter().collect();
        systems.sort_by_key(|(_, (_, count))| Reverse(*count));
        systems.truncate(render::FOLDED_SYSTEMS);
        let named = systems.into_iter().map(|(system, (killmail_id, count))| {
            let location = self.shared.outbox.killmail(killmail_id)?.and_then(|it| it.location);
            Ok((system, location.unwrap_or_default().system_name, count))
        });
        named.collect()
    }

    /// As many of the chosen killmails as fit into one message; `None` if not one of them can be read.
    pub(super) fn compose(
        &self,
        chosen: &[PlannedPost],
        ended: &mut Vec<SkippedRow>,
        now: u64,
    ) -> Result<Option<BatchRow>, StorageError> {
        let readable = self.readable(chosen, ended)?;
        let entry = |(post, killmail): &(&PlannedPost, Killmail)| BatchEntryRow {
            sequence: post.sequence,
            killmail_id: post.killmail_id,
            revision: killmail.revision,
            names: post.names.clone(),
            style: post.style.word().to_owned(),
            outcome: post.outcome.into(),
        };
        let mut entries: Vec<_> = readable.iter().map(entry).collect();
        let items: Vec<PostItem<'_>> = readable
            .iter()
            .map(|(post, killmail)| PostItem {
                killmail,
                outcome: post.outcome,
                style: post.style,
                subscriptions: post.names.iter().map(String::as_str).collect(),
                distances: post.distances.clone(),
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
        entries.truncate(taken);
        let style = readable.iter().take(taken).map(|(post, _)| post.style).max();
        Ok(Some(BatchRow {
            pings: pings.iter().map(Ping::to_string).collect(),
            suppressed_pings: held_back.iter().map(Ping::to_string).collect(),
            style: style.unwrap_or_default().word().to_owned(),
            ..self.batch(BatchKind::Post, entries, &message, now)?
        }))
    }

    /// The chosen ones with what happened; those without it end, and are named in the log.
    pub(super) fn readable<'a>(
        &self,
        chosen: &'a [PlannedPost],
        ended: &mut Vec<SkippedRow>,
    ) -> Result<Vec<(&'a PlannedPost, Killmail)>, StorageError> {
        let mut readable = Vec::new();
        for post in chosen {
            match self.shared.outbox.killmail(post.killmail_id)? {
                Some(killmail) => readable.push((post, killmail)),
                None => {
                    tracing::error!(
                        killmail = post.killmail_id,
                        "queued killmail has no content, not posted"
                    );
                    ended.push(SkippedRow {
                        sequence: post.sequence,
                        state: PostState::Dead,
                    });
                }
            }
        }
        Ok(readable)
    }

    pub(super) fn batch(
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
            tries: 1,
            ..Default::default()
        })
    }

    /// Whom these ping now, and whom they would ping but for the cooldown. Each target has its own.
    pub(super) fn pings(
        &self,
        posts: &[(&PlannedPost, Killmail)],
        now: u64,
    ) -> Result<(Vec<Ping>, Vec<Ping>), StorageError> {
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
}
