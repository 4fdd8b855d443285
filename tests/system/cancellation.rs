//! A client that goes takes everything with it that it held: tasks, memory, its place among the streams.

use futures::future::join_all;
use killfeed::v1::{StreamKillmailsRequest, killmail_service_client::KillmailServiceClient, stream_killmails_request};
use killfeed_ingestor::settings::Settings;
use killfeed_support::{FakeUpstream, corpus, fake_upstream::FIRST, process::eventually};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::harness::{TEST_TIMEOUT, TestIngestor, metric};

const STREAMS: usize = 1_000;
const CONNECTIONS: usize = 10;
/// Thousands of streams until the allocator has what it needs, and then to see whether it needs ever more.
const WARM_UP: usize = 10;
const ROUNDS: usize = 6;
const STREAM_WINDOW: u32 = 64 * 1024;

/// Opens many streams over a few connections, reads a first event of each, and drops them all.
async fn open_and_drop(url: &str) {
    // What a stream sent and nobody read yet fills its connection's window. With HTTP/2's default of 64 KiB for all hundred
    // streams of a connection together, the first few would keep the others from their first event for ever.
    let endpoint = Endpoint::from_shared(url.to_owned())
        .unwrap()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * (STREAMS / CONNECTIONS) as u32);
    let connections = join_all((0..CONNECTIONS).map(|_| endpoint.connect())).await;
    let clients: Vec<_> = connections
        .into_iter()
        .map(|channel| KillmailServiceClient::new(channel.unwrap()))
        .collect();
    let streams = join_all((0..STREAMS).map(|n| {
        let mut client = clients[n % clients.len()].clone();
        async move {
            let request = StreamKillmailsRequest {
                // Half of them wait at the head, half are in the middle of the log when they are dropped.
                start: (n % 2 == 0).then_some(stream_killmails_request::Start::Position(2)),
                ..Default::default()
            };
            let mut stream = client.stream_killmails(request).await.unwrap().into_inner();
            stream.message().await.unwrap().expect("a first event");
            stream
        }
    }));
    let streams = streams.await;
    assert_eq!(streams.len(), STREAMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_opened_and_dropped_leave_no_task_and_no_gauge_above_zero() {
    let upstream = FakeUpstream::start().await;
    upstream.publish_all(corpus::some(200));
    let folder = tempfile::tempdir().unwrap();
    let mut given = upstream.settings().to_vec();
    given.extend([
        ("INGESTOR_GRPC_ADDR", "127.0.0.1:0".to_owned()),
        ("INGESTOR_HTTP_ADDR", "127.0.0.1:0".to_owned()),
        ("INGESTOR_DATA_DIR", folder.path().display().to_string()),
        ("INGESTOR_FEED_START", FIRST.to_string()),
        ("INGESTOR_FEED_POLL_INTERVAL", "100ms".to_owned()),
        ("INGESTOR_FEED_RATE", "100000".to_owned()),
        // Three thousand streams opened by one caller are more than one may open.
        ("INGESTOR_MAX_CALLS", "10000".to_owned()),
    ]);
    let settings = Settings::load(|setting| {
        let found = given.iter().find(|(variable, _)| *variable == setting.variable);
        found.map(|(_, value)| value.clone())
    });
    let shutdown = CancellationToken::new();
    let running = killfeed_ingestor::start(settings.unwrap(), shutdown.clone())
        .await
        .unwrap();
    let (url, http) = (format!("http://{}", running.grpc_addr), running.http_addr.to_string());
    eventually("200 killmails are logged", TEST_TIMEOUT, async || {
        metric(&http, "killfeed_logged_total").await >= 200.0
    })
    .await;

    let tasks = || Handle::current().metrics().num_alive_tasks();
    open_and_drop(&url).await;
    eventually("the first thousand are gone", TEST_TIMEOUT, async || {
        metric(&http, "killfeed_streams").await == 0.0
    })
    .await;
    let before = tasks();
    for _ in 0..2 {
        open_and_drop(&url).await;
        eventually("all streams are gone", TEST_TIMEOUT, async || {
            metric(&http, "killfeed_streams").await == 0.0
        })
        .await;
    }
    // Connections and their tasks end a moment after their streams; a leak of one task a stream would be thousands.
    eventually("no task is left over", TEST_TIMEOUT, async || tasks() <= before + 20).await;

    shutdown.cancel();
    tokio::time::timeout(TEST_TIMEOUT, running.finished())
        .await
        .expect("in time")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_opened_and_dropped_leave_no_memory() {
    let upstream = FakeUpstream::start().await;
    upstream.publish_all(corpus::some(200));
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(200).await;
    let mut resident = Vec::new();
    for _ in 0..WARM_UP + ROUNDS {
        open_and_drop(&ingestor.url()).await;
        eventually("all streams are gone", TEST_TIMEOUT, async || {
            ingestor.metric("killfeed_streams").await == 0.0
        })
        .await;
        resident.push(ingestor.service().resident().expect("on Linux"));
    }
    // The allocator keeps what the first rounds needed at once, and reaches its plateau after some of them. A leak grows on:
    // one of 10 KB a stream would be 60 MB here.
    let grown = resident[WARM_UP + ROUNDS - 1].saturating_sub(resident[WARM_UP - 1]);
    assert!(
        grown < 20_000_000,
        "resident memory after each thousand streams: {resident:?}"
    );
    assert_eq!(ingestor.stop().await, Some(0));
}
