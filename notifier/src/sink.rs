//! Where posts go. A sink sends one message and says exactly what became of it; it never retries by itself.

pub mod console;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A channel, or a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// Discord's id of the channel.
    Channel(u64),
    /// The webhook's id (never its URL, which is a secret).
    Webhook(u64),
}

/// One message, ready to be sent. What it carries is on disk before a sink sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// Where to.
    pub destination: Destination,
    /// At most 25 characters; the same nonce within a few minutes is posted once.
    pub nonce: String,
    /// The killmails it carries, in order: their links identify the message when it has to be looked for; where there are none,
    /// what it says does.
    pub killmails: Vec<u64>,
    /// What it says.
    pub message: Message,
}

/// A message as Discord's `POST /channels/{id}/messages` takes it, without the nonce.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Message {
    /// Plain text, at most 2,000 characters; empty = left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// At most 10, together at most 6,000 characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub embeds: Vec<Embed>,
    /// Always sent: what is not listed here pings nobody.
    pub allowed_mentions: AllowedMentions,
}

/// What in the content may ping. `Default` = nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AllowedMentions {
    /// `everyone` (which is `@here` too), or nothing.
    pub parse: Vec<String>,
    /// Ids of roles, as Discord writes ids: strings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// An embed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Embed {
    /// At most 256 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Where the title leads; embeds of one message with the same url are merged by Discord.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// At most 4,096 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// 0xRRGGBB.
    pub color: u32,
    /// RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub timestamp: String,
    /// At most 25.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// Small picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<Picture>,
    /// Line above the title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// Line below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footer: Option<Footer>,
}

/// A field of an embed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// 1 to 256 characters.
    pub name: String,
    /// 1 to 1,024 characters.
    pub value: String,
    /// Beside others.
    pub inline: bool,
}

/// A picture by its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// https.
    pub url: String,
}

/// Line above the title of an embed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// 1 to 256 characters.
    pub name: String,
    /// Where it leads; empty = nowhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Small picture; empty = none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub icon_url: String,
}

/// Line below an embed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// 1 to 2,048 characters.
    pub text: String,
}

/// A message that was posted and is to say something else now. The same edit twice is the same as once.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Where it is.
    pub destination: Destination,
    /// Discord's id of it.
    pub message_id: u64,
    /// All its embeds from now on. Its content, and whom that pinged, stays.
    pub embeds: Vec<Embed>,
    /// Killmails that it did not carry before.
    pub added: Vec<u64>,
}

/// What became of a message. Whether to try again follows from the variant alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// Discord has it.
    Sent {
        /// Discord's id of the message.
        message_id: u64,
    },
    /// 429, or the limits known forbid it for now, or no connection could be made: it was definitely not posted.
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Another 4xx: it was definitely not posted.
    Rejected {
        /// HTTP status.
        status: u16,
        /// Discord's error code, 0 = none: 10003 unknown channel, 50001 missing access, 50013 missing permissions, ...
        code: u32,
        /// Discord's words.
        message: String,
    },
    /// 401: the token is dead; nothing will ever be posted with it.
    Unauthorized,
    /// 5xx, a timeout, a cut connection: it may have been posted.
    Unknown {
        /// What happened.
        reason: String,
    },
}

/// What a look for a message found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupOutcome {
    /// It is there.
    Yes {
        /// Discord's id of the message.
        message_id: u64,
    },
    /// It is not there, and the look proves it.
    No,
    /// The look proves nothing (no Read Message History, or a sink that cannot look).
    Inconclusive,
    /// The look itself failed; look again later.
    Failed {
        /// What happened.
        reason: String,
    },
}

/// Where posts go.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Sends one message once. Bounded in time. Dropping the future leaves the outcome unknown.
    async fn send(&self, post: &Post) -> SendOutcome;

    /// Looks whether `post` was posted since `since` (the time of its first attempt).
    async fn lookup(&self, post: &Post, since: SystemTime) -> LookupOutcome;

    /// Edits a message once. Bounded in time. What cannot be edited stays as it is, and counts as done.
    async fn edit(&self, edit: &Edit) -> SendOutcome {
        SendOutcome::Sent {
            message_id: edit.message_id,
        }
    }

    /// Tells a person something where nobody else reads it, and says whether that worked. Bounded in time.
    async fn send_dm(&self, user: u64, text: &str) -> bool {
        let _ = (user, text);
        false
    }
}
