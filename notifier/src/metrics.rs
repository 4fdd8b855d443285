//! Every number the notifier shows, named in one place. Units are in the names; counters count from the start.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{database::PostState, discord, outbox::Arrived, sink::SendOutcome};

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

/// From the kill to the post: most of it is zKillboard's; after an outage hours.
const KILL_TO_POST_BUCKETS: [f64; 10] = [5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0];

/// The process's Prometheus recorder, installed at the first call. In a process that has another recorder already (the
/// demo runs both services) the numbers go there, and this one stays empty.
pub fn install() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let make = || {
        let buckets = Matcher::Full(KILL_TO_POST.into());
        // Fails for an empty list only.
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(buckets, &KILL_TO_POST_BUCKETS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::debug!("this process has a metrics recorder already");
        }
        describe();
        handle
    };
    HANDLE.get_or_init(make).clone()
}

fn describe() {
    describe_counter!(
        KILLMAILS,
        "Killmails of the stream, by outcome: queued, edits, too_old (each per destination), repeated"
    );
    describe_counter!(GAPS, "Gaps in the stream: killmails that may be missing");
    describe_counter!(
        TRIES,
        "Messages tried to send, by outcome: sent, rate_limited, refused, unauthorized, unknown"
    );
    describe_counter!(
        NOT_POSTED,
        "Queued killmails not posted, by reason: too_old, dropped, dead"
    );
    describe_counter!(
        DEAD_LETTERS,
        "Killmails given up, by reason: dead (Discord refuses them), unknown (nothing can tell whether they were posted)"
    );
    describe_histogram!(KILL_TO_POST, "Seconds from the kill to its post");
    describe_gauge!(WORKERS, "Destinations that something waits for");
    describe_gauge!(SUBSCRIPTIONS, "Subscriptions that can match");
    describe_gauge!(CONNECTED, "1 while the stream from an ingestor is open");
    describe_gauge!(WAITING, "Killmails waiting over all destinations");
    describe_gauge!(discord::METRIC_SHARDS_READY, "Shards connected to Discord's gateway");
    describe_gauge!(discord::METRIC_GUILDS, "Guilds the bot is in, on these shards");
    describe_counter!(
        discord::METRIC_INTERACTIONS,
        "Interactions, by outcome: answered, failed, foreign (another process answered it)"
    );
    describe_counter!(
        discord::METRIC_DROPPED,
        "Interactions not answered because too many came at once"
    );
    describe_counter!(discord::METRIC_EVENTS_DROPPED, "Gateway events nobody took in time");
    describe_gauge!(
        discord::METRIC_PAUSED,
        "1 while all sending to Discord waits for a global rate limit"
    );
}

pub(crate) fn arrived(arrived: &Arrived) {
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
        SendOutcome::Refused { .. } => "refused",
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

pub(crate) fn waiting(count: usize) {
    gauge!(WAITING).set(count as f64);
}

pub(crate) fn connected(connected: bool) {
    gauge!(CONNECTED).set(if connected { 1.0 } else { 0.0 });
}
