//! What is asked of an ingestor beside the stream: trees for filters, names, and what is in the log.

use std::time::Duration;

use async_trait::async_trait;
use killfeed::{
    Timestamp,
    backoff::Backoff,
    client::Client,
    v1::{
        CompileFilterRequest, CompileFilterResponse, Entity, EntityKind, Filter, GetFeedStatusRequest,
        GetFeedStatusResponse, GetKillmailRequest, Killmail, ListKillmailsRequest, SearchEntitiesRequest,
    },
};
use killfeed_service::clock;
use killfeed_service::trace::Traces;
use tonic::{Code, Status};

use crate::{
    settings::{Secret, Settings},
    subscriptions::{Compile, CompileError},
};
use killfeed_service::settings::SettingError;

/// The client for the ingestors of the settings. Nothing is connected yet.
pub fn client(settings: &Settings, traces: &Traces) -> Result<Client, SettingError> {
    let read = |variable: &str, path: &std::path::Path| {
        std::fs::read(path).map_err(|error| {
            SettingError::new(
                variable,
                &path.to_string_lossy(),
                format!("a readable PEM file ({error})"),
            )
        })
    };
    let mut builder = Client::builder()
        .endpoints(settings.ingestor_urls.iter())
        .client_name(concat!("killfeed-notifier/", env!("CARGO_PKG_VERSION")))
        .trace(traces.calls());
    if let Some(token) = settings.ingestor_token.as_ref().map(Secret::reveal) {
        builder = builder.token(token);
    }
    if let Some(path) = &settings.ingestor_ca {
        builder = builder.ca_certificate(read("NOTIFIER_INGESTOR_CA", path)?);
    }
    if let Some((certificate, key)) = &settings.ingestor_identity {
        builder = builder.client_certificate(
            read("NOTIFIER_INGESTOR_CERT", certificate)?,
            read("NOTIFIER_INGESTOR_KEY", key)?,
        );
    }
    builder.build().map_err(|error| {
        SettingError::new(
            "NOTIFIER_INGESTOR_URLS",
            &settings.ingestor_urls.join(","),
            error.to_string(),
        )
    })
}

/// An ingestor that is asked.
#[derive(Debug, Clone)]
pub struct IngestorClient(pub Client);

/// Why no ingestor can answer now, as a sentence without capital and full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Says that no ingestor can be reached.
const NOT_RESPONDING: &str = "the killmail service is not responding";

/// Why the log was not searched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No ingestor can do it now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It takes no such filter: why, for a person.
    #[error("{0}")]
    Rejected(String),
}

/// The delay before a call is repeated that exceeded the ingestor's limit of calls. The delay does not grow: a person waits.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(1_050), Duration::from_millis(1_050));
/// The shortest such delay.
const MIN_BACKOFF: Duration = Duration::from_millis(350);
/// Attempts in all. They take longer than the ingestor needs to refill a burst.
const MAX_ATTEMPTS: u32 = 8;

impl IngestorClient {
    /// Text → tree, canonical text, description, warnings; or diagnostics.
    pub async fn describe(&self, filter: &str) -> Result<CompileFilterResponse, Unavailable> {
        let ask = || {
            let request = CompileFilterRequest {
                filter: filter.to_owned(),
            };
            let mut client = self.0.universe();
            async move { client.compile_filter(request).await }
        };
        Ok(with_retry(ask).await.map_err(unavailable)?.into_inner())
    }

    /// Names like `query`, best first. Not asked again: an autocomplete is over by then.
    pub async fn search(&self, query: &str, kinds: &[EntityKind], limit: usize) -> Result<Vec<Entity>, Unavailable> {
        let request = SearchEntitiesRequest {
            query: query.to_owned(),
            kinds: kinds.iter().map(|kind| i32::from(*kind)).collect(),
            page_size: i32::try_from(limit).unwrap_or(i32::MAX),
        };
        let answer = self.0.universe().search_entities(request).await;
        Ok(answer.map_err(unavailable)?.into_inner().entities)
    }

    /// How the feed and the log are.
    pub async fn feed_status(&self) -> Result<GetFeedStatusResponse, Unavailable> {
        let ask = || {
            let mut client = self.0.killmails();
            async move { client.get_feed_status(GetFeedStatusRequest {}).await }
        };
        Ok(with_retry(ask).await.map_err(unavailable)?.into_inner())
    }

    /// How many killmails of the log match, ingested in `since..until` (milliseconds).
    pub async fn count(&self, filter: &str, since: u64, until: u64) -> Result<u64, QueryError> {
        let ask = || {
            let request = ListKillmailsRequest {
                filter: filter.to_owned(),
                since: Some(timestamp(since)),
                until: Some(timestamp(until)),
                count_only: true,
                ..Default::default()
            };
            let mut client = self.0.killmails();
            async move { client.list_killmails(request).await }
        };
        Ok(with_retry(ask).await.map_err(not_listed)?.into_inner().matched)
    }

    /// The newest killmails that match, ingested at or after `since` (milliseconds): `limit` at most, newest first.
    pub async fn newest(&self, filter: &str, since: u64, limit: usize) -> Result<Vec<Killmail>, QueryError> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let ask = || {
                let request = ListKillmailsRequest {
                    filter: filter.to_owned(),
                    since: Some(timestamp(since)),
                    page_size: i32::try_from(limit).unwrap_or(i32::MAX),
                    page_token: page_token.clone(),
                    ..Default::default()
                };
                let mut client = self.0.killmails();
                async move { client.list_killmails(request).await }
            };
            let page = with_retry(ask).await.map_err(not_listed)?.into_inner();
            found.extend(page.killmails);
            // A page may be empty and yet not the last: an ingestor looks at so many records at a time.
            if found.len() >= limit || page.next_page_token.is_empty() {
                found.truncate(limit);
                return Ok(found);
            }
            page_token = page.next_page_token;
        }
    }

    /// One killmail in its newest revision; `None` = not in the log.
    pub async fn killmail(&self, killmail_id: u64) -> Result<Option<Killmail>, Unavailable> {
        let ask = || {
            let mut client = self.0.killmails();
            async move { client.get_killmail(GetKillmailRequest { killmail_id }).await }
        };
        match with_retry(ask).await {
            Ok(answer) => Ok(answer.into_inner().killmail),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(unavailable(status)),
        }
    }
}

/// Asks, and again where it was only too soon.
async fn with_retry<T, F: Future<Output = Result<T, Status>>>(ask: impl Fn() -> F) -> Result<T, Status> {
    let mut backoff = BACKOFF;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(status) if status.code() == Code::ResourceExhausted && backoff.failures() + 1 < MAX_ATTEMPTS => {
                // The server's RetryInfo may ask for a minute, for which nobody waits.
                tokio::time::sleep(backoff.next_delay_after(Some(MIN_BACKOFF))).await;
            }
            Err(status) => return Err(status),
        }
    }
}

fn not_listed(status: Status) -> QueryError {
    if status.code() != Code::InvalidArgument {
        return QueryError::Unavailable(unavailable(status));
    }
    // `filter: at START..END: ` is about a text that whoever asks has not seen.
    let message = status.message();
    let message = message.strip_prefix("filter: ").unwrap_or(message);
    let reason = match message.split_once(": ") {
        Some((place, reason)) if place.starts_with("at ") => reason,
        _ => message,
    };
    QueryError::Rejected(reason.to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "an error is turned into another one")]
fn unavailable(status: Status) -> Unavailable {
    if std::error::Error::source(&status).is_some() {
        // Addresses are for the operator's log, not for everybody who asks.
        tracing::warn!(%status, "no ingestor is reachable");
        return Unavailable(NOT_RESPONDING.to_owned());
    }
    Unavailable(match status.message() {
        "" => format!("the killmail service answered {:?}", status.code()),
        message => message.to_owned(),
    })
}

fn timestamp(ms: u64) -> Timestamp {
    clock::timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
}

#[async_trait]
impl Compile for IngestorClient {
    async fn static_data_build(&self) -> Result<String, CompileError> {
        let status = self.feed_status().await;
        let build = status
            .map_err(|away| CompileError::Unavailable(away.0))?
            .static_data_build;
        if build.is_empty() {
            return Err(CompileError::Unavailable(
                "the killmail service has not loaded its static data yet".to_owned(),
            ));
        }
        Ok(build)
    }

    async fn compile(&self, filter: &str) -> Result<Filter, CompileError> {
        // Bad text is no error of the call: whatever is one says nothing about the filter.
        let answer = self.describe(filter).await;
        let answer = answer.map_err(|away| CompileError::Unavailable(away.0))?;
        for warning in &answer.warnings {
            tracing::info!(
                filter,
                warning = warning.message,
                "filter is valid, but probably not as intended"
            );
        }
        answer.filter.ok_or(CompileError::Bad(answer.diagnostics))
    }
}
