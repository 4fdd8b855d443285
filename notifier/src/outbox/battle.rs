//! Battles: digests that grow by the killmails of one system as long as these come.

use std::time::Duration;

use prost::Message as _;
use sled::transaction::ConflictableTransactionError as Abort;

use super::Outbox;
use crate::{
    database::{BattleKillmailRow, BattleRow, PostState, StorageError, decode, destination_key, meta},
    sink::Destination,
};

/// A battle is over after so long without a killmail.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// A digest does not grow beyond this: it is made of all its killmails at every change. What comes then begins another one.
const MAX_KILLMAILS: usize = 300;

/// Killmails that come to the digest of a battle.
#[derive(Debug)]
pub struct BattleUpdate<'a> {
    /// Their rows in the queue, and what is to be known of each.
    pub killmails: &'a [(u64, BattleKillmailRow)],
    /// In which revision each is shown, in the same order.
    pub revisions: &'a [u32],
    /// Whose channel it is.
    pub guild: Option<u64>,
}

pub(super) fn battle_key(destination: &Destination, system: u32) -> Vec<u8> {
    [
        meta::BATTLE.as_bytes(),
        &destination_key(destination)[..],
        &system.to_be_bytes()[..],
    ]
    .concat()
}

impl Outbox {
    /// The battle that goes on in a system, if there is one that can still grow.
    pub fn battle(&self, destination: &Destination, system: u32, now: u64) -> Result<Option<BattleRow>, StorageError> {
        let bytes = self.database.meta.get(battle_key(destination, system))?;
        let row = bytes.map(|bytes| decode::<BattleRow>("meta", &bytes)).transpose()?;
        Ok(row.filter(|row| goes_on(row, now) && row.killmails.len() < MAX_KILLMAILS))
    }

    /// The digest shows these killmails too: their rows end, their bytes are the battle's from now on. If the battle is not as it was
    /// any more (it was over, or forgotten, while the digest was edited), their rows end all the same, and it is not begun again:
    /// its bytes are let go already.
    pub fn join_battle(
        &self,
        destination: &Destination,
        system: u32,
        battle: &BattleRow,
        joined: &BattleUpdate<'_>,
        now: u64,
    ) -> Result<(), StorageError> {
        let mut grown = battle.clone();
        grown.last = now;
        grown
            .killmails
            .extend(joined.killmails.iter().map(|(_, row)| row.clone()));
        let key = battle_key(destination, system);
        self.transact(destination, now, |transaction| {
            let now = transaction.numbers.get(&key)?;
            let now = now.map(|bytes| decode::<BattleRow>("meta", &bytes)).transpose();
            let goes_on = now.map_err(Abort::Abort)?.as_ref() == Some(battle);
            let mut shown = 0;
            for ((sequence, row), revision) in joined.killmails.iter().zip(joined.revisions) {
                shown += u64::from(transaction.waits(*sequence)?);
                if goes_on {
                    transaction.hold(row.killmail_id)?;
                }
                transaction.end(*sequence, |post| {
                    post.set_state(PostState::Sent);
                    post.message_id = battle.message_id;
                    post.posted_revision = *revision;
                    post.names.clone_from(&row.names);
                })?;
            }
            if let Some(guild) = joined.guild.filter(|_| shown > 0) {
                transaction.change_posts(guild, |row| row.posted += shown)?;
            }
            if goes_on {
                transaction.numbers.insert(&key[..], grown.encode_to_vec())?;
            }
            Ok(())
        })
    }

    /// The digest does not grow any more; the bytes of its killmails are let go.
    pub fn end_battle(&self, destination: &Destination, system: u32) -> Result<(), StorageError> {
        self.let_go(&battle_key(destination, system))
    }

    /// The same for every battle of a destination.
    pub(super) fn end_battles(&self, destination: &Destination) -> Result<(), StorageError> {
        let prefix = [meta::BATTLE.as_bytes(), &destination_key(destination)[..]].concat();
        for key in self.database.meta.scan_prefix(prefix).keys() {
            self.let_go(&key?)?;
        }
        Ok(())
    }

    /// Ends the battles in which nothing happens any more; returns how many.
    pub fn end_quiet_battles(&self, now: u64) -> Result<usize, StorageError> {
        let mut over = Vec::new();
        for row in self.database.meta.scan_prefix(meta::BATTLE) {
            let (key, bytes) = row?;
            if !goes_on(&decode("meta", &bytes)?, now) {
                over.push(key);
            }
        }
        for key in &over {
            self.let_go(key)?;
        }
        Ok(over.len())
    }

    fn let_go(&self, key: &[u8]) -> Result<(), StorageError> {
        // Only bytes are let go, which are of no destination.
        self.transact(&Destination::Channel(0), 0, |transaction| {
            let Some(bytes) = transaction.numbers.remove(key)? else {
                return Ok(());
            };
            let row: BattleRow = decode("meta", &bytes).map_err(Abort::Abort)?;
            for killmail in &row.killmails {
                transaction.release(killmail.killmail_id)?;
            }
            Ok(())
        })
    }
}

fn goes_on(row: &BattleRow, now: u64) -> bool {
    u128::from(now.saturating_sub(row.last)) < IDLE_TIMEOUT.as_millis()
}
