use std::{fs, io::Write as _, path::Path, time::Duration};

use bzip2::{Compression, write::BzEncoder};
use flate2::write::GzEncoder;
use tokio::time::Instant;

use super::*;
use crate::health;

/// The time that a test waits for an event before it fails as a hang.
const LIMIT: Duration = Duration::from_secs(300);

fn replay(path: &Path, speed: Option<f64>, state: Option<Bytes>) -> Replay {
    let settings = ReplaySettings {
        path: path.into(),
        speed,
    };
    Replay::new(&settings, state, health::channel().0).unwrap()
}

fn line(number: u64, second: u64) -> String {
    format!(r#"{{"killmail_id":{number},"uploaded_at":{second},"sequence_id":{number}}}"#)
}

fn body(id: u64, time: &str) -> String {
    format!(r#"{{"killmail_id":{id},"killmail_time":"{time}","victim":{{"ship_type_id":670}},"attackers":[]}}"#)
}

/// The killmail ids of the next `n` documents.
async fn ids(replay: &mut Replay, n: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    while ids.len() < n {
        for item in replay.next().await.items {
            let FeedItem::Document { body, .. } = item else {
                panic!("{item:?}")
            };
            let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
            ids.push(document["killmail_id"].as_u64().unwrap());
        }
        replay.ack(&[]);
    }
    ids
}

/// Reads until the replay ends, with or without an error.
async fn to_its_end(replay: &mut Replay) {
    let start = Instant::now();
    while replay.end.is_none() {
        assert!(start.elapsed() < LIMIT, "the replay does not end");
        let _ = tokio::time::timeout(Duration::from_millis(20), replay.next()).await;
    }
}

fn pack(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

fn archive(bodies: &[(u64, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(BzEncoder::new(Vec::new(), Compression::fast()));
    for (id, time) in bodies {
        let body = body(*id, time);
        let mut header = tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, format!("killmails/{id}.json"), body.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

#[tokio::test]
async fn every_kind_of_file_is_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("1.jsonl", format!("{}\n\n{}", line(11, 5), line(12, 6)).as_bytes());
    write(
        "2.jsonl.gz",
        &[pack(&line(21, 7)), pack("\n"), pack(&line(22, 8))].concat(),
    );
    let late = (31, "2026-08-01T10:00:01Z");
    write(
        "3.tar.bz2",
        &archive(&[late, (32, "2026-08-01T10:00:00Z"), (30, "2026-08-01T10:00:01Z")]),
    );
    let day = format!(
        r#"{{"42":{},"41":{}}}"#,
        body(42, "2026-08-01T00:00:00Z"),
        body(41, "2026-08-01T00:00:09Z")
    );
    write("4.json", day.as_bytes());
    write("README.txt", b"not a killmail");

    let mut all = replay(folder.path(), None, None);
    assert_eq!(ids(&mut all, 9).await, [11, 12, 21, 22, 32, 30, 31, 42, 41]);
    // Then it is over, and stays so.
    to_its_end(&mut all).await;
    assert!(
        tokio::time::timeout(Duration::from_millis(50), all.next())
            .await
            .is_err()
    );
    assert_eq!(all.end, Some(Ok(())));
    let detail = all.health.borrow().detail.clone();
    assert!(detail.ends_with("is complete: 9 documents"), "{detail}");
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was_and_another_path_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let text: Vec<String> = (1..=500).map(|n| line(n, n)).collect();
    let (first, other) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    fs::write(&first, text.join("\n")).unwrap();
    fs::write(&other, line(7, 7)).unwrap();
    let mut before = replay(&first, None, None);
    let handed = before.next().await.items.len() as u64;
    let state = before.ack(&[]);
    assert!(handed > 0);
    let mut after = replay(&first, None, Some(state.clone()));
    assert_eq!(ids(&mut after, 1).await[0], handed + 1);
    let mut anew = replay(&other, None, Some(state));
    assert_eq!(ids(&mut anew, 1).await, [7]);
}

#[tokio::test(start_paused = true)]
async fn the_pace_is_that_of_the_uploads_times_the_speed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    fs::write(
        &path,
        [line(1, 1_000), line(2, 1_060), line(3, 1_030), line(4, 1_600)].join("\n"),
    )
    .unwrap();
    let mut replay = replay(&path, Some(60.0), None);
    let began = Instant::now();
    let mut at = Vec::new();
    while at.len() < 4 {
        let batch = replay.next().await;
        at.extend(batch.items.iter().map(|_| began.elapsed().as_secs()));
    }
    assert_eq!(at, [0, 1, 1, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_time_beyond_all_bounds_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let at = |number, time| line(number, 0).replace(r#""uploaded_at":0"#, &format!(r#""uploaded_at":{time}"#));
    fs::write(&path, [at(1, "-1e300"), at(2, "1e300"), line(3, 1_000)].join("\n")).unwrap();
    let mut replay = replay(&path, Some(60.0), None);
    assert_eq!(ids(&mut replay, 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let refused = |path: &Path| {
        let settings = ReplaySettings {
            path: path.into(),
            speed: None,
        };
        match Replay::new(&settings, None, health::channel().0) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{path:?}"),
        }
    };
    assert!(refused(&path("nowhere.jsonl")).contains("cannot read"));
    assert!(refused(folder.path()).contains("contains no killmails: expected files named *.jsonl"));

    let torn = archive(&[(1, "2026-08-01T10:00:00Z")]);
    let gz = pack(&line(1, 1));
    for (name, bytes, words) in [
        ("torn.tar.bz2", &torn[..torn.len() / 2], "torn.tar.bz2"),
        ("torn.jsonl.gz", &gz[..gz.len() - 4], "torn.jsonl.gz"),
        (
            "list.json",
            br#"{"1":"0e9fc0ab87da00b69cde9818bdfe675ee521107c"}"#.as_slice(),
            "contains only hashes",
        ),
        ("no.json", b"[1]".as_slice(), "invalid type"),
    ] {
        fs::write(path(name), bytes).unwrap();
        let mut replay = replay(&path(name), None, None);
        to_its_end(&mut replay).await;
        match replay.end {
            Some(Err(reason)) => assert!(reason.contains(words), "{reason}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(replay.health.borrow().health, FeedHealth::Down);
    }
}
