//! Which names fit what was typed, best first: exact tickers, then names that begin with it, then names in which a word does.
//! Among equals those that players can meet come first, then short ones.

use std::collections::BTreeSet;

use killfeed::{
    filter::fold,
    v1::{Entity, EntityKind},
};

use crate::enrich::{
    UniverseRead,
    cache::EntityKey,
    names::{DYNAMIC, NameDirectory, is_dynamic},
    static_data::MatchKind,
};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// Best first.
    pub(super) entities: Vec<Entity>,
    /// Whether a name or a ticker is or begins with the query: then there is no need to ask ESI.
    pub(super) some_begin: bool,
}

/// What a hit is sorted by: the best is the smallest.
type Rank = (MatchRank, bool, usize, EntityKind, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum MatchRank {
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
    let kinds: Vec<EntityKind> = DYNAMIC.into_iter().filter(|kind| wanted(*kind)).collect();
    // Of a name the index says all that it is sorted by; of a ticker or a later word the name itself is to be read.
    let begin = kinds.iter().flat_map(|kind| names.prefix(*kind, &folded));
    ranks.extend(begin.map(|found| (MatchRank::Name, false, found.length, found.key.0, found.key.1)));
    let tickers = names.by_ticker(&folded).into_iter().filter(|key| wanted(key.0));
    ranks.extend(read_ranks(names, MatchRank::Ticker, &tickers.collect::<Vec<_>>()));
    // Later words come after all names: there is room for them only where few names begin so.
    let begins = |rank: &&Rank| rank.0 <= MatchRank::Name;
    if best(&mut ranks, limit).iter().filter(begins).count() < limit {
        let words: Vec<EntityKey> = kinds.iter().flat_map(|kind| names.words(*kind, &folded)).collect();
        ranks.extend(read_ranks(names, MatchRank::Word, &words));
    }
    let best = best(&mut ranks, limit);
    let keys: Vec<EntityKey> = best
        .iter()
        .map(|(.., kind, id)| (*kind, *id))
        .filter(|key| is_dynamic(key.0))
        .collect();
    let seen = names.entities(&keys);
    let entities = best.iter().filter_map(|&(.., kind, id)| {
        if is_dynamic(kind) {
            return seen
                .iter()
                .find(|entity| entity.kind() == kind && entity.id == id)
                .cloned();
        }
        let name = data.as_ref().and_then(|data| data.name(kind, id))?;
        Some(Entity {
            kind: kind.into(),
            id,
            name: name.to_owned(),
            ticker: String::new(),
        })
    });
    Results {
        some_begin: best.first().is_some_and(|rank| rank.0 <= MatchRank::Name),
        entities: entities.collect(),
    }
}

fn read_ranks(names: &NameDirectory, group: MatchRank, keys: &[EntityKey]) -> Vec<Rank> {
    let rank = |entity: &Entity| (group, false, entity.name.chars().count(), entity.kind(), entity.id);
    names.entities(keys).iter().map(rank).collect()
}

/// The first of them, each named once, where it ranks best: what fits by its ticker fits by its name too, perhaps.
fn best(ranks: &mut [Rank], limit: usize) -> Vec<Rank> {
    ranks.sort_unstable();
    let mut taken = BTreeSet::new();
    let distinct = ranks.iter().filter(|rank| taken.insert((rank.3, rank.4)));
    distinct.take(limit).copied().collect()
}

fn group(place: MatchKind) -> MatchRank {
    match place {
        MatchKind::Name => MatchRank::Name,
        MatchKind::Word => MatchRank::Word,
    }
}
