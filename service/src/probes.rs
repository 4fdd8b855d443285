//! `/metrics`, `/livez` and `/readyz`, for operators and orchestrators.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The data behind the endpoints.
pub struct Probes {
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// Sets the gauges that are computed only when they are read.
    pub refresh_gauges: Box<dyn Fn() + Send + Sync>,
    /// Returns the lines of `/readyz`: `Ok` with status 200, `Err` with status 503.
    pub ready: Box<dyn Fn() -> Result<String, String> + Send + Sync>,
}

/// Returns the three routes, to which a service may add its own.
pub fn router(probes: Probes) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(probes))
}

/// Serves the routes until `shutdown`, and runs the metrics exporter's upkeep meanwhile.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: &PrometheusHandle,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    tokio::select! {
        // Open connections are not drained, because each response is short.
        () = shutdown.cancelled() => Ok(()),
        result = async { axum::serve(listener, router).await } => result,
        () = killfeed_telemetry::prometheus::upkeep(metrics) => Ok(()),
    }
}

async fn metrics(State(probes): State<Arc<Probes>>) -> String {
    (probes.refresh_gauges)();
    probes.metrics.render()
}

async fn readyz(State(probes): State<Arc<Probes>>) -> (StatusCode, String) {
    match (probes.ready)() {
        Ok(lines) => (StatusCode::OK, lines),
        Err(lines) => (StatusCode::SERVICE_UNAVAILABLE, lines),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt as _;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tower::ServiceExt as _;

    use super::*;

    async fn call(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn routes_report_the_state_of_the_service() {
        let (ready, refreshed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (is_ready, refresh) = (ready.clone(), refreshed.clone());
        let router = router(Probes {
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            refresh_gauges: Box::new(move || refresh.store(true, Ordering::Relaxed)),
            ready: Box::new(move || match is_ready.load(Ordering::Relaxed) {
                true => Ok("ready\n".into()),
                false => Err("not ready: starting\n".into()),
            }),
        });
        assert_eq!(call(&router, "/livez").await, (200, "alive\n".into()));
        assert_eq!(call(&router, "/readyz").await, (503, "not ready: starting\n".into()));
        ready.store(true, Ordering::Relaxed);
        assert_eq!(call(&router, "/readyz").await, (200, "ready\n".into()));
        assert!(!refreshed.load(Ordering::Relaxed));
        assert_eq!(call(&router, "/metrics").await.0, 200);
        assert!(refreshed.load(Ordering::Relaxed));
        assert_eq!(call(&router, "/elsewhere").await.0, 404);
    }
}
