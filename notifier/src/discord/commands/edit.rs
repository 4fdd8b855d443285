//! `edit`: options, the form behind a button, and buttons that change a filter: all of them end in [`store`].

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Desk, Done, Stop, by, by_id, describe, say,
    seen::{self, Seen},
    wish::{self, Changes},
    words,
};
use crate::{
    commands::export,
    discord::interactions::{Answer, Call, Form, Given, Input, Reply},
    sink::Destination,
    subscriptions::{MaxAge, Subscription},
};

pub(super) async fn edit(desk: &Desk<'_>, call: &Call, given: &Given) -> Done {
    let changes = Changes::given(given, "new_name");
    if changes.is_empty() {
        return Err(say(
            "Nothing to change",
            "Choose at least one option beside the name, like `add: -victim.group:Capsule`.",
        ));
    }
    let (_, subscription) = seen::named(desk, call, given.text("name").unwrap_or_default()).await?;
    Ok(Answer::Say(store(desk, call, &subscription, changes).await?))
}

/// The button `Edit`: a form with what is there now.
pub(super) async fn open_form(desk: &Desk<'_>, call: &Call, id: u64) -> Done {
    let subscription = by_id(desk, call, id).await?;
    let wish = &subscription.spec;
    let input = |id, label, value: String, most, long| Input {
        id,
        label,
        value,
        most,
        long,
    };
    let age = match wish.max_age {
        MaxAge::Default => String::new(),
        MaxAge::Limit(limit) => export::duration(limit),
        MaxAge::Unlimited => "unlimited".to_owned(),
    };
    let ping = wish.ping.map(|ping| ping.to_string()).unwrap_or_default();
    Ok(Answer::Form(Form {
        custom_id: format!("kf:form:{id}"),
        title: format!("Edit {}", wish.name),
        inputs: vec![
            input("name", "Name", wish.name.clone(), 100, false),
            input("filter", "Filter", wish.filter.clone(), 2_000, true),
            input("us", "Us: tells kills from losses", wish.us.clone(), 2_000, true),
            input("ping", "Ping: here, everyone, role:<id>, or nothing", ping, 30, false),
            input("max_age", "Max age, like 6h, or unlimited", age, 20, false),
        ],
    }))
}

/// The form that was sent.
pub(super) async fn form(desk: &Desk<'_>, call: &Call, id: u64, inputs: &BTreeMap<String, String>) -> Done {
    let subscription = by_id(desk, call, id).await?;
    Ok(Answer::Say(
        store(desk, call, &subscription, Changes::form(inputs)).await?,
    ))
}

/// A button `without ...`: one more term.
pub(super) async fn without(desk: &Desk<'_>, call: &Call, id: u64, part: u64) -> Done {
    let subscription = by_id(desk, call, id).await?;
    let part = usize::try_from(part).ok().and_then(|part| describe::PARTS.get(part));
    let Some((.., term)) = part else {
        return Err(super::outdated());
    };
    if subscription.spec.filter.ends_with(term) {
        return Err(say("Done already", "Its filter leaves them out already."));
    }
    Ok(Answer::Update(
        store(desk, call, &subscription, Changes::add(term)).await?,
    ))
}

/// A button `use: ...`: what a warning suggests, unless the filter was changed meanwhile.
pub(super) async fn take_suggestion(desk: &Desk<'_>, call: &Call, id: u64, at: (u64, u64), of: &str) -> Done {
    let subscription = by_id(desk, call, id).await?;
    let changed = || {
        say(
            "Changed meanwhile",
            "The filter is another one by now: `/killfeed edit` changes it.",
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
    Ok(Answer::Update(
        store(desk, call, &subscription, Changes::filter(suggestion)).await?,
    ))
}

async fn store(desk: &Desk<'_>, call: &Call, old: &Arc<Subscription>, changes: Changes) -> Result<Reply, Stop> {
    let wish = changes.apply(old.spec.clone())?;
    let seen = match wish.destination {
        Destination::Channel(channel) => {
            let seen = Seen::with(desk, call, &[channel]).await?;
            if !seen.sees(old) {
                return Err(seen::not_yours());
            }
            if wish.destination != old.spec.destination {
                seen.must_post(channel)?;
            }
            if wish.ping != old.spec.ping || wish.destination != old.spec.destination {
                seen.must_ping(wish.ping, channel)?;
            }
            seen
        }
        Destination::Webhook(_) => return Err(super::outdated()),
    };
    if wish == old.spec {
        return Err(say("Nothing to change", "It is like that already."));
    }
    let (meaning, compiled) = wish::compile(desk, &wish).await?;
    let edited = desk.commands.edit(old, wish, compiled, by(desk, call)).await?;
    tracing::info!(
        guild = call.guild,
        user = call.user,
        name = edited.spec.name,
        "subscription edited"
    );
    let mut reply = describe::reply(desk, &seen, "Changed", &edited, &meaning).await;
    if edited.spec.filter != old.spec.filter {
        reply = reply.field("It was", words::short_block(&old.spec.filter));
    }
    Ok(reply)
}
