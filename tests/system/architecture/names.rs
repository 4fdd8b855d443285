//! Checks that each type name that other modules can see has one meaning in a crate.

use std::collections::BTreeMap;

use super::tree::Tree;

/// Returns a message for each name that a package defines twice, except for the names that code writes with their module.
///
/// A type that replaces another one in builds without a feature has the same meaning.
pub(super) fn repeated(tree: &Tree<'_>, qualified: &[&str]) -> Vec<String> {
    let mut places: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for (_, module) in tree.shipped().filter(|(_, module)| !module.is_fallback) {
        for (name, line) in module
            .visible_types
            .iter()
            .filter(|(name, _)| !qualified.contains(name))
        {
            let place = format!("{}:{line}", module.file);
            places.entry((module.package.name, name)).or_default().push(place);
        }
    }
    let repeated = places.into_iter().filter(|(_, places)| places.len() > 1);
    repeated
        .map(|((package, name), places)| format!("{package}: `{name}` is defined at {}", places.join(" and ")))
        .collect()
}
