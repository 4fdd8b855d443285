//! Archives that are no good change nothing and say what is wrong with them.

use std::{fs, path::Path};

use killfeed::id::{SystemId, TypeId};

use super::{ArchiveError, Folder, StaticData, read_archive, test_data::*};

fn read(members: &[(&'static str, String)]) -> Result<StaticData, ArchiveError> {
    read_bytes(&zip(members))
}

fn read_bytes(bytes: &[u8]) -> Result<StaticData, ArchiveError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.zip");
    fs::write(&path, bytes).unwrap();
    read_archive(&path, "7")
}

fn with(file: &str, text: &str) -> Vec<(&'static str, String)> {
    let mut members = small_members();
    members.iter_mut().find(|(name, _)| *name == file).unwrap().1 = text.to_owned();
    members
}

fn put(dir: &Path, build: &str, bytes: &[u8]) {
    let name = format!("static/eve-online-static-data-{build}-jsonl.zip");
    fs::write(dir.join(name), bytes).unwrap();
}

#[test]
fn a_whole_archive_is_read() {
    let data = read(&small_members()).unwrap();
    assert_eq!(data.build(), "7");
    let beta = data.system(SystemId(30_000_002)).unwrap();
    assert_eq!(
        (beta.name, beta.region_name, beta.wormhole_class),
        ("Beta", "Testland", 8)
    );
    assert_eq!(data.type_of(TypeId(587)).unwrap().category.unwrap().0, 6);
    assert_eq!(data.within_jumps(beta.id, 1).unwrap().len(), 2);
}

#[test]
fn a_place_near_a_stargate_is_at_the_gate() {
    let data = read(&small_members()).unwrap();
    let [alpha, beta] = [SystemId(30_000_001), SystemId(30_000_002)];
    let gate = [1e12, -2e11, 3e12];
    let beside = |metres: f64| [gate[0] + metres, gate[1], gate[2]];
    for (place, expected) in [
        (gate, Some(beta)),
        (beside(149_000.0), Some(beta)),
        (beside(-149_000.0), Some(beta)),
        (beside(151_000.0), None),
        ([0.0; 3], None),
        ([f64::NAN; 3], None),
    ] {
        assert_eq!(data.gate_at(alpha, place), expected, "{place:?}");
    }
    assert_eq!(
        data.gate_at(beta, gate),
        None,
        "where its gate is the archive does not say"
    );
    assert_eq!(data.gate_at(SystemId(1), gate), None);
    // Of two gates on one grid it is the nearer one.
    let mut members = small_members();
    let gates = &mut members.iter_mut().find(|(name, _)| *name == "mapStargates").unwrap().1;
    gates.push_str(
        r#"{"_key":3,"solarSystemID":30000001,"destination":{"solarSystemID":30000001},"position":{"x":1.0000001e12,"y":-2e11,"z":3e12}}"#,
    );
    let data = read(&members).unwrap();
    assert_eq!(data.gate_at(alpha, beside(40_000.0)), Some(beta));
    assert_eq!(data.gate_at(alpha, beside(60_000.0)), Some(alpha));
}

#[test]
fn faults_are_named() {
    let mut errors = Vec::new();
    let mut fault =
        |what: &str, result: Result<StaticData, ArchiveError>| errors.push(format!("{what}: {}", result.unwrap_err()));
    let whole = zip(&small_members());
    fault("empty file", read_bytes(b""));
    fault("not a zip", read_bytes(b"<html>502 Bad Gateway</html>"));
    fault("cut short", read_bytes(&whole[..whole.len() / 2]));
    let mut flipped = whole;
    flipped[60] ^= 0x55;
    fault("flipped bits", read_bytes(&flipped));
    for missing in ["types", "mapStargates", "categories"] {
        let members: Vec<_> = small_members()
            .into_iter()
            .filter(|(name, _)| *name != missing)
            .collect();
        fault("member missing", read(&members));
    }
    fault("empty member", read(&with("factions", "\n")));
    fault(
        "garbage line",
        read(&with(
            "groups",
            "{\"_key\":25,\"name\":{\"en\":\"Frigate\"},\"categoryID\":6}\n{\"_key\":26,\n",
        )),
    );
    fault(
        "other shape",
        read(&with("types", "{\"_key\":587,\"name\":\"Rifter\"}\n")),
    );
    fault(
        "no group",
        read(&with(
            "groups",
            "{\"_key\":26,\"name\":{\"en\":\"Cruiser\"},\"categoryID\":6}\n",
        )),
    );
    fault(
        "no region",
        read(&with("mapRegions", "{\"_key\":1,\"name\":{\"en\":\"Elsewhere\"}}\n")),
    );
    let gate = "{\"_key\":1,\"solarSystemID\":30000001,\"destination\":{\"solarSystemID\":5}}";
    fault("gate to nowhere", read(&with("mapStargates", gate)));
    fault(
        "twice",
        read(&with(
            "categories",
            "{\"_key\":6,\"name\":{\"en\":\"A\"}}\n{\"_key\":6,\"name\":{\"en\":\"B\"}}",
        )),
    );
    fault("endless line", read(&with("types", &"x".repeat(2 << 20))));
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn the_newest_sound_archive_of_the_folder_is_loaded_and_broken_ones_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    assert!(folder.load().is_none());
    put(dir.path(), "5", &zip(&small_members()));
    put(dir.path(), "6", b"broken");
    put(dir.path(), "x", b"not an archive by its name");
    fs::write(dir.path().join("static/9.part"), b"interrupted").unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    assert_eq!(folder.load().unwrap().build(), "5");
    let mut left: Vec<_> = fs::read_dir(dir.path().join("static"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        [
            "eve-online-static-data-5-jsonl.zip",
            "eve-online-static-data-6-jsonl.zip.broken",
            "eve-online-static-data-x-jsonl.zip"
        ]
    );
}

#[test]
fn a_download_is_taken_in_only_if_it_is_sound_and_not_half_of_what_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let take_in = |build: &str, bytes: &[u8], in_use: Option<&StaticData>| {
        fs::write(folder.part(build), bytes).unwrap();
        let taken = folder.accept(build, in_use);
        assert!(!folder.part(build).exists());
        taken
    };
    let first = take_in("1", &zip(&small_members()), None).unwrap();
    assert!(matches!(
        take_in("2", b"broken", Some(&first)),
        Err(ArchiveError::Zip(_))
    ));
    let one_system = small_members()[2].1.lines().next().unwrap().to_owned();
    let mut half = with("mapSolarSystems", &one_system);
    half[3].1 = r#"{"_key":1,"solarSystemID":30000001,"destination":{"solarSystemID":30000001}}"#.into();
    let shrunk = take_in("3", &zip(&half), Some(&first));
    assert!(
        matches!(
            shrunk,
            Err(ArchiveError::Shrunk {
                file: "mapSolarSystems",
                before: 2,
                now: 1
            })
        ),
        "{shrunk:?}"
    );
    assert_eq!(folder.load().unwrap().build(), "1");
    for build in ["4", "5"] {
        take_in(build, &zip(&small_members()), Some(&first)).unwrap();
    }
    // The one in use and the one before are kept.
    assert_eq!(fs::read_dir(dir.path().join("static")).unwrap().count(), 2);
}
