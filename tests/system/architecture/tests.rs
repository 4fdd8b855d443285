//! Small crates that break each rule, to prove that each check fails.

use super::{
    cycles, dependencies, files,
    list::Offence,
    names,
    table::{EVERYTHING, PACKAGES, Package, ROOT},
    tree::{Sources, Tree},
};

const LIBRARY: Package = Package {
    name: "library",
    roots: &[("library", "src/lib.rs")],
    may_use: &[],
    today: &[("a::old", "c")],
    shared: &["shared"],
    rows: &[
        ("a", &["b::Allowed", "d"]),
        ("b", &[]),
        ("c", &["a"]),
        ("d", &[]),
        ("shared", &[]),
        (ROOT, EVERYTHING),
    ],
};

const SERVICE: Package = Package {
    name: "service",
    roots: &[("killfeed_service", "service/src/lib.rs"), ("", "service/src/main.rs")],
    may_use: &["library"],
    today: &[],
    shared: &[],
    rows: &[("a", &[]), (ROOT, EVERYTHING)],
};

/// Returns these files with the packages that they belong to.
pub(super) fn sample(files: &[(&str, &str)]) -> (Sources, Vec<Package>) {
    let sources: Sources = files
        .iter()
        .map(|&(file, text)| (file.to_owned(), text.to_owned()))
        .collect();
    let mut packages = vec![LIBRARY, SERVICE];
    packages.retain(|package| package.roots.iter().all(|(_, file)| sources.contains_key(*file)));
    (sources, packages)
}

fn check<T>(files: &[(&str, &str)], check: impl FnOnce(&Tree<'_>) -> T) -> T {
    let (sources, packages) = sample(files);
    check(&Tree::read(&sources, &packages))
}

fn entries(offences: Vec<Offence>) -> Vec<String> {
    offences.into_iter().map(|offence| offence.entry).collect()
}

/// Returns the violations in a file `src/a.rs` beside modules `b` and `d`.
fn uses_of(code: &str) -> Vec<String> {
    let files = [
        ("src/lib.rs", "mod a; mod b; mod d; mod shared; pub use b::Hidden;"),
        ("src/a.rs", code),
        ("src/b.rs", "pub struct Allowed; pub struct Hidden; pub struct Other;"),
        ("src/d.rs", "pub use crate::b::Other as Renamed; pub struct D;"),
        ("src/shared.rs", "pub struct Clock;"),
    ];
    entries(check(&files, dependencies::modules))
        .into_iter()
        .filter(|entry| entry.starts_with("src/a"))
        .collect()
}

#[test]
fn every_way_to_name_a_module_is_a_use() {
    for code in [
        "use crate::b::Other;",
        "use crate::{b::{Allowed, Other}};",
        "use crate::{d::D, b};",
        "use crate::\n    b\n    as c;",
        "use super::b::Other;",
        "use library::b::Other;",
        "use crate::b::*;",
        "pub use crate::b::Other;",
        "fn f() { crate::b::other(); }",
        "fn f() -> Vec<super::b::Other> { todo }",
        "mod inner { fn f() { super::super::b::other(); } }",
        "fn f() { call!(x => crate::b::Other) }",
        "use crate as root; fn f() { root::b::other(); }",
        "#[derive(crate::b::Other)] struct A;",
        // The module `d` re-exports what `b` defines.
        "use crate::d::Renamed;",
        "use crate::d; fn f() { d::Renamed::new(); }",
    ] {
        assert_eq!(uses_of(code), ["src/a.rs b"], "{code}");
    }
    // The root re-exports what `b` defines.
    assert_eq!(uses_of("use crate::Hidden;"), ["src/a.rs main", "src/a.rs b"]);
}

#[test]
fn allowed_uses_text_and_tests_are_accepted() {
    for code in [
        "use crate::b::Allowed;",
        "use crate::b::Allowed; fn f() { Allowed::new(); }",
        "use crate::{d::{self, D}};",
        "use crate::shared::Clock;",
        "// use crate::b::Other;\nconst A: &str = \"crate::b::Other\";",
        "use other::b::Other; fn b() {} fn f() { b(); x.b::<u8>(); }",
        "#[cfg(test)] mod tests { use crate::b::Other; }",
        "#[cfg(test)]\nuse crate::b::{Other};\nstruct A { #[cfg(test)] field: crate::b::Other }",
        "pub(in crate::b) struct A;",
    ] {
        assert_eq!(uses_of(code), [] as [&str; 0], "{code}");
    }
}

#[test]
fn code_after_test_code_is_still_checked() {
    let code = "#[cfg(test)] use x::{y}; #[cfg(test)] fn f() { g() } #[cfg(test)] mod tests { } use crate::b::Other;";
    assert_eq!(uses_of(code), ["src/a.rs b"]);
}

#[test]
fn failure_names_the_file_the_use_and_the_allowed_modules() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "\n\nuse crate::b::Other;"),
        ("src/b.rs", "pub struct Other;"),
    ];
    let why = &check(&files, dependencies::modules)[0].why;
    let expected = "src/a.rs:3 uses `crate::b::Other`, which is in `b`\n    allowed for `a` in library: b::Allowed, d";
    assert_eq!(why, expected);
}

#[test]
fn current_module_is_checked_under_its_name_in_the_table() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        ("src/a.rs", "mod old; pub struct A; fn f() { old::f() }"),
        ("src/a/old.rs", "use super::A; use crate::b::Allowed; pub fn f() {}"),
        ("src/b.rs", "pub struct Allowed;"),
    ];
    assert_eq!(
        entries(check(&files, dependencies::modules)),
        ["src/a.rs c", "src/a/old.rs b"]
    );
}

#[test]
fn packages_use_only_the_packages_below_them() {
    let files = [
        ("src/lib.rs", "pub mod a; mod b;"),
        ("src/a.rs", "use killfeed_service::start; pub struct A;"),
        ("src/b.rs", "use killfeed_service::*;"),
        ("service/src/lib.rs", "mod a; pub use a::start;"),
        ("service/src/a.rs", "use library::a::A; pub fn start() {}"),
        ("service/src/main.rs", "use killfeed_service::start;"),
    ];
    assert_eq!(
        entries(check(&files, dependencies::modules)),
        ["src/a.rs service", "src/b.rs service"]
    );
}

#[test]
fn module_without_a_row_is_found() {
    let files = [
        ("src/lib.rs", "mod a; mod unknown;"),
        ("src/a.rs", ""),
        ("src/unknown.rs", ""),
    ];
    let found = check(&files, dependencies::modules_without_a_row);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["library: unknown"]);
}

#[test]
fn mapped_module_that_does_not_exist_is_found() {
    let stale = |files: &[(&str, &str)]| {
        let (sources, packages) = sample(files);
        dependencies::stale_lines(&Tree::read(&sources, &packages), &packages).len()
    };
    assert_eq!(stale(&[("src/lib.rs", "mod a;"), ("src/a.rs", "mod old {}")]), 0);
    assert_eq!(stale(&[("src/lib.rs", "mod a;"), ("src/a.rs", "mod new {}")]), 1);
}

#[test]
#[should_panic(expected = "no `mod` declares this file")]
fn file_that_no_module_declares_is_found() {
    check(&[("src/lib.rs", ""), ("src/a.rs", "")], |_| ());
}

#[test]
fn crates_are_found_behind_imports() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        (
            "src/a.rs",
            "mod old; mod types; use redb::Table as Rows; fn f() { std::fs::read(); }",
        ),
        ("src/a/old.rs", "fn f() { super::Rows::new(); }"),
        (
            "src/a/types.rs",
            "use redb_types::Key; #[cfg(test)] use redb::Database;",
        ),
        ("src/b.rs", "use redbull::Wings; fn redb() { redb(); }"),
    ];
    let crates = |allowed: &[&str]| entries(check(&files, |tree| dependencies::crates(tree, &[("redb", allowed)])));
    assert_eq!(
        crates(&[]),
        ["src/a.rs redb", "src/a/old.rs redb", "src/a/types.rs redb"]
    );
    assert_eq!(crates(&["src/a/old"]), ["src/a.rs redb", "src/a/types.rs redb"]);
    assert_eq!(crates(&["src/a"]), [] as [&str; 0]);
}

#[test]
fn clocks_and_disks_are_found_in_pure_modules() {
    let files = [
        ("src/lib.rs", "mod a; mod b;"),
        (
            "src/a.rs",
            "use std::{fs, time::SystemTime}; fn f(now: SystemTime) {}\nfn g() { SystemTime::now(); }",
        ),
        ("src/b.rs", "fn g() { std::time::SystemTime::now(); }"),
    ];
    let table = [("src/a", ["std::time::SystemTime::now", "std::fs"].as_slice(), "is pure")];
    let found = check(&files, |tree| dependencies::impure(tree, &table));
    assert_eq!(
        found,
        [
            "src/a.rs:1 uses std::fs, but src/a is pure",
            "src/a.rs:2 uses std::time::SystemTime::now, but src/a is pure"
        ]
    );
}

/// Returns the cycles of a module `a` with children `x`, `y` and `z`.
fn cycles_of(parent: &str, x: &str, y: &str, z: &str) -> Vec<String> {
    let files = [
        ("src/lib.rs", "mod a;"),
        ("src/a.rs", &format!("mod x; mod y; mod z; {parent}")),
        ("src/a/x.rs", &format!("pub struct X; {x}")),
        ("src/a/y.rs", &format!("pub struct Y; {y}")),
        ("src/a/z.rs", &format!("pub struct Z; {z}")),
    ];
    entries(check(&files, cycles::cycles))
}

#[test]
fn files_that_use_each_other_are_a_cycle() {
    assert_eq!(
        cycles_of("", "use super::y::Y;", "use super::x::X;", ""),
        ["src/a/x.rs\nsrc/a/y.rs"]
    );
    let three = cycles_of(
        "",
        "use super::y::Y;",
        "fn f(z: super::z::Z) {}",
        "use crate::a::x; fn f(x: x::X) {}",
    );
    assert_eq!(three, ["src/a/x.rs\nsrc/a/y.rs\nsrc/a/z.rs"]);
    assert_eq!(
        cycles_of("", "use super::y::Y;", "use super::z::Z;", ""),
        [] as [&str; 0]
    );
}

#[test]
fn parent_that_calls_and_is_called_is_a_cycle() {
    let cycle = ["src/a.rs\nsrc/a/x.rs"];
    assert_eq!(cycles_of("pub struct A; use x::X;", "use super::A;", "", ""), cycle);
    assert_eq!(
        cycles_of(
            "pub struct A; fn f() { x::make(); }",
            "use super::*; pub fn make() {}",
            "",
            ""
        ),
        cycle
    );
    assert_eq!(
        cycles_of("pub struct A; pub use x::X; fn f(x: X) {}", "use super::A;", "", ""),
        cycle
    );
    assert_eq!(cycles_of("pub struct A;", "use super::A;", "", ""), [] as [&str; 0]);
    assert_eq!(cycles_of("use x::X;", "", "", ""), [] as [&str; 0]);
}

#[test]
fn reexports_and_declarations_are_not_a_dependency() {
    // The parent re-exports `X`; `y` takes it from the parent, which is a use of `x`.
    assert_eq!(
        cycles_of("pub use x::X; use y::Y;", "", "use super::X;", ""),
        [] as [&str; 0]
    );
    assert_eq!(
        cycles_of("pub(crate) use x::X; pub struct A;", "use super::A;", "", ""),
        [] as [&str; 0]
    );
    let same_word =
        "pub use x::name; pub struct A { name: u8 } fn f(name: u8) { name + self.name() } trait T { fn name(); }";
    assert_eq!(
        cycles_of(same_word, "use super::A; pub fn name() {}", "", ""),
        [] as [&str; 0]
    );
    let call = "pub use x::name; pub struct A; fn f() { name() }";
    assert_eq!(
        cycles_of(call, "use super::A; pub fn name() {}", "", ""),
        ["src/a.rs\nsrc/a/x.rs"]
    );
    assert_eq!(
        cycles_of("use x::X;", "use super::Y;", "use super::X;", ""),
        ["src/a.rs\nsrc/a/x.rs"]
    );
    assert_eq!(
        cycles_of("pub use {x::X, y::Y};", "use super::Y;", "use super::X;", ""),
        ["src/a/x.rs\nsrc/a/y.rs"]
    );
}

#[test]
fn cycle_names_the_lines_that_cause_it() {
    let files = [
        ("src/lib.rs", "mod a;"),
        ("src/a.rs", "mod x;\npub struct A;\nuse x::X;"),
        ("src/a/x.rs", "pub struct X;\nfn f(a: super::A) {}"),
    ];
    let why = &check(&files, cycles::cycles)[0].why;
    let expected = "2 files use each other:\n    src/a.rs uses src/a/x.rs (line 3, `x::X`)\n    src/a/x.rs uses src/a.rs (line 2, `super::A`)";
    assert_eq!(why, expected);
}

#[test]
fn repeated_type_names_are_found() {
    let files = [
        ("src/lib.rs", "mod a; mod b; pub struct Shared;"),
        ("src/a.rs", "pub(crate) enum Shared { Variant } struct Private; pub fn f() {} pub struct Table;"),
        (
            "src/b.rs",
            "pub(in crate::b) unsafe trait Other {} mod c { pub(super) type Other = (); } struct Private; pub struct f; pub union Table {}
             #[cfg(test)] pub struct Shared; impl A { type Shared = (); } fn f() { pub struct Shared; }",
        ),
        ("service/src/lib.rs", "pub struct Shared;"),
        ("service/src/main.rs", ""),
    ];
    let found = check(&files, |tree| names::repeated(tree, &["Table"]));
    assert_eq!(
        found,
        [
            "library: `Other` is defined at src/b.rs:1 and src/b.rs:1",
            "library: `Shared` is defined at src/lib.rs:1 and src/a.rs:1",
        ]
    );
}

#[test]
fn fallback_type_may_share_the_name_of_the_type_it_replaces() {
    let files = [
        (
            "src/lib.rs",
            "#[cfg(feature = \"x\")] mod a; #[cfg(not(feature = \"x\"))] mod b; pub struct Two;
             #[cfg(not(feature = \"x\"))] pub struct Three; #[cfg(feature = \"x\")] pub struct Three; pub struct Four;",
        ),
        ("src/a.rs", "pub struct One; pub struct Two; pub struct Four;"),
        ("src/b.rs", "mod c; pub struct One;"),
        ("src/b/c.rs", "pub struct Two;"),
    ];
    let found = check(&files, |tree| names::repeated(tree, &["Four"]));
    assert_eq!(found, ["library: `Two` is defined at src/lib.rs:1 and src/a.rs:1"]);
}

#[test]
fn long_and_unfinished_files_are_found() {
    let (sources, _) = sample(&[("a.rs", "1\n2\n3\n"), ("b.rs", "1\n2\n// LATER: 3"), ("c.rs", "1\n2\n")]);
    let found = files::unfinished(&sources, 2, &["LATER"]);
    assert_eq!(
        found,
        [
            "a.rs has 3 lines, at most 2 are allowed: split it by what it does",
            "b.rs has 3 lines, at most 2 are allowed: split it by what it does",
            "b.rs has a LATER left",
        ]
    );
}

/// The table describes a direction: no row uses a row that uses it.
#[test]
fn table_has_no_cycle() {
    for package in &PACKAGES {
        let uses = |row: &str| {
            let rows = package
                .rows
                .iter()
                .filter(|(name, may)| *name == row && *may != EVERYTHING);
            let names = rows.flat_map(|(_, may)| may.iter().map(|name| name.split("::").next().unwrap()));
            names.collect::<Vec<_>>()
        };
        for (row, _) in package.rows {
            let mut next = uses(row);
            for _ in package.rows {
                assert!(
                    !next.contains(row),
                    "{}: {row} uses itself through other rows",
                    package.name
                );
                next = next.into_iter().flat_map(uses).collect();
            }
        }
        let names: Vec<_> = package
            .rows
            .iter()
            .flat_map(|(_, may)| *may)
            .filter(|name| **name != "*")
            .collect();
        let has_row = |name: &str| package.rows.iter().any(|(row, _)| name.split("::").next() == Some(row));
        assert!(names.iter().all(|name| has_row(name)), "{}: {names:?}", package.name);
    }
}
