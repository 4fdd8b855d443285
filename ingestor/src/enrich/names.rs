//! Names of characters, corporations and alliances: from memory, else from disk, else from ESI.

mod bisect;
mod cached;
mod fetch;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use killfeed::{
    filter::fold,
    v1::{Entity, EntityKind},
};
use moka::sync::Cache;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use super::{
    batcher::Batcher,
    cache::{CacheError, EntityKey, NameEntry, NameStore, PrefixMatch},
    esi::{Esi, EsiError, MAX_NAMES},
};
use cached::{Cached, NameUpdate, Need, unix_now};
use fetch::{FetchNames, FetchTickers};

/// With so many tickers in line they come too late for this killmail: it does not wait for them.
const TICKER_QUEUE_THRESHOLD: usize = 16;
/// Tickers are nice to have; this is the most that a killmail waits for them alone.
const TICKER_TIMEOUT: Duration = Duration::from_millis(300);
/// For so long a name that ESI did not know is not asked for again.
const NEGATIVE_TTL: Duration = Duration::from_secs(600);
const MAX_NEGATIVE_ENTRIES: u64 = 10_000;
/// ESI takes no longer names.
const NAME_MAX_CHARS: usize = 100;

/// The three kinds whose names are not in the static data.
pub const DYNAMIC: [EntityKind; 3] = [EntityKind::Character, EntityKind::Corporation, EntityKind::Alliance];

/// Whether it is one of [`DYNAMIC`].
pub fn is_dynamic(kind: EntityKind) -> bool {
    DYNAMIC.contains(&kind)
}

/// Names seen so far, and the way to more. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NameDirectory {
    cached: Cached,
    esi: Esi,
    by_id: Arc<Batcher<EntityKey>>,
    tickers: Arc<Batcher<EntityKey>>,
    /// Folded names that were asked of ESI a short while ago.
    asked: Cache<String, ()>,
    /// ESI kept somebody waiting in vain and has said nothing since: nobody else waits for it.
    slow: Arc<AtomicBool>,
}

impl NameDirectory {
    pub(super) fn open(data_dir: &Path, esi: Esi, shutdown: CancellationToken) -> Result<Self, CacheError> {
        let store = NameStore::open(data_dir)?;
        esi.restore(&store.refusals());
        let cached = Cached::new(store);
        let kept = cached.clone().keep_refusals(esi.refusals());
        let until = shutdown.clone();
        tokio::spawn(async move { until.run_until_cancelled(kept).await });
        let slow = Arc::new(AtomicBool::new(false));
        let names = FetchNames::new(esi.clone(), cached.clone(), slow.clone());
        let tickers = FetchTickers::new(esi.clone(), cached.clone());
        Ok(Self {
            cached,
            esi,
            by_id: Arc::new(Batcher::start(names, shutdown.clone())),
            tickers: Arc::new(Batcher::start(tickers, shutdown)),
            asked: Cache::builder()
                .max_capacity(MAX_NEGATIVE_ENTRIES)
                .time_to_live(NEGATIVE_TTL)
                .build(),
            slow,
        })
    }

    /// What is known of `key` in memory, where [`NameDirectory::look_up`] puts it.
    pub(super) fn get(&self, key: EntityKey) -> Option<Arc<NameEntry>> {
        self.cached.get(key)
    }

    /// Sees to it that what can be known of `keys` by `deadline` is in memory. What comes later is there for the next.
    /// Returns how many names are missing now.
    pub(super) async fn look_up(&self, keys: Vec<EntityKey>, deadline: Instant) -> usize {
        self.cached.load(&keys).await;
        let now = unix_now();
        let need = |key: &EntityKey| self.cached.needs(*key, now);
        let (mut missing, mut stale, mut tickers, mut stale_tickers) = (vec![], vec![], vec![], vec![]);
        for key in &keys {
            let (name, ticker) = need(key);
            match name {
                Need::Missing => missing.push(*key),
                Need::Stale => stale.push(*key),
                Need::Nothing => {}
            }
            match ticker {
                Need::Missing => tickers.push(*key),
                Need::Stale => stale_tickers.push(*key),
                Need::Nothing => {}
            }
        }
        let worth_waiting = self.tickers.pending() + tickers.len() <= TICKER_QUEUE_THRESHOLD;
        let names_come = self.by_id.ask(missing.clone());
        let tickers_come = self.tickers.ask(tickers);
        // Nobody waits for what is only to be refreshed.
        self.by_id.ask(stale);
        self.tickers.ask(stale_tickers);
        if !self.slow.load(Ordering::Relaxed) {
            if let Some(come) = names_come
                && time::timeout_at(deadline, come).await.is_err()
            {
                self.slow.store(true, Ordering::Relaxed);
            }
            if let Some(come) = tickers_come.filter(|_| worth_waiting) {
                // Too late is not worth a word: the next killmail has them.
                let _ = time::timeout_at(deadline.min(Instant::now() + TICKER_TIMEOUT), come).await;
            }
        }
        missing.retain(|key| need(key).0 == Need::Missing);
        missing.len()
    }

    /// What ESI refuses, as it is on disk.
    #[cfg(test)]
    pub(super) async fn cached_refusals(&self) -> Vec<(String, u64)> {
        let cached = self.cached.clone();
        let read = tokio::task::spawn_blocking(move || cached.store().refusals()).await;
        read.unwrap_or_default()
    }

    /// Whether ESI has kept somebody waiting in vain and has said nothing since.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    /// Ids of `kind` that bear a name with this fold, as far as is known. Blocks.
    pub fn exact(&self, kind: EntityKind, folded: &str) -> Vec<u64> {
        self.cached.store().exact(kind, folded)
    }

    /// What has this ticker. Blocks.
    pub fn by_ticker(&self, ticker: &str) -> Vec<EntityKey> {
        self.cached.store().by_ticker(&fold(ticker))
    }

    /// What of this kind has a name that begins so. Blocks.
    pub fn prefix(&self, kind: EntityKind, folded: &str) -> Vec<PrefixMatch> {
        self.cached.store().prefix(kind, folded)
    }

    /// What of this kind has a later word in its name that begins so. Blocks.
    pub fn words(&self, kind: EntityKind, folded: &str) -> Vec<EntityKey> {
        self.cached.store().words(kind, folded)
    }

    /// Names and tickers of `keys`; those without a name are left out. Blocks.
    pub fn entities(&self, keys: &[EntityKey]) -> Vec<Entity> {
        let known = self.cached.store().get(keys);
        let entity = |((kind, id), named): (&EntityKey, Option<NameEntry>)| {
            let named = named.filter(|named| !named.name.is_empty())?;
            Some(Entity {
                kind: (*kind).into(),
                id: *id,
                name: named.name.into(),
                ticker: named.ticker.into(),
            })
        };
        keys.iter().zip(known).filter_map(entity).collect()
    }

    /// Whether ESI may know a name that is not in the cache: it was not asked for it a short while ago.
    pub fn should_query_esi(&self, name: &str) -> bool {
        let length = name.trim().chars().count();
        (1..=NAME_MAX_CHARS).contains(&length) && !self.asked.contains_key(&fold(name))
    }

    /// Asks ESI what bears these names, and keeps what it says, on disk too.
    pub async fn query_esi(&self, names: &[String]) -> Result<(), EsiError> {
        for names in names.chunks(MAX_NAMES) {
            let names: Vec<_> = names.iter().map(|name| plain(name)).collect();
            let ids = self.esi.ids(&names).await?;
            let kinds = [
                (EntityKind::Character, ids.characters),
                (EntityKind::Corporation, ids.corporations),
                (EntityKind::Alliance, ids.alliances),
            ];
            let found = kinds.into_iter().flat_map(|(kind, found)| {
                found
                    .into_iter()
                    .map(move |found| ((kind, found.id), NameUpdate::Name(found.name.into())))
            });
            let found: Vec<_> = found.collect();
            let tickers = found
                .iter()
                .map(|(key, _)| *key)
                .filter(|key| key.0 != EntityKind::Character);
            let tickers = tickers.collect();
            self.cached.change(found, unix_now()).await;
            self.tickers.ask(tickers);
            for name in &names {
                self.asked.insert(fold(name), ());
            }
        }
        Ok(())
    }
}

/// As it was written, unless it holds signs that only look like those of the game.
fn plain(name: &str) -> String {
    let (name, folded) = (name.trim(), fold(name));
    if name.to_lowercase() == folded {
        name.to_owned()
    } else {
        folded
    }
}
