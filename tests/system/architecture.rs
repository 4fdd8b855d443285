//! Compares the code with docs/architecture.md: allowed dependencies, cycles, type names, and the length of files.
//!
//! - [`table`]: the rules as data
//! - [`tokens`], [`tree`], [`resolve`]: source text → modules → the targets of paths
//! - [`dependencies`], [`cycles`], [`names`], [`files`]: the checks, as functions over sources
//! - [`list`]: the known violations of a rule; the lists in `architecture/*.txt` may only shrink

mod cycles;
mod dependencies;
mod files;
mod list;
mod names;
mod resolve;
mod table;
mod tests;
mod tokens;
mod tree;

use std::sync::LazyLock;

use killfeed_support::corpus;

pub(crate) use self::files::rust_files;
use self::{
    list::List,
    table::{CRATES, MARKS, MAX_LINES, PACKAGES, PURE, QUALIFIED_NAMES},
    tree::{Sources, Tree},
};

/// The code of the crates in the table.
static SOURCES: LazyLock<Sources> = LazyLock::new(|| {
    let roots = PACKAGES.iter().flat_map(|package| package.roots);
    let folders: Vec<_> = roots.map(|(_, file)| file.rsplit_once('/').unwrap().0).collect();
    files::read(corpus::repository(), &folders)
});
static TREE: LazyLock<Tree<'static>> = LazyLock::new(|| Tree::read(&SOURCES, &PACKAGES));

#[test]
fn modules_use_only_what_the_table_allows() {
    let without = dependencies::modules_without_a_row(&TREE);
    assert!(
        without.is_empty(),
        "add a row to docs/architecture.md and architecture/table.rs for {without:?}"
    );
    let stale = dependencies::stale_lines(&TREE, &PACKAGES);
    assert!(
        stale.is_empty(),
        "remove from `today` in architecture/table.rs, no such module exists: {stale:?}"
    );
    let list = List {
        file: "dependencies.txt",
        separator: "\n",
        advice: "Move the code to the module that may do this, or pass the value as an argument. Change the table only if the\ndata flow changes: docs/architecture.md, \"Allowed dependencies\", and tests/system/architecture/table.rs.",
    };
    list.check(&dependencies::modules(&TREE));
}

#[test]
fn crates_are_used_only_where_the_table_allows() {
    let list = List {
        file: "crates.txt",
        separator: "\n",
        advice: "Use the module that hides this crate. The places are in `CRATES`, tests/system/architecture/table.rs.",
    };
    list.check(&dependencies::crates(&TREE, &CRATES));
}

#[test]
fn files_of_a_module_have_no_cycles() {
    let list = List {
        file: "cycles.txt",
        separator: "\n\n",
        advice: "Move what both files need to a third file. A parent file defines what its children share, or calls them, not both.",
    };
    list.check(&cycles::cycles(&TREE));
}

#[test]
fn visible_type_names_are_unique_in_a_crate() {
    let repeated = names::repeated(&TREE, &QUALIFIED_NAMES);
    assert!(repeated.is_empty(), "rename all but one:\n{}", repeated.join("\n"));
}

#[test]
fn pure_modules_use_no_clock_and_no_disk() {
    for (place, ..) in PURE {
        let exists = SOURCES.keys().any(|file| dependencies::is_in(place, file));
        assert!(exists, "{place} does not exist: change `PURE` in architecture/table.rs");
    }
    let found = dependencies::impure(&TREE, &PURE);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_are_short_and_finished() {
    let mut sources = files::read(corpus::repository(), &[""]);
    // This file contains the list of marks itself.
    sources.remove("tests/system/architecture/table.rs");
    let found = files::unfinished(&sources, MAX_LINES, &MARKS);
    assert!(found.is_empty(), "{}", found.join("\n"));
}
