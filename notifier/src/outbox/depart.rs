//! Killmails leave: batches are sealed and unsealed, rows end.

use std::cell::Cell;

use prost::Message as _;
use sled::transaction::{ConflictableTransactionError as Abort, Transactional as _, TransactionalTree};

use super::{Ended, Outbox, battle::battle_key};
use crate::{
    database::{
        BATCH_SEQUENCE, BatchRow, BattleKillmailRow, BattleRow, CooldownRow, KillmailRow, PostRow, PostState, PostsRow,
        QueueRow, StorageError, cooldown_key, decode, decode_number, id_key, meta, post_key, queue_key,
    },
    sink::Destination,
};

type Written<T> = Result<T, Abort<StorageError>>;

/// What became of a sealed batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchEnd<'a> {
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

/// Milliseconds.
pub(super) const DAY: u64 = 86_400_000;

pub(super) fn posts_key(guild: u64) -> Vec<u8> {
    [meta::POSTS.as_bytes(), &guild.to_be_bytes()[..]].concat()
}

/// Changes what a guild got today.
pub(super) fn change_posts(
    numbers: &TransactionalTree,
    guild: u64,
    now: u64,
    change: impl FnOnce(&mut PostsRow),
) -> Written<()> {
    let key = posts_key(guild);
    let day = now / DAY;
    let row = numbers.get(&key)?;
    let row = row.map(|bytes| decode::<PostsRow>("meta", &bytes)).transpose();
    let mut row = row
        .map_err(Abort::Abort)?
        .filter(|row| row.day == day)
        .unwrap_or(PostsRow {
            day,
            ..Default::default()
        });
    change(&mut row);
    numbers.insert(key, row.encode_to_vec())?;
    Ok(())
}

/// What became of an edit.
#[derive(Debug, Clone, Default)]
pub struct Edited {
    /// The embed as Discord has it now, and of which revision it is; `None` = the post stays as it was.
    pub shows: Option<(Vec<u8>, u32)>,
}

impl Outbox {
    /// Ends rows that are not posted, and seals `batch` (whose id is given here). Nothing may be sent before a flush.
    pub fn seal(
        &self,
        destination: &Destination,
        ended: &[Ended],
        batch: Option<&BatchRow>,
        now: u64,
    ) -> Result<Option<BatchRow>, StorageError> {
        let database = &self.database;
        let trees = (&database.queue, &database.posts, &database.killmails, &database.meta);
        let sealed = trees.transaction(|(queue, posts, killmails, numbers)| {
            let transaction = Transaction {
                next: Cell::new(0),
                destination,
                queue,
                posts,
                killmails,
                now,
            };
            for end in ended {
                let end_of = |post: &mut PostRow| post.set_state(end.state);
                transaction.end(end.sequence, end_of)?;
            }
            let Some(batch) = batch else {
                return Ok(None);
            };
            let number = numbers.get(meta::NEXT_SEQUENCE)?;
            let id = decode_number(number.as_deref()).map_err(Abort::Abort)?.unwrap_or(1);
            numbers.insert(meta::NEXT_SEQUENCE, &(id + 1).to_be_bytes())?;
            let mut batch = batch.clone();
            batch.id = id;
            transaction.mark(&batch, id)?;
            if batch.tells_limit != 0 {
                change_posts(numbers, batch.tells_limit, now, |row| row.told = true)?;
            }
            queue.insert(&queue_key(destination, BATCH_SEQUENCE), batch.encode_to_vec())?;
            Ok(Some(batch))
        })?;
        Ok(sealed)
    }

    /// Opens the sealed batch again: its killmails wait as before.
    pub fn unseal(&self, destination: &Destination, batch: &BatchRow, now: u64) -> Result<(), StorageError> {
        let database = &self.database;
        let trees = (&database.queue, &database.posts, &database.killmails, &database.meta);
        trees.transaction(|(queue, posts, killmails, numbers)| {
            let transaction = Transaction {
                next: Cell::new(0),
                destination,
                queue,
                posts,
                killmails,
                now,
            };
            transaction.mark(batch, 0)?;
            if batch.tells_limit != 0 {
                change_posts(numbers, batch.tells_limit, now, |row| row.told = false)?;
            }
            queue.remove(&queue_key(destination, BATCH_SEQUENCE))?;
            Ok(())
        })?;
        Ok(())
    }

    /// Counts one more try of a sealed batch. Nothing may be sent before a flush.
    pub fn tried(&self, destination: &Destination, batch: &BatchRow) -> Result<BatchRow, StorageError> {
        let mut batch = batch.clone();
        batch.tries += 1;
        self.database
            .queue
            .insert(queue_key(destination, BATCH_SEQUENCE), batch.encode_to_vec())?;
        Ok(batch)
    }

    /// The edit in the row `sequence` is done with.
    pub fn finish_edit(
        &self,
        destination: &Destination,
        sequence: u64,
        edited: &Edited,
        now: u64,
    ) -> Result<(), StorageError> {
        let database = &self.database;
        let trees = (&database.queue, &database.posts, &database.killmails, &database.meta);
        trees.transaction(|(queue, posts, killmails, numbers)| {
            let number = numbers.get(meta::NEXT_SEQUENCE)?;
            let first = decode_number(number.as_deref()).map_err(Abort::Abort)?.unwrap_or(1);
            let transaction = Transaction {
                next: Cell::new(first),
                destination,
                queue,
                posts,
                killmails,
                now,
            };
            let Some(bytes) = queue.remove(&queue_key(destination, sequence))? else {
                return Ok(());
            };
            let row: QueueRow = decode("queue", &bytes).map_err(Abort::Abort)?;
            let key = post_key(destination, row.killmail_id);
            let Some(bytes) = posts.get(key)? else {
                return transaction.release(row.killmail_id);
            };
            let mut post: PostRow = decode("posts", &bytes).map_err(Abort::Abort)?;
            post.sequence = 0;
            match &edited.shows {
                Some((embed, revision)) => {
                    post.embed.clone_from(embed);
                    post.posted_revision = *revision;
                    transaction.settle(&key, &mut post, row)?;
                }
                None => {
                    // What could not be edited is not tried again for this revision.
                    post.posted_revision = post.revision;
                    posts.insert(&key, post.encode_to_vec())?;
                    transaction.release(row.killmail_id)?;
                }
            }
            if transaction.next.get() != first {
                numbers.insert(meta::NEXT_SEQUENCE, &transaction.next.get().to_be_bytes())?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The batch and its rows are done with.
    pub fn finish(
        &self,
        destination: &Destination,
        batch: &BatchRow,
        end: BatchEnd<'_>,
        now: u64,
    ) -> Result<(), StorageError> {
        let database = &self.database;
        let trees = (
            &database.queue,
            &database.posts,
            &database.killmails,
            &database.cooldowns,
            &database.meta,
        );
        trees.transaction(|(queue, posts, killmails, cooldowns, numbers)| {
            let number = numbers.get(meta::NEXT_SEQUENCE)?;
            let first = decode_number(number.as_deref()).map_err(Abort::Abort)?.unwrap_or(1);
            let transaction = Transaction {
                next: Cell::new(first),
                destination,
                queue,
                posts,
                killmails,
                now,
            };
            let together: Vec<u64> = batch.entries.iter().map(|entry| entry.killmail_id).collect();
            for (index, entry) in batch.entries.iter().enumerate() {
                let opens = batch.battle != 0 && end.state == PostState::Sent;
                if opens {
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
                    post.ping_held_back = !batch.pings_held_back.is_empty();
                    post.posted_revision = entry.revision;
                })?;
            }
            queue.remove(&queue_key(destination, BATCH_SEQUENCE))?;
            if transaction.next.get() != first {
                numbers.insert(meta::NEXT_SEQUENCE, &transaction.next.get().to_be_bytes())?;
            }
            if batch.battle != 0 && end.state == PostState::Sent {
                let killmails = batch.entries.iter().map(|entry| BattleKillmailRow {
                    killmail_id: entry.killmail_id,
                    outcome: entry.outcome,
                    names: entry.names.clone(),
                });
                let row = BattleRow {
                    message_id: end.message_id,
                    last: now,
                    killmails: killmails.collect(),
                };
                numbers.insert(battle_key(destination, batch.battle), row.encode_to_vec())?;
            }
            if let Some(guild) = end.guild.filter(|_| end.state == PostState::Sent) {
                change_posts(numbers, guild, now, |row| row.posted += together.len() as u64)?;
            }
            if end.cooldown_until > 0 {
                for target in &batch.pings {
                    let row = CooldownRow {
                        until: end.cooldown_until,
                    };
                    cooldowns.insert(cooldown_key(destination, target), row.encode_to_vec())?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}

pub(super) struct Transaction<'a> {
    /// The next local sequence, for a post that is to be edited as soon as it is there.
    pub(super) next: Cell<u64>,
    pub(super) destination: &'a Destination,
    pub(super) queue: &'a TransactionalTree,
    pub(super) posts: &'a TransactionalTree,
    pub(super) killmails: &'a TransactionalTree,
    pub(super) now: u64,
}

impl Transaction<'_> {
    /// Takes a row out of the queue and writes how it ended.
    pub(super) fn end(&self, sequence: u64, write: impl FnOnce(&mut PostRow)) -> Written<()> {
        let Some(bytes) = self.queue.remove(&queue_key(self.destination, sequence))? else {
            return Ok(());
        };
        let row: QueueRow = decode("queue", &bytes).map_err(Abort::Abort)?;
        let key = post_key(self.destination, row.killmail_id);
        let mut post = match self.posts.get(key)? {
            Some(bytes) => decode::<PostRow>("posts", &bytes).map_err(Abort::Abort)?,
            None => PostRow::default(),
        };
        post.sequence = 0;
        if row.edit {
            // Whatever ends the edit, the post itself is where it was.
            self.posts.insert(&key, post.encode_to_vec())?;
            return self.release(row.killmail_id);
        }
        post.since = self.now;
        write(&mut post);
        self.settle(&key, &mut post, row)
    }

    /// Writes a post; where it shows an earlier revision than the newest one it waits again, to be edited.
    fn settle(&self, key: &[u8], post: &mut PostRow, mut row: QueueRow) -> Written<()> {
        let late = post.state() == PostState::Sent && post.revision > post.posted_revision && !post.embed.is_empty();
        if !late {
            self.posts.insert(key, post.encode_to_vec())?;
            return self.release(row.killmail_id);
        }
        let sequence = self.next.get();
        self.next.set(sequence + 1);
        post.sequence = sequence;
        (row.edit, row.batch) = (true, 0);
        self.queue
            .insert(&queue_key(self.destination, sequence), row.encode_to_vec())?;
        self.posts.insert(key, post.encode_to_vec())?;
        Ok(())
    }

    /// One more user of a killmail's bytes.
    pub(super) fn hold(&self, killmail_id: u64) -> Written<()> {
        let key = id_key(killmail_id);
        if let Some(bytes) = self.killmails.get(key)? {
            let mut row: KillmailRow = decode("killmails", &bytes).map_err(Abort::Abort)?;
            row.users += 1;
            self.killmails.insert(&key, row.encode_to_vec())?;
        }
        Ok(())
    }

    pub(super) fn release(&self, killmail_id: u64) -> Written<()> {
        let key = id_key(killmail_id);
        let Some(bytes) = self.killmails.get(key)? else {
            return Ok(());
        };
        let mut row: KillmailRow = decode("killmails", &bytes).map_err(Abort::Abort)?;
        row.users = row.users.saturating_sub(1);
        if row.users == 0 {
            self.killmails.remove(&key)?;
        } else {
            self.killmails.insert(&key, row.encode_to_vec())?;
        }
        Ok(())
    }

    /// Writes the batch's id into its rows; 0 = none.
    fn mark(&self, batch: &BatchRow, id: u64) -> Written<()> {
        for entry in &batch.entries {
            let key = queue_key(self.destination, entry.sequence);
            let Some(bytes) = self.queue.get(key)? else {
                continue;
            };
            let mut row: QueueRow = decode("queue", &bytes).map_err(Abort::Abort)?;
            row.batch = id;
            self.queue.insert(&key, row.encode_to_vec())?;
        }
        Ok(())
    }
}

/// A destination whose channel is gone: everything that waits for it ends.
impl Outbox {
    /// Ends every row of the destination.
    pub fn abandon(&self, destination: &Destination, detail: &str, now: u64) -> Result<usize, StorageError> {
        let mut ended = 0;
        loop {
            let head = self.head(destination, 500)?;
            if head.rows.is_empty() {
                return Ok(ended);
            }
            let database = &self.database;
            let trees = (&database.queue, &database.posts, &database.killmails);
            trees.transaction(|(queue, posts, killmails)| {
                let transaction = Transaction {
                    next: Cell::new(0),
                    destination,
                    queue,
                    posts,
                    killmails,
                    now,
                };
                for (sequence, _) in &head.rows {
                    transaction.end(*sequence, |post| {
                        post.set_state(PostState::Gone);
                        post.detail = detail.to_owned();
                    })?;
                }
                queue.remove(&queue_key(destination, BATCH_SEQUENCE))?;
                Ok(())
            })?;
            ended += head.rows.len();
        }
    }
}
