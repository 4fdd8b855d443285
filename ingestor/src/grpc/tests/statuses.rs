//! The contract's table of statuses, row by row, as a client hears them over a socket.

use std::time::Duration;

use killfeed::v1::{GetKillmailRequest, StreamKillmailsRequest, stream_killmails_request::Start};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    FakeLog, GrpcSettings, Harness, after, cursor, earliest, from,
    unary::{guarded, with_token},
    until_caught_up,
};

/// Status, and its details.
async fn refused(harness: &Harness, request: StreamKillmailsRequest) -> (Status, ErrorDetails) {
    let status = harness.client().await.stream_killmails(request).await.unwrap_err();
    let details = status.get_error_details();
    (status, details)
}

fn violation(details: &ErrorDetails) -> (&str, &str) {
    let violation = &details.bad_request().unwrap().field_violations[0];
    (&violation.field, &violation.description)
}

#[tokio::test]
async fn bad_filter_and_malformed_cursor() {
    let harness = Harness::start(GrpcSettings::default(), FakeLog::of(1)).await;
    let filter = StreamKillmailsRequest {
        filter: "bad".into(),
        ..earliest()
    };
    let (status, details) = refused(&harness, filter).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        violation(&details),
        ("filter", "at 0..3: \"bad\" is no field; did you mean npc?")
    );
    let (status, details) = refused(&harness, from(Start::AfterCursor("yesterday".into()))).await;
    assert_eq!(
        (status.code(), violation(&details).0),
        (Code::InvalidArgument, "after_cursor")
    );
}

#[tokio::test]
async fn cursors_that_cannot_be_gone_on_from() {
    let log = FakeLog::of(5);
    log.trim(20);
    let harness = Harness::start(GrpcSettings::default(), log.clone()).await;
    let (status, details) = refused(&harness, after(&log, 10)).await;
    let info = details.error_info().unwrap();
    assert_eq!(
        (status.code(), info.reason.as_str()),
        (Code::OutOfRange, "CURSOR_EXPIRED")
    );
    assert_eq!(
        (info.domain.as_str(), &info.metadata["earliest_cursor"]),
        ("killfeed.v1", &cursor(&log, 20))
    );
    let foreign = from(Start::AfterCursor("k1-00000000000000ff-a".into()));
    let (status, details) = refused(&harness, foreign).await;
    let reason = &details.error_info().unwrap().reason;
    assert_eq!(
        (status.code(), reason.as_str()),
        (Code::FailedPrecondition, "LOG_MISMATCH")
    );
    let (status, details) = refused(&harness, after(&log, 60)).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(details.retry_info().unwrap().retry_delay.is_some());
}

#[tokio::test]
async fn too_many_streams_per_token_and_in_all() {
    let harness = Harness::start(guarded(), FakeLog::new()).await;
    let client = harness.client().await;
    let open = async |token| client.clone().stream_killmails(with_token(token, earliest())).await;
    let mut streams = Vec::new();
    for (token, subject) in [
        ("ops-token", None),
        ("ops-token", None),
        ("ops-token", Some("token ops")),
        ("bot-token", None),
        ("bot-token", Some("this ingestor")),
    ] {
        let opened = open(token).await;
        match (opened, subject) {
            (Ok(stream), None) => streams.push(stream),
            (Err(status), Some(subject)) => {
                let details = status.get_error_details();
                let quota = details.quota_failure().unwrap();
                assert_eq!(
                    (status.code(), quota.violations[0].subject.as_str()),
                    (Code::ResourceExhausted, subject)
                );
            }
            (other, _) => panic!("{token} {subject:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn draining_and_too_old() {
    let settings = GrpcSettings {
        // The stream catches up in this time even on a busy machine.
        max_stream_age: Some(Duration::from_secs(4)),
        ..GrpcSettings::default()
    };
    let log = FakeLog::of(1);
    let old = Harness::start(settings, log.clone()).await;
    let drained = Harness::start(GrpcSettings::default(), log).await;
    for (harness, drains, text) in [(&old, false, "maximum age"), (&drained, true, "shutting down")] {
        let mut stream = harness.stream(earliest()).await;
        until_caught_up(&mut stream).await;
        if drains {
            harness.shutdown.cancel();
        }
        let status = stream.message().await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains(text), "{status}");
        let delay = status.get_error_details().retry_info().unwrap().retry_delay;
        assert!(delay.is_some(), "{status}");
    }
}

#[tokio::test]
async fn no_or_wrong_token_and_unknown_killmail() {
    let harness = Harness::start(guarded(), FakeLog::of(1)).await;
    let mut client = harness.client().await;
    let none = client.stream_killmails(earliest()).await.unwrap_err();
    let wrong = client
        .stream_killmails(with_token("wrong", earliest()))
        .await
        .unwrap_err();
    assert_eq!([none.code(), wrong.code()], [Code::Unauthenticated; 2]);
    assert!(none.message().contains("authorization: Bearer <token>"), "{none}");
    let request = with_token("ops-token", GetKillmailRequest { killmail_id: 7 });
    let unknown = client.get_killmail(request).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}
