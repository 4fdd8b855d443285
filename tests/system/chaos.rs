//! The seven guarantees under combined faults.
//!
//! Clients connect, disconnect, stall and resume; the server is killed with SIGKILL; connections are closed and frozen;
//! retention races the readers. A short run with a fixed seed is among the fast tests. The long run is random and
//! prints its seed: `KILLFEED_SEED=n` repeats a run's decisions, `KILLFEED_CHAOS_SECONDS=n` makes a run longer.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fastrand::Rng;
use killfeed::{
    client::{self, FollowOptions},
    v1::{
        GetFeedStatusRequest, OnExpired, Position, StreamKillmailsRequest, StreamKillmailsResponse,
        killmail_service_client::KillmailServiceClient, stream_killmails_request, stream_killmails_response::Event,
    },
};
use killfeed_support::{
    FakeUpstream, corpus,
    process::eventually,
    proxy::{Cut, Proxy},
    validator::{Client, Crash, Observed, Received, Start, Stream, offset, validate},
};
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};
use tonic::{Code, Streaming};

use crate::{
    harness::{TEST_TIMEOUT, TestIngestor},
    recorder::{Recorder, begun, whole_log},
};

/// The number of clients: every fifth uses the client library, the others call the API directly.
const CLIENTS: usize = 30;
const RETENTION: Duration = Duration::from_secs(10);
const KILLS: usize = 2;
/// The client that stays away for longer than the retention.
const SLEEPER: usize = 3;

/// A filter and the same condition over the document that zKillboard published.
type Filter = (&'static str, fn(&Value) -> bool);

const FILTERS: [Filter; 4] = [
    ("", |_| true),
    ("npc", |document| document["zkb"]["npc"] == true),
    ("attackers>=3", |document| attackers(document) >= 3),
    ("NOT solo attackers<10", |document| {
        document["zkb"]["solo"] != true && attackers(document) < 10
    }),
];

fn attackers(document: &Value) -> usize {
    document["esi"]["attackers"].as_array().map_or(0, Vec::len)
}

/// The state that all clients share.
#[derive(Clone)]
struct ChaosContext {
    recorder: Recorder,
    /// The URL through the proxy.
    rough: String,
    direct: String,
    /// `Some(head)` after the faults end; each client then reads up to `head` and finishes.
    over: watch::Receiver<Option<u64>>,
    wanted: [Option<BTreeSet<u64>>; FILTERS.len()],
    /// The number of streams that resumed after a cursor.
    resumed: Arc<AtomicUsize>,
}

impl ChaosContext {
    async fn over(&self) -> u64 {
        let mut over = self.over.clone();
        let head = over
            .wait_for(Option::is_some)
            .await
            .expect("the test announces the end of the faults");
        head.expect("wait_for returned a head")
    }

    fn is_over(&self) -> bool {
        self.over.borrow().is_some()
    }
}

/// A client that resumes without the client library.
struct ManualClient {
    world: ChaosContext,
    rng: Rng,
    filter: usize,
    updates: bool,
    cursor: Option<String>,
    on_expired: OnExpired,
    client: Client,
}

impl ManualClient {
    async fn live(mut self, n: usize) -> Client {
        if n == SLEEPER {
            self.oversleep().await;
        }
        while !self.world.is_over() {
            let mut over = self.world.over.clone();
            tokio::select! {
                biased;
                _ = over.wait_for(Option::is_some) => break,
                () = self.visit(n) => {}
            }
        }
        let head = self.world.over().await;
        let url = self.world.direct.clone();
        // The stream now reports what retention removed and continues.
        self.on_expired = OnExpired::Continue;
        let mut stream = self.open(&url).await.expect("the server accepts a direct stream");
        loop {
            let next = timeout(TEST_TIMEOUT, stream.message()).await.expect("an event");
            let response = next.expect("no error").expect("no end");
            let (at, progress) = (
                offset(&response.cursor),
                matches!(response.event, Some(Event::Progress(_))),
            );
            self.take(response);
            if progress && at >= head {
                break;
            }
        }
        self.current().to_the_end = true;
        self.client
    }

    /// Reads the first event, then waits until retention has removed the next record.
    ///
    /// With random timing alone, retention may never remove records that a client has yet to read.
    async fn oversleep(&mut self) {
        let url = self.world.direct.clone();
        let mut stream = loop {
            match self.open(&url).await {
                Some(stream) => break stream,
                None => self.pause(50..300).await,
            }
        };
        let first = timeout(TEST_TIMEOUT, stream.message()).await.expect("an event");
        self.take(first.expect("no error").expect("no end"));
        drop(stream);
        let here = self.cursor.as_deref().map(offset).expect("a cursor");
        self.world.over().await;
        let mut client = KillmailServiceClient::connect(url).await.expect("a server");
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            let status = client
                .get_feed_status(GetFeedStatusRequest {})
                .await
                .expect("the server reports its status");
            if offset(&status.into_inner().earliest_cursor) > here {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "retention did not remove the records after {here}"
            );
            self.pause(100..101).await;
        }
    }

    /// Opens one connection, reads for a random time and leaves it.
    async fn visit(&mut self, n: usize) {
        // One client in ten may stay away for longer than the retention, several times.
        if n % 10 == 3 && self.cursor.is_some() {
            tokio::time::sleep(RETENTION + Duration::from_secs(3)).await;
        }
        let url = self.world.rough.clone();
        let opened = timeout(Duration::from_secs(5), self.open(&url)).await;
        let Ok(Some(mut stream)) = opened else {
            return self.pause(50..300).await;
        };
        let leaves_after = self.rng.usize(1..600);
        let stalls_at = self.rng.usize(0..1_000);
        let dawdles = self.rng.u8(0..4) == 0;
        for read in 0..leaves_after {
            if read == stalls_at {
                self.pause(1_000..8_000).await;
            }
            if dawdles {
                self.pause(1..40).await;
            }
            match timeout(Duration::from_secs(20), stream.message()).await {
                Ok(Ok(Some(response))) => self.take(response),
                Ok(Err(status)) if status.code() == Code::OutOfRange => {
                    self.on_expired = OnExpired::Continue;
                    return;
                }
                _ => return self.pause(10..300).await,
            }
        }
    }

    async fn pause(&mut self, milliseconds: std::ops::Range<u64>) {
        let pause = Duration::from_millis(self.rng.u64(milliseconds));
        tokio::time::sleep(pause).await;
    }

    async fn open(&mut self, url: &str) -> Option<Streaming<StreamKillmailsResponse>> {
        use stream_killmails_request::Start as Asked;
        let (start, asked) = match &self.cursor {
            // A client sometimes forgets its cursor.
            Some(cursor) if self.world.is_over() || self.rng.u8(0..10) > 0 => {
                (Start::After(offset(cursor)), Asked::AfterCursor(cursor.clone()))
            }
            _ => match self.rng.u8(0..3) {
                0 => (Start::Latest, Asked::Position(Position::Latest.into())),
                1 => {
                    let since = SystemTime::now() - Duration::from_millis(self.rng.u64(0..2_000));
                    let ms = since.duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
                    let time = prost_types::Timestamp {
                        seconds: ms / 1_000,
                        nanos: (ms % 1_000) as i32 * 1_000_000,
                    };
                    (Start::Since(ms), Asked::Since(time))
                }
                _ => (FROM_THE_OLDEST, Asked::Position(Position::Earliest.into())),
            },
        };
        let request = StreamKillmailsRequest {
            filter: FILTERS[self.filter].0.into(),
            start: Some(asked),
            on_expired: self.on_expired.into(),
            include_updates: self.updates,
            client_name: self.client.name.clone(),
        };
        let mut client = KillmailServiceClient::connect(url.to_owned()).await.ok()?;
        match client.stream_killmails(request).await {
            Ok(stream) => {
                let wanted = self.world.wanted[self.filter].clone();
                if matches!(start, Start::After(_)) {
                    self.world.resumed.fetch_add(1, Ordering::Relaxed);
                }
                self.client.streams.push(begun(start, wanted, self.updates));
                Some(stream.into_inner())
            }
            Err(status) => {
                if status.code() == Code::OutOfRange {
                    self.on_expired = OnExpired::Continue;
                }
                None
            }
        }
    }

    fn current(&mut self) -> &mut Stream {
        self.client.streams.last_mut().expect("the client opened a stream")
    }

    fn take(&mut self, response: StreamKillmailsResponse) {
        let received = self.world.recorder.response(&response);
        push(self.current(), received);
        self.cursor = Some(response.cursor);
        self.on_expired = OnExpired::Fail;
    }
}

/// A start at the oldest kept record. Retention moves on, so only the first event shows its offset.
const FROM_THE_OLDEST: Start = Start::Earliest { trimmed: u64::MAX };

fn push(stream: &mut Stream, received: Received) {
    if stream.start == FROM_THE_OLDEST {
        let is_record = matches!(received.seen, Observed::Record(_));
        stream.start = Start::Earliest {
            trimmed: received.offset.saturating_sub(u64::from(is_record)),
        };
    }
    stream.events.push(received);
}

/// Follows with the client library, which resumes for it, and stalls at random.
async fn by_library(world: ChaosContext, mut rng: Rng, n: usize) -> Client {
    let filter = n % FILTERS.len();
    let client = client::Client::builder().endpoint(&world.rough).build().unwrap();
    let mut events = client.follow(FollowOptions {
        on_expired_continue: true,
        include_updates: true,
        ..FollowOptions::new(FILTERS[filter].0, client::Start::Earliest)
    });
    let mut stream = begun(FROM_THE_OLDEST, world.wanted[filter].clone(), true);
    loop {
        // A restart may take long on a busy machine, and the backoff after failed rounds grows to 30 s.
        let next = timeout(2 * TEST_TIMEOUT, events.next())
            .await
            .expect("an event")
            .unwrap();
        let received = world.recorder.event(&next);
        let (at, progress) = (received.offset, received.seen == Observed::Progress);
        push(&mut stream, received);
        let head = *world.over.borrow();
        if progress && head.is_some_and(|head| at >= head) {
            stream.to_the_end = true;
            break;
        }
        if head.is_none() && rng.u8(0..100) == 0 {
            tokio::time::sleep(Duration::from_millis(rng.u64(0..3_000))).await;
        }
    }
    Client {
        name: format!("client {n}, client library"),
        streams: vec![stream],
    }
}

/// Publishes documents, and republishes some of them with another value.
struct Publisher {
    documents: Vec<Value>,
    next: usize,
    published: Vec<(u64, u32)>,
    revisions: HashMap<u64, u32>,
}

impl Publisher {
    fn publish(&mut self, upstream: &FakeUpstream, rng: &mut Rng) {
        if self.next > 0 && rng.u8(0..10) == 0 {
            let again = rng.usize(0..self.next);
            let document = &mut self.documents[again];
            let id = document["killmail_id"].as_u64().unwrap();
            let revision = self.revisions.entry(id).or_default();
            *revision += 1;
            document["zkb"]["totalValue"] = (f64::from(*revision) + 0.25).into();
            self.published.push((id, *revision));
            upstream.publish(document.clone());
        } else if let Some(document) = self.documents.get(self.next) {
            self.published.push((document["killmail_id"].as_u64().unwrap(), 0));
            upstream.publish(document.clone());
            self.next += 1;
        }
    }
}

pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_guarantees_hold_under_faults() {
    run(1, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: .ci/run --long runs it"]
async fn all_guarantees_hold_under_random_faults() {
    let seed = number("KILLFEED_SEED").unwrap_or_else(|| fastrand::u64(..));
    run(seed, number("KILLFEED_CHAOS_SECONDS").unwrap_or(60)).await;
}

async fn run(seed: u64, seconds: u64) {
    println!("KILLFEED_SEED={seed} KILLFEED_CHAOS_SECONDS={seconds}");
    let mut rng = Rng::with_seed(seed);

    let upstream = FakeUpstream::start().await;
    let documents = corpus::best().documents;
    let wanted = FILTERS.map(|(text, matches)| {
        let ids = documents.iter().filter(|document| matches(document));
        (!text.is_empty()).then(|| ids.filter_map(|document| document["killmail_id"].as_u64()).collect())
    });
    let retention = format!("{}s", RETENTION.as_secs());
    let extra = [
        ("INGESTOR_RETENTION", retention.as_str()),
        ("INGESTOR_MAX_STREAMS_PER_TOKEN", "1000"),
    ];
    let mut ingestor = TestIngestor::start(&upstream, &extra).await;
    let proxy = Proxy::start(ingestor.grpc.clone()).await;
    let (over, is_over) = watch::channel(None);
    let world = ChaosContext {
        recorder: Recorder::new(),
        rough: proxy.url(),
        direct: ingestor.url(),
        over: is_over,
        wanted,
        resumed: Arc::default(),
    };

    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let own = Rng::with_seed(rng.u64(..));
        if n % 5 == 0 {
            clients.spawn(by_library(world.clone(), own, n));
        } else {
            let by_hand = ManualClient {
                world: world.clone(),
                rng: own,
                filter: rng.usize(0..FILTERS.len()),
                updates: rng.bool(),
                cursor: None,
                on_expired: OnExpired::Fail,
                client: Client {
                    name: format!("client {n}, direct calls"),
                    streams: Vec::new(),
                },
            };
            clients.spawn(by_hand.live(n));
        }
    }

    let mut publisher = Publisher {
        documents,
        next: 0,
        published: Vec::new(),
        revisions: HashMap::new(),
    };
    let mut crashes = Vec::new();
    let mut troubles = 0;
    // Run until the time is over and until every kind of fault happened: a busy machine may need more than the time.
    let tried = |kills: usize| kills == KILLS && world.resumed.load(Ordering::Relaxed) > CLIENTS;
    while world.recorder.now() < Duration::from_secs(seconds) || !tried(crashes.len()) {
        assert!(
            world.recorder.now() < Duration::from_secs(seconds) + 4 * TEST_TIMEOUT,
            "the run had only {} kills and {} resumed streams",
            crashes.len(),
            world.resumed.load(Ordering::Relaxed)
        );
        for _ in 0..rng.usize(1..6) {
            publisher.publish(&upstream, &mut rng);
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(20..160))).await;
        let due = (crashes.len() as u64 + 1) * seconds / (KILLS as u64 + 1);
        if crashes.len() < KILLS && world.recorder.now().as_secs() >= due {
            let at = world.recorder.now();
            ingestor.kill_and_begin().await;
            let head_after = offset(&ingestor.status().await.head_cursor);
            crashes.push(Crash { at, head_after });
        }
        troubles += 1;
        match rng.u8(0..30) {
            0 => proxy.cut_all(),
            1 => proxy.freeze(true),
            2 => proxy.cut_next(Cut::AfterBytes(rng.usize(0..300_000))),
            3 => proxy.cut_next(Cut::InMessage(rng.usize(0..200))),
            4 => proxy.cut_next(Cut::AfterMessages(rng.usize(0..200))),
            5..15 => proxy.freeze(false),
            15..20 => proxy.cut_next(Cut::Never),
            _ => troubles -= 1,
        }
    }
    proxy.freeze(false);
    proxy.cut_next(Cut::Never);
    let last = upstream.next_number();
    eventually("the walk reads every published document", TEST_TIMEOUT, async || {
        ingestor.status().await.upstream_sequence == last
    })
    .await;
    let mut history = whole_log(&ingestor).await;
    let head = offset(&ingestor.status().await.head_cursor);
    over.send_replace(Some(head));
    history.clients = timeout(2 * TEST_TIMEOUT, clients.join_all())
        .await
        .expect("all clients finish");

    history.trimmed = offset(&ingestor.status().await.earliest_cursor);
    history.crashes = crashes;
    history.published = Some(publisher.published);
    // The clients that read removed records in time provide them. Offsets of this log have no holes: a missing offset
    // was removed before any client read it, for example during a restart that took longer than the retention.
    history.learn_log();
    let records = (1..=history.trimmed).filter(|offset| !history.log.contains_key(offset));
    history.unseen = records.count();
    let streams = || history.clients.iter().flat_map(|client| &client.streams);
    let events = || streams().flat_map(|stream| &stream.events);
    let resumed = streams()
        .filter(|stream| matches!(stream.start, Start::After(_)))
        .count();
    let expired = events().filter(|event| event.seen == Observed::Expired).count();
    println!(
        "{} records and {} unseen, {} clients, {} streams ({resumed} resumed), {} events, {troubles} troubles, {} kills, {expired} expired",
        history.log.len(),
        history.unseen,
        history.clients.len(),
        streams().count(),
        events().count(),
        history.crashes.len(),
    );
    validate(&history);
    // The run must have exercised each fault.
    assert_eq!(history.crashes.len(), KILLS);
    assert!(resumed > CLIENTS && expired > 0 && history.trimmed > 0);
    assert!(
        history.unseen < history.log.len(),
        "no client saw any record of the log"
    );
    assert_eq!(ingestor.stop().await, Some(0));
}
