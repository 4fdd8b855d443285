//! Opening a folder: refusals name what, where and what to do, and leave every byte as it is.

use std::{collections::BTreeMap, fs};

use killfeed::cursor::{Cursor, LogId};
use redb::{Database, ReadableTable as _};

use super::*;
use crate::log::store::META;

/// Every file of a folder with its bytes.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (
            entry.file_name().into_string().unwrap(),
            fs::read(entry.path()).unwrap(),
        )
    });
    files.collect()
}

/// A folder with a log of some size in it.
async fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for n in 0..20 {
        let events = (1..=20).map(|k| NewEvent {
            body: NewBody::Gap(vec![k; 3000].into()),
            ..gap(T0 + n)
        });
        log.append(batch(events)).await.unwrap();
        log.append(batch([killmail(n as u64 + 1, 0, T0 + n)])).await.unwrap();
    }
    dir
}

/// The message without the folder's name.
fn refusal(dir: &Path, options: Options) -> String {
    let before = contents(dir);
    let error = EmbeddedLog::open(dir, options).unwrap_err();
    assert!(contents(dir) == before, "a refused folder was changed");
    let error = error.to_string();
    assert!(!error.contains('\n'), "{error}");
    error.replace(dir.to_str().unwrap(), "DIR")
}

#[tokio::test]
async fn a_second_ingestor_is_told_so() {
    let dir = filled().await;
    let _first = open(dir.path());
    assert_eq!(
        refusal(dir.path(), options()),
        "the data folder DIR is in use by another killfeed-ingestor; stop that one first, or set INGESTOR_DATA_DIR to a separate folder"
    );
    assert!(matches!(new_log_id(dir.path()), Err(LogOpenError::Locked { .. })));
}

#[tokio::test]
async fn redbs_own_lock_counts_too() {
    let dir = filled().await;
    let _other = Database::open(dir.path().join(FILE_NAME)).unwrap();
    let before = contents(dir.path());
    let refused = EmbeddedLog::open(dir.path(), options());
    assert!(matches!(refused, Err(LogOpenError::Locked { .. })), "{refused:?}");
    assert!(contents(dir.path()) == before);
}

#[tokio::test]
async fn a_newer_schema_is_named() {
    let dir = filled().await;
    {
        let db = Database::open(dir.path().join(FILE_NAME)).unwrap();
        let tx = db.begin_write().unwrap();
        tx.open_table(META)
            .unwrap()
            .insert("schema", &7_u32.to_le_bytes()[..])
            .unwrap();
        // A newer version may have renamed all the rest.
        tx.open_table(META).unwrap().remove("next").unwrap();
        tx.commit().unwrap();
    }
    assert_eq!(
        refusal(dir.path(), options()),
        "DIR/log.redb was written by a newer killfeed-ingestor (log schema 7, this version supports schemas up to 1); start that version again, or set INGESTOR_DATA_DIR to another folder; nothing was changed"
    );
    assert!(matches!(new_log_id(dir.path()), Err(LogOpenError::NewerSchema { .. })));
}

#[tokio::test]
async fn a_damaged_file_is_named_and_stays_as_it_is() {
    let dir = filled().await;
    let path = dir.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    let len = whole.len();
    let garbage: Vec<u8> = (0..len).map(|_| fastrand::u8(..)).collect();
    let mut middle = whole.clone();
    for page in (4096..len).step_by(4096 * 5) {
        let end = (page + 64).min(len);
        middle[page..end].copy_from_slice(&garbage[page..end]);
    }
    let cases: [(&str, Vec<u8>); 8] = [
        ("empty", vec![]),
        ("one byte", whole[..1].to_vec()),
        ("only the header", whole[..4096].to_vec()),
        ("half", whole[..len / 2].to_vec()),
        ("without its last page", whole[..len - 4096].to_vec()),
        ("garbage", garbage.clone()),
        ("garbage after the header", [&whole[..4096], &garbage[4096..]].concat()),
        ("garbage here and there", middle),
    ];
    for (what, bytes) in cases {
        fs::write(&path, bytes).unwrap();
        // A file too large to be checked as a whole is still looked at where the opening needs it.
        let trusting = Options {
            check_up_to: 0,
            ..options()
        };
        if what != "garbage here and there" {
            let message = refusal(dir.path(), trusting);
            assert!(message.starts_with("DIR/log.redb is corrupt: "), "{what}: {message}");
        }
        let message = refusal(dir.path(), options());
        assert!(message.starts_with("DIR/log.redb is corrupt: "), "{what}: {message}");
        assert!(
            message.ends_with("; restore a backup and run `killfeed-ingestor new-log-id`, or move the file away to start an empty log; nothing was changed"),
            "{what}: {message}"
        );
    }
    fs::write(&path, whole).unwrap();
    drop(open(dir.path()));
}

#[tokio::test]
async fn a_foreign_database_is_no_log() {
    let dir = tempfile::tempdir().unwrap();
    drop(Database::create(dir.path().join(FILE_NAME)).unwrap());
    let message = refusal(dir.path(), options());
    assert!(
        message.starts_with("DIR/log.redb is corrupt: Table 'meta' does not exist;"),
        "{message}"
    );
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = EmbeddedLog::open(&file, options()).unwrap_err();
    assert!(matches!(error, LogOpenError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("cannot open "), "{error}");
}

#[test]
fn a_log_that_was_never_finished_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log.redb.new"), "half a log").unwrap();
    drop(open(dir.path()));
    assert_eq!(contents(dir.path()).keys().collect::<Vec<_>>(), [FILE_NAME]);
}

#[tokio::test]
async fn a_new_log_id_keeps_the_history_and_counts_on() {
    let dir = filled().await;
    let (old, head) = {
        let log = open(dir.path());
        (log.id(), log.status().head)
    };
    let id = new_log_id(dir.path()).unwrap();
    assert_ne!(id, old);
    let log = open(dir.path());
    assert_eq!(log.id(), id);
    assert_eq!(log.status().head, head);
    let next = log.append(batch([gap(T0 + 100)])).await.unwrap();
    assert_eq!(next.offset.0, head.offset.0 + 1);
    let place = |log_id, offset| {
        log.locate(Cursor {
            log: log_id,
            offset: Offset(offset),
        })
    };
    assert_eq!(place(old, head.offset.0), CursorStatus::After(head.offset));
    assert_eq!(place(old, head.offset.0 + 1), CursorStatus::Unrelated);
    assert_eq!(place(id, head.offset.0 + 1), CursorStatus::After(next.offset));
    assert_eq!(place(id, head.offset.0 + 2), CursorStatus::Ahead);
    assert_eq!(place(LogId(1), 1), CursorStatus::Unrelated);

    let nowhere = tempfile::tempdir().unwrap();
    assert!(matches!(new_log_id(nowhere.path()), Err(LogOpenError::Missing { .. })));
    assert!(contents(nowhere.path()).is_empty());
}

#[tokio::test]
async fn a_damaged_record_reads_as_a_gap() {
    let dir = filled().await;
    let path = dir.path().join(FILE_NAME);
    {
        let table: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("records");
        let db = Database::open(&path).unwrap();
        let tx = db.begin_write().unwrap();
        {
            let mut records = tx.open_table(table).unwrap();
            let mut value = records.get(21).unwrap().unwrap().value().to_vec();
            *value.last_mut().unwrap() ^= 1;
            records.insert(21, &value[..]).unwrap();
        }
        tx.commit().unwrap();
    }
    let log = EmbeddedLog::open(dir.path(), from_disk()).unwrap();
    let read = log
        .read(
            Offset(20),
            ReadLimit {
                records: 2,
                bytes: usize::MAX,
            },
        )
        .await
        .unwrap();
    assert_eq!(read[0].kind, RecordKind::Gap);
    let gap = v1::Gap::decode(read[0].bytes.clone()).unwrap();
    assert_eq!((gap.reason(), gap.missing), (v1::GapReason::UpstreamMissing, 1));
    assert_eq!(read[1].bytes.len(), 3000);
}
