//! Killmails → a message. Pure: the same input gives the same bytes. No limit of Discord's can be passed: texts are cut
//! where they are made, and a killmail that no longer fits is left for the next message.

mod battle;
mod compact;
mod attackers;
mod folded;
mod full;
pub(crate) mod limits;
mod names;
mod place;
pub(crate) mod text;

use killfeed::{filter::Distance, v1::Killmail};

use crate::{
    database::KillOutcome,
    sink::{AllowedMentions, Embed, Message},
    subscriptions::{Ping, Style},
};

pub use battle::battle;
pub use folded::{SYSTEMS as FOLDED_SYSTEMS, folded};
pub use limits::EMBEDS;

/// Discord's limit for the content.
const CONTENT: usize = 2_000;
/// What the link of a killmail needs at most: `https://zkillboard.com/kill/<20 digits>/` and a line break.
const LINK: usize = 60;

/// One killmail of a message.
#[derive(Debug, Clone)]
pub struct PostItem<'a> {
    /// What happened.
    pub killmail: &'a Killmail,
    /// What it is to those who subscribed.
    pub outcome: KillOutcome,
    /// How it looks.
    pub style: Style,
    /// Names of the subscriptions that match.
    pub subscriptions: Vec<&'a str>,
    /// How far it is from the origins of their `near( )`, the nearest first.
    pub distances: Vec<Distance>,
}

/// A message of as many of `items` as fit, from the first on, and how many these are: at least one, unless `items` is empty.
///
/// Where not all of them fit, `full` ones say less, so that a backlog takes fewer messages: ten ordinary ones are one message.
pub fn killmails(items: &[PostItem<'_>], pings: &[Ping]) -> (Message, usize) {
    let mut best = fill(items, pings, Detail::Plenty);
    for room in [Detail::Little, Detail::Least] {
        // More than a message has embeds never fit, and are no reason to say less of those that do.
        if best.1 == items.len().min(EMBEDS) {
            break;
        }
        let tighter = fill(items, pings, room);
        if tighter.1 > best.1 {
            best = tighter;
        }
    }
    best
}

/// How much of a message one `full` killmail may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    /// All that there is to say.
    Plenty,
    /// No links of names, and the larger parts of the fleet.
    Little,
    /// What the title says already is not said again; of corporation and alliance the larger one; the largest parts of the fleet.
    Least,
}

fn fill(items: &[PostItem<'_>], pings: &[Ping], room: Detail) -> (Message, usize) {
    let mut message = Message {
        content: mentions(pings),
        allowed_mentions: allowed(pings),
        embeds: Vec::new(),
    };
    let mut taken = 0;
    for item in items {
        let fits = match item.style {
            Style::Link => add_link(&mut message, item.killmail),
            Style::Compact => limits::add(&mut message.embeds, compact::embed(item)),
            // A killmail of a battle that is posted by itself shows everything.
            Style::Full | Style::Battle => limits::add(&mut message.embeds, full::embed(item, room)),
        };
        if !fits {
            break;
        }
        taken += 1;
    }
    (message, taken)
}

/// `YYYY-MM-DD` of seconds since 1970, UTC.
pub fn day(seconds: i64) -> String {
    text::eve_time(seconds).chars().take(10).collect()
}

/// Whether Discord takes these embeds in one message.
pub fn fit(embeds: &[Embed]) -> bool {
    limits::fit(embeds)
}

/// zKillboard's page of a killmail.
pub fn link(killmail_id: u64) -> String {
    format!("https://zkillboard.com/kill/{killmail_id}/")
}

fn add_link(message: &mut Message, killmail: &Killmail) -> bool {
    if message.content.len() + LINK > CONTENT {
        return false;
    }
    if !message.content.is_empty() {
        message.content.push('\n');
    }
    message.content.push_str(&link(killmail.killmail_id));
    true
}

fn mentions(pings: &[Ping]) -> String {
    let mention = |ping: &Ping| match ping {
        Ping::Here => "@here".to_owned(),
        Ping::Everyone => "@everyone".to_owned(),
        Ping::Role(id) => format!("<@&{id}>"),
    };
    let mentions: Vec<_> = pings.iter().take(MENTIONS).map(mention).collect();
    mentions.join(" ")
}

fn allowed(pings: &[Ping]) -> AllowedMentions {
    let pings = &pings[..pings.len().min(MENTIONS)];
    let all = pings.iter().any(|ping| matches!(ping, Ping::Here | Ping::Everyone));
    let role = |ping: &Ping| match ping {
        Ping::Role(id) => Some(id.to_string()),
        Ping::Here | Ping::Everyone => None,
    };
    AllowedMentions {
        parse: if all { vec!["everyone".into()] } else { Vec::new() },
        roles: pings.iter().filter_map(role).collect(),
    }
}

/// More mentions than this fit neither the content beside a link nor Discord's 100 allowed roles.
const MENTIONS: usize = 60;

#[cfg(test)]
pub(crate) mod tests;
