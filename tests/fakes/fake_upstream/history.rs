//! The fake history: one list of hashes and one file of bodies per day.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Hosts, Routes, feed};

/// Content of the files, by name below `/history/`.
#[derive(Debug, Default)]
pub(super) struct HistoryFiles(BTreeMap<String, Bytes>);

impl HistoryFiles {
    /// Writes one day: every killmail in the list, and the bodies that `has_body` selects.
    pub(super) fn write(&mut self, day: &str, documents: &[Value], has_body: impl Fn(u64) -> bool) {
        let (mut list, mut bodies) = (Map::new(), Map::new());
        for document in documents {
            let id = document["killmail_id"].as_u64().expect("a killmail has an id");
            list.insert(id.to_string(), document["hash"].clone());
            if has_body(id) {
                bodies.insert(id.to_string(), document["esi"].clone());
            }
        }
        let bytes = |map| Bytes::from(serde_json::to_vec(&Value::Object(map)).expect("a Value is JSON"));
        self.0.insert(format!("{day}.json"), bytes(list));
        self.0.insert(format!("raw/{day}.json"), bytes(bodies));
    }
}

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/history/{file}", get(list))
        .route("/history/raw/{file}", get(bodies))
}

async fn list(State(world): State<Arc<Hosts>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    answer(&world, &file, &headers)
}

async fn bodies(State(world): State<Arc<Hosts>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    answer(&world, &format!("raw/{file}"), &headers)
}

fn answer(world: &Hosts, file: &str, headers: &HeaderMap) -> Response {
    let body = world.lock().history.0.get(file).cloned();
    match body {
        Some(body) => feed::whole(body, headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
