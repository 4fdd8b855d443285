//! Every number the ingestor shows, named in one place. Units are in the names; counters count from the start.

use std::sync::OnceLock;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::log::{NewBody, NewEvent};

const DOCUMENTS: &str = "killfeed_documents_total";
const DOCUMENT_BYTES: &str = "killfeed_log_bytes_total";
const LOGGED: &str = "killfeed_logged_total";
const UPLOAD_TO_LOG: &str = "killfeed_upload_to_log_seconds";
const LOG_WAITS: &str = "killfeed_log_waits_total";

/// Seconds from zKillboard's upload to the log: at the head it is the poll interval, after an outage hours.
const UPLOAD_TO_LOG_BUCKETS: [f64; 10] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0, 3_600.0, 86_400.0];

/// The process's Prometheus recorder, installed at the first call. In a process that has another recorder already (the
/// demo runs both services) the numbers go there, and this one stays empty.
pub fn install() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let make = || {
        let buckets = Matcher::Full(UPLOAD_TO_LOG.into());
        let builder = PrometheusBuilder::new();
        // Fails for an empty list only.
        let builder = match builder.set_buckets_for_metric(buckets, &UPLOAD_TO_LOG_BUCKETS) {
            Ok(builder) => builder,
            Err(_) => PrometheusBuilder::new(),
        };
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
        DOCUMENTS,
        "Documents read from the feed, by outcome: read, placeholder, reject, duplicate"
    );
    describe_counter!(LOGGED, "Events appended to the log, by kind: killmail, update, gap");
    describe_counter!(DOCUMENT_BYTES, "Bytes of events appended to the log");
    describe_counter!(LOG_WAITS, "Times an append or a look-up had to wait for the log's disk");
    describe_histogram!(
        UPLOAD_TO_LOG,
        "Seconds from zKillboard's upload of a new killmail to its log record"
    );
    describe_gauge!(crate::feed::HEALTH, "Feed health: 1 OK, 2 DELAYED, 3 DOWN");
    describe_gauge!(crate::feed::SEQUENCE, "The number the feed will ask for next");
}

/// A document came from the feed.
pub(crate) fn document() {
    counter!(DOCUMENTS, "outcome" => "read").increment(1);
}

/// It was a placeholder.
pub(crate) fn placeholder() {
    counter!(DOCUMENTS, "outcome" => "placeholder").increment(1);
}

/// It could not be used.
pub(crate) fn reject() {
    counter!(DOCUMENTS, "outcome" => "reject").increment(1);
}

/// It said nothing new.
pub(crate) fn duplicate() {
    counter!(DOCUMENTS, "outcome" => "duplicate").increment(1);
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
        counter!(DOCUMENT_BYTES).increment(bytes.len() as u64);
    }
    for upload in uploads_ms {
        // Milliseconds of any two dates fit a double exactly.
        histogram!(UPLOAD_TO_LOG).record((now_ms - upload).max(0) as f64 / 1_000.0);
    }
}
