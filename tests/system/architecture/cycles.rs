//! Dependency cycles between the files of a module.
//!
//! A file depends on the files that define what it uses. `mod` and `pub use` are no dependency, so a parent may declare and
//! re-export its children. A parent that calls its children must not define what they share.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    dependencies::row_of,
    list::Offence,
    resolve::Target,
    tree::{Module, Tree},
};

/// Maps a file to the files that it uses, with an example: "line, path".
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, String>>;

/// Returns the cycles. Each entry lists the files of one: every file uses every other one, directly or through others.
pub(super) fn cycles(tree: &Tree<'_>) -> Vec<Offence> {
    let mut found = Vec::new();
    for graph in graphs(tree).values() {
        let mut rest: BTreeSet<&str> = graph.keys().copied().collect();
        while let Some(file) = rest.pop_first() {
            let there = reachable(graph, file);
            let component: Vec<_> = there
                .iter()
                .copied()
                .filter(|other| reachable(graph, other).contains(file))
                .collect();
            if let [_, _, ..] = component[..] {
                component.iter().for_each(|file| {
                    rest.remove(file);
                });
                found.push(offence(graph, &component));
            }
        }
    }
    found
}

/// Returns one graph for each row of the table.
fn graphs<'a>(tree: &Tree<'a>) -> BTreeMap<(&'a str, String), Graph<'a>> {
    let mut graphs: BTreeMap<_, Graph<'_>> = BTreeMap::new();
    for (id, module) in tree.shipped().filter(|(_, module)| !module.package.rows.is_empty()) {
        let row = row_of(module);
        let graph = graphs.entry((module.package.name, row.clone())).or_default();
        let from = graph.entry(module.file).or_default();
        let mut add = |target: Target<'_>, line: usize, path: &[&str], is_import: bool| {
            let used: &Module<'a> = match target {
                Target::Item(used, _) => &tree.modules[used],
                // An import of a module is not a use yet: the paths in the code show what the file uses.
                Target::Module(used) if !is_import => &tree.modules[used],
                _ => return,
            };
            if used.file != module.file && used.package.name == module.package.name && row_of(used) == row {
                from.entry(used.file)
                    .or_insert_with(|| format!("line {line}, `{}`", path.join("::")));
            }
        };
        for import in module.imports.iter().filter(|import| !import.is_reexport) {
            let is_import = import.name != "*";
            add(
                tree.resolve_import(id, import).target,
                import.line,
                &import.path,
                is_import,
            );
        }
        for reference in &module.references {
            add(
                tree.resolve(id, &reference.path).target,
                reference.line,
                &reference.path,
                false,
            );
        }
    }
    graphs
}

/// Returns the files that a file uses, directly or through others. The file itself is among them if it is in a cycle.
fn reachable<'a>(graph: &Graph<'a>, file: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = vec![file];
    while let Some(file) = next.pop() {
        for &used in graph.get(file).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(used) {
                next.push(used);
            }
        }
    }
    found
}

fn offence(graph: &Graph<'_>, component: &[&str]) -> Offence {
    let mut why = format!("{} files use each other:", component.len());
    for (file, used) in component
        .iter()
        .flat_map(|file| graph[file].iter().map(move |used| (file, used)))
    {
        if component.contains(used.0) {
            why += &format!("\n    {file} uses {} ({})", used.0, used.1);
        }
    }
    Offence {
        entry: component.join("\n"),
        why,
    }
}
