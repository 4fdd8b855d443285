//! `killfeed-ingestor backfill`: fills the log from zKillboard's history, while no ingestor runs on the data folder.

use std::sync::Arc;

use killfeed::id::KillmailId;
use killfeed_service::clock::Clock;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    enrich::{EnrichSettings, Enricher},
    feed::history::{BackfillOutcome, BackfillProgress, Day, HistoryFeed, HistorySettings, KnownFn},
    log::{EmbeddedLog, LogMode, LogOpenError, LogRead as _, LogWrite, Options},
    metrics,
    pipeline::Pipeline,
    settings::{Engine, Settings},
};

/// Why a backfill did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// A setting, the days or the data folder: only the operator can mend it.
    #[error("{0}")]
    Configuration(String),
    /// It may work later, with nothing changed.
    #[error("{0}")]
    Later(String),
}

/// Fills the log with the killmails of these days, both included, and says how it goes. Ends early when `shutdown` is cancelled; what
/// is done by then stays done.
pub async fn backfill(
    settings: &Settings,
    from: Day,
    to: Day,
    progress: watch::Sender<Option<BackfillProgress>>,
    shutdown: CancellationToken,
) -> Result<BackfillProgress, BackfillError> {
    let shutdown = shutdown.child_token();
    let _ends_everything = shutdown.clone().drop_guard();
    let yesterday = Day::of(Clock::system().now().wall_ms() - 86_400_000);
    if from > to {
        let text = format!("--from {from} is after --to {to}: expected the first day, then the last");
        return Err(BackfillError::Configuration(text));
    }
    if to > yesterday {
        let text = format!(
            "--to {to}: expected {yesterday} or earlier, because zKillboard publishes a day only after it has ended"
        );
        return Err(BackfillError::Configuration(text));
    }
    if settings.engine != Engine::Embedded {
        let text = "backfill works only with the embedded log: expected INGESTOR_LOG=embedded";
        return Err(BackfillError::Configuration(text.into()));
    }
    metrics::install();
    let log = Arc::new(open_log(settings).await?);
    let enrich = EnrichSettings {
        data_dir: settings.data_dir.clone(),
        esi_url: settings.esi_url.clone(),
        static_data_url: settings.static_data_url.clone(),
        user_agent: settings.user_agent(),
    };
    let enrich = Enricher::open(enrich, shutdown.clone())
        .await
        .map_err(|error| BackfillError::Configuration(error.to_string()))?;
    let state = log.feed_state().await;
    let state = state.map_err(|error| BackfillError::Later(error.to_string()))?;
    let history = HistorySettings {
        base_url: settings.feed_url.clone(),
        rate: settings.feed_rate,
        user_agent: settings.user_agent(),
        from,
        to,
    };
    let history = HistoryFeed::new(&history, state, known(log.clone()))
        .map_err(|error| BackfillError::Configuration(error.to_string()))?;
    let mut watched = history.progress();
    let head = *log.head().borrow();
    let pipeline = Pipeline::new(Box::new(history), log, enrich.clone(), Clock::system(), head);
    let stop = shutdown.clone();
    let running = tokio::spawn(async move {
        // Without static data a killmail would be logged without its place for good.
        if stop.run_until_cancelled(enrich.wait_ready()).await.is_some() {
            pipeline.run(stop).await;
        }
    });
    let ended = async {
        loop {
            let now = watched.borrow_and_update().clone();
            progress.send_replace(Some(now.clone()));
            if now.outcome.is_some() || watched.changed().await.is_err() {
                return now;
            }
        }
    };
    let last = shutdown.run_until_cancelled(ended).await;
    shutdown.cancel();
    if let Err(error) = running.await {
        return Err(BackfillError::Later(format!("a backfill task failed: {error}")));
    }
    let Some(last) = last else {
        let text = "backfill stopped by a signal; run the same command again to continue";
        return Err(BackfillError::Later(text.into()));
    };
    match &last.outcome {
        Some(BackfillOutcome::Done) => Ok(last),
        Some(BackfillOutcome::NotThere(day)) => Err(BackfillError::Later(format!(
            "zKillboard has not published {day} yet, but the days before it are done; run the same command again later"
        ))),
        Some(BackfillOutcome::GaveUp(reason)) => Err(BackfillError::Later(format!(
            "backfill stopped: {reason}; run the same command again later to continue with {}",
            last.day
        ))),
        None => Err(BackfillError::Later(format!(
            "backfill stopped at {} without a result; run the same command again",
            last.day
        ))),
    }
}

async fn open_log(settings: &Settings) -> Result<EmbeddedLog, BackfillError> {
    let dir = settings.data_dir.clone();
    let options = Options {
        reserve_bytes: settings.disk_reserve,
        source: LogMode::Command,
        ..Options::new(settings.retention)
    };
    let opened = spawn_blocking(move || EmbeddedLog::open(&dir, options)).await;
    let opened = opened.map_err(|error| BackfillError::Later(error.to_string()))?;
    opened.map_err(|error| match error {
        LogOpenError::Locked { path } => BackfillError::Later(format!(
            "backfill cannot use the data folder {}: a running ingestor is using it; stop that one first",
            path.display()
        )),
        error => BackfillError::Configuration(error.to_string()),
    })
}

/// Asks the log, and waits for it while its disk fails.
fn known(log: Arc<EmbeddedLog>) -> KnownFn {
    Box::new(move |ids: Vec<KillmailId>| {
        let log = log.clone();
        Box::pin(async move {
            loop {
                match log.dedup_entries(&ids).await {
                    Ok(marks) => return marks.iter().map(Option::is_some).collect(),
                    Err(error) => {
                        tracing::error!(%error, "reading dedup entries failed, trying again");
                        sleep(std::time::Duration::from_secs(1)).await;
                    }
                }
            }
        })
    })
}
