//! Which names fit what was typed, best first.

use killfeed::v1::{Entity, EntityKind};

use crate::enrich::static_data::StaticData;

/// Static names that begin with `query`, then those in which a word does; short ones and published types first.
pub(super) fn over_static(data: &StaticData, query: &str, kinds: &[EntityKind], limit: usize) -> Vec<Entity> {
    if query.trim().is_empty() || limit == 0 {
        return Vec::new();
    }
    let wanted = |kind| kinds.is_empty() || kinds.contains(&kind);
    let mut hits: Vec<_> = data.index().prefix(query).filter(|hit| wanted(hit.kind)).collect();
    if hits.len() > limit {
        hits.select_nth_unstable(limit);
        hits.truncate(limit);
    }
    hits.sort_unstable();
    let entity = |hit: crate::enrich::static_data::Hit| Entity {
        kind: hit.kind.into(),
        id: hit.id.into(),
        name: data.name(hit.kind, hit.id.into()).unwrap_or_default().to_owned(),
        ticker: String::new(),
    };
    hits.into_iter().map(entity).collect()
}
