//! The end: what clients hear, and how long it may take.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{FakeLog, GrpcSettings, Harness, LIMIT, details, earliest, until_caught_up};

#[tokio::test]
async fn streams_are_told_and_the_server_ends() {
    // The timeout is far beyond the test's limit, so a drain that waits for its deadline fails the test.
    let settings = GrpcSettings {
        drain_timeout: 10 * LIMIT,
        ..GrpcSettings::default()
    };
    let harness = Harness::start(settings, FakeLog::of(1)).await;
    let mut stream = harness.stream(earliest()).await;
    until_caught_up(&mut stream).await;
    let mut health = HealthClient::new(harness.channel().await);
    let service = "killfeed.v1.KillmailService".to_owned();
    let mut watch = health.watch(HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);

    harness.shutdown.cancel();
    let status = stream.message().await.unwrap_err();
    assert_eq!(
        (status.code(), details(&status).2.is_some()),
        (Code::Unavailable, true),
        "{status}"
    );
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2, "NOT_SERVING");
    assert!(
        watch.message().await.unwrap().is_none(),
        "a watch does not hold the drain up"
    );
    timeout(LIMIT, harness.served)
        .await
        .expect("the server ends")
        .unwrap()
        .unwrap();
    assert!(
        tokio::net::TcpStream::connect(harness.addr).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_at_the_deadline() {
    let settings = GrpcSettings {
        drain_timeout: Duration::from_millis(700),
        ..GrpcSettings::default()
    };
    let log = FakeLog::new();
    // More than the windows between server and client hold: the stream is stuck in mid-sentence.
    log.large(2_000);
    let harness = Harness::start(settings, log.clone()).await;
    let stuck = harness.stream(earliest()).await;
    let mut other = harness.client().await;
    let mut reads = 0;
    while reads == 0 || log.reads() > reads {
        reads = log.reads();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let begun = Instant::now();
    harness.shutdown.cancel();
    let refused = other.stream_killmails(earliest()).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::Unavailable,
        "no new streams, also not on connections that exist: {refused}"
    );
    timeout(LIMIT, harness.served)
        .await
        .expect("the server ends")
        .unwrap()
        .unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    drop(stuck);
}
