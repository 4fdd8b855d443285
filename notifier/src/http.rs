//! `/metrics`, `/livez`, `/readyz` and `/dead-letters`, for operators and orchestrators.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{database::StorageError, outbox::DeadLetter};

/// What the endpoints show.
pub struct Probes {
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// `Ok` says what runs here, `Err` what is not ready.
    pub ready: Box<dyn Fn() -> Result<String, String> + Send + Sync>,
    /// Killmails that were given up, newest first.
    pub dead_letters: Box<dyn Fn() -> Result<Vec<DeadLetter>, StorageError> + Send + Sync>,
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, probes: Probes, shutdown: CancellationToken) -> std::io::Result<()> {
    let probes = Arc::new(probes);
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/dead-letters", get(dead_letters))
        .with_state(Arc::clone(&probes));
    tokio::select! {
        // Nothing here is worth draining for: the answers are one line each.
        () = shutdown.cancelled() => Ok(()),
        result = async { axum::serve(listener, app).await } => result,
        () = killfeed_telemetry::prometheus::upkeep(&probes.metrics) => Ok(()),
    }
}

async fn metrics(State(probes): State<Arc<Probes>>) -> String {
    probes.metrics.render()
}

/// One JSON object a line.
async fn dead_letters(State(probes): State<Arc<Probes>>) -> impl IntoResponse {
    // Every post of a week is looked at.
    let found = tokio::task::spawn_blocking(move || (probes.dead_letters)()).await;
    let found = found.unwrap_or_else(|error| Err(StorageError::Interrupted(error.to_string())));
    let letters = match found {
        Ok(letters) => letters,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    };
    let line = |letter: &DeadLetter| {
        let mut row = serde_json::json!({
            "destination": letter.destination, "killmail": letter.killmail_id, "state": format!("{:?}", letter.state),
            "since_ms": letter.since, "why": letter.detail,
        });
        // What Discord would not take: with it the fault can be found.
        if !letter.refused.is_empty() {
            let body = String::from_utf8_lossy(&letter.refused);
            row["body"] = serde_json::from_str(&body).unwrap_or_else(|_| body.into());
        }
        format!("{row}\n")
    };
    (StatusCode::OK, letters.iter().map(line).collect())
}

async fn readyz(State(probes): State<Arc<Probes>>) -> impl IntoResponse {
    match (probes.ready)() {
        Ok(what) => (StatusCode::OK, format!("ready{what}\n")),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}
