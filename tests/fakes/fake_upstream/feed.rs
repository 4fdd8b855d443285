//! The fake R2Z2: numbered files, and a `sequence.json` that lags behind.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;

use super::{Hosts, Routes, fault};

/// `sequence.json` is rewritten after more than this many new documents.
const LAG: u64 = 50;

/// The published files.
#[derive(Debug)]
pub(super) struct Board {
    files: BTreeMap<u64, Bytes>,
    next: u64,
    shown: u64,
    /// The number in `sequence.json` if the test fixed it.
    pub(super) fixed: Option<u64>,
}

impl Board {
    /// Creates a feed without files. `sequence.json` names the first document before it is published.
    pub(super) fn new(first: u64) -> Self {
        Self {
            files: BTreeMap::new(),
            next: first,
            shown: first,
            fixed: None,
        }
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn reserve(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    pub(super) fn put(&mut self, number: u64, body: Bytes) {
        self.files.insert(number, body);
        if number > self.shown + LAG {
            self.shown = number;
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.files.remove(&number);
    }

    pub(super) fn rewrite(&mut self) {
        self.shown = self.files.last_key_value().map_or(self.shown, |(newest, _)| *newest);
    }
}

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/ephemeral/sequence.json", get(sequence))
        .route("/ephemeral/{file}", get(document))
}

async fn sequence(State(world): State<Arc<Hosts>>) -> Response {
    let shown = {
        let inner = world.lock();
        inner.feed.fixed.unwrap_or(inner.feed.shown)
    };
    Json(serde_json::json!({ "sequence": shown })).into_response()
}

async fn document(State(world): State<Arc<Hosts>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    let number = file.strip_suffix(".json").and_then(|number| number.parse::<u64>().ok());
    let Some(number) = number else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (body, fault) = {
        let mut inner = world.lock();
        (
            inner.feed.files.get(&number).cloned(),
            inner.faults.take_document(number),
        )
    };
    if agent(&headers).is_empty() {
        return fault::Fault::Forbidden.answer(Bytes::new()).await;
    }
    match (fault, body) {
        (Some(fault), body) => fault.answer(body.unwrap_or_default()).await,
        (None, None) => StatusCode::NOT_FOUND.into_response(),
        (None, Some(body)) => whole(body, &headers),
    }
}

/// Returns a file, compressed if the client accepts gzip.
pub(super) fn whole(body: Bytes, headers: &HeaderMap) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    let accepted = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("gzip")) {
        ([(header::CONTENT_ENCODING, "gzip")], json, fault::gzip(&body)).into_response()
    } else {
        (json, body).into_response()
    }
}

fn agent(headers: &HeaderMap) -> &str {
    headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
