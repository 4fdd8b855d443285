//! The shared log alone, opened several times over one server.

use std::time::Duration;

use bytes::Bytes;
use killfeed::{
    cursor::{Cursor, Offset},
    id::KillmailId,
    v1,
};
use killfeed_ingestor::log::{
    CursorStatus, Head, JetStreamError, JetStreamLog, JetStreamOptions, Leadership, LogRead, NewBody, NewEvent,
    ReadLimit, SharedOpenError,
};
use killfeed_support::{nats::Nats, process::eventually};
use prost::Message as _;
use tempfile::TempDir;
use tokio::{sync::watch, time::timeout};

use super::events::gap;
pub(super) use super::events::{batch, killmail, mark};
use crate::harness::TEST_TIMEOUT;

/// A time in 2026, in milliseconds since 1970.
pub(super) const T0: i64 = 1_790_000_000_000;

pub(super) const ALL: ReadLimit = ReadLimit {
    records: 100_000,
    bytes: usize::MAX,
};

/// One ingestor's instance of the log, with its own data folder.
pub(super) struct LogInstance {
    pub(super) log: JetStreamLog,
    _data: TempDir,
}

/// Returns options of a log; with a window of 0 bytes, every read goes to the server.
pub(super) fn options(nats: &Nats, data: &TempDir, window_bytes: usize) -> JetStreamOptions {
    JetStreamOptions {
        servers: nats.urls(),
        creds_file: None,
        ca: None,
        stream: "killfeed".into(),
        replicas: nats.all().len().min(3),
        retention: Duration::from_secs(86_400),
        window_bytes,
        data_dir: data.path().into(),
    }
}

pub(super) async fn open(nats: &Nats) -> LogInstance {
    try_open(nats, 1 << 20).await.unwrap()
}

pub(super) async fn try_open(nats: &Nats, window_bytes: usize) -> Result<LogInstance, SharedOpenError> {
    let data = tempfile::tempdir().unwrap();
    let log = JetStreamLog::open(options(nats, &data, window_bytes)).await?;
    Ok(LogInstance { log, _data: data })
}

pub(super) async fn lead(end: &LogInstance) -> Leadership {
    let (_, note) = watch::channel("hello".to_owned());
    timeout(TEST_TIMEOUT, end.log.acquire(note))
        .await
        .expect("the instance acquires the lease")
}

pub(super) async fn reaches(end: &LogInstance, head: Head) {
    let mut heads = end.log.head();
    let reached = heads.wait_for(|now| now.offset >= head.offset);
    timeout(TEST_TIMEOUT, reached)
        .await
        .expect("the instance reaches the head in time")
        .unwrap();
}

/// Returns (killmail, revision) of all records, in log order; a gap is (0, 0).
pub(super) async fn records(end: &LogInstance, after: u64) -> Vec<(u64, u32)> {
    let read = end.log.read(Offset(after), ALL).await.unwrap();
    assert!(
        read.windows(2)
            .all(|pair| pair[0].offset < pair[1].offset && pair[0].ingested_ms <= pair[1].ingested_ms)
    );
    read.iter()
        .map(|record| {
            record
                .killmail()
                .map_or((0, 0), |killmail| (killmail.killmail_id, killmail.revision))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn appended_records_are_read_from_memory_and_server() {
    let Some(nats) = Nats::single().await else { return };
    let (writer, reader, bare) = (open(&nats).await, open(&nats).await, try_open(&nats, 0).await.unwrap());
    assert!(writer.log.id() == reader.log.id() && reader.log.id() == bare.log.id());
    let leadership = lead(&writer).await;
    assert_eq!(leadership.head(), Head::default());
    let log = leadership.writer();
    assert_eq!(log.feed_state().await.unwrap(), None);

    let first: Vec<NewEvent> = (1..=300).map(|id| killmail(id, 0, T0 + id as i64)).collect();
    let head = log.append(batch(first, "one")).await.unwrap();
    assert_eq!(head.offset, Offset(300));
    let second = [
        gap(2, T0 + 1_000),
        killmail(7, 1, T0 + 1_000),
        killmail(301, 0, T0 + 2_000),
    ];
    let head = log.append(batch(second, "two")).await.unwrap();
    assert_eq!(
        head,
        Head {
            offset: Offset(303),
            ingested_ms: T0 + 2_000
        }
    );
    // The batch contains only the state of the source, for example a ban.
    assert_eq!(log.append(batch([], "three")).await.unwrap(), head);

    let mut expected: Vec<(u64, u32)> = (1..=300).map(|id| (id, 0)).collect();
    expected.extend([(0, 0), (7, 1), (301, 0)]);
    for end in [
        &writer,
        &reader,
        &bare,
        &open(&nats).await,
        &try_open(&nats, 0).await.unwrap(),
    ] {
        reaches(end, head).await;
        assert_eq!(records(end, 0).await, expected);
        assert_eq!(records(end, 300).await, expected[300..]);
        assert_eq!(records(end, 303).await, []);
        let status = end.log.status();
        assert_eq!(
            (status.trimmed, status.earliest_ms, status.head, status.killmails),
            (Offset(0), Some(T0 + 1), head, 301)
        );
        let place = |offset| {
            end.log.locate(Cursor {
                log: end.log.id(),
                offset: Offset(offset),
            })
        };
        assert_eq!(
            [place(0), place(303), place(304)],
            [
                CursorStatus::After(Offset(0)),
                CursorStatus::After(Offset(303)),
                CursorStatus::Ahead
            ]
        );
        let newest = end.log.newest(KillmailId(7)).await.unwrap().unwrap();
        let before = end.log.newest_at(KillmailId(7), Offset(301)).await.unwrap().unwrap();
        assert_eq!((newest.offset, before.offset), (Offset(302), Offset(7)));
        assert_eq!(end.log.newest(KillmailId(999)).await.unwrap(), None);
        for (since, after) in [(0, 0), (T0 + 5, 4), (T0 + 500, 300), (T0 + 2_001, 303)] {
            assert_eq!(end.log.seek(since).await.unwrap(), Offset(after), "{since}");
        }
    }

    // The next leader finds the state of the previous one.
    leadership.release().await;
    let next = lead(&reader).await;
    assert_eq!(next.head(), head);
    let log = next.writer();
    assert_eq!(log.feed_state().await.unwrap(), Some(Bytes::from_static(b"three")));
    let marks = log
        .dedup_entries(&[KillmailId(7), KillmailId(300), KillmailId(302)])
        .await
        .unwrap();
    assert_eq!(marks, [Some(mark(7, 1)), Some(mark(300, 0)), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn append_rejects_records_that_contradict_the_log() {
    let Some(nats) = Nats::single().await else { return };
    let end = open(&nats).await;
    let leadership = lead(&end).await;
    let log = leadership.writer();
    let head = log.append(batch([killmail(1, 0, T0)], "one")).await.unwrap();
    let numbered = NewEvent {
        offset: Some(Offset(9)),
        ..killmail(2, 0, T0)
    };
    for (event, reason) in [
        (
            killmail(2, 0, T0 - 1),
            "a record of 1789999999999 ms follows one of 1790000000000 ms",
        ),
        (numbered, "JetStream assigns its own offsets"),
    ] {
        let error = log.append(batch([event], "two")).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(log.feed_state().await.unwrap(), Some(Bytes::from_static(b"one")));
    // The record is larger than the message limit, but fits when compressed.
    let mut large = killmail(3, 0, T0);
    if let NewBody::Killmail { bytes, .. } = &mut large.body {
        let killmail = v1::Killmail {
            killmail_id: 3,
            labels: vec!["pvp".into(); 500_000],
            ..Default::default()
        };
        *bytes = killmail.encode_to_vec().into();
        assert!(bytes.len() > 2_000_000);
    }
    let after = log.append(batch([large.clone()], "three")).await.unwrap();
    assert_eq!(after.offset.0, head.offset.0 + 1);
    let bare = try_open(&nats, 0).await.unwrap();
    let read = bare.log.newest(KillmailId(3)).await.unwrap().unwrap();
    assert!(matches!(large.body, NewBody::Killmail { bytes, .. } if bytes == read.bytes));
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_leader_stops_and_records_are_logged_once() {
    let Some(nats) = Nats::single().await else { return };
    let client = async_nats::connect(nats.url()).await.unwrap();
    let bucket = async_nats::jetstream::new(client);
    let (a, b) = (open(&nats).await, open(&nats).await);
    let lease = bucket.get_key_value("killfeed-poller").await.unwrap();
    for round in 0..10 {
        let old = lead(&a).await;
        // Another instance acquires the lease without the knowledge of the old leader, which trusts its lease for some
        // seconds.
        lease
            .put("lease", r#"{"holder":"nobody","renewal":1,"free":true}"#.into())
            .await
            .unwrap();
        let new = lead(&b).await;
        let events: Vec<NewEvent> = (0..20)
            .map(|n| killmail(round * 100 + n + 1, 0, T0 + round as i64))
            .collect();
        let (old_log, new_log) = (old.writer(), new.writer());
        let mine = batch(events.clone(), "old");
        let (_, second) = tokio::join!(old_log.append(mine), new_log.append(batch(events, "new")));
        // If the old leader appends first, the new leader's term ends as well, and the next leader finds the records.
        drop(second);
        timeout(TEST_TIMEOUT, old.lasts().over()).await.unwrap();
        assert!(
            old_log
                .append(batch([killmail(9_999, 0, T0 + 100)], "late"))
                .await
                .is_err()
        );
        old.release().await;
        new.release().await;
        let next = lead(&b).await;
        let log = next.writer();
        let ids: Vec<KillmailId> = (0..20).map(|n| KillmailId(round * 100 + n + 1)).collect();
        let known = log.dedup_entries(&ids).await.unwrap();
        let missing = ids.iter().zip(&known).filter(|(_, mark)| mark.is_none());
        let missing: Vec<NewEvent> = missing.map(|(id, _)| killmail(id.0, 0, T0 + round as i64)).collect();
        log.append(batch(missing, "next")).await.unwrap();
        next.release().await;
    }
    let fresh = open(&nats).await;
    let mut logged = records(&fresh, 0).await;
    assert_eq!(logged.len(), 200);
    logged.sort_unstable();
    logged.dedup();
    assert_eq!(logged.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn next_leader_repairs_a_record_without_a_dedup_entry() {
    let Some(nats) = Nats::single().await else { return };
    let end = open(&nats).await;
    let leadership = lead(&end).await;
    leadership
        .writer()
        .append(batch([killmail(1, 0, T0)], "one"))
        .await
        .unwrap();
    leadership.release().await;
    // The state after a leader's crash between publish and update: the record exists, but its dedup entry and the
    // position do not.
    let client = async_nats::connect(nats.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let mut stream = context.get_stream("killfeed").await.unwrap();
    let (from, to) = ("killfeed.killmail.1.0", "killfeed.killmail.2.3");
    let message = stream.get_last_raw_message_by_subject(from).await.unwrap();
    // The conditions of that publish are headers as well.
    let mut headers = async_nats::HeaderMap::new();
    for name in ["Killfeed-Time", "Killfeed-Hash"] {
        headers.insert(name, message.headers.get(name).unwrap().as_str());
    }
    context
        .publish_with_headers(to, headers, message.payload)
        .await
        .unwrap()
        .await
        .unwrap();
    let next = lead(&end).await;
    assert_eq!(next.head().offset, Offset(2));
    let marks = next
        .writer()
        .dedup_entries(&[KillmailId(1), KillmailId(2)])
        .await
        .unwrap();
    assert_eq!(marks[0], Some(mark(1, 0)));
    assert_eq!(marks[1].map(|mark| mark.revision), Some(3));

    // A gap from before the crash is reported once.
    let events = [gap(1, T0), gap(1, T0), killmail(4, 0, T0)];
    assert_eq!(
        next.writer().append(batch(events, "gaps")).await.unwrap().offset,
        Offset(5)
    );
    let position = context.get_key_value("killfeed-position").await.unwrap();
    position.put("feed", "one".into()).await.unwrap();
    next.release().await;
    let next = lead(&end).await;
    assert_eq!(next.head().offset, Offset(5));
    let events = [gap(1, T0), gap(1, T0)];
    assert_eq!(
        next.writer().append(batch(events, "gaps")).await.unwrap().offset,
        Offset(5)
    );
    // An equal gap at a later time is a new record.
    assert_eq!(
        next.writer().append(batch([gap(1, T0)], "more")).await.unwrap().offset,
        Offset(6)
    );

    // If a dedup entry is lost, the server rejects the record, and the log writes the entry again.
    let bucket = context.get_key_value("killfeed-marks").await.unwrap();
    bucket.purge("1").await.unwrap();
    next.release().await;
    let next = lead(&end).await;
    let refused = next.writer().append(batch([killmail(1, 0, T0)], "two")).await;
    assert!(refused.is_err());
    timeout(TEST_TIMEOUT, next.lasts().over()).await.unwrap();
    next.release().await;
    let next = lead(&end).await;
    assert_eq!(
        next.writer().dedup_entries(&[KillmailId(1)]).await.unwrap(),
        [Some(mark(1, 0))]
    );
    assert_eq!(stream.info().await.unwrap().state.messages, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn error_names_a_deleted_or_recreated_stream() {
    let Some(nats) = Nats::single().await else { return };
    let client = async_nats::connect(nats.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let end = open(&nats).await;
    let leadership = lead(&end).await;
    leadership
        .writer()
        .append(batch([killmail(1, 0, T0)], "one"))
        .await
        .unwrap();
    leadership.release().await;
    let config = context
        .get_stream("killfeed")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    context.delete_stream("killfeed").await.unwrap();
    // Instances that are open report it.
    let lost = timeout(TEST_TIMEOUT, end.log.lost()).await.unwrap();
    assert!(matches!(lost, JetStreamError::Missing { .. }), "{lost}");
    // Instances that open the log later report it too.
    let error = try_open(&nats, 0).await.err().unwrap();
    assert!(error.is_configuration());
    let text = error.to_string();
    assert!(
        text.contains("the JetStream stream killfeed is gone") && text.contains(&end.log.id().to_string()),
        "{text}"
    );
    assert!(
        context.get_stream("killfeed").await.is_err(),
        "the log does not recreate the stream"
    );

    context.create_stream(config).await.unwrap();
    let text = try_open(&nats, 0).await.err().unwrap().to_string();
    assert!(text.contains("was deleted and recreated"), "{text}");

    // The stream contains records without an identity.
    context
        .publish("killfeed.gap.x", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    context.delete_key_value("killfeed-marks").await.unwrap();
    let text = try_open(&nats, 0).await.err().unwrap().to_string();
    assert!(
        text.contains("contains records, but the bucket killfeed-marks has no entry for it"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn error_names_a_truncated_log() {
    let Some(nats) = Nats::single().await else { return };
    let client = async_nats::connect(nats.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let end = open(&nats).await;
    let leadership = lead(&end).await;
    leadership
        .writer()
        .append(batch([killmail(1, 0, T0)], "one"))
        .await
        .unwrap();
    leadership.release().await;
    drop(end);
    // The state after a restored backup: the position names records that do not exist.
    let position = context.get_key_value("killfeed-position").await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Killfeed-Head", "5");
    headers.insert("Killfeed-Head-Time", "5");
    let subject = format!("$KV.{}.feed", position.name);
    context
        .publish_with_headers(subject, headers, "two".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let end = open(&nats).await;
    let (_, note) = watch::channel(String::new());
    let lost = tokio::select! {
        lost = timeout(TEST_TIMEOUT, end.log.lost()) => lost.unwrap(),
        _ = end.log.acquire(note) => panic!("an instance of a truncated log must not lead"),
    };
    assert!(
        matches!(
            lost,
            JetStreamError::Truncated {
                found: 1,
                expected: 5,
                ..
            }
        ),
        "{lost}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_takes_over_when_the_leader_is_gone() {
    let Some(nats) = Nats::single().await else { return };
    let (a, b) = (open(&nats).await, open(&nats).await);
    let first = lead(&a).await;
    // While the leader lives, no other instance leads, and the followers receive its notes.
    let (_, note) = watch::channel(String::new());
    match timeout(Duration::from_secs(12), b.log.acquire(note)).await {
        Err(_) => {}
        // The first instance loses its lease only if the machine freezes for longer than the lease.
        Ok(second) => {
            assert!(!first.lasts().now(), "two instances lead");
            second.release().await;
            return;
        }
    }
    eventually("the follower receives the note", TEST_TIMEOUT, async || {
        b.log.leader_health().borrow().is_some()
    })
    .await;
    // A released lease is free, so nobody waits for its expiry.
    first.release().await;
    let client = async_nats::connect(nats.url()).await.unwrap();
    let bucket = async_nats::jetstream::new(client)
        .get_key_value("killfeed-poller")
        .await
        .unwrap();
    let lease = bucket.get("lease").await.unwrap().unwrap();
    let lease: serde_json::Value = serde_json::from_slice(&lease).unwrap();
    assert_eq!(lease["free"], true, "{lease}");
    lead(&b).await.release().await;
}
