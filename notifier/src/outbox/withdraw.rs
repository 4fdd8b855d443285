//! Subscriptions go, or are paused: what is queued only for them is dropped at once. And guilds go, with all that is kept of
//! them.

use std::collections::BTreeSet;

use prost::Message as _;
use sled::transaction::ConflictableTransactionError as Abort;

use super::{Outbox, transaction::posts_key};
use crate::{
    database::{
        BATCH_SEQUENCE, PostState, QueueRow, StorageError, decode, destination_key, queue_key, read_id, read_sequence,
    },
    sink::Destination,
};

/// Rows looked at in one transaction: a long queue must not hold up the stream.
const MAX_BATCH: usize = 200;

impl Outbox {
    /// Takes `subscriptions` out of every row that waits for the destination, and ends the rows that nobody else wants.
    /// A message on its way is not called back. Not acknowledged before [`Outbox::flush`].
    pub fn withdraw(
        &self,
        destination: &Destination,
        subscriptions: &BTreeSet<u64>,
        now: u64,
    ) -> Result<usize, StorageError> {
        let mut sequences = Vec::new();
        for row in self.database.queue.scan_prefix(destination_key(destination)) {
            let (key, bytes) = row?;
            let Some(sequence) = read_sequence(&key).filter(|sequence| *sequence != BATCH_SEQUENCE) else {
                continue;
            };
            let row: QueueRow = decode("queue", &bytes)?;
            if row
                .matches
                .iter()
                .any(|found| subscriptions.contains(&found.subscription))
            {
                sequences.push(sequence);
            }
        }
        let mut ended = 0;
        for some in sequences.chunks(MAX_BATCH) {
            ended += self.transact(destination, now, |transaction| {
                let mut ended = 0;
                for &sequence in some {
                    let key = queue_key(destination, sequence);
                    let Some(bytes) = transaction.queue.get(key)? else {
                        continue;
                    };
                    let mut row: QueueRow = decode("queue", &bytes).map_err(Abort::Abort)?;
                    // What a sealed message carries does not change until Discord has answered.
                    if row.batch != 0 {
                        continue;
                    }
                    row.matches.retain(|found| !subscriptions.contains(&found.subscription));
                    if row.matches.is_empty() {
                        transaction.end(sequence, |post| post.set_state(PostState::Dropped))?;
                        ended += 1;
                    } else {
                        transaction.queue.insert(&key, row.encode_to_vec())?;
                        transaction.now_wanted_by(&row)?;
                    }
                }
                Ok(ended)
            })?;
        }
        Ok(ended)
    }

    /// Deletes everything about a destination: what waits, what became of its killmails, its battles and cooldowns. Not
    /// acknowledged before [`Outbox::flush`].
    pub fn forget(&self, destination: &Destination, now: u64) -> Result<(), StorageError> {
        self.drop_queue(destination, "forgotten", now)?;
        self.end_battles(destination)?;
        let prefix = destination_key(destination);
        for tree in [&self.database.posts, &self.database.cooldowns] {
            for key in tree.scan_prefix(prefix).keys() {
                tree.remove(key?)?;
            }
        }
        Ok(())
    }

    /// Deletes what is kept of a guild as a whole: how many posts it got today. Not acknowledged before [`Outbox::flush`].
    pub fn forget_guild(&self, guild: u64) -> Result<(), StorageError> {
        self.database.meta.remove(posts_key(guild))?;
        Ok(())
    }

    /// Every post of a destination: the killmail, and what became of it.
    pub fn posts(
        &self,
        destination: &Destination,
    ) -> impl Iterator<Item = Result<(u64, crate::database::PostRow), StorageError>> {
        let rows = self.database.posts.scan_prefix(destination_key(destination));
        rows.map(|row| {
            let (key, bytes) = row?;
            let killmail = key
                .get(destination_key(&Destination::Channel(0)).len()..)
                .and_then(read_id);
            Ok((killmail.unwrap_or_default(), decode("posts", &bytes)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::*;
    use crate::{
        database::{self, KillOutcome},
        matching::Match,
        outbox::IncomingKillmail,
        subscriptions::SubscriptionId,
    };

    const HERE: Destination = Destination::Channel(2);

    fn arrival(killmail_id: u64, subscriptions: &[u64]) -> IncomingKillmail {
        let wanted = subscriptions
            .iter()
            .map(|id| (SubscriptionId(*id), KillOutcome::Neutral));
        IncomingKillmail {
            killmail_id,
            revision: 0,
            bytes: vec![],
            kill_time: 1,
            published: 1,
            system: 0,
            value: None,
            matches: vec![Match {
                destination: HERE,
                subscriptions: wanted.collect(),
                in_time: true,
            }],
            posted: Vec::new(),
        }
    }

    #[tokio::test]
    async fn only_what_nobody_else_wants_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let database = Arc::new(database::open(dir.path(), SystemTime::now()).unwrap().database);
        let outbox = Outbox::new(database.clone());
        let arrivals = [arrival(10, &[1]), arrival(11, &[1, 2]), arrival(12, &[2])];
        outbox.enqueue(&arrivals, None, 5).unwrap();
        assert_eq!(outbox.withdraw(&HERE, &BTreeSet::from([1]), 6).unwrap(), 1);
        let left: Vec<u64> = outbox
            .head(&HERE, 9)
            .unwrap()
            .rows
            .iter()
            .map(|(_, row)| row.killmail_id)
            .collect();
        assert_eq!(left, [11, 12]);
        assert_eq!(outbox.post(&HERE, 10).unwrap().unwrap().state(), PostState::Dropped);
        assert_eq!(database.killmails.len(), 2, "its bytes are gone too");
        // Resumed: the row that two wanted is the other's alone.
        assert_eq!(outbox.withdraw(&HERE, &BTreeSet::from([2]), 7).unwrap(), 2);

        assert_eq!(outbox.posts(&HERE).count(), 3);
        outbox.forget(&HERE, 8).unwrap();
        assert_eq!(outbox.posts(&HERE).count(), 0);
        assert!(database.killmails.is_empty() && database.queue.is_empty());
    }
}
