//! A stand-in Discord, in this process, on one loopback port: REST and gateway, strict as the real one where a bot can go wrong.
//!
//! Tests make guilds and channels, script faults, and read back what was posted, what was asked and how often a shard
//! identified itself. Every message is checked against Discord's own API description (where it lies beside the project) and
//! against the limits that it leaves out.

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
/// A guild that is there from the start.
pub const GUILD: u64 = 800_000_000_000_000_001;
/// A channel of it in which the bot may do what it needs.
pub const CHANNEL: u64 = 900_000_000_000_000_001;

/// What a bot can be allowed in a channel.
pub mod permission {
    /// See it.
    pub const VIEW_CHANNEL: u64 = 1 << 10;
    /// Post.
    pub const SEND_MESSAGES: u64 = 1 << 11;
    /// Post embeds; without it they are left out silently.
    pub const EMBED_LINKS: u64 = 1 << 14;
    /// Read what was posted; without it a list is empty.
    pub const READ_MESSAGE_HISTORY: u64 = 1 << 16;
    /// Ping everybody.
    pub const MENTION_EVERYONE: u64 = 1 << 17;
    /// Everything that there is.
    pub const EVERYTHING: u64 = (1 << 53) - 1;
    /// What the bot needs.
    pub const ALL: u64 = VIEW_CHANNEL | SEND_MESSAGES | EMBED_LINKS | READ_MESSAGE_HISTORY;
}

/// The stand-in. Dropping it closes it, and every connection to its gateway.
#[derive(Debug)]
pub struct FakeDiscord {
    world: Arc<ServerState>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

/// A message in a channel.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Its id, of the time when it was posted.
    pub id: u64,
    /// Whose it is: [`BOT`], unless the test wrote it.
    pub author: u64,
    /// The nonce it came with.
    pub nonce: String,
    /// As it was sent, with what edits made of it.
    pub body: Value,
    /// How many times it was edited.
    pub edits: u32,
}

/// A REST request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// GET, POST, ...
    pub method: Method,
    /// Below `/api/v10`, with its query.
    pub path: String,
    /// `Authorization` and `User-Agent` as sent; empty if missing.
    pub authorization: String,
    /// As sent.
    pub user_agent: String,
    /// Of the answer.
    pub status: StatusCode,
}

/// What `GET /gateway/bot` answers.
#[derive(Debug, Clone)]
pub struct BotGateway {
    /// `Some` = this status in place of an answer.
    pub fails: Option<u16>,
    /// `Some` = only that many times.
    pub fails_times: Option<u32>,
    /// Recommended number of shards.
    pub shards: u32,
    /// IDENTIFYs left; each one uses one up.
    pub remaining: u64,
    /// Until there are more.
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
    /// By channel, in the order of their ids.
    posts: HashMap<u64, Vec<Posted>>,
    next_serial: u64,
    faults: HashMap<u64, Vec<fault::Planned>>,
    edit_faults: HashMap<u64, Vec<fault::Planned>>,
    /// Id → token.
    webhooks: HashMap<u64, String>,
    /// People the bot has a channel with, whose id is the person's.
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
    /// Channel → what the bot may do there.
    channels: BTreeMap<u64, u64>,
}

impl ServerState {
    /// No lock is held across an await, and a panicking test must not poison the others' view of it.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn guild_of(&self, channel: u64) -> Option<(u64, u64)> {
        // Where a webhook or the bot's direct messages end up is no channel of a guild; there the bot may do all it does.
        if self.webhooks.contains_key(&channel) || self.direct.contains(&channel) {
            return Some((0, permission::ALL));
        }
        self.guilds.iter().find_map(|(&id, guild)| {
            let permissions = guild.channels.get(&channel)?;
            Some((id, *permissions))
        })
    }

    /// An id of now; ids increase.
    fn next_id(&mut self) -> u64 {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let ms = u64::try_from(since_1970.as_millis()).unwrap_or_default();
        self.next_serial += 1;
        // Discord's ids count from 2015; the lower 22 bits tell those of one millisecond apart.
        (ms - 1_420_070_400_000) << 22 | (self.next_serial & 0x3f_ffff)
    }
}

impl FakeDiscord {
    /// Starts it on a free loopback port, with [`GUILD`] and [`CHANNEL`] in it.
    ///
    /// # Panics
    /// If there is no free port.
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
            axum::serve(listener, app).await.expect("serve never ends");
        });
        let discord = Self { world, address, server };
        discord.add_channel(GUILD, CHANNEL, permission::ALL);
        discord
    }

    /// For `NOTIFIER_DISCORD_API_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The settings that make a notifier live in this world.
    pub fn settings(&self) -> [(&'static str, String); 3] {
        [
            ("NOTIFIER_SINK", "discord".into()),
            ("NOTIFIER_DISCORD_API_URL", self.url()),
            ("NOTIFIER_DISCORD_TOKEN", TOKEN.into()),
        ]
    }

    /// Adds a channel, and its guild if that is new (connected shards hear of it), or changes what the bot may do in it.
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

    /// Deletes a channel: posting there answers 404 (10003).
    pub fn delete_channel(&self, guild: u64, channel: u64) {
        let mut inner = self.world.lock();
        if let Some(permissions) = inner.guilds.get_mut(&guild).and_then(|it| it.channels.remove(&channel)) {
            let payload = payload::channel(guild, channel, permissions);
            inner.sessions.tell_guild(guild, "CHANNEL_DELETE", payload);
        }
    }

    /// The guild throws the bot out.
    pub fn remove_guild(&self, guild: u64) {
        let mut inner = self.world.lock();
        inner.guilds.remove(&guild);
        let payload = serde_json::json!({"id": guild.to_string()});
        inner.sessions.tell_guild(guild, "GUILD_DELETE", payload);
    }

    /// The guild has an outage: its `GUILD_DELETE` says `unavailable`.
    pub fn guild_outage(&self, guild: u64) {
        let payload = serde_json::json!({"id": guild.to_string(), "unavailable": true});
        self.world.lock().sessions.tell_guild(guild, "GUILD_DELETE", payload);
    }

    /// What is in a channel, oldest first.
    pub fn posts(&self, channel: u64) -> Vec<Posted> {
        self.world.lock().posts.get(&channel).cloned().unwrap_or_default()
    }

    /// Somebody else writes into a channel.
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

    /// Puts a message of the bot into a channel, as if a process before this one had posted it.
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

    /// Answers posts to a channel with `fault`: the next `times`, or all of them until [`FakeDiscord::heal`]. Faults of one channel
    /// come one after another.
    pub fn fault(&self, channel: u64, fault: Fault, times: Option<u32>) {
        let mut inner = self.world.lock();
        inner
            .faults
            .entry(channel)
            .or_default()
            .push(fault::Planned { fault, times });
    }

    /// Makes a webhook, whose posts are those of the channel with its id; gives its URL.
    pub fn add_webhook(&self, id: u64, token: &str) -> String {
        self.world.lock().webhooks.insert(id, token.to_owned());
        format!("{}/api/webhooks/{id}/{token}", self.url())
    }

    /// Answers edits in a channel with this status, so many times.
    pub fn fail_edits(&self, channel: u64, status: u16, times: u32) {
        let planned = fault::Planned {
            fault: Fault::Status(status),
            times: Some(times),
        };
        self.world.lock().edit_faults.entry(channel).or_default().push(planned);
    }

    /// Ends every fault of a channel.
    pub fn heal(&self, channel: u64) {
        self.world.lock().faults.remove(&channel);
    }

    /// How many posts a channel takes in which time; `None` = any. 5 in 5 s if nothing is said.
    pub fn limit_posts(&self, limit: Option<(u32, Duration)>) {
        self.world.lock().limits.per_channel = limit;
    }

    /// How many requests were answered 429 because a limit was overrun (not those of [`Fault::RateLimited`]).
    pub fn overruns(&self) -> u32 {
        self.world.lock().limits.overruns
    }

    /// Changes what `GET /gateway/bot` answers.
    pub fn bot_gateway(&self, change: impl FnOnce(&mut BotGateway)) {
        change(&mut self.world.lock().bot);
    }

    /// Every REST request so far, in the order of their answers.
    pub fn requests(&self) -> Vec<Asked> {
        self.world.lock().requests.clone()
    }

    /// What was wrong with each body that was refused as invalid: empty in a healthy run.
    pub fn rejected(&self) -> Vec<String> {
        self.world.lock().rejected.clone()
    }

    /// How many times a shard identified itself.
    pub fn identifies(&self) -> u32 {
        self.world.lock().sessions.identifies
    }

    /// How many times a session was resumed.
    pub fn resumes(&self) -> u32 {
        self.world.lock().sessions.resumes
    }

    /// `[shard, total]` of those connected and identified, in order.
    pub fn shards(&self) -> Vec<[u32; 2]> {
        self.world.lock().sessions.connected()
    }

    /// Closes every IDENTIFY from now on with this code; `None` ends it.
    pub fn refuse_identify(&self, code: Option<u16>) {
        self.world.lock().sessions.refuse = code;
    }

    /// Closes a shard's connection with a code.
    pub fn close(&self, shard: u32, code: u16) {
        self.world.lock().sessions.order(shard, gateway::Order::Close(code));
    }

    /// Cuts a shard's connection without a word.
    pub fn cut(&self, shard: u32) {
        self.world.lock().sessions.order(shard, gateway::Order::Cut);
    }

    /// Forgets all sessions: who wants to resume must identify anew.
    pub fn forget_sessions(&self) {
        self.world.lock().sessions.forget();
    }

    /// While `true` the gateway takes no connections.
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
