//! Reads: the position, what was seen, what waits.

use std::collections::BTreeSet;

use killfeed::{client::Position, v1::Killmail};

use super::{
    DeadLetter, Outbox, QueueHead,
    transaction::{DAY, posts_key},
};
use crate::{
    database::{
        BATCH_SEQUENCE, CatchUpRow, CooldownRow, DailyPostsRow, HandledRow, KillmailRow, PositionRow, PostRow,
        PostState, QueueRow, StorageError, cooldown_key, decode, decode_number, destination_key, id_key, meta,
        post_key, queue_key, read_destination, read_sequence,
    },
    sink::Destination,
};

impl Outbox {
    /// Where in the stream everything up to here is handled; `None` = nothing yet.
    pub fn position(&self) -> Result<Option<Position>, StorageError> {
        let Some(bytes) = self.database.meta.get(meta::POSITION)? else {
            return Ok(None);
        };
        let row: PositionRow = decode("meta", &bytes)?;
        Ok(Some(Position {
            cursor: row.cursor,
            time: row.time.unwrap_or_default(),
        }))
    }

    /// When the stream began, by the ingestor's clock (milliseconds): what the log had before never came. `None` = not known.
    pub fn began(&self) -> Result<Option<u64>, StorageError> {
        decode_number(self.database.meta.get(meta::BEGAN)?.as_deref())
    }

    /// The pieces of the log that moved guilds are still to read, with their keys.
    pub fn catch_ups(&self) -> Result<Vec<(Vec<u8>, CatchUpRow)>, StorageError> {
        let rows = self.database.meta.scan_prefix(meta::CATCH_UP);
        let read = |row: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, bytes) = row?;
            Ok((key.to_vec(), decode("meta", &bytes)?))
        };
        rows.map(read).collect()
    }

    /// Whether the killmail was handled in this revision or a later one.
    pub fn seen(&self, killmail_id: u64, revision: u32) -> Result<bool, StorageError> {
        let Some(bytes) = self.database.handled.get(id_key(killmail_id))? else {
            return Ok(false);
        };
        Ok(decode::<HandledRow>("handled", &bytes)?.revision >= revision)
    }

    /// Every destination that something waits for.
    pub fn destinations(&self) -> Result<BTreeSet<Destination>, StorageError> {
        let mut found = BTreeSet::new();
        let mut from = Vec::new();
        // One look per destination, not per row.
        while let Some(row) = self.database.queue.range(from.clone()..).next() {
            let (key, _) = row?;
            let Some(destination) = read_destination(&key) else {
                return Err(StorageError::Row {
                    tree: "queue",
                    reason: "its key names no destination".into(),
                });
            };
            from = queue_key(&destination, u64::MAX).to_vec();
            found.insert(destination);
        }
        Ok(found)
    }

    /// When the killmail was queued (milliseconds) that has waited longest for one of the destinations that `counts` names.
    pub fn oldest(&self, counts: impl Fn(&Destination) -> bool) -> Result<Option<u64>, StorageError> {
        let mut oldest = None;
        for destination in self.destinations()?.into_iter().filter(counts) {
            // Rows are in the order in which they came.
            let first = queue_key(&destination, BATCH_SEQUENCE + 1)..=queue_key(&destination, u64::MAX);
            if let Some(row) = self.database.queue.range(first).next() {
                let queued = decode::<QueueRow>("queue", &row?.1)?.queued;
                oldest = Some(oldest.map_or(queued, |oldest: u64| oldest.min(queued)));
            }
        }
        Ok(oldest)
    }

    /// The first rows of a destination, `limit` at most, and its sealed batch.
    pub fn head(&self, destination: &Destination, limit: usize) -> Result<QueueHead, StorageError> {
        let mut head = QueueHead::default();
        for row in self.database.queue.scan_prefix(destination_key(destination)) {
            let (key, bytes) = row?;
            match read_sequence(&key) {
                Some(BATCH_SEQUENCE) => head.batch = Some(decode("queue", &bytes)?),
                Some(sequence) => {
                    head.waiting += 1;
                    if head.rows.len() < limit {
                        head.rows.push((sequence, decode::<QueueRow>("queue", &bytes)?));
                    }
                }
                None => {}
            }
        }
        Ok(head)
    }

    /// A killmail that waits.
    pub fn killmail(&self, killmail_id: u64) -> Result<Option<Killmail>, StorageError> {
        let Some(bytes) = self.database.killmails.get(id_key(killmail_id))? else {
            return Ok(None);
        };
        let row: KillmailRow = decode("killmails", &bytes)?;
        let mut killmail: Killmail = decode("killmails", &row.killmail)?;
        killmail.revision = row.revision;
        Ok(Some(killmail))
    }

    /// What became of a killmail in a destination.
    pub fn post(&self, destination: &Destination, killmail_id: u64) -> Result<Option<PostRow>, StorageError> {
        let bytes = self.database.posts.get(post_key(destination, killmail_id))?;
        bytes.map(|bytes| decode("posts", &bytes)).transpose()
    }

    /// Those of `candidates` that have a post of the killmail.
    pub fn posted<'a>(
        &self,
        killmail_id: u64,
        candidates: impl IntoIterator<Item = &'a Destination>,
    ) -> Result<Vec<Destination>, StorageError> {
        let mut found = Vec::new();
        for destination in candidates {
            let sent = |post: PostRow| post.state() == PostState::Sent;
            if self.post(destination, killmail_id)?.is_some_and(sent) {
                found.push(destination.clone());
            }
        }
        Ok(found)
    }

    /// Killmails that were given up, the newest first, at most `limit` of them.
    pub fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, StorageError> {
        let mut found = Vec::new();
        for row in &self.database.posts {
            let (key, bytes) = row?;
            let post: PostRow = decode("posts", &bytes)?;
            if !matches!(post.state(), PostState::Dead | PostState::Unknown) {
                continue;
            }
            let (Some(destination), Some(killmail_id)) = (read_destination(&key), read_sequence(&key)) else {
                continue;
            };
            found.push(DeadLetter {
                destination,
                killmail_id,
                state: post.state(),
                since: post.since,
                detail: post.detail,
                refused: post.refused,
            });
            // On a bad day there are very many, each with its message.
            if found.len() >= 2 * limit.max(1) {
                keep_newest(&mut found, limit);
            }
        }
        keep_newest(&mut found, limit);
        Ok(found)
    }

    /// How many killmails a guild got today, and whether it was told that this is all.
    pub fn posts_today(&self, guild: u64, now: u64) -> Result<DailyPostsRow, StorageError> {
        let row = self.database.meta.get(posts_key(guild))?;
        let row = row.map(|bytes| decode::<DailyPostsRow>("meta", &bytes)).transpose()?;
        let day = now / DAY;
        Ok(row.filter(|row| row.day == day).unwrap_or(DailyPostsRow {
            day,
            ..Default::default()
        }))
    }

    /// Until when a ping target of a destination is left alone; 0 = it is not.
    pub fn cooldown(&self, destination: &Destination, target: &str) -> Result<u64, StorageError> {
        let bytes = self.database.cooldowns.get(cooldown_key(destination, target))?;
        bytes.map_or(Ok(0), |bytes| {
            decode::<CooldownRow>("cooldowns", &bytes).map(|row| row.until)
        })
    }

    /// How many killmails wait over all destinations.
    pub fn waiting(&self) -> usize {
        self.database.queue.len()
    }
}

fn keep_newest(letters: &mut Vec<DeadLetter>, limit: usize) {
    letters.sort_by_key(|letter| std::cmp::Reverse((letter.since, letter.killmail_id)));
    letters.truncate(limit);
}
