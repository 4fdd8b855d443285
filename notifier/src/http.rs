//! `/metrics`, `/livez` and `/readyz`, for operators and orchestrators.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How often the exporter tidies up what it keeps until it is rendered.
const UPKEEP: Duration = Duration::from_secs(10);

/// What the endpoints show.
pub struct Probes {
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// `Err` says in words what is not ready.
    pub ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, probes: Probes, shutdown: CancellationToken) -> std::io::Result<()> {
    let probes = Arc::new(probes);
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .with_state(Arc::clone(&probes));
    let upkeep = async {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            probes.metrics.run_upkeep();
        }
    };
    tokio::select! {
        // Nothing here is worth draining for: the answers are one line each.
        () = shutdown.cancelled() => Ok(()),
        result = async { axum::serve(listener, app).await } => result,
        () = upkeep => Ok(()),
    }
}

async fn metrics(State(probes): State<Arc<Probes>>) -> String {
    probes.metrics.render()
}

async fn readyz(State(probes): State<Arc<Probes>>) -> impl IntoResponse {
    match (probes.ready)() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}
