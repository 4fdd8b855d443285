//! Guilds as the commands see them: roles, channels, and who may do what there. From serenity's cache, which the gateway
//! keeps up to date; from REST where that does not have it.

use std::{collections::BTreeMap, sync::Arc};

use serenity::all::{Cache, GuildChannel, GuildId, PermissionOverwriteType, UserId};

use super::{
    BotUser,
    api::{Api, GetError},
    limiter::Route,
    permissions::{self, Channel, Guild, Member, Overwrite, Role},
};

/// The gateway tells of all channels that the bot can see but quiet threads: so many of those that are not known are asked for at
/// once. Each that it cannot see is a refusal, and whoever wrote a thousand ids into a file to import could have it silenced.
const MAX_LOOKUPS: usize = 25;

/// Where guilds are looked up.
pub(super) struct GuildDirectory {
    pub(super) cache: Arc<Cache>,
    pub(super) api: Arc<Api>,
    pub(super) identity: BotUser,
}

/// A guild at one moment.
#[derive(Debug)]
pub(super) struct GuildView {
    pub(super) guild: Guild,
    /// Threads too, as far as they are known.
    pub(super) channels: BTreeMap<u64, Channel>,
    bot: u64,
    bot_member: Member,
}

impl GuildDirectory {
    /// A guild with its channels, and those of `channels` that are not known yet looked up, if they are not too many.
    pub(super) async fn view(&self, guild_id: u64, channels: &[u64]) -> Result<GuildView, GetError> {
        let bot = self.identity.get(&self.api).await?;
        let cached = self.cached(guild_id, bot);
        let (guild, mut known, member) = match cached {
            Some(cached) => cached,
            None => (
                self.get("GET /guilds/{}", guild_id, &format!("/guilds/{guild_id}"))
                    .await?,
                BTreeMap::new(),
                None,
            ),
        };
        let bot_member = match member {
            Some(member) => member,
            None => {
                let path = format!("/guilds/{guild_id}/members/{bot}");
                self.get("GET /guilds/{}/members/{}", guild_id, &path).await?
            }
        };
        let unknown: Vec<u64> = channels.iter().copied().filter(|id| !known.contains_key(id)).collect();
        for id in unknown.into_iter().take(MAX_LOOKUPS) {
            self.look_up(guild_id, id, &mut known).await;
        }
        Ok(GuildView {
            guild,
            channels: known,
            bot,
            bot_member,
        })
    }

    /// A channel that is not known, and its parent. One that cannot be had stays unknown.
    async fn look_up(&self, guild_id: u64, id: u64, known: &mut BTreeMap<u64, Channel>) {
        let mut next = Some(id);
        while let Some(id) = next.filter(|id| !known.contains_key(id)) {
            let found: Result<Channel, GetError> = self.get("GET /channels/{}", id, &format!("/channels/{id}")).await;
            match found {
                Ok(channel) if channel.guild_id == Some(guild_id) => {
                    next = channel.parent_id.filter(|_| channel.is_thread());
                    known.insert(id, channel);
                }
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(channel = id, %error, "a channel cannot be looked up");
                    return;
                }
            }
        }
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        template: &'static str,
        major: u64,
        path: &str,
    ) -> Result<T, GetError> {
        self.api.get(Route { template, major }, path).await
    }

    fn cached(&self, guild_id: u64, bot: u64) -> Option<(Guild, BTreeMap<u64, Channel>, Option<Member>)> {
        let cached = self.cache.guild(GuildId::new(guild_id))?;
        let roles = cached.roles.values().map(|role| Role {
            id: role.id.get(),
            name: role.name.clone(),
            permissions: role.permissions.bits(),
            mentionable: role.mentionable,
        });
        let guild = Guild {
            id: guild_id,
            owner_id: cached.owner_id.get(),
            roles: roles.collect(),
        };
        let channels = cached.channels.values().chain(&cached.threads);
        let channels = channels.map(|one| (one.id.get(), channel(guild_id, one)));
        let member = cached.members.get(&UserId::new(bot)).map(|member| Member {
            roles: member.roles.iter().map(|role| role.get()).collect(),
        });
        Some((guild, channels.collect(), member))
    }

    /// The guilds of the cache.
    pub(super) fn guilds(&self) -> usize {
        self.cache.guild_count()
    }
}

impl GuildView {
    /// What somebody may do in a channel; `None` where it is not known.
    pub(super) fn permissions(&self, user: u64, roles: &[u64], channel: u64) -> Option<u64> {
        let channel = self.channels.get(&channel)?;
        let rules = match channel.parent_id.filter(|_| channel.is_thread()) {
            Some(parent) => self.channels.get(&parent)?,
            None => channel,
        };
        let member = Member { roles: roles.to_vec() };
        let may = permissions::permissions(&self.guild, user, &member, &rules.permission_overwrites);
        Some(may)
    }

    /// What the bot may do in a channel.
    pub(super) fn bot_permissions(&self, channel: u64) -> Option<u64> {
        self.permissions(self.bot, &self.bot_member.roles, channel)
    }

    pub(super) fn role(&self, id: u64) -> Option<&Role> {
        self.guild.roles.iter().find(|role| role.id == id)
    }

    pub(super) fn is_thread(&self, channel: u64) -> bool {
        self.channels.get(&channel).is_some_and(Channel::is_thread)
    }
}

fn channel(guild_id: u64, channel: &GuildChannel) -> Channel {
    let overwrites = channel.permission_overwrites.iter().filter_map(|overwrite| {
        let id = match overwrite.kind {
            PermissionOverwriteType::Member(id) => id.get(),
            PermissionOverwriteType::Role(id) => id.get(),
            _ => return None,
        };
        Some(Overwrite {
            id,
            allow: overwrite.allow.bits(),
            deny: overwrite.deny.bits(),
        })
    });
    Channel {
        guild_id: Some(guild_id),
        parent_id: channel.parent_id.map(|id| id.get()),
        kind: u8::from(channel.kind),
        permission_overwrites: overwrites.collect(),
    }
}
