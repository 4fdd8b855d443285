//! Subscriptions on disk. The one place that turns rows into subscriptions and back.

use std::time::Duration;

use sled::transaction::{ConflictableTransactionError as Abort, Transactional as _};

use super::{MaxAge, Ping, Side, Style, Subscription, SubscriptionId, SubscriptionSource, SubscriptionSpec};
use crate::{
    database::{
        Database, StorageError, SubscriptionRow, counters_key, decode, decode_number, destination_key, meta,
        read_destination, read_id, subscription_key,
    },
    settings::Secret,
};

const TREE: &str = "subscriptions";

/// All of them, ordered by guild, then name.
pub(super) fn load(database: &Database) -> Result<Vec<Subscription>, StorageError> {
    database
        .subscriptions
        .iter()
        .values()
        .map(|bytes| read(decode(TREE, &bytes?)?))
        .collect()
}

/// Writes and removes in one transaction. Those without an id yet (0) get one; returns all that were written.
pub(super) fn write(
    database: &Database,
    put: &[Subscription],
    remove: &[(u64, String)],
) -> Result<Vec<Subscription>, StorageError> {
    let written = (&database.subscriptions, &database.meta).transaction(|(subscriptions, numbers)| {
        let number = numbers.get(meta::NEXT_SUBSCRIPTION)?;
        let mut next = decode_number(number.as_deref()).map_err(Abort::Abort)?.unwrap_or(1);
        for (guild, name) in remove {
            let Some(bytes) = subscriptions.remove(subscription_key(*guild, name))? else {
                continue;
            };
            let gone: SubscriptionRow = decode(TREE, &bytes).map_err(Abort::Abort)?;
            // One that only gets another name goes on counting.
            if !put.iter().any(|one| one.id.0 == gone.id) {
                numbers.remove(counters_key(gone.id))?;
            }
        }
        let mut written = put.to_vec();
        for subscription in &mut written {
            if subscription.id.0 == 0 {
                subscription.id = SubscriptionId(next);
            }
            // One that comes from a copy brings its id along.
            next = next.max(subscription.id.0 + 1);
            let key = subscription_key(subscription.spec.guild, &subscription.spec.name);
            subscriptions.insert(key, prost::Message::encode_to_vec(&row(subscription)))?;
        }
        numbers.insert(meta::NEXT_SUBSCRIPTION, &next.to_be_bytes())?;
        Ok(written)
    })?;
    Ok(written)
}

/// Marks a guild as gone at a time, unless it is marked already; or (`None`) as there. Whether that changed anything.
pub(super) fn mark_gone(database: &Database, guild: u64, since: Option<u64>) -> Result<bool, StorageError> {
    let key = gone_key(guild);
    Ok(match since {
        Some(since) => {
            let marked = database
                .meta
                .compare_and_swap(key, None::<&[u8]>, Some(&since.to_be_bytes()[..]))?;
            marked.is_ok()
        }
        None => database.meta.remove(key)?.is_some(),
    })
}

/// Guilds marked as gone at `before` or earlier.
pub(super) fn gone_since(database: &Database, before: u64) -> Result<Vec<u64>, StorageError> {
    let mut found = Vec::new();
    for row in database.meta.scan_prefix(meta::GONE) {
        let (key, bytes) = row?;
        let guild = key.get(meta::GONE.len()..).and_then(read_id);
        let since = decode_number(Some(&bytes))?.unwrap_or(u64::MAX);
        found.extend(guild.filter(|_| since <= before));
    }
    Ok(found)
}

fn gone_key(guild: u64) -> Vec<u8> {
    [meta::GONE.as_bytes(), &guild.to_be_bytes()[..]].concat()
}

pub(super) fn row(subscription: &Subscription) -> SubscriptionRow {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let wish = &subscription.spec;
    SubscriptionRow {
        id: subscription.id.0,
        guild: wish.guild,
        name: wish.name.clone(),
        destination: destination_key(&wish.destination).to_vec(),
        filter: wish.filter.clone(),
        us: wish.us.clone(),
        side: wish.side.word().into(),
        ping: wish.ping.map(|ping| ping.to_string()).unwrap_or_default(),
        ping_max_age: wish.ping_max_age.map(millis),
        max_age: match wish.max_age {
            MaxAge::Limit(limit) => Some(millis(limit)),
            MaxAge::Default | MaxAge::Unlimited => None,
        },
        any_age: wish.max_age == MaxAge::Unlimited,
        style: wish.style.word().into(),
        paused: wish.paused,
        source: subscription.source.word().into(),
        active_from: subscription.active_from,
        created_by: subscription.created.0,
        created_at: subscription.created.1,
        changed_by: subscription.changed.0,
        changed_at: subscription.changed.1,
        webhook_url: wish
            .webhook_url
            .as_ref()
            .map(|url| url.reveal().to_owned())
            .unwrap_or_default(),
        suspension: subscription.suspension.clone(),
        problem: subscription.problem.clone(),
        compiled: subscription.compiled.clone(),
    }
}

pub(super) fn read(row: SubscriptionRow) -> Result<Subscription, StorageError> {
    let bad = |what: &str| StorageError::Row {
        tree: TREE,
        reason: format!("{what} of {:?} in guild {}", row.name, row.guild),
    };
    let ping = match row.ping.as_str() {
        "" => None,
        ping => Some(ping.parse::<Ping>().map_err(|_| bad("ping"))?),
    };
    let max_age = match (row.any_age, row.max_age) {
        (true, _) => MaxAge::Unlimited,
        (false, Some(millis)) => MaxAge::Limit(Duration::from_millis(millis)),
        (false, None) => MaxAge::Default,
    };
    Ok(Subscription {
        id: SubscriptionId(row.id),
        source: row.source.parse::<SubscriptionSource>().map_err(|_| bad("source"))?,
        created: (row.created_by, row.created_at),
        changed: (row.changed_by, row.changed_at),
        active_from: row.active_from,
        spec: SubscriptionSpec {
            guild: row.guild,
            destination: read_destination(&row.destination).ok_or_else(|| bad("destination"))?,
            side: row.side.parse::<Side>().map_err(|_| bad("side"))?,
            style: row.style.parse::<Style>().map_err(|_| bad("style"))?,
            ping,
            ping_max_age: row.ping_max_age.map(Duration::from_millis),
            max_age,
            paused: row.paused,
            webhook_url: (!row.webhook_url.is_empty()).then(|| Secret::new(row.webhook_url.clone())),
            name: row.name,
            filter: row.filter,
            us: row.us,
        },
        suspension: row.suspension,
        problem: row.problem,
        compiled: row.compiled,
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use killfeed::v1::Filter;

    use super::*;
    use crate::{
        database::{self, CompiledRow, SuspensionRow},
        sink::Destination,
    };

    #[test]
    fn a_subscription_reads_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let database = database::open(dir.path(), SystemTime::now()).unwrap().database;
        let subscription = Subscription {
            id: SubscriptionId(0),
            spec: SubscriptionSpec {
                name: "caps".into(),
                guild: 7,
                destination: Destination::Channel(8),
                filter: "group:Titan".into(),
                us: "alliance:1".into(),
                side: Side::Losses,
                ping: Some(Ping::Role(9)),
                ping_max_age: Some(Duration::from_secs(60)),
                max_age: MaxAge::Limit(Duration::from_secs(90)),
                style: Style::Compact,
                paused: true,
                webhook_url: Some(Secret::new("https://discord.com/api/webhooks/1/x")),
            },
            source: SubscriptionSource::Command,
            created: (1, 2),
            changed: (3, 4),
            active_from: 5,
            suspension: Some(SuspensionRow {
                reason: "missing access".into(),
                code: 50001,
                since: 6,
                retired: false,
            }),
            problem: "old".into(),
            compiled: Some(CompiledRow {
                static_data_build: "1".into(),
                language_version: 1,
                filter: Some(Filter::default()),
                ..Default::default()
            }),
        };
        let mut unlimited = subscription.clone();
        unlimited.spec.name = "all".into();
        unlimited.spec.max_age = MaxAge::Unlimited;
        unlimited.spec.ping = None;
        let written = write(&database, &[subscription, unlimited], &[]).unwrap();
        assert_eq!(written.iter().map(|s| s.id.0).collect::<Vec<_>>(), [1, 2]);
        let loaded = load(&database).unwrap();
        assert_eq!(loaded, [written[1].clone(), written[0].clone()]);
        // Its counters go with it, but not where it is only called something else.
        let counters = counters_key(1);
        database.meta.insert(&counters, vec![]).unwrap();
        let mut renamed = written[0].clone();
        renamed.spec.name = "capitals".into();
        write(&database, &[renamed], &[(7, "caps".into())]).unwrap();
        assert!(database.meta.contains_key(&counters).unwrap());
        write(&database, &[], &[(7, "capitals".into())]).unwrap();
        assert!(!database.meta.contains_key(&counters).unwrap());
        assert_eq!(load(&database).unwrap(), [written[1].clone()]);
        // The id of what was removed is not used again.
        let mut third = written[0].clone();
        third.id = SubscriptionId(0);
        assert_eq!(write(&database, &[third], &[]).unwrap()[0].id, SubscriptionId(3));
    }
}
