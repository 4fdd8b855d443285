//! The edge over the embedded log: what the log in memory cannot show.

use std::{path::Path, sync::Arc, time::Duration};

use killfeed::{
    id::KillmailId,
    v1::{Killmail, ListKillmailsRequest, StreamKillmailsRequest, stream_killmails_request::Start},
};
use prost::Message as _;
use tokio::net::TcpListener;

use super::{OneFilter, earliest, from, serve_edge, until_caught_up, words};
use crate::{
    grpc::{GrpcSettings, ServiceState},
    health,
    log::{AppendBatch, EmbeddedLog, LogRead, LogWrite as _, NewBody, NewEvent, Options},
};

const KILLMAILS: u64 = 300;

fn open(folder: &Path, window_bytes: usize) -> Arc<EmbeddedLog> {
    let options = Options {
        window_bytes,
        reserve_bytes: 0,
        cache_bytes: 1 << 20,
        // The records below are of 2026-09, whenever this runs.
        ..Options::new(Duration::from_secs(36_500 * 86_400))
    };
    Arc::new(EmbeddedLog::open(folder, options).unwrap())
}

async fn append(log: &EmbeddedLog, ids: impl Iterator<Item = u64>) {
    let event = |id: u64| {
        let ingested_ms = 1_790_000_000_000 + i64::try_from(id).unwrap() * 1_000;
        let killmail = Killmail {
            killmail_id: id,
            npc: id.is_multiple_of(2),
            ..Default::default()
        };
        NewEvent {
            offset: None,
            ingested_ms,
            body: NewBody::Killmail {
                id: KillmailId(id),
                revision: 0,
                hash: None,
                bytes: killmail.encode_to_vec().into(),
            },
        }
    };
    let events = ids.map(event).collect();
    let batch = AppendBatch {
        events,
        ..AppendBatch::default()
    };
    log.append(batch).await.unwrap();
}

/// Serves a log until the end of the test.
async fn serve(
    log: Arc<EmbeddedLog>,
) -> killfeed::v1::killmail_service_client::KillmailServiceClient<tonic::transport::Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let settings = GrpcSettings::default();
    let log: Arc<dyn LogRead> = log;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let edge = ServiceState::new(
        &settings,
        log,
        Arc::new(OneFilter),
        health::channel().1,
        Box::new(String::new),
        shutdown,
    );
    tokio::spawn(serve_edge(listener, settings, Arc::new(edge)));
    killfeed::v1::killmail_service_client::KillmailServiceClient::connect(uri)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_memory_or_from_disk_it_is_the_same_stream() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), 0);
    append(&log, 1..=KILLMAILS).await;
    let mut client = serve(log).await;
    let mut all = client.stream_killmails(earliest()).await.unwrap().into_inner();
    let all = until_caught_up(&mut all).await;
    let expected: Vec<String> = (1..=KILLMAILS).map(|id| format!("k{id} ")).collect();
    assert_eq!(words(&all), format!("{}progress", expected.concat()));
    for index in (0..=300).step_by(25) {
        let request = StreamKillmailsRequest {
            filter: "npc".into(),
            ..from(Start::AfterCursor(all[index].cursor.clone()))
        };
        let mut stream = client.stream_killmails(request).await.unwrap().into_inner();
        let rest = until_caught_up(&mut stream).await;
        let expected: String = (index as u64 + 2..=KILLMAILS)
            .filter(|id| id % 2 == 0)
            .map(|id| format!("k{id} "))
            .collect();
        assert_eq!(words(&rest), format!("{expected}progress"), "after event {index}");
        assert_eq!(rest.last().unwrap().cursor, all.last().unwrap().cursor);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_appended_reaches_a_stream_and_lists_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), 1 << 20);
    let mut client = serve(log.clone()).await;
    let mut stream = client
        .stream_killmails(StreamKillmailsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(words(&until_caught_up(&mut stream).await), "progress");
    for id in 1..=50 {
        append(&log, id..=id).await;
        let response = stream.message().await.unwrap().unwrap();
        assert_eq!(words(&[response]), format!("k{id}"));
    }
    let request = ListKillmailsRequest {
        filter: "npc".into(),
        page_size: 3,
        ..Default::default()
    };
    let page = client.list_killmails(request).await.unwrap().into_inner();
    let ids: Vec<u64> = page.killmails.iter().map(|killmail| killmail.killmail_id).collect();
    assert_eq!(ids, [50, 48, 46]);
}
