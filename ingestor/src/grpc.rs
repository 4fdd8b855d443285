//! The gRPC edge: requests → sessions over the log, errors → statuses, who may call and how much. Knows the log's reading half,
//! the universe and the feed's health, and nothing of how killmails get into the log.

mod auth;
mod body;
mod segments;
mod chunks;
mod connections;
mod heartbeat;
mod lag;
mod limits;
mod list;
mod page_token;
mod selection;
mod server;
mod service;
mod session;
mod socket;
mod stall_monitor;
mod start;
mod status;
mod tls;
mod trace_layer;
mod universe;

use std::{convert::Infallible, future::IntoFuture as _, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use killfeed::v1::{FILE_DESCRIPTOR_SET, universe_service_server::UniverseServiceServer};
use killfeed_service::trace::Traces;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, server::NamedService, transport::Server as Transport};
use tonic_health::{ServingStatus, server::HealthReporter};

pub use auth::{Tokens, TokensFileError};
pub use connections::{CONNECTIONS, CONNECTIONS_ENDED};
pub use lag::{LAG, LAG_EVENTS, LagTracker};
pub use limits::STREAMS;
pub use service::CALLS;
pub use session::{ENDED, EVENTS};
pub use tls::{Tls, TlsError};
pub use universe::UniverseApi;

use crate::{health::FeedReport, log::LogRead};
use connections::ConnectionLimiter;
use server::Server;
use service::ServiceState;
use socket::AcceptPolicy;
use trace_layer::Traced;
use universe::UniverseCalls;

/// The health service's names: the server as a whole, and the one that matters.
const HEALTH_NAMES: [&str; 2] = ["", "killfeed.v1.KillmailService"];
/// What reflection lists: the proto files describe a service of the notifier too, which is not served here.
const REFLECTED: [&str; 5] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "killfeed.v1.KillmailService",
    "killfeed.v1.UniverseService",
];
/// The longest filter is 2,000 characters of at most 4 bytes.
const MAX_REQUEST: usize = 64 * 1024;
const MAX_HEADERS: u32 = 16 * 1024;
/// Calls beside the streams on one connection.
const CALLS_PER_CONNECTION: u32 = 128;
/// Unary calls, and what a stream does before its first event.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Streams that a client reset before they were looked at, and streams that had to be reset because of what it sent: beyond them
/// the connection ends with ENHANCE_YOUR_CALM.
const MAX_PENDING_RESETS: usize = 20;
const MAX_FAULTS: usize = 1_024;
/// Time for health watchers to be told before their watch ends.
const WATCHER_DRAIN_TIMEOUT: Duration = Duration::from_millis(200);

/// How the edge is set up.
#[derive(Clone, Debug)]
pub struct GrpcSettings {
    /// Who may call; `None` = anybody.
    pub tokens: Option<Tokens>,
    /// `None` = plain text.
    pub tls: Option<Tls>,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address.
    pub max_connections_per_address: usize,
    /// Streams at once.
    pub max_streams: usize,
    /// Streams at once per token.
    pub max_streams_per_token: usize,
    /// Unary calls a second per caller; twice as many in a burst.
    pub max_calls: u32,
    /// How long streams and calls may take to end when the service is told to stop; then their connections are cut.
    pub drain_timeout: Duration,
    /// A stream older than this is ended with UNAVAILABLE; `None` = never.
    pub max_stream_age: Option<Duration>,
    /// True once the log may be read from any place; `None` = from the start. A relay has to catch up first.
    pub ready: Option<watch::Receiver<bool>>,
    /// A client that reads nothing for so long while data waits is disconnected.
    pub stall_timeout: Duration,
    /// A silent client is asked this often whether it is there,
    pub ping_interval: Duration,
    /// and has so long to answer.
    pub ping_timeout: Duration,
    /// How long a client may take to begin: for a TLS handshake, and for its first words.
    pub open_timeout: Duration,
    /// Where streams say how far they are, for whoever shows it.
    pub lags: LagTracker,
    /// Who is told of calls.
    pub traces: Traces,
}

impl Default for GrpcSettings {
    /// The contract's defaults.
    fn default() -> Self {
        Self {
            tokens: None,
            tls: None,
            max_streams: 1_024,
            max_streams_per_token: 16,
            max_calls: 20,
            drain_timeout: Duration::from_secs(10),
            max_stream_age: Some(Duration::from_secs(3_600)),
            max_connections: 2_048,
            max_connections_per_address: 256,
            stall_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            open_timeout: Duration::from_secs(10),
            ready: None,
            lags: LagTracker::default(),
            traces: Traces::default(),
        }
    }
}

/// Why the edge could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The server broke.
    #[error("the gRPC server failed: {0}")]
    Server(#[from] tonic::transport::Error),
    /// Reflection could not be built from the descriptors.
    #[error("cannot set up server reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves until `shutdown`, then drains: health says NOT_SERVING, no new streams, UNAVAILABLE to all that run, and at the end of
/// the drain timeout every connection that is left is cut.
pub async fn serve(
    listener: TcpListener,
    settings: GrpcSettings,
    log: Arc<dyn LogRead>,
    names: Arc<dyn UniverseApi>,
    feed: watch::Receiver<FeedReport>,
    static_build: impl Fn() -> String + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let edge = ServiceState::new(&settings, log, names, feed, Box::new(static_build), shutdown);
    serve_edge(listener, settings, Arc::new(edge)).await
}

/// `KillmailService` alone, to be served over a transport of the caller's own: what the simulated network of the tests runs.
pub fn killmail_service(
    settings: &GrpcSettings,
    log: Arc<dyn LogRead>,
    names: Arc<dyn UniverseApi>,
    feed: watch::Receiver<FeedReport>,
    shutdown: CancellationToken,
) -> impl tower::Service<
    http::Request<Body>,
    Response = http::Response<Body>,
    Error = Infallible,
    Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>,
> + NamedService
+ Clone
+ Send
+ Sync
+ 'static {
    let edge = ServiceState::new(settings, log, names, feed, Box::new(String::new), shutdown);
    Server::new(Arc::new(edge))
}

async fn serve_edge(listener: TcpListener, settings: GrpcSettings, edge: Arc<ServiceState>) -> Result<(), ServeError> {
    let (shutdown, streams, stalls) = (edge.shutdown.clone(), edge.streams.clone(), edge.stalls.clone());
    let (mut reporter, health) = tonic_health::server::health_reporter();
    let ready = settings.ready.clone();
    let status = match &ready {
        Some(ready) if !*ready.borrow() => ServingStatus::NotServing,
        _ => ServingStatus::Serving,
    };
    say(&mut reporter, status).await;
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
        REFLECTED
            .into_iter()
            .fold(builder, |builder, name| builder.with_service_name(name))
    };
    let most_streams = u32::try_from(settings.max_streams).unwrap_or(u32::MAX);
    let mut transport = Transport::builder()
        // Beyond it a client's calls would wait unseen: the limit of streams has to be told, so it lies above.
        .max_concurrent_streams(most_streams.saturating_add(CALLS_PER_CONNECTION))
        .http2_keepalive_interval(Some(settings.ping_interval))
        .http2_keepalive_timeout(Some(settings.ping_timeout))
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_FAULTS))
        .timeout(CALL_TIMEOUT);
    let universe = UniverseServiceServer::new(UniverseCalls(edge.clone())).max_decoding_message_size(MAX_REQUEST);
    let router = transport
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(Traced::new(Server::new(edge.clone()), settings.traces.clone()))
        .add_service(Traced::new(universe, settings.traces));

    let cut = CancellationToken::new();
    let _cut_whatever_happens = cut.clone().drop_guard();
    let door = AcceptPolicy {
        connections: ConnectionLimiter::new(settings.max_connections, settings.max_connections_per_address),
        tls: settings.tls,
        patience: settings.open_timeout,
        cut: cut.clone(),
    };
    let incoming = socket::incoming(listener, door);
    let serving = router.serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    let draining = async {
        if let Some(mut ready) = ready {
            let caught_up = async { ready.wait_for(|ready| *ready).await.is_ok() };
            if shutdown.run_until_cancelled(caught_up).await == Some(true) {
                say(&mut reporter, ServingStatus::Serving).await;
            }
        }
        shutdown.cancelled().await;
        tracing::info!(streams = streams.open(), "draining");
        not_serving(&mut reporter).await;
        tokio::time::sleep(settings.drain_timeout).await;
        tracing::warn!(streams = streams.open(), "drain timed out, closing connections");
        cut.cancel();
        std::future::pending().await
    };
    tokio::select! {
        served = serving.into_future() => served?,
        never = draining => never,
        never = stalls.cut(settings.stall_timeout) => match never {},
    }
    Ok(())
}

/// Tells who watches, then ends their watch: a watch never ends by itself, and would hold the drain up to its deadline.
async fn not_serving(reporter: &mut HealthReporter) {
    say(reporter, ServingStatus::NotServing).await;
    // A watcher sees a value only if it is polled before the sender goes.
    tokio::time::sleep(WATCHER_DRAIN_TIMEOUT).await;
    for name in HEALTH_NAMES {
        reporter.clear_service_status(name).await;
    }
}

async fn say(reporter: &mut HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        reporter.set_service_status(name, status).await;
    }
}

#[cfg(test)]
mod tests;
