//! What the two lanes of names do: names by id in batches, tickers one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use killfeed::v1::EntityKind;
use killfeed_service::{clock::Clock, rate::RateLimiter};

use super::{
    bisect::{Bisect, QueryMode, Suspects},
    cached::{Cached, NameUpdate, Need, unix_now},
};
use crate::enrich::{
    batcher::BatchJob,
    cache::EntityKey,
    esi::{Esi, EsiError, Fetched, NamedId},
};

/// So many tickers are asked for at a time.
const TICKER_CONCURRENCY: usize = 4;
/// And no more within this time: 20 a second. A cold start wants thousands, and nobody waits for them.
const TICKER_INTERVAL: Duration = Duration::from_millis(200);
/// After a quiet while so much time's worth of them may go at once.
const TICKER_BURST: Duration = Duration::from_secs(1);

/// `POST /universe/names`.
#[derive(Debug)]
pub(super) struct FetchNames {
    esi: Esi,
    cached: Cached,
    suspects: Suspects,
    slow: Arc<AtomicBool>,
}

impl FetchNames {
    pub(super) fn new(esi: Esi, cached: Cached, slow: Arc<AtomicBool>) -> Self {
        Self {
            esi,
            cached,
            suspects: Suspects::default(),
            slow,
        }
    }

    /// Keeps the names of a batch. What ESI left out, or calls something else than it was taken for, is suspect.
    async fn answered(&mut self, batch: &[u64], answers: Vec<NamedId>, wanted: &BTreeMap<u64, Vec<EntityKind>>) {
        let mut changes = Vec::with_capacity(answers.len());
        for answer in answers {
            let Some(kind) = kind_of(&answer.category) else {
                continue;
            };
            // What was not asked for is not believed.
            if batch.binary_search(&answer.id).is_ok() {
                changes.push(((kind, answer.id), NameUpdate::Name(answer.name.into())));
            }
        }
        let answered: BTreeSet<EntityKey> = changes.iter().map(|(key, _)| *key).collect();
        let mut without = Vec::new();
        for id in batch {
            let kinds = wanted.get(id).map_or(&[][..], Vec::as_slice);
            if kinds.iter().all(|kind| answered.contains(&(*kind, *id))) {
                self.suspects.found(*id);
            } else {
                without.push(*id);
            }
        }
        self.cached.change(changes, unix_now()).await;
        for id in without {
            self.refused(id, wanted).await;
        }
    }

    /// Nothing seems to bear this id; if that is confirmed, it is remembered.
    async fn refused(&mut self, id: u64, wanted: &BTreeMap<u64, Vec<EntityKind>>) {
        if self.suspects.refused(id, tokio::time::Instant::now()) {
            let kinds = wanted.get(&id).into_iter().flatten();
            // A kind that does have a name under this id keeps it.
            let nameless = kinds.filter(|kind| self.cached.get((**kind, id)).is_none_or(|named| named.name.is_empty()));
            let changes = nameless.map(|kind| ((*kind, id), NameUpdate::Nothing)).collect();
            self.cached.change(changes, unix_now()).await;
        }
    }
}

impl BatchJob<EntityKey> for FetchNames {
    async fn run(&mut self, keys: Vec<EntityKey>) {
        let mut wanted = BTreeMap::<u64, Vec<EntityKind>>::new();
        for (kind, id) in keys {
            // Whoever stood in line before may have brought it.
            if self.cached.needs((kind, id), unix_now()).0 != Need::Nothing {
                wanted.entry(id).or_default().push(kind);
            }
        }
        let now = tokio::time::Instant::now();
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for id in wanted.keys() {
            match self.suspects.standing(*id, now) {
                QueryMode::Sound => together.push(*id),
                QueryMode::Alone => alone.push(*id),
                QueryMode::NotNow => {}
            }
        }
        let mut plan = Bisect::new(&together, &alone);
        while let Some(batch) = plan.next() {
            let answer = self.esi.names(&batch).await;
            if matches!(answer, Ok(_) | Err(EsiError::NotFound)) {
                self.slow.store(false, Ordering::Relaxed);
            }
            match answer {
                Ok(answers) => self.answered(&batch, answers, &wanted).await,
                Err(EsiError::NotFound) => {
                    if let Some(id) = plan.refused(batch) {
                        self.refused(id, &wanted).await;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, ids = batch.len(), "fetching names failed, leaving them out");
                    return;
                }
            }
        }
    }
}

/// `GET /corporations/{id}` and `GET /alliances/{id}`.
#[derive(Debug)]
pub(super) struct FetchTickers {
    esi: Esi,
    cached: Cached,
    pace: RateLimiter,
}

impl FetchTickers {
    pub(super) fn new(esi: Esi, cached: Cached) -> Self {
        let rate = 1.0 / TICKER_INTERVAL.as_secs_f64();
        // The burst holds one request beside those that a quiet time saves up.
        let burst = 1.0 + TICKER_BURST.as_secs_f64() * rate;
        Self {
            esi,
            cached,
            // The first request need not wait: a killmail waits for it.
            pace: RateLimiter::empty(rate, burst, Clock::system().now().up.saturating_sub(TICKER_INTERVAL)),
        }
    }

    /// What is to be changed, and the new tag.
    async fn one(
        &self,
        key: EntityKey,
        etag: Option<String>,
    ) -> Result<Option<(NameUpdate, Option<String>)>, EsiError> {
        let answer = match key {
            (EntityKind::Corporation, id) => self.esi.corporation(id, etag.as_deref()).await,
            (EntityKind::Alliance, id) => self.esi.alliance(id, etag.as_deref()).await,
            _ => return Ok(None),
        };
        match answer {
            Ok(Fetched::New(organisation, etag)) => {
                let change = NameUpdate::Organisation {
                    name: organisation.name.into(),
                    ticker: organisation.ticker.into(),
                };
                Ok(Some((change, Some(etag))))
            }
            Ok(Fetched::Unchanged) => Ok(Some((NameUpdate::Same, None))),
            Err(EsiError::NotFound) => Ok(Some((NameUpdate::NoTicker, Some(String::new())))),
            Err(error) => Err(error),
        }
    }
}

impl BatchJob<EntityKey> for FetchTickers {
    async fn run(&mut self, mut keys: Vec<EntityKey>) {
        let now = unix_now();
        keys.retain(|key| self.cached.needs(*key, now).1 != Need::Nothing);
        let known = self.cached.tags(&keys).await;
        let wanted: Vec<_> = keys.into_iter().zip(known).collect();
        for wanted in wanted.chunks(TICKER_CONCURRENCY) {
            while let Err(delay) = self.pace.take(1.0, Clock::system().now().up) {
                tokio::time::sleep(delay).await;
            }
            let (mut changes, mut tags, mut failure) = (Vec::new(), Vec::new(), None);
            let answers = wanted.iter().map(|(key, etag)| self.one(*key, etag.clone()));
            for ((key, _), answer) in wanted.iter().zip(join_all(answers).await) {
                match answer {
                    Ok(Some((change, tag))) => {
                        changes.push((*key, change));
                        tags.extend(tag.map(|tag| (*key, tag)));
                    }
                    Ok(None) => {}
                    Err(error) => failure = Some(error),
                }
            }
            self.cached.change(changes, unix_now()).await;
            self.cached.keep_tags(tags).await;
            match failure {
                // The rest is asked for when it is met again.
                Some(error @ EsiError::Unavailable { .. }) => {
                    tracing::debug!(%error, "fetching tickers failed, leaving them out");
                    return;
                }
                Some(error) => tracing::debug!(%error, "fetching a ticker failed, leaving it out"),
                None => {}
            }
        }
    }
}

/// ESI's word for a kind whose names are kept.
fn kind_of(category: &str) -> Option<EntityKind> {
    match category {
        "character" => Some(EntityKind::Character),
        "corporation" => Some(EntityKind::Corporation),
        "alliance" => Some(EntityKind::Alliance),
        _ => None,
    }
}
