//! Killmails leave: batches are sealed and unsealed, rows end.

use prost::Message as _;
use sled::transaction::{ConflictableTransactionError as Abort, Transactional as _, TransactionalTree};

use super::{Ended, Outbox};
use crate::{
    database::{
        BATCH_SEQUENCE, BatchRow, CooldownRow, KillmailRow, PostRow, PostState, QueueRow, StorageError, cooldown_key,
        decode, decode_number, id_key, meta, post_key, queue_key,
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
            queue.insert(&queue_key(destination, BATCH_SEQUENCE), batch.encode_to_vec())?;
            Ok(Some(batch))
        })?;
        Ok(sealed)
    }

    /// Opens the sealed batch again: its killmails wait as before.
    pub fn unseal(&self, destination: &Destination, batch: &BatchRow, now: u64) -> Result<(), StorageError> {
        let database = &self.database;
        let trees = (&database.queue, &database.posts, &database.killmails);
        trees.transaction(|(queue, posts, killmails)| {
            let transaction = Transaction {
                destination,
                queue,
                posts,
                killmails,
                now,
            };
            transaction.mark(batch, 0)?;
            queue.remove(&queue_key(destination, BATCH_SEQUENCE))?;
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
        );
        trees.transaction(|(queue, posts, killmails, cooldowns)| {
            let transaction = Transaction {
                destination,
                queue,
                posts,
                killmails,
                now,
            };
            for entry in &batch.entries {
                transaction.end(entry.sequence, |post| {
                    post.set_state(end.state);
                    post.message_id = end.message_id;
                    post.batch = batch.id;
                    post.detail = end.detail.to_owned();
                    post.ping_held_back = !batch.pings_held_back.is_empty();
                    post.posted_revision = entry.revision;
                })?;
            }
            queue.remove(&queue_key(destination, BATCH_SEQUENCE))?;
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

struct Transaction<'a> {
    destination: &'a Destination,
    queue: &'a TransactionalTree,
    posts: &'a TransactionalTree,
    killmails: &'a TransactionalTree,
    now: u64,
}

impl Transaction<'_> {
    /// Takes a row out of the queue and writes how it ended.
    fn end(&self, sequence: u64, write: impl FnOnce(&mut PostRow)) -> Written<()> {
        let Some(bytes) = self.queue.remove(&queue_key(self.destination, sequence))? else {
            return Ok(());
        };
        let row: QueueRow = decode("queue", &bytes).map_err(Abort::Abort)?;
        let key = post_key(self.destination, row.killmail_id);
        let mut post = match self.posts.get(key)? {
            Some(bytes) => decode::<PostRow>("posts", &bytes).map_err(Abort::Abort)?,
            None => PostRow::default(),
        };
        post.since = self.now;
        post.sequence = 0;
        write(&mut post);
        self.posts.insert(&key, post.encode_to_vec())?;
        self.release(row.killmail_id)
    }

    fn release(&self, killmail_id: u64) -> Written<()> {
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
