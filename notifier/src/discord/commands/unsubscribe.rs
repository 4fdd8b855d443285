//! `unsubscribe`: one by its name, or all of the channel after a button.

use super::{
    CommandContext, CommandResult,
    access::{self, ChannelAccess, channel_of},
    by_id, format, list, say,
};
use crate::discord::interactions::{
    Button, ButtonStyle, CAREFUL, CommandOptions, GOOD, InteractionResponse, Invocation, Reply,
};

pub(super) async fn unsubscribe(desk: &CommandContext<'_>, call: &Invocation, given: &CommandOptions) -> CommandResult {
    let name = given.text("name").unwrap_or_default();
    if name.trim() == "*" {
        return ask_for_all(desk, call).await;
    }
    let (_, subscription) = access::named(desk, call, name).await?;
    desk.commands
        .remove(call.guild, std::slice::from_ref(&subscription.spec.name))
        .await?;
    tracing::info!(
        guild = call.guild,
        user = call.user,
        name = subscription.spec.name,
        "unsubscribed"
    );
    let text = format!(
        "Removed {}. Queued posts were discarded. Its filter was:\n{}",
        format::bold(&subscription.spec.name),
        format::block(&subscription.spec.filter)
    );
    Ok(InteractionResponse::Say(Reply::new(GOOD, "Unsubscribed", text)))
}

async fn ask_for_all(desk: &CommandContext<'_>, call: &Invocation) -> CommandResult {
    let names = names_here(desk, call).await?;
    if names.is_empty() {
        return Err(say("No subscriptions", "This channel has no subscriptions."));
    }
    let shown: Vec<String> = names.iter().take(20).map(|name| format::bold(name)).collect();
    let more = names.len().saturating_sub(shown.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let text = format!(
        "This removes {} from <#{}>: {}{more}.",
        format::counted(names.len() as u64, "subscription", "subscriptions"),
        call.channel,
        shown.join(", ")
    );
    let reply = Reply::new(CAREFUL, "Remove all from this channel?", text).row([
        Button::new(
            ButtonStyle::Danger,
            "Remove all",
            format!("kf:removeall:{}", call.channel),
        ),
        Button::new(ButtonStyle::Plain, "Keep them", "kf:keep"),
    ]);
    Ok(InteractionResponse::Say(reply))
}

pub(super) async fn all_confirmed(desk: &CommandContext<'_>, call: &Invocation, channel: u64) -> CommandResult {
    if channel != call.channel {
        return Err(super::outdated());
    }
    let names = names_here(desk, call).await?;
    let removed = desk.commands.remove(call.guild, &names).await?;
    tracing::info!(
        guild = call.guild,
        user = call.user,
        count = removed.len(),
        "all subscriptions of a channel removed"
    );
    let count = format::counted(removed.len() as u64, "subscription", "subscriptions");
    Ok(InteractionResponse::Update(Reply::new(
        GOOD,
        "Unsubscribed",
        format!("Removed {count} from <#{channel}>."),
    )))
}

/// Asks before a button removes something: fingers slip.
pub(super) async fn ask(desk: &CommandContext<'_>, call: &Invocation, id: u64, back: (u64, u64)) -> CommandResult {
    let subscription = by_id(desk, call, id).await?;
    let (channel, page) = back;
    let text = format!(
        "{} in {}:\n{}",
        format::bold(&subscription.spec.name),
        format::channel(&subscription.spec.destination),
        format::block(&subscription.spec.filter)
    );
    let reply = Reply::new(CAREFUL, "Remove this subscription?", text).row([
        Button::new(
            ButtonStyle::Danger,
            "Remove",
            format!("kf:removed:{id}:{channel}:{page}"),
        ),
        Button::new(ButtonStyle::Plain, "Back", format!("kf:list:{channel}:{page}")),
    ]);
    Ok(InteractionResponse::Update(reply))
}

pub(super) async fn confirmed(
    desk: &CommandContext<'_>,
    call: &Invocation,
    id: u64,
    back: (u64, u64),
) -> CommandResult {
    let subscription = by_id(desk, call, id).await?;
    desk.commands
        .remove(call.guild, std::slice::from_ref(&subscription.spec.name))
        .await?;
    tracing::info!(
        guild = call.guild,
        user = call.user,
        name = subscription.spec.name,
        "unsubscribed"
    );
    list::page(desk, call, back.0, back.1).await
}

/// The names of this channel's subscriptions, as far as the invoker may know of them.
pub(super) async fn names_here(
    desk: &CommandContext<'_>,
    call: &Invocation,
) -> Result<Vec<String>, super::CommandError> {
    let (seen, all) = ChannelAccess::all(desk, call).await?;
    let here = all
        .iter()
        .filter(|one| channel_of(one) == Some(call.channel) && seen.can_see(one));
    Ok(here.map(|one| one.spec.name.clone()).collect())
}
