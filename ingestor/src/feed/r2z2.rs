//! R2Z2, zKillboard's feed: the asynchronous edge around the walk (`walk.rs`), which decides everything.

use std::{future::Future, pin::Pin, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use killfeed::v1::GapReason;
use killfeed_service::clock::{self, Clock, Now};
use serde::Deserialize;
use tokio::sync::watch;

pub use super::state::StateError;
use super::{
    Batch, DocumentOutcome, Feed, FeedItem, FeedStart, FetchTiming, Millis,
    fetch::{Answered, Fetcher},
    health::{HealthTracker, WalkStatus},
    limiter::TokenBucket,
    metrics, source_state,
    state::FeedState,
    walk::{Action, Disposition, FetchAnswer, Walk},
};
use crate::health::FeedReport;

/// While catching up, documents are collected this long, so that their names can be looked up together.
const COLLECT_TIMEOUT: Millis = 1_000;
/// Or until there are this many.
const MAX_DOCUMENTS: usize = 200;
/// Or this many bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// The feed's health is looked at this often while it waits.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// zKillboard asks for at least this after a 404 at the head.
const ZKILLBOARD_POLL_INTERVAL: Duration = Duration::from_secs(6);

/// Validated settings.
#[derive(Debug, Clone)]
pub struct R2z2Settings {
    /// The base of `/ephemeral/...`.
    pub base_url: String,
    /// Where to begin while no state is stored.
    pub start: FeedStart,
    /// Wait after a 404 at the head.
    pub poll_interval: Duration,
    /// Requests a second at most, above 0.
    pub rate: f64,
    /// When a number that is missing below the head is asked for again, each counted from its first 404.
    pub hole_rechecks: Vec<Duration>,
    /// Name, version and contact.
    pub user_agent: String,
}

/// Whether the URL is of zKillboard's own host, where its rules hold whatever the settings say.
pub fn is_zkillboard(url: &str) -> bool {
    host_is(url, "zkillboard.com")
}

/// Whether the URL's host is `owner`'s: that domain or one below it, also where it ends with the root's dot.
pub fn host_is(url: &str, owner: &str) -> bool {
    let url = reqwest::Url::parse(url).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host.strip_suffix(owner)
        .is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

/// The feed.
pub struct R2z2 {
    walk: Walk,
    bucket: TokenBucket,
    fetcher: Fetcher,
    clock: SteadyClock,
    health: watch::Sender<FeedReport>,
    vitals: HealthTracker,
    poll_interval: Millis,
    pending: Pending,
    /// The document behind a hole, until its turn comes.
    held: Option<(u64, Bytes)>,
    /// When the documents were fetched that are not handed out yet, and (once they are) those of the last batch.
    fetched: Vec<FetchTiming>,
    handed: Vec<FetchTiming>,
    /// Kept here and not in the future of `next`, so that dropping that loses nothing.
    in_flight: Option<InFlight>,
    /// The state has to be stored now, documents or not.
    urgent: bool,
}

struct InFlight {
    /// A document's number, or sequence.json.
    asked: Option<u64>,
    begun: Millis,
    answer: Pin<Box<dyn Future<Output = Answered> + Send>>,
}

/// What will be handed out next.
#[derive(Default)]
struct Pending {
    items: Vec<FeedItem>,
    bytes: usize,
    /// By then at the latest.
    flush_at: Option<Millis>,
}

impl R2z2 {
    /// Silent for as long as `settled` says, too: what [`Feed::ack`] gave last in this process, and was perhaps never stored.
    pub fn with_ban_of(mut self, settled: &[u8]) -> Result<Self, StateError> {
        let told = source_state::to_r2z2(settled)?.ban;
        self.walk.state.ban = self.walk.state.ban.longer(told);
        Ok(self)
    }

    /// `state`: as [`Feed::ack`] gave it last. Nothing is asked of the network yet.
    pub fn new(
        settings: R2z2Settings,
        state: Option<Bytes>,
        health: watch::Sender<FeedReport>,
    ) -> Result<Self, StateError> {
        let clock = SteadyClock::start(Clock::system());
        let now = clock.now();
        let state = state.map_or_else(|| Ok(FeedState::default()), |bytes| source_state::to_r2z2(&bytes))?;
        let state = state.restored(now);
        let zkillboard = is_zkillboard(&settings.base_url);
        let poll_interval = if zkillboard {
            settings.poll_interval.max(ZKILLBOARD_POLL_INTERVAL)
        } else {
            settings.poll_interval
        };
        let bucket = TokenBucket::start(settings.rate, zkillboard, state.bucket, now);
        let fetcher = Fetcher::new(&settings.base_url, &settings.user_agent)
            .map_err(|error| StateError::Client(error.to_string()))?;
        Ok(Self {
            walk: Walk::new(state, settings.start, poll_interval, &settings.hole_rechecks),
            bucket,
            fetcher,
            clock,
            health,
            vitals: HealthTracker::new(now),
            poll_interval: Millis::try_from(poll_interval.as_millis()).unwrap_or(Millis::MAX / 4),
            pending: Pending::default(),
            held: None,
            fetched: Vec::new(),
            handed: Vec::new(),
            in_flight: None,
            urgent: false,
        })
    }

    /// Decides and starts what comes next; `Some` = wait until then, or until something is answered.
    fn step(&mut self) -> Option<Millis> {
        let now = self.clock.now();
        if self.in_flight.is_some() {
            return Some(Millis::MAX);
        }
        let (asked, again) = match self.walk.next(now) {
            Action::Report(gap) => {
                let reason = match gap.reason() {
                    GapReason::UpstreamExpired => "upstream_expired",
                    _ => "upstream_missing",
                };
                ::metrics::counter!(metrics::GAPS, "reason" => reason).increment(1);
                self.pending.items.push(FeedItem::Gap(gap));
                self.urgent = true;
                return None;
            }
            Action::WaitUntil(until) => {
                self.urgent |= !self.pending.items.is_empty();
                return Some(until);
            }
            Action::FetchHead => (None, true),
            Action::Fetch { number, again } => {
                if let Some((_, body)) = self.held.take_if(|(held, _)| *held == number) {
                    self.walk.apply(Some(number), FetchAnswer::Found, now, 0.0);
                    self.deliver(number, body, now);
                    return None;
                }
                (Some(number), again)
            }
        };
        if !self.bucket.take(now) {
            return Some(self.bucket.ready_at(now));
        }
        self.vitals.asked(now);
        let fetcher = self.fetcher.clone();
        self.in_flight = Some(InFlight {
            asked,
            begun: now,
            answer: match asked {
                None => Box::pin(fetcher.head()),
                Some(number) => Box::pin(fetcher.document(number, again)),
            },
        });
        None
    }

    /// Takes in an answer.
    fn answered(&mut self, (asked, begun): (Option<u64>, Millis), answered: Answered) {
        let now = self.clock.now();
        let Answered { answer, body, reason } = answered;
        ::metrics::counter!(metrics::REQUESTS, "outcome" => outcome(&answer)).increment(1);
        let name = asked.map_or("sequence.json".to_owned(), |number| format!("{number}.json"));
        match &answer {
            FetchAnswer::Banned { .. } => {
                ::metrics::counter!(metrics::BANS).increment(1);
                self.urgent = true;
                self.vitals.record_failure(reason);
            }
            FetchAnswer::Failed { .. } | FetchAnswer::Undecodable => {
                tracing::warn!(
                    file = name,
                    reason,
                    failures = self.walk.failures() + 1,
                    "feed request failed"
                );
                self.vitals.record_failure(format!("{name}: {reason}"));
            }
            FetchAnswer::Head(head) => {
                self.vitals.record_success(now);
                self.vitals.head(*head, now);
            }
            FetchAnswer::Found | FetchAnswer::Missing => self.vitals.record_success(now),
        }
        let missing = answer == FetchAnswer::Missing;
        let refused = matches!(answer, FetchAnswer::Banned { .. });
        let was_at_head = self.walk.is_at_head();
        let position = self.walk.state.next;
        let keep = self.walk.apply(asked, answer, now, fastrand::f64());
        if refused && let Some(until) = self.walk.state.ban.active(now) {
            // An operator may have to act: another program on this address may ask too much, or the contact is refused.
            tracing::error!(file = name, until = %super::timestamp(until), "banned by the feed's host, sending no requests");
        }
        if missing && self.walk.is_at_head() {
            self.vitals.at_head(now);
        }
        if let (Disposition::Deliver | Disposition::Hold, Some(sequence)) = (&keep, asked) {
            self.fetched.push(FetchTiming {
                sequence,
                begun: clock::from_ms(begun),
                ended: clock::from_ms(now),
            });
        }
        match (keep, asked) {
            (Disposition::Deliver, Some(number)) => {
                if position == Some(number) {
                    self.vitals.document(uploaded_at(&body), now);
                }
                self.deliver(number, body, now);
                self.urgent |= was_at_head;
            }
            (Disposition::Hold, Some(number)) => self.held = Some((number, body)),
            _ => {}
        }
        // The first position is stored before anything else: a crash must not begin at a later head.
        self.urgent |= position.is_none() && self.walk.state.next.is_some();
    }

    fn deliver(&mut self, number: u64, body: Bytes, now: Millis) {
        ::metrics::counter!(metrics::DOCUMENTS).increment(1);
        self.pending.flush_at.get_or_insert(now + COLLECT_TIMEOUT);
        self.pending.bytes += body.len();
        self.pending.items.push(FeedItem::Document { sequence: number, body });
    }

    /// What is due to be handed out.
    fn take_batch(&mut self) -> Option<Batch> {
        let due = self.urgent
            || self.pending.flush_at.is_some_and(|at| at <= self.clock.now())
            || self.pending.items.len() >= MAX_DOCUMENTS
            || self.pending.bytes >= MAX_BYTES;
        if !due {
            return None;
        }
        self.urgent = false;
        let Pending { items, .. } = std::mem::take(&mut self.pending);
        // What is held back until its turn comes stays here.
        let held = self.held.as_ref().map(|(number, _)| *number);
        let (waits, handed) = self.fetched.drain(..).partition(|one| Some(one.sequence) == held);
        (self.fetched, self.handed) = (waits, handed);
        Some(Batch { items })
    }

    /// Says how the feed is doing, to those who watch and in the metrics.
    fn report(&self) {
        let now = self.clock.now();
        let state = &self.walk.state;
        let next = state.next.unwrap_or(0);
        let standing = WalkStatus {
            next,
            banned_until: state.ban.active(now),
            waits_for: self.walk.waits_for(),
            searching: self.walk.is_searching(),
            poll_interval: self.poll_interval,
        };
        let (health, detail) = self.vitals.evaluate(now, &standing);
        let report = FeedReport {
            health,
            detail,
            last_document: self.vitals.last_document.map(clock::from_ms),
            upstream_sequence: next,
        };
        // Gauges are floats; numbers up to 2^53 are exact.
        ::metrics::gauge!(metrics::POSITION).set(next as f64);
        ::metrics::gauge!(metrics::BEHIND).set(state.known_head.saturating_add(1).saturating_sub(next) as f64);
        ::metrics::gauge!(metrics::HOLES_OPEN).set(state.holes.len() as f64);
        ::metrics::gauge!(metrics::LAG).set(self.vitals.lag(now, &standing) as f64 / 1000.0);
        report.publish(&self.health);
    }
}

#[async_trait]
impl Feed for R2z2 {
    async fn next(&mut self) -> Batch {
        loop {
            // What has to be stored is said only after: who reads that we are banned may trust that a kill does not undo it.
            if let Some(batch) = self.take_batch() {
                return batch;
            }
            self.report();
            let Some(until) = self.step() else { continue };
            if self.urgent {
                continue;
            }
            let until = self.pending.flush_at.map_or(until, |flush_at| flush_at.min(until));
            let pause =
                Duration::from_millis(u64::try_from(until - self.clock.now()).unwrap_or(0)).min(HEALTH_INTERVAL);
            let Some(InFlight { asked, begun, answer }) = &mut self.in_flight else {
                tokio::time::sleep(pause).await;
                continue;
            };
            let asked = (*asked, *begun);
            tokio::select! {
                answered = answer => {
                    self.in_flight = None;
                    self.answered(asked, answered);
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn ack(&mut self, verdicts: &[(u64, DocumentOutcome)]) -> Bytes {
        let placeholders = verdicts
            .iter()
            .filter(|(_, verdict)| *verdict == DocumentOutcome::Placeholder)
            .count();
        ::metrics::counter!(metrics::PLACEHOLDERS).increment(placeholders as u64);
        self.walk.settle(verdicts, self.clock.now());
        self.walk.state.bucket = self.bucket.save();
        self.walk.state.to_bytes()
    }

    fn fetched(&mut self) -> Vec<FetchTiming> {
        std::mem::take(&mut self.handed)
    }
}

/// The wall clock at the start, moved on by the time since boot: a changed wall clock neither shortens nor prolongs a ban.
pub(super) struct SteadyClock {
    clock: Clock,
    start: Now,
}

impl SteadyClock {
    pub(super) fn start(clock: Clock) -> Self {
        let start = clock.now();
        Self { clock, start }
    }

    pub(super) fn now(&self) -> Millis {
        let passed = self.clock.now().up - self.start.up;
        self.start.wall_ms() + Millis::try_from(passed.as_millis()).unwrap_or(0)
    }
}

fn outcome(answer: &FetchAnswer) -> &'static str {
    match answer {
        FetchAnswer::Head(_) => "head",
        FetchAnswer::Found => "found",
        FetchAnswer::Missing => "missing",
        FetchAnswer::Undecodable => "garbled",
        FetchAnswer::Banned { .. } => "refused",
        FetchAnswer::Failed { .. } => "failed",
    }
}

/// Only for the lag; whether the document can be used is not decided here.
fn uploaded_at(body: &[u8]) -> Option<Millis> {
    #[derive(Deserialize)]
    struct Envelope {
        uploaded_at: Option<f64>,
    }
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    envelope.uploaded_at.map(|seconds| (seconds * 1000.0) as Millis)
}

#[cfg(test)]
mod tests;
