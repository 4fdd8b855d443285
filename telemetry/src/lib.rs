//! # What both services tell of themselves: traces, and numbers for Prometheus ([`prometheus`])
//!
//! Traces are the way of one killmail over all processes, and the calls between them.
//!
//! Both services tell an OpenTelemetry collector what they did, if one is set; otherwise [`Traces`] is empty and costs a
//! comparison.
//!
//! A killmail's trace is found without being carried: its id is made of the killmail's id and revision ([`ids`]), so every
//! process that meets the killmail joins the same trace, in whatever order and after however many restarts. The stream says
//! nothing of it, which it could not: its encoded bytes are shared by all clients. Spans are told when they are over, with
//! the times at which they began and ended, because a document's killmail is known only after it was fetched and parsed.

mod client_spans;
#[cfg(not(feature = "traces"))]
mod disabled;
#[cfg(feature = "traces")]
mod export;
pub mod ids;
pub mod prometheus;

use std::{path::Path, sync::Arc, time::SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
pub use opentelemetry::{KeyValue, trace::SpanKind};

#[cfg(not(feature = "traces"))]
use disabled::Exporter;
#[cfg(feature = "traces")]
use export::Exporter;

/// The address of the collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Why no collector can be told: a setting that is none.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={value:?}: expected {expected}")]
pub struct Unusable {
    /// Which.
    pub variable: &'static str,
    /// What it is.
    pub value: String,
    /// What it should be, for a person.
    pub expected: String,
}

/// Returns why a build without the feature `traces` does not start with a collector.
#[cfg(any(test, not(feature = "traces")))]
fn without_traces(endpoint: &str) -> Unusable {
    Unusable {
        variable: ENDPOINT,
        value: endpoint.to_owned(),
        expected: "no value, or a build with the feature traces".to_owned(),
    }
}

/// Where spans go; empty = nowhere. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Exporter>>);

/// From when to when something went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanTimes {
    /// Its beginning.
    pub begun: SystemTime,
    /// Its end.
    pub ended: SystemTime,
}

impl SpanTimes {
    /// From then until now.
    pub fn since(begun: SystemTime) -> Self {
        Self { begun, ended: now() }
    }
}

impl Traces {
    /// Sends spans to the collector at `endpoint` (gRPC) as those of `service`. `ca`: path of a PEM file with the authority of
    /// its certificate; `None` = a public one. Must be called in a Tokio runtime. Nothing is connected yet, and a collector
    /// that is away costs nothing but the spans.
    pub fn start(
        endpoint: &str,
        ca: Option<&Path>,
        service: &'static str,
        version: &'static str,
    ) -> Result<Self, Unusable> {
        let exporting = Exporter::start(endpoint, ca, service, version)?;
        Ok(Self(Some(Arc::new(exporting))))
    }

    /// Now, if anybody will be told: for the beginning of something.
    pub fn now(&self) -> Option<SystemTime> {
        self.0.as_ref().map(|_| now())
    }

    /// The trace of a killmail in one revision; `None` = nobody will be told.
    pub fn killmail(&self, killmail_id: u64, revision: u32) -> Option<KillmailTrace<'_>> {
        let exporting = self.0.as_deref()?;
        Some(KillmailTrace {
            exporting,
            killmail_id,
            revision,
        })
    }

    /// Begins a call's span: `path` as in HTTP, `parent` the caller's `traceparent`, if it sent one.
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

    /// Sends what is left, within two seconds.
    pub async fn finish(&self) {
        let Some(exporting) = self.0.clone() else { return };
        // The exporter waits for its own thread.
        if let Err(error) = tokio::task::spawn_blocking(move || exporting.finish()).await {
            tracing::debug!(%error, "sending the last traces failed");
        }
    }
}

/// One killmail's trace.
#[derive(Debug)]
pub struct KillmailTrace<'a> {
    exporting: &'a Exporter,
    killmail_id: u64,
    revision: u32,
}

impl KillmailTrace<'_> {
    /// The span that all others hang on: told by the ingestor that made the killmail's record.
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

    /// One step of its way.
    pub fn step(&self, name: &'static str, kind: SpanKind, times: SpanTimes, attributes: Vec<KeyValue>) {
        self.outcome(name, kind, times, attributes, None);
    }

    /// One step of its way; `failed` says what was wrong with it, for people.
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

/// A call that goes on.
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
    /// What to send along, so that the other side's span hangs on this one (W3C Trace Context).
    pub fn traceparent(&self) -> String {
        ids::traceparent(self.trace, self.span)
    }

    /// It is over; `failed` says what was wrong with it, for people.
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

#[expect(
    clippy::disallowed_methods,
    reason = "spans have the wall clock's times; the clock's own crate uses this one"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

fn random_trace() -> TraceId {
    // Never zero, which would be no id.
    TraceId::from_bytes(fastrand::u128(1..).to_be_bytes())
}

fn random_span() -> SpanId {
    SpanId::from_bytes(fastrand::u64(1..).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_to_tell_costs_nothing() {
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
    async fn an_endpoint_that_is_none_is_named() {
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
    async fn a_collector_that_is_away_holds_nobody_up() {
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
