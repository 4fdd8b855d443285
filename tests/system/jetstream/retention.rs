//! Retention by the servers.
//!
//! Clients receive a report of trimmed records, the newest records stay, and the dedup entries of trimmed records
//! prevent a second copy.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    stream::{Config, Stream},
};
use killfeed::{
    cursor::{Cursor, Offset},
    id::KillmailId,
    v1::{
        GapReason, OnExpired, StreamKillmailsRequest, killmail_service_client::KillmailServiceClient,
        stream_killmails_request, stream_killmails_response::Event,
    },
};
use killfeed_ingestor::log::{CursorStatus, JetStreamLog, JetStreamOptions, LogRead as _};
use killfeed_support::{FakeUpstream, corpus, nats::Nats, process::eventually, validator::offset};
use serde_json::Value;
use tokio::time::timeout;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::engine::{ALL, T0, batch, killmail, mark, options, reaches, try_open};
use crate::{
    harness::{TEST_TIMEOUT, TestIngestor, from_the_beginning, killmails},
    recorder::whole_log,
};

/// Returns the stream's settings with an age below the minimum of the ingestor's settings.
fn expiring(stream: &Stream) -> Config {
    Config {
        max_age: Duration::from_secs(1),
        duplicate_window: Duration::from_secs(1),
        ..stream.cached_info().config.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_removes_old_records_and_keeps_the_rest() {
    let Some(nats) = Nats::single().await else { return };
    let open = async |window_bytes| {
        let data = tempfile::tempdir().unwrap();
        (
            JetStreamLog::open(options(&nats, &data, window_bytes)).await.unwrap(),
            data,
        )
    };
    // One instance has its newest records in memory, the other reads each record from the servers.
    let ends = [open(1 << 20).await, open(0).await];
    let (_, note) = tokio::sync::watch::channel(String::new());
    let leadership = timeout(TEST_TIMEOUT, ends[0].0.acquire(note.clone())).await.unwrap();
    let log = leadership.writer();
    let old = batch((1..=30).map(|id| killmail(id, 0, T0 + id as i64)), "old");
    log.append(old).await.unwrap();
    let young = batch((31..=40).map(|id| killmail(id, 0, T0 + id as i64)), "young");
    let head = log.append(young).await.unwrap();

    let is_at = async |trimmed: u64| {
        for (end, _) in &ends {
            eventually("the instances see the trimmed position", TEST_TIMEOUT, async || {
                end.status().trimmed == Offset(trimmed)
            })
            .await;
        }
    };
    let place = |log: &JetStreamLog, offset| {
        log.locate(Cursor {
            log: log.id(),
            offset: Offset(offset),
        })
    };
    // A purge moves the first sequence as retention does, and keeps the young records for as long as this machine
    // needs.
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = context.get_stream("killfeed").await.unwrap();
    stream.purge().sequence(31).await.unwrap();
    is_at(30).await;
    for (end, _) in &ends {
        let read = end.read(Offset(30), ALL).await.unwrap();
        assert_eq!(
            read.iter().map(|record| record.offset.0).collect::<Vec<_>>(),
            (31..=40).collect::<Vec<_>>()
        );
        let status = end.status();
        assert_eq!(
            (status.killmails, status.earliest_ms, status.head),
            (10, Some(T0 + 31), head)
        );
        let expired = CursorStatus::Expired { trimmed: Offset(30) };
        assert_eq!([place(end, 0), place(end, 29)], [expired; 2]);
        assert_eq!(place(end, 30), CursorStatus::After(Offset(30)));
        assert_eq!(end.newest(KillmailId(30)).await.unwrap(), None);
        assert_eq!(end.newest(KillmailId(31)).await.unwrap().unwrap().offset, Offset(31));
        assert_eq!(end.seek(0).await.unwrap(), Offset(30));
    }

    // Set a retention of one second, until the next instance opens the log with its own setting.
    context.update_stream(expiring(&stream)).await.unwrap();

    // No record is left: open and new instances continue at the same position.
    is_at(40).await;
    let fresh = open(1 << 20).await;
    for (end, _) in ends.iter().chain([&fresh]) {
        let status = end.status();
        assert_eq!(
            (status.killmails, status.earliest_ms, status.head.offset),
            (0, None, Offset(40))
        );
        assert_eq!(
            [place(end, 39), place(end, 40), place(end, 41)],
            [
                CursorStatus::Expired { trimmed: Offset(40) },
                CursorStatus::After(Offset(40)),
                CursorStatus::Ahead
            ]
        );
        assert_eq!(end.read(Offset(40), ALL).await.unwrap(), []);
        assert_eq!(end.seek(0).await.unwrap(), Offset(40));
    }
    leadership.release().await;
    let next = timeout(TEST_TIMEOUT, fresh.0.acquire(note)).await.unwrap();
    assert_eq!(next.head(), head);
    // The subjects are gone, so the server would accept them again; the dedup entries reject them.
    let ids: Vec<KillmailId> = (1..=41).map(KillmailId).collect();
    let marks = next.writer().dedup_entries(&ids).await.unwrap();
    let expected: Vec<_> = (1..=41).map(|id| (id <= 40).then(|| mark(id, 0))).collect();
    assert_eq!(marks, expected);
    let head = next
        .writer()
        .append(batch([killmail(41, 0, T0 + 41)], "next"))
        .await
        .unwrap();
    assert_eq!(head.offset, Offset(41));
    let bare = try_open(&nats, 0).await.unwrap();
    reaches(&bare, head).await;
    for end in [&ends[0].0, &ends[1].0, &bare.log] {
        let mut heads = end.head();
        timeout(TEST_TIMEOUT, heads.wait_for(|now| now.offset == head.offset))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(end.read(Offset(40), ALL).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_receive_trim_reports_and_no_repeats() {
    let Some(nats) = Nats::single().await else { return };
    let upstream = FakeUpstream::start().await;
    let documents: Vec<Value> = corpus::some(45);
    let (before, after) = documents.split_at(40);
    upstream.publish_all(before.iter().cloned());
    let url = nats.url();
    let settings = [("INGESTOR_LOG", url.as_str()), ("INGESTOR_RETENTION", "1h")];
    let mut both = [
        TestIngestor::start(&upstream, &settings).await,
        TestIngestor::start(&upstream, &settings).await,
    ];
    both[0].wait_for_killmails(40).await;
    both[1].wait_for_killmails(40).await;
    let start = both[0].status().await;
    let first = whole_log(&both[0]).await;
    let mut live = from_the_beginning(&both[1].client(), "");
    killmails(&mut live, 40).await;

    let context = jetstream::new(async_nats::connect(&url).await.unwrap());
    let retention = async || {
        context
            .get_stream("killfeed")
            .await
            .unwrap()
            .cached_info()
            .config
            .max_age
    };
    assert_eq!(retention().await, Duration::from_secs(3_600));
    let stream = context.get_stream("killfeed").await.unwrap();
    context.update_stream(expiring(&stream)).await.unwrap();
    for ingestor in &both {
        eventually("no record is left", TEST_TIMEOUT, async || {
            ingestor.status().await.killmails == 0
        })
        .await;
        let now = ingestor.status().await;
        assert_eq!(
            (&now.earliest_cursor, &now.head_cursor),
            (&start.head_cursor, &start.head_cursor)
        );
        assert_eq!(now.earliest_time, None);
    }
    for ingestor in &both {
        let mut client = KillmailServiceClient::connect(ingestor.url()).await.unwrap();
        let mut request = StreamKillmailsRequest {
            start: Some(stream_killmails_request::Start::AfterCursor(
                start.earliest_cursor.clone(),
            )),
            ..Default::default()
        };
        let refused = client.stream_killmails(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
        let details = refused.get_details_error_info().unwrap();
        assert_eq!(
            (details.reason.as_str(), &details.metadata["earliest_cursor"]),
            ("CURSOR_EXPIRED", &start.head_cursor)
        );
        request.on_expired = OnExpired::Continue.into();
        let mut stream = client.stream_killmails(request).await.unwrap().into_inner();
        let first = timeout(TEST_TIMEOUT, stream.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(offset(&first.cursor), offset(&start.head_cursor));
        assert!(
            matches!(&first.event, Some(Event::Gap(gap)) if gap.reason() == GapReason::CursorExpired),
            "{first:?}"
        );
    }

    // The documents come again under other sequences: the server would accept the records, but the dedup entries know them.
    let duplicates = async |both: &[TestIngestor; 2]| {
        both[0].metric("killfeed_duplicates_total").await + both[1].metric("killfeed_duplicates_total").await
    };
    upstream.publish_all(before.iter().cloned());
    eventually("40 duplicates", TEST_TIMEOUT, async || duplicates(&both).await >= 40.0).await;
    assert_eq!(both[0].status().await.head_cursor, start.head_cursor);
    // A new process also knows them, and keeps the entries for the configured time.
    for ingestor in &mut both {
        assert_eq!(ingestor.stop().await, Some(0));
    }
    for ingestor in &mut both {
        ingestor.launch().await;
    }
    assert_eq!(retention().await, Duration::from_secs(3_600));
    upstream.publish_all(before.iter().cloned());
    upstream.publish_all(after.iter().cloned());
    let seen = killmails(&mut live, 5).await;
    let ids = |documents: &[Value]| -> Vec<u64> {
        documents
            .iter()
            .map(|document| document["killmail_id"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(
        seen.iter().map(|killmail| killmail.killmail_id).collect::<Vec<_>>(),
        ids(after)
    );
    for ingestor in &mut both {
        ingestor.wait_for_killmails(5).await;
        let mut history = whole_log(ingestor).await;
        history.log.extend(first.log.clone());
        live.holds_in(history);
        assert_eq!(ingestor.stop().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_change_keeps_other_stream_settings() {
    let Some(nats) = Nats::single().await else { return };
    let open = async |days: u64| {
        let data = tempfile::tempdir().unwrap();
        let options = JetStreamOptions {
            retention: Duration::from_secs(days * 86_400),
            ..options(&nats, &data, 0)
        };
        JetStreamLog::open(options).await.unwrap()
    };
    drop(open(1).await);
    // Read the settings as JSON, including those that this client does not know. Servers of 2.9 omit compression.
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let config = async || -> Value {
        let mut info: Value = context.request("STREAM.INFO.killfeed", &()).await.unwrap();
        info["config"].take()
    };
    let mut ours = config().await;
    ours["description"] = "kept for the alliance".into();
    ours["compression"] = "s2".into();
    let _: Value = context.request("STREAM.UPDATE.killfeed", &ours).await.unwrap();
    let mut expected = config().await;
    assert_eq!(expected["description"], "kept for the alliance");
    drop(open(2).await);
    expected["max_age"] = (2 * 86_400 * 1_000_000_000_u64).into();
    assert_eq!(config().await, expected);
}
