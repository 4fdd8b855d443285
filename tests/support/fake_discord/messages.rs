//! The routes that post and list messages.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    BOT, Fault, Inner, Posted, ServerState,
    fault::take,
    limits::Overrun,
    payload, permission,
    rest::{rate_limited, refuse},
    validate,
};

/// Discord's maximum page size.
const PAGE: usize = 100;

#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    #[serde(default)]
    after: u64,
    /// The default is 50.
    limit: Option<usize>,
}

/// Lists the first messages after `after`, newest first.
pub(super) async fn list(
    State(world): State<Arc<ServerState>>,
    Path(channel): Path<u64>,
    Query(listing): Query<Listing>,
) -> Response {
    let inner = world.lock();
    let Some((_, permissions)) = inner.guild_of(channel) else {
        return refuse(404, 10_003, "Unknown Channel");
    };
    if permissions & permission::VIEW_CHANNEL == 0 {
        return refuse(403, 50_001, "Missing Access");
    }
    let limit = listing.limit.unwrap_or(50);
    if !(1..=PAGE).contains(&limit) {
        return refuse(400, 50_035, "Invalid Form Body");
    }
    if permissions & permission::READ_MESSAGE_HISTORY == 0 {
        return Json(json!([])).into_response();
    }
    let posts = inner.posts.get(&channel).map_or(&[][..], Vec::as_slice);
    let first = posts.partition_point(|posted| posted.id <= listing.after);
    let page = &posts[first..posts.len().min(first + limit)];
    let page: Vec<Value> = page
        .iter()
        .rev()
        .map(|posted| payload::message(channel, posted, false))
        .collect();
    Json(page).into_response()
}

pub(super) async fn create(State(world): State<Arc<ServerState>>, Path(channel): Path<u64>, body: Bytes) -> Response {
    let (headers, counted) = world.lock().limits.count_post(channel, Instant::now());
    let mut response = match counted {
        Err(overrun) => rate_limited(&overrun, "user"),
        Ok(()) => post(&world, channel, &body).await,
    };
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(name, value.parse().expect("a valid header value"));
    }
    response
}

pub(super) async fn post(world: &ServerState, channel: u64, body: &[u8]) -> Response {
    let fault = world.lock().faults.get_mut(&channel).and_then(take);
    match fault {
        None => world.lock().accept(channel, body),
        Some(Fault::RateLimited { retry_after, scope }) => {
            let overrun = Overrun {
                wait: retry_after,
                global: scope == "global",
            };
            rate_limited(&overrun, scope)
        }
        Some(Fault::Rejected(status, code)) => refuse(status, code, "a fault that the test scripted"),
        Some(Fault::Status(status)) => page(status),
        Some(Fault::AcceptedThenCut) => {
            let answer = world.lock().accept(channel, body);
            let status = answer.status();
            let cut = stream::once(async {
                // The head must be sent before the error, because hyper sends nothing after an error.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::other("cut by the test"))
            });
            let begun = stream::iter([Ok(Bytes::from_static(b"{\"id\":"))]).chain(cut);
            (status, Body::from_stream(begun)).into_response()
        }
        Some(Fault::AcceptedThenStatus(status)) => {
            // Only the posted message matters: the fault replaces the response.
            let _ = world.lock().accept(channel, body);
            page(status)
        }
        Some(Fault::AcceptedThenStall) => {
            let _ = world.lock().accept(channel, body);
            std::future::pending().await
        }
        Some(Fault::Late(late)) => {
            tokio::time::sleep(late).await;
            world.lock().accept(channel, body)
        }
        Some(Fault::Stall) => std::future::pending().await,
    }
}

impl Inner {
    /// Posts the message, unless it is a duplicate or Discord would reject it.
    fn accept(&mut self, channel: u64, body: &[u8]) -> Response {
        let Some((_, permissions)) = self.guild_of(channel) else {
            return refuse(404, 10_003, "Unknown Channel");
        };
        if permissions & permission::VIEW_CHANNEL == 0 {
            return refuse(403, 50_001, "Missing Access");
        }
        if permissions & permission::SEND_MESSAGES == 0 {
            return refuse(403, 50_013, "Missing Permissions");
        }
        let mut body: Value = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(error) => return self.reject(channel, error.to_string()),
        };
        if let Some(wrong) = validate::message(&body) {
            return self.reject(channel, wrong);
        }
        if permissions & permission::EMBED_LINKS == 0 {
            body["embeds"] = json!([]);
        }
        let nonce = body["nonce"].as_str().unwrap_or_default().to_owned();
        let posts = self.posts.entry(channel).or_default();
        if body["enforce_nonce"] == true
            && let Some(first) = posts.iter().find(|posted| !nonce.is_empty() && posted.nonce == nonce)
        {
            return Json(payload::message(channel, first, true)).into_response();
        }
        let id = self.next_id();
        let posted = Posted {
            id,
            author: BOT,
            nonce,
            body,
            edits: 0,
        };
        let answer = Json(payload::message(channel, &posted, true)).into_response();
        self.posts.entry(channel).or_default().push(posted);
        answer
    }

    fn reject(&mut self, channel: u64, wrong: String) -> Response {
        let errors = json!({"_errors": [{"code": "STAND_IN", "message": wrong}]});
        self.rejected.push(format!("channel {channel}: {wrong}"));
        let body = json!({"message": "Invalid Form Body", "code": 50_035, "errors": errors});
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    }
}

/// Returns the HTML error page of a broken proxy.
fn page(status: u16) -> Response {
    let status = StatusCode::from_u16(status).expect("a valid status");
    (status, "<html>a fault that the test scripted</html>").into_response()
}
