//! Killmails come in: queue rows, posts, bytes, `handled` and the position, all in one transaction.

use killfeed::client::Position;
use prost::Message as _;
use sled::transaction::{ConflictableTransactionError as Abort, Transactional as _, TransactionalTree};

use super::{EnqueueStats, IncomingKillmail, Outbox, counters::Tally, transaction::TxResult};
use crate::{
    database::{
        CatchUpRow, HandledRow, KillmailRow, MatchRow, PositionRow, PostRow, PostState, QueueRow, StorageError, decode,
        decode_number, id_key, meta, post_key, queue_key,
    },
    matching::{Match, millis},
    sink::Destination,
};

impl Outbox {
    /// Writes what a run of events caused, and the position after them. Not acknowledged before [`Outbox::flush`].
    pub fn enqueue(
        &self,
        arrivals: &[IncomingKillmail],
        position: Option<&Position>,
        now: u64,
    ) -> Result<EnqueueStats, StorageError> {
        let row = position.map(|position| {
            let row = PositionRow {
                cursor: position.cursor.clone(),
                time: Some(position.time),
            };
            (row.encode_to_vec(), millis(&row.time))
        });
        self.write(arrivals, &PositionUpdate::Position(row), now)
    }

    /// The same for moved guilds that read a piece of the log later than everyone else: what was handled for others was not for
    /// them; what they have is told by their posts. `left` is what is still to be read; `None` = nothing.
    pub fn arrive_late(
        &self,
        arrivals: &[IncomingKillmail],
        key: &[u8],
        left: Option<&CatchUpRow>,
        now: u64,
    ) -> Result<EnqueueStats, StorageError> {
        let mark = PositionUpdate::CatchUp(key, left.map(|row| row.encode_to_vec()));
        self.write(arrivals, &mark, now)
    }

    fn write(
        &self,
        arrivals: &[IncomingKillmail],
        mark: &PositionUpdate<'_>,
        now: u64,
    ) -> Result<EnqueueStats, StorageError> {
        let database = &self.database;
        let trees = (
            &database.queue,
            &database.posts,
            &database.killmails,
            &database.handled,
            &database.meta,
        );
        let arrived = trees.transaction(|(queue, posts, killmails, handled, numbers)| {
            let number = numbers.get(meta::NEXT_SEQUENCE)?;
            let first = decode_number(number.as_deref()).map_err(Abort::Abort)?.unwrap_or(1);
            let mut transaction = EnqueueTx {
                queue,
                posts,
                killmails,
                handled,
                next: first,
                now,
                late: matches!(mark, PositionUpdate::CatchUp(..)),
                arrived: EnqueueStats::default(),
                tally: Tally::default(),
            };
            for arrival in arrivals {
                transaction.enqueue(arrival)?;
            }
            if transaction.next != first {
                numbers.insert(meta::NEXT_SEQUENCE, &transaction.next.to_be_bytes())?;
            }
            transaction.tally.write(numbers)?;
            match mark {
                PositionUpdate::Position(None) => {}
                PositionUpdate::Position(Some((row, time))) => {
                    // The first one: the stream begins here.
                    if numbers.insert(meta::POSITION, &row[..])?.is_none() {
                        numbers.insert(meta::BEGAN, &time.to_be_bytes())?;
                    }
                }
                PositionUpdate::CatchUp(key, Some(row)) => drop(numbers.insert(*key, &row[..])?),
                PositionUpdate::CatchUp(key, None) => drop(numbers.remove(*key)?),
            }
            Ok(transaction.arrived)
        })?;
        if arrived.queued + arrived.edits > 0 {
            let matches = arrivals.iter().flat_map(|arrival| &arrival.matches);
            let posted = arrivals.iter().flat_map(|arrival| &arrival.posted);
            self.touch(matches.map(|found| &found.destination).chain(posted).cloned());
        }
        Ok(arrived)
    }
}

/// How far the events reach, encoded.
enum PositionUpdate<'a> {
    /// And its time, in milliseconds.
    Position(Option<(Vec<u8>, u64)>),
    CatchUp(&'a [u8], Option<Vec<u8>>),
}

struct EnqueueTx<'a> {
    queue: &'a TransactionalTree,
    posts: &'a TransactionalTree,
    killmails: &'a TransactionalTree,
    handled: &'a TransactionalTree,
    next: u64,
    now: u64,
    late: bool,
    arrived: EnqueueStats,
    tally: Tally,
}

impl EnqueueTx<'_> {
    fn enqueue(&mut self, arrival: &IncomingKillmail) -> TxResult<()> {
        if !self.late && self.was_handled(arrival)? {
            self.arrived.repeated += 1;
            return Ok(());
        }
        let mut users = 0;
        for found in &arrival.matches {
            users += u64::from(self.queue_for(arrival, found)?);
        }
        for destination in &arrival.posted {
            let key = post_key(destination, arrival.killmail_id);
            if let Some(bytes) = self.posts.get(key)? {
                let mut post: PostRow = decode("posts", &bytes).map_err(Abort::Abort)?;
                post.revision = post.revision.max(arrival.revision);
                users += u64::from(self.edit_later(arrival, destination, &mut post)?);
                self.posts.insert(&key, post.encode_to_vec())?;
            }
        }
        self.keep_bytes(arrival, users)
    }

    /// Whether this revision or a later one was; if not, it is from now on.
    fn was_handled(&self, arrival: &IncomingKillmail) -> TxResult<bool> {
        let key = id_key(arrival.killmail_id);
        if let Some(bytes) = self.handled.get(key)? {
            let row: HandledRow = decode("handled", &bytes).map_err(Abort::Abort)?;
            if row.revision >= arrival.revision {
                return Ok(true);
            }
        }
        let row = HandledRow {
            revision: arrival.revision,
            at: self.now,
        };
        self.handled.insert(&key, row.encode_to_vec())?;
        Ok(false)
    }

    /// Whether the post was put into the queue to be edited: it is there, and shows an earlier revision.
    fn edit_later(
        &mut self,
        arrival: &IncomingKillmail,
        destination: &Destination,
        post: &mut PostRow,
    ) -> TxResult<bool> {
        let shown = post.state() == PostState::Sent && !post.embed.is_empty();
        if !shown || arrival.revision <= post.posted_revision {
            return Ok(false);
        }
        // Where an edit waits already it will show what is newest.
        if post.sequence != 0 && self.queue.get(queue_key(destination, post.sequence))?.is_some() {
            return Ok(false);
        }
        post.sequence = self.next;
        let row = QueueRow {
            killmail_id: arrival.killmail_id,
            kill_time: arrival.kill_time,
            published: arrival.published,
            queued: self.now,
            edit: true,
            ..Default::default()
        };
        self.queue
            .insert(&queue_key(destination, self.next), row.encode_to_vec())?;
        self.next += 1;
        self.arrived.edits += 1;
        Ok(true)
    }

    /// Whether a row was put into the destination's queue.
    fn queue_for(&mut self, arrival: &IncomingKillmail, found: &Match) -> TxResult<bool> {
        let key = post_key(&found.destination, arrival.killmail_id);
        let mut post = match self.posts.get(key)? {
            Some(bytes) => decode::<PostRow>("posts", &bytes).map_err(Abort::Abort)?,
            None => PostRow::default(),
        };
        if post.state() == PostState::Unspecified {
            self.tally.matched(&rows(found), self.now);
        }
        let before = post.revision;
        post.revision = post.revision.max(arrival.revision);
        // A later revision is posted only where no post of the killmail is, was counted, or may be.
        let absent = match post.state() {
            PostState::Unspecified => true,
            PostState::TooOld | PostState::Dropped => arrival.revision > before,
            _ => false,
        };
        let queued = absent && found.in_time;
        if absent {
            post.since = self.now;
            post.matches = rows(found);
            post.set_state(if queued { PostState::Queued } else { PostState::TooOld });
        }
        if queued {
            post.sequence = self.next;
            let row = QueueRow {
                killmail_id: arrival.killmail_id,
                matches: rows(found),
                batch: 0,
                kill_time: arrival.kill_time,
                published: arrival.published,
                queued: self.now,
                edit: false,
                system: arrival.system,
                value: arrival.value,
            };
            self.queue
                .insert(&queue_key(&found.destination, self.next), row.encode_to_vec())?;
            self.next += 1;
            self.arrived.queued += 1;
        } else if absent {
            self.arrived.too_old += 1;
        } else if post.state() == PostState::Sent {
            post.matches = rows(found);
        } else if post.state() == PostState::Queued {
            self.wanted_by_more(found, &mut post)?;
        }
        let waits = queued || self.edit_later(arrival, &found.destination, &mut post)?;
        self.posts.insert(&key, post.encode_to_vec())?;
        Ok(waits)
    }

    /// A later revision matches where the killmail waits: whoever wants it by now wants the row that is there, unless it is sealed.
    fn wanted_by_more(&mut self, found: &Match, post: &mut PostRow) -> TxResult<()> {
        let key = queue_key(&found.destination, post.sequence);
        let Some(bytes) = self.queue.get(key)? else {
            return Ok(());
        };
        let mut row: QueueRow = decode("queue", &bytes).map_err(Abort::Abort)?;
        let known = |one: &MatchRow| row.matches.iter().any(|known| known.subscription == one.subscription);
        let more: Vec<MatchRow> = rows(found).into_iter().filter(|one| !known(one)).collect();
        if row.batch != 0 || more.is_empty() {
            return Ok(());
        }
        self.tally.matched(&more, self.now);
        row.matches.extend(more);
        post.matches.clone_from(&row.matches);
        self.queue.insert(&key, row.encode_to_vec())?;
        Ok(())
    }

    /// Where the killmail waits already, its newest revision replaces the bytes: what is posted is what is known then.
    fn keep_bytes(&mut self, arrival: &IncomingKillmail, users: u64) -> TxResult<()> {
        let key = id_key(arrival.killmail_id);
        let own = match self.killmails.get(key)? {
            Some(bytes) => decode::<KillmailRow>("killmails", &bytes).map_err(Abort::Abort)?,
            None => KillmailRow::default(),
        };
        if own.users + users > 0 {
            // Read later than everyone else, this may be an older revision than the one that waits.
            let newest = if own.users > 0 && own.revision > arrival.revision {
                (own.revision, own.killmail)
            } else {
                (arrival.revision, arrival.bytes.clone())
            };
            let row = KillmailRow {
                users: own.users + users,
                revision: newest.0,
                killmail: newest.1,
            };
            self.killmails.insert(&key, row.encode_to_vec())?;
        }
        Ok(())
    }
}

fn rows(found: &Match) -> Vec<MatchRow> {
    let row =
        |(subscription, outcome): &(crate::subscriptions::SubscriptionId, crate::database::KillOutcome)| MatchRow {
            subscription: subscription.0,
            outcome: (*outcome).into(),
        };
    found.subscriptions.iter().map(row).collect()
}
