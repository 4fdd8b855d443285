//! Retention.

use super::*;

fn keeping(retention: Duration, clock: &TestClock) -> Options {
    Options {
        retention,
        clock: clock.clock(),
        ..from_disk()
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn what_is_too_old_goes_and_its_marks_stay() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let log = EmbeddedLog::open(dir.path(), keeping(HOUR, &clock)).unwrap();
    // Killmail 1 comes again later: it counts until its last record goes.
    log.append(batch([killmail(1, 0, T0), killmail(2, 0, T0), gap(T0)]))
        .await
        .unwrap();
    log.append(batch([killmail(1, 1, T0 + 1000)])).await.unwrap();
    assert_eq!(log.status().killmails, 2);

    clock.advance(3_600_000);
    log.remove_expired().await;
    assert_eq!(log.status().trimmed, Offset(0), "not a millisecond too early");

    clock.advance(1);
    log.remove_expired().await;
    let expected = LogStatus {
        trimmed: Offset(3),
        earliest_ms: Some(T0 + 1000),
        head: Head {
            offset: Offset(4),
            ingested_ms: T0 + 1000,
        },
        killmails: 1,
    };
    assert_eq!(log.status(), expected);
    assert_eq!(offsets(&log, 0).await, [4]);
    assert_eq!(log.newest(KillmailId(2)).await.unwrap(), None);
    assert_eq!(log.newest(KillmailId(1)).await.unwrap().unwrap().offset, Offset(4));
    assert_eq!(log.seek(T0).await.unwrap(), Offset(3));
    drop(log);

    let log = EmbeddedLog::open(dir.path(), keeping(HOUR, &clock)).unwrap();
    assert_eq!(log.status(), expected);
    clock.advance(2000);
    // The clock now stands more than the retention after the newest record only since the process runs.
    log.remove_expired().await;
    let emptied = LogStatus {
        trimmed: Offset(4),
        earliest_ms: None,
        killmails: 0,
        ..expected
    };
    assert_eq!(log.status(), emptied);
    drop(log);

    // The marks are all that is left, and offsets are never given out twice.
    let log = EmbeddedLog::open(dir.path(), keeping(HOUR, &clock)).unwrap();
    assert_eq!(log.status(), emptied);
    let marks = log.dedup_entries(&[KillmailId(1), KillmailId(2)]).await.unwrap();
    assert_eq!(marks.map_revisions(), [Some(1), Some(0)]);
    assert_eq!(log.seek(0).await.unwrap(), Offset(4));
    let now = log.status().head.stamp(T0 + 3_700_000);
    assert_eq!(log.append(batch([gap(now)])).await.unwrap().offset, Offset(5));
    assert_eq!(log.status().earliest_ms, Some(now));
}

trait Revisions {
    fn map_revisions(&self) -> Vec<Option<u32>>;
}

impl Revisions for Vec<Option<DedupEntry>> {
    fn map_revisions(&self) -> Vec<Option<u32>> {
        self.iter().map(|mark| mark.map(|mark| mark.revision)).collect()
    }
}

#[tokio::test]
async fn removes_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let log = EmbeddedLog::open(dir.path(), keeping(Duration::from_secs(1), &clock)).unwrap();
    log.append(batch((1..=1000).map(|id| killmail(id, 0, T0))))
        .await
        .unwrap();
    clock.advance(1001);
    // The removal comes half a second later. The loop waits five minutes before it fails as a hang.
    for _ in 0..6_000 {
        if log.status().killmails == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing was removed: {:?}", log.status());
}

#[tokio::test]
async fn a_clock_that_jumps_empties_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let wall = Arc::new(AtomicI64::new(T0));
    let clock = {
        let wall = Arc::clone(&wall);
        Clock::from_fn(move || Now {
            wall: from_ms(wall.load(Ordering::SeqCst)),
            up: Uptime::default(),
        })
    };
    let options = Options { clock, ..options() };
    let log = EmbeddedLog::open(dir.path(), options.clone()).unwrap();
    log.append(batch([killmail(1, 0, T0)])).await.unwrap();
    wall.fetch_add(10 * 86_400_000, Ordering::SeqCst);
    log.remove_expired().await;
    assert_eq!(offsets(&log, 0).await, [1]);
    drop(log);
    // Nor does a start with such a clock.
    let log = EmbeddedLog::open(dir.path(), options).unwrap();
    log.remove_expired().await;
    assert_eq!(offsets(&log, 0).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_misses_records_finds_out() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    let log = Arc::new(EmbeddedLog::open(dir.path(), keeping(HOUR, &clock)).unwrap());
    const RECORDS: u64 = 3000;
    for from in (0..RECORDS).step_by(500) {
        let events = (from..from + 500).map(|n| killmail(n + 1, 0, T0 + n as i64 * 10));
        log.append(batch(events)).await.unwrap();
    }
    let readers: Vec<_> = (1..=3)
        .map(|size| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let limit = ReadLimit {
                    records: 7 * size,
                    bytes: usize::MAX,
                };
                let (mut after, mut read, mut missed) = (Offset(0), 0, 0);
                while after.0 < RECORDS {
                    let records = log.read(after, limit).await.unwrap();
                    let trimmed = log.status().trimmed;
                    // Either nothing is missing before them, or the status says so.
                    let first = records.first().map_or(RECORDS + 1, |record| record.offset.0);
                    assert!(first == after.0 + 1 || trimmed > after, "{after}: {first}, {trimmed}");
                    missed += first - after.0 - 1;
                    read += records.len() as u64;
                    after = records.last().map_or(Offset(RECORDS), |record| record.offset);
                }
                read + missed
            })
        })
        .collect();
    clock.advance(3_600_000);
    for _ in 0..60 {
        clock.advance(500);
        log.remove_expired().await;
    }
    for reader in readers {
        assert_eq!(reader.await.unwrap(), RECORDS);
    }
    clock.advance(1000);
    log.remove_expired().await;
    assert_eq!(log.status().trimmed, Offset(RECORDS));
}
