//! Tests of traces across processes.
//!
//! One trace follows a killmail from the fetch to its post or edit. Calls between services join the caller's trace.

mod secure;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use killfeed_service::trace::ids;
use killfeed_support::{
    FakeDiscord, FakeUpstream,
    fake_discord::{CHANNEL, GUILD, permission},
    process::{Binary, Service, eventually, free_address},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind},
};
use serde_json::json;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    harness::{TEST_TIMEOUT, TestIngestor, metric},
    notifier::{TestNotifier, fresh, posted, row},
};

/// A collector that stores all spans, each with the name of its service.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap();
        for of_service in request.into_inner().resource_spans {
            let service = of_service.resource.map(|it| text(&it.attributes, "service.name"));
            let service = service.unwrap_or_default();
            let spans = of_service.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let (collector, address) = Self::serve(Server::builder()).await;
        (collector, format!("http://{address}"))
    }

    async fn serve(mut server: Server) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let collector = Self::default();
        let serving = server
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        tokio::spawn(serving);
        (collector, address)
    }

    /// Returns the spans of one trace by name.
    fn of(&self, trace: &[u8]) -> BTreeMap<String, (String, Span)> {
        let kept = self.0.lock().unwrap();
        let of_trace = kept.iter().filter(|(_, span)| span.trace_id == trace);
        of_trace
            .map(|(service, span)| (span.name.clone(), (service.clone(), span.clone())))
            .collect()
    }

    /// Returns the services whose calls of this method have a server span as a child.
    fn joined(&self, method: &str) -> Vec<String> {
        let calls = self.named(&format!("killfeed.v1.KillmailService/{method}"));
        let of_kind = |kind: SpanKind| calls.iter().filter(move |(_, span)| span.kind() == kind);
        let answered = |asked: &Span| {
            of_kind(SpanKind::Server)
                .any(|(_, span)| span.trace_id == asked.trace_id && span.parent_span_id == asked.span_id)
        };
        let joined = of_kind(SpanKind::Client).filter(|(_, span)| answered(span));
        let callers: BTreeSet<String> = joined.map(|(service, _)| service.clone()).collect();
        callers.into_iter().collect()
    }

    fn named(&self, name: &str) -> Vec<(String, Span)> {
        let kept = self.0.lock().unwrap();
        kept.iter().filter(|(_, span)| span.name == name).cloned().collect()
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

const INGESTOR: &str = "killfeed-ingestor";
const NOTIFIER: &str = "killfeed-notifier";
/// The steps of a killmail, and the service that records each of them.
const WAY: [(&str, &str); 6] = [
    ("fetch", INGESTOR),
    ("parse", INGESTOR),
    ("enrich", INGESTOR),
    ("append", INGESTOR),
    ("match", NOTIFIER),
    ("post", NOTIFIER),
];

#[tokio::test(flavor = "multi_thread")]
async fn trace_covers_a_killmail_from_fetch_to_post() {
    let (collector, endpoint) = Collector::start().await;
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    let traced = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let mut ingestor = TestIngestor::start(&upstream, &traced).await;
    let rows = row("all", GUILD, CHANNEL, "");
    let mut notifier = TestNotifier::start_with(&ingestor, &discord.settings(), &rows, &traced).await;
    let documents = fresh(3);
    let id = documents[1]["killmail_id"].as_u64().unwrap();
    upstream.publish_all(documents);
    eventually("three posts", TEST_TIMEOUT, async || {
        posted(&discord, CHANNEL).len() == 3
    })
    .await;

    // The trace id follows from the killmail's id and revision.
    let trace = ids::trace(id, 0).to_bytes();
    eventually("spans of all steps", TEST_TIMEOUT, async || {
        let spans = collector.of(&trace);
        WAY.iter().all(|(step, _)| spans.contains_key(*step)) && spans.contains_key("killmail")
    })
    .await;
    let spans = collector.of(&trace);
    let (service, root) = &spans["killmail"];
    assert_eq!(service, INGESTOR);
    assert_eq!(
        (&root.span_id[..], &root.parent_span_id[..]),
        (&ids::root_span(id, 0).to_bytes()[..], &[][..])
    );
    let mut before = root.start_time_unix_nano;
    for (step, service) in WAY {
        let (of, span) = &spans[step];
        assert_eq!(of, service, "{step}");
        assert_eq!(
            span.parent_span_id, root.span_id,
            "the parent of {step} is the killmail's span"
        );
        assert_eq!(text(&span.attributes, "killmail.id"), id.to_string(), "{step}");
        assert!(
            span.start_time_unix_nano >= before,
            "{step} starts after the previous step"
        );
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{step}");
        before = span.start_time_unix_nano;
    }
    assert_eq!(text(&spans["post"].1.attributes, "discord.id"), CHANNEL.to_string());
    assert_eq!(text(&spans["match"].1.attributes, "destinations"), "1");

    // In the call that opened the stream, the ingestor's span is a child of the notifier's.
    assert_eq!(collector.joined("StreamKillmails"), [NOTIFIER]);
    assert_eq!(notifier.stop().await, Some(0));
    assert_eq!(ingestor.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_covers_battle_digests_and_edits() {
    const WHOLE: u64 = CHANNEL + 1;
    let (collector, endpoint) = Collector::start().await;
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    discord.add_channel(GUILD, WHOLE, permission::ALL);
    let traced = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let ingestor = TestIngestor::start(&upstream, &traced).await;
    let styled = |channel, style: &str| row(style, GUILD, channel, "").replace("\"link\"", &format!("\"{style}\""));
    let rows = styled(CHANNEL, "battle") + &styled(WHOLE, "full");
    let mut notifier = TestNotifier::start_with(&ingestor, &discord.settings(), &rows, &traced).await;
    let mut documents = fresh(2);
    documents[1]["esi"]["solar_system_id"] = documents[0]["esi"]["solar_system_id"].clone();
    let ids = [0, 1].map(|index: usize| documents[index]["killmail_id"].as_u64().unwrap());
    let begun = documents.remove(0);
    let told = async |id, revision, step: &'static str, channel: u64| {
        let trace = ids::trace(id, revision).to_bytes();
        let what = format!("{step} of {id}/{revision} in {channel}");
        eventually(&what, TEST_TIMEOUT, async || {
            let spans = collector.named(step);
            spans.iter().any(|(service, span)| {
                service == NOTIFIER
                    && span.trace_id == trace
                    && span.parent_span_id == ids::root_span(id, revision).to_bytes()
                    && text(&span.attributes, "discord.id") == channel.to_string()
            })
        })
        .await;
    };
    upstream.publish(begun.clone());
    told(ids[0], 0, "post", CHANNEL).await;
    told(ids[0], 0, "post", WHOLE).await;
    // A killmail that joins a digest has an edit instead of a post.
    upstream.publish(documents.remove(0));
    told(ids[1], 0, "edit", CHANNEL).await;
    told(ids[1], 0, "post", WHOLE).await;
    assert_eq!(discord.posts(CHANNEL).len(), 1);
    // A later revision has its own trace, from its fetch to the edit.
    let mut dearer = begun;
    dearer["zkb"]["totalValue"] = json!(987_000_000_000.0_f64);
    upstream.publish(dearer);
    told(ids[0], 1, "edit", WHOLE).await;
    let trace = ids::trace(ids[0], 1).to_bytes();
    let way = ["fetch", "parse", "enrich", "append", "match", "edit"];
    eventually("spans of all steps of the revision", TEST_TIMEOUT, async || {
        way.iter().all(|step| collector.of(&trace).contains_key(*step))
    })
    .await;
    assert_eq!(notifier.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_covers_a_killmail_through_a_relay() {
    let (collector, endpoint) = Collector::start().await;
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    let traced = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let first = TestIngestor::start(&upstream, &traced).await;
    let source = format!("relay:{}", first.url());
    let relay = TestIngestor::start(&upstream, &[traced[0], ("INGESTOR_SOURCE", source.as_str())]).await;
    // Only the relay has called the upstream so far.
    for method in ["GetFeedStatus", "StreamKillmails"] {
        eventually("the relay's calls join its traces", TEST_TIMEOUT, async || {
            collector.joined(method) == [INGESTOR]
        })
        .await;
    }
    let rows = row("all", GUILD, CHANNEL, "");
    let mut notifier = TestNotifier::start_with(&relay, &discord.settings(), &rows, &traced).await;
    let documents = fresh(1);
    let id = documents[0]["killmail_id"].as_u64().unwrap();
    upstream.publish_all(documents);
    let trace = ids::trace(id, 0).to_bytes();
    let way = [("killmail", INGESTOR), ("relay", INGESTOR)].into_iter().chain(WAY);
    eventually("spans of all steps", TEST_TIMEOUT, async || {
        let spans = collector.of(&trace);
        let there = |step, of| spans.get(step).is_some_and(|(service, _)| service == of);
        way.clone().all(|(step, of)| there(step, of))
    })
    .await;
    let root = ids::root_span(id, 0).to_bytes();
    for (step, (_, span)) in collector.of(&trace) {
        let parent: &[u8] = if step == "killmail" { &[] } else { &root };
        assert_eq!(span.parent_span_id, parent, "{step}");
    }
    assert_eq!(notifier.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_adds_its_span_to_the_upstream_trace() {
    let (collector, endpoint) = Collector::start().await;
    let upstream = FakeUpstream::start().await;
    let first = TestIngestor::start(&upstream, &[]).await;
    let source = format!("relay:{}", first.url());
    let traced = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("INGESTOR_SOURCE", source.as_str()),
    ];
    let mut relay = TestIngestor::start(&upstream, &traced).await;
    let documents = fresh(2);
    let id = documents[1]["killmail_id"].as_u64().unwrap();
    upstream.publish_all(documents);
    relay.wait_for_killmails(2).await;
    let trace = ids::trace(id, 0).to_bytes();
    eventually("the relay exports its span", TEST_TIMEOUT, async || {
        collector.of(&trace).contains_key("relay")
    })
    .await;
    let spans = collector.of(&trace);
    assert_eq!(spans["relay"].1.parent_span_id, ids::root_span(id, 0).to_bytes());
    // Only the ingestor that created the record exports the root span. Here it exports no traces.
    assert!(!spans.contains_key("killmail"));
    assert_eq!(
        metric(&relay.http, "killfeed_feed_lag_seconds").await,
        0.0,
        "the relay is not behind the upstream"
    );
    assert_eq!(relay.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_collector_is_logged_once() {
    let upstream = FakeUpstream::start().await;
    let discord = FakeDiscord::start().await;
    let nobody = format!("http://{}", free_address());
    let traced = [("OTEL_EXPORTER_OTLP_ENDPOINT", nobody.as_str())];
    let mut ingestor = TestIngestor::start(&upstream, &traced).await;
    let rows = row("all", GUILD, CHANNEL, "");
    let mut notifier = TestNotifier::start_with(&ingestor, &discord.settings(), &rows, &traced).await;
    upstream.publish_all(fresh(3));
    eventually("three posts", TEST_TIMEOUT, async || {
        posted(&discord, CHANNEL).len() == 3
    })
    .await;
    let said = |log: &str| log.matches("sending spans to the collector failed").count();
    eventually("the notifier logs the failure", TEST_TIMEOUT, async || {
        said(&notifier.stderr()) > 0
    })
    .await;
    upstream.publish_all(fresh(6).split_off(3));
    eventually("six posts", TEST_TIMEOUT, async || posted(&discord, CHANNEL).len() == 6).await;
    assert_eq!(said(&notifier.stderr()), 1, "{}", notifier.stderr());
    assert_eq!(notifier.stop().await, Some(0));
    assert_eq!(ingestor.stop().await, Some(0));
}

#[tokio::test]
async fn invalid_endpoint_ends_both_services_with_an_error() {
    let bad = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    for (binary, mut settings) in [
        (
            Binary::Ingestor,
            vec![
                ("INGESTOR_DATA_DIR", data.clone()),
                ("INGESTOR_CONTACT", "a@example.com".to_owned()),
            ],
        ),
        (
            Binary::Notifier,
            vec![
                ("NOTIFIER_DATA_DIR", data.clone()),
                ("NOTIFIER_SINK", "console".to_owned()),
            ],
        ),
    ] {
        settings.push(bad.clone());
        let mut service = Service::start(binary, &settings).await;
        assert_eq!(service.end().await.code(), Some(78));
        let said = service.stderr();
        assert!(
            said.contains("OTEL_EXPORTER_OTLP_ENDPOINT=\"collector:4317\": expected an OpenTelemetry"),
            "{said}"
        );
        assert!(
            !folder.path().join("data").exists(),
            "an invalid setting leaves the disk unchanged"
        );
    }
}
