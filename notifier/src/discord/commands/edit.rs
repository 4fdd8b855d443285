//! `edit`: options, the form behind a button, and buttons that change a filter: all of them end in [`store`].

use std::{collections::BTreeMap, sync::Arc};

use super::{
    CommandContext, CommandError, CommandResult,
    access::{self, ChannelAccess},
    by, by_id, describe, format,
    options::{self, SpecPatch},
    say,
};
use crate::{
    commands::export,
    discord::interactions::{CommandOptions, Form, Input, InteractionResponse, Invocation, Reply},
    sink::Destination,
    subscriptions::{MaxAge, Subscription},
};

pub(super) async fn edit(desk: &CommandContext<'_>, call: &Invocation, given: &CommandOptions) -> CommandResult {
    let changes = SpecPatch::given(given, "new_name");
    if changes.is_empty() {
        return Err(say(
            "Nothing to change",
            "Choose at least one option besides the name, like `add: -victim.group:Capsule`.",
        ));
    }
    let (_, subscription) = access::named(desk, call, given.text("name").unwrap_or_default()).await?;
    Ok(InteractionResponse::Say(
        store(desk, call, &subscription, changes).await?,
    ))
}

/// The button `Edit`: a form with what is there now.
pub(super) async fn open_form(desk: &CommandContext<'_>, call: &Invocation, id: u64) -> CommandResult {
    let subscription = by_id(desk, call, id).await?;
    let wish = &subscription.spec;
    let input = |id, label, value: String, most, long| Input {
        id,
        label,
        value,
        max: most,
        long,
    };
    let age = match wish.max_age {
        MaxAge::Default => String::new(),
        MaxAge::Limit(limit) => export::duration(limit),
        MaxAge::Unlimited => "unlimited".to_owned(),
    };
    let ping = wish.ping.map(|ping| ping.to_string()).unwrap_or_default();
    Ok(InteractionResponse::Form(Form {
        custom_id: format!("kf:form:{id}"),
        title: format!("Edit {}", wish.name),
        inputs: vec![
            input("name", "Name", wish.name.clone(), 100, false),
            input("filter", "Filter", wish.filter.clone(), 2_000, true),
            input(
                "us",
                "Us: your side, to tell kills from losses",
                wish.us.clone(),
                2_000,
                true,
            ),
            input("ping", "Ping: here, everyone, role:<id>, or empty", ping, 30, false),
            input("max_age", "Maximum age: like 6h, or unlimited", age, 20, false),
        ],
    }))
}

/// The form that was sent.
pub(super) async fn form(
    desk: &CommandContext<'_>,
    call: &Invocation,
    id: u64,
    inputs: &BTreeMap<String, String>,
) -> CommandResult {
    let subscription = by_id(desk, call, id).await?;
    Ok(InteractionResponse::Say(
        store(desk, call, &subscription, SpecPatch::form(inputs)).await?,
    ))
}

/// A button like `No pods`: adds one more term.
pub(super) async fn without(desk: &CommandContext<'_>, call: &Invocation, id: u64, part: u64) -> CommandResult {
    let subscription = by_id(desk, call, id).await?;
    let part = usize::try_from(part).ok().and_then(|part| describe::PARTS.get(part));
    let Some((.., term, _)) = part else {
        return Err(super::outdated());
    };
    if subscription.spec.filter.ends_with(term) {
        return Err(say("Nothing to change", "The filter already leaves them out."));
    }
    Ok(InteractionResponse::Update(
        store(desk, call, &subscription, SpecPatch::add(term)).await?,
    ))
}

/// A button `Use ...`: applies the suggestion of a warning, unless the filter has changed since then.
pub(super) async fn take_suggestion(
    desk: &CommandContext<'_>,
    call: &Invocation,
    id: u64,
    at: (u64, u64),
    of: &str,
) -> CommandResult {
    let subscription = by_id(desk, call, id).await?;
    let changed = || {
        say(
            "Filter has changed",
            "The filter was changed after this message. Change it again with `/killfeed edit`.",
        )
    };
    if describe::fingerprint(&subscription.spec.filter) != of {
        return Err(changed());
    }
    let meaning = desk.commands.describe(&subscription.spec.filter).await?;
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let warning = meaning.warnings.get(index(at.0));
    let suggestion = warning.and_then(|warning| warning.suggestions.get(index(at.1)));
    let suggestion = suggestion.ok_or_else(changed)?.clone();
    Ok(InteractionResponse::Update(
        store(desk, call, &subscription, SpecPatch::filter(suggestion)).await?,
    ))
}

async fn store(
    desk: &CommandContext<'_>,
    call: &Invocation,
    old: &Arc<Subscription>,
    changes: SpecPatch,
) -> Result<Reply, CommandError> {
    let wish = changes.apply(old.spec.clone())?;
    let seen = match wish.destination {
        Destination::Channel(channel) => {
            let seen = ChannelAccess::with(desk, call, &[channel]).await?;
            if !seen.can_see(old) {
                return Err(access::not_yours());
            }
            if wish.destination != old.spec.destination {
                seen.require_post(channel)?;
            }
            if wish.ping != old.spec.ping || wish.destination != old.spec.destination {
                seen.must_ping(wish.ping, channel)?;
            }
            seen
        }
        Destination::Webhook(_) => return Err(super::outdated()),
    };
    if wish == old.spec {
        return Err(say("Nothing to change", "The subscription already has these settings."));
    }
    let (meaning, compiled) = options::compile(desk, &wish).await?;
    let edited = desk.commands.edit(old, wish, compiled, by(desk, call)).await?;
    tracing::info!(
        guild = call.guild,
        user = call.user,
        name = edited.spec.name,
        "subscription edited"
    );
    let mut reply = describe::reply(desk, &seen, "Changed", &edited, &meaning).await;
    if edited.spec.filter != old.spec.filter {
        reply = reply.field("Previous filter", format::short_block(&old.spec.filter));
    }
    Ok(reply)
}
