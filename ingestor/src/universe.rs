//! Names and filters for people: search as they type, and filter texts compiled with every name resolved.
//!
//! Reads the static data and the names seen so far; asks ESI for what neither knows. Knows no transport.

mod resolver;
mod search;

use killfeed::{
    filter,
    v1::{Entity, EntityKind},
};
use tokio::task;

use crate::enrich::UniverseRead;
use resolver::Resolver;

/// At most so many answers to one search: what Discord shows of an autocomplete.
pub const MAX_RESULTS: usize = 25;

/// Answers searches and compiles filters. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Universe {
    read: UniverseRead,
}

impl Universe {
    /// Over what the enricher reads and caches.
    pub fn new(read: UniverseRead) -> Self {
        Self { read }
    }

    /// Whatever bears `query` as ticker, then names that begin with it, then names in which a word does; at most `limit` and
    /// never over 25. `kinds`: only these, empty = all.
    pub async fn search(&self, query: &str, kinds: &[EntityKind], limit: usize) -> Vec<Entity> {
        let Some(data) = self.read.static_data() else {
            return Vec::new();
        };
        let (query, kinds) = (query.to_owned(), kinds.to_vec());
        let found = task::spawn_blocking(move || search::over_static(&data, &query, &kinds, limit.min(MAX_RESULTS)));
        found.await.unwrap_or_default()
    }

    /// Text → filter. Names that neither the static data nor the cache know are asked of ESI first.
    pub async fn compile(&self, text: &str) -> filter::Outcome {
        let unavailable = || filter::Outcome::Unavailable(Vec::new());
        let Some(data) = self.read.static_data() else {
            return unavailable();
        };
        let text = text.to_owned();
        let compiled = task::spawn_blocking(move || filter::compile(&text, &Resolver::new(&data)));
        compiled.await.unwrap_or_else(|_| unavailable())
    }
}
