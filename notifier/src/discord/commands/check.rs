//! `check`: the bot's permissions in a channel: which are present, which are missing, and what each is for.

use super::{
    CommandContext, CommandResult,
    access::{ChannelAccess, channel_of},
    say,
};
use crate::discord::{
    interactions::{BAD, CAREFUL, CommandOptions, GOOD, InteractionResponse, Invocation, Reply},
    permissions::{EMBED_LINKS, MENTION_EVERYONE, READ_MESSAGE_HISTORY, VIEW_CHANNEL, may},
};

pub(super) async fn check(desk: &CommandContext<'_>, call: &Invocation, given: &CommandOptions) -> CommandResult {
    let channel = given.channels.get("channel").map_or(call.channel, |chosen| chosen.id);
    let seen = ChannelAccess::with(desk, call, &[channel]).await?;
    if seen
        .invoker(channel)
        .is_some_and(|permissions| !may(permissions, VIEW_CHANNEL))
    {
        return Err(say("Not allowed", "You cannot see that channel."));
    }
    let Some(permissions) = seen.bot(channel) else {
        return Err(say(
            "Channel not found",
            "The bot cannot see that channel, or it no longer exists.",
        ));
    };
    let mut essential = false;
    let mut lacking = false;
    let lines: Vec<String> = seen
        .needed(channel, true)
        .into_iter()
        .map(|needed| {
            let there = may(permissions, needed.bit);
            let optional = [READ_MESSAGE_HISTORY, MENTION_EVERYONE, EMBED_LINKS].contains(&needed.bit);
            essential |= !there && !optional;
            lacking |= !there && needed.bit != MENTION_EVERYONE;
            let mark = match (there, needed.bit) {
                (true, _) => "✅",
                // Most channels never ping, so this one is not an error.
                (false, MENTION_EVERYONE) => "➖",
                (false, _) => "❌",
            };
            format!("{mark} **{}**: {}", needed.name, needed.what_for)
        })
        .collect();
    let (color, said) = match (essential, lacking) {
        (true, _) => (
            BAD,
            format!("The bot cannot post in <#{channel}>. It needs the permissions marked ❌."),
        ),
        (_, true) => (
            CAREFUL,
            format!("The bot can post in <#{channel}>, but it also needs the permissions marked ❌."),
        ),
        _ => (
            GOOD,
            format!("The bot has everything it needs to post in <#{channel}>."),
        ),
    };
    let here = desk.commands.subscriptions(call.guild);
    let suspended = here
        .iter()
        .find(|one| channel_of(one) == Some(channel) && one.suspension.is_some())
        .map(|one| super::list::state(one).1);
    let reply = Reply::new(color, "Permissions", format!("{said}\n{}", lines.join("\n")))
        .field("Subscriptions in this channel", suspended.unwrap_or_default());
    Ok(InteractionResponse::Say(reply))
}
