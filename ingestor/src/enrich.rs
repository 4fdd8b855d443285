//! Adds what a killmail's ids mean: places, groups and categories from CCP's static data, names and tickers from ESI.
//!
//! Enrichment may degrade (ids without names), never stall and never drop: ESI away costs names, not killmails. Static data is
//! what there is no doing without: until a first build is loaded, from disk or network, the ingestor is not ready.

pub mod cache;
pub mod esi;
mod esi_fallback;
pub mod fill;
mod handle;
mod batcher;
pub mod names;
pub mod sde;
pub mod static_data;
mod lookup;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use killfeed::{backoff::Backoff, id::KillmailId, v1::Killmail};
use metrics::counter;
use tokio::{
    runtime::Handle,
    task,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use cache::CacheError;
use esi::{Esi, EsiError};
use esi_fallback::EsiFallback;
pub use handle::StaticHandle;
use lookup::BatchLookup;
use names::NameDirectory;
use sde::{Downloader, Folder, Refreshed};
use static_data::StaticData;

/// Counts names that killmails went without because they did not come in time.
pub const NAMES_LEFT_OUT: &str = "killfeed_ingestor_names_left_out_total";

/// Looks for static data that did not end well.
pub const STATIC_DATA_FAILURES: &str = "killfeed_static_data_failures_total";

/// Counters and what they count, for the service's table.
pub const COUNTERS: &[(&str, &str)] = &[
    (
        NAMES_LEFT_OUT,
        "Names left out of killmails because they did not arrive in time",
    ),
    (esi::ESI_REQUESTS, "Requests to ESI, by route and outcome"),
    (
        STATIC_DATA_FAILURES,
        "Failed checks for new static data (unavailable, corrupt or incomplete); the current data stays in use",
    ),
];

/// Gauges and what they show, for the service's table.
pub const GAUGES: &[(&str, &str)] = &[
    (
        esi::TOKENS_LEFT,
        "Tokens left in ESI's floating window, by route; half of them are kept free",
    ),
    (
        esi::ERRORS_LEFT,
        "Errors left of ESI's old limit of 100 per minute, as last reported",
    ),
    (esi::SILENT, "Seconds until ESI may be called again; 0 = now"),
];

/// A killmail waits no longer than this for its names.
const NAMES_TIMEOUT: Duration = Duration::from_secs(1);

/// CCP publishes a build every week or so, after the daily downtime.
const CHECK_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// While a check fails it is tried again, ever less often.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF_WITHOUT_DATA: Duration = Duration::from_secs(60);
const MAX_BACKOFF: Duration = Duration::from_secs(3600);
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
pub enum EnrichOpenError {
    /// The data folder can't be used.
    #[error("cannot use the static data folder in {path}: {error}")]
    Folder {
        /// The data folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The names on disk can't be used.
    #[error(transparent)]
    Names(#[from] CacheError),
    /// No HTTP client can be made.
    #[error("cannot create the HTTP client: {0}")]
    Http(reqwest::Error),
}

/// Enriches killmails. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Enricher {
    static_data: StaticHandle,
    extra: EsiFallback,
    names: NameDirectory,
    esi: Esi,
}

/// What searches and filters read: static data, and the names seen so far. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UniverseRead {
    static_data: StaticHandle,
    names: NameDirectory,
}

impl UniverseRead {
    /// The build in use; `None` before the first is loaded.
    pub fn static_data(&self) -> Option<Arc<StaticData>> {
        self.static_data.get()
    }

    /// Names of pilots, corporations and alliances.
    pub fn names(&self) -> &NameDirectory {
        &self.names
    }
}

impl Enricher {
    /// Loads what the data folder holds and starts what keeps it fresh, until `shutdown`. Comes back ready if there was static
    /// data on disk; else [`Enricher::wait_ready`] says when it came over the network.
    pub async fn open(settings: EnrichSettings, shutdown: CancellationToken) -> Result<Self, EnrichOpenError> {
        let http = reqwest::Client::builder()
            .user_agent(&settings.user_agent)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(EnrichOpenError::Http)?;
        let path = settings.data_dir.clone();
        let folder = |error| EnrichOpenError::Folder {
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
        let esi = Esi::new(http.clone(), &settings.esi_url);
        let (path, client, token) = (settings.data_dir.clone(), esi.clone(), shutdown.clone());
        let runtime = Handle::current();
        let names = task::spawn_blocking(move || {
            // The lanes are spawned from in here.
            let _inside = runtime.enter();
            NameDirectory::open(&path, client, token)
        });
        let names = names.await.map_err(|error| folder(io::Error::other(error)))??;
        let extra = EsiFallback::new(esi.clone(), static_data.clone(), shutdown.clone());
        let downloader = Downloader::new(http, &settings.static_data_url, cache);
        let keep = refresh_static_data(downloader, static_data.clone());
        tokio::spawn(async move { shutdown.run_until_cancelled(keep).await });
        Ok(Self {
            static_data,
            extra,
            names,
            esi,
        })
    }

    /// Fills in places, groups, categories and the dictionary of names, waiting for ESI no longer than about a second in all.
    /// What did not come stays out of these killmails and is there for the next.
    pub async fn enrich(&self, killmails: &mut [Killmail]) {
        let deadline = Instant::now() + NAMES_TIMEOUT;
        let data = self.static_data.get();
        let mut view = BatchLookup {
            data: data.as_deref(),
            extra: self.extra.known(),
            names: &self.names,
        };
        let mut unknown = Vec::new();
        for killmail in killmails.iter_mut() {
            fill::fill_places_and_types(&view, killmail);
            unknown.extend(view.unknown(killmail));
        }
        if !unknown.is_empty() && data.is_some() {
            unknown.sort_unstable();
            unknown.dedup();
            if let Some(come) = self.extra.ask(unknown)
                && !self.names.is_slow()
            {
                // Half of the time at most: names are worth more.
                let _ = time::timeout_at(deadline - NAMES_TIMEOUT / 2, come).await;
            }
            view.extra = self.extra.known();
            for killmail in killmails.iter_mut() {
                fill::fill_places_and_types(&view, killmail);
            }
        }
        let ids: Vec<_> = killmails.iter().map(fill::ids).collect();
        let mut dynamic: Vec<_> = ids
            .iter()
            .flatten()
            .copied()
            .filter(|(kind, _)| names::is_dynamic(*kind))
            .collect();
        dynamic.sort_unstable();
        dynamic.dedup();
        let left_out = self.names.look_up(dynamic, deadline).await;
        counter!(NAMES_LEFT_OUT).increment(left_out as u64);
        for (killmail, ids) in killmails.iter_mut().zip(&ids) {
            killmail.entities = fill::entities(&view, ids);
        }
    }

    /// Writes what is left of ESI's limits into the metrics.
    pub fn record_metrics(&self) {
        self.esi.record_metrics();
    }

    /// The body of a killmail, from ESI: for documents that came without.
    pub async fn killmail_body(&self, id: KillmailId, hash: &str) -> Result<Bytes, EsiError> {
        self.esi.killmail(id, hash).await
    }

    /// For searches and filters.
    pub fn universe(&self) -> UniverseRead {
        UniverseRead {
            static_data: self.static_data.clone(),
            names: self.names.clone(),
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
async fn refresh_static_data(mut downloader: Downloader, handle: StaticHandle) {
    let mut backoff = Backoff::new(INITIAL_BACKOFF, MAX_BACKOFF);
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
                    MAX_BACKOFF
                } else {
                    MAX_BACKOFF_WITHOUT_DATA
                };
                backoff.set_max(most);
                let wait = backoff.next_delay();
                counter!(STATIC_DATA_FAILURES).increment(1);
                tracing::warn!(%error, build_in_use = in_use.as_ref().map(|data| data.build()), retry_in = ?wait, "static data update failed");
                wait
            }
        };
        time::sleep(wait).await;
    }
}

#[cfg(test)]
pub(crate) mod tests;
