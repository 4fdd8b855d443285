//! Writes what was moved. Ids and sequences are counted locally, so all of them are given anew.

use std::collections::BTreeMap;

use prost::Message as _;
use sled::transaction::{ConflictableTransactionError as Abort, Transactional as _};

use super::{
    super::{
        BATCH_SEQUENCE, Database, HandledRow, KillmailRow, MatchRow, PositionRow, StorageError, counters_key, decode,
        decode_number, id_key, meta, subscription_key,
    },
    CatchUpRow, Transfer, TransferError,
    export::key,
    guilds,
};

pub(super) fn write(database: &Database, moved: &Transfer) -> Result<(), TransferError> {
    let mut there = Vec::new();
    for row in &moved.subscriptions {
        if database
            .subscriptions
            .contains_key(subscription_key(row.guild, &row.name))
            .map_err(StorageError::from)?
        {
            there.push(format!("{:?} of guild {}", row.name, row.guild));
        }
    }
    if !there.is_empty() {
        return Err(TransferError::There(there.join(", ")));
    }
    let trees = (
        &database.subscriptions,
        &database.queue,
        &database.posts,
        &database.killmails,
        &database.handled,
        &database.cooldowns,
        &database.meta,
    );
    let written = trees.transaction(
        |(subscriptions, queue, posts, killmails, handled, cooldowns, numbers)| {
            let mut next_id = next(numbers.get(meta::NEXT_SUBSCRIPTION)?.as_deref())?;
            let mut next_sequence = next(numbers.get(meta::NEXT_SEQUENCE)?.as_deref())?;
            let mut ids = BTreeMap::new();
            for row in &moved.subscriptions {
                let mut row = row.clone();
                ids.insert(row.id, next_id);
                row.id = next_id;
                next_id += 1;
                subscriptions.insert(subscription_key(row.guild, &row.name), row.encode_to_vec())?;
            }
            for one in &moved.counters {
                if let Some(id) = ids.get(&one.subscription) {
                    numbers.insert(counters_key(*id), one.row.encode_to_vec())?;
                }
            }
            let renamed = |matches: &[MatchRow]| -> Vec<MatchRow> {
                let known = matches.iter().filter_map(|found| {
                    Some(MatchRow {
                        subscription: *ids.get(&found.subscription)?,
                        outcome: found.outcome,
                    })
                });
                known.collect()
            };
            // The order of a destination is that of its sequences. Batches are counted among them.
            let mut sequences = BTreeMap::new();
            let old = moved.queue.iter().map(|one| one.sequence);
            let mut old: Vec<u64> = old.chain(moved.batches.iter().map(|one| one.row.id)).collect();
            old.sort_unstable();
            for sequence in old {
                sequences.insert(sequence, next_sequence);
                next_sequence += 1;
            }
            let anew = |sequence: u64| sequences.get(&sequence).copied().unwrap_or_default();
            let mut users: BTreeMap<u64, u64> = BTreeMap::new();
            for one in &moved.queue {
                let mut row = one.row.clone();
                row.matches = renamed(&row.matches);
                row.batch = anew(row.batch);
                *users.entry(row.killmail_id).or_default() += 1;
                queue.insert(key(&one.destination, anew(one.sequence)), row.encode_to_vec())?;
            }
            for one in &moved.batches {
                let mut row = one.row.clone();
                row.id = anew(row.id);
                for entry in &mut row.entries {
                    entry.sequence = anew(entry.sequence);
                }
                queue.insert(key(&one.destination, BATCH_SEQUENCE), row.encode_to_vec())?;
            }
            for one in &moved.posts {
                let mut row = one.row.clone();
                row.matches = renamed(&row.matches);
                row.sequence = anew(row.sequence);
                posts.insert(key(&one.destination, one.killmail_id), row.encode_to_vec())?;
            }
            for one in &moved.killmails {
                let count = users.get(&one.killmail_id).copied().unwrap_or_default();
                let mut row = one.row.clone();
                row.users = count;
                if let Some(bytes) = killmails.get(id_key(one.killmail_id))? {
                    let mut own: KillmailRow = decode("killmails", &bytes).map_err(Abort::Abort)?;
                    own.users += count;
                    if own.revision < row.revision {
                        (own.revision, own.killmail) = (row.revision, row.killmail);
                    }
                    row = own;
                }
                killmails.insert(&id_key(one.killmail_id), row.encode_to_vec())?;
            }
            for one in &moved.cooldowns {
                cooldowns.insert(&one.key[..], one.row.encode_to_vec())?;
            }
            numbers.insert(meta::NEXT_SUBSCRIPTION, &next_id.to_be_bytes())?;
            numbers.insert(meta::NEXT_SEQUENCE, &next_sequence.to_be_bytes())?;
            let own = numbers.get(meta::POSITION)?;
            let own = own.map(|bytes| decode::<PositionRow>("meta", &bytes)).transpose();
            match (own.map_err(Abort::Abort)?, &moved.position) {
                // This folder is new: it goes on where the other one was, and has seen what that one saw.
                (None, Some(position)) => {
                    numbers.insert(meta::POSITION, position.encode_to_vec())?;
                    for one in &moved.handled {
                        merge(handled, one.killmail_id, one.row)?;
                    }
                }
                (Some(own), Some(position)) if time(position) < time(&own) => {
                    let row = CatchUpRow {
                        from: Some(position.clone()),
                        until: Some(own),
                        guilds: guilds(moved).into_iter().collect(),
                    };
                    numbers.insert(catch_up_key(next_sequence), row.encode_to_vec())?;
                    numbers.insert(meta::NEXT_SEQUENCE, &(next_sequence + 1).to_be_bytes())?;
                }
                // The other one was further: what it has posted since is in `posts`, so that reading it again posts nothing twice.
                _ => {}
            }
            Ok(())
        },
    );
    written.map_err(StorageError::from)?;
    database.flush_now()?;
    Ok(())
}

fn catch_up_key(number: u64) -> Vec<u8> {
    [meta::CATCH_UP.as_bytes(), &number.to_be_bytes()[..]].concat()
}

fn next(bytes: Option<&[u8]>) -> Result<u64, Abort<StorageError>> {
    Ok(decode_number(bytes).map_err(Abort::Abort)?.unwrap_or(1))
}

fn time(position: &PositionRow) -> (i64, i32) {
    position.time.as_ref().map_or((0, 0), |time| (time.seconds, time.nanos))
}

fn merge(
    handled: &sled::transaction::TransactionalTree,
    killmail_id: u64,
    row: HandledRow,
) -> Result<(), Abort<StorageError>> {
    let key = id_key(killmail_id);
    let own = match handled.get(key)? {
        Some(bytes) => decode::<HandledRow>("handled", &bytes).map_err(Abort::Abort)?.revision,
        None => 0,
    };
    let row = HandledRow {
        revision: own.max(row.revision),
        at: row.at,
    };
    handled.insert(&key, row.encode_to_vec())?;
    Ok(())
}
