//! Opens copies of data of an earlier build, kept in `tests/fixtures`, with the current build.
//!
//! The current build must read the same data and give the same results. `tests/fixtures/README.md` describes how each
//! file was made. The tests read only public output: gRPC, HTTP, Discord's API, files and the programs' output.

mod buttons;
mod console;
mod embedded;
mod export;
mod jetstream;
mod log;
mod make;
mod make_notifier;
mod notifier;
mod harness;
mod rows;
mod surface;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use killfeed_support::corpus;
use serde_json::Value;
use tempfile::TempDir;

/// The variable that permits the generators to write to `tests/fixtures`.
const MAKE: &str = "KILLFEED_MAKE_FIXTURES";

/// A time longer than the life of any fixture: retention and age limits keep the recorded data.
const FOREVER: &str = "36500d";

/// Returns the path of a file of `tests/fixtures`.
fn path(name: &str) -> PathBuf {
    corpus::repository().join("tests/fixtures").join(name)
}

/// Returns a scratch folder with a copy of an archived folder in it.
fn unpack(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    unpack_into(name, folder.path());
    folder
}

fn unpack_into(name: &str, folder: &Path) {
    let file = fs::File::open(path(name)).unwrap();
    tar::Archive::new(GzDecoder::new(file)).unpack(folder).unwrap();
}

/// Archives a folder's content.
fn pack(name: &str, folder: &Path) {
    let file = GzEncoder::new(fs::File::create(path(name)).unwrap(), Compression::best());
    let mut archive = tar::Builder::new(file);
    archive.append_dir_all(".", folder).unwrap();
    archive.into_inner().unwrap().finish().unwrap();
}

/// Reads a recorded JSON document.
fn recorded(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// Writes a JSON document for [`recorded`].
fn record(name: &str, value: &Value) {
    fs::write(path(name), serde_json::to_string_pretty(value).unwrap() + "\n").unwrap();
}

/// Panics unless the caller asked for new fixtures: a plain `cargo test -- --ignored` must not change them.
fn only_on_request() {
    assert!(
        std::env::var_os(MAKE).is_some(),
        "this replaces recorded fixtures: set {MAKE}=1 to do that deliberately"
    );
}

/// Returns the current time in milliseconds since 1970.
fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

/// Panics with the path of everything that `expected` holds and `found` does not.
///
/// Objects may have more members than expected, and arrays of objects with a `name`, `number` or `value` more elements: a
/// contract grows. Everything else must be equal.
fn assert_covers(what: &str, expected: &Value, found: &Value) {
    let mut missing = Vec::new();
    compare(what, expected, found, &mut missing);
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

fn compare(path: &str, expected: &Value, found: &Value, missing: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                compare(
                    &format!("{path}/{key}"),
                    value,
                    found.get(key).unwrap_or(&Value::Null),
                    missing,
                );
            }
        }
        (Value::Array(expected), Value::Array(found))
            if expected.iter().chain(found).all(|one| identity(one).is_some()) =>
        {
            for one in expected {
                let id = identity(one);
                let same = found.iter().find(|other| identity(other) == id);
                let path = format!("{path}/{}", id.unwrap_or(&Value::Null));
                compare(&path, one, same.unwrap_or(&Value::Null), missing);
            }
        }
        (expected, found) if expected == found => {}
        (expected, found) => missing.push(format!("{path}: expected {expected}, found {found}")),
    }
}

/// Returns the member that identifies an element of an array of objects.
fn identity(element: &Value) -> Option<&Value> {
    ["number", "value", "name"].into_iter().find_map(|key| element.get(key))
}

#[test]
fn covering_allows_additions_and_reports_changes() {
    let old = serde_json::json!({"a": 1, "options": [{"name": "x", "type": 3}], "list": [1, 2]});
    let grown = serde_json::json!({"a": 1, "b": 2, "options": [{"name": "y"}, {"name": "x", "type": 3, "min": 1}], "list": [1, 2]});
    assert_covers("it", &old, &grown);
    let changed = serde_json::json!({"options": [{"name": "x", "type": 4}], "list": [1, 2, 3]});
    let mut missing = Vec::new();
    compare("it", &old, &changed, &mut missing);
    assert_eq!(
        missing,
        [
            "it/a: expected 1, found null",
            "it/list: expected [1,2], found [1,2,3]",
            "it/options/\"x\"/type: expected 3, found 4",
        ]
    );
}
