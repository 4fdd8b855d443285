//! A full disk, and one that fails.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::log::faults::{Fault, break_disk, mend_disk};

#[tokio::test]
async fn appends_wait_while_the_disk_is_nearly_full_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1_000_000));
    let probe = {
        let free = Arc::clone(&free);
        FreeSpace::from(move |_: &Path| Ok(free.load(Ordering::SeqCst)))
    };
    let options = Options {
        reserve_bytes: 1_000_000,
        free_space: probe,
        ..from_disk()
    };
    let log = EmbeddedLog::open(dir.path(), options).unwrap();
    log.append(batch([killmail(7, 0, T0)])).await.unwrap();
    free.store(999_999, Ordering::SeqCst);
    let refused = log.append(batch([killmail(8, 0, T0)])).await;
    let Err(error @ LogError::DiskFull { .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        error.to_string(),
        "the log's disk is almost full: 999999 bytes are free, but 1000000 are kept in reserve; free some space, or shorten INGESTOR_RETENTION"
    );
    assert_eq!(offsets(&log, 0).await, [1]);
    assert_eq!(log.dedup_entries(&[KillmailId(8)]).await.unwrap(), [None]);
    free.store(1_000_000, Ordering::SeqCst);
    log.append(batch([killmail(8, 0, T0)])).await.unwrap();
    assert_eq!(offsets(&log, 0).await, [1, 2]);
}

#[tokio::test]
async fn a_failed_disk_is_opened_again_behind_the_readers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    // Room for the newest record only, and redb caches little, so that older reads go to the disk.
    let options = Options {
        window_bytes: 6_000_000,
        cache_bytes: 0,
        ..options()
    };
    let log = Arc::new(EmbeddedLog::open(dir.path(), options).unwrap());
    let big = |offset: u64| NewEvent {
        body: NewBody::Gap(vec![offset as u8; 1_000_000].into()),
        ..at(offset, gap(T0))
    };
    for offset in 1..=3 {
        log.append(batch([big(offset)])).await.unwrap();
    }

    break_disk(&path, Fault::Everything);
    let failed = log.append(batch([big(4)])).await;
    assert!(matches!(failed, Err(LogError::Io(_))), "{failed:?}");
    // What is in memory is served at once.
    assert_eq!(offsets(&log, 2).await, [3]);
    // What is not waits.
    let waiting = {
        let log = Arc::clone(&log);
        tokio::spawn(async move { offsets(&log, 0).await })
    };
    let failed = log.append(batch([big(4)])).await;
    assert!(matches!(failed, Err(LogError::Io(_))), "{failed:?}");
    assert!(!waiting.is_finished());

    mend_disk(&path);
    assert_eq!(waiting.await.unwrap(), [1, 2, 3]);
    log.append(batch([big(4)])).await.unwrap();
    assert_eq!(offsets(&log, 0).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_reader_that_meets_the_error_first_gets_its_records_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let options = Options {
        cache_bytes: 0,
        ..from_disk()
    };
    let log = Arc::new(EmbeddedLog::open(dir.path(), options).unwrap());
    log.append(batch((1..=20).map(|id| killmail(id, 0, T0)))).await.unwrap();
    break_disk(&path, Fault::Everything);
    let waiting = {
        let log = Arc::clone(&log);
        tokio::spawn(async move { log.newest(KillmailId(20)).await })
    };
    // Until the reader's complaint has closed the database.
    let mut door = log.shared().watch_door();
    door.wait_for(|door| !matches!(door, state::DbState::Open(_)))
        .await
        .unwrap();
    mend_disk(&path);
    assert_eq!(waiting.await.unwrap().unwrap().unwrap().offset, Offset(20));
}

#[tokio::test]
async fn an_append_whose_commit_was_in_doubt_happens_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let log = open(dir.path());
    log.append(batch([killmail(1, 0, T0)])).await.unwrap();
    for id in 2..6 {
        // The sync fails, but what was written before it is in the file: only the reopened database can tell.
        break_disk(&path, Fault::NextSync);
        let head = log.append(batch([killmail(id, 0, T0)])).await.unwrap();
        assert_eq!(head.offset, Offset(id));
        assert_eq!(log.status().killmails, id);
    }
    assert_eq!(offsets(&log, 0).await, [1, 2, 3, 4, 5]);
    drop(log);
    assert_eq!(offsets(&open(dir.path()), 0).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_batch_whose_append_failed_is_simply_appended_again() {
    let mut durable_all_the_same = 0;
    for syncs in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let log = open(dir.path());
        log.append(batch([killmail(1, 0, T0)])).await.unwrap();
        let again = AppendBatch {
            feed_state: Some("two".into()),
            ..batch([killmail(2, 0, T0), gap(T0)])
        };
        break_disk(&path, Fault::AfterSyncs(syncs));
        let mut result = log.append(again.clone()).await;
        mend_disk(&path);
        let mut door = log.shared().watch_door();
        door.wait_for(|door| matches!(door, state::DbState::Open(_)))
            .await
            .unwrap();
        durable_all_the_same += u32::from(result.is_err() && log.status().head.offset == Offset(3));
        // What the pipeline does.
        while let Err(error) = result {
            assert!(matches!(error, LogError::Io(_)), "{syncs}: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            result = log.append(again.clone()).await;
        }
        assert_eq!(result.unwrap().offset, Offset(3), "{syncs}");
        // The same events are news no more once the append was answered.
        assert!(matches!(log.append(again).await, Err(LogError::Rejected(_))));
        assert_eq!(offsets(&log, 0).await, [1, 2, 3]);
        assert_eq!(log.status().killmails, 2);
        assert_eq!(log.feed_state().await.unwrap().as_deref(), Some(&b"two"[..]));
        drop(log);
        assert_eq!(offsets(&open(dir.path()), 0).await, [1, 2, 3]);
    }
    // Otherwise this test would not show what it is for.
    assert!(durable_all_the_same > 0);
}
