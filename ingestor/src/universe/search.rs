//! Which names fit what was typed, best first: exact tickers, then names that begin with it, then names in which a word does.
//! Among equals those that players can meet come first, then short ones.

use std::collections::BTreeSet;

use killfeed::{
    filter::fold,
    v1::{Entity, EntityKind},
};

use crate::enrich::{UniverseRead, static_data::Place};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// Best first.
    pub(super) entities: Vec<Entity>,
    /// Whether a name or a ticker is or begins with the query: then there is no need to ask ESI.
    pub(super) some_begin: bool,
}

/// What a hit is sorted by: the best is the smallest.
type Rank = (Group, bool, usize, EntityKind, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Ticker,
    Name,
    Word,
}

/// Searches static data and the names seen so far. Blocks.
pub(super) fn known(read: &UniverseRead, query: &str, kinds: &[EntityKind], limit: usize) -> Results {
    let folded = fold(query);
    if folded.is_empty() || limit == 0 {
        return Results::default();
    }
    let wanted = |kind: EntityKind| kinds.is_empty() || kinds.contains(&kind);
    let mut ranks: Vec<Rank> = Vec::new();
    let data = read.static_data();
    if let Some(data) = &data {
        let hits = data.index().prefix(&folded).filter(|hit| wanted(hit.kind));
        ranks.extend(hits.map(|hit| (group(hit.place), hit.unpublished, hit.len, hit.kind, hit.id.into())));
    }
    let names = read.names();
    let tickers: Vec<_> = names
        .by_ticker(&folded)
        .into_iter()
        .filter(|key| wanted(key.0))
        .collect();
    let found: Vec<_> = names
        .prefix(&folded)
        .into_iter()
        .filter(|found| wanted(found.key.0))
        .collect();
    let keys: BTreeSet<_> = tickers
        .iter()
        .copied()
        .chain(found.iter().map(|found| found.key))
        .collect();
    let keys: Vec<_> = keys.into_iter().collect();
    let seen = names.entities(&keys);
    let entity = |kind: EntityKind, id: u64| seen.iter().find(|entity| entity.kind() == kind && entity.id == id);
    // Entities stand in the order of the keys: ascending.
    let length = |kind: EntityKind, id: u64| {
        let at = seen
            .binary_search_by_key(&(kind as i32, id), |entity| (entity.kind, entity.id))
            .ok()?;
        Some(seen[at].name.chars().count())
    };
    let seen_rank = |group, (kind, id)| Some((group, false, length(kind, id)?, kind, id));
    ranks.extend(tickers.into_iter().filter_map(|key| seen_rank(Group::Ticker, key)));
    let by_name = found
        .into_iter()
        .filter_map(|found| seen_rank(if found.word { Group::Word } else { Group::Name }, found.key));
    ranks.extend(by_name);
    ranks.sort_unstable();

    let some_begin = ranks.first().is_some_and(|rank| rank.0 <= Group::Name);
    let mut taken = BTreeSet::new();
    // What fits by its ticker fits by its name too, perhaps: it is named once, where it ranks best.
    let best = ranks
        .into_iter()
        .filter(|rank| taken.insert((rank.3, rank.4)))
        .take(limit);
    let entities = best.filter_map(|(.., kind, id)| {
        let known = data.as_ref().and_then(|data| data.name(kind, id)).map(|name| Entity {
            kind: kind.into(),
            id,
            name: name.to_owned(),
            ticker: String::new(),
        });
        known.or_else(|| entity(kind, id).cloned())
    });
    Results {
        entities: entities.collect(),
        some_begin,
    }
}

fn group(place: Place) -> Group {
    match place {
        Place::Name => Group::Name,
        Place::Word => Group::Word,
    }
}
