//! Appending, reading, searching.

use super::*;

#[tokio::test]
async fn appends_and_reads_back_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let id = {
        let log = open(dir.path());
        assert_eq!(log.status().head, Head::default());
        assert_eq!(log.status().earliest_ms, None);
        assert_eq!(offsets(&log, 0).await, [0; 0]);
        let mut head = log.head();
        let appended = log
            .append(AppendBatch {
                events: vec![killmail(7, 0, T0), gap(T0), killmail(8, 0, T0 + 5)],
                dedup_entries: vec![(
                    KillmailId(9),
                    DedupEntry {
                        revision: 2,
                        hash: None,
                    },
                )],
                feed_state: Some(Bytes::from_static(b"walked to 100")),
            })
            .await
            .unwrap();
        let expected = Head {
            offset: Offset(3),
            ingested_ms: T0 + 5,
        };
        assert_eq!(appended, expected);
        assert!(head.has_changed().unwrap());
        assert_eq!(*head.borrow_and_update(), expected);
        log.id()
    };
    for options in [options(), from_disk()] {
        let log = EmbeddedLog::open(dir.path(), options).unwrap();
        assert_eq!(log.id(), id);
        let read = log.read(Offset(0), ALL).await.unwrap();
        let kinds: Vec<_> = read.iter().map(|record| (record.offset.0, record.kind)).collect();
        let of = |id| RecordKind::Killmail {
            id: KillmailId(id),
            revision: 0,
        };
        assert_eq!(kinds, [(1, of(7)), (2, RecordKind::Gap), (3, of(8))]);
        assert_eq!(read[0].bytes, event_bytes(7, 0));
        assert_eq!(read[0].killmail().unwrap().killmail_id, 7);
        assert_eq!(read[1].killmail(), None);
        assert_eq!(offsets(&log, 2).await, [3]);
        assert_eq!(offsets(&log, 3).await, [0; 0]);
        let ids = [7, 9, 10].map(KillmailId);
        let expected = [
            Some(DedupEntry {
                revision: 0,
                hash: Some(hash_of(7, 0)),
            }),
            Some(DedupEntry {
                revision: 2,
                hash: None,
            }),
            None,
        ];
        assert_eq!(log.dedup_entries(&ids).await.unwrap(), expected);
        assert_eq!(log.feed_state().await.unwrap().as_deref(), Some(&b"walked to 100"[..]));
        assert_eq!(
            log.status(),
            LogStatus {
                trimmed: Offset(0),
                earliest_ms: Some(T0),
                head: Head {
                    offset: Offset(3),
                    ingested_ms: T0 + 5
                },
                killmails: 2
            }
        );
    }
}

#[tokio::test]
async fn the_feed_state_alone_is_kept_too() {
    let dir = tempfile::tempdir().unwrap();
    {
        let log = open(dir.path());
        assert_eq!(log.feed_state().await.unwrap(), None);
        let state = AppendBatch {
            feed_state: Some(Bytes::from_static(b"banned")),
            ..Default::default()
        };
        assert_eq!(log.append(state).await.unwrap(), Head::default());
        assert_eq!(log.append(AppendBatch::default()).await.unwrap(), Head::default());
    }
    let log = open(dir.path());
    assert_eq!(log.feed_state().await.unwrap().as_deref(), Some(&b"banned"[..]));
}

#[tokio::test]
async fn refuses_what_goes_back_and_keeps_none_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.append(batch([at(10, killmail(7, 1, T0))])).await.unwrap();
    for (events, problem) in [
        (
            vec![killmail(8, 0, T0), at(10, gap(T0))],
            "invalid offset 10: expected at least 12",
        ),
        (vec![at(9, gap(T0))], "invalid offset 9: expected at least 11"),
        (vec![killmail(8, 0, T0), gap(T0 - 1)], "before the previous record's"),
        (
            vec![killmail(8, 0, T0), killmail(7, 1, T0)],
            "killmail 7 in revision 1 is not new",
        ),
        (
            vec![killmail(8, 0, T0), killmail(8, 0, T0)],
            "killmail 8 in revision 0 is not new",
        ),
        (vec![at(u64::MAX, gap(T0))], "no offset is left"),
    ] {
        match log.append(batch(events)).await {
            Err(LogError::Rejected(reason)) => assert!(reason.contains(problem), "{reason}"),
            other => panic!("{problem}: {other:?}"),
        }
    }
    let back = AppendBatch {
        dedup_entries: vec![(
            KillmailId(7),
            DedupEntry {
                revision: 0,
                hash: None,
            },
        )],
        ..batch([gap(T0)])
    };
    assert!(matches!(log.append(back).await, Err(LogError::Rejected(_))));
    assert_eq!(offsets(&log, 0).await, [10]);
    assert_eq!(log.dedup_entries(&[KillmailId(8)]).await.unwrap(), [None]);
    // The clock was set back: the pipeline takes the newest record's time.
    let now = log.status().head.stamp(T0 - 1000);
    assert_eq!(log.append(batch([gap(now)])).await.unwrap().offset, Offset(11));
}

#[tokio::test]
async fn a_killmail_counts_once_and_is_found_in_its_newest_revision() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.append(batch([killmail(7, 0, T0), killmail(8, 0, T0), killmail(7, 1, T0)]))
        .await
        .unwrap();
    log.append(batch([killmail(7, 5, T0)])).await.unwrap();
    assert_eq!(log.status().killmails, 2);
    let newest = log.newest(KillmailId(7)).await.unwrap().unwrap();
    assert_eq!((newest.offset, newest.killmail().unwrap().revision), (Offset(4), 5));
    assert_eq!(log.newest(KillmailId(9)).await.unwrap(), None);
}

#[tokio::test]
async fn limits_hold_in_memory_and_on_disk_alike() {
    for options in [options(), from_disk()] {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), options).unwrap();
        log.append(batch((1..=9).map(|id| killmail(id, 0, T0)))).await.unwrap();
        let len = event_bytes(1, 0).len();
        for (records, bytes, expected) in [
            (3, usize::MAX, 3),
            (100, 2 * len, 2),
            (100, 2 * len + 1, 3),
            (0, 0, 1),
            (100, 1, 1),
        ] {
            let read = log.read(Offset(2), ReadLimit { records, bytes }).await.unwrap();
            let read: Vec<_> = read.iter().map(|record| record.offset.0).collect();
            assert_eq!(read, (3..3 + expected).collect::<Vec<_>>(), "{records} {bytes}");
        }
    }
}

#[tokio::test]
async fn seeks_by_time_over_holes() {
    for options in [options(), from_disk()] {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), options).unwrap();
        assert_eq!(log.seek(T0).await.unwrap(), Offset(0));
        // Offsets with holes of growing size, times with steps and repeats.
        let mut placed = Vec::new();
        for n in 0..40_u64 {
            let (offset, ms) = (10 + n * n * 7, T0 + (n as i64 / 3) * 10);
            placed.push((offset, ms));
            log.append(batch([at(offset, gap(ms))])).await.unwrap();
        }
        for since in (T0 - 20..T0 + 150).chain([i64::MIN, i64::MAX]) {
            let place = log.seek(since).await.unwrap();
            let next = offsets(&log, place.0).await.first().copied();
            let expected = placed.iter().find(|(_, ms)| *ms >= since).map(|(offset, _)| *offset);
            assert_eq!(next, expected, "{}", since - T0);
        }
    }
}

#[tokio::test]
async fn readers_follow_the_head() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open(dir.path()));
    let reader = {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut head = log.head();
            let mut seen = Vec::new();
            while seen.len() < 50 {
                let after = seen.last().copied().unwrap_or(0);
                let new = offsets(&log, after).await;
                if new.is_empty() {
                    head.changed().await.unwrap();
                }
                seen.extend(new);
            }
            seen
        })
    };
    for id in 1..=50 {
        log.append(batch([killmail(id, 0, T0)])).await.unwrap();
    }
    assert_eq!(reader.await.unwrap(), (1..=50).collect::<Vec<_>>());
}
