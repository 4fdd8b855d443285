//! The REST routes, their authorization, and everything except messages.

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, patch, post, put},
};
use serde_json::{Value, json};

use super::{Asked, BOT, ServerState, TOKEN, edits, gateway, interactions, limits::Overrun, messages, payload};

pub(super) fn routes(world: Arc<ServerState>) -> Router {
    let api = Router::new()
        .route("/gateway", get(gateway_url))
        .route("/gateway/bot", get(gateway_bot))
        .route("/users/@me", get(me))
        .route("/channels/{channel}", get(channel))
        .route(
            "/channels/{channel}/messages",
            get(messages::list).post(messages::create),
        )
        .route("/channels/{channel}/messages/{message}", patch(edits::edit))
        .route("/users/@me/channels", post(edits::open_direct))
        .route("/webhooks/{application}/{token}", post(edits::webhook))
        .route(
            "/webhooks/{application}/{token}/messages/{message}",
            patch(edits::edit_by_webhook),
        )
        .route("/guilds/{guild}", get(guild))
        .route("/guilds/{guild}/members/{user}", get(member))
        .route("/applications/{application}/commands", put(interactions::register))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(Arc::clone(&world), guard));
    // Interactions carry their own token and do not count against the bot's limits.
    let own_token = Router::new()
        .route("/interactions/{id}/{token}/callback", post(interactions::callback))
        .route(
            "/webhooks/{application}/{token}/messages/@original",
            patch(interactions::later),
        );
    Router::new()
        .nest("/api/v10", own_token.merge(api))
        .route("/attachments/{name}", get(interactions::attachment))
        .route("/", get(gateway::connect))
        .with_state(world)
}

/// Returns an error in Discord's format.
pub(super) fn refuse(status: u16, code: u32, message: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a valid status");
    (status, Json(json!({"message": message, "code": code}))).into_response()
}

/// Returns a 429 in Discord's format.
pub(super) fn rate_limited(overrun: &Overrun, scope: &str) -> Response {
    let body = json!({
        "message": "You are being rate limited.", "retry_after": overrun.wait.as_secs_f64(), "global": overrun.global,
    });
    let mut response = (StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response();
    let mut set = |name: &'static str, value: String| {
        response
            .headers_mut()
            .insert(name, value.parse().expect("a valid header value"));
    };
    // Discord's header has whole seconds; the body is exact.
    set("retry-after", overrun.wait.as_secs_f64().ceil().to_string());
    set("x-ratelimit-scope", scope.into());
    if overrun.global {
        set("x-ratelimit-global", "true".into());
    }
    response
}

/// Checks the token and the global limit, and records the request.
async fn guard(State(world): State<Arc<ServerState>>, uri: Uri, request: Request, next: Next) -> Response {
    let mut asked = Asked {
        method: request.method().clone(),
        path: uri.to_string(),
        authorization: text(request.headers(), header::AUTHORIZATION),
        user_agent: text(request.headers(), header::USER_AGENT),
        status: StatusCode::OK,
    };
    let counted = world.lock().limits.count(Instant::now());
    let response = match counted {
        Err(overrun) => rate_limited(&overrun, "global"),
        // A webhook's URL contains its own token.
        Ok(()) if !asked.path.starts_with("/webhooks/") && asked.authorization != format!("Bot {TOKEN}") => {
            refuse(401, 0, "401: Unauthorized")
        }
        Ok(()) => next.run(request).await,
    };
    asked.status = response.status();
    world.lock().requests.push(asked);
    response
}

fn text(headers: &HeaderMap, name: HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

async fn not_found() -> Response {
    refuse(404, 0, "404: Not Found")
}

async fn gateway_url(State(world): State<Arc<ServerState>>) -> Json<Value> {
    Json(json!({"url": format!("ws://{}", world.address)}))
}

async fn gateway_bot(State(world): State<Arc<ServerState>>) -> Response {
    let bot = &mut world.lock().bot;
    if let Some(status) = bot.fails {
        if let Some(times) = &mut bot.fails_times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                bot.fails = None;
            }
        }
        return refuse(status, 0, "a fault that the test scripted");
    }
    let limit = json!({
        "total": 1000, "remaining": bot.remaining, "reset_after": bot.reset_after.as_millis() as u64, "max_concurrency": 1,
    });
    Json(json!({"url": format!("ws://{}", world.address), "shards": bot.shards, "session_start_limit": limit}))
        .into_response()
}

async fn me() -> Json<Value> {
    Json(payload::user(BOT))
}

async fn channel(State(world): State<Arc<ServerState>>, Path(channel): Path<u64>) -> Response {
    let found = world.lock().guild_of(channel);
    match found {
        None => refuse(404, 10_003, "Unknown Channel"),
        Some((_, permissions)) if permissions & super::permission::VIEW_CHANNEL == 0 => {
            refuse(403, 50_001, "Missing Access")
        }
        Some((guild, permissions)) => Json(payload::channel(guild, channel, permissions)).into_response(),
    }
}

async fn guild(State(world): State<Arc<ServerState>>, Path(guild): Path<u64>) -> Response {
    if world.lock().guilds.contains_key(&guild) {
        Json(payload::guild(guild)).into_response()
    } else {
        refuse(404, 10_004, "Unknown Guild")
    }
}

async fn member(State(world): State<Arc<ServerState>>, Path((guild, user)): Path<(u64, u64)>) -> Response {
    if user == BOT && world.lock().guilds.contains_key(&guild) {
        Json(payload::member()).into_response()
    } else {
        refuse(404, 10_007, "Unknown Member")
    }
}
