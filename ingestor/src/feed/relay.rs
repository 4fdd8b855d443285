//! Another ingestor as the source: its log is kept here byte for byte, under its log id and at its offsets, so that a cursor of the
//! one is valid at the other.
//!
//! Nothing is parsed, enriched or told apart here; that was done upstream. What this module decides is whether the upstream's log is
//! the continuation of ours, and what of a stream may be stored.

mod lineage;
mod state;
mod upstream;

#[cfg(test)]
mod tests;

use std::time::Duration;

use ::metrics::{counter, gauge};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use killfeed::{
    backoff::Backoff,
    client::{BuildError, Client},
    v1::FeedHealth,
    wire::ReceivedEvent,
};
use killfeed_service::clock::Clock;
use killfeed_service::trace::Traces;
use tokio::{sync::watch, time::Instant};

pub use self::lineage::LogPosition;
use self::{
    lineage::{LineageMatch, RelayReader, evaluate},
    state::RelayState,
    upstream::{UpstreamError, UpstreamStatus},
};
use super::{Batch, DocumentOutcome, Feed, FeedItem, metrics, state::StateError};
use crate::health::FeedReport;

/// At most so many records become durable together.
const MAX_RECORDS: usize = 512;
/// Or so many bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The upstream sends a Progress every 15 s ±10 %: silent for three of them, it is gone, whatever TCP believes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// Its feed's health is asked for this often; the contract gives 10 s to say that something is wrong.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// Our own health is looked at this often while nothing comes.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// The delay before the next attempt to reach the upstream.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
/// An upstream of another history may be put right, but not within seconds.
const UNRELATED_RETRY_DELAY: Duration = Duration::from_secs(60);
/// A replica whose upstream is away serves what it holds, after giving it this long to answer.
const ALONE_AFTER: Duration = Duration::from_secs(10);
/// A failure shorter than this is a reconnect.
const FAILING_AFTER: Duration = Duration::from_secs(5);
/// The contract: DOWN after 60 s without any good answer.
const DOWN_AFTER: Duration = Duration::from_secs(60);

/// Whom to follow, and how to get in.
#[derive(Clone, PartialEq)]
pub struct RelaySettings {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// Bearer token.
    pub token: Option<String>,
    /// PEM of the CA that signed the upstream's certificate.
    pub ca: Option<Vec<u8>>,
    /// PEM of our own certificate and key, for an upstream that asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for RelaySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "set");
        let fields = (&self.url, token);
        f.debug_tuple("RelaySettings").field(&fields).finish()
    }
}

/// Why no relay can be made.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The settings.
    #[error(
        "INGESTOR_SOURCE=relay, INGESTOR_RELAY_TOKEN, INGESTOR_RELAY_CA, INGESTOR_RELAY_CERT or INGESTOR_RELAY_KEY: {0}"
    )]
    Client(#[from] BuildError),
    /// The stored state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The upstream was asked, and will not do.
    #[error("{0}")]
    Upstream(String),
}

/// A source that follows another ingestor.
pub struct Relay {
    url: String,
    client: Client,
    state: RelayState,
    follower: RelayReader,
    link: LinkState,
    pending: Vec<FeedItem>,
    pending_bytes: usize,
    /// The upstream's feed, as it said last.
    upstream: FeedReport,
    caught_up: bool,
    /// When the newest record was appended upstream, in milliseconds since 1970.
    newest_ms: i64,
    ready: watch::Sender<bool>,
    health: watch::Sender<FeedReport>,
    started: Instant,
    last_good: Option<Instant>,
    /// Since when nothing good came, and why.
    failing: Option<Failing>,
    backoff: Backoff,
}

struct Failing {
    since: Instant,
    reason: String,
    /// It answers, but is of another history.
    foreign: bool,
}

type ConnectFuture = BoxFuture<'static, Result<(UpstreamStatus, Stream), UpstreamError>>;
type Stream = tonic::Streaming<ReceivedEvent>;

enum LinkState {
    Down { until: Instant },
    Opening(ConnectFuture),
    Up(Box<Up>),
}

struct Up {
    stream: Stream,
    heard: Instant,
    asked: Instant,
    asking: Option<BoxFuture<'static, Result<UpstreamStatus, UpstreamError>>>,
}

impl Relay {
    /// `place`: where the log is. `state`: as [`Feed::ack`] gave it last, or another source's. Nothing is connected yet.
    pub fn new(
        settings: &RelaySettings,
        place: LogPosition,
        state: Option<Bytes>,
        health: watch::Sender<FeedReport>,
        traces: &Traces,
    ) -> Result<Self, RelayError> {
        let name = concat!("killfeed-ingestor/", env!("CARGO_PKG_VERSION"), " relay");
        let mut client = Client::builder()
            .endpoint(&settings.url)
            .client_name(name)
            .trace(traces.calls());
        if let Some(token) = &settings.token {
            client = client.token(token);
        }
        if let Some(pem) = &settings.ca {
            client = client.ca_certificate(pem.clone());
        }
        if let Some((certificate, key)) = &settings.identity {
            client = client.client_certificate(certificate.clone(), key.clone());
        }
        let now = Instant::now();
        Ok(Self {
            url: settings.url.clone(),
            client: client.build()?,
            state: RelayState::restored(state.as_deref())?,
            follower: RelayReader::new(place),
            link: LinkState::Down { until: now },
            pending: Vec::new(),
            pending_bytes: 0,
            upstream: FeedReport::default(),
            caught_up: false,
            newest_ms: 0,
            ready: watch::Sender::new(false),
            health,
            started: now,
            last_good: None,
            failing: None,
            backoff: BACKOFF,
        })
    }

    /// Turns true once the log holds what the upstream's holds, and stays so; also once it is clear that the upstream is away and
    /// the log holds something.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Asks the upstream once whether it can be followed at all. An upstream that is away is no reason not to start.
    pub async fn check_upstream(&self, patience: Duration) -> Result<(), RelayError> {
        let asked = tokio::time::timeout(patience, upstream::describe(&self.client));
        match asked.await {
            Ok(Ok(upstream)) => match evaluate(self.follower.place(), &upstream.history) {
                LineageMatch::Unrelated(reason) => Err(RelayError::Upstream(self.foreign(&reason))),
                LineageMatch::Same | LineageMatch::Continuation => Ok(()),
            },
            Ok(Err(trouble @ UpstreamError::Rejected(_))) => Err(RelayError::Upstream(format!(
                "INGESTOR_RELAY_TOKEN: the ingestor at {} rejected the token: {trouble}",
                self.url
            ))),
            Ok(Err(trouble)) => {
                tracing::warn!(url = self.url, %trouble, "upstream ingestor is not responding yet");
                Ok(())
            }
            Err(_) => {
                tracing::warn!(url = self.url, ?patience, "upstream ingestor is not responding yet");
                Ok(())
            }
        }
    }

    fn foreign(&self, reason: &str) -> String {
        format!(
            "cannot follow the ingestor at {} with this data folder: {reason}; move the folder away to start with an empty one, or start this ingestor without INGESTOR_SOURCE=relay",
            self.url
        )
    }

    fn begin_opening(&mut self) {
        let (client, place) = (self.client.clone(), self.follower.place().clone());
        self.link = LinkState::Opening(Box::pin(async move {
            let upstream = upstream::describe(&client).await?;
            let cursor = match evaluate(&place, &upstream.history) {
                LineageMatch::Unrelated(reason) => return Err(UpstreamError::Unrelated(reason)),
                LineageMatch::Same | LineageMatch::Continuation => place.cursor_in(&upstream.history),
            };
            let stream = client.receive(upstream::request(cursor)).await;
            let stream = stream.map_err(|status| trouble(&status))?;
            Ok((upstream, stream))
        }));
    }

    fn opened(&mut self, upstream: UpstreamStatus, stream: Stream) {
        tracing::info!(url = self.url, log_id = %upstream.history.id, after = self.follower.place().head.0, "following upstream");
        let now = Instant::now();
        if evaluate(self.follower.place(), &upstream.history) == LineageMatch::Continuation {
            self.follower.take_over(&upstream.history);
            self.pending.push(FeedItem::History(upstream.history.clone()));
        }
        self.follower.start(upstream.earliest_ms);
        self.upstream = upstream.feed;
        self.good(now);
        self.link = LinkState::Up(Box::new(Up {
            stream,
            heard: now,
            asked: now,
            asking: None,
        }));
    }

    fn good(&mut self, now: Instant) {
        self.last_good = Some(now);
        self.failing = None;
    }

    fn failed(&mut self, trouble: &UpstreamError) {
        let now = Instant::now();
        let reason = match trouble {
            UpstreamError::Unrelated(reason) => self.foreign(reason),
            other => other.to_string(),
        };
        let delay = self.backoff.next_delay();
        let wait = match trouble {
            UpstreamError::Unrelated(_) => UNRELATED_RETRY_DELAY,
            _ => delay,
        };
        if self.backoff.failures() == 1 || matches!(trouble, UpstreamError::Unrelated(_)) {
            tracing::warn!(url = self.url, reason, "upstream connection lost, reconnecting");
        }
        self.failing = Some(Failing {
            since: self.failing.take().map_or(now, |failing| failing.since),
            reason,
            foreign: matches!(trouble, UpstreamError::Unrelated(_)),
        });
        self.caught_up = false;
        self.link = LinkState::Down { until: now + wait };
    }

    /// Takes in one event of the stream.
    fn take(&mut self, event: ReceivedEvent) -> Result<(), UpstreamError> {
        let now = Instant::now();
        self.good(now);
        self.backoff.reset();
        if let LinkState::Up(up) = &mut self.link {
            up.heard = now;
        }
        match self.follower.take(event).map_err(UpstreamError::Broken)? {
            lineage::RelayEvent::Record { record, sequence } => {
                counter!(metrics::DOCUMENTS).increment(1);
                self.state.saw(sequence);
                self.upstream.last_document = Some(Clock::system().now().wall);
                self.pending_bytes += record.len();
                self.newest_ms = record.ingested_ms;
                self.pending.push(FeedItem::Relayed(record));
            }
            lineage::RelayEvent::CaughtUp(health) => {
                self.caught_up = true;
                self.upstream.health = health;
            }
            lineage::RelayEvent::Behind => self.caught_up = false,
            lineage::RelayEvent::Nothing => {}
        }
        Ok(())
    }

    /// What there is to store, all of it that came so far.
    fn take_batch(&mut self) -> Option<Batch> {
        if self.pending.is_empty() {
            return None;
        }
        self.pending_bytes = 0;
        Some(Batch {
            items: std::mem::take(&mut self.pending),
        })
    }

    /// Waits until something happens, a second at most.
    async fn turn(&mut self) {
        let tick = Instant::now() + HEALTH_INTERVAL;
        match &mut self.link {
            LinkState::Down { until } => {
                let until = *until;
                tokio::time::sleep_until(until.min(tick)).await;
                if until <= Instant::now() {
                    self.begin_opening();
                }
            }
            LinkState::Opening(opening) => match tokio::time::timeout_at(tick, opening).await {
                Ok(Ok((upstream, stream))) => self.opened(upstream, stream),
                Ok(Err(trouble)) => self.failed(&trouble),
                Err(_) => {}
            },
            LinkState::Up(up) => {
                if up.asking.is_none() && up.asked.elapsed() >= STATUS_INTERVAL {
                    up.asked = Instant::now();
                    let client = self.client.clone();
                    up.asking = Some(Box::pin(async move { upstream::describe(&client).await }));
                }
                let asking = async {
                    match &mut up.asking {
                        Some(asking) => asking.await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    event = up.stream.message() => self.heard(event),
                    answer = asking => self.answered(answer),
                    () = tokio::time::sleep_until(tick) => {
                        if up.heard.elapsed() >= IDLE_TIMEOUT {
                            self.failed(&UpstreamError::Unavailable(format!("no event or heartbeat arrived for {} s", IDLE_TIMEOUT.as_secs())));
                        }
                    }
                }
            }
        }
    }

    /// One event, and what is there already behind it.
    fn heard(&mut self, mut event: Result<Option<ReceivedEvent>, tonic::Status>) {
        loop {
            let taken = match event {
                Ok(Some(event)) => self.take(event),
                Ok(None) => Err(UpstreamError::Unavailable("the stream ended without a status".into())),
                Err(status) => Err(trouble(&status)),
            };
            if let Err(trouble) = taken {
                return self.failed(&trouble);
            }
            if self.pending.len() >= MAX_RECORDS || self.pending_bytes >= MAX_BYTES {
                return;
            }
            let LinkState::Up(up) = &mut self.link else { return };
            match up.stream.message().now_or_never() {
                Some(next) => event = next,
                None => return,
            }
        }
    }

    fn answered(&mut self, answer: Result<UpstreamStatus, UpstreamError>) {
        if let LinkState::Up(up) = &mut self.link {
            up.asking = None;
        }
        match answer {
            Ok(upstream) if upstream.history.id != self.follower.place().id => {
                // It was promoted, or follows another one now: meet it anew.
                self.failed(&UpstreamError::Unavailable(format!(
                    "its log now has the id {}",
                    upstream.history.id
                )));
            }
            Ok(upstream) => self.upstream = upstream.feed,
            // The stream tells whether it is there.
            Err(trouble) => tracing::debug!(url = self.url, %trouble, "reading the upstream's feed health failed"),
        }
    }

    /// Says how it goes.
    fn report(&mut self) {
        let now = Instant::now();
        let lost = self.failing.as_ref();
        let alone = lost.is_some_and(|failing| now.duration_since(failing.since) >= ALONE_AFTER)
            && self.follower.place().head.0 > 0;
        if (self.caught_up && self.pending.is_empty()) || alone {
            self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        }
        let report = self.judge_health(now);
        gauge!(metrics::POSITION).set(report.upstream_sequence as f64);
        let behind = !self.caught_up && self.newest_ms > 0;
        let lag = if behind {
            Clock::system().now().wall_ms().saturating_sub(self.newest_ms)
        } else {
            0
        };
        // Milliseconds of any two dates fit a double exactly.
        gauge!(metrics::LAG).set(lag.max(0) as f64 / 1_000.0);
        report.publish(&self.health);
    }

    fn judge_health(&self, now: Instant) -> FeedReport {
        let url = &self.url;
        let (health, detail) = match &self.failing {
            Some(Failing { since, reason, foreign }) => {
                let silent = now.duration_since(self.last_good.unwrap_or(self.started));
                if *foreign {
                    (FeedHealth::Down, reason.clone())
                } else if silent >= DOWN_AFTER {
                    (
                        FeedHealth::Down,
                        format!("no usable response from {url} for a minute or more: {reason}"),
                    )
                } else if now.duration_since(*since) >= FAILING_AFTER || self.last_good.is_none() {
                    (FeedHealth::Delayed, format!("{url} is not responding: {reason}"))
                } else {
                    (self.upstream.health, format!("reconnecting to {url}"))
                }
            }
            None if self.last_good.is_none() => (FeedHealth::Delayed, format!("starting: connecting to {url}")),
            None if !self.caught_up => {
                let at = self.follower.place().head;
                (FeedHealth::Delayed, format!("catching up with {url}: at offset {at}"))
            }
            None => (
                self.upstream.health,
                format!("following {url}: {}", self.upstream.detail),
            ),
        };
        FeedReport {
            health,
            detail,
            last_document: self.upstream.last_document,
            upstream_sequence: self.upstream.upstream_sequence.max(self.state.highest_sequence()),
        }
    }
}

/// A status of gRPC, for a person.
fn trouble(status: &tonic::Status) -> UpstreamError {
    let words = match std::error::Error::source(status) {
        Some(cause) => format!("{}: {cause}", status.message()),
        None => status.message().to_owned(),
    };
    match status.code() {
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => UpstreamError::Rejected(words),
        code => UpstreamError::Unavailable(format!("{code:?}: {words}")),
    }
}

#[async_trait]
impl Feed for Relay {
    async fn next(&mut self) -> Batch {
        loop {
            self.report();
            if let Some(batch) = self.take_batch() {
                return batch;
            }
            self.turn().await;
        }
    }

    fn ack(&mut self, _verdicts: &[(u64, DocumentOutcome)]) -> Bytes {
        self.state.to_bytes()
    }
}
