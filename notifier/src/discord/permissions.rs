//! What a member may do in a channel, computed as Discord documents it: roles, then the channel's overwrites.

use serde::{Deserialize, Deserializer};

/// May see the channel at all.
pub(super) const VIEW_CHANNEL: u64 = 1 << 10;
/// May read what was posted before; without it a list of messages is empty.
pub(super) const READ_MESSAGE_HISTORY: u64 = 1 << 16;
/// May write there.
pub(super) const SEND_MESSAGES: u64 = 1 << 11;
/// May write in threads, where it stands for [`SEND_MESSAGES`].
pub(super) const SEND_MESSAGES_IN_THREADS: u64 = 1 << 38;
/// May show embeds; without it they are left out silently.
pub(super) const EMBED_LINKS: u64 = 1 << 14;
/// May ping @here, @everyone and roles that not everybody may mention.
pub(super) const MENTION_EVERYONE: u64 = 1 << 17;
/// May use the commands, unless a server says otherwise.
pub(super) const MANAGE_CHANNELS: u64 = 1 << 4;
/// May do everything.
const ADMINISTRATOR: u64 = 1 << 3;

/// Whether all of `wanted` is among what Discord says that somebody may do.
pub(super) fn may(permissions: u64, wanted: u64) -> bool {
    permissions & ADMINISTRATOR != 0 || permissions & wanted == wanted
}

/// A channel, as far as permissions go.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Channel {
    #[serde(default, deserialize_with = "optional_id")]
    pub(super) guild_id: Option<u64>,
    /// For a thread: the channel whose overwrites hold.
    #[serde(default, deserialize_with = "optional_id")]
    pub(super) parent_id: Option<u64>,
    #[serde(rename = "type")]
    pub(super) kind: u8,
    #[serde(default)]
    pub(super) permission_overwrites: Vec<Overwrite>,
}

impl Channel {
    /// Threads (announcement, public, private) have no overwrites of their own.
    pub(super) fn is_thread(&self) -> bool {
        matches!(self.kind, 10..=12)
    }
}

/// An exception for a role or a member in one channel.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Overwrite {
    #[serde(deserialize_with = "id")]
    pub(super) id: u64,
    #[serde(deserialize_with = "id")]
    pub(super) allow: u64,
    #[serde(deserialize_with = "id")]
    pub(super) deny: u64,
}

/// A guild, as far as permissions go.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Guild {
    #[serde(deserialize_with = "id")]
    pub(super) id: u64,
    #[serde(deserialize_with = "id")]
    pub(super) owner_id: u64,
    pub(super) roles: Vec<Role>,
}

/// A role of a guild.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Role {
    #[serde(deserialize_with = "id")]
    pub(super) id: u64,
    #[serde(default)]
    pub(super) name: String,
    #[serde(deserialize_with = "id")]
    pub(super) permissions: u64,
    /// Everybody may mention it.
    #[serde(default)]
    pub(super) mentionable: bool,
}

/// A member of a guild.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Member {
    #[serde(deserialize_with = "ids")]
    pub(super) roles: Vec<u64>,
}

/// What `member` (whose user id is `user`) may do where `overwrites` hold.
pub(super) fn permissions(guild: &Guild, user: u64, member: &Member, overwrites: &[Overwrite]) -> u64 {
    // The role that everyone has carries the guild's own id.
    let has = |role: u64| role == guild.id || member.roles.contains(&role);
    let base = guild
        .roles
        .iter()
        .filter(|role| has(role.id))
        .fold(0, |all, role| all | role.permissions);
    if guild.owner_id == user || base & ADMINISTRATOR != 0 {
        return u64::MAX;
    }
    let apply = |permissions: u64, concerns: &dyn Fn(u64) -> bool| {
        let concerned = overwrites.iter().filter(|overwrite| concerns(overwrite.id));
        let (allow, deny) = concerned.fold((0, 0), |(allow, deny), overwrite| {
            (allow | overwrite.allow, deny | overwrite.deny)
        });
        permissions & !deny | allow
    };
    let everyone = apply(base, &|id| id == guild.id);
    let roles = apply(everyone, &|id| id != guild.id && has(id));
    apply(roles, &|id| id == user)
}

/// Discord writes ids and permissions as strings.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

fn optional_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .as_deref()
        .map(parse)
        .transpose()
}

fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| parse(text))
        .collect()
}

fn parse<E: serde::de::Error>(text: &str) -> Result<u64, E> {
    text.parse()
        .map_err(|_| E::custom(format_args!("{text:?} is not an id")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: u64 = 1 << 11;

    fn guild(everyone: u64, role: u64) -> Guild {
        let role_of = |id, permissions| Role {
            id,
            permissions,
            name: String::new(),
            mentionable: false,
        };
        Guild {
            id: 1,
            owner_id: 9,
            roles: vec![role_of(1, everyone), role_of(2, role), role_of(3, ADMINISTRATOR)],
        }
    }

    fn overwrite(id: u64, allow: u64, deny: u64) -> Overwrite {
        Overwrite { id, allow, deny }
    }

    #[test]
    fn roles_add_up_and_overwrites_go_from_wide_to_narrow() {
        let guild = guild(VIEW_CHANNEL, SEND);
        let (plain, with_role) = (Member { roles: vec![] }, Member { roles: vec![2] });
        assert_eq!(permissions(&guild, 7, &plain, &[]), VIEW_CHANNEL);
        assert_eq!(permissions(&guild, 7, &with_role, &[]), VIEW_CHANNEL | SEND);
        let closed = overwrite(1, 0, VIEW_CHANNEL);
        let for_role = overwrite(2, VIEW_CHANNEL, SEND);
        let for_me = overwrite(7, SEND, VIEW_CHANNEL);
        assert_eq!(permissions(&guild, 7, &plain, std::slice::from_ref(&closed)), 0);
        let rules = [for_me, for_role, closed];
        assert_eq!(permissions(&guild, 8, &with_role, &rules), VIEW_CHANNEL);
        assert_eq!(permissions(&guild, 7, &with_role, &rules), SEND);
    }

    #[test]
    fn owners_and_administrators_may_do_everything() {
        let closed = [overwrite(1, 0, VIEW_CHANNEL)];
        let guild = guild(0, 0);
        assert_eq!(permissions(&guild, 9, &Member { roles: vec![] }, &closed), u64::MAX);
        assert_eq!(permissions(&guild, 7, &Member { roles: vec![3] }, &closed), u64::MAX);
    }

    #[test]
    fn discord_s_own_form_is_read() {
        let text = r#"{"id":"5","type":0,"guild_id":"1","parent_id":null,"name":"x",
            "permission_overwrites":[{"id":"7","type":1,"allow":"1024","deny":"65536"}]}"#;
        let channel: Channel = serde_json::from_str(text).unwrap();
        assert_eq!((channel.guild_id, channel.parent_id), (Some(1), None));
        assert!(!channel.is_thread());
        let member: Member = serde_json::from_str(r#"{"roles":["2","3"],"deaf":false}"#).unwrap();
        assert_eq!(member.roles, [2, 3]);
    }
}
