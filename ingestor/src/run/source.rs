//! The source that the settings name, made and introduced to the log.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use killfeed_service::trace::Traces;
use tokio::sync::watch;

use super::{StartError, configuration, failed, feed_settings};
use crate::{
    feed::{
        Feed,
        r2z2::R2z2,
        relay::{LogPosition, Relay, RelaySettings},
        replay::{Replay, ReplaySettings},
    },
    health::FeedReport,
    log::{LogMode, LogRead, LogWrite},
    reload,
    settings::{RelaySource, Settings, Source},
};

/// An upstream gets this long to say whose log it has before the start goes on without it.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// A source, ready to be asked.
pub(super) struct OpenedSource {
    pub(super) feed: Box<dyn Feed>,
    /// Turns true once the log may be read from any place; `None` = from the start.
    pub(super) ready: Option<watch::Receiver<bool>>,
    /// Its documents get their places from static data.
    pub(super) needs_static_data: bool,
}

/// Where the log's records will come from.
pub(super) fn log_source(settings: &Settings) -> LogMode {
    match settings.source {
        Source::Relay(_) => LogMode::Relay,
        Source::R2z2 | Source::Replay { .. } => LogMode::Own,
    }
}

/// Makes the source. A relay asks its upstream first whether this log may follow it.
pub(super) async fn open(
    settings: &Settings,
    log: &dyn LogRead,
    writer: &dyn LogWrite,
    report: watch::Sender<FeedReport>,
    traces: &Traces,
) -> Result<OpenedSource, StartError> {
    let Source::Relay(relay) = &settings.source else {
        return own(settings, writer, report, None).await;
    };
    let state = writer.feed_state().await.map_err(failed)?;
    let head = *log.head().borrow();
    let place = LogPosition {
        id: log.id(),
        ancestors: log.ancestors(),
        head: head.offset,
        head_ms: head.ingested_ms,
    };
    let relay = Relay::new(&relay_settings(relay)?, place, state, report, traces).map_err(configuration)?;
    relay.check_upstream(UPSTREAM_TIMEOUT).await.map_err(configuration)?;
    Ok(OpenedSource {
        ready: Some(relay.ready()),
        feed: Box::new(relay),
        needs_static_data: false,
    })
}

/// Makes a source whose records this ingestor numbers itself. `settled`: its last state in this process, if it may not have been stored.
pub(super) async fn own(
    settings: &Settings,
    writer: &dyn LogWrite,
    report: watch::Sender<FeedReport>,
    settled: Option<Bytes>,
) -> Result<OpenedSource, StartError> {
    let state = writer.feed_state().await.map_err(failed)?;
    let feed: Box<dyn Feed> = match &settings.source {
        Source::R2z2 => {
            let feed = R2z2::new(feed_settings(settings), state, report).map_err(configuration)?;
            match settled {
                Some(settled) => Box::new(feed.with_ban_of(&settled).map_err(configuration)?),
                None => Box::new(feed),
            }
        }
        Source::Replay { path, speed } => {
            let replay = ReplaySettings {
                path: path.clone(),
                speed: *speed,
            };
            Box::new(Replay::new(&replay, state, report).map_err(configuration)?)
        }
        Source::Relay(_) => {
            return Err(configuration(
                "INGESTOR_SOURCE: a relay cannot write to a shared log, because it keeps its upstream's offsets",
            ));
        }
    };
    Ok(OpenedSource {
        feed,
        ready: None,
        needs_static_data: true,
    })
}

fn relay_settings(relay: &RelaySource) -> Result<RelaySettings, StartError> {
    let pem = |variable: &str, path: &Path| reload::read_pem(variable, path).map_err(StartError::Configuration);
    let ca = relay.ca.as_deref().map(|path| pem("INGESTOR_RELAY_CA", path));
    let identity = relay.identity.as_ref().map(|(certificate, key)| {
        Ok::<_, StartError>((
            pem("INGESTOR_RELAY_CERT", certificate)?,
            pem("INGESTOR_RELAY_KEY", key)?,
        ))
    });
    Ok(RelaySettings {
        url: relay.url.clone(),
        token: relay.token.as_ref().map(|token| token.0.clone()),
        ca: ca.transpose()?,
        identity: identity.transpose()?,
    })
}
