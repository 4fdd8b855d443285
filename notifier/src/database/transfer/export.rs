//! Reads what moves, and takes it out.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use sled::transaction::{ConflictableTransactionError as Abort, Transactional as _};

use super::{
    super::{
        BATCH_SEQUENCE, CooldownRow, Database, HandledRow, KillmailRow, PositionRow, SCHEMA, StorageError,
        SubscriptionRow, counters_key, decode, id_key, meta, read_id, subscription_key,
    },
    Bytes, Cooldown, Counted, Handled, Post, QueueEntry, Sealed, Transfer, belongs,
};
use crate::shards::Shards;

/// Length of a destination at the beginning of a key.
const DESTINATION: usize = 9;

pub(super) fn read(database: &Database, shards: Shards) -> Result<Transfer, StorageError> {
    let mut moved = Transfer {
        schema: SCHEMA,
        ..Default::default()
    };
    for row in &database.subscriptions {
        let row: SubscriptionRow = decode("subscriptions", &row?.1)?;
        if belongs(row.guild, shards) {
            if let Some(bytes) = database.meta.get(counters_key(row.id))? {
                moved.counters.push(Counted {
                    subscription: row.id,
                    row: decode("meta", &bytes)?,
                });
            }
            moved.subscriptions.push(row);
        }
    }
    let destinations: BTreeSet<Vec<u8>> = moved.subscriptions.iter().map(|row| row.destination.clone()).collect();
    let mut wanted = BTreeSet::new();
    for destination in &destinations {
        for row in database.queue.scan_prefix(destination) {
            let (key, bytes) = row?;
            let sequence = number(&key, "queue")?;
            if sequence == BATCH_SEQUENCE {
                moved.batches.push(Sealed {
                    destination: destination.clone(),
                    row: decode("queue", &bytes)?,
                });
            } else {
                let row: super::QueueRow = decode("queue", &bytes)?;
                wanted.insert(row.killmail_id);
                moved.queue.push(QueueEntry {
                    destination: destination.clone(),
                    sequence,
                    row,
                });
            }
        }
        for row in database.posts.scan_prefix(destination) {
            let (key, bytes) = row?;
            moved.posts.push(Post {
                destination: destination.clone(),
                killmail_id: number(&key, "posts")?,
                row: decode("posts", &bytes)?,
            });
        }
        for row in database.cooldowns.scan_prefix(destination) {
            let (key, bytes) = row?;
            moved.cooldowns.push(Cooldown {
                key: key.to_vec(),
                row: decode::<CooldownRow>("cooldowns", &bytes)?,
            });
        }
    }
    for killmail_id in wanted {
        if let Some(bytes) = database.killmails.get(id_key(killmail_id))? {
            moved.killmails.push(Bytes {
                killmail_id,
                row: decode::<KillmailRow>("killmails", &bytes)?,
            });
        }
    }
    for row in &database.handled {
        let (key, bytes) = row?;
        moved.handled.push(Handled {
            killmail_id: read_id(&key).unwrap_or_default(),
            row: decode::<HandledRow>("handled", &bytes)?,
        });
    }
    if let Some(bytes) = database.meta.get(meta::POSITION)? {
        moved.position = Some(decode::<PositionRow>("meta", &bytes)?);
    }
    Ok(moved)
}

/// Leaves only what belongs to these shards.
pub(super) fn keep_only(moved: &mut Transfer, shards: Shards) {
    moved.subscriptions.retain(|row| belongs(row.guild, shards));
    let there: BTreeSet<Vec<u8>> = moved.subscriptions.iter().map(|row| row.destination.clone()).collect();
    moved.queue.retain(|one| there.contains(&one.destination));
    moved.batches.retain(|one| there.contains(&one.destination));
    moved.posts.retain(|one| there.contains(&one.destination));
    moved
        .cooldowns
        .retain(|one| one.key.get(..DESTINATION).is_some_and(|key| there.contains(key)));
    let wanted: BTreeSet<u64> = moved.queue.iter().map(|one| one.row.killmail_id).collect();
    moved.killmails.retain(|one| wanted.contains(&one.killmail_id));
}

/// Takes it out of the database, all or nothing.
pub(super) fn remove(database: &Database, moved: &Transfer) -> Result<(), StorageError> {
    let mut users: BTreeMap<u64, u64> = BTreeMap::new();
    for one in &moved.queue {
        *users.entry(one.row.killmail_id).or_default() += 1;
    }
    let trees = (
        &database.subscriptions,
        &database.queue,
        &database.posts,
        &database.killmails,
        &database.cooldowns,
        &database.meta,
    );
    trees.transaction(|(subscriptions, queue, posts, killmails, cooldowns, numbers)| {
        for row in &moved.subscriptions {
            subscriptions.remove(subscription_key(row.guild, &row.name))?;
        }
        for one in &moved.counters {
            numbers.remove(counters_key(one.subscription))?;
        }
        for one in &moved.queue {
            queue.remove(key(&one.destination, one.sequence))?;
        }
        for one in &moved.batches {
            queue.remove(key(&one.destination, BATCH_SEQUENCE))?;
        }
        for one in &moved.posts {
            posts.remove(key(&one.destination, one.killmail_id))?;
        }
        for one in &moved.cooldowns {
            cooldowns.remove(&one.key[..])?;
        }
        for (killmail_id, count) in &users {
            let Some(bytes) = killmails.get(id_key(*killmail_id))? else {
                continue;
            };
            let mut row: KillmailRow = decode("killmails", &bytes).map_err(Abort::Abort)?;
            row.users = row.users.saturating_sub(*count);
            if row.users == 0 {
                killmails.remove(&id_key(*killmail_id))?;
            } else {
                killmails.insert(&id_key(*killmail_id), row.encode_to_vec())?;
            }
        }
        Ok(())
    })?;
    database.flush_now()
}

pub(super) fn key(destination: &[u8], number: u64) -> Vec<u8> {
    [destination, &number.to_be_bytes()[..]].concat()
}

fn number(key: &[u8], tree: &'static str) -> Result<u64, StorageError> {
    let number = key.get(DESTINATION..).and_then(read_id);
    number.ok_or_else(|| StorageError::Row {
        tree,
        reason: "its key is not destination and number".into(),
    })
}
