//! One request to Discord's REST API: permit, token, timeout, bounded body. What an answer means is for the callers.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{
    BotToken,
    limiter::{Feedback, Limiter, Route, Wait},
};

/// Discord asks for this form; without it Cloudflare may block the request.
const USER_AGENT: &str = concat!("DiscordBot (killfeed, ", env!("CARGO_PKG_VERSION"), ")");
/// Longer than any answer of a working Discord takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the first byte sent to the last one read.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a request may wait for its rate limit before it is handed back: a bucket of messages resets within about 5 s.
const RATE_LIMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// A page of 100 messages with ten full embeds each is below 8 MiB.
const MAX_BODY_BYTES: usize = 16 << 20;
/// How long to wait after Discord could not be reached at all: at least, and at most.
const INITIAL_UNREACHABLE_BACKOFF: Duration = Duration::from_secs(5);
const MAX_UNREACHABLE_BACKOFF: Duration = Duration::from_secs(60);

/// Discord's REST API with one token.
pub(super) struct Api {
    http: reqwest::Client,
    /// `{api_url}/api/v10`
    base: String,
    /// `None` for webhooks, whose paths are secrets of their own.
    authorization: Option<HeaderValue>,
    limiter: Limiter,
    /// Set by the first 401: nothing will ever be accepted again.
    dead: AtomicBool,
    unreachable: Unreachable,
}

/// Since when no connection could be made.
#[derive(Debug, Default)]
struct Unreachable(Mutex<Option<Instant>>);

impl Unreachable {
    /// One more time. How long to wait: as long again as it has lasted. Every channel asks here, so a count of failures would
    /// grow with the channels, not with time.
    fn again(&self, now: Instant) -> Duration {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lasted = now.saturating_duration_since(*since.get_or_insert(now));
        lasted.clamp(INITIAL_UNREACHABLE_BACKOFF, MAX_UNREACHABLE_BACKOFF)
    }

    fn over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A request. It is never shown: the path of a webhook is a secret.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) route: Route,
    /// From `/` on below the API's base, with its query; or a whole URL.
    pub(super) path: &'a str,
    pub(super) body: Option<Vec<u8>>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) feedback: Feedback,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RequestError {
    /// It was definitely not sent; try again after this long.
    #[error("not sent: {reason}")]
    NotSent { retry_after: Duration, reason: String },
    /// The token was refused before: not sent.
    #[error("not sent: the token was rejected")]
    TokenDead,
    /// It may have been carried out.
    #[error("{0}")]
    Lost(String),
}

impl Api {
    /// Refused if the token cannot be a token, or no HTTP client can be made.
    pub(super) fn new(api_url: &str, token: &BotToken) -> Result<Self, String> {
        let mut authorization = HeaderValue::from_str(&format!("Bot {}", token.expose()))
            .map_err(|_| "the token has invalid characters".to_owned())?;
        authorization.set_sensitive(true);
        Self::with(api_url, Some(authorization))
    }

    /// Without a token: for requests whose path is allowed by itself.
    pub(super) fn without_token(api_url: &str) -> Result<Self, String> {
        Self::with(api_url, None)
    }

    fn with(api_url: &str, authorization: Option<HeaderValue>) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            // A redirect would take the token elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("cannot create an HTTP client: {error}"))?;
        Ok(Self {
            http,
            base: format!("{}/api/v10", api_url.trim_end_matches('/')),
            authorization,
            limiter: Limiter::start(),
            dead: AtomicBool::new(false),
            unreachable: Unreachable::default(),
        })
    }

    /// Sends one request once. Bounded by the patience for a permit and the timeout of a request.
    pub(super) async fn call(&self, request: Request<'_>) -> Result<ApiResponse, RequestError> {
        if self.dead.load(Ordering::Relaxed) {
            return Err(RequestError::TokenDead);
        }
        let permit = self
            .limiter
            .permit(request.route, RATE_LIMIT_TIMEOUT)
            .await
            .map_err(|Wait(retry_after)| RequestError::NotSent {
                retry_after,
                reason: "the rate limit does not allow it yet".into(),
            })?;
        let url = match request.path {
            below if below.starts_with('/') => format!("{}{below}", self.base),
            whole => whole.to_owned(),
        };
        let mut builder = self.http.request(request.method, url);
        if let Some(authorization) = &self.authorization {
            builder = builder.header(header::AUTHORIZATION, authorization.clone());
        }
        if let Some(body) = request.body {
            builder = builder.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        let response = builder.send().await.map_err(|error| self.no_answer(&error))?;
        self.unreachable.over();
        let status = response.status();
        let feedback = Feedback::read(status, response.headers());
        permit.complete(feedback.clone());
        if status == StatusCode::UNAUTHORIZED && self.authorization.is_some() {
            self.dead.store(true, Ordering::Relaxed);
        }
        let body = read(response).await;
        // What an error says in its body is welcome, not needed.
        let body = if status.is_success() {
            body?
        } else {
            body.unwrap_or_default()
        };
        Ok(ApiResponse { status, feedback, body })
    }

    fn no_answer(&self, error: &reqwest::Error) -> RequestError {
        if error.is_connect() {
            let wait = self.unreachable.again(Instant::now());
            return RequestError::NotSent {
                // Channels that wait for the same should not come back together.
                retry_after: wait.mul_f64(0.75 + fastrand::f64() / 2.0),
                reason: format!("cannot connect: {}", chain(error)),
            };
        }
        self.unreachable.over();
        RequestError::Lost(chain(error))
    }

    /// A GET whose answer is JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, route: Route, path: &str) -> Result<T, GetError> {
        let request = Request {
            method: Method::GET,
            route,
            path,
            body: None,
        };
        let answer = self.call(request).await?;
        if !answer.status.is_success() {
            return Err(GetError::Rejected(answer.refusal()));
        }
        serde_json::from_slice(&answer.body).map_err(|error| GetError::Unreadable(error.to_string()))
    }
}

/// Why a GET brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum GetError {
    #[error(transparent)]
    NoAnswer(#[from] RequestError),
    #[error("{0}")]
    Rejected(ApiError),
    #[error("cannot read the answer: {0}")]
    Unreadable(String),
}

/// What Discord says when it refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HTTP {status}: {message} (code {code})")]
pub(super) struct ApiError {
    pub(super) status: u16,
    pub(super) code: u32,
    pub(super) message: String,
    /// For a 429.
    pub(super) retry_after: Option<Duration>,
}

impl ApiResponse {
    /// The error of an answer that is not a success.
    pub(super) fn refusal(&self) -> ApiError {
        #[derive(serde::Deserialize, Default)]
        #[serde(default)]
        struct ErrorBody {
            code: u32,
            message: String,
            errors: Option<serde_json::Value>,
        }
        let said: ErrorBody = serde_json::from_slice(&self.body).unwrap_or_default();
        let mut message = said.message;
        if let Some(errors) = said.errors {
            // Names the field that was wrong; without it a 400 is a riddle.
            message = format!("{message}: {errors}");
        }
        if message.is_empty() {
            message = self.status.canonical_reason().unwrap_or("no reason given").into();
        }
        ApiError {
            status: self.status.as_u16(),
            code: said.code,
            message: message.chars().take(1_000).collect(),
            retry_after: self.feedback.retry_after(),
        }
    }
}

/// The error with its causes: reqwest's own text says only that something went wrong.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "timed out" } else { "cut off" }.to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

async fn read(mut response: reqwest::Response) -> Result<Bytes, RequestError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| RequestError::Lost(chain(&error)))?
    {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(RequestError::Lost(format!(
                "the answer is larger than {MAX_BODY_BYTES} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_as_long_again_as_it_has_lasted() {
        let unreachable = Unreachable::default();
        let begun = Instant::now();
        let after = |seconds| unreachable.again(begun + Duration::from_secs(seconds)).as_secs();
        // However many ask at once.
        assert_eq!(
            [after(0), after(0), after(1), after(6), after(30), after(3_600)],
            [5, 5, 5, 6, 30, 60]
        );
        unreachable.over();
        assert_eq!(after(3_700), 5);
    }
}
