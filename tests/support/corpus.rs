//! Killmails to publish: the real ones that lie beside the project, or the sample that is part of it.

use std::{
    io::BufReader,
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use serde_json::Value;

/// The bundled killmails, one R2Z2 document a line.
pub const SAMPLE_KILLMAILS: &str = include_str!("../../examples/sample/killmails.jsonl");
/// The people in them.
pub const SAMPLE_NAMES: &str = include_str!("../../examples/sample/names.json");
/// Build number of the bundled static data: below every real one.
pub const SAMPLE_BUILD: u64 = 1;
/// The bundled static data: (name of the file in CCP's archive, JSON lines).
pub const SAMPLE_STATIC_DATA: [(&str, &str); 9] = [
    ("_sde", include_str!("../../examples/sample/static-data/_sde.jsonl")),
    (
        "mapRegions",
        include_str!("../../examples/sample/static-data/mapRegions.jsonl"),
    ),
    (
        "mapConstellations",
        include_str!("../../examples/sample/static-data/mapConstellations.jsonl"),
    ),
    (
        "mapSolarSystems",
        include_str!("../../examples/sample/static-data/mapSolarSystems.jsonl"),
    ),
    (
        "mapStargates",
        include_str!("../../examples/sample/static-data/mapStargates.jsonl"),
    ),
    ("types", include_str!("../../examples/sample/static-data/types.jsonl")),
    ("groups", include_str!("../../examples/sample/static-data/groups.jsonl")),
    (
        "categories",
        include_str!("../../examples/sample/static-data/categories.jsonl"),
    ),
    (
        "factions",
        include_str!("../../examples/sample/static-data/factions.jsonl"),
    ),
];

/// Killmails, and whether they are the real ones.
#[derive(Debug)]
pub struct Corpus {
    /// One R2Z2 document each, in feed order.
    pub documents: Vec<Value>,
    /// From `../shared/data`; else the bundled sample.
    pub real: bool,
}

/// The 1,540 real killmails if they lie beside the project; else the bundled sample, and says so.
pub fn best() -> Corpus {
    let real = shared("killmails/r2z2-open.jsonl.gz").and_then(|path| std::fs::File::open(path).ok());
    match real {
        Some(file) => Corpus {
            documents: documents(BufReader::new(GzDecoder::new(file))),
            real: true,
        },
        None => {
            eprintln!("note: no ../shared/data/killmails: this test runs over the bundled sample instead");
            Corpus {
                documents: sample(),
                real: false,
            }
        }
    }
}

/// The bundled sample: usable killmails only, each once, with their times as they were written.
pub fn sample() -> Vec<Value> {
    let mut seen = std::collections::HashSet::new();
    let usable = |document: &Value| document["esi"].is_object();
    let mut all = documents(SAMPLE_KILLMAILS.as_bytes());
    all.retain(|document| usable(document) && seen.insert(document["killmail_id"].as_u64()));
    all
}

/// Every line of the bundled sample as it is: a null `esi`, a placeholder and a duplicate among them.
pub fn sample_raw() -> Vec<Value> {
    documents(SAMPLE_KILLMAILS.as_bytes())
}

/// A file of `../shared/data`, if it is there.
pub fn shared(file: &str) -> Option<PathBuf> {
    let path = repository().join("../shared/data").join(file);
    path.exists().then_some(path)
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies in tests/support")
}

fn documents(lines: impl std::io::BufRead) -> Vec<Value> {
    lines
        .lines()
        .map(|line| line.expect("readable"))
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(&line).expect("one document a line"))
        .collect()
}
