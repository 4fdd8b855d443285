//! Adds what a killmail's ids mean: places, groups and categories from CCP's static data, names and tickers from ESI.
//!
//! Enrichment may degrade (ids without names), never stall and never drop: ESI away costs names, not killmails. Static data is
//! what there is no doing without: until a first build is loaded, from disk or network, the ingestor is not ready.

mod backoff;
pub mod fill;
mod handle;
pub mod sde;
pub mod static_data;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use killfeed::v1::Killmail;
use tokio::{task, time};
use tokio_util::sync::CancellationToken;

use backoff::Backoff;
pub use handle::StaticHandle;
use sde::{Downloader, Folder, Refreshed};
use static_data::StaticData;

/// CCP publishes a build every week or so, after the daily downtime.
const CHECK_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// While a check fails it is tried again, ever less often.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST_WITHOUT_DATA: Duration = Duration::from_secs(60);
const RETRY_LAST: Duration = Duration::from_secs(3600);
/// No server that is there takes longer to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the enricher needs to know.
#[derive(Debug, Clone)]
pub struct EnrichSettings {
    /// The ingestor's data folder: `static/` and `names.redb` are made in it.
    pub data_dir: PathBuf,
    /// ESI's base.
    pub esi_url: String,
    /// The base of `/tranquility/...`.
    pub static_data_url: String,
    /// `killfeed/<version> (<contact>)`.
    pub user_agent: String,
}

/// Why the enricher can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data folder can't be used.
    #[error("the folder for static data under {path} can't be used: {error}")]
    Folder {
        /// The data folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No HTTP client can be made.
    #[error("the HTTP client can't be made: {0}")]
    Http(reqwest::Error),
}

/// Enriches killmails. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Enrich {
    static_data: StaticHandle,
}

/// What searches and filters read: static data, and the names seen so far. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UniverseRead {
    static_data: StaticHandle,
}

impl UniverseRead {
    /// The build in use; `None` before the first is loaded.
    pub fn static_data(&self) -> Option<Arc<StaticData>> {
        self.static_data.get()
    }
}

impl Enrich {
    /// Loads what the data folder holds and starts what keeps it fresh, until `shutdown`. Comes back ready if there was static
    /// data on disk; else [`Enrich::wait_ready`] says when it came over the network.
    pub async fn open(settings: EnrichSettings, shutdown: CancellationToken) -> Result<Self, OpenError> {
        let http = reqwest::Client::builder()
            .user_agent(&settings.user_agent)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(OpenError::Http)?;
        let path = settings.data_dir.clone();
        let folder = |error| OpenError::Folder {
            path: settings.data_dir.clone(),
            error,
        };
        let opened = task::spawn_blocking(move || {
            let folder = Folder::open(&path)?;
            let data = folder.load();
            Ok((folder, data))
        });
        let opened = opened.await.map_err(|error| folder(io::Error::other(error)))?;
        let (cache, data) = opened.map_err(folder)?;
        if let Some(data) = &data {
            tracing::info!(build = data.build(), counts = ?data.counts(), "static data loaded from disk");
        }
        let static_data = StaticHandle::new(data);
        let downloader = Downloader::new(http.clone(), &settings.static_data_url, cache);
        let keep = keep_static_data(downloader, static_data.clone());
        tokio::spawn(async move { shutdown.run_until_cancelled(keep).await });
        Ok(Self { static_data })
    }

    /// Fills in places, groups, categories and names.
    pub async fn enrich(&self, killmails: &mut [Killmail]) {
        let Some(data) = self.static_data.get() else {
            return;
        };
        for killmail in killmails {
            fill::fill_places_and_types(&*data, killmail);
            killmail.entities = fill::entities(&*data, &fill::ids(killmail));
        }
    }

    /// For searches and filters.
    pub fn universe(&self) -> UniverseRead {
        UniverseRead {
            static_data: self.static_data.clone(),
        }
    }

    /// CCP's number of the static data in use; empty before the first is loaded.
    pub fn static_build(&self) -> String {
        self.static_data
            .get()
            .map(|data| data.build().to_owned())
            .unwrap_or_default()
    }

    /// Whether static data is loaded.
    pub fn ready(&self) -> bool {
        self.static_data.get().is_some()
    }

    /// Comes back once static data is loaded.
    pub async fn wait_ready(&self) {
        self.static_data.loaded().await;
    }
}

/// Looks for a new build each day; until there is a first one, over and over. Never ends.
async fn keep_static_data(mut downloader: Downloader, handle: StaticHandle) {
    let mut backoff = Backoff::new(RETRY_FIRST);
    loop {
        let in_use = handle.get();
        let wait = match downloader.refresh(in_use.clone()).await {
            Ok(Refreshed::Unchanged) => {
                backoff.reset();
                CHECK_INTERVAL
            }
            Ok(Refreshed::New(data)) => {
                tracing::info!(build = data.build(), counts = ?data.counts(), "new static data in use");
                handle.swap(*data);
                backoff.reset();
                CHECK_INTERVAL
            }
            Err(error) => {
                let most = if in_use.is_some() {
                    RETRY_LAST
                } else {
                    RETRY_LAST_WITHOUT_DATA
                };
                let wait = backoff.next(most);
                tracing::warn!(%error, build_in_use = in_use.as_ref().map(|data| data.build()), retry_in = ?wait, "no new static data");
                wait
            }
        };
        time::sleep(wait).await;
    }
}
