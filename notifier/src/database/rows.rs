//! Rows of the trees: protobuf messages, so that a field can be added without rewriting what is there. A tag is never
//! used for anything else. Times are milliseconds since 1970, UTC.

use killfeed::v1::Filter;

/// A subscription: what a person said (the truth), what became of it, and its compiled form (a cache).
#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SubscriptionRow {
    /// Counted in `meta`, never used again: a renamed subscription keeps it, one made anew gets another.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// 0 = a webhook row.
    #[prost(uint64, tag = "2")]
    pub guild: u64,
    /// Unique in its guild.
    #[prost(string, tag = "3")]
    pub name: String,
    /// As the destination's key.
    #[prost(bytes = "vec", tag = "4")]
    pub destination: Vec<u8>,
    /// Filter language.
    #[prost(string, tag = "5")]
    pub filter: String,
    /// As inside `attacker( )`; empty = none.
    #[prost(string, tag = "6")]
    pub us: String,
    /// `kills`, `losses`, `both`.
    #[prost(string, tag = "7")]
    pub side: String,
    /// `here`, `everyone`, `role:<id>`; empty = none.
    #[prost(string, tag = "8")]
    pub ping: String,
    /// Unset = the default.
    #[prost(uint64, optional, tag = "9")]
    pub ping_max_age: Option<u64>,
    /// Unset = the notifier's.
    #[prost(uint64, optional, tag = "10")]
    pub max_age: Option<u64>,
    /// `max_age:unlimited`.
    #[prost(bool, tag = "11")]
    pub any_age: bool,
    /// `full`, `compact`, `link`, `battle`.
    #[prost(string, tag = "12")]
    pub style: String,
    /// By a person.
    #[prost(bool, tag = "13")]
    pub paused: bool,
    /// `file`, `command`, `admin`.
    #[prost(string, tag = "14")]
    pub source: String,
    /// Killmails published before this are never queued by it.
    #[prost(uint64, tag = "15")]
    pub active_from: u64,
    /// Discord's id of the user; 0 = nobody there.
    #[prost(uint64, tag = "16")]
    pub created_by: u64,
    /// When.
    #[prost(uint64, tag = "17")]
    pub created_at: u64,
    /// Discord's id of the user; 0 = nobody there.
    #[prost(uint64, tag = "18")]
    pub changed_by: u64,
    /// When.
    #[prost(uint64, tag = "19")]
    pub changed_at: u64,
    /// Of a webhook row: a secret.
    #[prost(string, tag = "20")]
    pub webhook_url: String,
    /// Set while its destination takes no posts.
    #[prost(message, optional, tag = "21")]
    pub suspension: Option<SuspensionRow>,
    /// Why there is no compiled form, or why the one there is old; empty = all is well.
    #[prost(string, tag = "22")]
    pub problem: String,
    /// The cache.
    #[prost(message, optional, tag = "23")]
    #[serde(skip)]
    pub compiled: Option<CompiledRow>,
}

/// Why a destination takes no posts.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct SuspensionRow {
    /// In words.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Discord's error code, 0 = none.
    #[prost(uint32, tag = "2")]
    pub code: u32,
    /// Since when.
    #[prost(uint64, tag = "3")]
    pub since: u64,
    /// The channel is gone: never tried again.
    #[prost(bool, tag = "4")]
    pub retired: bool,
}

/// A subscription's filters with every name resolved.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CompiledRow {
    /// Of the static data it was compiled with.
    #[prost(string, tag = "1")]
    pub static_data_build: String,
    /// Of the language.
    #[prost(uint32, tag = "2")]
    pub language_version: u32,
    /// Of `filter`.
    #[prost(message, optional, tag = "3")]
    pub filter: Option<Filter>,
    /// Of `victim(us)`.
    #[prost(message, optional, tag = "4")]
    pub victim_is_us: Option<Filter>,
    /// Of `attacker(us)`.
    #[prost(message, optional, tag = "5")]
    pub attacker_is_us: Option<Filter>,
}

/// A killmail that waits for a destination.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueueRow {
    /// Which; its bytes are in `killmails`.
    #[prost(uint64, tag = "1")]
    pub killmail_id: u64,
    /// Whose filters it matched.
    #[prost(message, repeated, tag = "2")]
    pub matches: Vec<MatchRow>,
    /// The sealed batch that carries it, 0 = none.
    #[prost(uint64, tag = "3")]
    pub batch: u64,
    /// When the victim died.
    #[prost(uint64, tag = "4")]
    pub kill_time: u64,
    /// zKillboard's upload.
    #[prost(uint64, tag = "5")]
    pub published: u64,
    /// When it was put here.
    #[prost(uint64, tag = "6")]
    pub queued: u64,
    /// It is posted already: the post is to show a later revision.
    #[prost(bool, tag = "7")]
    pub edit: bool,
    /// Where it happened: killmails of one system make a battle.
    #[prost(uint32, tag = "8")]
    pub system: u32,
    /// ISK in all, for a post that counts it among others; unset = not known.
    #[prost(double, optional, tag = "9")]
    pub value: Option<f64>,
}

/// One subscription that a killmail matched.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MatchRow {
    /// Its id.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
    /// What the killmail is to it.
    #[prost(enumeration = "KillOutcome", tag = "2")]
    pub outcome: i32,
}

/// What a killmail is to the `us` of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum KillOutcome {
    /// The subscription has no `us`.
    Neutral = 0,
    /// Some attacker is us, the victim is not.
    Kill = 1,
    /// The victim is us.
    Loss = 2,
    /// Both.
    FriendlyFire = 3,
}

/// The killmails of one message, sealed: fixed until Discord has answered definitely.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BatchRow {
    /// From the local sequence.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What kind of message.
    #[prost(enumeration = "BatchKind", tag = "2")]
    pub kind: i32,
    /// What it carries, in order.
    #[prost(message, repeated, tag = "3")]
    pub entries: Vec<BatchEntryRow>,
    /// Made of channel, kind and entries.
    #[prost(string, tag = "4")]
    pub nonce: String,
    /// The message as JSON, exactly as it is sent and sent again.
    #[prost(bytes = "vec", tag = "5")]
    pub message: Vec<u8>,
    /// When it was sealed, which is right before the first attempt.
    #[prost(uint64, tag = "6")]
    pub sealed: u64,
    /// Whom it pings: `here`, `everyone`, `role:<id>`.
    #[prost(string, repeated, tag = "7")]
    pub pings: Vec<String>,
    /// Whom it would have pinged but for the cooldown.
    #[prost(string, repeated, tag = "8")]
    pub suppressed_pings: Vec<String>,
    /// The fullest style in it: `full`, `compact`, `link`, `battle`.
    #[prost(string, tag = "9")]
    pub style: String,
    /// How many times it was handed to a webhook, the first included: without a nonce it goes out twice at most.
    #[prost(uint32, tag = "10")]
    pub tries: u32,
    /// The guild that it tells that it has had its posts of the day, 0 = none.
    #[prost(uint64, tag = "11")]
    pub tells_limit: u64,
    /// It opens the digest of a battle in this system, 0 = none.
    #[prost(uint32, tag = "12")]
    pub battle: u32,
}

/// One killmail of a batch.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BatchEntryRow {
    /// Of its row in `queue`.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// Which.
    #[prost(uint64, tag = "2")]
    pub killmail_id: u64,
    /// In which revision it was rendered.
    #[prost(uint32, tag = "3")]
    pub revision: u32,
    /// Names of the subscriptions in its footer.
    #[prost(string, repeated, tag = "4")]
    pub names: Vec<String>,
    /// How it looks: `full`, `compact`, `link`, `battle`.
    #[prost(string, tag = "5")]
    pub style: String,
    /// What it is to those who subscribed.
    #[prost(enumeration = "KillOutcome", tag = "6")]
    pub outcome: i32,
}

/// What kind of message a batch is; part of its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum BatchKind {
    /// Never written.
    Unspecified = 0,
    /// Killmails.
    Post = 1,
    /// `N more killmails`.
    Folded = 2,
}

/// What became of a killmail in a destination.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PostRow {
    /// Where it stands.
    #[prost(enumeration = "PostState", tag = "1")]
    pub state: i32,
    /// Since when.
    #[prost(uint64, tag = "2")]
    pub since: u64,
    /// Discord's id of the message, 0 = none.
    #[prost(uint64, tag = "3")]
    pub message_id: u64,
    /// The batch that carried it last, 0 = none.
    #[prost(uint64, tag = "4")]
    pub batch: u64,
    /// The newest revision seen here.
    #[prost(uint32, tag = "5")]
    pub revision: u32,
    /// Whose filters it matched.
    #[prost(message, repeated, tag = "6")]
    pub matches: Vec<MatchRow>,
    /// Of its row in `queue`, while it waits.
    #[prost(uint64, tag = "7")]
    pub sequence: u64,
    /// Why, for a person.
    #[prost(string, tag = "8")]
    pub detail: String,
    /// A ping was held back by its cooldown.
    #[prost(bool, tag = "9")]
    pub ping_held_back: bool,
    /// The revision in the post as Discord has it.
    #[prost(uint32, tag = "10")]
    pub posted_revision: u32,
    /// Its embed as Discord has it, as JSON; empty where the post has none of its own to edit.
    #[prost(bytes = "vec", tag = "11")]
    pub embed: Vec<u8>,
    /// All killmails of the message, in order.
    #[prost(uint64, repeated, tag = "12")]
    pub together: Vec<u64>,
    /// Names of the subscriptions in its footer.
    #[prost(string, repeated, tag = "13")]
    pub names: Vec<String>,
    /// How it looks.
    #[prost(string, tag = "14")]
    pub style: String,
    /// The message that Discord refused, as JSON; empty unless `Dead`.
    #[prost(bytes = "vec", tag = "15")]
    pub refused: Vec<u8>,
}

/// Where a killmail stands in a destination. All but `Queued` are ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum PostState {
    /// Never written.
    Unspecified = 0,
    /// Waits.
    Queued = 1,
    /// Posted.
    Sent = 2,
    /// Counted in a post that says `N more killmails`.
    Folded = 3,
    /// Older than every matching subscription admits.
    TooOld = 4,
    /// Every subscription that wanted it was deleted or paused before its turn came.
    Dropped = 5,
    /// Discord will not take it.
    Dead = 6,
    /// It may or may not have been posted, and nothing can tell.
    Unknown = 7,
    /// The channel is gone.
    Gone = 8,
}

/// A killmail that somebody waits for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KillmailRow {
    /// How many rows of `queue` name it.
    #[prost(uint64, tag = "1")]
    pub users: u64,
    /// Of the bytes.
    #[prost(uint32, tag = "2")]
    pub revision: u32,
    /// An encoded `killfeed.v1.Killmail`.
    #[prost(bytes = "vec", tag = "3")]
    pub killmail: Vec<u8>,
}

/// A killmail that was seen, whether it matched or not.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HandledRow {
    /// The newest revision seen.
    #[prost(uint32, tag = "1")]
    pub revision: u32,
    /// When.
    #[prost(uint64, tag = "2")]
    pub at: u64,
}

/// A ping target that was pinged.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CooldownRow {
    /// It is not pinged again before this.
    #[prost(uint64, tag = "1")]
    pub until: u64,
}

/// The digest of a battle, as long as it may grow.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BattleRow {
    /// Discord's id of the message.
    #[prost(uint64, tag = "1")]
    pub message_id: u64,
    /// When a killmail came to it last.
    #[prost(uint64, tag = "2")]
    pub last: u64,
    /// Its killmails, in order. The bytes of each are kept for it.
    #[prost(message, repeated, tag = "3")]
    pub killmails: Vec<BattleKillmailRow>,
}

/// A killmail of a battle.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BattleKillmailRow {
    /// Which.
    #[prost(uint64, tag = "1")]
    pub killmail_id: u64,
    /// What it is to those who subscribed.
    #[prost(enumeration = "KillOutcome", tag = "2")]
    pub outcome: i32,
    /// Names of the subscriptions that match.
    #[prost(string, repeated, tag = "3")]
    pub names: Vec<String>,
}

/// What a guild got on one day.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct DailyPostsRow {
    /// Days since 1970, UTC.
    #[prost(uint64, tag = "1")]
    pub day: u64,
    /// Killmails posted that day.
    #[prost(uint64, tag = "2")]
    pub posted: u64,
    /// The guild was told that it has had its share.
    #[prost(bool, tag = "3")]
    pub limit_announced: bool,
}

/// What a subscription got in all its life.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CountersRow {
    /// Killmails that matched it, whatever became of them.
    #[prost(uint64, tag = "1")]
    pub matched: u64,
    /// Of these, how many were posted in its channel, each by itself or in a digest.
    #[prost(uint64, tag = "2")]
    pub posted: u64,
    /// When something last matched, 0 = never.
    #[prost(uint64, tag = "3")]
    pub last_match: u64,
    /// When something was last posted, 0 = never.
    #[prost(uint64, tag = "4")]
    pub last_post: u64,
}

/// Where in the stream the notifier is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PositionRow {
    /// Opaque.
    #[prost(string, tag = "1")]
    pub cursor: String,
    /// By the ingestor's clock.
    #[prost(message, optional, tag = "2")]
    pub time: Option<killfeed::Timestamp>,
}
