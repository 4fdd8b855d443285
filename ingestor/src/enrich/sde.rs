//! CCP's archive → [`StaticData`]. Only the members that are needed are read, line by line, straight out of the zip: unpacked
//! it is about 500 MB.

mod download;
mod folder;

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    path::Path,
};

use killfeed::id::{CategoryId, ConstellationId, GroupId, RegionId, SystemId};
use serde::{Deserialize, de::DeserializeOwned};
use zip::{ZipArchive, result::ZipError};

use super::static_data::{
    ConstellationRow, GroupRow, Incomplete, Parts, RegionRow, StargateRow, StaticData, SystemRow, TypeRow,
};

pub use download::{Downloader, RefreshError, Refreshed};
pub use folder::Folder;

/// A line is one record; the longest real one (a type with its description in eight languages) has about 20 kB.
const MAX_LINE: u64 = 1 << 20;
/// A member is at most so large unpacked; the largest real one that is read has about 150 MB.
const MAX_MEMBER: u64 = 1 << 30;

/// Why an archive can't be used. Whatever is in use stays in use.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not there, or not readable.
    #[error("cannot read the static data archive: {0}")]
    Io(#[from] io::Error),
    /// No zip, or cut short.
    #[error("the static data archive is not a complete zip file: {0}")]
    Zip(ZipError),
    /// A file that is needed is not in it.
    #[error("the static data archive does not contain {0}.jsonl")]
    Missing(&'static str),
    /// A member ends early or fails its checksum.
    #[error("{file}.jsonl in the static data archive is corrupt: {error}")]
    Damaged {
        /// CCP's name of the file.
        file: &'static str,
        /// How.
        error: io::Error,
    },
    /// A line is not the record it should be.
    #[error("line {line} of {file}.jsonl in the static data archive is malformed: {error}")]
    Line {
        /// CCP's name of the file.
        file: &'static str,
        /// Counted from 1.
        line: usize,
        /// Why not.
        error: serde_json::Error,
    },
    /// A line without end, or a member that unpacks to more than any honest one.
    #[error("{file}.jsonl in the static data archive, or a line of it, exceeds the size limit")]
    TooLong {
        /// CCP's name of the file.
        file: &'static str,
    },
    /// The rows do not make up a build.
    #[error("the static data archive is incomplete: {0}")]
    Incomplete(#[from] Incomplete),
    /// Much smaller than what is in use.
    #[error(
        "the static data archive has only {now} rows in {file}.jsonl, the one in use has {before}: it is probably incomplete"
    )]
    Shrunk {
        /// CCP's name of the file.
        file: &'static str,
        /// Rows in the one in use.
        before: usize,
        /// Rows in this one.
        now: usize,
    },
}

/// Reads the archive of `build` at `path`. Takes about 0.1 s (release) and belongs off the runtime.
pub fn read_archive(path: &Path, build: &str) -> Result<StaticData, ArchiveError> {
    let mut zip = ZipArchive::new(BufReader::new(File::open(path)?)).map_err(ArchiveError::Zip)?;
    let mut parts = Parts {
        build: build.to_owned(),
        ..Parts::default()
    };
    records(&mut zip, "mapRegions", |record: Region| {
        let row = RegionRow {
            wormhole_class: record.class,
        };
        parts.regions.push((record.id, record.name.en, row));
    })?;
    records(&mut zip, "mapConstellations", |record: Constellation| {
        let row = ConstellationRow {
            region: RegionId(record.region),
            wormhole_class: record.class,
        };
        parts.constellations.push((record.id, record.name.en, row));
    })?;
    records(&mut zip, "mapSolarSystems", |record: SystemRecord| {
        let row = SystemRow {
            constellation: ConstellationId(record.constellation),
            region: RegionId(record.region),
            security: record.security,
            wormhole_class: record.class,
            position: record.position.metres(),
        };
        parts.systems.push((record.id, record.name.en, row));
    })?;
    records(&mut zip, "mapStargates", |record: Stargate| {
        parts.stargates.push(StargateRow {
            from: SystemId(record.system),
            to: SystemId(record.destination.system),
            position: record.position.map(Position::metres),
        });
    })?;
    records(&mut zip, "types", |record: Type| {
        let row = TypeRow {
            group: GroupId(record.group),
            published: record.published,
        };
        parts.types.push((record.id, record.name.en, row));
    })?;
    records(&mut zip, "groups", |record: GroupRecord| {
        let row = GroupRow {
            category: CategoryId(record.category),
        };
        parts.groups.push((record.id, record.name.en, row));
    })?;
    records(&mut zip, "categories", |record: Plain| {
        parts.categories.push((record.id, record.name.en, ()));
    })?;
    records(&mut zip, "factions", |record: Plain| {
        parts.factions.push((record.id, record.name.en, ()));
    })?;
    Ok(StaticData::assemble(parts)?)
}

/// Refuses `new` if one of its files has lost more than a tenth of its rows against `old`: CCP takes away little, and a
/// half-written archive can be sound in itself.
pub(super) fn plausible_after(old: &StaticData, new: &StaticData) -> Result<(), ArchiveError> {
    for ((file, before), (_, now)) in old.counts().by_file().into_iter().zip(new.counts().by_file()) {
        if now < before - before / 10 {
            return Err(ArchiveError::Shrunk { file, before, now });
        }
    }
    Ok(())
}

/// Hands every record of a member to `take`.
fn records<T: DeserializeOwned>(
    zip: &mut ZipArchive<BufReader<File>>,
    file: &'static str,
    mut take: impl FnMut(T),
) -> Result<(), ArchiveError> {
    let damaged = |error| ArchiveError::Damaged { file, error };
    let member = zip.by_name(&format!("{file}.jsonl")).map_err(|error| match error {
        ZipError::FileNotFound => ArchiveError::Missing(file),
        error => ArchiveError::Zip(error),
    })?;
    let mut reader = BufReader::with_capacity(64 * 1024, member.take(MAX_MEMBER));
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut text)
            .map_err(damaged)?;
        if read == 0 {
            break;
        }
        if read as u64 == MAX_LINE {
            return Err(ArchiveError::TooLong { file });
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let record = serde_json::from_slice(&text);
        take(record.map_err(|error| ArchiveError::Line { file, line, error })?);
    }
    if reader.get_ref().limit() == 0 {
        return Err(ArchiveError::TooLong { file });
    }
    Ok(())
}

/// The English name. Other languages are not kept.
#[derive(Deserialize)]
struct Name {
    #[serde(default)]
    en: Box<str>,
}

#[derive(Deserialize)]
struct Region {
    #[serde(rename = "_key")]
    id: u32,
    name: Name,
    #[serde(rename = "wormholeClassID")]
    class: Option<u32>,
}

#[derive(Deserialize)]
struct Constellation {
    #[serde(rename = "_key")]
    id: u32,
    name: Name,
    #[serde(rename = "regionID")]
    region: u32,
    #[serde(rename = "wormholeClassID")]
    class: Option<u32>,
}

#[derive(Deserialize)]
struct SystemRecord {
    #[serde(rename = "_key")]
    id: u32,
    name: Name,
    #[serde(rename = "constellationID")]
    constellation: u32,
    #[serde(rename = "regionID")]
    region: u32,
    #[serde(rename = "securityStatus")]
    security: f64,
    #[serde(rename = "wormholeClassID")]
    class: Option<u32>,
    position: Position,
}

#[derive(Deserialize)]
struct Position {
    x: f64,
    y: f64,
    z: f64,
}

impl Position {
    fn metres(self) -> [f64; 3] {
        [self.x, self.y, self.z]
    }
}

#[derive(Deserialize)]
struct Stargate {
    #[serde(rename = "solarSystemID")]
    system: u32,
    destination: Destination,
    // CCP's archive has it; what only joins systems together may not.
    position: Option<Position>,
}

#[derive(Deserialize)]
struct Destination {
    #[serde(rename = "solarSystemID")]
    system: u32,
}

#[derive(Deserialize)]
struct Type {
    #[serde(rename = "_key")]
    id: u32,
    name: Name,
    #[serde(rename = "groupID")]
    group: u32,
    #[serde(default)]
    published: bool,
}

#[derive(Deserialize)]
struct GroupRecord {
    #[serde(rename = "_key")]
    id: u32,
    name: Name,
    #[serde(rename = "categoryID")]
    category: u32,
}

/// Of what nothing but the name is kept.
#[derive(Deserialize)]
struct Plain {
    #[serde(rename = "_key")]
    id: u32,
    name: Name,
}

#[cfg(test)]
pub(crate) mod test_data;
#[cfg(test)]
mod tests;
