//! Message edits, webhook posts and direct message channels.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{BOT, ServerState, messages, payload, rest::refuse, validate};

#[derive(Debug, Deserialize)]
pub(super) struct WaitQuery {
    #[serde(default)]
    wait: bool,
}

/// Edits a message: replaces the given fields and keeps the others.
pub(super) async fn edit(
    State(world): State<Arc<ServerState>>,
    Path((channel, message)): Path<(u64, u64)>,
    body: Bytes,
) -> Response {
    if world.lock().guild_of(channel).is_none() {
        return refuse(404, 10_003, "Unknown Channel");
    }
    let faulty = world.lock().edit_faults.get_mut(&channel).and_then(super::fault::take);
    if let Some(super::Fault::Status(status)) = faulty {
        return refuse(status, 0, "a fault that the test scripted");
    }
    change(&world, channel, message, &body)
}

fn change(world: &ServerState, channel: u64, message: u64, body: &[u8]) -> Response {
    let Ok(Value::Object(changes)) = serde_json::from_slice::<Value>(body) else {
        return refuse(400, 50_035, "Invalid Form Body");
    };
    let mut inner = world.lock();
    let posts = inner.posts.entry(channel).or_default();
    let Some(posted) = posts
        .iter_mut()
        .find(|posted| posted.id == message && posted.author == BOT)
    else {
        return refuse(404, 10_008, "Unknown Message");
    };
    let mut after = posted.body.clone();
    for (name, value) in changes {
        after[name] = value;
    }
    if let Some(wrong) = validate::message(&after) {
        inner.rejected.push(format!("edit in channel {channel}: {wrong}"));
        return refuse(400, 50_035, &wrong);
    }
    posted.body = after;
    posted.edits += 1;
    Json(payload::message(channel, posted, false)).into_response()
}

/// Posts into the channel with the webhook's own id. Webhooks ignore nonces.
pub(super) async fn webhook(
    State(world): State<Arc<ServerState>>,
    Path((webhook, token)): Path<(u64, String)>,
    Query(waiting): Query<WaitQuery>,
    body: Bytes,
) -> Response {
    if world.lock().webhooks.get(&webhook) != Some(&token) {
        return refuse(404, 10_015, "Unknown Webhook");
    }
    let (headers, counted) = world.lock().limits.count_post(webhook, Instant::now());
    let mut response = match counted {
        Err(overrun) => super::rest::rate_limited(&overrun, "user"),
        Ok(()) => messages::post(&world, webhook, &body).await,
    };
    if !waiting.wait && response.status().is_success() {
        return axum::http::StatusCode::NO_CONTENT.into_response();
    }
    for (name, value) in headers {
        let value = value.parse().expect("a valid header value");
        response.headers_mut().insert(name, value);
    }
    response
}

pub(super) async fn edit_by_webhook(
    State(world): State<Arc<ServerState>>,
    Path((webhook, token, message)): Path<(u64, String, u64)>,
    body: Bytes,
) -> Response {
    if world.lock().webhooks.get(&webhook) != Some(&token) {
        return refuse(404, 10_015, "Unknown Webhook");
    }
    change(&world, webhook, message, &body)
}

/// Opens the direct message channel of a user. The channel has the user's id and belongs to no guild.
pub(super) async fn open_direct(State(world): State<Arc<ServerState>>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(user) = body["recipient_id"].as_str().and_then(|id| id.parse::<u64>().ok()) else {
        return refuse(400, 50_035, "Invalid Form Body");
    };
    world.lock().direct.insert(user);
    Json(json!({"id": user.to_string(), "type": 1, "recipients": [payload::user(user)]})).into_response()
}
