//! `subscribe`: a filter in, a subscription on disk, and what it will do.

use super::{
    CommandContext, CommandError, CommandResult,
    access::ChannelAccess,
    by, describe,
    options::{self, SpecPatch},
    say,
};
use crate::{
    commands::filters,
    discord::interactions::{CommandOptions, InteractionResponse, Invocation},
    sink::Destination,
    subscriptions::SubscriptionSpec,
};

pub(super) async fn subscribe(desk: &CommandContext<'_>, call: &Invocation, given: &CommandOptions) -> CommandResult {
    let mut blank = options::blank(call.guild, call.channel);
    let filter = given.text("filter").map(filters::clean).unwrap_or_default();
    blank.name = match given.text("name").map(filters::clean).filter(|name| !name.is_empty()) {
        Some(name) => name,
        None => options::name_for(desk, call.guild, &filter),
    };
    let wish = SpecPatch::given(given, "name").apply(blank)?;
    store(desk, call, wish).await
}

/// The button under a preview: its filter is in the button, or, where it is too long for that, in what stands above it.
pub(super) async fn from_preview(
    desk: &CommandContext<'_>,
    call: &Invocation,
    carried: &str,
    shown: &str,
) -> CommandResult {
    let filter = match carried {
        "" => in_block(shown).ok_or_else(|| {
            say(
                "Filter not found",
                "The filter can no longer be read. Run the command again.",
            )
        })?,
        "(everything)" => String::new(),
        filter => filter.to_owned(),
    };
    let mut wish = options::blank(call.guild, call.channel);
    wish.name = options::name_for(desk, call.guild, &filter);
    wish.filter = filter;
    store(desk, call, wish).await
}

async fn store(desk: &CommandContext<'_>, call: &Invocation, wish: SubscriptionSpec) -> CommandResult {
    let Destination::Channel(channel) = wish.destination else {
        return Err(super::outdated());
    };
    if desk
        .commands
        .subscriptions(call.guild)
        .iter()
        .any(|one| one.spec.name == wish.name)
    {
        return Err(CommandError::from(crate::commands::ChangeError::NameTaken(wish.name)));
    }
    let seen = ChannelAccess::with(desk, call, &[channel]).await?;
    seen.require_post(channel)?;
    seen.must_ping(wish.ping, channel)?;
    let (meaning, compiled) = options::compile(desk, &wish).await?;
    let added = desk.commands.add(vec![(wish, compiled)], by(desk, call)).await?;
    let Some(subscription) = added.first() else {
        return Err(super::outdated());
    };
    tracing::info!(
        guild = call.guild,
        user = call.user,
        name = subscription.spec.name,
        "subscribed"
    );
    let reply = describe::reply(desk, &seen, "Subscribed", subscription, &meaning).await;
    Ok(InteractionResponse::Say(reply))
}

/// The text in the first code block.
fn in_block(shown: &str) -> Option<String> {
    let (_, rest) = shown.split_once("```")?;
    let (inside, _) = rest.split_once("```")?;
    let inside = inside.trim();
    // What was cut is not what was tried.
    (!inside.ends_with('…')).then(|| inside.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_back_from_what_is_shown() {
        assert_eq!(in_block("x\n```\nnpc solo\n```\ny").as_deref(), Some("npc solo"));
        assert_eq!(in_block("```\nnpc sol…\n```"), None);
        assert_eq!(in_block("nothing"), None);
    }
}
