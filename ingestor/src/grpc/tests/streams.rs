//! What a stream delivers, from every start.

use killfeed::v1::{OnExpired, Position, StreamKillmailsRequest, stream_killmails_request::Start};
use tonic::Code;

use super::{FakeLog, GrpcSettings, Harness, after, cursor, details, earliest, from, until_caught_up, word, words};

async fn harness(log: std::sync::Arc<FakeLog>) -> Harness {
    Harness::start(GrpcSettings::default(), log).await
}

fn since(seconds: i64) -> StreamKillmailsRequest {
    from(Start::Since(killfeed::Timestamp { seconds, nanos: 0 }))
}

fn continuing(request: StreamKillmailsRequest) -> StreamKillmailsRequest {
    StreamKillmailsRequest {
        on_expired: OnExpired::Continue.into(),
        ..request
    }
}

#[tokio::test]
async fn every_start_delivers_what_it_should() {
    let log = FakeLog::of(5);
    log.trim(20);
    let harness = harness(log.clone()).await;
    let latest = Position::Latest.into();
    for (request, expected) in [
        (StreamKillmailsRequest::default(), "progress"),
        (from(Start::Position(latest)), "progress"),
        (from(Start::Position(0)), "progress"),
        (earliest(), "k3 k4 k5 progress"),
        (continuing(earliest()), "k3 k4 k5 progress"),
        (after(&log, 20), "k3 k4 k5 progress"),
        (after(&log, 30), "k4 k5 progress"),
        // Between two offsets: nobody computes the next one.
        (after(&log, 33), "k4 k5 progress"),
        (after(&log, 50), "progress"),
        (continuing(after(&log, 10)), "cursor expired k3 k4 k5 progress"),
        (since(4), "k4 k5 progress"),
        (since(3), "k3 k4 k5 progress"),
        (since(1), "k3 k4 k5 progress"),
        (continuing(since(1)), "cursor expired k3 k4 k5 progress"),
        (continuing(since(3)), "k3 k4 k5 progress"),
        (since(1_000), "progress"),
    ] {
        let mut stream = harness.stream(request.clone()).await;
        let responses = until_caught_up(&mut stream).await;
        assert_eq!(words(&responses), expected, "{request:?}");
        assert_eq!(responses.last().unwrap().cursor, cursor(&log, 50), "{request:?}");
    }
}

#[tokio::test]
async fn refused_starts_say_why() {
    let log = FakeLog::of(5);
    log.trim(20);
    let harness = harness(log.clone()).await;
    let filter = |text: &str| StreamKillmailsRequest {
        filter: text.into(),
        ..Default::default()
    };
    let text = |text: &str| from(Start::AfterCursor(text.into()));
    let nanos = from(Start::Since(killfeed::Timestamp { seconds: 1, nanos: -1 }));
    for (request, code, reason) in [
        (after(&log, 10), Code::OutOfRange, Some("CURSOR_EXPIRED")),
        (after(&log, 60), Code::Unavailable, Some("CURSOR_AHEAD")),
        (
            text("k1-00000000000000ff-a"),
            Code::FailedPrecondition,
            Some("LOG_MISMATCH"),
        ),
        (text("yesterday"), Code::InvalidArgument, None),
        (text(""), Code::InvalidArgument, None),
        (from(Start::Position(7)), Code::InvalidArgument, None),
        (nanos, Code::InvalidArgument, None),
        (filter("bad"), Code::InvalidArgument, None),
        (filter("esi"), Code::Unavailable, None),
    ] {
        let status = harness
            .client()
            .await
            .stream_killmails(request.clone())
            .await
            .unwrap_err();
        let (said, metadata, retry) = details(&status);
        assert_eq!((status.code(), said.as_deref()), (code, reason), "{request:?} {status}");
        match code {
            Code::OutOfRange => assert_eq!(metadata["earliest_cursor"], cursor(&log, 20)),
            Code::Unavailable => assert!(retry.is_some()),
            _ => {}
        }
    }
    let status = harness
        .client()
        .await
        .stream_killmails(filter("bad"))
        .await
        .unwrap_err();
    assert_eq!(
        status.message(),
        "filter: at 0..3: \"bad\" is no field; did you mean npc?"
    );
    harness
        .until("refused streams are counted out", |harness| {
            harness.edge.streams.open() == 0
        })
        .await;
}

#[tokio::test]
async fn goes_on_live_and_gaps_reach_everybody() {
    let log = FakeLog::of(1);
    let harness = harness(log.clone()).await;
    let npc = StreamKillmailsRequest {
        filter: "npc".into(),
        ..earliest()
    };
    let updates = StreamKillmailsRequest {
        include_updates: true,
        ..earliest()
    };
    let mut streams = Vec::new();
    for request in [npc, updates, earliest()] {
        let mut stream = harness.stream(request).await;
        let replayed = until_caught_up(&mut stream).await;
        streams.push((stream, words(&replayed)));
    }
    let replayed: Vec<&str> = streams.iter().map(|(_, words)| words.as_str()).collect();
    assert_eq!(replayed, ["progress", "k1 progress", "k1 progress"]);
    log.killmail(2, 0);
    log.killmail(2, 1);
    log.gap();
    log.killmail(3, 0);
    log.killmail(4, 0);
    for ((stream, _), expected) in streams
        .iter_mut()
        .zip(["k2 gap k4", "k2 k2.1 gap k3 k4", "k2 gap k3 k4"])
    {
        let mut live = Vec::new();
        while live.last().is_none_or(|last| last != "k4") {
            live.push(word(&stream.message().await.unwrap().unwrap()));
        }
        assert_eq!(live.join(" "), expected);
    }
}

#[tokio::test]
async fn continues_exactly_after_any_cursor() {
    let log = FakeLog::of(700);
    let harness = harness(log.clone()).await;
    let all = until_caught_up(&mut harness.stream(earliest()).await).await;
    assert_eq!(all.len(), 701);
    let client = harness.client().await;
    for index in (0..all.len()).step_by(7).chain([698, 699, 700]) {
        let request = from(Start::AfterCursor(all[index].cursor.clone()));
        let mut stream = client.clone().stream_killmails(request).await.unwrap().into_inner();
        let rest = until_caught_up(&mut stream).await;
        let expected = &all[(index + 1).min(700)..700];
        assert_eq!(rest[..rest.len() - 1], *expected, "after event {index}");
    }
}

#[tokio::test]
async fn a_cursor_is_good_for_any_filter() {
    let log = FakeLog::of(9);
    let harness = harness(log.clone()).await;
    let npc = |request| StreamKillmailsRequest {
        filter: "npc".into(),
        ..request
    };
    let filtered = until_caught_up(&mut harness.stream(npc(earliest())).await).await;
    assert_eq!(words(&filtered), "k2 k4 k6 k8 progress");
    // The Progress covers killmail 9, which does not match, and nothing that does.
    assert_eq!(filtered.last().unwrap().cursor, cursor(&log, 90));
    for (response, expected) in filtered
        .iter()
        .zip(["k3 k4 k5 k6 k7 k8 k9 progress", "k5 k6 k7 k8 k9 progress"])
    {
        let request = from(Start::AfterCursor(response.cursor.clone()));
        assert_eq!(
            words(&until_caught_up(&mut harness.stream(request).await).await),
            expected
        );
    }
    let resumed = until_caught_up(&mut harness.stream(npc(after(&log, 30))).await).await;
    assert_eq!(words(&resumed), "k4 k6 k8 progress");
}

#[tokio::test]
async fn a_future_start_delivers_nothing_older() {
    let log = FakeLog::of(3);
    let harness = harness(log.clone()).await;
    let mut stream = harness.stream(since(6)).await;
    assert_eq!(words(&until_caught_up(&mut stream).await), "progress");
    log.more(5);
    let mut live = Vec::new();
    for _ in 0..3 {
        live.push(word(&stream.message().await.unwrap().unwrap()));
    }
    assert_eq!(live, ["k6", "k7", "k8"]);
}

#[tokio::test]
async fn a_following_client_survives_restarts_of_its_server() {
    use killfeed::client::{Client, EventKind, FollowOptions, Start as From};
    let log = FakeLog::of(3);
    let mut harness = harness(log.clone()).await;
    let client = Client::builder()
        .endpoint(format!("http://{}", harness.addr))
        .build()
        .unwrap();
    let mut events = client.follow(FollowOptions::new("", From::Earliest));
    let mut ids = Vec::new();
    for round in 1..=3 {
        while ids.len() < round * 3 {
            if let EventKind::Killmail(killmail) = events.next().await.unwrap().kind {
                ids.push(killmail.killmail_id);
            }
        }
        harness.shutdown.cancel();
        harness.served.await.unwrap().unwrap();
        log.more(3);
        let listener = tokio::net::TcpListener::bind(harness.addr).await.unwrap();
        harness = Harness::start_at(listener, GrpcSettings::default(), log.clone());
    }
    assert!(ids.into_iter().eq(1..=9));
}
