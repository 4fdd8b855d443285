//! Opens everything in order, wires it, and ends it in order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    clock::SystemClock,
    enrich::{Enrich, EnrichSettings},
    feed::r2z2::{R2z2, R2z2Settings},
    grpc::{self, GrpcSettings},
    health::{self},
    http::{self, Probes},
    log::{self, EmbeddedLog, LogRead, LogWrite, OpenOptions, retention},
    metrics,
    pipeline::Pipeline,
    settings::Settings,
    universe::Universe,
};

/// Why the ingestor did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting, a file it names or the data folder: only the operator can mend it.
    #[error("{0}")]
    Configuration(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl StartError {
    /// Whether trying again without a change is pointless (exit code 78).
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Configuration(_))
    }
}

fn configuration(error: impl std::fmt::Display) -> StartError {
    StartError::Configuration(error.to_string())
}

fn failed(error: impl std::fmt::Display) -> StartError {
    StartError::Failed(error.to_string())
}

/// An ingestor at work.
pub struct Running {
    /// Where gRPC listens; differs from the setting if that said port 0.
    pub grpc_addr: SocketAddr,
    /// Where /metrics, /livez and /readyz are.
    pub http_addr: SocketAddr,
    tasks: JoinSet<Result<(), StartError>>,
    shutdown: CancellationToken,
}

impl Running {
    /// Waits for the end: of the shutdown token, or of a part that could not go on. Everything has stopped then.
    pub async fn finished(mut self) -> Result<(), StartError> {
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.unwrap_or_else(|error| Err(failed(format!("a part of the ingestor broke: {error}"))));
            if ended.is_err() && result.is_ok() {
                result = ended;
            }
            // Parts end together: one that ends early takes the others with it.
            self.shutdown.cancel();
        }
        info!("stopped");
        result
    }
}

/// Starts an ingestor; it runs until `shutdown` is cancelled. Nothing is bound if the settings or the data folder are bad.
pub async fn start(settings: Settings, shutdown: CancellationToken) -> Result<Running, StartError> {
    let shutdown = shutdown.child_token();
    let render = metrics::install();
    if settings.otlp_endpoint.is_some() {
        warn!("OTEL_EXPORTER_OTLP_ENDPOINT is set, but this version sends no traces");
    }
    let grpc_settings = GrpcSettings::load(&settings).map_err(configuration)?;

    let log_options = OpenOptions { disk_reserve: settings.disk_reserve, ..OpenOptions::default() };
    let log = EmbeddedLog::open(&settings.data_dir, log_options).await.map_err(configuration)?;
    let log = Arc::new(log);
    let enrich = Arc::new(Enrich::open(enrich_settings(&settings), shutdown.clone()).await.map_err(configuration)?);
    let state = log.feed_state().await.map_err(failed)?;
    let (report, feed_health) = health::channel();
    let feed = R2z2::new(feed_settings(&settings), state, report).map_err(configuration)?;
    let universe = Arc::new(Universe::new(&enrich));

    let grpc_listener = bind("INGESTOR_GRPC_ADDR", settings.grpc_addr).await?;
    let http_listener = bind("INGESTOR_HTTP_ADDR", settings.http_addr).await?;
    let grpc_addr = grpc_listener.local_addr().map_err(failed)?;
    let http_addr = http_listener.local_addr().map_err(failed)?;

    let mut tasks = JoinSet::new();
    let probes = Probes {
        metrics: render,
        feed: feed_health.clone(),
        ready: {
            let enrich = Arc::clone(&enrich);
            Box::new(move || enrich.ready().then_some(()).ok_or_else(|| "static data is not loaded yet".into()))
        },
    };
    let http = http::serve(http_listener, probes, shutdown.clone());
    tasks.spawn(async move { http.await.map_err(failed) });

    let reader: Arc<dyn LogRead> = log.clone();
    let edge = grpc::serve(grpc_listener, grpc_settings, reader, universe, feed_health, shutdown.clone());
    tasks.spawn(async move { edge.await.map_err(failed) });

    tasks.spawn(retention::run(Arc::clone(&log), settings.retention, shutdown.clone()));

    let head = *LogRead::head(&*log).borrow();
    let pipeline = Pipeline::new(Box::new(feed), log.clone(), Arc::clone(&enrich), Arc::new(SystemClock), head);
    let stop = shutdown.clone();
    tasks.spawn(async move {
        // Without static data a killmail would be logged without its place for good.
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = enrich.wait_ready() => {}
        }
        pipeline.run(stop).await;
        Ok(())
    });

    info!(%grpc_addr, %http_addr, data_dir = %settings.data_dir.display(), log_id = %log.id(), "started");
    Ok(Running { grpc_addr, http_addr, tasks, shutdown })
}

async fn bind(variable: &str, addr: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(addr).await;
    bound.map_err(|error| failed(format!("{variable}={addr}: cannot listen there: {error}")))
}
