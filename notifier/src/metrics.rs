//! Every number the notifier shows, named in one place. Units are in the names; counters count from the start.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{database::PostState, discord, outbox::EnqueueStats, sink::SendOutcome};

const KILLMAILS: &str = "notifier_killmails_total";
const GAPS: &str = "notifier_gaps_total";
const TRIES: &str = "notifier_send_tries_total";
const NOT_POSTED: &str = "notifier_not_posted_total";
const DEAD_LETTERS: &str = "notifier_dead_letters_total";
const KILL_TO_POST: &str = "notifier_kill_to_post_seconds";
const WORKERS: &str = "notifier_busy_destinations";
const SUBSCRIPTIONS: &str = "notifier_active_subscriptions";
const CONNECTED: &str = "notifier_stream_open";
const WAITING: &str = "notifier_waiting_killmails";
const OLDEST: &str = "notifier_oldest_waiting_seconds";
const SUSPENDED: &str = "notifier_suspended_destinations";
const MATCH: &str = "notifier_match_seconds";
const LOG_TO_POST: &str = "notifier_log_to_post_seconds";
const STREAM_LAG: &str = "notifier_stream_lag_seconds";

/// From the kill to the post: most of it is zKillboard's; after an outage hours.
const KILL_TO_POST_BUCKETS: [f64; 10] = [5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0];

/// From the ingestor's log to the post: what is ours of it.
const LOG_TO_POST_BUCKETS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0, 3_600.0];
/// One killmail against all subscriptions: microseconds for a few, milliseconds for very many.
const MATCH_BUCKETS: [f64; 9] = [0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1];

/// Which histogram has which buckets.
const BUCKETS: [(&str, &[f64]); 3] = [
    (KILL_TO_POST, &KILL_TO_POST_BUCKETS),
    (LOG_TO_POST, &LOG_TO_POST_BUCKETS),
    (MATCH, &MATCH_BUCKETS),
];

/// The process's Prometheus recorder, installed at the first call.
pub fn install() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let make = || {
        let handle = killfeed_service::metrics::install(&BUCKETS);
        describe();
        handle
    };
    HANDLE.get_or_init(make).clone()
}

fn describe() {
    describe_counter!(
        KILLMAILS,
        "Killmails from the stream, by outcome: queued, edits, too_old (each per destination), repeated"
    );
    describe_counter!(GAPS, "Gaps in the stream: killmails that may be missing");
    describe_counter!(
        TRIES,
        "Attempts to send a message, by outcome: sent, rate_limited, refused, unauthorized, unknown"
    );
    describe_counter!(
        NOT_POSTED,
        "Queued killmails that were not posted, by reason: too_old, dropped, dead"
    );
    describe_counter!(
        DEAD_LETTERS,
        "Dead letters, by reason: dead (Discord rejects them), unknown (posted or not, the outcome is unknown)"
    );
    describe_histogram!(KILL_TO_POST, "Seconds from the kill to its post");
    describe_histogram!(LOG_TO_POST, "Seconds from the ingestor's log to the post");
    describe_histogram!(MATCH, "Seconds to match one killmail against all subscriptions");
    describe_gauge!(
        STREAM_LAG,
        "Seconds between the ingestor's log and this notifier, for the last event"
    );
    describe_gauge!(
        OLDEST,
        "Age in seconds of the oldest queued killmail of a destination that is not suspended"
    );
    describe_gauge!(SUSPENDED, "Suspended or retired destinations");
    describe_gauge!(
        WORKERS,
        "Destinations with queued killmails now or within the last minute"
    );
    describe_gauge!(SUBSCRIPTIONS, "Subscriptions that can match");
    describe_gauge!(CONNECTED, "1 while the stream from an ingestor is open");
    describe_gauge!(WAITING, "Queued killmails, over all destinations");
    describe_gauge!(discord::METRIC_SHARDS_READY, "Shards connected to Discord's gateway");
    describe_gauge!(discord::METRIC_GUILDS, "Guilds the bot is in, on these shards");
    describe_counter!(
        discord::METRIC_INTERACTIONS,
        "Interactions, by outcome: answered, failed, foreign (another process answered it)"
    );
    describe_counter!(
        discord::METRIC_DROPPED,
        "Interactions dropped because the queue was full"
    );
    describe_counter!(
        discord::METRIC_EVENTS_DROPPED,
        "Gateway events dropped because the queue was full"
    );
    describe_gauge!(
        discord::METRIC_PAUSED,
        "1 while sending to Discord is paused because too many requests failed"
    );
}

pub(crate) fn arrived(arrived: &EnqueueStats) {
    for (outcome, count) in [
        ("queued", arrived.queued),
        ("edits", arrived.edits),
        ("too_old", arrived.too_old),
        ("repeated", arrived.repeated),
    ] {
        counter!(KILLMAILS, "outcome" => outcome).increment(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

pub(crate) fn gap() {
    counter!(GAPS).increment(1);
}

pub(crate) fn tried(outcome: &SendOutcome) {
    let outcome = match outcome {
        SendOutcome::Sent { .. } => "sent",
        SendOutcome::RateLimited { .. } => "rate_limited",
        SendOutcome::Rejected { .. } => "refused",
        SendOutcome::Unauthorized => "unauthorized",
        SendOutcome::Unknown { .. } => "unknown",
    };
    counter!(TRIES, "outcome" => outcome).increment(1);
}

pub(crate) fn not_posted(state: PostState) {
    let reason = match state {
        PostState::TooOld => "too_old",
        PostState::Dead => "dead",
        _ => "dropped",
    };
    counter!(NOT_POSTED, "reason" => reason).increment(1);
}

pub(crate) fn dead_letters(state: PostState, count: usize) {
    let reason = match state {
        PostState::Unknown => "unknown",
        _ => "dead",
    };
    counter!(DEAD_LETTERS, "reason" => reason).increment(u64::try_from(count).unwrap_or(u64::MAX));
}

pub(crate) fn posted(after: Duration) {
    histogram!(KILL_TO_POST).record(after.as_secs_f64());
    let mut newest = newest_posts();
    if newest.len() == NEWEST_POSTS {
        newest.pop_front();
    }
    newest.push_back(after.as_secs_f64());
}

/// From the ingestor's log to the post.
pub(crate) fn posted_from_log(after: Duration) {
    histogram!(LOG_TO_POST).record(after.as_secs_f64());
}

/// A killmail was matched against all subscriptions.
pub(crate) fn matched(took: Duration) {
    histogram!(MATCH).record(took.as_secs_f64());
}

/// What came last was so old.
pub(crate) fn stream_lag(lag: Duration) {
    gauge!(STREAM_LAG).set(lag.as_secs_f64());
}

/// Seconds from kill to post of the newest posts, for people: they have no Prometheus.
pub(crate) fn kill_to_post() -> Vec<f64> {
    newest_posts().iter().copied().collect()
}

/// How many posts `/killfeed status` counts its median over.
const NEWEST_POSTS: usize = 1_000;

fn newest_posts() -> MutexGuard<'static, VecDeque<f64>> {
    static NEWEST: Mutex<VecDeque<f64>> = Mutex::new(VecDeque::new());
    // Numbers only: whatever a panic left is as good as before.
    NEWEST.lock().unwrap_or_else(PoisonError::into_inner)
}

// Gauges are floating-point numbers; what is counted here is far below what they hold exactly.
pub(crate) fn workers(count: usize) {
    gauge!(WORKERS).set(count as f64);
}

pub(crate) fn subscriptions(count: usize) {
    gauge!(SUBSCRIPTIONS).set(count as f64);
}

/// `oldest`: how long the one has waited that waits longest, where posts are taken.
pub(crate) fn waiting(count: usize, oldest: Duration, suspended: usize) {
    gauge!(WAITING).set(count as f64);
    gauge!(OLDEST).set(oldest.as_secs_f64());
    gauge!(SUSPENDED).set(suspended as f64);
}

pub(crate) fn connected(connected: bool) {
    gauge!(CONNECTED).set(if connected { 1.0 } else { 0.0 });
}
