//! The fake ESI, with the routes that killfeed calls.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{HeaderName, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{Hosts, Routes, names::Category};

/// ESI's limit of failed responses per minute on routes without a rate limit group.
///
/// Every further response is a 420.
const ERRORS_A_MINUTE: u32 = 100;

/// The state of the error limit.
#[derive(Debug, Default)]
pub(super) struct ErrorLimit {
    since: Option<Instant>,
    errors: u32,
}

impl ErrorLimit {
    /// Returns the remaining errors and the seconds until the limit resets.
    fn left(&mut self) -> (u32, u64) {
        let minute = Duration::from_secs(60);
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if now - since >= minute {
            (self.since, self.errors) = (Some(now), 0);
        }
        let reset = minute.saturating_sub(now - self.since.unwrap_or(now));
        (ERRORS_A_MINUTE.saturating_sub(self.errors), reset.as_secs())
    }
}

pub(super) fn routes() -> Routes {
    Router::new()
        .route("/universe/names", post(names))
        .route("/universe/ids", post(ids))
        .route("/universe/types/{id}", get(type_))
        .route("/universe/groups/{id}", get(group))
        .route("/universe/systems/{id}", get(system))
        .route("/characters/{id}", get(character))
        .route("/corporations/{id}", get(corporation))
        .route("/alliances/{id}", get(alliance))
        .route("/killmails/{id}/{hash}", get(killmail))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "no such route") })
}

/// Applies the limits and headers of both kinds of routes.
pub(super) async fn limits(State(world): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let grouped = request.uri().path().starts_with("/killmails/");
    if !grouped && world.lock().esi_errors.left().0 == 0 {
        let status = StatusCode::from_u16(420).expect("a valid status");
        return error(status, "This software has exceeded the error limit for ESI.");
    }
    let mut response = next.run(request).await;
    let status = response.status();
    let mut header = |name: &'static str, value: String| {
        let value = HeaderValue::from_str(&value).expect("digits and letters");
        response.headers_mut().insert(HeaderName::from_static(name), value);
    };
    if grouped {
        header("x-ratelimit-group", "killmail".into());
        header("x-ratelimit-limit", "3600/15m".into());
        header("x-ratelimit-remaining", "3598".into());
        header("x-ratelimit-used", "2".into());
    } else {
        let mut inner = world.lock();
        let limit = &mut inner.esi_errors;
        let (left, reset) = limit.left();
        let failed = !status.is_success() && !status.is_redirection();
        limit.errors += u32::from(failed);
        header(
            "x-esi-error-limit-remain",
            left.saturating_sub(u32::from(failed)).to_string(),
        );
        header("x-esi-error-limit-reset", reset.to_string());
    }
    response
}

/// Returns the names of the ids, or 404 if any id is unknown.
async fn names(State(world): State<Arc<Hosts>>, Json(asked): Json<Vec<u64>>) -> Response {
    if asked.is_empty() || asked.len() > 1_000 {
        return error(StatusCode::BAD_REQUEST, "expected 1 to 1000 ids");
    }
    let mut unique = asked.clone();
    unique.sort_unstable();
    unique.dedup();
    if unique.len() != asked.len() {
        return error(StatusCode::BAD_REQUEST, "ids must be unique");
    }
    let inner = world.lock();
    let found: Option<Vec<Value>> = asked.iter().map(|id| named(&inner, *id)).collect();
    found.map_or_else(
        || error(StatusCode::NOT_FOUND, "Ensure all IDs are valid before resolving."),
        |found| Json(found).into_response(),
    )
}

fn named(inner: &super::Inner, id: u64) -> Option<Value> {
    if let Some(named) = inner.names.get(id) {
        return Some(json!({"id": id, "name": named.name, "category": named.category.text()}));
    }
    let (category, file) = match id {
        0 => return None,
        30_000_000..33_000_000 => ("solar_system", "mapSolarSystems"),
        20_000_000..23_000_000 => ("constellation", "mapConstellations"),
        10_000_000..15_000_000 => ("region", "mapRegions"),
        500_000..600_000 => ("faction", "factions"),
        _ => ("inventory_type", "types"),
    };
    let record = inner.static_data.record(file, id)?;
    Some(json!({"id": id, "name": record["name"]["en"], "category": category}))
}

/// Returns the ids of exact names, ignoring case. Unknown names are omitted.
async fn ids(State(world): State<Arc<Hosts>>, Json(asked): Json<Vec<String>>) -> Response {
    if asked.is_empty() || asked.len() > 500 {
        return error(StatusCode::BAD_REQUEST, "expected 1 to 500 names");
    }
    let inner = world.lock();
    let mut found: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for name in &asked {
        for named in inner.names.find(name) {
            let plural = match named.category {
                Category::Character => "characters",
                Category::Corporation => "corporations",
                Category::Alliance => "alliances",
            };
            let entry = json!({"id": named.id, "name": named.name});
            found.entry(plural).or_default().push(entry);
        }
    }
    Json(found).into_response()
}

async fn character(State(world): State<Arc<Hosts>>, Path(id): Path<u64>) -> Response {
    entity(&world, id, Category::Character)
}

async fn corporation(State(world): State<Arc<Hosts>>, Path(id): Path<u64>) -> Response {
    entity(&world, id, Category::Corporation)
}

async fn alliance(State(world): State<Arc<Hosts>>, Path(id): Path<u64>) -> Response {
    entity(&world, id, Category::Alliance)
}

fn entity(world: &Hosts, id: u64, category: Category) -> Response {
    let inner = world.lock();
    match inner.names.get(id).filter(|named| named.category == category) {
        None => error(StatusCode::NOT_FOUND, &format!("{} not found", category.text())),
        Some(named) if category == Category::Character => Json(json!({"name": named.name})).into_response(),
        Some(named) => Json(json!({"name": named.name, "ticker": named.ticker})).into_response(),
    }
}

async fn killmail(State(world): State<Arc<Hosts>>, Path((id, hash)): Path<(u64, String)>) -> Response {
    let inner = world.lock();
    match inner.killmails.get(&(id, hash)) {
        Some(body) => Json(body).into_response(),
        None => error(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid killmail_id and/or killmail_hash",
        ),
    }
}

async fn type_(State(world): State<Arc<Hosts>>, Path(id): Path<u64>) -> Response {
    let shape = |record: &Value| json!({"type_id": id, "name": record["name"]["en"], "group_id": record["groupID"], "published": record["published"]});
    static_record(&world, "types", id, shape)
}

async fn group(State(world): State<Arc<Hosts>>, Path(id): Path<u64>) -> Response {
    let shape = |record: &Value| json!({"group_id": id, "name": record["name"]["en"], "category_id": record["categoryID"], "published": record["published"], "types": []});
    static_record(&world, "groups", id, shape)
}

async fn system(State(world): State<Arc<Hosts>>, Path(id): Path<u64>) -> Response {
    let shape = |record: &Value| json!({"system_id": id, "name": record["name"]["en"], "constellation_id": record["constellationID"], "security_status": record["securityStatus"], "position": record["position"]});
    static_record(&world, "mapSolarSystems", id, shape)
}

fn static_record(world: &Hosts, file: &str, id: u64, shape: impl FnOnce(&Value) -> Value) -> Response {
    match world.lock().static_data.record(file, id) {
        Some(record) => Json(shape(record)).into_response(),
        None => error(StatusCode::NOT_FOUND, "not found"),
    }
}

fn error(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}
