//! Who may know of which channels, and do what there: the invoker's own permissions bind, and the bot's are named.

use std::sync::Arc;

use super::{CommandContext, CommandError, say};
use crate::{
    discord::{
        guild_directory::GuildView,
        interactions::{Chosen, Invocation, InvocationKind},
        permissions::{
            EMBED_LINKS, MENTION_EVERYONE, READ_MESSAGE_HISTORY, SEND_MESSAGES, SEND_MESSAGES_IN_THREADS, VIEW_CHANNEL,
            may,
        },
    },
    sink::Destination,
    subscriptions::{Ping, Subscription},
};

/// The invoker's and the bot's permissions in one guild.
pub(super) struct ChannelAccess<'a> {
    call: &'a Invocation,
    pub(super) view: GuildView,
}

/// A permission that the bot needs.
pub(super) struct Needed {
    pub(super) bit: u64,
    pub(super) name: &'static str,
    pub(super) what_for: &'static str,
}

impl<'a> ChannelAccess<'a> {
    /// With these channels looked up where they are not known.
    pub(super) async fn with(
        desk: &CommandContext<'_>,
        call: &'a Invocation,
        channels: &[u64],
    ) -> Result<Self, CommandError> {
        let view = desk.world.view(call.guild, channels).await?;
        Ok(Self { call, view })
    }

    /// With the channel of a subscription.
    pub(super) async fn of(
        desk: &CommandContext<'_>,
        call: &'a Invocation,
        subscription: &Subscription,
    ) -> Result<Self, CommandError> {
        let channel = channel_of(subscription).filter(|_| !is_retired(subscription));
        Self::with(desk, call, channel.as_slice()).await
    }

    /// With the channels of every subscription of the guild; and the subscriptions.
    pub(super) async fn all(
        desk: &CommandContext<'_>,
        call: &'a Invocation,
    ) -> Result<(Self, Vec<Arc<Subscription>>), CommandError> {
        let all = desk.commands.subscriptions(call.guild);
        let mut channels: Vec<u64> = all
            .iter()
            .filter(|one| !is_retired(one))
            .filter_map(|one| channel_of(one))
            .collect();
        channels.sort_unstable();
        channels.dedup();
        Ok((Self::with(desk, call, &channels).await?, all))
    }

    /// What the invoker may do in a channel; `None` = not known.
    pub(super) fn invoker(&self, channel: u64) -> Option<u64> {
        let chosen = self.chosen(channel).and_then(|chosen| chosen.permissions);
        let here = self.call.permissions.filter(|_| channel == self.call.channel);
        let computed = || self.view.permissions(self.call.user, &self.call.roles, channel);
        chosen.or(here).or_else(computed)
    }

    /// What the bot may do in a channel; `None` = not known.
    pub(super) fn bot(&self, channel: u64) -> Option<u64> {
        let here = self.call.bot_permissions.filter(|_| channel == self.call.channel);
        here.or_else(|| self.view.bot_permissions(channel))
    }

    fn chosen(&self, channel: u64) -> Option<&Chosen> {
        match &self.call.what {
            InvocationKind::Command(given) => given.channels.values().find(|chosen| chosen.id == channel),
            _ => None,
        }
    }

    pub(super) fn is_thread(&self, channel: u64) -> bool {
        let kind = self.chosen(channel).and_then(|chosen| chosen.kind);
        kind.map_or_else(|| self.view.is_thread(channel), |kind| matches!(kind, 10..=12))
    }

    /// Whether the invoker may know of a subscription.
    pub(super) fn can_see(&self, subscription: &Subscription) -> bool {
        let Some(channel) = channel_of(subscription) else {
            return true;
        };
        // Nobody sees a channel that is gone; that it is gone must be seen.
        is_retired(subscription)
            || match self.invoker(channel) {
                Some(permissions) => may(permissions, VIEW_CHANNEL),
                None => subscription.created.0 == self.call.user,
            }
    }

    /// `Err` unless the invoker may view the channel and send there.
    pub(super) fn require_post(&self, channel: u64) -> Result<(), CommandError> {
        let send = if self.is_thread(channel) {
            SEND_MESSAGES_IN_THREADS
        } else {
            SEND_MESSAGES
        };
        match self.invoker(channel) {
            Some(permissions) if may(permissions, VIEW_CHANNEL | send) => Ok(()),
            Some(permissions) if may(permissions, VIEW_CHANNEL) => Err(say(
                "Not allowed",
                format!("You cannot send messages in <#{channel}>, so you cannot have killmails posted there."),
            )),
            _ => Err(say(
                "Not allowed",
                "You cannot see that channel. Choose one where you can send messages.",
            )),
        }
    }

    /// `Err` unless the invoker could ping the target there by hand.
    pub(super) fn must_ping(&self, ping: Option<Ping>, channel: u64) -> Result<(), CommandError> {
        if !self.needs_mention_everyone(ping)? {
            return Ok(());
        }
        if self
            .invoker(channel)
            .is_some_and(|permissions| may(permissions, MENTION_EVERYONE))
        {
            return Ok(());
        }
        Err(say(
            "Not allowed",
            format!("To use this ping, you need the permission **Mention Everyone** in <#{channel}>."),
        ))
    }

    /// Whether a ping needs Mention Everyone; `Err` for a role that is not there.
    pub(super) fn needs_mention_everyone(&self, ping: Option<Ping>) -> Result<bool, CommandError> {
        match ping {
            None => Ok(false),
            Some(Ping::Here | Ping::Everyone) => Ok(true),
            Some(Ping::Role(id)) => match self.view.role(id) {
                Some(role) => Ok(!role.mentionable),
                None => Err(say(
                    "Role not found",
                    "This server does not have that role. Choose one of the roles offered while you type.",
                )),
            },
        }
    }

    /// What the bot needs in a channel.
    pub(super) fn needed(&self, channel: u64, pings: bool) -> Vec<Needed> {
        let needed = |bit, name, what_for| Needed { bit, name, what_for };
        let send = if self.is_thread(channel) {
            needed(SEND_MESSAGES_IN_THREADS, "Send Messages in Threads", "needed to post")
        } else {
            needed(SEND_MESSAGES, "Send Messages", "needed to post")
        };
        let mut all = vec![
            needed(VIEW_CHANNEL, "View Channel", "needed to post"),
            send,
            needed(EMBED_LINKS, "Embed Links", "without it, posts are empty"),
            needed(
                READ_MESSAGE_HISTORY,
                "Read Message History",
                "lets the bot check for its own post after a lost connection, so nothing is posted twice",
            ),
        ];
        if pings {
            all.push(needed(
                MENTION_EVERYONE,
                "Mention Everyone",
                "only needed to ping @here, @everyone or protected roles",
            ));
        }
        all
    }

    /// Returns the permissions that the bot is missing, one per line; empty if none.
    pub(super) fn missing(&self, channel: u64, ping: Option<Ping>) -> String {
        let pings = matches!(self.needs_mention_everyone(ping), Ok(true));
        let Some(permissions) = self.bot(channel) else {
            return format!("The bot's permissions in <#{channel}> are unknown. Use `/killfeed check` there.");
        };
        let missing = self
            .needed(channel, pings)
            .into_iter()
            .filter(|needed| !may(permissions, needed.bit));
        let lines: Vec<String> = missing
            .map(|needed| format!("**{}**: {}", needed.name, needed.what_for))
            .collect();
        lines.join("\n")
    }
}

/// For who cannot see the channel of a subscription.
pub(super) fn not_yours() -> CommandError {
    say("Not allowed", "You cannot see that subscription's channel.")
}

/// The channel of a subscription; `None` for a webhook.
pub(super) fn channel_of(subscription: &Subscription) -> Option<u64> {
    match subscription.spec.destination {
        Destination::Channel(channel) => Some(channel),
        Destination::Webhook(_) => None,
    }
}

fn is_retired(subscription: &Subscription) -> bool {
    subscription
        .suspension
        .as_ref()
        .is_some_and(|suspension| suspension.retired)
}

/// The one called `name` that the invoker may know of.
pub(super) async fn named<'a>(
    desk: &CommandContext<'_>,
    call: &'a Invocation,
    name: &str,
) -> Result<(ChannelAccess<'a>, Arc<Subscription>), CommandError> {
    let (seen, all) = ChannelAccess::all(desk, call).await?;
    let name = name.trim();
    let visible: Vec<_> = all.into_iter().filter(|one| seen.can_see(one)).collect();
    let exact = visible.iter().find(|one| one.spec.name == name);
    let alike = || {
        visible
            .iter()
            .find(|one| one.spec.name.to_lowercase() == name.to_lowercase())
    };
    let found = exact.or_else(alike).cloned();
    match found {
        Some(found) => Ok((seen, found)),
        None => Err(no_such(name, &visible)),
    }
}

fn no_such(name: &str, visible: &[Arc<Subscription>]) -> CommandError {
    let folded = name.to_lowercase();
    let alike = visible.iter().filter(|one| {
        let known = one.spec.name.to_lowercase();
        known.contains(&folded) || folded.contains(&known)
    });
    let alike: Vec<String> = alike.take(5).map(|one| super::format::bold(&one.spec.name)).collect();
    let hint = if alike.is_empty() {
        "`/killfeed list` shows all subscriptions.".to_owned()
    } else {
        format!("Did you mean {}?", alike.join(" or "))
    };
    say(
        "Subscription not found",
        format!("No subscription is called {}. {hint}", super::format::bold(name)),
    )
}
