//! Dropped clients: the ingestor releases the tasks, the memory and the permits of their streams.

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
/// Rounds before the measurement: the allocator reaches its plateau after several thousand streams.
const WARM_UP: usize = 10;
const ROUNDS: usize = 6;
const STREAM_WINDOW: u32 = 64 * 1024;

/// Opens many streams over a few connections, reads the first event of each, and drops them all.
async fn open_and_drop(url: &str) {
    // Unread data of a stream fills the window of its connection. HTTP/2's default window of 64 KiB would be shared by
    // all hundred streams of a connection: the first few streams would keep the others from their first event.
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
                // Half of the streams wait at the head, and half are in the middle of the log when the client drops
                // them.
                start: (n % 2 == 0).then_some(stream_killmails_request::Start::Position(2)),
                ..Default::default()
            };
            let mut stream = client.stream_killmails(request).await.unwrap().into_inner();
            stream
                .message()
                .await
                .unwrap()
                .expect("the stream delivers a first event");
            stream
        }
    }));
    let streams = streams.await;
    assert_eq!(streams.len(), STREAMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_streams_leave_no_task_and_no_gauge_above_zero() {
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
        // The test opens more streams than the default limit allows one caller.
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
    eventually("the log holds 200 killmails", TEST_TIMEOUT, async || {
        metric(&http, "killfeed_logged_total").await >= 200.0
    })
    .await;

    let tasks = || Handle::current().metrics().num_alive_tasks();
    open_and_drop(&url).await;
    eventually("the first thousand streams are closed", TEST_TIMEOUT, async || {
        metric(&http, "killfeed_streams").await == 0.0
    })
    .await;
    let before = tasks();
    for _ in 0..2 {
        open_and_drop(&url).await;
        eventually("all streams are closed", TEST_TIMEOUT, async || {
            metric(&http, "killfeed_streams").await == 0.0
        })
        .await;
    }
    // Connections and their tasks end shortly after their streams. A leak of one task per stream would leave thousands.
    eventually("no task remains", TEST_TIMEOUT, async || tasks() <= before + 20).await;

    shutdown.cancel();
    tokio::time::timeout(TEST_TIMEOUT, running.finished())
        .await
        .expect("the ingestor shuts down in time")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_streams_leak_no_memory() {
    let upstream = FakeUpstream::start().await;
    upstream.publish_all(corpus::some(200));
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(200).await;
    let mut resident = Vec::new();
    for _ in 0..WARM_UP + ROUNDS {
        open_and_drop(&ingestor.url()).await;
        eventually("all streams are closed", TEST_TIMEOUT, async || {
            ingestor.metric("killfeed_streams").await == 0.0
        })
        .await;
        resident.push(ingestor.service().resident().expect("Linux reports resident memory"));
    }
    // The allocator keeps the memory of the first rounds and reaches its plateau after several of them. A leak keeps
    // growing: 10 KB per stream would add 60 MB here.
    let grown = resident[WARM_UP + ROUNDS - 1].saturating_sub(resident[WARM_UP - 1]);
    assert!(grown < 20_000_000, "resident memory grew over the rounds: {resident:?}");
    assert_eq!(ingestor.stop().await, Some(0));
}
