//! `unsubscribe`: one by its name, or all of the channel after a button.

use super::{
    Desk, Done, by_id, list, say,
    seen::{self, Seen, channel_of},
    words,
};
use crate::discord::interactions::{Answer, Button, CAREFUL, Call, GOOD, Given, Look, Reply};

pub(super) async fn unsubscribe(desk: &Desk<'_>, call: &Call, given: &Given) -> Done {
    let name = given.text("name").unwrap_or_default();
    if name.trim() == "*" {
        return ask_for_all(desk, call).await;
    }
    let (_, subscription) = seen::named(desk, call, name).await?;
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
        "{} is removed; what waited only for it is dropped. Its filter was:\n{}",
        words::bold(&subscription.spec.name),
        words::block(&subscription.spec.filter)
    );
    Ok(Answer::Say(Reply::new(GOOD, "Unsubscribed", text)))
}

async fn ask_for_all(desk: &Desk<'_>, call: &Call) -> Done {
    let names = names_here(desk, call).await?;
    if names.is_empty() {
        return Err(say("Nothing here", "This channel has no subscriptions."));
    }
    let shown: Vec<String> = names.iter().take(20).map(|name| words::bold(name)).collect();
    let more = names.len().saturating_sub(shown.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let text = format!(
        "This removes {} of <#{}>: {}{more}.",
        words::counted(names.len() as u64, "subscription", "subscriptions"),
        call.channel,
        shown.join(", ")
    );
    let reply = Reply::new(CAREFUL, "Remove all of this channel?", text).row([
        Button::new(Look::Danger, "Remove all", format!("kf:removeall:{}", call.channel)),
        Button::new(Look::Plain, "Keep them", "kf:keep"),
    ]);
    Ok(Answer::Say(reply))
}

pub(super) async fn all_confirmed(desk: &Desk<'_>, call: &Call, channel: u64) -> Done {
    if channel != call.channel {
        return Err(super::outdated());
    }
    let names = names_here(desk, call).await?;
    let removed = desk.commands.remove(call.guild, &names).await?;
    tracing::info!(
        guild = call.guild,
        user = call.user,
        count = removed.len(),
        "unsubscribed from all of a channel"
    );
    let count = words::counted(removed.len() as u64, "subscription", "subscriptions");
    Ok(Answer::Update(Reply::new(
        GOOD,
        "Unsubscribed",
        format!("{count} of <#{channel}> removed."),
    )))
}

/// Asks before a button removes something: fingers slip.
pub(super) async fn ask(desk: &Desk<'_>, call: &Call, id: u64, back: (u64, u64)) -> Done {
    let subscription = by_id(desk, call, id).await?;
    let (channel, page) = back;
    let text = format!(
        "{} in {}:\n{}",
        words::bold(&subscription.spec.name),
        words::channel(&subscription.spec.destination),
        words::block(&subscription.spec.filter)
    );
    let reply = Reply::new(CAREFUL, "Remove this subscription?", text).row([
        Button::new(Look::Danger, "Remove", format!("kf:removed:{id}:{channel}:{page}")),
        Button::new(Look::Plain, "Back", format!("kf:list:{channel}:{page}")),
    ]);
    Ok(Answer::Update(reply))
}

pub(super) async fn confirmed(desk: &Desk<'_>, call: &Call, id: u64, back: (u64, u64)) -> Done {
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
pub(super) async fn names_here(desk: &Desk<'_>, call: &Call) -> Result<Vec<String>, super::Stop> {
    let (seen, all) = Seen::all(desk, call).await?;
    let here = all
        .iter()
        .filter(|one| channel_of(one) == Some(call.channel) && seen.sees(one));
    Ok(here.map(|one| one.spec.name.clone()).collect())
}
