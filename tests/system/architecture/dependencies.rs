//! Finds the uses of modules and crates, and compares them with the table.

use std::collections::BTreeSet;

use super::{
    list::Offence,
    resolve::{Resolved, Target},
    table::{EVERYTHING, Package, ROOT},
    tree::{Module, Tree},
};

/// One path in shipped code.
struct Use<'t, 'a> {
    module: &'t Module<'a>,
    line: usize,
    written: &'t [&'a str],
    resolved: Resolved<'a>,
}

/// Returns every path that names something: imports first, then the code.
fn uses<'t, 'a>(tree: &'t Tree<'a>) -> impl Iterator<Item = Use<'t, 'a>> {
    tree.shipped().flat_map(move |(id, module)| {
        let imports = module.imports.iter().map(move |import| Use {
            module,
            line: import.line,
            written: &import.path,
            resolved: tree.resolve_import(id, import),
        });
        let references = module.references.iter().map(move |reference| Use {
            module,
            line: reference.line,
            written: &reference.path,
            resolved: tree.resolve(id, &reference.path),
        });
        imports.chain(references)
    })
}

/// Returns the name of a module in the table, with what is below it: `feed::relay::state` is `replication::state`.
pub(super) fn name_in_table(module: &Module<'_>) -> String {
    let path = module.path.join("::");
    let lines = module.package.today.iter().filter(|(today, _)| covers(today, &path));
    match lines.max_by_key(|(today, _)| today.len()) {
        Some((today, name)) => {
            let rest = path[today.len()..].trim_start_matches("::");
            [name, rest]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("::")
        }
        None if path.is_empty() => ROOT.to_owned(),
        None => path,
    }
}

/// Returns the module's row in the table.
pub(super) fn row_of(module: &Module<'_>) -> String {
    let name = name_in_table(module);
    name.split("::").next().unwrap_or_default().to_owned()
}

/// Returns whether `path` is `prefix` or below it.
fn covers(prefix: &str, path: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with("::"))
}

/// Returns the uses of modules that the table does not allow, one for each file and module.
pub(super) fn modules(tree: &Tree<'_>) -> Vec<Offence> {
    let is_own = |module: &Module<'_>, used: usize| tree.modules[used].package.name == module.package.name;
    let mut found = Vec::new();
    for path in uses(tree).filter(|path| !path.module.package.rows.is_empty()) {
        let (target, item) = match path.resolved.target {
            // `crate` alone is not a use: the rest of the path shows the target.
            Target::Module(module) if tree.modules[module].path.is_empty() && is_own(path.module, module) => (None, ""),
            Target::Module(module) => (Some(module), ""),
            Target::Item(module, item) => (Some(module), item),
            Target::Elsewhere(_) => (None, ""),
        };
        // A re-export is a use of the module that has it, and of the module that defines the item.
        let through = path.resolved.through.iter().map(|&module| (module, ""));
        for (used, item) in through.chain(target.map(|target| (target, item))) {
            found.extend(offence(&path, &tree.modules[used], item));
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|offence| seen.insert(offence.entry.clone()));
    found
}

fn offence(path: &Use<'_, '_>, used: &Module<'_>, item: &str) -> Option<Offence> {
    let Use {
        module, line, written, ..
    } = path;
    let (file, package) = (module.file, module.package);
    let written = written.join("::");
    if used.package.name != package.name {
        let other = used.package.name;
        return (!package.may_use.contains(&other)).then(|| Offence {
            entry: format!("{file} {other}"),
            why: format!(
                "{file}:{line} uses `{written}` of {other}\n    allowed for {}: {}",
                package.name,
                listed(package.may_use)
            ),
        });
    }
    let (row, used_row) = (row_of(module), row_of(used));
    if row == used_row || package.shared.contains(&used_row.as_str()) {
        return None;
    }
    let Some((_, allowed)) = package.rows.iter().find(|(name, _)| *name == row) else {
        return Some(Offence {
            entry: format!("{file} {used_row}"),
            why: format!("{file}: the table has no row for the module `{row}`"),
        });
    };
    let name = format!("{}::{item}", name_in_table(used));
    let may = *allowed == EVERYTHING
        || allowed
            .iter()
            .any(|allowed| covers(allowed, name.trim_end_matches("::")));
    (!may).then(|| Offence {
        entry: format!("{file} {used_row}"),
        why: format!(
            "{file}:{line} uses `{written}`, which is in `{used_row}`\n    allowed for `{row}` in {}: {}",
            package.name,
            listed(allowed)
        ),
    })
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

/// Returns the uses of third-party crates outside of the files that may use them.
///
/// The list has one entry for each file and crate.
pub(super) fn crates(tree: &Tree<'_>, table: &[(&str, &[&str])]) -> Vec<Offence> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for path in uses(tree).filter(|path| !path.module.package.rows.is_empty()) {
        let Target::Elsewhere(target) = &path.resolved.target else {
            continue;
        };
        let Some(&(name, allowed)) = table.iter().find(|(name, _)| is_of_family(name, target[0])) else {
            continue;
        };
        let file = path.module.file;
        let entry = format!("{file} {name}");
        if !allowed.iter().any(|place| is_in(place, file)) && seen.insert(entry.clone()) {
            let why = format!(
                "{file}:{} uses `{}`, which is in the crate {}\n    allowed for {name}: {}",
                path.line,
                path.written.join("::"),
                target[0],
                listed(allowed)
            );
            found.push(Offence { entry, why });
        }
    }
    found
}

/// Returns the uses of clocks, disks and runtimes in modules that must not use them.
pub(super) fn impure(tree: &Tree<'_>, table: &[(&str, &[&str], &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for path in uses(tree) {
        let Target::Elsewhere(target) = &path.resolved.target else {
            continue;
        };
        let (file, target) = (path.module.file, target.join("::"));
        for (place, forbidden, why) in table.iter().filter(|(place, ..)| is_in(place, file)) {
            if let Some(forbidden) = forbidden.iter().find(|forbidden| covers(forbidden, &target)) {
                found.push(format!("{file}:{} uses {forbidden}, but {place} {why}", path.line));
            }
        }
    }
    found
}

/// Returns whether a crate is the named one or a part of it, as `tonic_types` is of `tonic`.
fn is_of_family(name: &str, used: &str) -> bool {
    used.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// Returns whether `place`, a path without `.rs`, is the file or a folder that contains it.
pub(super) fn is_in(place: &str, file: &str) -> bool {
    file.strip_prefix(place)
        .is_some_and(|rest| rest.starts_with('.') || rest.starts_with('/'))
}

/// Returns the modules that the table does not name, so that none escapes it.
pub(super) fn modules_without_a_row(tree: &Tree<'_>) -> BTreeSet<String> {
    let has_row = |package: &Package, row: &str| package.rows.iter().any(|(name, _)| *name == row);
    tree.shipped()
        .filter(|(_, module)| !module.package.rows.is_empty() && !has_row(module.package, &row_of(module)))
        .map(|(_, module)| format!("{}: {}", module.package.name, row_of(module)))
        .collect()
}

/// Returns the table's current module names that no longer exist in the code.
pub(super) fn stale_lines<'a>(tree: &Tree<'_>, packages: &'a [Package]) -> Vec<&'a str> {
    let exists = |package: &Package, today: &str| {
        let mut modules = tree.shipped().map(|(_, module)| module);
        modules.any(|module| module.package.name == package.name && module.path.join("::") == today)
    };
    let lines = packages
        .iter()
        .flat_map(|package| package.today.iter().map(move |(today, _)| (package, *today)));
    lines
        .filter(|(package, today)| !exists(package, today))
        .map(|(_, today)| today)
        .collect()
}
