//! CCP's API, within its limits. Every call has a timeout, and none waits for its turn: what can't be asked now says when it
//! can, and the caller decides.

mod budget;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use killfeed::id::KillmailId;
use killfeed_service::clock::{Clock, Now};
use metrics::{counter, gauge};
use reqwest::{
    Method, RequestBuilder, StatusCode,
    header::{self, HeaderMap},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::watch;

pub(super) use budget::EsiBan;
pub use budget::Route;
use budget::{Budget, Permit};

/// Counts requests to ESI, by `route` and `outcome` (the status, or `no_answer`).
pub const ESI_REQUESTS: &str = "killfeed_ingestor_esi_requests_total";

/// Tokens left in the group of each route that told how many there are, by `route`.
pub const TOKENS_LEFT: &str = "killfeed_ingestor_esi_tokens_left";
/// Errors left until the old limit shuts ESI off.
pub const ERRORS_LEFT: &str = "killfeed_ingestor_esi_errors_left";
/// Seconds until ESI may be asked anything.
pub const SILENT: &str = "killfeed_ingestor_esi_silent_seconds";

/// The date this code was written against.
const COMPATIBILITY_DATE: &str = "2026-08-18";
/// The slowest honest answers take seconds; one stalled call must not hold names up for longer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A body that a document lacks holds up what came with it; it is asked for again later in any case.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest known killmail has about 1 MB.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// How many ids one `POST /universe/names` takes.
pub const MAX_IDS: usize = 1_000;
/// How many names one `POST /universe/ids` takes.
pub const MAX_NAMES: usize = 500;

/// Why ESI did not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EsiError {
    /// Not to be asked now: it is down, or its limits are reached.
    #[error("ESI is unavailable; next attempt in {retry_in:?}")]
    Unavailable {
        /// How long until it may be asked again.
        retry_in: Duration,
    },
    /// There is no such thing, or one of the ids asked for together is bad.
    #[error("ESI does not know this id or name")]
    NotFound,
    /// It does not take the question.
    #[error("ESI rejected the request: {status} {message}")]
    Rejected {
        /// The status of its answer.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// Its answer is not what it should be.
    #[error("ESI's response is malformed: {0}")]
    Body(String),
}

/// The client. Cheap to clone; clones share the limits.
#[derive(Debug, Clone)]
pub struct Esi {
    http: reqwest::Client,
    base: Arc<str>,
    budget: Arc<Mutex<Budget>>,
    /// For whoever keeps them on disk.
    refusals: watch::Sender<Vec<EsiBan>>,
}

/// What came of asking for something that may be known already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched<T> {
    /// It is this, with the tag to ask by the next time (empty = none).
    New(T, String),
    /// It is what it was.
    Unchanged,
}

/// A name and the category ESI says it is of (`character`, `corporation`, ...).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NamedId {
    /// What was asked for.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it is, in ESI's words.
    pub category: String,
}

/// What bears the names asked for, by what it is. Other kinds are not read: they are in the static data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NameMatches {
    /// Pilots.
    pub characters: Vec<IdAndName>,
    /// Corporations.
    pub corporations: Vec<IdAndName>,
    /// Alliances.
    pub alliances: Vec<IdAndName>,
}

/// One of [`NameMatches`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IdAndName {
    /// Its id.
    pub id: u64,
    /// Its name as it is properly written.
    pub name: String,
}

/// What is read of a corporation or an alliance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Organisation {
    /// Its name.
    pub name: String,
    /// Without brackets.
    pub ticker: String,
}

/// A type that the static data does not know yet.
#[derive(Debug, Clone, Deserialize)]
pub struct EsiType {
    /// English.
    pub name: String,
    /// Its group.
    pub group_id: u32,
}

/// A group that the static data does not know yet.
#[derive(Debug, Clone, Deserialize)]
pub struct EsiGroup {
    /// English.
    pub name: String,
    /// Its category.
    pub category_id: u32,
}

/// A system that the static data does not know yet.
#[derive(Debug, Clone, Deserialize)]
pub struct EsiSystem {
    /// English.
    pub name: String,
    /// Its constellation.
    pub constellation_id: u32,
    /// True security.
    pub security_status: f64,
}

/// A constellation that the static data does not know yet.
#[derive(Debug, Clone, Deserialize)]
pub struct EsiConstellation {
    /// English.
    pub name: String,
    /// Its region.
    pub region_id: u32,
}

/// A region or a category that the static data does not know yet.
#[derive(Debug, Clone, Deserialize)]
pub struct EsiPlain {
    /// English.
    pub name: String,
}

impl Esi {
    /// `base`: with or without a slash at its end. `http` sends the User-Agent.
    pub fn new(http: reqwest::Client, base: &str) -> Self {
        Self {
            http,
            base: base.trim_end_matches('/').into(),
            budget: Arc::new(Mutex::new(Budget::default())),
            refusals: watch::Sender::default(),
        }
    }

    /// Takes in refusals that the process before had met.
    pub(super) fn restore(&self, refusals: &[EsiBan]) {
        self.budget(|budget, now| budget.restore(refusals, now));
    }

    /// Refusals as they come and end, to be kept on disk.
    pub(super) fn refusals(&self) -> watch::Receiver<Vec<EsiBan>> {
        self.refusals.subscribe()
    }

    /// Writes what is left of the limits into the metrics.
    pub(super) fn record_metrics(&self) {
        let left = self.budget(|budget, now| budget.left(now.up));
        for (route, tokens) in left.tokens {
            gauge!(TOKENS_LEFT, "route" => route.name()).set(tokens);
        }
        if let Some(errors) = left.errors {
            // A number up to 100.
            gauge!(ERRORS_LEFT).set(errors as f64);
        }
        gauge!(SILENT).set(left.silent.as_secs_f64());
    }

    /// Names of at most [`MAX_IDS`] distinct ids. One bad id makes it [`EsiError::NotFound`] as a whole.
    pub async fn names(&self, ids: &[u64]) -> Result<Vec<NamedId>, EsiError> {
        self.json(Route::Names, self.post("universe/names").json(ids)).await
    }

    /// What bears these names exactly, whatever their case; at most [`MAX_NAMES`].
    pub async fn ids(&self, names: &[String]) -> Result<NameMatches, EsiError> {
        self.json(Route::Ids, self.post("universe/ids").json(names)).await
    }

    /// A corporation; `etag` = of the last answer.
    pub async fn corporation(&self, id: u64, etag: Option<&str>) -> Result<Fetched<Organisation>, EsiError> {
        let request = self.get(&format!("corporations/{id}"));
        self.if_changed(Route::Corporation, request, etag).await
    }

    /// An alliance; `etag` = of the last answer.
    pub async fn alliance(&self, id: u64, etag: Option<&str>) -> Result<Fetched<Organisation>, EsiError> {
        let request = self.get(&format!("alliances/{id}"));
        self.if_changed(Route::Alliance, request, etag).await
    }

    /// A type.
    pub async fn type_of(&self, id: u32) -> Result<EsiType, EsiError> {
        self.universe("types", id).await
    }

    /// A group.
    pub async fn group(&self, id: u32) -> Result<EsiGroup, EsiError> {
        self.universe("groups", id).await
    }

    /// A category.
    pub async fn category(&self, id: u32) -> Result<EsiPlain, EsiError> {
        self.universe("categories", id).await
    }

    /// A solar system.
    pub async fn system(&self, id: u32) -> Result<EsiSystem, EsiError> {
        self.universe("systems", id).await
    }

    /// A constellation.
    pub async fn constellation(&self, id: u32) -> Result<EsiConstellation, EsiError> {
        self.universe("constellations", id).await
    }

    /// A region.
    pub async fn region(&self, id: u32) -> Result<EsiPlain, EsiError> {
        self.universe("regions", id).await
    }

    /// A killmail's body, as it came.
    pub async fn killmail(&self, id: KillmailId, hash: &str) -> Result<Bytes, EsiError> {
        // It becomes part of a path, and it came from outside.
        if hash.is_empty() || hash.len() > 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message = "the killmail's hash is not hexadecimal; no request was sent".to_owned();
            return Err(EsiError::Rejected { status: 0, message });
        }
        let request = self.get(&format!("killmails/{id}/{hash}")).timeout(BODY_TIMEOUT);
        self.call(Route::Killmail, request).await
    }

    async fn universe<T: DeserializeOwned>(&self, what: &str, id: u32) -> Result<T, EsiError> {
        self.json(Route::Universe, self.get(&format!("universe/{what}/{id}")))
            .await
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/{path}", self.base));
        request
            .timeout(TIMEOUT)
            .header("X-Compatibility-Date", COMPATIBILITY_DATE)
    }

    async fn json<T: DeserializeOwned>(&self, route: Route, request: RequestBuilder) -> Result<T, EsiError> {
        let body = self.call(route, request).await?;
        serde_json::from_slice(&body).map_err(|error| EsiError::Body(error.to_string()))
    }

    /// A "not modified" costs ESI next to nothing, and us half of the tokens.
    async fn if_changed<T: DeserializeOwned>(
        &self,
        route: Route,
        request: RequestBuilder,
        etag: Option<&str>,
    ) -> Result<Fetched<T>, EsiError> {
        let request = match etag {
            Some(etag) => request.header(header::IF_NONE_MATCH, etag),
            None => request,
        };
        let (status, headers, body) = self.send(route, request).await?;
        if status == StatusCode::NOT_MODIFIED {
            return Ok(Fetched::Unchanged);
        }
        let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let value = serde_json::from_slice(&body).map_err(|error| EsiError::Body(error.to_string()))?;
        Ok(Fetched::New(value, tag.unwrap_or_default().to_owned()))
    }

    async fn call(&self, route: Route, request: RequestBuilder) -> Result<Bytes, EsiError> {
        match self.send(route, request).await? {
            (status, _, body) if status.is_success() => Ok(body),
            (status, ..) => Err(EsiError::Rejected {
                status: status.as_u16(),
                message: "the response does not match the request".to_owned(),
            }),
        }
    }

    /// A success, or a "not modified".
    async fn send(&self, route: Route, request: RequestBuilder) -> Result<(StatusCode, HeaderMap, Bytes), EsiError> {
        if let Permit::NotBefore(time) = self.budget(|budget, now| budget.ask(route, now.up)) {
            let retry_in = time - Clock::system().now().up;
            return Err(EsiError::Unavailable { retry_in });
        }
        let count =
            |outcome: String| counter!(ESI_REQUESTS, "route" => route.name(), "outcome" => outcome).increment(1);
        let no_answer = |error: &reqwest::Error| {
            tracing::debug!(route = route.name(), %error, "ESI request failed");
            count("no_answer".to_owned());
            let retry_in = self.budget(|budget, now| budget.no_answer(now.up));
            EsiError::Unavailable { retry_in }
        };
        let response = request.send().await.map_err(|error| no_answer(&error))?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = match read(response).await {
            Ok(body) => body,
            // What its head says counts all the same: a refusal is one, however it ends.
            Err(_) if status.is_client_error() || status.is_server_error() => Some(Bytes::new()),
            Err(error) => return Err(no_answer(&error)),
        };
        count(status.as_u16().to_string());
        let (wait, refusals) = self.budget(|budget, now| {
            let wait = budget.answered(route, status, &headers, now.up);
            (wait, budget.refusals(now))
        });
        self.refusals.send_if_modified(|known| {
            // The same to the second: a time that is told as a duration never comes out the same to the millisecond.
            let same = |(a, b): (&EsiBan, &EsiBan)| a.0 == b.0 && a.1.abs_diff(b.1) < 1_000;
            let changed = known.len() != refusals.len() || !known.iter().zip(&refusals).all(same);
            if changed {
                *known = refusals;
            }
            changed
        });
        let Some(body) = body else {
            return Err(EsiError::Body("larger than 16 MiB".to_owned()));
        };
        match status {
            status if status.is_success() || status == StatusCode::NOT_MODIFIED => Ok((status, headers, body)),
            StatusCode::NOT_FOUND => Err(EsiError::NotFound),
            status => Err(match wait {
                Some(retry_in) => EsiError::Unavailable { retry_in },
                None => EsiError::Rejected {
                    status: status.as_u16(),
                    message: words_of(&body),
                },
            }),
        }
    }

    /// The lock is held for a few comparisons and never across an await, so a std mutex is right. A panic inside would leave
    /// only counts behind: they are used on.
    fn budget<T>(&self, decide: impl FnOnce(&mut Budget, Now) -> T) -> T {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        decide(&mut budget, Clock::system().now())
    }
}

/// The body; `None` if it is too large.
async fn read(mut response: reqwest::Response) -> Result<Option<Bytes>, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_BODY {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

/// `{"error": "..."}`, or nothing.
fn words_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Error {
        error: String,
    }
    let error = serde_json::from_slice(body).map(|Error { error }| error);
    error.unwrap_or_default().chars().take(200).collect()
}
