//! Names → ids for the filter compiler, over static data and the names seen so far.

use std::collections::BTreeSet;

use killfeed::{
    filter::{Resolution, Resolve, fold},
    id::SystemId,
    v1::{Entity, EntityKind, FilterDistances, Location},
};

use crate::enrich::{
    names::{NameDirectory, is_dynamic},
    static_data::StaticData,
};

/// At most so many suggestions for a name that does not exist.
const MAX_SIMILAR: usize = 3;
/// From here on two names are alike (Jaro-Winkler: 1 = equal). Below it suggestions look random.
const ALIKE: f64 = 0.82;
/// Names seen so far are compared only if they begin with the same so many characters.
const SAME_BEGINNING: usize = 2;

/// Reads the disk: belongs off the runtime.
pub(super) struct UniverseResolver<'a> {
    data: &'a StaticData,
    names: &'a NameDirectory,
    /// Folded names that ESI could not be asked for.
    unavailable: &'a BTreeSet<String>,
}

impl<'a> UniverseResolver<'a> {
    pub(super) fn new(data: &'a StaticData, names: &'a NameDirectory, unavailable: &'a BTreeSet<String>) -> Self {
        Self {
            data,
            names,
            unavailable,
        }
    }

    /// A name of the cache.
    fn seen(&self, kind: EntityKind, name: &str) -> Resolution {
        let folded = fold(name);
        let ids = self.names.exact(kind, &folded);
        let keys: Vec<_> = ids.iter().map(|id| (kind, *id)).collect();
        match self.names.entities(&keys).into_iter().next() {
            Some(Entity { name, .. }) => Resolution::Found { name, ids },
            None if self.unavailable.contains(&folded) => Resolution::Unavailable,
            None => Resolution::Unknown,
        }
    }
}

impl Resolve for UniverseResolver<'_> {
    fn exact(&self, kind: EntityKind, name: &str) -> Resolution {
        if is_dynamic(kind) {
            return self.seen(kind, name);
        }
        let ids: Vec<u64> = self.data.index().exact(kind, name).into_iter().map(u64::from).collect();
        let proper = ids.first().and_then(|id| self.data.name(kind, *id));
        match proper {
            Some(name) => Resolution::Found {
                name: name.to_owned(),
                ids,
            },
            None => Resolution::Unknown,
        }
    }

    fn wildcard(&self, kind: EntityKind, pattern: &str) -> Vec<u64> {
        let pattern = fold(pattern);
        let parts: Vec<_> = pattern.split('*').collect();
        let names = self.data.index().of_kind(kind);
        let mut ids: Vec<_> = names
            .filter(|(name, _)| fits(&parts, name))
            .map(|(_, id)| u64::from(id))
            .collect();
        ids.sort_unstable();
        ids
    }

    fn similar(&self, kind: EntityKind, name: &str) -> Vec<String> {
        let folded = fold(name);
        if is_dynamic(kind) {
            let mut found = self.by_ticker(kind, name);
            // A typing error is seldom in the first letters.
            let beginning: String = folded.chars().take(SAME_BEGINNING).collect();
            let begin_alike = self.names.prefix(kind, &beginning).into_iter();
            let others = self
                .names
                .entities(&begin_alike.map(|found| found.key).collect::<Vec<_>>());
            let folds: Vec<_> = others.iter().map(|entity| fold(&entity.name)).collect();
            let alike = alike(
                &folded,
                folds
                    .iter()
                    .zip(&others)
                    .map(|(folded, entity)| (folded.as_str(), &*entity.name)),
            );
            found.extend(alike);
            found.truncate(MAX_SIMILAR);
            return found;
        }
        let names = self.data.index().of_kind(kind);
        alike(
            &folded,
            names.filter_map(|(other, id)| Some((other, self.data.name(kind, id.into())?))),
        )
    }

    fn by_ticker(&self, kind: EntityKind, ticker: &str) -> Vec<String> {
        let keys: Vec<_> = self
            .names
            .by_ticker(ticker)
            .into_iter()
            .filter(|key| key.0 == kind)
            .collect();
        self.names
            .entities(&keys)
            .into_iter()
            .map(|entity| entity.name)
            .collect()
    }

    fn within_light_years(&self, system: u64, light_years: f64) -> Option<Vec<u32>> {
        let systems = self
            .data
            .within_light_years(SystemId(u32::try_from(system).ok()?), light_years)?;
        Some(systems.into_iter().map(|id| id.0).collect())
    }

    fn within_jumps(&self, system: u64, jumps: u32) -> Option<Vec<u32>> {
        let systems = self.data.within_jumps(SystemId(u32::try_from(system).ok()?), jumps)?;
        Some(systems.into_iter().map(|id| id.0).collect())
    }

    fn distances(&self, origin: u64, systems: &[u32]) -> Option<FilterDistances> {
        let origin = SystemId(u32::try_from(origin).ok()?);
        let away = self.data.distances(origin, systems)?;
        let thousandths = |light_years: f64| (light_years * 1_000.0).round() as u32;
        // Where one is not known nothing is told of any: a tree says it of each system or of none.
        let straight: Option<Vec<u32>> = away.iter().map(|(straight, _)| straight.map(thousandths)).collect();
        Some(FilterDistances {
            origin_name: self
                .data
                .system(origin)
                .map(|system| system.name.to_owned())
                .unwrap_or_default(),
            milli_light_years: straight?,
            jumps_plus_one: away
                .iter()
                .map(|(_, jumps)| jumps.map_or(0, |jumps| jumps + 1))
                .collect(),
        })
    }

    fn location(&self, system: u32) -> Option<Location> {
        self.data.system(SystemId(system)).map(|system| system.location())
    }
}

/// The names most like `folded`, best first; `others` are folded names with their proper ones.
fn alike<'a>(folded: &str, others: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let likeness = others.map(|(other, name)| (strsim::jaro_winkler(folded, other), name));
    let mut alike: Vec<_> = likeness.filter(|(likeness, _)| *likeness >= ALIKE).collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.len().cmp(&b.1.len())).then(a.1.cmp(b.1)));
    // Several types can bear one name; equal names stand together.
    let mut names: Vec<_> = alike.into_iter().map(|(_, name)| name.to_owned()).collect();
    names.dedup();
    names.truncate(MAX_SIMILAR);
    names
}

/// Whether `name` is the parts of a pattern in their order, with anything between them.
fn fits(parts: &[&str], name: &str) -> bool {
    let [first, middle @ .., last] = parts else {
        // No `*` in it: the name as a whole.
        return parts.first().is_some_and(|only| *only == name);
    };
    let Some(rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(mut rest) = rest.strip_suffix(last) else {
        return false;
    };
    // The leftmost place of each part leaves most room for the next.
    middle.iter().all(|part| {
        let found = rest.find(part);
        if let Some(at) = found {
            rest = &rest[at + part.len()..];
        }
        found.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn wildcards() {
        let fits = |pattern: &str, name| fits(&pattern.split('*').collect::<Vec<_>>(), name);
        for (pattern, name) in [
            ("*", ""),
            ("*", "rifter"),
            ("rif*", "rifter"),
            ("*ter", "rifter"),
            ("*navy*", "brutix navy issue"),
            ("b*n*e", "brutix navy issue"),
            ("**", "x"),
            ("rifter", "rifter"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("rif*", "a rifter"),
            ("ab*ba", "aba"),
            ("*x*", "rifter"),
            ("rifte", "rifter"),
            ("a*b*b", "ab"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
