//! Discord's objects, with all fields that a client library needs.

use serde_json::{Value, json};

use super::{BOT, Guild, Posted};

/// A user other than the bot.
const OWNER: u64 = BOT + 1;

pub(super) fn user(id: u64) -> Value {
    json!({
        "id": id.to_string(), "username": if id == BOT { "killfeed" } else { "someone" }, "discriminator": "0",
        "global_name": null, "avatar": null, "bot": id == BOT, "flags": 0, "public_flags": 0,
    })
}

pub(super) fn channel(guild: u64, channel: u64, permissions: u64) -> Value {
    json!({
        "id": channel.to_string(), "type": 0, "guild_id": guild.to_string(), "name": format!("channel-{channel}"),
        "position": 0, "parent_id": null, "topic": null, "nsfw": false, "flags": 0, "last_message_id": null,
        "rate_limit_per_user": 0,
        // All permissions of the bot come from this overwrite.
        "permission_overwrites": [{
            "id": BOT.to_string(), "type": 1, "allow": permissions.to_string(), "deny": (!permissions & !(1 << 63)).to_string(),
        }],
    })
}

pub(super) fn member() -> Value {
    json!({
        "user": user(BOT), "nick": null, "avatar": null, "roles": [], "joined_at": "2026-01-01T00:00:00.000000+00:00",
        "premium_since": null, "deaf": false, "mute": false, "flags": 0, "pending": false,
    })
}

pub(super) fn guild(id: u64) -> Value {
    let everyone = json!({
        "id": id.to_string(), "name": "@everyone", "color": 0, "hoist": false, "managed": false, "mentionable": false,
        "colors": {"primary_color": 0, "secondary_color": null, "tertiary_color": null},
        "permissions": "0", "position": 0, "icon": null, "unicode_emoji": null, "flags": 0,
    });
    json!({
        "id": id.to_string(), "name": format!("guild {id}"), "icon": null, "splash": null, "discovery_splash": null,
        "owner_id": OWNER.to_string(), "afk_channel_id": null, "afk_timeout": 300, "verification_level": 0,
        "default_message_notifications": 0, "explicit_content_filter": 0, "roles": [everyone], "emojis": [],
        "features": [], "mfa_level": 0, "application_id": null, "system_channel_id": null, "system_channel_flags": 0,
        "rules_channel_id": null, "max_members": 500_000, "vanity_url_code": null, "description": null, "banner": null,
        "premium_tier": 0, "premium_subscription_count": 0, "preferred_locale": "en-US", "public_updates_channel_id": null,
        "nsfw_level": 0, "stickers": [], "premium_progress_bar_enabled": false, "safety_alerts_channel_id": null,
    })
}

/// Returns a guild with the fields that only the gateway sends.
pub(super) fn guild_create(id: u64, of: &Guild) -> Value {
    let channels: Vec<Value> = of
        .channels
        .iter()
        .map(|(&it, &permissions)| channel(id, it, permissions))
        .collect();
    let mut payload = guild(id);
    for (key, value) in [
        ("joined_at", json!("2026-01-01T00:00:00.000000+00:00")),
        ("large", json!(false)),
        ("unavailable", json!(false)),
        ("member_count", json!(2)),
        ("voice_states", json!([])),
        ("members", json!([member()])),
        ("channels", json!(channels)),
        ("threads", json!([])),
        ("presences", json!([])),
        ("stage_instances", json!([])),
        ("guild_scheduled_events", json!([])),
    ] {
        payload[key] = value;
    }
    payload
}

/// Returns a message in Discord's format. Only the response to a post includes the nonce.
pub(super) fn message(channel: u64, posted: &Posted, with_nonce: bool) -> Value {
    let mut message = json!({
        "id": posted.id.to_string(), "channel_id": channel.to_string(), "author": user(posted.author), "type": 0,
        "content": posted.body["content"].as_str().unwrap_or_default(),
        "embeds": posted.body["embeds"].as_array().cloned().unwrap_or_default(),
        "timestamp": "2026-01-01T00:00:00.000000+00:00", "edited_timestamp": null, "tts": false, "mention_everyone": false,
        "mentions": [], "mention_roles": [], "attachments": [], "pinned": false, "flags": 0, "components": [],
    });
    if with_nonce && !posted.nonce.is_empty() {
        message["nonce"] = posted.nonce.clone().into();
    }
    message
}

/// Returns an empty message of the bot.
pub(super) fn plain_message(channel: u64, id: u64) -> Value {
    let posted = Posted {
        id,
        author: BOT,
        nonce: String::new(),
        body: json!({}),
        edits: 0,
    };
    message(channel, &posted, false)
}
