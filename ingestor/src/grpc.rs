//! The gRPC edge: requests → sessions over the log, errors → statuses, who may call and how much. Knows the log's reading half,
//! the universe and the feed's health, and nothing of how killmails get into the log.

mod auth;
mod heartbeat;
mod limits;
mod list;
mod page_token;
mod service;
mod session;
mod socket;
mod start;
mod status;
mod universe;

use std::{future::IntoFuture as _, sync::Arc, time::Duration};

use killfeed::{
    v1::{FILE_DESCRIPTOR_SET, universe_service_server::UniverseServiceServer},
    wire::raw_server::{KillmailService, KillmailServiceServer},
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic_health::{ServingStatus, server::HealthReporter};

pub use auth::{BadTokens, Tokens};
pub use limits::STREAMS;
pub use service::CALLS;
pub use session::{ENDED, EVENTS};
pub use universe::Names;

use crate::{health::FeedReport, log::LogRead};
use service::{Edge, Killmails};
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
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for health watchers to be told before their watch ends.
const WATCHERS: Duration = Duration::from_millis(200);

/// How the edge is set up.
#[derive(Clone, Debug)]
pub struct GrpcSettings {
    /// Who may call; `None` = anybody.
    pub tokens: Option<Tokens>,
    /// `None` = plain text.
    pub tls: Option<ServerTlsConfig>,
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
            max_stream_age: None,
            ready: None,
        }
    }
}

/// Why the edge could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate, key or CA cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The server broke.
    #[error("the gRPC server broke: {0}")]
    Server(#[from] tonic::transport::Error),
    /// Reflection could not be built from the descriptors.
    #[error("server reflection cannot be set up: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// PEM texts → TLS for the server. `client_ca`: clients have to show a certificate signed by it.
pub fn tls(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<ServerTlsConfig, ServeError> {
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .timeout(HANDSHAKE_TIMEOUT);
    let tls = match client_ca {
        Some(pem) => tls.client_ca_root(Certificate::from_pem(pem)),
        None => tls,
    };
    // Tried here, so that a bad certificate ends the program before it binds a port.
    Server::builder()
        .tls_config(tls.clone())
        .map_err(|error| ServeError::Tls(causes(&error)))?;
    Ok(tls)
}

/// Serves until `shutdown`, then drains: health says NOT_SERVING, no new streams, UNAVAILABLE to all that run, and at the end of
/// the drain timeout every connection that is left is cut.
pub async fn serve(
    listener: TcpListener,
    settings: GrpcSettings,
    log: Arc<dyn LogRead>,
    names: Arc<dyn Names>,
    feed: watch::Receiver<FeedReport>,
    static_build: impl Fn() -> String + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let edge = Edge::new(&settings, log, names, feed, Box::new(static_build), shutdown);
    serve_edge(listener, settings, Arc::new(edge)).await
}

/// `KillmailService` alone, to be served over a transport of the caller's own: what the simulated network of the tests runs.
pub fn killmail_service(
    settings: &GrpcSettings,
    log: Arc<dyn LogRead>,
    names: Arc<dyn Names>,
    feed: watch::Receiver<FeedReport>,
    shutdown: CancellationToken,
) -> KillmailServiceServer<impl KillmailService> {
    let edge = Edge::new(settings, log, names, feed, Box::new(String::new), shutdown);
    KillmailServiceServer::new(Killmails(Arc::new(edge))).max_decoding_message_size(MAX_REQUEST)
}

async fn serve_edge(listener: TcpListener, settings: GrpcSettings, edge: Arc<Edge>) -> Result<(), ServeError> {
    let (shutdown, streams) = (edge.shutdown.clone(), edge.streams.clone());
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
    let mut server = Server::builder()
        // Beyond it a client's calls would wait unseen: the limit of streams has to be told, so it lies above.
        .max_concurrent_streams(most_streams.saturating_add(CALLS_PER_CONNECTION))
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .http2_max_header_list_size(MAX_HEADERS)
        .timeout(CALL_TIMEOUT);
    if let Some(tls) = settings.tls {
        server = server
            .tls_config(tls)
            .map_err(|error| ServeError::Tls(causes(&error)))?;
    }
    let router = server
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(KillmailServiceServer::new(Killmails(edge.clone())).max_decoding_message_size(MAX_REQUEST))
        .add_service(UniverseServiceServer::new(UniverseCalls(edge)).max_decoding_message_size(MAX_REQUEST));

    let cut = CancellationToken::new();
    let _cut_whatever_happens = cut.clone().drop_guard();
    let incoming = socket::incoming(listener, cut.clone());
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
        tracing::warn!(streams = streams.open(), "the drain took too long: connections are cut");
        cut.cancel();
        std::future::pending().await
    };
    tokio::select! {
        served = serving.into_future() => served?,
        never = draining => never,
    }
    Ok(())
}

/// Tells who watches, then ends their watch: a watch never ends by itself, and would hold the drain up to its deadline.
async fn not_serving(reporter: &mut HealthReporter) {
    say(reporter, ServingStatus::NotServing).await;
    // A watcher sees a value only if it is polled before the sender goes.
    tokio::time::sleep(WATCHERS).await;
    for name in HEALTH_NAMES {
        reporter.clear_service_status(name).await;
    }
}

async fn say(reporter: &mut HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        reporter.set_service_status(name, status).await;
    }
}

/// An error with its causes on one line: tonic's own texts stop at "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
