//! Why does a shard not get in? serenity keeps most of the gateway's close codes to itself, so one try of our own tells.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::BotToken;

/// For the whole try; Discord answers an IDENTIFY within a few seconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
/// GUILDS, as serenity is told.
const INTENTS: u64 = 1 << 0;

const DISPATCH: u64 = 0;
const IDENTIFY: u64 = 2;
const INVALID_SESSION: u64 = 9;
const HELLO: u64 = 10;

/// How the gateway answered an IDENTIFY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdentifyOutcome {
    /// With READY: the shard is welcome.
    Ready,
    /// Not now: too many at once.
    Throttled,
    /// Closed with this code.
    Closed(u16),
}

/// Connects and identifies once, and says goodbye at once where that succeeds. Costs one IDENTIFY.
pub(super) async fn probe(
    gateway_url: &str,
    token: &BotToken,
    shard: u32,
    total: u32,
) -> Result<IdentifyOutcome, String> {
    timeout(PROBE_TIMEOUT, ask(gateway_url, token, shard, total))
        .await
        .unwrap_or_else(|_| Err("timed out".into()))
}

async fn ask(gateway_url: &str, token: &BotToken, shard: u32, total: u32) -> Result<IdentifyOutcome, String> {
    let url = format!("{}/?v=10&encoding=json", gateway_url.trim_end_matches('/'));
    let (mut socket, _) = connect_async(url).await.map_err(|error| error.to_string())?;
    while let Some(message) = socket.next().await {
        let text = match message.map_err(|error| error.to_string())? {
            Message::Text(text) => text,
            Message::Close(Some(CloseFrame { code, .. })) => return Ok(IdentifyOutcome::Closed(code.into())),
            Message::Close(None) => break,
            _ => continue,
        };
        let frame: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let answer = match (frame["op"].as_u64(), frame["t"].as_str()) {
            (Some(HELLO), _) => {
                let identify = identify(token, shard, total).to_string();
                socket
                    .send(Message::Text(identify))
                    .await
                    .map_err(|error| error.to_string())?;
                continue;
            }
            (Some(DISPATCH), Some("READY")) => IdentifyOutcome::Ready,
            (Some(INVALID_SESSION), _) => IdentifyOutcome::Throttled,
            _ => continue,
        };
        let goodbye = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        // The answer is known; how the connection ends does not matter.
        let _ = socket.close(Some(goodbye)).await;
        return Ok(answer);
    }
    Err("the connection was closed without a code".into())
}

fn identify(token: &BotToken, shard: u32, total: u32) -> Value {
    json!({
        "op": IDENTIFY,
        "d": {
            "token": token.expose(),
            "intents": INTENTS,
            "shard": [shard, total],
            "properties": { "os": std::env::consts::OS, "browser": "killfeed", "device": "killfeed" },
        }
    })
}
