//! The edge against a small server on loopback: what goes over the wire, and what a batch and its state are.

use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State as Shared},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use killfeed::v1::FeedHealth;
use tokio::time::Instant;

use super::*;
use crate::health;

/// What a file answers.
#[derive(Clone)]
enum FakeFile {
    Document(Bytes),
    Status(StatusCode, Option<&'static str>),
    /// Says gzip, is none.
    NoGzip,
    /// Ends before its Content-Length.
    Cut,
    /// Unpacks to this many bytes.
    Huge(usize),
}

#[derive(Default)]
struct Files {
    files: BTreeMap<String, FakeFile>,
    requests: Vec<(String, HeaderMap)>,
}

#[derive(Clone, Default)]
struct Board(Arc<Mutex<Files>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap()
    }

    fn put(&self, number: u64, file: FakeFile) {
        self.lock().files.insert(number.to_string(), file);
    }

    fn documents(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.put(number, FakeFile::Document(body(number)));
        }
    }

    fn head(&self, number: u64) {
        let text = format!(r#"{{"sequence": {number}}}"#);
        self.lock()
            .files
            .insert("sequence".into(), FakeFile::Document(text.into()));
    }

    fn asked(&self, name: &str) -> usize {
        self.lock().requests.iter().filter(|(asked, _)| asked == name).count()
    }

    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }
}

fn body(number: u64) -> Bytes {
    format!(r#"{{"killmail_id":{number},"uploaded_at":1787227200}}"#).into()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn answer(Shared(board): Shared<Board>, request: Request) -> Response {
    let path = request.uri().path();
    let name = path
        .strip_prefix("/ephemeral/")
        .and_then(|name| name.strip_suffix(".json"))
        .unwrap_or(path)
        .to_owned();
    let mut files = board.lock();
    let file = files.files.get(&name).cloned();
    files.requests.push((name, request.headers().clone()));
    let packed = [(header::CONTENT_ENCODING, "gzip")];
    match file {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(FakeFile::Document(body)) => (packed, gzip(&body)).into_response(),
        Some(FakeFile::Status(status, None)) => status.into_response(),
        Some(FakeFile::Status(status, Some(value))) => (
            status,
            [(header::RETRY_AFTER, value), (header::LOCATION, "/ephemeral/1.json")],
        )
            .into_response(),
        Some(FakeFile::NoGzip) => (packed, "this is no gzip").into_response(),
        Some(FakeFile::Cut) => {
            let parts: [Result<&str, std::io::Error>; 2] =
                [Ok("{\"killmail_id\""), Err(std::io::ErrorKind::Other.into())];
            Response::new(Body::from_stream(futures::stream::iter(parts)))
        }
        Some(FakeFile::Huge(size)) => (packed, gzip(&vec![b' '; size])).into_response(),
    }
}

/// The time that a test waits for an event before it fails as a hang.
const LIMIT: Duration = Duration::from_secs(300);

struct Rig {
    feed: R2z2,
    health: watch::Receiver<FeedReport>,
}

fn settings(base_url: &str, start: FeedStart) -> R2z2Settings {
    R2z2Settings {
        base_url: base_url.to_owned(),
        start,
        poll_interval: Duration::from_millis(20),
        rate: 10_000.0,
        hole_rechecks: [100, 200].map(Duration::from_millis).to_vec(),
        user_agent: "killfeed/0.1.0 (operator@example.com)".into(),
    }
}

fn rig(base_url: &str, start: FeedStart, state: Option<Bytes>) -> Rig {
    let (sender, health) = health::channel();
    let feed = R2z2::new(settings(base_url, start), state, sender).unwrap();
    Rig { feed, health }
}

impl Rig {
    async fn next(&mut self) -> Batch {
        let batch = tokio::time::timeout(LIMIT, self.feed.next()).await;
        batch.expect("a batch comes in time")
    }

    /// Acknowledges batches until `done`, and returns all documents and the last state.
    async fn until(&mut self, done: impl Fn(&Self) -> bool) -> (Vec<u64>, Bytes) {
        let (mut all, mut state) = (Vec::new(), Bytes::new());
        let start = Instant::now();
        while !done(self) {
            assert!(
                start.elapsed() < LIMIT,
                "the condition does not hold: {:?}",
                self.health.borrow()
            );
            if let Ok(batch) = tokio::time::timeout(Duration::from_millis(20), self.feed.next()).await {
                all.extend(numbers(&batch));
                state = self.settle(&batch);
            }
        }
        (all, state)
    }

    /// Settles everything as taken.
    fn settle(&mut self, batch: &Batch) -> Bytes {
        let verdicts: Vec<_> = numbers(batch)
            .into_iter()
            .map(|number| (number, DocumentOutcome::Accepted { refetch: None }))
            .collect();
        self.feed.ack(&verdicts)
    }

    /// Until that many documents came.
    async fn collect(&mut self, count: usize) -> (Vec<u64>, Bytes) {
        let mut all = Vec::new();
        loop {
            let batch = self.next().await;
            all.extend(numbers(&batch));
            let state = self.settle(&batch);
            if all.len() >= count {
                return (all, state);
            }
        }
    }
}

fn numbers(batch: &Batch) -> Vec<u64> {
    let number = |item: &FeedItem| match item {
        FeedItem::Document { sequence, .. } => Some(*sequence),
        _ => None,
    };
    batch.items.iter().filter_map(number).collect()
}

fn gaps(batch: &Batch) -> u64 {
    let missing = |item: &FeedItem| match item {
        FeedItem::Gap(gap) => gap.missing,
        _ => 0,
    };
    batch.items.iter().map(missing).sum()
}

#[tokio::test]
async fn reads_in_order_and_goes_on_after_a_restart() {
    let board = Board::default();
    board.documents(100..=105);
    board.head(103);
    let url = board.serve().await;
    let mut first = rig(&url, FeedStart::Sequence(101), None);
    let (read, state) = first.collect(5).await;
    assert_eq!(read, (101..=105).collect::<Vec<_>>());
    drop(first);
    board.documents(106..=107);
    let mut second = rig(&url, FeedStart::Earliest, Some(state));
    let batch = second.next().await;
    let FeedItem::Document { body: text, .. } = &batch.items[0] else {
        panic!("a document")
    };
    assert_eq!(*text, body(106));
    let mut read = numbers(&batch);
    second.settle(&batch);
    if read.len() < 2 {
        read.extend(second.collect(1).await.0);
    }
    assert_eq!(read, [106, 107]);
    assert_eq!(board.asked("101"), 1);
}

#[tokio::test]
async fn says_who_asks_and_goes_past_caches() {
    let board = Board::default();
    board.documents(100..=100);
    board.head(100);
    let url = board.serve().await;
    let mut rig = rig(&url, FeedStart::Latest, None);
    assert_eq!(
        rig.next().await,
        Batch::default(),
        "the first position is stored before anything else"
    );
    rig.feed.ack(&[]);
    rig.collect(1).await;
    // The second time 101 is asked for is a poll at the head.
    rig.until(|_| board.asked("101") > 1).await;
    let requests = board.lock().requests.clone();
    for (name, headers) in &requests {
        assert_eq!(
            headers[header::USER_AGENT],
            "killfeed/0.1.0 (operator@example.com)",
            "{name}"
        );
        assert!(
            headers[header::ACCEPT_ENCODING].to_str().unwrap().contains("gzip"),
            "{name}"
        );
    }
    let no_cache = |wanted: &str, nth: usize| {
        let mut same = requests.iter().filter(|(name, _)| name == wanted);
        same.nth(nth)
            .map(|(_, headers)| headers.contains_key(header::CACHE_CONTROL))
    };
    assert_eq!(no_cache("sequence", 0), Some(true));
    assert_eq!(no_cache("100", 0), Some(false));
    assert_eq!(no_cache("101", 0), Some(false));
    assert_eq!(no_cache("101", 1), Some(true));
    assert_eq!(rig.health.borrow().health, FeedHealth::Ok);
    assert_eq!(rig.health.borrow().upstream_sequence, 101);
    assert!(rig.health.borrow().last_document.is_some());
}

#[tokio::test]
async fn a_refusal_is_handed_out_to_be_stored_and_keeps_the_next_process_silent() {
    let board = Board::default();
    board.documents(100..=101);
    board.head(101);
    board.put(102, FakeFile::Status(StatusCode::TOO_MANY_REQUESTS, Some("3600")));
    let url = board.serve().await;
    let mut first = rig(&url, FeedStart::Sequence(100), None);
    // The refusal comes out with the last documents, or in a batch of its own; then there is silence.
    let down = |rig: &Rig| rig.health.borrow().health == FeedHealth::Down;
    let (read, state) = first.until(down).await;
    assert_eq!(read, [100, 101]);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), first.feed.next())
            .await
            .is_err()
    );
    drop(first);
    let before = board.lock().requests.len();
    let mut second = rig(&url, FeedStart::Latest, Some(state));
    assert!(
        tokio::time::timeout(Duration::from_millis(200), second.feed.next())
            .await
            .is_err()
    );
    assert_eq!(board.lock().requests.len(), before, "not one request");
    let report = second.health.borrow().clone();
    assert_eq!(report.health, FeedHealth::Down);
    assert!(
        report.detail.starts_with("banned by the feed's host"),
        "{}",
        report.detail
    );
}

#[tokio::test]
async fn broken_answers_do_not_stop_the_walk() {
    let board = Board::default();
    board.documents((100..=110).filter(|number| ![101, 103, 105].contains(number)));
    board.put(101, FakeFile::NoGzip);
    board.put(103, FakeFile::Huge(17 * 1024 * 1024));
    board.put(105, FakeFile::Document(Bytes::new()));
    board.head(110);
    let url = board.serve().await;
    let mut rig = rig(&url, FeedStart::Sequence(100), None);
    let (mut read, mut missing) = (Vec::new(), 0);
    while read.len() < 8 || missing < 3 {
        let batch = rig.next().await;
        missing += gaps(&batch);
        let verdict = |number: u64| match number {
            105 => DocumentOutcome::Unreadable,
            _ => DocumentOutcome::Accepted { refetch: None },
        };
        let verdicts: Vec<_> = numbers(&batch)
            .into_iter()
            .map(|number| (number, verdict(number)))
            .collect();
        read.extend(numbers(&batch).into_iter().filter(|number| *number != 105));
        rig.feed.ack(&verdicts);
    }
    read.sort_unstable();
    assert_eq!(read, [100, 102, 104, 106, 107, 108, 109, 110]);
    assert_eq!(missing, 3);
    let Some(FakeFile::Huge(_)) = board.lock().files.get("103").cloned() else {
        panic!("still huge")
    };
}

#[tokio::test]
async fn failures_are_tried_again_on_the_same_number() {
    let board = Board::default();
    board.documents(100..=100);
    board.head(103);
    let url = board.serve().await;
    board.put(101, FakeFile::Cut);
    board.put(102, FakeFile::Status(StatusCode::BAD_GATEWAY, None));
    board.put(103, FakeFile::Status(StatusCode::FOUND, Some("0")));
    let mut rig = rig(&url, FeedStart::Sequence(100), None);
    let mut read = rig.collect(1).await.0;
    for number in 101..=103 {
        while board.asked(&number.to_string()) < 2 {
            if let Ok(batch) = tokio::time::timeout(Duration::from_millis(20), rig.feed.next()).await {
                read.extend(numbers(&batch));
                rig.settle(&batch);
            }
        }
        board.documents([number]);
    }
    assert_eq!(board.asked("1"), 0, "no redirect is followed");
    if read.len() < 4 {
        read.extend(rig.collect(4 - read.len()).await.0);
    }
    read.sort_unstable();
    assert_eq!(read, [100, 101, 102, 103]);
}

#[tokio::test]
async fn a_sequence_json_that_never_unpacks_is_asked_for_ever_less_often() {
    let board = Board::default();
    board.lock().files.insert("sequence".into(), FakeFile::NoGzip);
    let url = board.serve().await;
    let mut rig = rig(&url, FeedStart::Latest, None);
    let nothing = tokio::time::timeout(Duration::from_secs(1), rig.feed.next()).await;
    assert!(nothing.is_err(), "there is nowhere to begin");
    // The ceilings are 50, 100, 200, ... ms: a dozen would be a rare day, and without them it is hundreds.
    let asked = board.asked("sequence");
    assert!(asked <= 20, "{asked} times within a second");
    rig.until(|_| board.asked("sequence") > 1).await;
}

#[tokio::test]
async fn dropping_next_loses_and_repeats_nothing() {
    let board = Board::default();
    board.documents(100..400);
    board.head(399);
    let url = board.serve().await;
    let mut rig = rig(&url, FeedStart::Sequence(100), None);
    let mut read = Vec::new();
    while read.len() < 300 {
        let patience = Duration::from_micros(fastrand::u64(50..3_000));
        if let Ok(batch) = tokio::time::timeout(patience, rig.feed.next()).await {
            read.extend(numbers(&batch));
            rig.settle(&batch);
        }
    }
    assert_eq!(read, (100..400).collect::<Vec<_>>());
    assert!(
        (100..400).all(|number| board.asked(&number.to_string()) == 1),
        "each asked for once"
    );
}

#[tokio::test]
async fn documents_are_collected_while_catching_up_and_handed_out_at_once_at_the_head() {
    let board = Board::default();
    board.documents(100..600);
    board.head(599);
    let url = board.serve().await;
    let mut rig = rig(&url, FeedStart::Sequence(100), None);
    let start = Instant::now();
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 500 {
        let batch = rig.next().await;
        sizes.push(batch.items.len());
        rig.settle(&batch);
    }
    assert!(sizes.iter().all(|size| *size <= MAX_DOCUMENTS), "{sizes:?}");
    // Each batch is full or was collected for a second, except the first and the last ones.
    let most = start.elapsed().as_secs() + 10;
    assert!(sizes.len() as u64 <= most, "collected: {sizes:?}");
    rig.until(|rig| rig.health.borrow().detail.contains("waiting for document 600"))
        .await;
    board.documents([600, 601]);
    assert_eq!(numbers(&rig.next().await), [600], "a batch of one, without a delay");
}

/// Checks the contract: the health must be DELAYED within ten seconds of the cause.
#[tokio::test(start_paused = true)]
async fn health_is_delayed_within_ten_seconds_without_an_answer() {
    // The kernel accepts the connection, and no response ever comes.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = rig(
        &format!("http://{}", silent.local_addr().unwrap()),
        FeedStart::Latest,
        None,
    );
    let start = Instant::now();
    let failing = rig
        .health
        .wait_for(|report| report.detail.starts_with("requests have been failing since"));
    let report = tokio::select! {
        batch = rig.feed.next() => panic!("{batch:?} without an answer"),
        report = failing => report.unwrap().clone(),
    };
    assert_eq!(report.health, FeedHealth::Delayed);
    assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn zkillboards_own_host() {
    for (url, expected) in [
        ("https://r2z2.zkillboard.com", true),
        ("https://ZKillboard.com/x", true),
        ("https://R2Z2.zkillboard.com.:443/x", true),
        ("https://user@zkillboard.com", true),
        ("https://notzkillboard.com", false),
        ("https://zkillboard.com.example.com", false),
        ("http://127.0.0.1:8080", false),
        ("nonsense", false),
    ] {
        assert_eq!(is_zkillboard(url), expected, "{url}");
    }
}

#[tokio::test]
async fn state_that_cannot_be_used_is_an_error() {
    let (sender, _) = health::channel();
    let state = Some(Bytes::from_static(b"{}"));
    let error = R2z2::new(settings("http://127.0.0.1:1", FeedStart::Latest), state, sender);
    assert!(matches!(error.err(), Some(StateError::Malformed { .. })));
}
