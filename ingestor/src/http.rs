//! `/metrics`, `/livez` and `/readyz`, for operators and orchestrators.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use killfeed::v1::FeedHealth;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::health::FeedReport;

/// What the endpoints show.
pub struct HttpState {
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// Writes the gauges that are worked out when somebody looks.
    pub refresh_gauges: Box<dyn Fn() + Send + Sync>,
    /// The feed's health: a detail of `/readyz`, never its verdict.
    pub feed: watch::Receiver<FeedReport>,
    /// `Err` says in words what is not ready yet.
    pub ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, probes: HttpState, shutdown: CancellationToken) -> std::io::Result<()> {
    let probes = Arc::new(probes);
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .with_state(Arc::clone(&probes));
    tokio::select! {
        // Nothing here is worth draining for: the answers are one line each.
        () = shutdown.cancelled() => Ok(()),
        result = async { axum::serve(listener, app).await } => result,
        () = killfeed_telemetry::prometheus::upkeep(&probes.metrics) => Ok(()),
    }
}

async fn metrics(State(probes): State<Arc<HttpState>>) -> String {
    (probes.refresh_gauges)();
    probes.metrics.render()
}

async fn readyz(State(probes): State<Arc<HttpState>>) -> impl IntoResponse {
    let report = probes.feed.borrow().clone();
    let feed = format!("feed: {} ({})\n", health_word(report.health), report.detail);
    match (probes.ready)() {
        Ok(()) => (StatusCode::OK, format!("ready\n{feed}")),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n{feed}")),
    }
}

fn health_word(health: FeedHealth) -> &'static str {
    match health {
        FeedHealth::Ok => "OK",
        FeedHealth::Delayed => "DELAYED",
        FeedHealth::Down => "DOWN",
        FeedHealth::Unspecified => "unknown",
    }
}
