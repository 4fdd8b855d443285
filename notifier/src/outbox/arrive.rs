//! Killmails come in: queue rows, posts, bytes, `handled` and the position, all in one transaction.

use killfeed::client::Position;
use prost::Message as _;
use sled::transaction::{ConflictableTransactionError as Abort, Transactional as _, TransactionalTree};

use super::{Arrival, Arrived, Outbox};
use crate::{
    database::{
        HandledRow, KillmailRow, MatchRow, PositionRow, PostRow, PostState, QueueRow, StorageError, decode,
        decode_number, id_key, meta, post_key, queue_key,
    },
    matching::Match,
};

type Written<T> = Result<T, Abort<StorageError>>;

impl Outbox {
    /// Writes what a run of events caused, and the position after them. Not acknowledged before [`Outbox::flush`].
    pub fn arrive(&self, arrivals: &[Arrival], position: Option<&Position>, now: u64) -> Result<Arrived, StorageError> {
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
            let mut transaction = Transaction {
                queue,
                posts,
                killmails,
                handled,
                next: first,
                now,
                arrived: Arrived::default(),
            };
            for arrival in arrivals {
                transaction.arrive(arrival)?;
            }
            if transaction.next != first {
                numbers.insert(meta::NEXT_SEQUENCE, &transaction.next.to_be_bytes())?;
            }
            if let Some(position) = position {
                let row = PositionRow {
                    cursor: position.cursor.clone(),
                    time: Some(position.time),
                };
                numbers.insert(meta::POSITION, row.encode_to_vec())?;
            }
            Ok(transaction.arrived)
        })?;
        if arrived.queued > 0 {
            let matches = arrivals.iter().flat_map(|arrival| &arrival.matches);
            self.touch(matches.map(|found| found.destination.clone()));
        }
        Ok(arrived)
    }
}

struct Transaction<'a> {
    queue: &'a TransactionalTree,
    posts: &'a TransactionalTree,
    killmails: &'a TransactionalTree,
    handled: &'a TransactionalTree,
    next: u64,
    now: u64,
    arrived: Arrived,
}

impl Transaction<'_> {
    fn arrive(&mut self, arrival: &Arrival) -> Written<()> {
        let key = id_key(arrival.killmail_id);
        if let Some(bytes) = self.handled.get(key)? {
            let row: HandledRow = decode("handled", &bytes).map_err(Abort::Abort)?;
            if row.revision >= arrival.revision {
                self.arrived.repeated += 1;
                return Ok(());
            }
        }
        let row = HandledRow {
            revision: arrival.revision,
            at: self.now,
        };
        self.handled.insert(&key, row.encode_to_vec())?;
        let mut users = 0;
        for found in &arrival.matches {
            users += u64::from(self.queue_for(arrival, found)?);
        }
        self.keep_bytes(arrival, users)
    }

    /// Whether a row was put into the destination's queue.
    fn queue_for(&mut self, arrival: &Arrival, found: &Match) -> Written<bool> {
        let key = post_key(&found.destination, arrival.killmail_id);
        let mut post = match self.posts.get(key)? {
            Some(bytes) => decode::<PostRow>("posts", &bytes).map_err(Abort::Abort)?,
            None => PostRow::default(),
        };
        post.revision = arrival.revision;
        // A later revision is posted only where no post of the killmail is, was counted, or may be.
        let absent = matches!(
            post.state(),
            PostState::Unspecified | PostState::TooOld | PostState::Dropped
        );
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
            };
            self.queue
                .insert(&queue_key(&found.destination, self.next), row.encode_to_vec())?;
            self.next += 1;
            self.arrived.queued += 1;
        } else if absent {
            self.arrived.too_old += 1;
        }
        self.posts.insert(&key, post.encode_to_vec())?;
        Ok(queued)
    }

    /// Where the killmail waits already, its newest revision replaces the bytes: what is posted is what is known then.
    fn keep_bytes(&mut self, arrival: &Arrival, users: u64) -> Written<()> {
        let key = id_key(arrival.killmail_id);
        let before = match self.killmails.get(key)? {
            Some(bytes) => decode::<KillmailRow>("killmails", &bytes).map_err(Abort::Abort)?.users,
            None => 0,
        };
        if before + users > 0 {
            let row = KillmailRow {
                users: before + users,
                revision: arrival.revision,
                killmail: arrival.bytes.clone(),
            };
            self.killmails.insert(&key, row.encode_to_vec())?;
        }
        Ok(())
    }
}

fn rows(found: &Match) -> Vec<MatchRow> {
    let row = |(subscription, outcome): &(crate::subscriptions::SubscriptionId, crate::database::Outcome)| MatchRow {
        subscription: subscription.0,
        outcome: (*outcome).into(),
    };
    found.subscriptions.iter().map(row).collect()
}
