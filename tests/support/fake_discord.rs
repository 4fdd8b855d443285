//! A fake Discord in the test process, with REST and gateway on one loopback port.
//!
//! The fake is as strict as Discord wherever a bot can make a mistake. Tests create guilds and channels, script faults,
//! and read back the posts, the requests and the number of IDENTIFYs. The fake checks every message against Discord's
//! own API description (if `../shared/data` has it) and against the limits that the description omits.

mod edits;
mod validate;
mod fault;
mod gateway;
mod interactions;
mod limits;
mod messages;
mod payload;
mod rest;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use axum::http::{Method, StatusCode};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

pub use fault::Fault;
use gateway::Sessions;
use interactions::Interactions;
pub use interactions::{InteractionReply, TestInteraction, USER};
use limits::Limits;

/// The bot's token.
pub const TOKEN: &str = "stand.in.token";
/// The bot's own user id.
pub const BOT: u64 = 700_000_000_000_000_001;
/// The guild that exists from the start.
pub const GUILD: u64 = 800_000_000_000_000_001;
/// A channel of [`GUILD`] in which the bot has all permissions that it needs.
pub const CHANNEL: u64 = 900_000_000_000_000_001;

/// Discord's permission bits, as far as the bot uses them.
pub mod permission {
    pub const VIEW_CHANNEL: u64 = 1 << 10;
    pub const SEND_MESSAGES: u64 = 1 << 11;
    /// Discord silently drops embeds without this permission.
    pub const EMBED_LINKS: u64 = 1 << 14;
    /// Without this permission a list of messages is empty.
    pub const READ_MESSAGE_HISTORY: u64 = 1 << 16;
    /// Allows pings of `@everyone` and `@here`.
    pub const MENTION_EVERYONE: u64 = 1 << 17;
    /// Every permission.
    pub const EVERYTHING: u64 = (1 << 53) - 1;
    /// The permissions that the bot needs.
    pub const ALL: u64 = VIEW_CHANNEL | SEND_MESSAGES | EMBED_LINKS | READ_MESSAGE_HISTORY;
}

/// A fake Discord. Dropping it closes the server and every gateway connection.
#[derive(Debug)]
pub struct FakeDiscord {
    world: Arc<ServerState>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

/// A message in a channel.
#[derive(Debug, Clone)]
pub struct Posted {
    /// A snowflake of the time of the post.
    pub id: u64,
    /// [`BOT`], unless the test wrote the message.
    pub author: u64,
    pub nonce: String,
    /// The body as sent, with all edits applied.
    pub body: Value,
    /// The number of edits so far.
    pub edits: u32,
}

/// A REST request and the status of its response.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    /// The path below `/api/v10`, with its query.
    pub path: String,
    /// The `Authorization` header; empty if it was missing.
    pub authorization: String,
    /// The `User-Agent` header; empty if it was missing.
    pub user_agent: String,
    pub status: StatusCode,
}

/// The response to `GET /gateway/bot`.
#[derive(Debug, Clone)]
pub struct BotGateway {
    /// An error status to return instead, or `None` for a normal response.
    pub fails: Option<u16>,
    /// The number of requests that fail, or `None` for all of them.
    pub fails_times: Option<u32>,
    /// The recommended number of shards.
    pub shards: u32,
    /// The remaining IDENTIFYs; each IDENTIFY takes one.
    pub remaining: u64,
    /// The time until `remaining` resets.
    pub reset_after: Duration,
}

#[derive(Debug)]
struct ServerState {
    address: SocketAddr,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    guilds: BTreeMap<u64, Guild>,
    /// Posts of each channel, in the order of their ids.
    posts: HashMap<u64, Vec<Posted>>,
    next_serial: u64,
    faults: HashMap<u64, Vec<fault::Planned>>,
    edit_faults: HashMap<u64, Vec<fault::Planned>>,
    /// Token of each webhook.
    webhooks: HashMap<u64, String>,
    /// Users with a direct message channel. The channel has the user's id.
    direct: BTreeSet<u64>,
    limits: Limits,
    bot: BotGateway,
    sessions: Sessions,
    interactions: Interactions,
    requests: Vec<Asked>,
    rejected: Vec<String>,
}

#[derive(Debug, Default)]
struct Guild {
    /// The bot's permissions in each channel.
    channels: BTreeMap<u64, u64>,
}

impl ServerState {
    /// Locks the state, also after another test panicked with the lock. No caller holds it across an await.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn guild_of(&self, channel: u64) -> Option<(u64, u64)> {
        // Webhooks and direct message channels belong to no guild, and the bot may do everything there.
        if self.webhooks.contains_key(&channel) || self.direct.contains(&channel) {
            return Some((0, permission::ALL));
        }
        self.guilds.iter().find_map(|(&id, guild)| {
            let permissions = guild.channels.get(&channel)?;
            Some((id, *permissions))
        })
    }

    /// Returns a snowflake for the current time, higher than all before.
    fn next_id(&mut self) -> u64 {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let ms = u64::try_from(since_1970.as_millis()).unwrap_or_default();
        self.next_serial += 1;
        // Discord's snowflakes count milliseconds from 2015. The low 22 bits keep ids of one millisecond apart.
        (ms - 1_420_070_400_000) << 22 | (self.next_serial & 0x3f_ffff)
    }
}

impl FakeDiscord {
    /// Starts the fake on a free loopback port, with [`GUILD`] and [`CHANNEL`].
    ///
    /// # Panics
    ///
    /// Panics if no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let world = Arc::new(ServerState {
            address,
            inner: Mutex::new(Inner {
                guilds: BTreeMap::new(),
                posts: HashMap::new(),
                next_serial: 0,
                faults: HashMap::new(),
                edit_faults: HashMap::new(),
                webhooks: HashMap::new(),
                direct: BTreeSet::new(),
                limits: Limits::default(),
                bot: BotGateway {
                    fails: None,
                    fails_times: None,
                    shards: 1,
                    remaining: 1_000,
                    reset_after: Duration::from_secs(12 * 60 * 60),
                },
                sessions: Sessions::default(),
                interactions: Interactions::default(),
                requests: Vec::new(),
                rejected: Vec::new(),
            }),
        });
        let app = rest::routes(Arc::clone(&world));
        let server = tokio::spawn(async move {
            axum::serve(listener, app)
                .await
                .expect("axum::serve runs until the task is aborted");
        });
        let discord = Self { world, address, server };
        discord.add_channel(GUILD, CHANNEL, permission::ALL);
        discord
    }

    /// Returns the value for `NOTIFIER_DISCORD_API_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the settings that connect a notifier to this fake.
    pub fn settings(&self) -> [(&'static str, String); 3] {
        [
            ("NOTIFIER_SINK", "discord".into()),
            ("NOTIFIER_DISCORD_API_URL", self.url()),
            ("NOTIFIER_DISCORD_TOKEN", TOKEN.into()),
        ]
    }

    /// Adds a channel, or changes the bot's permissions in it.
    ///
    /// A new guild is added with its first channel. Connected shards receive the matching event.
    pub fn add_channel(&self, guild: u64, channel: u64, permissions: u64) {
        let mut inner = self.world.lock();
        let new_guild = !inner.guilds.contains_key(&guild);
        let entry = inner.guilds.entry(guild).or_default();
        let old = entry.channels.insert(channel, permissions);
        let (name, payload) = match (new_guild, old) {
            (true, _) => ("GUILD_CREATE", payload::guild_create(guild, entry)),
            (false, None) => ("CHANNEL_CREATE", payload::channel(guild, channel, permissions)),
            (false, Some(_)) => ("CHANNEL_UPDATE", payload::channel(guild, channel, permissions)),
        };
        inner.sessions.tell_guild(guild, name, payload);
    }

    /// Deletes a channel. Posts to it then fail with 404 (10003).
    pub fn delete_channel(&self, guild: u64, channel: u64) {
        let mut inner = self.world.lock();
        if let Some(permissions) = inner.guilds.get_mut(&guild).and_then(|it| it.channels.remove(&channel)) {
            let payload = payload::channel(guild, channel, permissions);
            inner.sessions.tell_guild(guild, "CHANNEL_DELETE", payload);
        }
    }

    /// Removes the bot from a guild.
    pub fn remove_guild(&self, guild: u64) {
        let mut inner = self.world.lock();
        inner.guilds.remove(&guild);
        let payload = serde_json::json!({"id": guild.to_string()});
        inner.sessions.tell_guild(guild, "GUILD_DELETE", payload);
    }

    /// Sends a `GUILD_DELETE` with `unavailable` to signal an outage of the guild.
    pub fn guild_outage(&self, guild: u64) {
        let payload = serde_json::json!({"id": guild.to_string(), "unavailable": true});
        self.world.lock().sessions.tell_guild(guild, "GUILD_DELETE", payload);
    }

    /// Returns the messages of a channel, oldest first.
    pub fn posts(&self, channel: u64) -> Vec<Posted> {
        self.world.lock().posts.get(&channel).cloned().unwrap_or_default()
    }

    /// Writes a message into a channel as another user, and returns its id.
    pub fn chat(&self, channel: u64, text: &str) -> u64 {
        let mut inner = self.world.lock();
        let id = inner.next_id();
        inner.posts.entry(channel).or_default().push(Posted {
            id,
            author: BOT + 1,
            nonce: String::new(),
            body: serde_json::json!({"content": text}),
            edits: 0,
        });
        id
    }

    /// Adds a message of the bot to a channel, as if an earlier process had posted it.
    pub fn post_as_bot(&self, channel: u64, body: &Value) {
        let mut inner = self.world.lock();
        let posted = Posted {
            id: inner.next_id(),
            author: BOT,
            nonce: String::new(),
            body: body.clone(),
            edits: 0,
        };
        inner.posts.entry(channel).or_default().push(posted);
    }

    /// Fails the next `times` posts to a channel with `fault`; `None` lasts until [`FakeDiscord::heal`].
    ///
    /// Several faults of one channel apply one after another.
    pub fn fault(&self, channel: u64, fault: Fault, times: Option<u32>) {
        let mut inner = self.world.lock();
        inner
            .faults
            .entry(channel)
            .or_default()
            .push(fault::Planned { fault, times });
    }

    /// Creates a webhook and returns its URL.
    ///
    /// [`FakeDiscord::posts`] lists its posts under the webhook's id.
    pub fn add_webhook(&self, id: u64, token: &str) -> String {
        self.world.lock().webhooks.insert(id, token.to_owned());
        format!("{}/api/webhooks/{id}/{token}", self.url())
    }

    /// Fails the next `times` edits in a channel with `status`.
    pub fn fail_edits(&self, channel: u64, status: u16, times: u32) {
        let planned = fault::Planned {
            fault: Fault::Status(status),
            times: Some(times),
        };
        self.world.lock().edit_faults.entry(channel).or_default().push(planned);
    }

    /// Removes all faults of a channel.
    pub fn heal(&self, channel: u64) {
        self.world.lock().faults.remove(&channel);
    }

    /// Sets the number of posts per interval for each channel; `None` removes the limit.
    ///
    /// The default is 5 posts in 5 s.
    pub fn limit_posts(&self, limit: Option<(u32, Duration)>) {
        self.world.lock().limits.per_channel = limit;
    }

    /// Returns the number of 429 responses to exceeded limits, without those of [`Fault::RateLimited`].
    pub fn overruns(&self) -> u32 {
        self.world.lock().limits.overruns
    }

    /// Changes the response to `GET /gateway/bot`.
    pub fn bot_gateway(&self, change: impl FnOnce(&mut BotGateway)) {
        change(&mut self.world.lock().bot);
    }

    /// Returns every REST request so far, in the order of the responses.
    pub fn requests(&self) -> Vec<Asked> {
        self.world.lock().requests.clone()
    }

    /// Returns the error of each invalid body; empty in a healthy run.
    pub fn rejected(&self) -> Vec<String> {
        self.world.lock().rejected.clone()
    }

    /// Returns the number of IDENTIFYs so far.
    pub fn identifies(&self) -> u32 {
        self.world.lock().sessions.identifies
    }

    /// Returns the number of resumed sessions so far.
    pub fn resumes(&self) -> u32 {
        self.world.lock().sessions.resumes
    }

    /// Returns the sorted `[shard, total]` pairs of all connected, identified shards.
    pub fn shards(&self) -> Vec<[u32; 2]> {
        self.world.lock().sessions.connected()
    }

    /// Closes the connection with `code` at every IDENTIFY; `None` accepts them again.
    pub fn refuse_identify(&self, code: Option<u16>) {
        self.world.lock().sessions.refuse = code;
    }

    /// Closes a shard's connection with a close code.
    pub fn close(&self, shard: u32, code: u16) {
        self.world.lock().sessions.order(shard, gateway::Order::Close(code));
    }

    /// Drops a shard's connection without a close frame.
    pub fn cut(&self, shard: u32) {
        self.world.lock().sessions.order(shard, gateway::Order::Cut);
    }

    /// Deletes all sessions, so that a shard that resumes has to identify again.
    pub fn forget_sessions(&self) {
        self.world.lock().sessions.forget();
    }

    /// Sets whether the gateway rejects all connections.
    pub fn gateway_down(&self, down: bool) {
        self.world.lock().sessions.down = down;
    }
}

impl Drop for FakeDiscord {
    fn drop(&mut self) {
        self.world.lock().sessions.order_all(gateway::Order::Cut);
        self.server.abort();
    }
}
