//! A stand-in for ESI and for CCP's static data, for tests: an axum server on loopback.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::enrich::{EnrichSettings, Enricher};

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// 503 to everything.
    Down,
    /// 420 to everything, for so many seconds.
    Refusing(u64),
    /// The same, and the connection ends in the middle of the body.
    RefusingAndCut(u64),
    /// Never answers.
    Hanging,
}

#[derive(Debug, Default)]
pub(crate) struct FakeEsiState {
    pub(crate) mood: Mood,
    /// id → name, category, ticker.
    pub(crate) names: BTreeMap<u64, (&'static str, &'static str, &'static str)>,
    /// What `GET /universe/{what}/{id}` says.
    pub(crate) universe: BTreeMap<(String, u64), Value>,
    pub(crate) killmails: BTreeMap<u64, &'static str>,
    /// The archive, and its build.
    pub(crate) archive: Option<(u64, Vec<u8>)>,
    /// Method and path of each request, with the number of ids or names asked for.
    pub(crate) requests: Vec<(String, usize)>,
    /// How often it answered that nothing had changed.
    pub(crate) not_modified: usize,
    /// The headers of the last one.
    pub(crate) headers: HeaderMap,
}

#[derive(Clone, Default)]
pub(crate) struct StandIn {
    world: Arc<Mutex<FakeEsiState>>,
    pub(crate) url: String,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let this = Self { url, ..Self::default() };
        let router = Router::new()
            .route("/universe/names", post(names))
            .route("/universe/ids", post(ids))
            .route("/corporations/{id}", get(organisation))
            .route("/alliances/{id}", get(organisation))
            .route("/universe/{what}/{id}", get(universe))
            .route("/killmails/{id}/{hash}", get(killmail))
            .route("/static/tranquility/{file}", get(archive))
            .with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    pub(crate) fn world<T>(&self, look: impl FnOnce(&mut FakeEsiState) -> T) -> T {
        look(&mut self.world.lock().unwrap())
    }

    pub(crate) fn requests(&self, of: &str) -> Vec<usize> {
        let all = self.world(|world| world.requests.clone());
        all.into_iter()
            .filter(|(path, _)| path.starts_with(of))
            .map(|(_, size)| size)
            .collect()
    }

    pub(crate) fn settings(&self, data_dir: &std::path::Path) -> EnrichSettings {
        EnrichSettings {
            data_dir: data_dir.to_owned(),
            esi_url: format!("{}/", self.url),
            static_data_url: format!("{}/static", self.url),
            user_agent: "killfeed/test (tests@example.com)".into(),
        }
    }

    pub(crate) async fn enrich(&self, data_dir: &std::path::Path) -> Enricher {
        Enricher::open(self.settings(data_dir), Default::default())
            .await
            .unwrap()
    }

    /// Notes the request; the answer if the mood gives one.
    async fn met(&self, path: String, size: usize, headers: HeaderMap) -> Option<Response> {
        let mood = self.world(|world| {
            world.requests.push((path, size));
            world.headers = headers;
            world.mood
        });
        match mood {
            Mood::Well => None,
            Mood::Down => Some(StatusCode::SERVICE_UNAVAILABLE.into_response()),
            Mood::Refusing(seconds) => {
                let status = StatusCode::from_u16(420).unwrap();
                Some((status, [(header::RETRY_AFTER, seconds.to_string())]).into_response())
            }
            Mood::RefusingAndCut(seconds) => {
                let status = StatusCode::from_u16(420).unwrap();
                let cut = async {
                    // What was written until now goes out once there is no more at the moment.
                    tokio::task::yield_now().await;
                    Err(std::io::Error::other("cut by the test"))
                };
                let begun = stream::iter([Ok("{\"error\":")]);
                let body = axum::body::Body::from_stream(begun.chain(stream::once(cut)));
                Some((status, [(header::RETRY_AFTER, seconds.to_string())], body).into_response())
            }
            Mood::Hanging => std::future::pending().await,
        }
    }
}

async fn names(State(this): State<StandIn>, headers: HeaderMap, Json(wanted): Json<Vec<u64>>) -> Response {
    if let Some(answer) = this.met("/universe/names".into(), wanted.len(), headers).await {
        return answer;
    }
    let named = |world: &mut FakeEsiState| -> Option<Vec<Value>> {
        let one = |id| {
            world
                .names
                .get(id)
                .map(|(name, category, _)| json!({"id": id, "name": name, "category": category}))
        };
        wanted.iter().map(one).collect()
    };
    match this.world(named) {
        Some(found) => Json(found).into_response(),
        None => not_found("Ensure all IDs are valid before resolving."),
    }
}

async fn ids(State(this): State<StandIn>, headers: HeaderMap, Json(wanted): Json<Vec<String>>) -> Response {
    if let Some(answer) = this.met("/universe/ids".into(), wanted.len(), headers).await {
        return answer;
    }
    let mut found = BTreeMap::<String, Vec<Value>>::new();
    this.world(|world| {
        for (id, (name, category, _)) in &world.names {
            if wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)) {
                found
                    .entry(format!("{category}s"))
                    .or_default()
                    .push(json!({"id": id, "name": name}));
            }
        }
    });
    Json(found).into_response()
}

async fn organisation(State(this): State<StandIn>, headers: HeaderMap, Path(id): Path<u64>) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).cloned();
    if let Some(answer) = this.met(format!("/organisation/{id}"), 1, headers).await {
        return answer;
    }
    match this.world(|world| world.names.get(&id).copied()) {
        Some((name, _, ticker)) => {
            let etag = format!("W/\"{name} {ticker}\"");
            if known.is_some_and(|known| known == etag.as_str()) {
                this.world(|world| world.not_modified += 1);
                return StatusCode::NOT_MODIFIED.into_response();
            }
            let body = Json(json!({"name": name, "ticker": ticker, "member_count": 3}));
            ([(header::ETAG, etag)], body).into_response()
        }
        None => not_found("not found"),
    }
}

async fn universe(State(this): State<StandIn>, headers: HeaderMap, Path((what, id)): Path<(String, u64)>) -> Response {
    if let Some(answer) = this.met(format!("/universe/{what}/{id}"), 1, headers).await {
        return answer;
    }
    match this.world(|world| world.universe.get(&(what, id)).cloned()) {
        Some(found) => Json(found).into_response(),
        None => not_found("not found"),
    }
}

async fn killmail(State(this): State<StandIn>, headers: HeaderMap, Path((id, hash)): Path<(u64, String)>) -> Response {
    if let Some(answer) = this.met(format!("/killmails/{id}/{hash}"), 1, headers).await {
        return answer;
    }
    this.world(|world| world.killmails.get(&id).copied())
        .map_or_else(|| not_found("x"), IntoResponse::into_response)
}

async fn archive(State(this): State<StandIn>, headers: HeaderMap, Path(file): Path<String>) -> Response {
    let etag = headers.get(header::IF_NONE_MATCH).cloned();
    if let Some(answer) = this.met(format!("/static/{file}"), 0, headers).await {
        return answer;
    }
    let Some((build, zip)) = this.world(|world| world.archive.clone()) else {
        return not_found("no archive");
    };
    if file == "latest.jsonl" {
        let own = format!("\"{build}\"");
        if etag.is_some_and(|etag| etag == own.as_str()) {
            return StatusCode::NOT_MODIFIED.into_response();
        }
        let latest = json!({"_key": "sde", "buildNumber": build}).to_string();
        return ([(header::ETAG, own)], latest).into_response();
    }
    assert_eq!(file, format!("eve-online-static-data-{build}-jsonl.zip"));
    Bytes::from(zip).into_response()
}

fn not_found(error: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
}
