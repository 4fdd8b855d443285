//! Clients that mean harm, or are broken: over real sockets, with limits short enough to wait for.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h2::client::SendRequest;
use killfeed::v1::GetFeedStatusRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tonic::{Code, Request, metadata::MetadataValue};

use super::{FakeLog, GrpcSettings, Harness, LIMIT, details, earliest, until_caught_up, word};

/// A limit of the server that a test waits for; a busy machine's good client responds sooner.
const SHORT: Duration = Duration::from_secs(4);
const ENHANCE_YOUR_CALM: u32 = 0xb;
/// What every HTTP/2 client says first, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[tokio::test]
async fn a_client_that_reads_nothing_is_disconnected_and_delays_nobody() {
    let settings = GrpcSettings {
        stall_timeout: SHORT,
        ..GrpcSettings::default()
    };
    let log = FakeLog::new();
    // More than the windows between server and client hold.
    log.large(2_000);
    let harness = Harness::start(settings, log.clone()).await;
    let mut idle = harness.stream(super::after(&log, 20_000)).await;
    until_caught_up(&mut idle).await;
    let mut stuck = harness.stream(earliest()).await;
    let mut reads = harness.stream(super::after(&log, 19_000)).await;
    assert_eq!(
        until_caught_up(&mut reads).await.len(),
        101,
        "meanwhile others get theirs"
    );
    harness
        .until("the one that does not read is gone", |harness| {
            harness.edge.streams.open() == 2
        })
        .await;
    let ended = async {
        loop {
            if let Err(status) = stuck.message().await {
                return status;
            }
        }
    };
    // The connection is gone, so there is no status of ours.
    let status = timeout(LIMIT, ended).await.unwrap();
    assert!(details(&status).2.is_none(), "{status}");
    log.more(1);
    for stream in [&mut idle, &mut reads] {
        assert_eq!(
            word(&stream.message().await.unwrap().unwrap()),
            "k2001",
            "idle is not stalled"
        );
    }
}

#[tokio::test]
async fn a_client_that_vanished_is_found_by_pings() {
    let settings = GrpcSettings {
        ping_interval: Duration::from_millis(100),
        ping_timeout: SHORT,
        ..GrpcSettings::default()
    };
    let harness = Harness::start(settings, FakeLog::of(1)).await;
    let mut alive = harness.stream(earliest()).await;
    until_caught_up(&mut alive).await;
    let (mut send, freeze, _connection) = raw(&harness).await;
    let _response = open_stream(&mut send).await;
    harness
        .until("both are there", |harness| harness.edge.streams.open() == 2)
        .await;
    // Its socket stays open, but nobody is behind it any more.
    freeze.send(()).unwrap();
    harness
        .until("it is found", |harness| harness.edge.streams.open() == 1)
        .await;
    harness.log.more(1);
    assert_eq!(word(&alive.message().await.unwrap().unwrap()), "k2");
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let settings = GrpcSettings {
        open_timeout: SHORT,
        ..GrpcSettings::default()
    };
    let harness = Harness::start(settings, FakeLog::of(1)).await;
    let mut client = harness.client().await;
    let silent = async |said: &[u8]| {
        let mut silent = TcpStream::connect(harness.addr).await.unwrap();
        silent.write_all(said).await.unwrap();
        let mut heard = Vec::new();
        // Closed, or reset, since something unread was left.
        let _ = timeout(LIMIT, silent.read_to_end(&mut heard))
            .await
            .expect("the server closes it");
    };
    tokio::join!(silent(b""), silent(&PREFACE[..10]));
    client
        .get_feed_status(GetFeedStatusRequest {})
        .await
        .expect("who has begun may be silent afterwards");
}

#[tokio::test]
async fn connections_are_limited_by_address() {
    let settings = GrpcSettings {
        max_connections_per_address: 2,
        ..GrpcSettings::default()
    };
    let harness = Harness::start(settings, FakeLog::of(1)).await;
    let first = harness.client().await;
    let mut second = harness.client().await;
    second.get_feed_status(GetFeedStatusRequest {}).await.unwrap();
    let mut third = TcpStream::connect(harness.addr).await.unwrap();
    let mut heard = Vec::new();
    let closed = timeout(LIMIT, third.read_to_end(&mut heard)).await.unwrap();
    assert!(closed.is_err() || heard.is_empty(), "{heard:?}");
    drop(first);
    let again = async {
        loop {
            let mut client = harness.client().await;
            if client.get_feed_status(GetFeedStatusRequest {}).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, again)
        .await
        .expect("the server accepts another connection");
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let harness = Harness::start(GrpcSettings::default(), FakeLog::of(1)).await;
    let mut attacker = TcpStream::connect(harness.addr).await.unwrap();
    let mut attack = PREFACE.to_vec();
    for stream in (1..2_000_u32).step_by(2) {
        // HEADERS with END_HEADERS: POST http://x/ in HPACK's short forms; then RST_STREAM with CANCEL.
        let headers = [0x83, 0x86, 0x84, 0x41, 0x01, b'x'];
        attack.extend([0, 0, headers.len() as u8, 1, 4]);
        attack.extend(stream.to_be_bytes());
        attack.extend(headers);
        attack.extend([0, 0, 4, 3, 0]);
        attack.extend(stream.to_be_bytes());
        attack.extend(8_u32.to_be_bytes());
    }
    attacker.write_all(&attack).await.unwrap();
    let mut heard = Vec::new();
    let _ = timeout(LIMIT, attacker.read_to_end(&mut heard))
        .await
        .expect("the server closes the connection");
    assert_eq!(goaway(heard.into()), Some(ENHANCE_YOUR_CALM));
    let mut client = harness.client().await;
    client.get_feed_status(GetFeedStatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn streams_cannot_be_opened_over_and_over() {
    let settings = GrpcSettings {
        max_calls: 1,
        max_streams: 10,
        ..GrpcSettings::default()
    };
    let harness = Harness::start(settings, FakeLog::of(1)).await;
    let client = harness.client().await;
    let mut refused = None;
    // The limiter permits a burst of a hundred streams, and then one each second.
    for _ in 0..10_000 {
        match client.clone().stream_killmails(earliest()).await {
            Ok(stream) => drop(stream),
            // Those before it may not have been counted out yet.
            Err(status) if status.message().contains("open streams") => tokio::task::yield_now().await,
            Err(status) => {
                refused = Some(status);
                break;
            }
        }
    }
    let refused = refused.expect("the server rejects further streams");
    assert_eq!(
        (refused.code(), details(&refused).2.is_some()),
        (Code::ResourceExhausted, true),
        "{refused}"
    );
}

#[tokio::test]
async fn oversized_headers_are_refused() {
    let harness = Harness::start(GrpcSettings::default(), FakeLog::of(1)).await;
    let mut client = harness.client().await;
    for (len, fits) in [(1_000, true), (64_000, false)] {
        let mut request = Request::new(GetFeedStatusRequest {});
        let value: MetadataValue<_> = "x".repeat(len).parse().unwrap();
        request.metadata_mut().insert("x-long", value);
        let answer = client.get_feed_status(request).await;
        assert_eq!(answer.is_ok(), fits, "{len}: {answer:?}");
    }
}

#[tokio::test]
async fn a_compressed_request_is_named_as_such() {
    let harness = Harness::start(GrpcSettings::default(), FakeLog::of(1)).await;
    let (mut send, _freeze, _connection) = raw(&harness).await;
    let request = stream_request().header("grpc-encoding", "gzip").body(()).unwrap();
    let (response, mut body) = send.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(&[1, 0, 0, 0, 1, 0]), true).unwrap();
    let response = response.await.unwrap();
    let code = response.headers().get("grpc-status").unwrap();
    assert_eq!(code.to_str().unwrap(), (Code::Unimplemented as i32).to_string());
}

/// A connection without gRPC's conveniences. The sender freezes it: it stays open, and nobody looks at it any more.
async fn raw(harness: &Harness) -> (SendRequest<Bytes>, oneshot::Sender<()>, JoinHandle<()>) {
    let stream = TcpStream::connect(harness.addr).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let (freeze, frozen) = oneshot::channel::<()>();
    let connection = tokio::spawn(async move {
        tokio::pin!(connection);
        tokio::select! {
            _ = &mut connection => {}
            Ok(()) = frozen => std::future::pending().await,
        }
    });
    (send, freeze, connection)
}

fn stream_request() -> http::request::Builder {
    http::Request::post("http://localhost/killfeed.v1.KillmailService/StreamKillmails")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// A stream of everything new.
async fn open_stream(send: &mut SendRequest<Bytes>) -> http::Response<h2::RecvStream> {
    let (response, mut body) = send.send_request(stream_request().body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    response.await.unwrap()
}

/// The error code of the first GOAWAY frame.
fn goaway(mut heard: Bytes) -> Option<u32> {
    while heard.remaining() >= 9 {
        let len = heard.get_uint(3) as usize;
        let kind = heard.get_u8();
        heard.advance(5);
        let mut payload = heard.split_to(len.min(heard.remaining()));
        if kind == 7 {
            payload.advance(4);
            return Some(payload.get_u32());
        }
    }
    None
}
