//! Killmails to publish: the real ones in `../shared/data`, or the sample in `examples/sample`.

use std::{
    collections::HashSet,
    io::BufReader,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use flate2::read::GzDecoder;
use serde_json::Value;

/// The bundled killmails, one R2Z2 document per line.
pub const SAMPLE_KILLMAILS: &str = include_str!("../../examples/sample/killmails.jsonl");
/// ESI's bodies for the documents with `"esi": null`, one per line.
pub const SAMPLE_ESI: &str = include_str!("../../examples/sample/esi.jsonl");
/// The names of the characters, corporations and alliances in the sample.
pub const SAMPLE_NAMES: &str = include_str!("../../examples/sample/names.json");
/// The build number of the bundled static data, which is lower than every real one.
pub const SAMPLE_BUILD: u64 = 1;
/// The bundled static data: the file's name in CCP's archive, and its JSON lines.
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

/// A set of killmails and its origin.
#[derive(Debug)]
pub struct Corpus {
    /// R2Z2 documents in feed order.
    pub documents: Vec<Value>,
    /// True for the real killmails, false for the bundled sample.
    pub real: bool,
}

/// Returns the 1,540 real killmails if `../shared/data` has them, or else the bundled sample.
///
/// Prints a note when it falls back to the sample.
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

/// Returns `count` documents, repeating killmails under new ids if there are too few.
pub fn some(count: usize) -> Vec<Value> {
    let mut documents = best().documents;
    let different = documents.len();
    for n in different..count {
        // These ids are above every real killmail id.
        documents.push(renumbered(&documents[n % different], 4_000_000_000 + n as u64));
    }
    documents.truncate(count);
    documents
}

/// Returns a copy of a document under another killmail id.
pub fn renumbered(document: &Value, id: u64) -> Value {
    let mut document = document.clone();
    document["killmail_id"] = id.into();
    if document["esi"].is_object() {
        document["esi"]["killmail_id"] = id.into();
    }
    document
}

/// Returns each killmail of the bundled sample once, with its body, in feed order.
pub fn sample() -> Vec<Value> {
    let mut seen = HashSet::new();
    let killmails = sample_feed().into_iter().filter_map(|entry| match entry {
        SampleLine::Document(document) | SampleLine::WithoutEsi(document) => Some(document),
        SampleLine::Placeholder => None,
    });
    killmails
        .filter(|document| seen.insert(document["killmail_id"].as_u64()))
        .collect()
}

/// One line of the bundled sample, for [`FakeUpstream::play`](crate::FakeUpstream::play).
#[derive(Debug, Clone, PartialEq)]
pub enum SampleLine {
    /// An ordinary document.
    Document(Value),
    /// A document to publish with a null `esi`; the value here includes its body.
    WithoutEsi(Value),
    /// A document in which every field is null.
    Placeholder,
}

/// Returns every line of the bundled sample, with its null `esi`, placeholder and repeated killmail.
pub fn sample_feed() -> Vec<SampleLine> {
    let bodies = documents(SAMPLE_ESI.as_bytes());
    let body_of = |id: &Value| bodies.iter().find(|body| body["killmail_id"] == *id).cloned();
    let entry = |mut document: Value| {
        if document["killmail_id"].is_null() {
            return SampleLine::Placeholder;
        }
        if document["esi"].is_object() {
            return SampleLine::Document(document);
        }
        document["esi"] = body_of(&document["killmail_id"]).expect("esi.jsonl has the missing body");
        SampleLine::WithoutEsi(document)
    };
    documents(SAMPLE_KILLMAILS.as_bytes()).into_iter().map(entry).collect()
}

/// Sets the time of the kill and the time at which zKillboard received it, in whole seconds.
pub fn set_times(document: &mut Value, kill: SystemTime, upload: SystemTime) {
    document["esi"]["killmail_time"] = rfc3339(kill).into();
    document["uploaded_at"] = seconds(upload).into();
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .expect("the time is after 1970")
        .as_secs()
}

/// Formats a time like `2026-08-18T19:00:00Z`.
///
/// The date follows Howard Hinnant's algorithm: days since 0000-03-01 in eras of 400 years.
fn rfc3339(time: SystemTime) -> String {
    let seconds = seconds(time);
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Returns the path of a file in `../shared/data`, or `None` if the file does not exist.
pub fn shared(file: &str) -> Option<PathBuf> {
    let path = repository().join("../shared/data").join(file);
    path.exists().then_some(path)
}

/// Returns the root folder of the repository.
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate is in tests/fakes")
}

fn documents(lines: impl std::io::BufRead) -> Vec<Value> {
    lines
        .lines()
        .map(|line| line.expect("the lines are readable"))
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(&line).expect("each line is one document"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rfc3339_formats_times_like_esi() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_787_079_601, "2026-08-18T19:00:01Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
