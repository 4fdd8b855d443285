//! What must hold of a filter's text, whatever its bytes are.

use killfeed::{
    filter::{FilterSet, Outcome, Program, Resolution, Resolve, compile, names},
    v1::{EntityKind, Killmail},
};

/// Every name is somebody's, so that random text gets as far as a tree.
struct AllNames;

/// The same name is always of the same one.
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

/// Reads it as a filter.
pub(crate) fn filter(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    names(&text);
    match compile(&text, &AllNames) {
        Outcome::Compiled(first) => {
            let Outcome::Compiled(again) = compile(&first.canonical, &AllNames) else {
                // The one thing that canonical text may be and a text may not: too long.
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
        Outcome::Unavailable(names) => panic!("{names:?} are known"),
    }
}
