//! What every change of a destination's rows has in common: one transaction, in which rows end, killmails' bytes are held and
//! let go, and everything is counted.

use std::cell::{Cell, RefCell};

use prost::Message as _;
use sled::transaction::{ConflictableTransactionError as Abort, Transactional as _, TransactionalTree};

use super::{Outbox, counters::Tally};
use crate::{
    database::{
        BATCH_SEQUENCE, BatchRow, DailyPostsRow, KillmailRow, PostRow, PostState, QueueRow, StorageError, decode,
        decode_number, id_key, meta, post_key, queue_key,
    },
    sink::Destination,
};

pub(super) type TxResult<T> = Result<T, Abort<StorageError>>;

/// Milliseconds.
pub(super) const DAY: u64 = 86_400_000;

pub(super) struct Transaction<'a> {
    pub(super) destination: &'a Destination,
    pub(super) queue: &'a TransactionalTree,
    pub(super) posts: &'a TransactionalTree,
    pub(super) cooldowns: &'a TransactionalTree,
    pub(super) numbers: &'a TransactionalTree,
    pub(super) now: u64,
    killmails: &'a TransactionalTree,
    /// The next local sequence.
    next: Cell<u64>,
    tally: RefCell<Tally>,
}

impl Outbox {
    /// Runs `write` in one transaction, perhaps more than once. Not acknowledged before [`Outbox::flush`].
    pub(super) fn transact<T>(
        &self,
        destination: &Destination,
        now: u64,
        write: impl Fn(&Transaction<'_>) -> TxResult<T>,
    ) -> Result<T, StorageError> {
        let database = &self.database;
        let trees = (
            &database.queue,
            &database.posts,
            &database.killmails,
            &database.cooldowns,
            &database.meta,
        );
        let done = trees.transaction(|(queue, posts, killmails, cooldowns, numbers)| {
            let number = numbers.get(meta::NEXT_SEQUENCE)?;
            let first = decode_number(number.as_deref()).map_err(Abort::Abort)?.unwrap_or(1);
            let transaction = Transaction {
                destination,
                queue,
                posts,
                cooldowns,
                numbers,
                now,
                killmails,
                next: Cell::new(first),
                tally: RefCell::default(),
            };
            let done = write(&transaction)?;
            if transaction.next.get() != first {
                numbers.insert(meta::NEXT_SEQUENCE, &transaction.next.get().to_be_bytes())?;
            }
            transaction.tally.borrow().write(numbers)?;
            Ok(done)
        })?;
        Ok(done)
    }
}

impl Transaction<'_> {
    /// A local sequence that nothing else has.
    pub(super) fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// Whether this batch is the destination's sealed one. It is not any more once it was forgotten, or given up with its channel,
    /// while its message was on its way.
    pub(super) fn is_sealed(&self, batch: &BatchRow) -> TxResult<bool> {
        let sealed = self.queue.get(queue_key(self.destination, BATCH_SEQUENCE))?;
        let sealed = sealed.map(|bytes| decode::<BatchRow>("queue", &bytes)).transpose();
        Ok(sealed
            .map_err(Abort::Abort)?
            .is_some_and(|sealed| sealed.id == batch.id))
    }

    /// Whether the row still waits.
    pub(super) fn waits(&self, sequence: u64) -> TxResult<bool> {
        Ok(self.queue.get(queue_key(self.destination, sequence))?.is_some())
    }

    /// Whoever the row is for now is who the post will be for.
    pub(super) fn now_wanted_by(&self, row: &QueueRow) -> TxResult<()> {
        let key = post_key(self.destination, row.killmail_id);
        if let Some(bytes) = self.posts.get(key)? {
            let mut post: PostRow = decode("posts", &bytes).map_err(Abort::Abort)?;
            post.matches.clone_from(&row.matches);
            self.posts.insert(&key, post.encode_to_vec())?;
        }
        Ok(())
    }

    /// Takes a row out of the queue and writes how it ended.
    pub(super) fn end(&self, sequence: u64, write: impl FnOnce(&mut PostRow)) -> TxResult<()> {
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
        if post.state() == PostState::Sent {
            self.tally.borrow_mut().posted(&post.matches, self.now);
        }
        self.settle(&key, &mut post, row)
    }

    /// Writes a post; where it shows an earlier revision than the newest one it waits again, to be edited.
    pub(super) fn settle(&self, key: &[u8], post: &mut PostRow, mut row: QueueRow) -> TxResult<()> {
        let late = post.state() == PostState::Sent && post.revision > post.posted_revision && !post.embed.is_empty();
        if !late {
            self.posts.insert(key, post.encode_to_vec())?;
            return self.release(row.killmail_id);
        }
        let sequence = self.number();
        post.sequence = sequence;
        (row.edit, row.batch) = (true, 0);
        self.queue
            .insert(&queue_key(self.destination, sequence), row.encode_to_vec())?;
        self.posts.insert(key, post.encode_to_vec())?;
        Ok(())
    }

    /// One more user of a killmail's bytes.
    pub(super) fn hold(&self, killmail_id: u64) -> TxResult<()> {
        let key = id_key(killmail_id);
        if let Some(bytes) = self.killmails.get(key)? {
            let mut row: KillmailRow = decode("killmails", &bytes).map_err(Abort::Abort)?;
            row.users += 1;
            self.killmails.insert(&key, row.encode_to_vec())?;
        }
        Ok(())
    }

    /// One user less; without any the bytes go.
    pub(super) fn release(&self, killmail_id: u64) -> TxResult<()> {
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

    /// Changes what a guild got today.
    pub(super) fn change_posts(&self, guild: u64, change: impl FnOnce(&mut DailyPostsRow)) -> TxResult<()> {
        let key = posts_key(guild);
        let day = self.now / DAY;
        let row = self.numbers.get(&key)?;
        let row = row.map(|bytes| decode::<DailyPostsRow>("meta", &bytes)).transpose();
        let mut row = row
            .map_err(Abort::Abort)?
            .filter(|row| row.day == day)
            .unwrap_or(DailyPostsRow {
                day,
                ..Default::default()
            });
        change(&mut row);
        self.numbers.insert(key, row.encode_to_vec())?;
        Ok(())
    }
}

pub(super) fn posts_key(guild: u64) -> Vec<u8> {
    [meta::POSTS.as_bytes(), &guild.to_be_bytes()[..]].concat()
}
