//! What the upstream says about itself.

use std::time::SystemTime;

use killfeed::{
    client::Client,
    cursor::{Cursor, LogId},
    v1::{
        FeedHealth, GetFeedStatusRequest, GetFeedStatusResponse, OnExpired, StreamKillmailsRequest,
        stream_killmails_request::Start,
    },
    wire::LINEAGE,
};

use crate::{feed::UpstreamLineage, health::FeedReport};

/// An ingestor that may be followed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UpstreamStatus {
    pub(super) history: UpstreamLineage,
    /// When its oldest record was appended.
    pub(super) earliest_ms: Option<i64>,
    pub(super) feed: FeedReport,
}

/// Why it cannot be followed now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UpstreamError {
    #[error("{0}")]
    Unavailable(String),
    /// Not our token, or not our right.
    #[error("{0}")]
    Rejected(String),
    /// Its log is not the continuation of ours.
    #[error("{0}")]
    Unrelated(String),
    /// It sent what cannot be stored.
    #[error("{0}")]
    Broken(String),
}

/// Asks whose log it has and how its feed is doing.
pub(super) async fn describe(client: &Client) -> Result<UpstreamStatus, UpstreamError> {
    let answer = client.killmails().get_feed_status(GetFeedStatusRequest {}).await;
    let answer = answer.map_err(|status| super::trouble(&status))?;
    let lineage = answer.metadata().get(LINEAGE).and_then(|value| value.to_str().ok());
    let ancestors = lineage.map(ancestors).unwrap_or_default();
    read(answer.get_ref(), ancestors).map_err(UpstreamError::Broken)
}

/// Everything after this place, updates included.
pub(super) fn request(after: Cursor) -> StreamKillmailsRequest {
    StreamKillmailsRequest {
        start: Some(Start::AfterCursor(after.to_string())),
        on_expired: OnExpired::Continue.into(),
        include_updates: true,
        client_name: concat!("killfeed-ingestor/", env!("CARGO_PKG_VERSION"), " relay").into(),
        ..Default::default()
    }
}

fn read(status: &GetFeedStatusResponse, ancestors: Vec<Cursor>) -> Result<UpstreamStatus, String> {
    let id: LogId = status.log_id.parse().map_err(|_| {
        format!(
            "it reported the invalid log id {:?}: expected 16 hexadecimal digits",
            status.log_id
        )
    })?;
    let begins: Cursor = status
        .earliest_cursor
        .parse()
        .map_err(|_| format!("it reported the invalid earliest cursor {:?}", status.earliest_cursor))?;
    if id == LogId(0) {
        return Err("it is a relay that has not reached its own upstream yet".into());
    }
    Ok(UpstreamStatus {
        history: UpstreamLineage {
            id,
            ancestors: ancestors.iter().map(|cursor| (cursor.log, cursor.offset)).collect(),
            trimmed: begins.offset,
        },
        earliest_ms: status.earliest_time.as_ref().map(super::lineage::millis),
        feed: FeedReport {
            health: FeedHealth::try_from(status.feed_health).unwrap_or_default(),
            detail: status.feed_detail.clone(),
            last_document: status
                .last_document_time
                .and_then(|time| SystemTime::try_from(time).ok()),
            upstream_sequence: status.upstream_sequence,
        },
    })
}

fn ancestors(text: &str) -> Vec<Cursor> {
    text.split(',')
        .filter_map(|cursor| cursor.trim().parse().ok())
        .collect()
}
