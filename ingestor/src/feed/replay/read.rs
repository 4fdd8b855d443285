//! Files of killmails, read one document at a time; archives of a day are put into the order in which it happened first.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::feed::esi_body;

/// A document's body may have as many bytes as the feed takes.
const MAX_DOCUMENT_BYTES: u64 = 16 * 1024 * 1024;
/// A day of an archive, unpacked: a busy one has a tenth of it.
const MAX_DAY_BYTES: u64 = 1024 * 1024 * 1024;

/// One document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Replayed {
    pub(super) body: Bytes,
    /// When it was published, else when it happened, in milliseconds since 1970.
    pub(super) at_ms: Option<i64>,
    /// zKillboard's number; 0 = none.
    pub(super) sequence: u64,
}

/// A path that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayPathError {
    /// It cannot be looked at.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is nothing of a kind that is known.
    #[error(
        "{} contains no killmails: expected files named *.jsonl or *.jsonl.gz (R2Z2 documents, one per line), *.tar.bz2 (a day from EVE Ref), or *.json or *.json.gz (a day from zKillboard's history/raw)",
        path.display()
    )]
    Nothing {
        /// The path.
        path: PathBuf,
    },
}

/// A file, and how it is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplayFile {
    path: PathBuf,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// One R2Z2 document a line.
    Lines { packed: bool },
    /// One object, killmail id → ESI body.
    Day { packed: bool },
    /// A tar of ESI bodies, one a file.
    Archive,
}

/// The files to replay, in order.
pub(super) fn files(path: &Path) -> Result<Vec<ReplayFile>, ReplayPathError> {
    let unreadable = |error| ReplayPathError::Unreadable {
        path: path.into(),
        error,
    };
    let mut paths = vec![path.to_owned()];
    if fs::metadata(path).map_err(unreadable)?.is_dir() {
        let entries: io::Result<Vec<_>> = fs::read_dir(path).map_err(unreadable)?.collect();
        paths = entries.map_err(unreadable)?.iter().map(fs::DirEntry::path).collect();
        paths.sort();
    } else {
        fs::File::open(path).map_err(unreadable)?;
    }
    let known = |path: PathBuf| {
        let format = format(&path.file_name()?.to_string_lossy())?;
        Some(ReplayFile { path, format })
    };
    let files: Vec<ReplayFile> = paths.into_iter().filter_map(known).collect();
    if files.is_empty() {
        return Err(ReplayPathError::Nothing { path: path.into() });
    }
    Ok(files)
}

fn format(name: &str) -> Option<Format> {
    let name = name.to_ascii_lowercase();
    if name.ends_with(".tar.bz2") {
        return Some(Format::Archive);
    }
    let (name, packed) = match name.strip_suffix(".gz") {
        Some(name) => (name, true),
        None => (name.as_str(), false),
    };
    if name.ends_with(".jsonl") || name.ends_with(".ndjson") {
        return Some(Format::Lines { packed });
    }
    name.ends_with(".json").then_some(Format::Day { packed })
}

/// Gives one document after the other, until `give` says that nobody wants more. An error is the last thing given.
pub(super) fn read(files: &[ReplayFile], mut give: impl FnMut(Result<Replayed, String>) -> bool) {
    for file in files {
        let mut stopped = false;
        let mut one = |document| {
            stopped = !give(Ok(document));
            !stopped
        };
        if let Err(error) = read_file(file, &mut one) {
            give(Err(format!("{}: {error}", file.path.display())));
            return;
        }
        if stopped {
            return;
        }
    }
}

fn read_file(file: &ReplayFile, give: &mut dyn FnMut(Replayed) -> bool) -> io::Result<()> {
    let opened = BufReader::new(fs::File::open(&file.path)?);
    match file.format {
        Format::Lines { packed: false } => lines(opened, give),
        Format::Lines { packed: true } => lines(BufReader::new(MultiGzDecoder::new(opened)), give),
        Format::Day { packed: false } => day(opened, give),
        Format::Day { packed: true } => day(MultiGzDecoder::new(opened), give),
        Format::Archive => archive(MultiBzDecoder::new(opened), give),
    }
}

fn lines(mut from: impl BufRead, give: &mut dyn FnMut(Replayed) -> bool) -> io::Result<()> {
    #[derive(Deserialize)]
    struct Envelope {
        uploaded_at: Option<f64>,
        sequence_id: Option<u64>,
    }
    for number in 1_u64.. {
        let mut line = Vec::new();
        (&mut from).take(MAX_DOCUMENT_BYTES + 1).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(io::Error::other(format!(
                "line {number} has more than {MAX_DOCUMENT_BYTES} bytes"
            )));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        // What is no document is found out, and counted, where documents are parsed.
        let envelope: Option<Envelope> = serde_json::from_slice(&line).ok();
        let at = envelope.as_ref().and_then(|envelope| envelope.uploaded_at);
        let document = Replayed {
            at_ms: at.map(|seconds| (seconds * 1_000.0) as i64),
            sequence: envelope.and_then(|envelope| envelope.sequence_id).unwrap_or(0),
            body: line.into(),
        };
        if !give(document) {
            return Ok(());
        }
    }
    Ok(())
}

fn day(from: impl Read, give: &mut dyn FnMut(Replayed) -> bool) -> io::Result<()> {
    let mut text = Vec::new();
    from.take(MAX_DAY_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_DAY_BYTES {
        return Err(io::Error::other(format!(
            "the file has more than {MAX_DAY_BYTES} bytes"
        )));
    }
    let bodies: std::collections::BTreeMap<&str, &RawValue> = serde_json::from_slice(&text)?;
    if bodies.values().any(|body| body.get().starts_with('"')) {
        let problem = "the file contains only hashes; use the file of the same name in the folder raw";
        return Err(io::Error::other(problem));
    }
    in_order(
        bodies.values().map(|body| body.get().as_bytes().to_vec()).collect(),
        give,
    );
    Ok(())
}

fn archive(from: impl Read, give: &mut dyn FnMut(Replayed) -> bool) -> io::Result<()> {
    let mut bodies = Vec::new();
    let mut bytes = 0;
    for entry in tar::Archive::new(from).entries()? {
        let mut entry = entry?;
        let is_json = entry.path()?.extension().is_some_and(|extension| extension == "json");
        if !entry.header().entry_type().is_file() || !is_json {
            continue;
        }
        bytes += entry.size();
        if entry.size() > MAX_DOCUMENT_BYTES || bytes > MAX_DAY_BYTES {
            return Err(io::Error::other(
                "the unpacked archive exceeds the size limit of one day",
            ));
        }
        let mut body = Vec::new();
        entry.read_to_end(&mut body)?;
        bodies.push(body);
    }
    in_order(bodies, give);
    Ok(())
}

/// As they happened: archives are sorted by id or not at all.
fn in_order(bodies: Vec<Vec<u8>>, give: &mut dyn FnMut(Replayed) -> bool) {
    let mut documents: Vec<(i64, u64, Replayed)> = bodies.into_iter().map(document).collect();
    documents.sort_by_key(|(kill_ms, id, _)| (*kill_ms, *id));
    for (_, _, document) in documents {
        if !give(document) {
            return;
        }
    }
}

fn document(body: Vec<u8>) -> (i64, u64, Replayed) {
    match esi_body::about(&body) {
        Some(about) => {
            let replayed = Replayed {
                body: esi_body::document(about.id, &about.hash, Some(&body)),
                at_ms: Some(about.kill_ms),
                sequence: 0,
            };
            (about.kill_ms, about.id, replayed)
        }
        // No killmail: it is found out, and counted, where documents are parsed.
        None => {
            let replayed = Replayed {
                body: body.into(),
                at_ms: None,
                sequence: 0,
            };
            (i64::MIN, 0, replayed)
        }
    }
}
