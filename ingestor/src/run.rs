//! Opens everything in order, wires it, and ends it in order.

#[cfg(feature = "jetstream")]
mod leader;
mod ready;
mod source;

use std::{net::SocketAddr, sync::Arc};

use killfeed_service::settings::SettingError;
use killfeed_service::trace::Traces;
use killfeed_service::{
    clock::Clock,
    probes::{self, Probes},
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinSet, spawn_blocking},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

#[cfg(feature = "jetstream")]
use crate::log::{JetStreamLog, JetStreamOptions};
use crate::{
    enrich::{EnrichSettings, Enricher},
    feed::r2z2::R2z2Settings,
    grpc::{self, GrpcSettings},
    health::{self, FeedReport},
    log::{EmbeddedLog, LogRead, Options},
    metrics,
    pipeline::Pipeline,
    reload::Reload,
    settings::{Engine, NatsSettings, Settings},
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
#[derive(Debug)]
pub struct Running {
    /// Where gRPC listens; differs from the setting if that said port 0.
    pub grpc_addr: SocketAddr,
    /// Where /metrics, /livez and /readyz are.
    pub http_addr: SocketAddr,
    reload: Arc<Reload>,
    tasks: JoinSet<Result<(), StartError>>,
    traces: Traces,
    shutdown: CancellationToken,
}

impl Running {
    /// What can be read again while it runs.
    pub fn reload(&self) -> Arc<Reload> {
        self.reload.clone()
    }

    /// Waits for the end: of the shutdown token, or of a part that could not go on. Everything has stopped then.
    pub async fn finished(mut self) -> Result<(), StartError> {
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.unwrap_or_else(|error| Err(failed(format!("an ingestor task failed: {error}"))));
            if ended.is_err() && result.is_ok() {
                result = ended;
            }
            // Parts end together: one that ends early takes the others with it.
            self.shutdown.cancel();
        }
        self.traces.finish().await;
        info!("stopped");
        result
    }
}

/// Starts an ingestor and waits for its end.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> Result<(), StartError> {
    start(settings, shutdown).await?.finished().await
}

/// Starts an ingestor; it runs until `shutdown` is cancelled. Nothing is bound if the settings or the data folder are bad.
pub async fn start(settings: Settings, shutdown: CancellationToken) -> Result<Running, StartError> {
    let shutdown = shutdown.child_token();
    // A start that fails half-way ends what it had begun.
    let guard = shutdown.clone().drop_guard();
    let render = metrics::install();
    let traces = traces(&settings)?;
    // Read here, so that a bad file ends the program before a port is bound.
    let reload = Reload::read(&settings).map_err(StartError::Configuration)?;
    let mut grpc_settings = grpc_settings(&settings, &reload);
    let log = open_log(&settings).await?;
    let enrich = Enricher::open(enrich_settings(&settings), shutdown.clone())
        .await
        .map_err(configuration)?;
    let (report, feed_health) = health::channel();
    let writer = IngestMode::prepare(&settings, &log, &report, &traces).await?;
    grpc_settings.ready = writer.ready();
    grpc_settings.traces = traces.clone();

    let grpc_listener = bind("INGESTOR_GRPC_ADDR", settings.grpc_addr).await?;
    let http_listener = bind("INGESTOR_HTTP_ADDR", settings.http_addr).await?;
    let grpc_addr = grpc_listener.local_addr().map_err(failed)?;
    let http_addr = http_listener.local_addr().map_err(failed)?;

    let mut tasks = JoinSet::new();
    let (static_data, caught_up) = (enrich.clone(), writer.ready());
    let ready = move || match &caught_up {
        _ if !static_data.ready() => Err("static data is not loaded yet"),
        Some(caught_up) if !*caught_up.borrow() => Err("the log has not caught up with the upstream ingestor yet"),
        _ => Ok(()),
    };
    let reported = feed_health.clone();
    let (measured, lags, budget) = (log.reader(), grpc_settings.lags.clone(), enrich.clone());
    let measure = move || {
        let status = measured.status();
        metrics::log(&status, Clock::system().now().wall_ms());
        lags.record_metrics(status.head);
        budget.record_metrics();
    };
    let probes = Probes {
        metrics: render,
        refresh_gauges: Box::new(measure),
        ready: Box::new(move || ready::lines(ready(), &reported.borrow())),
        pages: Vec::new(),
    };
    let http = probes::serve(http_listener, probes, shutdown.clone());
    tasks.spawn(async move { http.await.map_err(failed) });

    let static_data = enrich.clone();
    let edge = grpc::serve(
        grpc_listener,
        grpc_settings,
        log.reader(),
        Arc::new(Universe::new(enrich.universe())),
        feed_health,
        move || static_data.static_build(),
        shutdown.clone(),
    );
    tasks.spawn(async move { edge.await.map_err(failed) });

    let reader = log.reader();
    let head = *reader.head().borrow();
    info!(%grpc_addr, %http_addr, data_dir = %settings.data_dir.display(), log_id = %reader.id(), head = head.offset.0, "started");
    let stop = shutdown.clone();
    tasks.spawn(writer.run(settings, enrich, report, traces.clone(), stop));
    guard.disarm();
    Ok(Running {
        grpc_addr,
        http_addr,
        reload: Arc::new(reload),
        tasks,
        traces,
        shutdown,
    })
}

fn traces(settings: &Settings) -> Result<Traces, StartError> {
    let Some(endpoint) = &settings.otlp_endpoint else {
        return Ok(Traces::default());
    };
    let ca = settings.otlp_ca.as_deref();
    Traces::start(endpoint, ca, "killfeed-ingestor", env!("CARGO_PKG_VERSION"))
        .map_err(|error| configuration(SettingError::new(error.variable, &error.value, error.expected)))
}

/// An open log.
#[derive(Clone)]
enum Log {
    /// Of this process alone.
    Embedded(Arc<EmbeddedLog>),
    /// Of several.
    #[cfg(feature = "jetstream")]
    Shared(Arc<JetStreamLog>),
}

impl Log {
    fn reader(&self) -> Arc<dyn LogRead> {
        match self {
            Self::Embedded(log) => log.clone(),
            #[cfg(feature = "jetstream")]
            Self::Shared(log) => log.clone(),
        }
    }
}

async fn open_log(settings: &Settings) -> Result<Log, StartError> {
    match &settings.engine {
        Engine::Embedded => {
            let dir = settings.data_dir.clone();
            let options = Options {
                reserve_bytes: settings.disk_reserve,
                source: source::log_source(settings),
                ..Options::new(settings.retention)
            };
            // Opening reads the file and checks it.
            let opened = spawn_blocking(move || EmbeddedLog::open(&dir, options)).await;
            let log = opened.map_err(failed)?.map_err(configuration)?;
            Ok(Log::Embedded(Arc::new(log)))
        }
        #[cfg(not(feature = "jetstream"))]
        Engine::Nats(nats) => Err(without_jetstream(nats)),
        #[cfg(feature = "jetstream")]
        Engine::Nats(nats) => {
            let opened = JetStreamLog::open(shared_options(settings, nats)).await;
            let log = opened.map_err(|error| {
                if error.is_configuration() {
                    configuration(error)
                } else {
                    failed(error)
                }
            })?;
            Ok(Log::Shared(Arc::new(log)))
        }
    }
}

/// Returns why a build without the feature `jetstream` does not start on a shared log.
#[cfg(any(test, not(feature = "jetstream")))]
fn without_jetstream(nats: &NatsSettings) -> StartError {
    let expected = "embedded, or a build with the feature jetstream";
    configuration(SettingError::new("INGESTOR_LOG", &nats.servers.join(","), expected))
}

#[cfg(feature = "jetstream")]
fn shared_options(settings: &Settings, nats: &NatsSettings) -> JetStreamOptions {
    JetStreamOptions {
        servers: nats.servers.clone(),
        creds_file: nats.creds_file.clone(),
        ca: nats.ca.clone(),
        stream: nats.stream.clone(),
        replicas: nats.replicas,
        retention: settings.retention,
        window_bytes: Options::new(settings.retention).window_bytes,
        data_dir: settings.data_dir.clone(),
    }
}

/// What fills the log.
enum IngestMode {
    /// One source, from the start to the end.
    Alone(source::OpenedSource, Arc<EmbeddedLog>),
    /// A source whenever it is this ingestor's turn.
    #[cfg(feature = "jetstream")]
    InTurn(Arc<JetStreamLog>),
}

impl IngestMode {
    async fn prepare(
        settings: &Settings,
        log: &Log,
        report: &watch::Sender<FeedReport>,
        traces: &Traces,
    ) -> Result<Self, StartError> {
        match log {
            Log::Embedded(log) => {
                let source = source::open(settings, &**log, &**log, report.clone(), traces).await?;
                Ok(Self::Alone(source, log.clone()))
            }
            #[cfg(feature = "jetstream")]
            Log::Shared(log) => Ok(Self::InTurn(log.clone())),
        }
    }

    /// Turns true once the log may be read from any place; `None` = from the start.
    fn ready(&self) -> Option<watch::Receiver<bool>> {
        match self {
            Self::Alone(source, _) => source.ready.clone(),
            #[cfg(feature = "jetstream")]
            Self::InTurn(_) => None,
        }
    }

    async fn run(
        self,
        #[cfg_attr(
            not(feature = "jetstream"),
            expect(unused_variables, reason = "only a leader needs them")
        )]
        settings: Settings,
        enrich: Enricher,
        report: watch::Sender<FeedReport>,
        traces: Traces,
        stop: CancellationToken,
    ) -> Result<(), StartError> {
        let (source, log) = match self {
            Self::Alone(source, log) => (source, log),
            #[cfg(feature = "jetstream")]
            Self::InTurn(log) => return Box::pin(leader::run(log, settings, enrich, report, traces, stop)).await,
        };
        let head = *log.head().borrow();
        let pipeline = Pipeline::new(source.feed, log, enrich.clone(), Clock::system(), head)
            .reporting(report)
            .tracing(traces);
        // Without static data a killmail would be logged without its place for good.
        let ready = async {
            if source.needs_static_data {
                enrich.wait_ready().await;
            }
        };
        if stop.run_until_cancelled(ready).await.is_some() {
            pipeline.run(stop).await;
        }
        Ok(())
    }
}

fn enrich_settings(settings: &Settings) -> EnrichSettings {
    EnrichSettings {
        data_dir: settings.data_dir.clone(),
        esi_url: settings.esi_url.clone(),
        static_data_url: settings.static_data_url.clone(),
        user_agent: settings.user_agent(),
    }
}

fn feed_settings(settings: &Settings) -> R2z2Settings {
    R2z2Settings {
        base_url: settings.feed_url.clone(),
        start: settings.feed_start,
        poll_interval: settings.feed_poll_interval,
        rate: settings.feed_rate,
        hole_rechecks: settings.feed_hole_rechecks.clone(),
        user_agent: settings.user_agent(),
    }
}

fn grpc_settings(settings: &Settings, files: &Reload) -> GrpcSettings {
    GrpcSettings {
        tokens: files.tokens(),
        tls: files.tls(),
        max_streams: settings.max_streams,
        max_streams_per_token: settings.max_streams_per_token,
        max_connections: settings.max_connections,
        max_connections_per_address: settings.max_connections_per_address,
        max_calls: settings.max_calls,
        drain_timeout: settings.drain_timeout,
        max_stream_age: Some(settings.max_stream_age),
        ..GrpcSettings::default()
    }
}

async fn bind(variable: &str, addr: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(addr).await;
    bound.map_err(|error| failed(format!("{variable}={addr}: cannot listen on this address: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_log_needs_a_build_with_jetstream() {
        let nats = NatsSettings {
            servers: vec!["nats://a:4222".into(), "nats://b:4222".into()],
            creds_file: None,
            ca: None,
            stream: "killfeed".into(),
            replicas: 1,
        };
        let error = without_jetstream(&nats);
        assert!(error.is_configuration());
        assert_eq!(
            error.to_string(),
            r#"INGESTOR_LOG="nats://a:4222,nats://b:4222": expected embedded, or a build with the feature jetstream"#
        );
    }
}
