//! Every number the ingestor shows, named in one place. Units are in the names; counters count from the start.

use std::sync::OnceLock;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{
    enrich, feed, grpc, health,
    log::{self, LogStatus, NewBody, NewEvent},
};

/// Documents that could not be used when they came.
const REJECTS: &str = "killfeed_rejects_total";
/// Documents that said nothing new.
const DUPLICATES: &str = "killfeed_duplicates_total";
/// Events appended, by kind.
const LOGGED: &str = "killfeed_logged_total";
/// Their bytes.
const LOGGED_BYTES: &str = "killfeed_logged_bytes_total";
/// Seconds from upload to log.
const UPLOAD_TO_LOG: &str = "killfeed_upload_to_log_seconds";
/// Times the pipeline waited for the log.
const LOG_WAITS: &str = "killfeed_log_waits_total";

/// What the other modules count; each names its own numbers where it counts them, and all of them are described here.
const COUNTERS: &[(&str, &str)] = &[
    (
        REJECTS,
        "Documents that were unreadable when they arrived; they are fetched again",
    ),
    (
        DUPLICATES,
        "Documents of killmails that were already logged without changes",
    ),
    (LOGGED, "Events appended to the log, by kind: killmail, update, gap"),
    (LOGGED_BYTES, "Bytes of events appended to the log"),
    (LOG_WAITS, "Appends and lookups that had to wait for the log's disk"),
    (log::metrics::APPENDED, "Records made durable"),
    (log::metrics::REMOVED, "Records removed after the retention"),
    (
        log::metrics::DISK_FULL,
        "Appends delayed because the disk's reserve was reached",
    ),
    (
        log::metrics::REOPENED,
        "Times the log was reopened after a disk failure",
    ),
    (grpc::EVENTS, "Events sent on all streams, by token"),
    (grpc::ENDED, "Streams that ended, by reason"),
    (grpc::CALLS, "Unary calls, by method and status"),
    (
        grpc::CONNECTIONS_ENDED,
        "gRPC connections that were refused or closed, by reason",
    ),
];
const GAUGES: &[(&str, &str)] = &[
    (
        log::metrics::RETENTION_PAUSED,
        "1 while retention is paused because the clock is not trusted",
    ),
    (
        log::metrics::WINDOW_BYTES,
        "Bytes of memory used by the newest records, as counted against the limit",
    ),
    (
        log::metrics::TURN,
        "1 while this ingestor is the leader of a shared log, which polls zKillboard and writes",
    ),
    (grpc::STREAMS, "Open streams, by token"),
    (health::HEALTH, "Health of the feed: 0 OK, 1 DELAYED, 2 DOWN"),
    (grpc::CONNECTIONS, "Open gRPC connections"),
    (
        grpc::LAG_EVENTS,
        "Log events that the slowest stream has not processed yet, by token",
    ),
    (
        grpc::LAG,
        "Seconds between the record that the slowest stream has reached and the head, by token",
    ),
    (log::metrics::HEAD, "Offset of the newest record"),
    (log::metrics::HEAD_AGE, "Seconds since the newest record was appended"),
    (
        log::metrics::OLDEST_AGE,
        "Seconds since the oldest record in the log was appended",
    ),
    (log::metrics::KILLMAILS, "Distinct killmails in the log"),
];
const HISTOGRAMS: &[(&str, &str)] = &[
    (
        UPLOAD_TO_LOG,
        "Seconds from zKillboard's upload of a new killmail to its append to the log",
    ),
    (
        log::metrics::APPEND_SECONDS,
        "Seconds from the start of an append until it is durable",
    ),
];

/// Seconds from zKillboard's upload to the log: at the head it is the poll interval, after an outage hours.
const UPLOAD_TO_LOG_BUCKETS: [f64; 10] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0, 3_600.0, 86_400.0];

/// An append waits for the disk: a fraction of a millisecond on a good one, seconds on one that is ill.
const APPEND_BUCKETS: [f64; 10] = [0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// Which histogram has which buckets.
const BUCKETS: [(&str, &[f64]); 2] = [
    (UPLOAD_TO_LOG, &UPLOAD_TO_LOG_BUCKETS),
    (log::metrics::APPEND_SECONDS, &APPEND_BUCKETS),
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
    for (name, what) in COUNTERS.iter().chain(feed::metrics::COUNTERS).chain(enrich::COUNTERS) {
        describe_counter!(*name, *what);
    }
    for (name, what) in GAUGES.iter().chain(feed::metrics::GAUGES).chain(enrich::GAUGES) {
        describe_gauge!(*name, *what);
    }
    for (name, what) in HISTOGRAMS {
        describe_histogram!(*name, *what);
    }
}

/// Where the log begins and ends, at `now_ms`.
pub(crate) fn log(status: &LogStatus, now_ms: i64) {
    // What is counted here, and milliseconds of any two dates, fit a double exactly.
    let age = |since_ms: i64| (now_ms - since_ms).max(0) as f64 / 1_000.0;
    gauge!(log::metrics::HEAD).set(status.head.offset.0 as f64);
    gauge!(log::metrics::KILLMAILS).set(status.killmails as f64);
    gauge!(log::metrics::OLDEST_AGE).set(status.earliest_ms.map_or(0.0, age));
    // An empty log has a head of no age.
    gauge!(log::metrics::HEAD_AGE).set(status.earliest_ms.map_or(0.0, |_| age(status.head.ingested_ms)));
}

/// It could not be used.
pub(crate) fn reject() {
    counter!(REJECTS).increment(1);
}

/// It said nothing new.
pub(crate) fn duplicate() {
    counter!(DUPLICATES).increment(1);
}

/// The log did not take something at once.
pub(crate) fn log_wait() {
    counter!(LOG_WAITS).increment(1);
}

/// These events are about to be appended. `uploads_ms`: zKillboard's upload times of the new killmails among them.
pub(crate) fn logged(events: &[NewEvent], uploads_ms: &[i64], now_ms: i64) {
    for event in events {
        let (kind, bytes) = match &event.body {
            NewBody::Killmail { revision: 0, bytes, .. } => ("killmail", bytes),
            NewBody::Killmail { bytes, .. } => ("update", bytes),
            NewBody::Gap(bytes) => ("gap", bytes),
        };
        counter!(LOGGED, "kind" => kind).increment(1);
        counter!(LOGGED_BYTES).increment(bytes.len() as u64);
    }
    for upload in uploads_ms {
        // Milliseconds of any two dates fit a double exactly.
        histogram!(UPLOAD_TO_LOG).record((now_ms - upload).max(0) as f64 / 1_000.0);
    }
}
