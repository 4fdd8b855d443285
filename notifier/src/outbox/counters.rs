//! What each subscription got in all its life, counted where killmails come and go.

use std::collections::BTreeMap;

use prost::Message as _;
use sled::transaction::{ConflictableTransactionError as Abort, TransactionalTree};

use super::{Outbox, transaction::TxResult};
use crate::{
    database::{CountersRow, MatchRow, StorageError, counters_key, decode},
    subscriptions::SubscriptionId,
};

/// What one transaction adds, by subscription.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<u64, CountersRow>);

impl Tally {
    /// A killmail matched them, for the first time in its destination.
    pub(super) fn matched(&mut self, matches: &[MatchRow], now: u64) {
        for found in matches {
            let row = self.0.entry(found.subscription).or_default();
            row.matched += 1;
            row.last_match = now;
        }
    }

    /// A killmail that matched them was posted.
    pub(super) fn posted(&mut self, matches: &[MatchRow], now: u64) {
        for found in matches {
            let row = self.0.entry(found.subscription).or_default();
            row.posted += 1;
            row.last_post = now;
        }
    }

    pub(super) fn write(&self, numbers: &TransactionalTree) -> TxResult<()> {
        for (subscription, more) in &self.0 {
            let key = counters_key(*subscription);
            let row = match numbers.get(&key)? {
                Some(bytes) => decode::<CountersRow>("meta", &bytes).map_err(Abort::Abort)?,
                // It was deleted while its last post was on its way, and its counters with it.
                None if more.matched == 0 => continue,
                None => CountersRow::default(),
            };
            let row = CountersRow {
                matched: row.matched + more.matched,
                posted: row.posted + more.posted,
                last_match: row.last_match.max(more.last_match),
                last_post: row.last_post.max(more.last_post),
            };
            numbers.insert(key, row.encode_to_vec())?;
        }
        Ok(())
    }
}

impl Outbox {
    /// What a subscription got in all its life.
    pub fn counters(&self, subscription: SubscriptionId) -> Result<CountersRow, StorageError> {
        let bytes = self.database.meta.get(counters_key(subscription.0))?;
        bytes.map_or(Ok(CountersRow::default()), |bytes| decode("meta", &bytes))
    }
}
