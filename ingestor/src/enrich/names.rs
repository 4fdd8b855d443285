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
    cache::{CacheError, Found, Key, NameStore, Named},
    esi::{Esi, EsiError, MAX_NAMES},
    lane::Lane,
};
use cached::{Cached, Change, Need, unix_now};
use fetch::{FetchNames, FetchTickers};

/// With so many tickers in line they come too late for this killmail: it does not wait for them.
const TICKERS_WORTH_WAITING: usize = 16;
/// Tickers are nice to have; this is the most that a killmail waits for them alone.
const TICKER_PATIENCE: Duration = Duration::from_millis(300);
/// For so long a name that ESI did not know is not asked for again.
const ASKED_FOR: Duration = Duration::from_secs(600);
const ASKED_MOST: u64 = 10_000;
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
pub struct Names {
    cached: Cached,
    esi: Esi,
    by_id: Arc<Lane<Key>>,
    tickers: Arc<Lane<Key>>,
    /// Folded names that were asked of ESI a short while ago.
    asked: Cache<String, ()>,
    /// ESI kept somebody waiting in vain and has said nothing since: nobody else waits for it.
    slow: Arc<AtomicBool>,
}

impl Names {
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
            by_id: Arc::new(Lane::start(names, shutdown.clone())),
            tickers: Arc::new(Lane::start(tickers, shutdown)),
            asked: Cache::builder()
                .max_capacity(ASKED_MOST)
                .time_to_live(ASKED_FOR)
                .build(),
            slow,
        })
    }

    /// What is known of `key` in memory, where [`Names::look_up`] puts it.
    pub(super) fn get(&self, key: Key) -> Option<Arc<Named>> {
        self.cached.get(key)
    }

    /// Sees to it that what can be known of `keys` by `deadline` is in memory. What comes later is there for the next.
    /// Returns how many names are missing now.
    pub(super) async fn look_up(&self, keys: Vec<Key>, deadline: Instant) -> usize {
        self.cached.load(&keys).await;
        let now = unix_now();
        let need = |key: &Key| self.cached.needs(*key, now);
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
        let worth_waiting = self.tickers.pending() + tickers.len() <= TICKERS_WORTH_WAITING;
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
                let _ = time::timeout_at(deadline.min(Instant::now() + TICKER_PATIENCE), come).await;
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
    pub fn by_ticker(&self, ticker: &str) -> Vec<Key> {
        self.cached.store().by_ticker(&fold(ticker))
    }

    /// What of this kind has a name that begins so. Blocks.
    pub fn prefix(&self, kind: EntityKind, folded: &str) -> Vec<Found> {
        self.cached.store().prefix(kind, folded)
    }

    /// What of this kind has a later word in its name that begins so. Blocks.
    pub fn words(&self, kind: EntityKind, folded: &str) -> Vec<Key> {
        self.cached.store().words(kind, folded)
    }

    /// Names and tickers of `keys`; those without a name are left out. Blocks.
    pub fn entities(&self, keys: &[Key]) -> Vec<Entity> {
        let known = self.cached.store().get(keys);
        let entity = |((kind, id), named): (&Key, Option<Named>)| {
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
    pub fn worth_asking(&self, name: &str) -> bool {
        let length = name.trim().chars().count();
        (1..=NAME_MAX_CHARS).contains(&length) && !self.asked.contains_key(&fold(name))
    }

    /// Asks ESI what bears these names, and keeps what it says, on disk too.
    pub async fn ask_for(&self, names: &[String]) -> Result<(), EsiError> {
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
                    .map(move |found| ((kind, found.id), Change::Name(found.name.into())))
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
