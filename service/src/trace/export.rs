//! Sends spans to the collector: a bounded queue, a thread that empties it, and one log line when sending fails.

use std::{
    borrow::Cow,
    fmt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status},
};
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor as _,
    },
};

use tonic::transport::{Certificate, ClientTlsConfig};

use super::{ENDPOINT, SpanTimes, Unusable};

/// The maximum number of spans that wait for the collector: those of about a thousand killmails. The exporter drops any
/// others.
const QUEUE_CAPACITY: usize = 8_192;
const MAX_BATCH: usize = 512;
/// The longest time that a span waits for others before it is sent.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The time for sending the last spans when the process ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of one request to the collector.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The setting with the authority of the collector's certificate.
const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";

/// The queue of spans, and the thread that sends them.
pub(crate) struct Exporter {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter(...)")
    }
}

impl Exporter {
    pub(crate) fn start(
        endpoint: &str,
        ca: Option<&Path>,
        service: &'static str,
        version: &'static str,
    ) -> Result<Self, Unusable> {
        let unusable = |reason: String| Unusable {
            variable: ENDPOINT,
            value: endpoint.to_owned(),
            expected: format!("an OpenTelemetry collector's gRPC endpoint like http://127.0.0.1:4317 ({reason})"),
        };
        let known = ["http://", "https://"];
        if !known.iter().any(|scheme| endpoint.starts_with(scheme)) {
            return Err(unusable("it starts with neither http:// nor https://".to_owned()));
        }
        let mut otlp = Otlp::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(TIMEOUT);
        let secure = endpoint.starts_with("https://");
        if let Some(path) = ca {
            otlp = otlp.with_tls_config(trusting(path, secure)?);
        } else if secure {
            otlp = otlp.with_tls_config(ClientTlsConfig::new().with_webpki_roots());
        }
        let otlp = otlp.build().map_err(|error| unusable(error.to_string()))?;
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_CAPACITY)
            .with_max_export_batch_size(MAX_BATCH)
            .with_scheduled_delay(EXPORT_INTERVAL)
            .build();
        let told = FailureLogger {
            inner: otlp,
            endpoint: endpoint.to_owned(),
            failing: AtomicBool::new(false),
        };
        let mut processor = BatchSpanProcessor::builder(told).with_batch_config(config).build();
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        opentelemetry_sdk::trace::SpanProcessor::set_resource(&mut processor, &resource);
        Ok(Self {
            processor,
            scope: InstrumentationScope::builder("killfeed").with_version(version).build(),
        })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a span has many fields, and only this function assembles them"
    )]
    pub(crate) fn record(
        &self,
        name: Cow<'static, str>,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanId,
        times: SpanTimes,
        attributes: Vec<KeyValue>,
        status: Status,
    ) {
        self.processor.on_end(SpanData {
            span_context: context,
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: kind,
            name,
            start_time: times.begun,
            end_time: times.ended,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        });
    }

    /// Blocks until the last spans are sent or [`SHUTDOWN_TIMEOUT`] is over.
    pub(crate) fn finish(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(SHUTDOWN_TIMEOUT) {
            tracing::debug!(%error, "sending the last traces failed");
        }
    }
}

/// Returns TLS settings that trust only the authority in a PEM file.
fn trusting(path: &Path, secure: bool) -> Result<ClientTlsConfig, Unusable> {
    let bad = |expected: String| Unusable {
        variable: CERTIFICATE,
        value: path.display().to_string(),
        expected,
    };
    if !secure {
        return Err(bad(format!("no value, unless {ENDPOINT} starts with https://")));
    }
    let pem = std::fs::read(path).map_err(|error| bad(format!("a readable PEM file: {error}")))?;
    // Without this check, a file without certificates would be accepted and no collector trusted.
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(bad("a PEM file that contains a certificate".to_owned()));
    }
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

/// Logs one line when sending spans starts to fail, and one when it works again.
#[derive(Debug)]
struct FailureLogger {
    inner: Otlp,
    endpoint: String,
    failing: AtomicBool,
}

impl SpanExporter for FailureLogger {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        let failed = result.is_err();
        if self.failing.swap(failed, Ordering::Relaxed) != failed {
            match &result {
                Err(error) => tracing::warn!(
                    endpoint = self.endpoint,
                    %error,
                    spans,
                    "sending spans to the collector failed, dropping them"
                ),
                Ok(()) => tracing::info!(endpoint = self.endpoint, "sending spans to the collector works again"),
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
