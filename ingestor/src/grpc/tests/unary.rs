//! Unary calls, who may call, and how much.

use std::{fs, time::SystemTime};

use killfeed::v1::{
    CompileFilterRequest, EntityKind, FeedHealth, GetFeedStatusRequest, GetKillmailRequest, ListKillmailsRequest,
    SearchEntitiesRequest, universe_service_client::UniverseServiceClient,
};
use tonic::{Code, Request, metadata::MetadataValue};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::{FakeLog, GrpcSettings, Harness, after, cursor, details, earliest};
use crate::grpc::Tokens;

pub(super) fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

pub(super) fn guarded() -> GrpcSettings {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    fs::write(&file, "ops ops-token\nbot bot-token\n").unwrap();
    GrpcSettings {
        tokens: Some(Tokens::read(&file).unwrap()),
        max_streams_per_token: 2,
        max_streams: 3,
        max_calls: 1,
        ..GrpcSettings::default()
    }
}

#[tokio::test]
async fn single_killmails_come_in_their_newest_revision() {
    let log = FakeLog::of(3);
    log.killmail(2, 1);
    let harness = Harness::start(GrpcSettings::default(), log).await;
    let mut client = harness.client().await;
    let newest = client
        .get_killmail(GetKillmailRequest { killmail_id: 2 })
        .await
        .unwrap();
    let killmail = newest.into_inner().killmail.unwrap();
    assert_eq!((killmail.killmail_id, killmail.revision), (2, 1));
    for killmail_id in [0, 4, u64::MAX] {
        let status = client
            .get_killmail(GetKillmailRequest { killmail_id })
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    }
}

#[tokio::test]
async fn the_feeds_status_tells_the_logs_bounds() {
    let log = FakeLog::of(5);
    log.trim(20);
    let harness = Harness::start(GrpcSettings::default(), log.clone()).await;
    let heard = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7);
    harness.feed.send_modify(|report| {
        report.health = FeedHealth::Down;
        report.detail = "banned until noon".into();
        report.last_document = Some(heard);
        report.upstream_sequence = 99;
    });
    let mut client = harness.client().await;
    let status = client
        .get_feed_status(GetFeedStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.log_id, "0000000000000010");
    assert_eq!(
        (status.earliest_cursor.as_str(), status.head_cursor.as_str()),
        (&*cursor(&log, 20), &*cursor(&log, 50))
    );
    assert_eq!(status.earliest_time.unwrap().seconds, 3);
    assert_eq!(status.head_time.unwrap().seconds, 5);
    assert_eq!((status.killmails, status.upstream_sequence), (3, 99));
    assert_eq!(
        (status.feed_health(), status.feed_detail.as_str()),
        (FeedHealth::Down, "banned until noon")
    );
    assert_eq!(status.last_document_time.unwrap().seconds, 7);
    assert_eq!(status.static_data_build, "3475087");
    log.trim(50);
    let status = client
        .get_feed_status(GetFeedStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (status.earliest_time, status.head_time),
        (None, None),
        "the log is empty"
    );
}

#[tokio::test]
async fn names_and_filters() {
    let harness = Harness::start(GrpcSettings::default(), FakeLog::new()).await;
    let mut client = UniverseServiceClient::new(harness.channel().await);
    for (page_size, expected) in [(0, 25), (7, 7), (1_000, 25)] {
        let request = SearchEntitiesRequest {
            query: " Jita ".into(),
            kinds: vec![EntityKind::Region.into()],
            page_size,
        };
        let found = client.search_entities(request).await.unwrap().into_inner().entities;
        assert_eq!(found.len(), expected);
        assert_eq!((found[0].name.as_str(), found[0].kind()), ("Jita", EntityKind::Region));
    }
    for (kinds, page_size) in [(vec![], -1), (vec![0], 1), (vec![99], 1)] {
        let request = SearchEntitiesRequest {
            query: "x".into(),
            kinds,
            page_size,
        };
        assert_eq!(
            client.search_entities(request).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let mut compile = async |filter: &str| {
        client
            .compile_filter(CompileFilterRequest { filter: filter.into() })
            .await
    };
    let compiled = compile("npc").await.unwrap().into_inner();
    assert_eq!((compiled.canonical.as_str(), compiled.diagnostics.len()), ("npc", 0));
    assert!(compiled.filter.is_some());
    let wrong = compile("bad").await.unwrap().into_inner();
    assert_eq!((wrong.filter, wrong.diagnostics[0].end), (None, 3));
    let later = compile("esi").await.unwrap_err();
    assert_eq!((later.code(), details(&later).2.is_some()), (Code::Unavailable, true));
    assert!(later.message().contains("Somebody New"), "{later}");
}

#[tokio::test]
async fn a_token_is_asked_for_where_tokens_are_set() {
    let harness = Harness::start(guarded(), FakeLog::of(1)).await;
    let mut client = harness.client().await;
    let mut universe = UniverseServiceClient::new(harness.channel().await);
    for token in ["", "wrong", "ops-token2", "ops"] {
        let stream = client
            .stream_killmails(with_token(token, earliest()))
            .await
            .unwrap_err();
        let get = client
            .get_killmail(with_token(token, GetKillmailRequest { killmail_id: 1 }))
            .await
            .unwrap_err();
        let list = client
            .list_killmails(with_token(token, ListKillmailsRequest::default()))
            .await
            .unwrap_err();
        let status = client
            .get_feed_status(with_token(token, GetFeedStatusRequest {}))
            .await
            .unwrap_err();
        let search = universe
            .search_entities(with_token(token, SearchEntitiesRequest::default()))
            .await
            .unwrap_err();
        let compile = universe
            .compile_filter(with_token(token, CompileFilterRequest::default()))
            .await
            .unwrap_err();
        for refused in [stream, get, list, status, search, compile] {
            assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        }
    }
    assert_eq!(
        client
            .get_feed_status(GetFeedStatusRequest {})
            .await
            .unwrap_err()
            .code(),
        Code::Unauthenticated
    );
    client
        .get_feed_status(with_token("ops-token", GetFeedStatusRequest {}))
        .await
        .unwrap();
}

#[tokio::test]
async fn health_and_reflection_need_no_token() {
    let harness = Harness::start(guarded(), FakeLog::new()).await;
    let mut health = HealthClient::new(harness.channel().await);
    for (service, expected) in [("", Some(1)), ("killfeed.v1.KillmailService", Some(1)), ("other", None)] {
        let service = service.to_owned();
        let answer = health.check(HealthCheckRequest { service }).await;
        assert_eq!(answer.ok().map(|answer| answer.into_inner().status), expected);
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(harness.channel().await);
    let request = futures::stream::iter([request]);
    let mut answers = reflection.server_reflection_info(request).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else {
        panic!("{answer:?}");
    };
    let mut names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    names.sort();
    let served = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "killfeed.v1.KillmailService",
        "killfeed.v1.UniverseService",
    ];
    assert_eq!(names, served);
    for name in served {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(name.into())),
        };
        let request = futures::stream::iter([request]);
        let mut answers = reflection.server_reflection_info(request).await.unwrap().into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        assert!(
            matches!(answer, MessageResponse::FileDescriptorResponse(_)),
            "{name}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn streams_are_limited_by_token_and_in_all() {
    use tonic_types::StatusExt as _;
    let harness = Harness::start(guarded(), FakeLog::new()).await;
    let client = harness.client().await;
    let open = async |token| client.clone().stream_killmails(with_token(token, earliest())).await;
    let first = open("ops-token").await.unwrap();
    let second = open("ops-token").await.unwrap();
    let refused = open("ops-token").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let quota = refused.get_error_details();
    assert_eq!(quota.quota_failure().unwrap().violations[0].subject, "token ops");
    let _third = open("bot-token").await.unwrap();
    let refused = open("bot-token").await.unwrap_err();
    assert!(refused.message().contains("limit of 3 open streams"), "{refused}");
    drop((first, second));
    harness
        .until("dropped streams are counted out", |harness| {
            harness.edge.streams.open() == 1
        })
        .await;
    open("ops-token").await.unwrap();
}

#[tokio::test]
async fn calls_are_limited_by_token() {
    let harness = Harness::start(guarded(), FakeLog::new()).await;
    let mut client = harness.client().await;
    let mut refused = None;
    for _ in 0..5 {
        let answer = client
            .get_feed_status(with_token("ops-token", GetFeedStatusRequest {}))
            .await;
        refused = refused.or(answer.err());
    }
    let refused = refused.expect("five calls at once are more than a burst of two");
    assert_eq!(
        (refused.code(), details(&refused).2.is_some()),
        (Code::ResourceExhausted, true)
    );
    client
        .get_feed_status(with_token("bot-token", GetFeedStatusRequest {}))
        .await
        .unwrap();
}

#[tokio::test]
async fn names_that_esi_is_asked_for_are_limited_too() {
    let settings = GrpcSettings {
        max_calls: 1_000,
        ..GrpcSettings::default()
    };
    let harness = Harness::start(settings, FakeLog::new()).await;
    let mut client = UniverseServiceClient::new(harness.channel().await);
    let filter = r#"character:("a" OR "b" OR "c")"#.to_owned();
    let mut answers = Vec::new();
    for _ in 0..21 {
        let request = CompileFilterRequest { filter: filter.clone() };
        answers.push(client.compile_filter(request).await.err());
    }
    let refused = answers.pop().unwrap().expect("63 names at once are more than 60");
    assert_eq!(
        (refused.code(), details(&refused).2.is_some()),
        (Code::ResourceExhausted, true)
    );
    assert!(answers.iter().all(Option::is_none));
    let stream = killfeed::v1::StreamKillmailsRequest { filter, ..earliest() };
    let refused = harness.client().await.stream_killmails(stream).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    client
        .compile_filter(CompileFilterRequest { filter: "npc".into() })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_thousand_streams_leave_nothing_behind() {
    let harness = Harness::start(GrpcSettings::default(), FakeLog::of(10)).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let tasks_before = tasks();
    let log_before = std::sync::Arc::strong_count(&harness.log);
    for _ in 0..4 {
        let client = harness.client().await;
        let mut streams = Vec::new();
        for _ in 0..250 {
            let mut stream = client.clone().stream_killmails(earliest()).await.unwrap().into_inner();
            stream.message().await.unwrap().unwrap();
            streams.push(stream);
        }
        assert_eq!(harness.edge.streams.open(), 250);
        harness.log.more(1);
        drop(streams);
        harness
            .until("streams are counted out", |harness| harness.edge.streams.open() == 0)
            .await;
    }
    harness
        .until("their tasks have ended", |_| tasks() <= tasks_before)
        .await;
    assert_eq!(std::sync::Arc::strong_count(&harness.log), log_before);
}

#[tokio::test]
async fn an_oversized_request_is_refused() {
    let harness = Harness::start(GrpcSettings::default(), FakeLog::new()).await;
    let request = killfeed::v1::StreamKillmailsRequest {
        filter: "x".repeat(100_000),
        ..Default::default()
    };
    let status = harness.client().await.stream_killmails(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "tonic's own code for it: {status}");
}

#[tokio::test]
async fn a_relay_that_has_not_caught_up_serves_cursors_only() {
    let (caught_up, ready) = tokio::sync::watch::channel(false);
    let settings = GrpcSettings {
        ready: Some(ready),
        ..GrpcSettings::default()
    };
    let harness = Harness::start(settings, FakeLog::of(3)).await;
    let mut client = harness.client().await;
    let mut health = HealthClient::new(harness.channel().await);
    let asked = HealthCheckRequest::default;
    let not_serving = health.check(asked()).await.unwrap().into_inner().status;
    assert_eq!(not_serving, tonic_health::ServingStatus::NotServing as i32);
    let refused = [
        client.stream_killmails(earliest()).await.map(|_| ()),
        client.list_killmails(ListKillmailsRequest::default()).await.map(|_| ()),
        client
            .get_killmail(GetKillmailRequest { killmail_id: 2 })
            .await
            .map(|_| ()),
    ];
    for refused in refused {
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(details(&status).2.is_some());
    }
    assert!(client.get_feed_status(GetFeedStatusRequest {}).await.is_ok());
    let after = after(&harness.log, 10);
    assert!(client.stream_killmails(after).await.is_ok());

    caught_up.send_replace(true);
    assert!(client.stream_killmails(earliest()).await.is_ok());
    // Told by a task of its own: watched rather than asked again and again.
    let mut watch = health.watch(asked()).await.unwrap().into_inner();
    while watch.message().await.unwrap().unwrap().status != tonic_health::ServingStatus::Serving as i32 {}
}
