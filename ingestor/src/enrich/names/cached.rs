//! Names in memory over names on disk.

use std::sync::Arc;

use killfeed::v1::EntityKind;
use killfeed_service::clock::Clock;
use moka::sync::Cache;
use tokio::{sync::watch, task};

use crate::enrich::{
    cache::{EntityKey, NameEntry, NameStore},
    esi::EsiBan,
};

/// An ordinary day has about 30,000 different pilots; an entry takes about 200 bytes.
const CACHE_CAPACITY: u64 = 100_000;

const DAY: u64 = 24 * 3600;
/// Pilots can't change their names, corporations and alliances hardly ever.
const NAME_TTL_SECONDS: u64 = 7 * DAY;
const TICKER_TTL_SECONDS: u64 = 7 * DAY;
/// What has no name (yet) is asked for again sooner.
const NEGATIVE_TTL_SECONDS: u64 = DAY;

/// Both levels. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    memory: Cache<EntityKey, Arc<NameEntry>>,
    store: Arc<NameStore>,
}

/// What ESI said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NameUpdate {
    /// It has this name.
    Name(Box<str>),
    /// Nothing bears this id: confirmed.
    Nothing,
    /// A corporation or alliance with its ticker.
    Organisation { name: Box<str>, ticker: Box<str> },
    /// Its name and ticker are what they were.
    Same,
    /// ESI does not find it, so it says no ticker.
    NoTicker,
}

/// What is to be done about a name or a ticker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// It is known, or known not to be.
    Nothing,
    /// It is known, but from long ago.
    Stale,
    /// It is not known.
    Missing,
}

impl Cached {
    pub(super) fn new(store: NameStore) -> Self {
        Self {
            memory: Cache::new(CACHE_CAPACITY),
            store: Arc::new(store),
        }
    }

    pub(super) fn get(&self, key: EntityKey) -> Option<Arc<NameEntry>> {
        self.memory.get(&key)
    }

    /// What is to be done about the name, and about the ticker, of `key`.
    pub(super) fn needs(&self, key: EntityKey, now: u64) -> (Need, Need) {
        needs(key.0, self.get(key).as_deref(), now)
    }

    pub(super) fn store(&self) -> &NameStore {
        &self.store
    }

    /// ESI's tags of what is known of `keys`: only of what is known whole, for "not modified" says nothing else.
    pub(super) async fn tags(&self, keys: &[EntityKey]) -> Vec<Option<String>> {
        let known = |key: &EntityKey| {
            self.get(*key)
                .is_some_and(|named| !named.name.is_empty() && !named.ticker.is_empty())
        };
        let (store, keys) = (self.store.clone(), keys.to_vec());
        let known: Vec<bool> = keys.iter().map(known).collect();
        let tags = task::spawn_blocking(move || store.etags(&keys))
            .await
            .unwrap_or_default();
        let tags = tags.into_iter().chain(std::iter::repeat(None));
        known
            .into_iter()
            .zip(tags)
            .map(|(known, tag)| tag.filter(|_| known))
            .collect()
    }

    /// Keeps tags.
    pub(super) async fn keep_tags(&self, tags: Vec<(EntityKey, String)>) {
        let store = self.store.clone();
        if let Err(error) = task::spawn_blocking(move || store.put_tags(&tags)).await {
            tracing::warn!(%error, "writing ESI's ETags to disk failed");
        }
    }

    /// Keeps what ESI refuses, as it changes, until it is dropped.
    pub(super) async fn keep_refusals(self, mut refusals: watch::Receiver<Vec<EsiBan>>) {
        while refusals.changed().await.is_ok() {
            let (store, now) = (self.store.clone(), refusals.borrow_and_update().clone());
            if let Err(error) = task::spawn_blocking(move || store.put_refusals(&now)).await {
                tracing::warn!(%error, "writing ESI bans to disk failed");
            }
        }
    }

    /// Brings into memory what the disk knows of `keys`.
    pub(super) async fn load(&self, keys: &[EntityKey]) {
        let absent = keys.iter().copied().filter(|key| !self.memory.contains_key(key));
        let absent: Vec<_> = absent.collect();
        if absent.is_empty() {
            return;
        }
        let (store, memory) = (self.store.clone(), self.memory.clone());
        let loaded = task::spawn_blocking(move || {
            for (key, named) in absent.iter().zip(store.get(&absent)) {
                if let Some(named) = named {
                    memory.insert(*key, Arc::new(named));
                }
            }
        });
        if let Err(error) = loaded.await {
            tracing::warn!(%error, "reading the name cache failed");
        }
    }

    /// Takes in what ESI said at `now`: in memory at once, on disk when this comes back.
    pub(super) async fn change(&self, changes: Vec<(EntityKey, NameUpdate)>, now: u64) {
        if changes.is_empty() {
            return;
        }
        let keys: Vec<_> = changes.iter().map(|(key, _)| *key).collect();
        self.load(&keys).await;
        let mut entries = Vec::with_capacity(changes.len());
        for (key, change) in changes {
            let before = self.get(key);
            let after = Arc::new(changed(before.as_deref().cloned().unwrap_or_default(), change, now));
            self.memory.insert(key, after.clone());
            entries.push((key, after));
        }
        let store = self.store.clone();
        if let Err(error) = task::spawn_blocking(move || store.put(&entries)).await {
            tracing::warn!(%error, "writing the name cache failed");
        }
    }
}

/// Seconds since 1970.
pub(super) fn unix_now() -> u64 {
    Clock::system().now().unix_ms() / 1_000
}

/// As [`Cached::needs`], of what is known so far.
fn needs(kind: EntityKind, named: Option<&NameEntry>, now: u64) -> (Need, Need) {
    let has_ticker = matches!(kind, EntityKind::Corporation | EntityKind::Alliance);
    let Some(named) = named else {
        return (Need::Missing, if has_ticker { Need::Missing } else { Need::Nothing });
    };
    let need = |text: &str, at: u64, fresh: u64| {
        let fresh = if text.is_empty() { NEGATIVE_TTL_SECONDS } else { fresh };
        match at {
            0 => Need::Missing,
            at if now.saturating_sub(at) > fresh => Need::Stale,
            _ => Need::Nothing,
        }
    };
    let name = need(&named.name, named.name_at, NAME_TTL_SECONDS);
    // What nothing bears has no ticker either.
    if !has_ticker || (named.name.is_empty() && named.name_at != 0) {
        return (name, Need::Nothing);
    }
    (name, need(&named.ticker, named.ticker_at, TICKER_TTL_SECONDS))
}

fn changed(mut named: NameEntry, change: NameUpdate, now: u64) -> NameEntry {
    match change {
        NameUpdate::Name(name) => (named.name, named.name_at) = (name, now),
        NameUpdate::Nothing => {
            named = NameEntry {
                name_at: now,
                ..NameEntry::default()
            }
        }
        NameUpdate::Organisation { name, ticker } => {
            named = NameEntry {
                name,
                ticker,
                name_at: now,
                ticker_at: now,
            }
        }
        NameUpdate::Same => (named.name_at, named.ticker_at) = (now, now),
        NameUpdate::NoTicker if named.ticker.is_empty() => named.ticker_at = now,
        // One "not found" proves nothing against a ticker that was there: it stays, and is asked for again as soon.
        NameUpdate::NoTicker => named.ticker_at = now.saturating_sub(TICKER_TTL_SECONDS - NEGATIVE_TTL_SECONDS),
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done() {
        let now = 100 * DAY;
        let named = |name: &str, name_at, ticker: &str, ticker_at| NameEntry {
            name: name.into(),
            ticker: ticker.into(),
            name_at,
            ticker_at,
        };
        let (pilot, corp) = (EntityKind::Character, EntityKind::Corporation);
        let (nothing, stale, missing) = (Need::Nothing, Need::Stale, Need::Missing);
        assert_eq!(needs(pilot, None, now), (missing, nothing));
        assert_eq!(needs(corp, None, now), (missing, missing));
        assert_eq!(needs(pilot, Some(&named("A", now, "", 0)), now), (nothing, nothing));
        assert_eq!(needs(corp, Some(&named("A", now, "", 0)), now), (nothing, missing));
        assert_eq!(
            needs(corp, Some(&named("A", now - 8 * DAY, "T", now)), now),
            (stale, nothing)
        );
        assert_eq!(
            needs(corp, Some(&named("A", now, "T", now - 8 * DAY)), now),
            (nothing, stale)
        );
        assert_eq!(
            needs(corp, Some(&named("A", now, "", now - 2 * DAY)), now),
            (nothing, stale)
        );
        assert_eq!(needs(corp, Some(&named("", now, "", 0)), now), (nothing, nothing));
        assert_eq!(
            needs(corp, Some(&named("", now - 2 * DAY, "", 0)), now),
            (stale, nothing)
        );
        // A clock that was set back makes nothing stale.
        assert_eq!(
            needs(pilot, Some(&named("A", now + DAY, "", 0)), now),
            (nothing, nothing)
        );
    }

    #[test]
    fn what_is_said_of_one_thing_leaves_the_other() {
        let organisation = NameUpdate::Organisation {
            name: "A".into(),
            ticker: "T".into(),
        };
        let known = changed(NameEntry::default(), organisation, 5);
        let renamed = changed(known.clone(), NameUpdate::Name("B".into()), 6);
        assert_eq!(
            (&*renamed.name, renamed.name_at, &*renamed.ticker, renamed.ticker_at),
            ("B", 6, "T", 5)
        );
        let same = changed(renamed.clone(), NameUpdate::Same, 9);
        assert_eq!(
            (&*same.name, same.name_at, &*same.ticker, same.ticker_at),
            ("B", 9, "T", 9)
        );
        let bare = changed(
            changed(NameEntry::default(), NameUpdate::Name("B".into()), 6),
            NameUpdate::NoTicker,
            7,
        );
        assert_eq!((&*bare.name, &*bare.ticker, bare.ticker_at), ("B", "", 7));
        // One refusal takes no ticker away, but it is asked for again after a day.
        let now = 100 * DAY;
        let known_still = changed(known.clone(), NameUpdate::NoTicker, now);
        assert_eq!((&*known_still.name, &*known_still.ticker), ("A", "T"));
        let ticker = |at| needs(EntityKind::Corporation, Some(&known_still), at).1;
        assert_eq!((ticker(now + DAY), ticker(now + DAY + 1)), (Need::Nothing, Need::Stale));
        let gone = changed(known, NameUpdate::Nothing, 8);
        assert_eq!((&*gone.name, gone.name_at, gone.ticker_at), ("", 8, 0));
    }
}
