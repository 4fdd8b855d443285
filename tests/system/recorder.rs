//! Records the events of clients for the validator, which compares them with the final log.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use killfeed::{
    client::{Client, Event, EventKind, Events, FollowError, FollowOptions, Start},
    v1::{
        Gap, GapReason, Killmail, StreamKillmailsRequest, StreamKillmailsResponse,
        killmail_service_client::KillmailServiceClient, stream_killmails_request, stream_killmails_response,
    },
};
use killfeed_support::validator::{self, Appended, Observed, Received, RunHistory, Stream, offset, validate};
use prost::Message as _;
use tokio::time::Instant;

use crate::harness::{TEST_TIMEOUT, TestIngestor};

/// Stamps recorded events with the time since the start of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorder(Instant);

impl Recorder {
    pub(crate) fn new() -> Self {
        Self::under_way(Duration::ZERO)
    }

    /// Creates a recorder of a run that started this long ago.
    pub(crate) fn under_way(ago: Duration) -> Self {
        Self(Instant::now() - ago)
    }

    pub(crate) fn now(self) -> Duration {
        self.0.elapsed()
    }

    fn received(self, cursor: &str, seen: Observed) -> Received {
        Received {
            at: self.now(),
            offset: offset(cursor),
            seen,
        }
    }

    pub(crate) fn event(self, event: &Event) -> Received {
        let seen = match &event.kind {
            EventKind::Killmail(killmail) => Observed::Record(killmail_record(killmail)),
            EventKind::Gap(gap) => gap_seen(gap),
            EventKind::Progress(_) => Observed::Progress,
        };
        self.received(&event.position.cursor, seen)
    }

    pub(crate) fn response(self, response: &StreamKillmailsResponse) -> Received {
        use stream_killmails_response::Event;
        let seen = match response.event.as_ref().expect("every response carries an event") {
            Event::Killmail(killmail) => Observed::Record(killmail_record(killmail)),
            Event::Gap(gap) => gap_seen(gap),
            Event::Progress(_) => Observed::Progress,
        };
        self.received(&response.cursor, seen)
    }
}

fn killmail_record(killmail: &Killmail) -> Appended {
    let time = killmail.ingested_time.expect("every killmail was ingested");
    Appended {
        ingested_ms: time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000,
        killmail: Some((killmail.killmail_id, killmail.revision)),
        digest: digest(&killmail.encode_to_vec()),
    }
}

fn gap_seen(gap: &Gap) -> Observed {
    if gap.reason() == GapReason::CursorExpired {
        return Observed::Expired;
    }
    Observed::Record(Appended {
        ingested_ms: 0,
        killmail: None,
        digest: digest(&gap.encode_to_vec()),
    })
}

/// Returns the digest of a record's encoded bytes.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// Returns a stream without events, for the validator's history.
pub(crate) fn begun(start: validator::Start, wanted: Option<BTreeSet<u64>>, updates: bool) -> Stream {
    Stream {
        start,
        wanted,
        updates,
        events: Vec::new(),
        to_the_end: false,
    }
}

/// Checks the [`Events`] of the client library with the validator.
///
/// Dropping it checks that the received events are consistent; [`CheckedEvents::holds_against`] compares them with the
/// whole log.
pub(crate) struct CheckedEvents {
    events: Events,
    recorder: Recorder,
    stream: Stream,
}

impl CheckedEvents {
    pub(crate) fn new(client: &Client, follow: FollowOptions) -> Self {
        let start = match &follow.start {
            Start::Latest => validator::Start::Latest,
            Start::Earliest => validator::Start::Earliest { trimmed: 0 },
            Start::After(position) => validator::Start::After(offset(&position.cursor)),
            Start::Since(time) => validator::Start::Since(time.seconds * 1_000),
        };
        let mut stream = begun(start, None, follow.include_updates);
        if !follow.filter.is_empty() {
            // The tests of the filter check the matches; this check covers only the received events.
            stream.wanted = Some(BTreeSet::new());
        }
        Self {
            events: client.follow(follow),
            recorder: Recorder::new(),
            stream,
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Event, FollowError> {
        let event = self.events.next().await?;
        self.stream.events.push(self.recorder.event(&event));
        Ok(event)
    }

    /// Checks all seven guarantees against the log as it is now, which this stream has read to its end.
    pub(crate) async fn holds_against(&self, ingestor: &TestIngestor) {
        self.holds_in(whole_log(ingestor).await);
    }

    /// Checks all seven guarantees against a log read in pieces, around the removal of records.
    pub(crate) fn holds_in(&self, mut history: RunHistory) {
        let stream = Stream {
            to_the_end: self.stream.wanted.is_none(),
            ..self.stream.clone()
        };
        history.clients.push(validator::Client {
            name: "the client".into(),
            streams: vec![stream],
        });
        validate(&history);
    }
}

impl Drop for CheckedEvents {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut history = RunHistory {
            // The recorder does not know what retention removed.
            trimmed: u64::MAX,
            clients: vec![validator::Client {
                name: "a checked client".into(),
                streams: vec![self.stream.clone()],
            }],
            ..RunHistory::default()
        };
        history.learn_log();
        validate(&history);
    }
}

/// A source of events, checked or not.
pub(crate) trait NextEvent {
    async fn next_event(&mut self) -> Result<Event, FollowError>;
}

impl NextEvent for Events {
    async fn next_event(&mut self) -> Result<Event, FollowError> {
        self.next().await
    }
}

impl NextEvent for CheckedEvents {
    async fn next_event(&mut self) -> Result<Event, FollowError> {
        self.next().await
    }
}

/// Returns a history without clients, with all records of the log up to its head.
pub(crate) async fn whole_log(ingestor: &TestIngestor) -> RunHistory {
    let status = ingestor.status().await;
    let mut history = RunHistory {
        trimmed: offset(&status.earliest_cursor),
        ..RunHistory::default()
    };
    let head = offset(&status.head_cursor);
    let mut client = KillmailServiceClient::connect(ingestor.url()).await.unwrap();
    let request = StreamKillmailsRequest {
        start: Some(stream_killmails_request::Start::AfterCursor(status.earliest_cursor)),
        include_updates: true,
        ..Default::default()
    };
    let mut stream = client.stream_killmails(request).await.unwrap().into_inner();
    let recorder = Recorder::new();
    loop {
        let next = tokio::time::timeout(TEST_TIMEOUT, stream.message())
            .await
            .expect("an event comes in time");
        let received = recorder.response(&next.unwrap().expect("the stream has no end"));
        let at = received.offset;
        if let Observed::Record(record) = received.seen {
            history.log.insert(at, record);
        }
        if at >= head {
            return history;
        }
    }
}
