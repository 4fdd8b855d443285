//! Names and filters for people: search as they type, and filter texts compiled with every name resolved.
//!
//! Reads the static data and the names seen so far; asks ESI for what neither knows. Knows no transport.

mod resolver;
mod search;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use killfeed::{
    filter::{self, fold},
    v1::{Entity, EntityKind},
};
use tokio::{
    task,
    time::{self, Instant},
};

use crate::enrich::{UniverseRead, names::is_dynamic};
use resolver::UniverseResolver;

/// At most so many answers to one search: what Discord shows of an autocomplete.
pub const MAX_RESULTS: usize = 25;
/// What ESI does not say by then a search is answered without: an autocomplete has three seconds in all.
const SEARCH_TIMEOUT: Duration = Duration::from_millis(300);
/// Searches ask ESI no more often.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// Shorter queries are never asked of ESI: hardly any name is that short.
const SEARCH_MIN_CHARS: usize = 3;
/// What ESI does not say by then can't be looked up now: a slash command has three seconds in all.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers searches and compiles filters. Cheap to clone; clones share the limit on asking ESI.
#[derive(Debug, Clone)]
pub struct Universe {
    read: UniverseRead,
    /// When a search may ask ESI again.
    next_ask: Arc<Mutex<Option<Instant>>>,
}

impl Universe {
    /// Over what the enricher reads and caches.
    pub fn new(read: UniverseRead) -> Self {
        Self {
            read,
            next_ask: Arc::default(),
        }
    }

    /// Whatever bears `query` as ticker, then names that begin with it, then names in which a word does; at most `limit` and
    /// never over 25. `kinds`: only these, empty = all. A query that nothing known begins with is asked of ESI exactly.
    pub async fn search(&self, query: &str, kinds: &[EntityKind], limit: usize) -> Vec<Entity> {
        let limit = limit.min(MAX_RESULTS);
        let found = self.search_known(query, kinds, limit).await;
        if found.some_begin || !self.may_ask(query, kinds) {
            return found.entities;
        }
        let (names, name) = (self.read.names().clone(), query.trim().to_owned());
        // A task of its own: an answer that comes too late for this search is remembered for the next.
        let asked = task::spawn(async move { names.query_esi(&[name]).await });
        match time::timeout(SEARCH_TIMEOUT, asked).await {
            Ok(Ok(Ok(()))) => self.search_known(query, kinds, limit).await.entities,
            _ => found.entities,
        }
    }

    /// Text → filter. Names of pilots, corporations and alliances that were not seen before are asked of ESI first, all in one.
    pub async fn compile(&self, text: &str) -> filter::CompileOutcome {
        let unseen = self.unseen(text).await;
        let mut unavailable = BTreeSet::new();
        if !unseen.is_empty() {
            let (names, asking) = (self.read.names().clone(), unseen.clone());
            let asked = task::spawn(async move { names.query_esi(&asking).await });
            if !matches!(time::timeout(COMPILE_TIMEOUT, asked).await, Ok(Ok(Ok(())))) {
                unavailable.extend(unseen.iter().map(|name| fold(name)));
            }
        }
        let (read, text) = (self.read.clone(), text.to_owned());
        let compiled = task::spawn_blocking(move || {
            let data = read.static_data()?;
            let resolver = UniverseResolver::new(&data, read.names(), &unavailable);
            Some(filter::compile(&text, &resolver))
        });
        // Without static data nothing can be said; the ingestor is not ready then.
        compiled
            .await
            .ok()
            .flatten()
            .unwrap_or(filter::CompileOutcome::Unavailable(Vec::new()))
    }

    /// The names in a filter's text that ESI would have to be asked for: not in the cache, and not asked for a short while ago.
    pub async fn unseen(&self, text: &str) -> Vec<String> {
        let wanted: Vec<_> = filter::names(text)
            .into_iter()
            .filter(|(kind, _)| is_dynamic(*kind))
            .collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let names = self.read.names().clone();
        let unseen = task::spawn_blocking(move || {
            let unseen = wanted
                .into_iter()
                .filter(|(kind, name)| names.exact(*kind, &fold(name)).is_empty() && names.should_query_esi(name));
            // One name can be wanted of several kinds.
            unseen
                .map(|(_, name)| (fold(&name), name))
                .collect::<std::collections::BTreeMap<_, _>>()
        });
        unseen.await.unwrap_or_default().into_values().collect()
    }

    async fn search_known(&self, query: &str, kinds: &[EntityKind], limit: usize) -> search::Results {
        let (read, query, kinds) = (self.read.clone(), query.to_owned(), kinds.to_vec());
        let found = task::spawn_blocking(move || search::known(&read, &query, &kinds, limit));
        found.await.unwrap_or_default()
    }

    /// Whether this search may ask ESI; if so, the next one has to wait for its second.
    fn may_ask(&self, query: &str, kinds: &[EntityKind]) -> bool {
        let dynamic = kinds.is_empty() || kinds.iter().any(|kind| is_dynamic(*kind));
        if !dynamic || fold(query).chars().count() < SEARCH_MIN_CHARS || !self.read.names().should_query_esi(query) {
            return false;
        }
        let now = Instant::now();
        let mut next = self.next_ask.lock().unwrap_or_else(PoisonError::into_inner);
        let may = next.is_none_or(|next| next <= now);
        if may {
            *next = Some(now + SEARCH_INTERVAL);
        }
        may
    }
}

#[cfg(test)]
mod tests;
