//! Traces: the path of a killmail through all processes, and the calls between them.
//!
//! Both services send spans to an OpenTelemetry collector, if one is set; otherwise [`Traces`] is empty and costs a
//! comparison.
//!
//! No message carries a killmail's trace id. Every process derives it from the killmail's id and revision ([`ids`]), so
//! all processes join the same trace, in any order and after any number of restarts. The stream cannot carry it,
//! because all clients share its encoded bytes. Spans are recorded when they end, with their start and end times,
//! because the killmail of a document is known only after the document is fetched and parsed.

mod client_spans;
#[cfg(not(feature = "traces"))]
mod disabled;
#[cfg(feature = "traces")]
mod export;
pub mod ids;

use std::{path::Path, sync::Arc, time::SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
pub use opentelemetry::{KeyValue, trace::SpanKind};

use crate::clock::Clock;

#[cfg(not(feature = "traces"))]
use disabled::Exporter;
#[cfg(feature = "traces")]
use export::Exporter;

/// The address of the collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// An invalid setting, which prevents a connection to the collector.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value:?}: expected {expected}")]
pub struct Unusable {
    /// The environment variable.
    pub variable: &'static str,
    /// The value.
    pub value: String,
    /// A description of the expected form.
    pub expected: String,
}

/// Returns the error for a collector in a build without the feature `traces`.
#[cfg(any(test, not(feature = "traces")))]
fn without_traces(endpoint: &str) -> Unusable {
    Unusable {
        variable: ENDPOINT,
        value: endpoint.to_owned(),
        expected: "no value, or a build with the feature traces".to_owned(),
    }
}

/// The destination of spans; empty if no collector is set. Cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Exporter>>);

/// The start and end of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanTimes {
    /// The start.
    pub begun: SystemTime,
    /// The end.
    pub ended: SystemTime,
}

impl SpanTimes {
    /// Returns the times of a span that started at `begun` and ends now.
    pub fn since(begun: SystemTime) -> Self {
        Self { begun, ended: now() }
    }
}

impl Traces {
    /// Sends the spans of `service` to the collector at `endpoint` (gRPC).
    ///
    /// `ca` is the path of a PEM file with the authority of the collector's certificate; `None` trusts the public
    /// authorities. Must be called in a Tokio runtime. The function does not connect, and while the collector is
    /// unavailable, spans are dropped without any other effect.
    pub fn start(
        endpoint: &str,
        ca: Option<&Path>,
        service: &'static str,
        version: &'static str,
    ) -> Result<Self, Unusable> {
        let exporting = Exporter::start(endpoint, ca, service, version)?;
        Ok(Self(Some(Arc::new(exporting))))
    }

    /// Returns the current time as the start of a span, or `None` if tracing is off.
    pub fn now(&self) -> Option<SystemTime> {
        self.0.as_ref().map(|_| now())
    }

    /// Returns the trace of a revision of a killmail, or `None` if tracing is off.
    pub fn killmail(&self, killmail_id: u64, revision: u32) -> Option<KillmailTrace<'_>> {
        let exporting = self.0.as_deref()?;
        Some(KillmailTrace {
            exporting,
            killmail_id,
            revision,
        })
    }

    /// Starts the span of a call.
    ///
    /// `path` is the HTTP path, and `parent` is the caller's `traceparent` if the caller sent one.
    pub fn call(&self, path: &str, kind: SpanKind, parent: Option<&str>) -> Option<Call> {
        let exporting = self.0.clone()?;
        let parent = parent.and_then(ids::parse_traceparent);
        let (trace, parent) = parent.unwrap_or_else(|| (random_trace(), SpanId::INVALID));
        Some(Call {
            exporting,
            name: path.trim_start_matches('/').to_owned(),
            kind,
            trace,
            span: random_span(),
            parent,
            begun: now(),
        })
    }

    /// Sends the remaining spans; takes two seconds at most.
    pub async fn finish(&self) {
        let Some(exporting) = self.0.clone() else { return };
        // The exporter blocks until its own thread has finished.
        if let Err(error) = tokio::task::spawn_blocking(move || exporting.finish()).await {
            tracing::debug!(%error, "sending the last traces failed");
        }
    }
}

/// The trace of one killmail.
#[derive(Debug)]
pub struct KillmailTrace<'a> {
    exporting: &'a Exporter,
    killmail_id: u64,
    revision: u32,
}

impl KillmailTrace<'_> {
    /// Records the root span. Only the ingestor that created the killmail's record does this.
    pub fn root(&self, times: SpanTimes) {
        let span = ids::root_span(self.killmail_id, self.revision);
        self.record(
            "killmail",
            SpanKind::Internal,
            times,
            Vec::new(),
            None,
            (span, SpanId::INVALID),
        );
    }

    /// Records a step of the killmail as a child of the root span.
    pub fn step(&self, name: &'static str, kind: SpanKind, times: SpanTimes, attributes: Vec<KeyValue>) {
        self.outcome(name, kind, times, attributes, None);
    }

    /// Records a step that may have failed; `failed` describes the error for people.
    pub fn outcome(
        &self,
        name: &'static str,
        kind: SpanKind,
        times: SpanTimes,
        attributes: Vec<KeyValue>,
        failed: Option<String>,
    ) {
        let root = ids::root_span(self.killmail_id, self.revision);
        self.record(name, kind, times, attributes, failed, (random_span(), root));
    }

    fn record(
        &self,
        name: &'static str,
        kind: SpanKind,
        times: SpanTimes,
        mut attributes: Vec<KeyValue>,
        failed: Option<String>,
        (span, parent): (SpanId, SpanId),
    ) {
        let id = i64::try_from(self.killmail_id).unwrap_or(i64::MAX);
        attributes.push(KeyValue::new("killmail.id", id));
        attributes.push(KeyValue::new("killmail.revision", i64::from(self.revision)));
        let context = context(ids::trace(self.killmail_id, self.revision), span);
        self.exporting
            .record(name.into(), kind, context, parent, times, attributes, status(failed));
    }
}

/// A call in progress.
#[derive(Debug)]
pub struct Call {
    exporting: Arc<Exporter>,
    name: String,
    kind: SpanKind,
    trace: TraceId,
    span: SpanId,
    parent: SpanId,
    begun: SystemTime,
}

impl Call {
    /// Returns the header that makes the receiver's span a child of this one (W3C Trace Context).
    pub fn traceparent(&self) -> String {
        ids::traceparent(self.trace, self.span)
    }

    /// Ends the span; `failed` describes the error for people.
    pub fn end(self, failed: Option<String>) {
        let attributes = vec![
            KeyValue::new("rpc.system", "grpc"),
            KeyValue::new("rpc.method", self.name.clone()),
        ];
        let times = SpanTimes::since(self.begun);
        let context = context(self.trace, self.span);
        self.exporting.record(
            self.name.into(),
            self.kind,
            context,
            self.parent,
            times,
            attributes,
            status(failed),
        );
    }
}

fn context(trace: TraceId, span: SpanId) -> SpanContext {
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::default())
}

fn status(failed: Option<String>) -> Status {
    failed.map_or(Status::Unset, Status::error)
}

fn now() -> SystemTime {
    Clock::system().now().wall
}

fn random_trace() -> TraceId {
    // An id of zero is invalid.
    TraceId::from_bytes(fastrand::u128(1..).to_be_bytes())
}

fn random_span() -> SpanId {
    SpanId::from_bytes(fastrand::u64(1..).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disabled_traces_record_nothing() {
        let off = Traces::default();
        assert!(off.now().is_none() && off.killmail(1, 0).is_none());
        assert!(off.call("/a/b", SpanKind::Client, None).is_none());
    }

    #[test]
    fn collector_needs_a_build_with_traces() {
        assert_eq!(
            without_traces("http://127.0.0.1:4317").to_string(),
            r#"OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4317": expected no value, or a build with the feature traces"#
        );
    }

    #[cfg(feature = "traces")]
    #[tokio::test]
    async fn invalid_endpoint_or_ca_file_names_its_variable() {
        let error = |endpoint, ca: Option<&str>| {
            let unusable = Traces::start(endpoint, ca.map(Path::new), "test", "1").unwrap_err();
            (unusable.variable, unusable.value, unusable.expected)
        };
        let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let expected = "an OpenTelemetry collector's gRPC endpoint like http://127.0.0.1:4317 (it starts with neither http:// nor https://)";
        assert_eq!(
            error("collector:4317", None),
            (endpoint, "collector:4317".to_owned(), expected.to_owned())
        );
        let (variable, value, expected) = error("https://collector:4317", Some("/no/such/ca.pem"));
        assert_eq!(
            (variable, &*value),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/ca.pem")
        );
        assert!(expected.starts_with("a readable PEM file: "), "{expected}");
        let (variable, _, expected) = error("https://collector:4317", Some("Cargo.toml"));
        assert_eq!(
            (variable, &*expected),
            (
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                "a PEM file that contains a certificate"
            )
        );
        let (variable, _, expected) = error("http://collector:4317", Some("Cargo.toml"));
        assert_eq!(
            (variable, &*expected),
            (
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                "no value, unless OTEL_EXPORTER_OTLP_ENDPOINT starts with https://"
            )
        );
    }

    #[cfg(feature = "traces")]
    #[tokio::test(flavor = "multi_thread")]
    async fn unavailable_collector_does_not_delay_the_program() {
        let traces = Traces::start("http://127.0.0.1:9", None, "test", "1").unwrap();
        let begun = traces.now().unwrap();
        for id in 1..5_000 {
            traces.killmail(id, 0).unwrap().root(SpanTimes::since(begun));
        }
        let call = traces.call("/a/b", SpanKind::Client, None).unwrap();
        let parent = call.traceparent();
        let answer = traces.call("/a/b", SpanKind::Server, Some(&parent)).unwrap();
        assert_eq!((answer.trace, answer.parent), (call.trace, call.span));
        call.end(Some("away".into()));
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), traces.finish()).await;
        assert!(waited.is_ok(), "the end of a process waits for seconds at most");
    }
}
