//! Killmails leave: batches are sealed and unsealed, rows end.

use prost::Message as _;
use sled::transaction::ConflictableTransactionError as Abort;

use super::{
    Outbox, SkippedRow,
    battle::battle_key,
    transaction::{Transaction, TxResult},
};
use crate::{
    database::{
        BATCH_SEQUENCE, BatchRow, BattleKillmailRow, BattleRow, CooldownRow, PostRow, PostState, QueueRow,
        StorageError, cooldown_key, decode, post_key, queue_key,
    },
    sink::Destination,
};

/// What became of a sealed batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchResult<'a> {
    /// The same for all its killmails.
    pub state: PostState,
    /// Discord's id of the message, 0 = none.
    pub message_id: u64,
    /// Why, for a person.
    pub detail: &'a str,
    /// The targets pinged by it are not pinged again before this; 0 = no change.
    pub cooldown_until: u64,
    /// Whose channel it is; `None` = nobody counts its posts.
    pub guild: Option<u64>,
    /// The embed of each killmail as JSON, in the order of the entries; empty where they have none of their own.
    pub embeds: &'a [Vec<u8>],
}

/// What became of an edit.
#[derive(Debug, Clone, Default)]
pub struct Edited {
    /// The embed as Discord has it now, and of which revision it is; `None` = the post stays as it was.
    pub shows: Option<(Vec<u8>, u32)>,
}

impl Outbox {
    /// Ends rows that are not posted, and seals `batch` (whose id is given here). `None` if there is none, or one of its rows is
    /// gone: it was withdrawn or forgotten after it was chosen. Nothing may be sent before a flush.
    pub fn seal(
        &self,
        destination: &Destination,
        ended: &[SkippedRow],
        batch: Option<&BatchRow>,
        now: u64,
    ) -> Result<Option<BatchRow>, StorageError> {
        self.transact(destination, now, |transaction| {
            for end in ended {
                transaction.end(end.sequence, |post| post.set_state(end.state))?;
            }
            let Some(batch) = batch else {
                return Ok(None);
            };
            for entry in &batch.entries {
                if !transaction.waits(entry.sequence)? {
                    return Ok(None);
                }
            }
            let mut batch = batch.clone();
            batch.id = transaction.number();
            mark(transaction, &batch, batch.id)?;
            if batch.tells_limit != 0 {
                transaction.change_posts(batch.tells_limit, |row| row.limit_announced = true)?;
            }
            let key = queue_key(destination, BATCH_SEQUENCE);
            transaction.queue.insert(&key, batch.encode_to_vec())?;
            Ok(Some(batch))
        })
    }

    /// Opens the sealed batch again: its killmails wait as before. Of one that is gone nothing is written.
    pub fn unseal(&self, destination: &Destination, batch: &BatchRow, now: u64) -> Result<(), StorageError> {
        self.transact(destination, now, |transaction| {
            if !transaction.is_sealed(batch)? {
                return Ok(());
            }
            mark(transaction, batch, 0)?;
            if batch.tells_limit != 0 {
                transaction.change_posts(batch.tells_limit, |row| row.limit_announced = false)?;
            }
            transaction.queue.remove(&queue_key(destination, BATCH_SEQUENCE))?;
            Ok(())
        })
    }

    /// Notes how many tries of a sealed batch may have come through; `None` if it is gone. Nothing may be sent before a flush.
    pub fn tried(
        &self,
        destination: &Destination,
        batch: &BatchRow,
        tries: u32,
        now: u64,
    ) -> Result<Option<BatchRow>, StorageError> {
        self.transact(destination, now, |transaction| {
            if !transaction.is_sealed(batch)? {
                return Ok(None);
            }
            let mut batch = batch.clone();
            batch.tries = tries;
            let key = queue_key(destination, BATCH_SEQUENCE);
            transaction.queue.insert(&key, batch.encode_to_vec())?;
            Ok(Some(batch))
        })
    }

    /// The edit in the row `sequence` is done with.
    pub fn finish_edit(
        &self,
        destination: &Destination,
        sequence: u64,
        edited: &Edited,
        now: u64,
    ) -> Result<(), StorageError> {
        self.transact(destination, now, |transaction| {
            let Some(bytes) = transaction.queue.remove(&queue_key(destination, sequence))? else {
                return Ok(());
            };
            let row: QueueRow = decode("queue", &bytes).map_err(Abort::Abort)?;
            let key = post_key(destination, row.killmail_id);
            let Some(bytes) = transaction.posts.get(key)? else {
                return transaction.release(row.killmail_id);
            };
            let mut post: PostRow = decode("posts", &bytes).map_err(Abort::Abort)?;
            post.sequence = 0;
            match &edited.shows {
                Some((embed, revision)) => {
                    post.embed.clone_from(embed);
                    post.posted_revision = *revision;
                    transaction.settle(&key, &mut post, row)
                }
                None => {
                    // What could not be edited is not tried again for this revision.
                    post.posted_revision = post.revision;
                    transaction.posts.insert(&key, post.encode_to_vec())?;
                    transaction.release(row.killmail_id)
                }
            }
        })
    }

    /// The batch and its rows are done with. Of one that is gone nothing is written.
    pub fn finish(
        &self,
        destination: &Destination,
        batch: &BatchRow,
        end: BatchResult<'_>,
        now: u64,
    ) -> Result<(), StorageError> {
        let together: Vec<u64> = batch.entries.iter().map(|entry| entry.killmail_id).collect();
        let sent = end.state == PostState::Sent;
        self.transact(destination, now, |transaction| {
            if !transaction.is_sealed(batch)? {
                return Ok(());
            }
            for (index, entry) in batch.entries.iter().enumerate() {
                if batch.battle != 0 && sent {
                    // One more user: the digest is made of it again whenever it grows.
                    transaction.hold(entry.killmail_id)?;
                }
                transaction.end(entry.sequence, |post| {
                    post.set_state(end.state);
                    post.embed = end.embeds.get(index).cloned().unwrap_or_default();
                    post.together.clone_from(&together);
                    post.names.clone_from(&entry.names);
                    post.style.clone_from(&entry.style);
                    post.message_id = end.message_id;
                    post.batch = batch.id;
                    post.detail = end.detail.to_owned();
                    post.ping_held_back = !batch.suppressed_pings.is_empty();
                    post.posted_revision = entry.revision;
                    if end.state == PostState::Dead {
                        post.refused.clone_from(&batch.message);
                    }
                })?;
            }
            transaction.queue.remove(&queue_key(destination, BATCH_SEQUENCE))?;
            if batch.battle != 0 && sent {
                begin_battle(transaction, batch, end.message_id)?;
            }
            if let Some(guild) = end.guild.filter(|_| sent) {
                transaction.change_posts(guild, |row| row.posted += together.len() as u64)?;
            }
            if end.cooldown_until > 0 {
                for target in &batch.pings {
                    let row = CooldownRow {
                        until: end.cooldown_until,
                    };
                    let key = cooldown_key(destination, target);
                    transaction.cooldowns.insert(key, row.encode_to_vec())?;
                }
            }
            Ok(())
        })
    }

    /// A destination whose channel is gone: every row of it ends, and so does its sealed batch.
    pub fn drop_queue(&self, destination: &Destination, detail: &str, now: u64) -> Result<usize, StorageError> {
        let mut ended = 0;
        loop {
            let head = self.head(destination, 500)?;
            if head.rows.is_empty() && head.batch.is_none() {
                return Ok(ended);
            }
            self.transact(destination, now, |transaction| {
                for (sequence, _) in &head.rows {
                    transaction.end(*sequence, |post| {
                        post.set_state(PostState::Gone);
                        post.detail = detail.to_owned();
                    })?;
                }
                transaction.queue.remove(&queue_key(destination, BATCH_SEQUENCE))?;
                Ok(())
            })?;
            ended += head.rows.len();
        }
    }
}

/// The digest that the batch opened goes on from here.
fn begin_battle(transaction: &Transaction<'_>, batch: &BatchRow, message_id: u64) -> TxResult<()> {
    let killmails = batch.entries.iter().map(|entry| BattleKillmailRow {
        killmail_id: entry.killmail_id,
        outcome: entry.outcome,
        names: entry.names.clone(),
    });
    let row = BattleRow {
        message_id,
        last: transaction.now,
        killmails: killmails.collect(),
    };
    let key = battle_key(transaction.destination, batch.battle);
    transaction.numbers.insert(key, row.encode_to_vec())?;
    Ok(())
}

/// Writes the batch's id into its rows; 0 = none.
fn mark(transaction: &Transaction<'_>, batch: &BatchRow, id: u64) -> TxResult<()> {
    for entry in &batch.entries {
        let key = queue_key(transaction.destination, entry.sequence);
        let Some(bytes) = transaction.queue.get(key)? else {
            continue;
        };
        let mut row: QueueRow = decode("queue", &bytes).map_err(Abort::Abort)?;
        row.batch = id;
        transaction.queue.insert(&key, row.encode_to_vec())?;
    }
    Ok(())
}
