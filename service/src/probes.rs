//! `/metrics`, `/livez` and `/readyz`, for operators and orchestrators.

use std::{net::SocketAddr, sync::Arc, time::Duration};

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
    /// More pages of the service.
    pub pages: Vec<Page>,
}

/// A page that one service adds.
pub struct Page {
    /// The path, like `/dead-letters`.
    pub path: &'static str,
    /// Returns the lines of the page: `Ok` with status 200, `Err` with status 500. The function may block.
    pub lines: Arc<dyn Fn() -> Result<String, String> + Send + Sync>,
}

/// The time that [`check_ready`] waits for the response. Containers wait a little longer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the routes until `shutdown`, and runs the metrics exporter's upkeep meanwhile.
pub async fn serve(listener: TcpListener, probes: Probes, shutdown: CancellationToken) -> std::io::Result<()> {
    let metrics = probes.metrics.clone();
    tokio::select! {
        // Open connections are not drained, because each response is short.
        () = shutdown.cancelled() => Ok(()),
        result = async { axum::serve(listener, router(probes)).await } => result,
        () = crate::metrics::upkeep(&metrics) => Ok(()),
    }
}

/// Requests `/readyz` of the service that listens on `addr`.
///
/// Returns the lines of a ready service, and an error for people if the service is not ready or does not respond.
pub async fn check_ready(addr: SocketAddr) -> Result<String, String> {
    let host = if addr.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], addr.port()))
    } else {
        addr
    };
    let url = format!("http://{host}/readyz");
    let request = async {
        let client = reqwest::Client::builder().timeout(CHECK_TIMEOUT).no_proxy().build()?;
        let response = client.get(&url).send().await?;
        let ready = response.status().is_success();
        Ok::<_, reqwest::Error>((ready, response.text().await?))
    };
    match request.await {
        Ok((true, lines)) => Ok(lines),
        Ok((false, lines)) => Err(lines.trim().to_owned()),
        Err(error) => Err(format!("no response from {url}: {error}")),
    }
}

fn router(mut probes: Probes) -> Router {
    let pages = std::mem::take(&mut probes.pages).into_iter();
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(probes));
    pages.fold(router, |router, page| {
        router.route(page.path, get(show).with_state(page.lines))
    })
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

async fn show(State(lines): State<Arc<dyn Fn() -> Result<String, String> + Send + Sync>>) -> (StatusCode, String) {
    let shown = tokio::task::spawn_blocking(move || lines()).await;
    match shown.unwrap_or_else(|error| Err(format!("{error}\n"))) {
        Ok(lines) => (StatusCode::OK, lines),
        Err(lines) => (StatusCode::INTERNAL_SERVER_ERROR, lines),
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
            pages: vec![
                Page {
                    path: "/letters",
                    lines: Arc::new(|| Ok("one\n".into())),
                },
                Page {
                    path: "/broken",
                    lines: Arc::new(|| Err("no disk\n".into())),
                },
            ],
        });
        assert_eq!(call(&router, "/livez").await, (200, "alive\n".into()));
        assert_eq!(call(&router, "/readyz").await, (503, "not ready: starting\n".into()));
        ready.store(true, Ordering::Relaxed);
        assert_eq!(call(&router, "/readyz").await, (200, "ready\n".into()));
        assert!(!refreshed.load(Ordering::Relaxed));
        assert_eq!(call(&router, "/metrics").await.0, 200);
        assert!(refreshed.load(Ordering::Relaxed));
        assert_eq!(call(&router, "/elsewhere").await.0, 404);
        assert_eq!(call(&router, "/letters").await, (200, "one\n".into()));
        assert_eq!(call(&router, "/broken").await, (500, "no disk\n".into()));
    }

    #[tokio::test]
    async fn check_ready_returns_what_the_service_says() {
        let (stop, ready) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_ready = ready.clone();
        let probes = Probes {
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            refresh_gauges: Box::new(|| ()),
            ready: Box::new(move || match is_ready.load(Ordering::Relaxed) {
                true => Ok("ready\n".into()),
                false => Err("not ready: starting\n".into()),
            }),
            pages: Vec::new(),
        };
        let served = tokio::spawn(serve(listener, probes, stop.clone()));
        let any = SocketAddr::from(([0, 0, 0, 0], port));
        assert_eq!(check_ready(any).await, Err("not ready: starting".into()));
        ready.store(true, Ordering::Relaxed);
        assert_eq!(check_ready(any).await, Ok("ready\n".into()));
        stop.cancel();
        served.await.unwrap().unwrap();
        let error = check_ready(any).await.unwrap_err();
        assert!(
            error.starts_with(&format!("no response from http://127.0.0.1:{port}/readyz: ")),
            "{error}"
        );
    }
}
