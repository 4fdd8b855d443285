//! When a stream says something: sessions without a network, under paused time.

use std::{sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes};
use futures::{FutureExt as _, Stream, StreamExt as _, stream, stream::BoxStream};
use killfeed::{
    cursor::Offset,
    filter::Program,
    v1::{FeedHealth, OnExpired, StreamKillmailsResponse, stream_killmails_response::Event},
};
use prost::Message as _;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{FakeLog, cursor, details, npc, word};
use crate::{
    grpc::{
        auth::{Caller, Revoked},
        chunks::ChunkCache,
        lag::LagTracker,
        limits::StreamLimiter,
        selection::{Filtered, Selection, Selections},
        session::Session,
        start::{self, StartPoint},
    },
    health,
    log::LogRead,
};

/// Ends with the stream that it is made for.
struct Bench {
    log: Arc<FakeLog>,
    chunks: Arc<ChunkCache>,
    everything: Arc<Selection>,
    streams: Arc<StreamLimiter>,
    shutdown: CancellationToken,
    health: tokio::sync::watch::Sender<health::FeedReport>,
}

impl Bench {
    fn new(log: Arc<FakeLog>) -> Self {
        Self {
            log,
            chunks: Arc::new(ChunkCache::new()),
            everything: Selections::default().get(None, true),
            streams: StreamLimiter::new(10, 10, LagTracker::default()),
            shutdown: CancellationToken::new(),
            health: health::channel().0,
        }
    }

    fn session(&self, after: u64) -> Session {
        Session {
            log: self.log.clone(),
            feed: self.health.subscribe(),
            chunks: self.chunks.clone(),
            selection: self.everything.clone(),
            on_expired: OnExpired::Fail,
            begin: StartPoint {
                after: Offset(after),
                not_before_ms: i64::MIN,
                gap: None,
                at_oldest: false,
            },
            until: None,
            shutdown: self.shutdown.clone(),
            revoked: Revoked::default(),
            seat: self.streams.enter(&Caller::Address(None)).unwrap(),
            client: "bench".into(),
        }
    }

    fn stream(&self, after: u64) -> Events {
        events(self.session(after))
    }
}

type Events = BoxStream<'static, Result<StreamKillmailsResponse, Status>>;

fn events(session: Session) -> Events {
    decoded(session.into_stream()).boxed()
}

fn decoded(
    stream: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
) -> impl Stream<Item = Result<StreamKillmailsResponse, Status>> + Send + 'static {
    stream.flat_map(|item| {
        let messages = match item {
            Ok(frames) => unframed(frames).into_iter().map(Ok).collect(),
            Err(status) => vec![Err(status)],
        };
        stream::iter(messages)
    })
}

fn unframed(mut frames: Bytes) -> Vec<StreamKillmailsResponse> {
    let mut messages = Vec::new();
    while frames.has_remaining() {
        assert_eq!(frames.get_u8(), 0);
        let len = frames.get_u32() as usize;
        messages.push(StreamKillmailsResponse::decode(frames.split_to(len)).unwrap());
    }
    messages
}

async fn next(events: &mut Events) -> String {
    word(&events.next().await.unwrap().unwrap())
}

fn progress(response: StreamKillmailsResponse) -> killfeed::v1::Progress {
    match response.event {
        Some(Event::Progress(progress)) => progress,
        other => panic!("no progress: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_shows_every_15_seconds_that_it_lives() {
    let bench = Bench::new(FakeLog::of(2));
    let mut events = bench.stream(20);
    let begun = Instant::now();
    assert!(progress(events.next().await.unwrap().unwrap()).caught_up);
    assert_eq!(begun.elapsed(), Duration::ZERO, "at once when caught up");
    for _ in 0..20 {
        let last = Instant::now();
        assert!(progress(events.next().await.unwrap().unwrap()).caught_up);
        let waited = last.elapsed().as_secs_f32();
        assert!((13.5..=16.51).contains(&waited), "{waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_stream_too() {
    let bench = Bench::new(FakeLog::of(1));
    let mut events = bench.stream(0);
    let log = bench.log.clone();
    let begun = Instant::now();
    let feed = async {
        for _ in 0..60 {
            sleep(Duration::from_secs(1)).await;
            log.more(1);
        }
    };
    let collect = async {
        let mut beats = Vec::new();
        while begun.elapsed() < Duration::from_secs(60) {
            if next(&mut events).await == "progress" {
                beats.push(begun.elapsed().as_secs_f32());
            }
        }
        beats
    };
    let (beats, ()) = futures::join!(collect, feed);
    assert!((4..=5).contains(&beats.len()), "{beats:?}");
    assert!(
        beats
            .windows(2)
            .all(|pair| (13.4..=16.6).contains(&(pair[1] - pair[0]))),
        "{beats:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_long_scan_without_a_match_tells_how_far_it_is() {
    let log = FakeLog::new();
    // Ten runs: a filtered one holds 256 offsets, of which every tenth is a record.
    for id in 0..256 {
        log.killmail(2 * id + 1, 0);
    }
    log.delay(Duration::from_secs(5));
    let bench = Bench::new(log.clone());
    let mut session = bench.session(0);
    let filter = Filtered::new(Program::new(&npc()).unwrap(), &npc());
    session.selection = Selections::default().get(Some(filter), true);
    let mut events = events(session);
    let mut cursors = Vec::new();
    loop {
        let response = events.next().await.unwrap().unwrap();
        cursors.push(response.cursor.clone());
        if progress(response).caught_up {
            break;
        }
    }
    // Ten runs of 5 s, a word every 15 s or so, and one when it is done.
    assert!((4..=5).contains(&cursors.len()), "{cursors:?}");
    assert!(cursors.is_sorted_by(|a, b| a.len() < b.len() || a < b), "{cursors:?}");
    assert_eq!(cursors.last(), Some(&cursor(&log, 2_560)));
}

#[tokio::test(start_paused = true)]
async fn a_broken_log_makes_streams_wait_and_not_end() {
    let bench = Bench::new(FakeLog::of(3));
    bench.health.send_modify(|report| report.health = FeedHealth::Ok);
    bench.log.fail(true);
    let mut events = bench.stream(10);
    let said = progress(events.next().await.unwrap().unwrap());
    assert_eq!((said.caught_up, said.feed_health()), (false, FeedHealth::Down));
    bench.log.fail(false);
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(next(&mut events).await);
    }
    assert_eq!(heard, ["k2", "k3", "progress"]);
    let said = progress(events.next().await.unwrap().unwrap());
    assert_eq!((said.caught_up, said.feed_health()), (true, FeedHealth::Ok));
}

#[tokio::test(start_paused = true)]
async fn retention_never_overtakes_in_silence() {
    let bench = Bench::new(FakeLog::of(600));
    let mut failing = bench.stream(0);
    let mut going_on = events(Session {
        on_expired: OnExpired::Continue,
        ..bench.session(0)
    });
    assert_eq!(next(&mut failing).await, "k1");
    assert_eq!(next(&mut going_on).await, "k1");
    // Both have a run in hand (to offset 64), and then find that the next one is gone.
    bench.log.trim(5_900);
    for id in 2..=6 {
        assert_eq!(next(&mut failing).await, format!("k{id}"));
        assert_eq!(next(&mut going_on).await, format!("k{id}"));
    }
    let status = failing.next().await.unwrap().unwrap_err();
    let (reason, metadata, _) = details(&status);
    assert_eq!(
        (status.code(), reason.as_deref()),
        (Code::OutOfRange, Some("CURSOR_EXPIRED"))
    );
    assert_eq!(metadata["earliest_cursor"], cursor(&bench.log, 5_900));
    assert!(failing.next().await.is_none());
    let gap = going_on.next().await.unwrap().unwrap();
    assert_eq!(
        (word(&gap).as_str(), gap.cursor),
        ("cursor expired", cursor(&bench.log, 5_900))
    );
    let Some(Event::Gap(gap)) = gap.event else {
        unreachable!()
    };
    let between = (gap.from_time.unwrap().seconds, gap.to_time.unwrap().seconds);
    assert_eq!(
        between,
        (6, 591),
        "from the last record delivered to the oldest one kept"
    );
    assert_eq!(next(&mut going_on).await, "k591");
}

#[tokio::test(start_paused = true)]
async fn whoever_asked_for_the_oldest_takes_the_oldest_there_is() {
    let bench = Bench::new(FakeLog::of(9));
    let begin = start::start(&*bench.log, super::earliest().start, OnExpired::Fail)
        .await
        .unwrap();
    let mut events = events(Session {
        begin,
        ..bench.session(0)
    });
    bench.log.trim(70);
    assert_eq!(next(&mut events).await, "k8");
}

#[tokio::test(start_paused = true)]
async fn an_emptied_log_is_caught_up_with() {
    let bench = Bench::new(FakeLog::of(9));
    bench.log.trim(90);
    let mut events = events(Session {
        on_expired: OnExpired::Continue,
        ..bench.session(30)
    });
    assert_eq!(next(&mut events).await, "cursor expired");
    assert_eq!(next(&mut events).await, "progress");
    assert_eq!(bench.log.status().earliest_ms, None);
}

#[tokio::test(start_paused = true)]
async fn ends_with_a_word_and_only_then() {
    let bench = Bench::new(FakeLog::of(1));
    let mut old = events(Session {
        until: Some(Instant::now() + Duration::from_secs(5)),
        ..bench.session(0)
    });
    let mut drained = bench.stream(10);
    assert_eq!(next(&mut old).await, "k1");
    assert_eq!(next(&mut old).await, "progress");
    let status = old.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("maximum age"), "{status}");
    assert_eq!(next(&mut drained).await, "progress");
    assert!(drained.next().now_or_never().is_none());
    bench.shutdown.cancel();
    let status = drained.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), details(&status).2.is_some()), (Code::Unavailable, true));
    assert!(drained.next().await.is_none());
    assert_eq!(bench.streams.open(), 0, "a stream that has ended holds nothing");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_one_run() {
    let bench = Bench::new(FakeLog::of(1));
    let mut events = bench.stream(0);
    assert_eq!(next(&mut events).await, "k1");
    let held = |bench: &Bench| Arc::strong_count(&bench.log);
    let before = held(&bench);
    bench.log.more(10_000);
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(held(&bench), before, "nothing was read that nobody asked for");
    assert_eq!(
        next(&mut events).await,
        "progress",
        "an hour late, for want of a reader"
    );
    for id in 2..=10_001 {
        assert_eq!(next(&mut events).await, format!("k{id}"));
    }
}
