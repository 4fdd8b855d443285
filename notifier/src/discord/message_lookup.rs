//! Looks whether a message of unknown outcome was posted after all.

use std::time::{Duration, SystemTime};

use killfeed_service::clock;
use serde::Deserialize;

use super::{
    BotUser,
    api::{Api, GetError},
    limiter::Route,
    permissions::{self, Channel, Guild, Member, READ_MESSAGE_HISTORY, VIEW_CHANNEL},
};
use crate::{
    render::link,
    sink::{LookupOutcome, Message, Post},
};

/// Ids carry the milliseconds since this moment of 2015 in their upper 42 bits.
const DISCORD_EPOCH_MS: u64 = 1_420_070_400_000;
/// How far before the first attempt the look begins: Discord's clock, not ours, makes the ids.
const CLOCKS_APART: Duration = Duration::from_secs(60);
/// Discord's largest page.
const PAGE: usize = 100;
/// 10,000 messages since the first attempt: beyond that the look costs more than it is worth.
const MAX_PAGES: usize = 100;
/// Flag of a message whose embeds somebody has hidden.
const SUPPRESS_EMBEDS: u64 = 1 << 2;
/// Discord's code for a channel that is gone.
const UNKNOWN_CHANNEL: u32 = 10_003;

/// A message of a channel, as far as the look goes.
#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    author: Author,
    #[serde(default)]
    content: String,
    #[serde(default)]
    embeds: Vec<Embed>,
    #[serde(default)]
    flags: u64,
}

#[derive(Debug, Deserialize)]
struct Author {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Embed {
    #[serde(default)]
    url: Option<String>,
    /// The digest of a battle links its killmails here.
    #[serde(default)]
    description: Option<String>,
}

/// What tells a message from all others.
enum Fingerprint<'a> {
    /// Those of its killmails, every one.
    Links(Vec<String>),
    /// `N more killmails` links none of them: what it says. Two of them that say the same within a minute are told apart by nobody.
    Words(&'a Message),
}

impl<'a> Fingerprint<'a> {
    fn of(post: &'a Post) -> Self {
        if post.killmails.is_empty() {
            Self::Words(&post.message)
        } else {
            Self::Links(post.killmails.iter().copied().map(link).collect())
        }
    }
}

pub(super) async fn find(api: &Api, identity: &BotUser, channel: u64, post: &Post, since: SystemTime) -> LookupOutcome {
    match try_find(api, identity, channel, post, since).await {
        Ok(found) => found,
        // Nobody will ever see it twice in a channel that is gone.
        Err(GetError::Rejected(refusal)) if refusal.code == UNKNOWN_CHANNEL => LookupOutcome::No,
        // Not allowed to look at all.
        Err(GetError::Rejected(refusal)) if refusal.status == 403 => LookupOutcome::Inconclusive,
        Err(error) => LookupOutcome::Failed {
            reason: error.to_string(),
        },
    }
}

async fn try_find(
    api: &Api,
    identity: &BotUser,
    channel: u64,
    post: &Post,
    since: SystemTime,
) -> Result<LookupOutcome, GetError> {
    let me = identity.get(api).await?;
    let mark = Fingerprint::of(post);
    let route = Route {
        template: "GET /channels/{}/messages",
        major: channel,
    };
    let mut after = snowflake(since.checked_sub(CLOCKS_APART).unwrap_or(SystemTime::UNIX_EPOCH));
    let (mut readable, mut hidden) = (false, false);
    for _ in 0..MAX_PAGES {
        let path = format!("/channels/{channel}/messages?after={after}&limit={PAGE}");
        let page: Vec<Listed> = api.get(route, &path).await?;
        readable |= !page.is_empty();
        for message in page.iter().filter(|message| message.author.id == me.to_string()) {
            if let Some(message_id) = message.carries(&mark) {
                return Ok(LookupOutcome::Yes { message_id });
            }
            hidden |= message.flags & SUPPRESS_EMBEDS != 0;
        }
        // A page after an id is the oldest ones after it, in whatever order.
        let newest = page.iter().filter_map(|message| message.id.parse().ok()).max();
        match newest {
            Some(newest) if page.len() >= PAGE && newest > after => after = newest,
            _ if hidden => return Ok(LookupOutcome::Inconclusive),
            // Without Read Message History the list is empty whatever was posted: some message proves the permission.
            _ if readable || may_read(api, me, channel).await? => return Ok(LookupOutcome::No),
            _ => return Ok(LookupOutcome::Inconclusive),
        }
    }
    Ok(LookupOutcome::Inconclusive)
}

impl Listed {
    /// Its id, if it is the one. Every link has to be in it: another message may carry one of the killmails too.
    fn carries(&self, mark: &Fingerprint<'_>) -> Option<u64> {
        let it_is = match mark {
            Fingerprint::Links(links) => self.links(links),
            Fingerprint::Words(message) => self.says(message),
        };
        it_is.then(|| self.id.parse().ok())?
    }

    fn links(&self, links: &[String]) -> bool {
        let has = |link: &String| {
            let link = link.trim_end_matches('/');
            let urls = self.embeds.iter().filter_map(|embed| embed.url.as_deref());
            urls.into_iter().any(|url| url.trim_end_matches('/') == link)
                || mentions(&self.content, link)
                || self
                    .embeds
                    .iter()
                    .any(|embed| embed.description.as_deref().is_some_and(|text| mentions(text, link)))
        };
        !links.is_empty() && links.iter().all(has)
    }

    fn says(&self, message: &Message) -> bool {
        let listed = self
            .embeds
            .iter()
            .map(|embed| embed.description.as_deref().unwrap_or_default().trim());
        let sent = message.embeds.iter().map(|embed| embed.description.trim());
        let anything = !message.content.is_empty() || message.embeds.iter().any(|embed| !embed.description.is_empty());
        anything && self.content.trim() == message.content.trim() && listed.eq(sent)
    }
}

/// Whether the text has the link, and not only one that begins like it.
fn mentions(text: &str, link: &str) -> bool {
    text.match_indices(link)
        .any(|(at, _)| !text[at + link.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

async fn may_read(api: &Api, me: u64, channel_id: u64) -> Result<bool, GetError> {
    let get_channel = async |id: u64| -> Result<Channel, GetError> {
        let route = Route {
            template: "GET /channels/{}",
            major: id,
        };
        api.get(route, &format!("/channels/{id}")).await
    };
    let mut channel = get_channel(channel_id).await?;
    let Some(guild_id) = channel.guild_id else {
        return Ok(false);
    };
    if let Some(parent) = channel.parent_id.filter(|_| channel.is_thread()) {
        channel = get_channel(parent).await?;
    }
    let route = |template| Route {
        template,
        major: guild_id,
    };
    let guild: Guild = api.get(route("GET /guilds/{}"), &format!("/guilds/{guild_id}")).await?;
    let path = format!("/guilds/{guild_id}/members/{me}");
    let member: Member = api.get(route("GET /guilds/{}/members/{}"), &path).await?;
    let may = permissions::permissions(&guild, me, &member, &channel.permission_overwrites);
    let needed = VIEW_CHANNEL | READ_MESSAGE_HISTORY;
    Ok(may & needed == needed)
}

/// The smallest id of that time.
fn snowflake(time: SystemTime) -> u64 {
    let ms = u64::try_from(clock::to_ms(time)).unwrap_or_default();
    // 42 bits of milliseconds: until the year 2154.
    ms.saturating_sub(DISCORD_EPOCH_MS).min((1 << 42) - 1) << 22
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_time() {
        // Discord's own example: id 175928847299117063 was made at 2016-04-30 11:18:25.796 UTC.
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_462_015_105_796);
        assert_eq!(snowflake(time), 175_928_847_299_117_063 >> 22 << 22);
        assert_eq!(snowflake(SystemTime::UNIX_EPOCH), 0);
    }

    #[test]
    fn a_message_must_carry_every_link() {
        let listed = |content: &str, urls: &[&str]| -> Listed {
            let embeds: Vec<_> = urls.iter().map(|url| serde_json::json!({"url": url})).collect();
            let json = serde_json::json!({"id": "5", "author": {"id": "1"}, "content": content, "embeds": embeds});
            serde_json::from_value(json).unwrap()
        };
        let marked = |ids: &[u64]| Fingerprint::Links(ids.iter().copied().map(link).collect());
        let links = marked(&[12, 13]);
        let both = listed(
            "",
            &["https://zkillboard.com/kill/12/", "https://zkillboard.com/kill/13/"],
        );
        assert_eq!(both.carries(&links), Some(5));
        assert_eq!(both.carries(&marked(&[12])), Some(5));
        assert_eq!(listed("", &["https://zkillboard.com/kill/12/"]).carries(&links), None);
        let text = "<https://zkillboard.com/kill/12/> and https://zkillboard.com/kill/13";
        assert_eq!(listed(text, &[]).carries(&links), Some(5));
        assert_eq!(
            listed("https://zkillboard.com/kill/123/", &[]).carries(&marked(&[12])),
            None
        );
        assert_eq!(both.carries(&marked(&[])), None);
    }

    #[test]
    fn one_without_links_must_say_the_same() {
        let said = |text: &str, about: &str| -> Listed {
            let json = serde_json::json!({"id": "5", "author": {"id": "1"}, "content": about, "embeds": [{"description": text}]});
            serde_json::from_value(json).unwrap()
        };
        let message = |text: &str, about: &str| Message {
            content: about.to_owned(),
            embeds: vec![crate::sink::Embed {
                description: text.to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let fold = message(
            "83 more killmails, 41.2b ISK\n83 in [Turnur](https://zkillboard.com/system/30002086/)",
            "",
        );
        let text = &fold.embeds[0].description;
        assert_eq!(said(text, "").carries(&Fingerprint::Words(&fold)), Some(5));
        assert_eq!(
            said("84 more killmails, 41.2b ISK", "").carries(&Fingerprint::Words(&fold)),
            None
        );
        let hidden = Listed {
            embeds: Vec::new(),
            ..said(text, "")
        };
        assert_eq!(hidden.carries(&Fingerprint::Words(&fold)), None);
        let limit = message(text, "This server has had its 500 killmails of today.");
        assert_eq!(said(text, "").carries(&Fingerprint::Words(&limit)), None);
        assert_eq!(said(text, &limit.content).carries(&Fingerprint::Words(&limit)), Some(5));
        assert_eq!(said("", "").carries(&Fingerprint::Words(&Message::default())), None);
    }
}
