//! Checks that must hold for any bytes that are compiled as a filter.

use killfeed::{
    filter::{FilterSet, Outcome, Program, Resolution, Resolve, compile, names},
    v1::{EntityKind, Killmail},
};

/// A resolver that knows every name, so that random text compiles to a tree.
struct AllNames;

/// Returns an id that depends only on the kind and the name.
fn id(kind: EntityKind, name: &str) -> u64 {
    let hash = name
        .bytes()
        .fold(kind as u64 + 1, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
    hash % 1_000_000 + 1
}

impl Resolve for AllNames {
    fn exact(&self, kind: EntityKind, name: &str) -> Resolution {
        let name = name.trim().to_owned();
        let ids = vec![id(kind, &killfeed::filter::fold(&name))];
        Resolution::Found { name, ids }
    }

    fn wildcard(&self, kind: EntityKind, pattern: &str) -> Vec<u64> {
        let first = id(kind, &killfeed::filter::fold(pattern));
        (first..first + 20).collect()
    }

    fn similar(&self, _: EntityKind, name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }

    fn within_light_years(&self, system: u64, _: f64) -> Option<Vec<u32>> {
        Some(vec![u32::try_from(system).ok()?])
    }

    fn within_jumps(&self, system: u64, _: u32) -> Option<Vec<u32>> {
        self.within_light_years(system, 0.0)
    }
}

/// Checks bytes as a filter text.
pub(crate) fn filter(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    names(&text);
    match compile(&text, &AllNames) {
        Outcome::Compiled(first) => {
            let Outcome::Compiled(again) = compile(&first.canonical, &AllNames) else {
                // Canonical text can exceed the length limit. Nothing else makes it invalid.
                assert!(first.canonical.chars().count() > 2_000, "{text:?}: {}", first.canonical);
                return;
            };
            assert_eq!(again.filter, first.filter, "{text:?}: {}", first.canonical);
            let program = Program::new(&first.filter).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            let mut set = FilterSet::new();
            assert_eq!(set.add(1, &first.filter), Ok(()));
            let killmail = Killmail::default();
            assert_eq!(
                !set.matches(&killmail).is_empty(),
                program.matches(&killmail),
                "{text:?}"
            );
        }
        Outcome::Invalid(diagnostics) => {
            assert!(!diagnostics.is_empty());
            for diagnostic in diagnostics {
                let span = diagnostic.start as usize..diagnostic.end as usize;
                assert!(text.get(span).is_some(), "{text:?}: {diagnostic:?}");
            }
        }
        Outcome::Unavailable(names) => panic!("every name is known, but not {names:?}"),
    }
}
