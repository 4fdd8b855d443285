//! What the gateway says, in the notifier's words.

use std::{collections::BTreeSet, sync::Mutex};

use async_trait::async_trait;
use serenity::all::{ChannelId, Context, Event, GuildId, RawEventHandler};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::super::{
    BotUser,
    interactions::{GatewayInput, METRIC_DROPPED},
};
use crate::shards::Shards;

/// How many guilds the shards served here have.
pub const METRIC_GUILDS: &str = "notifier_discord_guilds";
/// Events dropped because nobody took them in time.
pub const METRIC_EVENTS_DROPPED: &str = "notifier_discord_events_dropped_total";

/// What happened at the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayEvent {
    /// A shard is connected (again).
    ShardReady {
        /// Which.
        shard: u32,
    },
    /// A shard is not connected any more; serenity tries again by itself.
    ShardLost {
        /// Which.
        shard: u32,
    },
    /// After a fresh connection: all guilds of the shard. What is not in the list removed the bot meanwhile.
    GuildsListed {
        /// Which shard.
        shard: u32,
        /// The guilds' ids.
        guilds: Vec<u64>,
    },
    /// The bot was removed from the guild. (An outage of the guild is no event.)
    GuildRemoved {
        /// The guild's id.
        guild: u64,
    },
    /// The guild is there: after connecting, after an outage, or because the bot was added.
    GuildAvailable {
        /// The guild's id.
        guild: u64,
    },
    /// A channel, a role or the bot's own membership changed: what was forbidden may be allowed now.
    PermissionsMayHaveChanged {
        /// The guild's id.
        guild: u64,
        /// The only channel concerned; `None` = any of the guild.
        channel: Option<u64>,
    },
}

/// Hears every event of the gateway.
pub(super) struct EventHandler {
    pub(super) identity: BotUser,
    pub(super) events: mpsc::Sender<GatewayEvent>,
    /// A `std` mutex: never held across an await.
    pub(super) guilds: Mutex<BTreeSet<u64>>,
    /// Who answers people.
    pub(super) heard: mpsc::Sender<GatewayInput>,
}

/// Hands an event on. One that does not fit is dropped: each only hastens what a failed post or a probe finds as well.
pub(super) fn send(events: &mpsc::Sender<GatewayEvent>, event: GatewayEvent) {
    if let Err(TrySendError::Full(event)) = events.try_send(event) {
        metrics::counter!(METRIC_EVENTS_DROPPED).increment(1);
        tracing::warn!(?event, "gateway event dropped, queue is full");
    }
}

#[async_trait]
impl RawEventHandler for EventHandler {
    async fn raw_event(&self, context: Context, event: Event) {
        match event {
            Event::InteractionCreate(event) => {
                self.hand_over(GatewayInput::Interaction(Box::new(event.interaction), context.cache));
            }
            Event::Ready(event) => {
                self.hand_over(GatewayInput::Ready {
                    application: event.ready.application.id.get(),
                    guilds: event.ready.guilds.len(),
                });
                self.identity.set(event.ready.user.id.get());
                let guilds: Vec<u64> = event.ready.guilds.iter().map(|guild| guild.id.get()).collect();
                let (shard, total) = event.ready.shard.map_or((0, 1), |shard| (shard.id.0, shard.total));
                self.count(|known| {
                    // A fresh list: what is not in it removed the bot while the shard was away.
                    known.retain(|guild| Shards::all(total).shard_of(*guild) != shard);
                    known.extend(&guilds);
                });
                send(&self.events, GatewayEvent::GuildsListed { shard, guilds });
            }
            Event::GuildCreate(event) => {
                let guild = event.guild.id.get();
                self.count(|known| {
                    known.insert(guild);
                });
                send(&self.events, GatewayEvent::GuildAvailable { guild });
            }
            // With `unavailable` it is an outage: touch nothing.
            Event::GuildDelete(event) if !event.guild.unavailable => {
                let guild = event.guild.id.get();
                self.count(|known| {
                    known.remove(&guild);
                });
                send(&self.events, GatewayEvent::GuildRemoved { guild });
            }
            Event::ChannelCreate(event) => self.changed(event.channel.guild_id, Some(event.channel.id)),
            Event::ChannelUpdate(event) => self.changed(event.channel.guild_id, Some(event.channel.id)),
            Event::ThreadUpdate(event) => self.changed(event.thread.guild_id, Some(event.thread.id)),
            Event::GuildRoleCreate(event) => self.changed(event.role.guild_id, None),
            Event::GuildRoleUpdate(event) => self.changed(event.role.guild_id, None),
            Event::GuildRoleDelete(event) => self.changed(event.guild_id, None),
            Event::GuildUpdate(event) => self.changed(event.guild.id, None),
            // Without the privileged intent only the bot's own membership comes.
            Event::GuildMemberUpdate(event) => self.changed(event.guild_id, None),
            _ => {}
        }
    }
}

impl EventHandler {
    /// Hands it to who answers; one that does not fit would be answered too late anyway.
    fn hand_over(&self, heard: GatewayInput) {
        if let Err(TrySendError::Full(_)) = self.heard.try_send(heard) {
            metrics::counter!(METRIC_DROPPED).increment(1);
            tracing::warn!("interaction dropped, queue is full");
        }
    }

    fn changed(&self, guild: GuildId, channel: Option<ChannelId>) {
        let event = GatewayEvent::PermissionsMayHaveChanged {
            guild: guild.get(),
            channel: channel.map(ChannelId::get),
        };
        send(&self.events, event);
    }

    fn count(&self, change: impl FnOnce(&mut BTreeSet<u64>)) {
        // Poisoned only by a panic while a set of numbers changes, which leaves a set of numbers.
        let mut known = self.guilds.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        change(&mut known);
        metrics::gauge!(METRIC_GUILDS).set(u32::try_from(known.len()).unwrap_or(u32::MAX));
    }
}
