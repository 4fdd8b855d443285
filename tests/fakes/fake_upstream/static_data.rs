//! The fake static data host: CCP's layout, with files from `../shared/data` or the bundled sample.

use std::{
    collections::HashMap,
    io::{Cursor, Read as _, Write as _},
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use serde_json::Value;

use super::{Hosts, Routes};
use crate::corpus;

#[derive(Debug)]
pub(super) struct Archive {
    zip: Bytes,
    /// The build number that the host announces.
    pub(super) build: u64,
    /// Records by file and id, read on first use.
    records: OnceLock<HashMap<String, HashMap<u64, Value>>>,
}

impl Archive {
    /// Returns the archive in `../shared/data`, or the sample if there is none.
    pub(super) fn best() -> Self {
        let latest = corpus::shared("sde/latest.jsonl").and_then(|path| std::fs::read(path).ok());
        let build = latest
            .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
            .and_then(|record| record["buildNumber"].as_u64());
        let zip = build
            .and_then(|build| corpus::shared(&format!("sde/eve-online-static-data-{build}-jsonl.zip")))
            .and_then(|path| std::fs::read(path).ok());
        match (build, zip) {
            (Some(build), Some(zip)) => Self::new(zip.into(), build),
            _ => {
                eprintln!("note: no ../shared/data/sde: using the bundled sample of the static data");
                Self::sample()
            }
        }
    }

    /// Returns the bundled sample.
    pub(super) fn sample() -> Self {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        for (name, text) in corpus::SAMPLE_STATIC_DATA {
            zip.start_file(format!("{name}.jsonl"), options)
                .expect("writing to memory");
            zip.write_all(text.as_bytes()).expect("writing to memory");
        }
        let zip = zip.finish().expect("writing to memory").into_inner();
        Self::new(zip.into(), corpus::SAMPLE_BUILD)
    }

    fn new(zip: Bytes, build: u64) -> Self {
        Self {
            zip,
            build,
            records: OnceLock::new(),
        }
    }

    /// Returns the record with this `_key` in a file.
    pub(super) fn record(&self, file: &str, id: u64) -> Option<&Value> {
        self.records.get_or_init(|| read(&self.zip)).get(file)?.get(&id)
    }

    fn etag(&self) -> String {
        format!("\"{}\"", self.build)
    }
}

/// Reads the files that the fake ESI needs.
fn read(zip: &Bytes) -> HashMap<String, HashMap<u64, Value>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(zip.clone())).expect("the archive is a zip file");
    let mut files = HashMap::new();
    for name in [
        "types",
        "groups",
        "mapSolarSystems",
        "mapConstellations",
        "mapRegions",
        "factions",
    ] {
        let mut text = String::new();
        let mut file = archive
            .by_name(&format!("{name}.jsonl"))
            .expect("the archive has this file");
        file.read_to_string(&mut text).expect("the file is UTF-8");
        let records = text.lines().map(|line| {
            let record: Value = serde_json::from_str(line).expect("each line is JSON");
            (record["_key"].as_u64().expect("the record has a key"), record)
        });
        files.insert(name.to_owned(), records.collect());
    }
    files
}

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/tranquility/latest.jsonl", get(latest))
        .route("/tranquility/{file}", get(archive))
}

async fn latest(State(world): State<Arc<Hosts>>, headers: HeaderMap) -> Response {
    let inner = world.lock();
    let build = inner.static_data.build;
    let line = format!("{{\"_key\":\"sde\",\"buildNumber\":{build},\"releaseDate\":\"2026-08-20T00:00:00Z\"}}\n");
    unless_known(&headers, inner.static_data.etag(), line.into())
}

async fn archive(State(world): State<Arc<Hosts>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    let inner = world.lock();
    if file != format!("eve-online-static-data-{}-jsonl.zip", inner.static_data.build) {
        return StatusCode::NOT_FOUND.into_response();
    }
    unless_known(&headers, inner.static_data.etag(), inner.static_data.zip.clone())
}

/// Returns 304 if the client already has the current version.
fn unless_known(headers: &HeaderMap, etag: String, body: Bytes) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let status = if known == Some(&etag) {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    };
    let body = if status == StatusCode::OK { body } else { Bytes::new() };
    let modified = "Thu, 20 Aug 2026 00:00:00 GMT".to_owned();
    (status, [(header::ETAG, etag), (header::LAST_MODIFIED, modified)], body).into_response()
}
