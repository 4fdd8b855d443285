//! Static data for tests: CCP's where it is, and archives made up here.

use std::{
    io::{Cursor, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use zip::{ZipWriter, write::SimpleFileOptions};

use super::{StaticData, read_archive};

pub(crate) const REAL_BUILD: &str = "3475087";

pub(crate) fn real_path() -> Option<PathBuf> {
    let name = format!("../../shared/data/sde/eve-online-static-data-{REAL_BUILD}-jsonl.zip");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("{} is missing: this test checks nothing", path.display());
    None
}

/// Read once for all tests.
pub(crate) fn real() -> Option<Arc<StaticData>> {
    static REAL: OnceLock<Arc<StaticData>> = OnceLock::new();
    let path = real_path()?;
    Some(
        REAL.get_or_init(|| Arc::new(read_archive(&path, REAL_BUILD).unwrap()))
            .clone(),
    )
}

/// A whole small archive: two systems joined by a gate, whose place is known on one side; one ship. Invented.
pub(crate) fn small_members() -> Vec<(&'static str, String)> {
    let lines = |lines: &[&str]| lines.join("\n") + "\n";
    vec![
        (
            "mapRegions",
            lines(&[r#"{"_key":10000001,"name":{"en":"Testland"},"wormholeClassID":8,"new":[1]}"#]),
        ),
        (
            "mapConstellations",
            lines(&[r#"{"_key":20000001,"name":{"en":"Tests"},"regionID":10000001}"#]),
        ),
        (
            "mapSolarSystems",
            lines(&[
                r#"{"_key":30000001,"name":{"en":"Alpha","de":"A"},"constellationID":20000001,"regionID":10000001,"securityStatus":0.3,"position":{"x":0,"y":0.0,"z":1e16}}"#,
                r#"{"_key":30000002,"name":{"en":"Beta"},"constellationID":20000001,"regionID":10000001,"securityStatus":0.04,"position":{"x":0,"y":0.0,"z":0}}"#,
            ]),
        ),
        (
            "mapStargates",
            lines(&[
                r#"{"_key":1,"solarSystemID":30000001,"destination":{"solarSystemID":30000002,"stargateID":2},"position":{"x":1e12,"y":-2e11,"z":3e12},"typeID":16}"#,
                r#"{"_key":2,"solarSystemID":30000002,"destination":{"solarSystemID":30000001,"stargateID":1}}"#,
            ]),
        ),
        (
            "types",
            lines(&[r#"{"_key":587,"name":{"en":"Rifter"},"groupID":25,"published":true}"#]),
        ),
        (
            "groups",
            lines(&[r#"{"_key":25,"name":{"en":"Frigate"},"categoryID":6}"#]),
        ),
        ("categories", lines(&[r#"{"_key":6,"name":{"en":"Ship"}}"#])),
        ("factions", lines(&[r#"{"_key":500001,"name":{"en":"Caldari State"}}"#])),
    ]
}

/// A zip of such members.
pub(crate) fn zip(members: &[(&'static str, String)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in members {
        writer
            .start_file(format!("{name}.jsonl"), SimpleFileOptions::default())
            .unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
