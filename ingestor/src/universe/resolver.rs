//! Names → ids for the filter compiler, over static data and the names seen so far.

use killfeed::{
    filter::{Resolution, Resolve, fold},
    id::SystemId,
    v1::{EntityKind, Location},
};

use crate::enrich::static_data::StaticData;

/// At most so many suggestions for a name that does not exist.
const MAX_SIMILAR: usize = 3;
/// From here on two names are alike (Jaro-Winkler: 1 = equal). Below it suggestions look random.
const ALIKE: f64 = 0.82;

pub(super) struct Resolver<'a> {
    data: &'a StaticData,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(data: &'a StaticData) -> Self {
        Self { data }
    }
}

impl Resolve for Resolver<'_> {
    fn exact(&self, kind: EntityKind, name: &str) -> Resolution {
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
        let names = self.data.index().of_kind(kind);
        let alike = names.map(|(other, id)| (strsim::jaro_winkler(&folded, other), id));
        let mut alike: Vec<_> = alike.filter(|(likeness, _)| *likeness >= ALIKE).collect();
        alike.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut found: Vec<String> = Vec::new();
        for name in alike.into_iter().filter_map(|(_, id)| self.data.name(kind, id.into())) {
            // Several types can bear one name.
            if !found.iter().any(|known| known == name) {
                found.push(name.to_owned());
            }
            if found.len() == MAX_SIMILAR {
                break;
            }
        }
        found
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

    fn location(&self, system: u32) -> Option<Location> {
        self.data.system(SystemId(system)).map(|system| system.location())
    }
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
