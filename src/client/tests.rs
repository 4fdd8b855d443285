//! The client against scripted ingestors, over pipes in memory and under paused time: a wait of 45 s takes no time here.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};
use hyper_util::rt::TokioIo;
use prost_types::Timestamp;
use tokio::{io::DuplexStream, sync::mpsc, time::Instant};
use tonic::{Code, Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    Client, ConnectionState, Event, EventKind, FollowError, FollowOptions, Position, Start,
    failover::{Endpoint, Endpoints},
    observer::{ClientEvent, Observer},
};
use crate::v1::{
    Gap, GetFeedStatusRequest, GetFeedStatusResponse, GetKillmailRequest, GetKillmailResponse, Killmail,
    ListKillmailsRequest, ListKillmailsResponse, OnExpired, Progress, StreamKillmailsRequest, StreamKillmailsResponse,
    killmail_service_server::{KillmailService, KillmailServiceServer},
    stream_killmails_request, stream_killmails_response,
};

type Script = Result<Vec<Result<StreamKillmailsResponse, Status>>, Status>;

/// An ingestor that answers each stream with the next of its scripts, and after the last event says nothing more. Without a
/// script left it is unavailable.
#[derive(Clone, Default)]
struct FakeIngestor {
    scripts: Arc<Mutex<VecDeque<Script>>>,
    asked: Arc<Mutex<Vec<StreamKillmailsRequest>>>,
    unary: Option<String>,
    /// Knows nobody's token.
    closed: bool,
}

impl FakeIngestor {
    fn new(scripts: impl IntoIterator<Item = Script>) -> Self {
        Self {
            scripts: Arc::new(Mutex::new(scripts.into_iter().collect())),
            ..Self::default()
        }
    }

    fn asked(&self) -> Vec<StreamKillmailsRequest> {
        self.asked.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl KillmailService for FakeIngestor {
    type StreamKillmailsStream = BoxStream<'static, Result<StreamKillmailsResponse, Status>>;

    async fn stream_killmails(
        &self,
        request: Request<StreamKillmailsRequest>,
    ) -> Result<Response<Self::StreamKillmailsStream>, Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        let script = self.scripts.lock().unwrap().pop_front();
        let events = script.unwrap_or_else(|| Err(Status::unavailable("no script")))?;
        Ok(Response::new(
            futures::stream::iter(events).chain(futures::stream::pending()).boxed(),
        ))
    }

    async fn list_killmails(
        &self,
        _: Request<ListKillmailsRequest>,
    ) -> Result<Response<ListKillmailsResponse>, Status> {
        Err(Status::not_found("unused"))
    }

    async fn get_killmail(&self, _: Request<GetKillmailRequest>) -> Result<Response<GetKillmailResponse>, Status> {
        Err(Status::not_found("no such killmail"))
    }

    async fn get_feed_status(
        &self,
        _: Request<GetFeedStatusRequest>,
    ) -> Result<Response<GetFeedStatusResponse>, Status> {
        if self.closed {
            return Err(Status::unauthenticated("unknown token"));
        }
        match &self.unary {
            Some(log_id) => Ok(Response::new(GetFeedStatusResponse {
                log_id: log_id.clone(),
                ..Default::default()
            })),
            None => Err(Status::unavailable("draining")),
        }
    }
}

/// A client of these ingestors; `None` = nobody listens there.
fn client(ingestors: Vec<Option<FakeIngestor>>) -> Client {
    watched(ingestors, Observer::default())
}

fn watched(ingestors: Vec<Option<FakeIngestor>>, observer: Observer) -> Client {
    let target = |(index, ingestor): (usize, Option<FakeIngestor>)| {
        let uri: http::Uri = format!("http://ingestor-{index}/").parse().unwrap();
        let connections = ingestor.map(|ingestor| {
            let (sender, mut receiver) = mpsc::channel::<DuplexStream>(4);
            let incoming = futures::stream::poll_fn(move |context| {
                receiver
                    .poll_recv(context)
                    .map(|pipe| pipe.map(Ok::<_, std::io::Error>))
            });
            let service = KillmailServiceServer::new(ingestor);
            tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
            sender
        });
        let connector = tower::service_fn(move |_: http::Uri| {
            let connections = connections.clone();
            async move {
                let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                let connections = connections.ok_or_else(refused)?;
                let (ours, theirs) = tokio::io::duplex(64 * 1024);
                connections.send(theirs).await.map_err(|_| refused())?;
                Ok::<_, std::io::Error>(TokioIo::new(ours))
            }
        });
        let channel = tonic::transport::Endpoint::from(uri.clone()).connect_with_connector_lazy(connector);
        Endpoint { uri, channel }
    };
    let targets = ingestors.into_iter().enumerate().map(target).collect();
    let endpoints = Endpoints::new(
        targets,
        None,
        "test".into(),
        Duration::from_secs(10),
        observer,
        super::call_span::Tracer::default(),
    );
    Client {
        endpoints: endpoints.into(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn killmail(id: u64) -> Result<StreamKillmailsResponse, Status> {
    let killmail = Killmail {
        killmail_id: id,
        ingested_time: Some(at(10_000 + id as i64)),
        ..Default::default()
    };
    Ok(StreamKillmailsResponse {
        cursor: format!("c{id}"),
        event: Some(stream_killmails_response::Event::Killmail(killmail)),
    })
}

fn gap() -> Result<StreamKillmailsResponse, Status> {
    Ok(StreamKillmailsResponse {
        cursor: "gap".into(),
        event: Some(stream_killmails_response::Event::Gap(Gap::default())),
    })
}

fn refused(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "killfeed.v1", [("earliest_cursor".into(), "e".into())]);
    Status::with_error_details(code, reason, details)
}

fn expired() -> Script {
    Err(refused(Code::OutOfRange, "CURSOR_EXPIRED"))
}

fn after(cursor: &str, seconds: i64) -> Start {
    Start::After(Position {
        cursor: cursor.into(),
        time: at(seconds),
    })
}

fn start_of(request: &StreamKillmailsRequest) -> String {
    match request.start.as_ref().unwrap() {
        stream_killmails_request::Start::AfterCursor(cursor) => cursor.clone(),
        stream_killmails_request::Start::Position(position) => format!("position {position}"),
        stream_killmails_request::Start::Since(time) => format!("since {}", time.seconds),
    }
}

fn starts(ingestor: &FakeIngestor) -> Vec<String> {
    ingestor.asked().iter().map(start_of).collect()
}

fn id(event: Event) -> u64 {
    match event.kind {
        EventKind::Killmail(killmail) => killmail.killmail_id,
        other => panic!("no killmail: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn continues_exactly_after_the_last_event() {
    let cut = || Err(Status::unknown("connection reset"));
    let ingestor = FakeIngestor::new([
        Ok(vec![killmail(1), killmail(2), cut()]),
        Err(Status::unavailable("restarting")),
        Ok(vec![killmail(3), cut()]),
        Ok(vec![killmail(4)]),
    ]);
    let mut events = client(vec![Some(ingestor.clone())]).follow(FollowOptions::new("npc", Start::Latest));
    for expected in 1..=4 {
        let event = events.next().await.unwrap();
        assert_eq!(event.position.cursor, format!("c{expected}"));
        assert_eq!(event.position.time, at(10_000 + expected as i64));
        assert_eq!(id(event), expected);
    }
    assert!(events.connected());
    assert_eq!(starts(&ingestor), ["position 1", "c2", "c2", "c3"]);
    let request = &ingestor.asked()[0];
    assert_eq!((request.filter.as_str(), request.client_name.as_str()), ("npc", "test"));
    assert_eq!(request.on_expired(), OnExpired::Fail);
}

#[tokio::test(start_paused = true)]
async fn a_future_dropped_half_way_loses_nothing() {
    let ingestor = FakeIngestor::new([Ok((1..=50).map(killmail).collect())]);
    let mut events = client(vec![Some(ingestor.clone())]).follow(FollowOptions::new("", Start::Earliest));
    let mut ids = Vec::new();
    while ids.len() < 50 {
        if let Some(event) = events.next().now_or_never() {
            ids.push(id(event.unwrap()));
        }
        tokio::task::yield_now().await;
    }
    assert!(ids.into_iter().eq(1..=50));
    assert_eq!(starts(&ingestor), ["position 2"], "one connection did");
}

#[tokio::test(start_paused = true)]
async fn takes_what_is_there_at_once() {
    let ingestor = FakeIngestor::new([Ok((1..=5).map(killmail).chain([Err(Status::not_found("x"))]).collect())]);
    let mut events = client(vec![Some(ingestor)]).follow(FollowOptions::new("", Start::Earliest));
    let mut ids = Vec::new();
    while ids.len() < 5 {
        let ready = events.next_ready(3).await.unwrap();
        assert!((1..=3).contains(&ready.len()));
        ids.extend(ready.into_iter().map(id));
    }
    assert_eq!(ids, [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn goes_to_the_next_endpoint_at_once() {
    let second = FakeIngestor::new([Err(Status::unavailable("full")), Ok(vec![killmail(7)])]);
    let third = FakeIngestor::new([Ok(vec![killmail(5), killmail(6), Err(Status::internal("crash"))])]);
    let mut events = client(vec![None, Some(second.clone()), Some(third.clone())])
        .follow(FollowOptions::new("", after("c4", 10_004)));
    let begun = Instant::now();
    assert_eq!(id(events.next().await.unwrap()), 5);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(id(events.next().await.unwrap()), 6);
    assert_eq!(id(events.next().await.unwrap()), 7);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(starts(&second), ["c4", "c6"]);
    assert_eq!(starts(&third), ["c4"]);
    let endpoint = "http://ingestor-1/".to_owned();
    assert_eq!(*events.state().borrow(), ConnectionState::Connected { endpoint });
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_let_us_in_is_an_end_only_when_nobody_does() {
    let unknown = || Err(Status::unauthenticated("unknown token"));
    let (first, second) = (
        FakeIngestor::new([unknown(), unknown(), unknown()]),
        FakeIngestor::new([
            Err(Status::unavailable("restarting")),
            Ok(vec![killmail(1), Err(Status::unavailable("again"))]),
            unknown(),
        ]),
    );
    let mut events =
        client(vec![Some(first.clone()), Some(second.clone())]).follow(FollowOptions::new("", after("c0", 10_000)));
    // The other one is only restarting: it is waited for.
    assert_eq!(id(events.next().await.unwrap()), 1);
    let expected = FollowError::Unauthenticated {
        endpoint: "http://ingestor-1/".into(),
        message: "unknown token".into(),
    };
    assert_eq!(events.next().await, Err(expected));
    assert_eq!((first.asked().len(), second.asked().len()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_it_is_asked_to() {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(20)));
    let draining = Status::with_error_details(Code::Unavailable, "draining", details);
    let ingestor = FakeIngestor::new([Err(draining), Ok(vec![killmail(1)])]);
    let mut events = client(vec![Some(ingestor)]).follow(FollowOptions::new("", Start::Latest));
    let begun = Instant::now();
    assert!(events.next().now_or_never().is_none());
    let state = events.state();
    assert_eq!(id(events.next().await.unwrap()), 1);
    let took = begun.elapsed().as_secs_f32();
    assert!((20.0..21.0).contains(&took), "{took}");
    assert!(matches!(*state.borrow(), ConnectionState::Connected { .. }));
}

#[tokio::test(start_paused = true)]
async fn every_moment_is_told_to_the_observer() {
    let mismatch = Err(refused(Code::FailedPrecondition, "LOG_MISMATCH"));
    let ingestor = FakeIngestor::new([
        mismatch,
        Ok(vec![killmail(1), killmail(2), Err(Status::unavailable("restarting"))]),
        Ok(vec![gap()]),
        Err(Status::unauthenticated("who")),
    ]);
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let writes = told.clone();
    let observer = Observer::new(move |moment: &ClientEvent<'_>| {
        writes.lock().unwrap().push(match moment {
            ClientEvent::Connecting { endpoint } => format!("to {endpoint}"),
            ClientEvent::Connected { .. } => "connected".into(),
            ClientEvent::Event { event } => format!("event {}", event.position.cursor),
            ClientEvent::Duplicate { killmail_id, .. } => format!("had {killmail_id}"),
            ClientEvent::Failed { code, .. } => format!("failed {code:?}"),
            ClientEvent::LogChanged { .. } => "other log".into(),
            ClientEvent::Waiting { failed_rounds, .. } => format!("waiting {failed_rounds}"),
            ClientEvent::Ended { error } => error.to_string(),
        });
    });
    let follow = FollowOptions {
        seen: Some(Arc::new(|id, _| id == 1)),
        ..FollowOptions::new("", after("old", 10_003))
    };
    let mut events = watched(vec![None, Some(ingestor)], observer).follow(follow);
    assert_eq!(id(events.next().await.unwrap()), 2);
    assert!(matches!(events.next().await.unwrap().kind, EventKind::Gap(_)));
    let told = told.lock().unwrap().join(", ");
    assert_eq!(
        told,
        "to http://ingestor-0/, failed Unavailable, to http://ingestor-1/, failed FailedPrecondition, other log, \
         to http://ingestor-1/, connected, had 1, event c2, failed Unavailable, to http://ingestor-0/, failed Unavailable, \
         waiting 1, to http://ingestor-1/, connected, event gap"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_opened_anew() {
    let ingestor = FakeIngestor::new([Ok(vec![killmail(1)]), Ok(vec![killmail(2)])]);
    let mut events = client(vec![Some(ingestor.clone())]).follow(FollowOptions::new("", Start::Latest));
    assert_eq!(id(events.next().await.unwrap()), 1);
    // A caller that takes its time is not the stream's fault.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let begun = Instant::now();
    assert_eq!(id(events.next().await.unwrap()), 2);
    let took = begun.elapsed().as_secs_f32();
    assert!((45.0..46.0).contains(&took), "{took}");
    assert_eq!(starts(&ingestor), ["position 1", "c1"]);
}

#[tokio::test(start_paused = true)]
async fn another_log_is_resumed_by_time_and_repeats_are_dropped() {
    let mismatch = Err(refused(Code::FailedPrecondition, "LOG_MISMATCH"));
    let ingestor = FakeIngestor::new([mismatch, Ok((1..=4).map(killmail).collect())]);
    let follow = FollowOptions {
        seen: Some(Arc::new(|id, revision| id <= 3 && revision == 0)),
        ..FollowOptions::new("", after("old", 10_003))
    };
    let mut events = client(vec![Some(ingestor.clone())]).follow(follow);
    assert_eq!(id(events.next().await.unwrap()), 4);
    assert_eq!(starts(&ingestor), ["old", "since 9403"]);
    assert_eq!(ingestor.asked()[1].on_expired(), OnExpired::Continue);
}

#[tokio::test(start_paused = true)]
async fn an_expired_position_is_reported_once_every_endpoint_said_so() {
    let (first, second) = (FakeIngestor::new([expired()]), FakeIngestor::new([expired()]));
    let mut events =
        client(vec![Some(first.clone()), Some(second.clone())]).follow(FollowOptions::new("", after("c1", 10_001)));
    let expected = FollowError::Expired {
        endpoint: "http://ingestor-1/".into(),
        earliest_cursor: Some("e".into()),
        message: "CURSOR_EXPIRED".into(),
    };
    assert_eq!(events.next().await, Err(expected.clone()));
    assert_eq!(events.next().await, Err(expected.clone()), "an error is final");
    assert_eq!((first.asked().len(), second.asked().len()), (1, 1));
    assert_eq!(*events.state().borrow(), ConnectionState::Ended(expected));
    assert_eq!(
        events.collect::<Vec<_>>().await.len(),
        1,
        "as a stream it ends behind its error"
    );
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_accepted_only_when_nobody_has_the_events() {
    let first = FakeIngestor::new([expired()]);
    let second = FakeIngestor::new([Ok(vec![killmail(2)])]);
    let follow = FollowOptions {
        on_expired_continue: true,
        ..FollowOptions::new("", after("c1", 10_001))
    };
    let mut events = client(vec![Some(first.clone()), Some(second)]).follow(follow.clone());
    assert_eq!(id(events.next().await.unwrap()), 2);

    let first = FakeIngestor::new([expired()]);
    let second = FakeIngestor::new([expired(), Ok(vec![gap(), killmail(9)])]);
    let mut events = client(vec![Some(first.clone()), Some(second.clone())]).follow(follow.clone());
    let event = events.next().await.unwrap();
    assert!(matches!(event.kind, EventKind::Gap(_)));
    assert_eq!(event.position.time, at(10_001), "a gap does not say when");
    assert_eq!(id(events.next().await.unwrap()), 9);
    let asked: Vec<OnExpired> = second.asked().iter().map(StreamKillmailsRequest::on_expired).collect();
    assert_eq!(asked, [OnExpired::Fail, OnExpired::Continue]);

    let alone = FakeIngestor::new([Ok(vec![gap()])]);
    let mut events = client(vec![Some(alone.clone())]).follow(follow);
    assert!(matches!(events.next().await.unwrap().kind, EventKind::Gap(_)));
    assert_eq!(alone.asked()[0].on_expired(), OnExpired::Continue);
}

#[tokio::test(start_paused = true)]
async fn only_a_progress_at_the_head_tells_the_time() {
    let progress = |caught_up, seconds| {
        let progress = Progress {
            caught_up,
            server_time: Some(at(seconds)),
            ..Default::default()
        };
        Ok(StreamKillmailsResponse {
            cursor: "p".into(),
            event: Some(stream_killmails_response::Event::Progress(progress)),
        })
    };
    let ingestor = FakeIngestor::new([Ok(vec![progress(false, 99_000), progress(true, 99_015), gap()])]);
    let mut events = client(vec![Some(ingestor)]).follow(FollowOptions::new("", after("c1", 10_001)));
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(events.next().await.unwrap().position.time.seconds);
    }
    assert_eq!(times, [10_001, 99_015, 99_015]);
}

#[tokio::test(start_paused = true)]
async fn unary_calls_fail_over() {
    let answering = FakeIngestor {
        unary: Some("b".into()),
        ..FakeIngestor::default()
    };
    let client = client(vec![None, Some(FakeIngestor::default()), Some(answering)]);
    let status = client
        .killmails()
        .get_feed_status(GetFeedStatusRequest {})
        .await
        .unwrap();
    assert_eq!(status.into_inner().log_id, "b");
    assert_ne!(client.endpoints.in_use(), 0, "the one that cannot be reached is left");
    let error = client
        .killmails()
        .get_killmail(GetKillmailRequest { killmail_id: 1 })
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::NotFound, "no such killmail"));
}

#[tokio::test(start_paused = true)]
async fn unary_calls_say_what_an_ingestor_said() {
    let client = client(vec![Some(FakeIngestor::default()), None]);
    let error = client
        .killmails()
        .get_feed_status(GetFeedStatusRequest {})
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "draining"));
}

#[tokio::test(start_paused = true)]
async fn unary_calls_go_where_they_are_let_in() {
    let closed = FakeIngestor {
        closed: true,
        ..FakeIngestor::default()
    };
    let open = FakeIngestor {
        unary: Some("b".into()),
        ..FakeIngestor::default()
    };
    let asks = async |ingestors| {
        let client = client(ingestors);
        let status = client.killmails().get_feed_status(GetFeedStatusRequest {}).await;
        status
            .map(|status| status.into_inner().log_id)
            .map_err(|status| status.code())
    };
    assert_eq!(asks(vec![Some(closed.clone()), Some(open)]).await, Ok("b".to_owned()));
    assert_eq!(asks(vec![Some(closed), None]).await, Err(Code::Unauthenticated));
}
