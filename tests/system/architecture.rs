//! Holds the code against docs/architecture.md: who may know whom, how long a file may be, what must not be left behind.

use std::{
    fs,
    path::{Path, PathBuf},
};

use killfeed_support::corpus;

/// (a crate, the paths that may name it): a trailing `*` stands for anything.
const CRATES: [(&str, &[&str]); 7] = [
    ("redb", &["ingestor/src/log*", "ingestor/src/enrich/cache*"]),
    (
        "sled",
        &[
            "notifier/src/subscriptions/store.rs",
            "notifier/src/outbox*",
            "notifier/src/database*",
        ],
    ),
    ("serenity", &["notifier/src/discord*"]),
    (
        "tonic",
        &[
            "src/*",
            "ingestor/src/grpc*",
            "ingestor/src/feed/relay.rs",
            "notifier/src/follow*",
            "notifier/src/admin*",
            "notifier/src/ingestor*",
            "telemetry/src/export.rs",
        ],
    ),
    ("axum", &["ingestor/src/http*", "notifier/src/http*"]),
    ("async_nats", &["ingestor/src/log*"]),
    ("opentelemetry", &["telemetry/src/*"]),
];

/// (paths, modules of the same crate that they may not name)
const MODULES: [(&str, &[&str]); 16] = [
    ("src/id.rs", &["client", "filter", "wire", "v1"]),
    ("src/cursor.rs", &["client", "filter", "wire", "v1"]),
    ("src/filter*", &["client", "wire", "cursor"]),
    (
        "ingestor/src/feed*",
        &["parse", "enrich", "log", "grpc", "pipeline", "universe"],
    ),
    (
        "ingestor/src/parse*",
        &["feed", "enrich", "log", "grpc", "pipeline", "universe"],
    ),
    (
        "ingestor/src/enrich*",
        &["feed", "parse", "log", "grpc", "pipeline", "universe"],
    ),
    (
        "ingestor/src/log*",
        &["feed", "parse", "enrich", "grpc", "pipeline", "universe"],
    ),
    ("ingestor/src/pipeline*", &["grpc", "universe"]),
    ("ingestor/src/grpc*", &["feed", "parse", "pipeline"]),
    ("ingestor/src/universe*", &["feed", "log", "pipeline", "grpc"]),
    ("notifier/src/subscriptions*", &["follow", "deliver", "discord"]),
    ("notifier/src/outbox*", &["follow", "discord", "deliver"]),
    ("notifier/src/deliver*", &["follow", "discord"]),
    ("notifier/src/commands*", &["follow", "discord", "admin", "deliver"]),
    ("notifier/src/admin*", &["follow", "discord", "outbox", "deliver"]),
    ("notifier/src/discord*", &["follow", "outbox", "deliver", "admin"]),
];

/// (paths, texts that may not stand there, why)
const WORDS: [(&str, &[&str], &str); 4] = [
    (
        "src/id.rs",
        &["tokio", "SystemTime", "Instant"],
        "knows no clock and no runtime",
    ),
    (
        "src/filter*",
        &["tokio", "SystemTime::now", "Instant"],
        "knows no clock and no runtime",
    ),
    (
        "notifier/src/matching*",
        &["SystemTime::now", "std::fs"],
        "gets the time passed in and reads no disk",
    ),
    (
        "notifier/src/render*",
        &["SystemTime::now", "std::fs"],
        "gets the time passed in and reads no disk",
    ),
];

const MAX_LINES: usize = 500;

#[test]
fn crates_are_named_only_where_they_belong() {
    for (file, code) in sources() {
        for (name, allowed) in CRATES {
            let names_it = code.contains(&format!("{name}::")) || code.contains(&format!("use {name};"));
            let may = allowed.iter().any(|pattern| matches(pattern, &file));
            assert!(!names_it || may, "{file} names {name}, which belongs in {allowed:?}");
        }
    }
}

#[test]
fn modules_know_only_whom_they_may() {
    for (file, code) in sources() {
        for (_, forbidden) in MODULES.iter().filter(|(pattern, _)| matches(pattern, &file)) {
            for module in *forbidden {
                let nested = format!("{module}::");
                let direct = code.contains(&format!("crate::{nested}")) || code.contains(&format!("crate::{module};"));
                let listed = code.split("use crate::{").skip(1).any(|rest| {
                    let list = rest.split(';').next().unwrap_or_default();
                    top_level(list).iter().any(|name| name == module)
                });
                assert!(!direct && !listed, "{file} names {module}, which it may not know");
            }
        }
        for (_, words, why) in WORDS.iter().filter(|(pattern, ..)| matches(pattern, &file)) {
            for word in *words {
                assert!(!code.contains(word), "{file} names {word}, but it {why}");
            }
        }
    }
}

#[test]
fn no_file_is_too_long_and_nothing_is_left_to_do() {
    let marks = ["todo!", "unimplemented!", "dbg!", "FIXME", "TODO", "allow(dead_code)"];
    for path in rust_files(corpus::repository()) {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        assert!(
            lines <= MAX_LINES,
            "{} has {lines} lines: split it along what it does",
            path.display()
        );
        let this_one = path.ends_with("tests/system/architecture.rs");
        for mark in marks {
            assert!(this_one || !text.contains(mark), "{} has a {mark} left", path.display());
        }
    }
}

/// The names at the first level of a `use crate::{...}` list.
fn top_level(list: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut depth = 0;
    for character in list.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            _ if depth == 0 => names.last_mut().unwrap().push(character),
            _ => {}
        }
    }
    let first = |name: &String| name.trim().split("::").next().unwrap_or_default().to_owned();
    names.iter().map(first).collect()
}

/// `pattern*` matches every path that begins like it and goes on with `.rs`, `/` or, for a folder, anything.
fn matches(pattern: &str, file: &str) -> bool {
    let Some(stem) = pattern.strip_suffix('*') else {
        return pattern == file;
    };
    let rest = file.strip_prefix(stem);
    rest.is_some_and(|rest| stem.ends_with('/') || rest.starts_with('.') || rest.starts_with('/'))
}

/// (path from the root, code without comments and tests) of everything that is shipped.
fn sources() -> Vec<(String, String)> {
    let root = corpus::repository();
    let mut found = Vec::new();
    for folder in ["src", "ingestor/src", "notifier/src", "telemetry/src"] {
        for path in rust_files(&root.join(folder)) {
            let file = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            if !file.ends_with("/tests.rs") && !file.contains("/tests/") {
                found.push((file, code(&fs::read_to_string(path).unwrap())));
            }
        }
    }
    assert!(found.len() > 10, "the sources are where they were");
    found
}

/// What is compiled into the services: no comment lines, nothing from the unit tests on.
fn code(text: &str) -> String {
    let shipped = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every Rust file below a folder.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn patterns_and_lists_are_read_as_meant() {
    assert!(matches("ingestor/src/log*", "ingestor/src/log.rs"));
    assert!(matches("ingestor/src/log*", "ingestor/src/log/embedded.rs"));
    assert!(!matches("ingestor/src/log*", "ingestor/src/logging.rs"));
    assert!(matches("src/*", "src/client/retry.rs"));
    assert_eq!(
        top_level("feed::{Batch, Item}, log, parse::x"),
        ["feed", "log", "parse"]
    );
    assert_eq!(code("a\n  // b\nc\n#[cfg(test)]\nmod tests {}"), "a\nc");
}
