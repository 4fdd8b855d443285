//! `list`: every subscription with its state and activity, in pages with buttons.

use std::collections::BTreeSet;

use super::{
    CommandContext, CommandResult,
    access::{ChannelAccess, channel_of},
    by, by_id, format,
};
use crate::{
    commands::Activity,
    database::CountersRow,
    discord::interactions::{Button, ButtonStyle, CommandOptions, GOOD, InteractionResponse, Invocation, Reply},
    subscriptions::{Subscription, SubscriptionSource},
};

/// Each entry has a row of buttons, and one row is for the pages.
const A_PAGE: usize = 4;
/// Longer filters are cut: `edit` shows them whole.
const FILTER: usize = 180;

pub(super) async fn list(desk: &CommandContext<'_>, call: &Invocation, given: &CommandOptions) -> CommandResult {
    let channel = given.channels.get("channel").map_or(0, |chosen| chosen.id);
    Ok(InteractionResponse::Say(render(desk, call, channel, 0).await?))
}

/// Another page, in place of the one that is shown.
pub(super) async fn page(desk: &CommandContext<'_>, call: &Invocation, channel: u64, page: u64) -> CommandResult {
    Ok(InteractionResponse::Update(render(desk, call, channel, page).await?))
}

/// A button of an entry, and the page again.
pub(super) async fn pause(
    desk: &CommandContext<'_>,
    call: &Invocation,
    id: u64,
    paused: bool,
    back: (u64, u64),
) -> CommandResult {
    let subscription = by_id(desk, call, id).await?;
    let names = std::slice::from_ref(&subscription.spec.name);
    desk.commands
        .set_paused(call.guild, names, paused, by(desk, call))
        .await?;
    page(desk, call, back.0, back.1).await
}

async fn render(
    desk: &CommandContext<'_>,
    call: &Invocation,
    channel: u64,
    page: u64,
) -> Result<Reply, super::CommandError> {
    let (seen, all) = ChannelAccess::all(desk, call).await?;
    let (visible, hidden): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| seen.can_see(one));
    let wanted: Vec<_> = visible
        .into_iter()
        .filter(|one| channel == 0 || channel_of(one) == Some(channel))
        .collect();
    let hidden = if channel == 0 { hidden.len() } else { 0 };
    let hidden = match hidden {
        0 => String::new(),
        count => format!(
            "{} in channels that you cannot see",
            format::counted(count as u64, "more subscription", "more subscriptions")
        ),
    };
    if wanted.is_empty() {
        let text = "No subscriptions here. `/killfeed subscribe` adds one; `/killfeed help` explains filters.";
        return Ok(Reply::new(GOOD, "Subscriptions", text).footer(&hidden));
    }
    let pages = wanted.len().div_ceil(A_PAGE);
    let page = usize::try_from(page).unwrap_or(0).min(pages - 1);
    let shown = &wanted[page * A_PAGE..wanted.len().min((page + 1) * A_PAGE)];
    let destinations: BTreeSet<_> = shown.iter().map(|one| one.spec.destination.clone()).collect();
    let history = desk.commands.history(destinations).await?;
    let mut reply = Reply::new(GOOD, "Subscriptions", "");
    for one in shown {
        let counters = desk.commands.counters(one.id)?;
        let entry = entry(one, history.of(one.id), counters);
        reply = reply.field(&format!("{} {}", state(one).0, one.spec.name), entry);
        let (id, back) = (one.id.0, format!("{channel}:{page}"));
        let toggle = if one.spec.paused {
            Button::new(
                ButtonStyle::Primary,
                &format!("Resume {}", short(one)),
                format!("kf:resume:{id}:{back}"),
            )
        } else {
            Button::new(
                ButtonStyle::Plain,
                &format!("Pause {}", short(one)),
                format!("kf:pause:{id}:{back}"),
            )
        };
        reply = reply.row([
            toggle,
            Button::new(ButtonStyle::Plain, "Edit", format!("kf:edit:{id}:{back}")),
            Button::new(ButtonStyle::Danger, "Remove", format!("kf:remove:{id}:{back}")),
        ]);
    }
    let mut turns = Vec::new();
    if page > 0 {
        turns.push(Button::new(
            ButtonStyle::Plain,
            "Previous",
            format!("kf:list:{channel}:{}", page - 1),
        ));
    }
    if page + 1 < pages {
        turns.push(Button::new(
            ButtonStyle::Plain,
            "Next",
            format!("kf:list:{channel}:{}", page + 1),
        ));
    }
    if !turns.is_empty() {
        reply = reply.row(turns);
    }
    let count = format::counted(wanted.len() as u64, "subscription", "subscriptions");
    let mut footer = vec![format!("Page {} of {pages}, {count}", page + 1)];
    if !hidden.is_empty() {
        footer.push(hidden);
    }
    Ok(reply.footer(&footer.join("; ")))
}

/// Returns a mark for the state, and the state in words with its reason and time; no words if it is simply active.
pub(super) fn state(one: &Subscription) -> (&'static str, String) {
    if let Some(suspension) = &one.suspension {
        let why = format!(
            "{} ({})",
            format::escape(&suspension.reason),
            format::ago(suspension.since)
        );
        return if suspension.retired {
            ("⚫", format!("Retired, because its channel no longer exists: {why}"))
        } else {
            ("🔴", format!("Suspended, retried automatically: {why}"))
        };
    }
    if one.spec.paused {
        return ("⚪", format!("Paused {}", format::ago(one.changed.1)));
    }
    if one.compiled.is_none() {
        let why = if one.problem.is_empty() {
            "its filter has not been compiled yet"
        } else {
            &one.problem
        };
        return ("🟡", format!("Not active yet: {}", format::escape(why)));
    }
    let old = if one.problem.is_empty() {
        String::new()
    } else {
        format!(
            "Active, but its filter could not be recompiled: {}",
            format::escape(&one.problem)
        )
    };
    ("🟢", old)
}

fn entry(one: &Subscription, activity: Activity, counters: CountersRow) -> String {
    let wish = &one.spec;
    let Activity {
        last_match,
        last_post,
        posts,
        waiting,
        ..
    } = activity;
    let filter: String = if wish.filter.is_empty() {
        "(everything)".to_owned()
    } else {
        wish.filter.clone()
    };
    let (last_match, last_post) = (last_match.max(counters.last_match), last_post.max(counters.last_post));
    // Counts and times that say nothing yet are left out.
    let mut facts = vec![format!("→ {}", format::channel(&wish.destination))];
    if posts > 0 {
        facts.push(format!("{} today", format::number(posts)));
    }
    if last_post > 0 {
        facts.push(format!("last {}", format::ago(last_post)));
    }
    // A match that was posted within a minute is the last post.
    if last_match.abs_diff(last_post) >= 60_000 {
        facts.push(format!("last match {}", format::ago(last_match)));
    }
    // Outcomes are kept for a week, but the counters cover the whole life of a subscription.
    if counters.matched > 0 {
        facts.push(format!(
            "{} matched, {} posted in total",
            format::number(counters.matched),
            format::number(counters.posted)
        ));
    }
    if waiting > 0 {
        facts.push(format!("{} queued", format::number(waiting)));
    }
    if let Some(ping) = wish.ping {
        facts.push(format!("pings {}", format::ping(ping)));
    }
    let mut lines = vec![facts.join(" · ")];
    let state = state(one).1;
    if !state.is_empty() {
        lines.push(state);
    }
    lines.push(format::code(&crate::render::text::cut(&filter, FILTER)));
    if !wish.us.is_empty() {
        let us = crate::render::text::cut(&wish.us, FILTER);
        lines.push(format!("Us: {} ({})", format::code(&us), wish.side.word()));
    }
    lines.push(made(one));
    lines.join("\n")
}

fn made(one: &Subscription) -> String {
    let who = |user: u64| match (user, one.source) {
        (0, SubscriptionSource::File) => "the operator's file".to_owned(),
        (0, _) => "the operator".to_owned(),
        (user, _) => format!("<@{user}>"),
    };
    let made = format!("Created by {} {}", who(one.created.0), format::ago(one.created.1));
    if one.changed == one.created {
        made
    } else {
        format!(
            "{made}, changed by {} {}",
            who(one.changed.0),
            format::ago(one.changed.1)
        )
    }
}

/// The name, as far as a button has room for it.
fn short(one: &Subscription) -> String {
    crate::render::text::cut(&one.spec.name, 30)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{matching::tests::subscription, subscriptions::Ping};

    #[test]
    fn entry_leaves_out_counts_that_say_nothing() {
        let mut one = subscription(1);
        let facts = |one: &Subscription, activity, counters| {
            let entry = entry(one, activity, counters);
            entry.lines().next().unwrap_or_default().to_owned()
        };
        let channel = format::channel(&one.spec.destination);
        let none = (Activity::default(), CountersRow::default());
        assert_eq!(facts(&one, none.0, none.1), format!("→ {channel}"));

        one.spec.ping = Some(Ping::Here);
        let activity = Activity {
            last_match: 600_000,
            last_post: 590_000,
            posts: 1_200,
            waiting: 3,
            ..Activity::default()
        };
        let counters = CountersRow {
            matched: 1_300,
            posted: 1_250,
            last_match: 600_000,
            last_post: 590_000,
        };
        assert_eq!(
            facts(&one, activity, counters),
            format!(
                "→ {channel} · 1,200 today · last <t:590:R> · 1,300 matched, 1,250 posted in total · 3 queued · pings @here"
            )
        );
        // A match long after the last post was not posted.
        let later = Activity {
            last_match: 900_000,
            ..activity
        };
        assert!(facts(&one, later, counters).contains("last <t:590:R> · last match <t:900:R>"));
    }
}
