//! `why`: the outcome of a killmail here, first; then, clause by clause, which conditions held, with the values.

use std::{sync::Arc, time::Duration};

use killfeed::v1::Killmail;

use super::{
    CommandContext, CommandResult,
    access::{self, ChannelAccess},
    format, say,
};
use crate::{
    commands::{
        Unavailable,
        arrival::{ArrivalStatus, reach},
        explain::{self, Clause},
        export,
    },
    database::{PostRow, PostState},
    discord::interactions::{BAD, CommandOptions, GOOD, InteractionResponse, Invocation, Reply},
    matching,
    sink::Destination,
    subscriptions::{MaxAge, Side, Subscription},
};

/// For a subscription of which no outcome is known.
const NO_RECORD: &str = "The bot has no record of this kill.";
/// Subscriptions that one reply has room for.
const MAX_ROWS: usize = 10;
/// What they may take of it together, and each of them; Discord takes 6,000 and 1,024 characters.
const ROOM: usize = 5_000;
const ROOM_EACH: usize = 900;

pub(super) async fn why(desk: &CommandContext<'_>, call: &Invocation, given: &CommandOptions) -> CommandResult {
    let text = given.text("kill").unwrap_or_default();
    let id = killmail_id(text).ok_or_else(|| {
        let example = "`132467594` or `https://zkillboard.com/kill/132467594/`";
        say(
            "Invalid kill",
            format!("`kill` must be a killmail id or a zKillboard link, like {example}."),
        )
    })?;
    let (seen, subscriptions, hidden) = match given.text("name") {
        Some(name) => {
            let (seen, one) = access::named(desk, call, name).await?;
            (seen, vec![one], 0)
        }
        None => {
            let (seen, all) = ChannelAccess::all(desk, call).await?;
            let count = all.len();
            let visible: Vec<_> = all.into_iter().filter(|one| seen.can_see(one)).collect();
            let hidden = count - visible.len();
            (seen, visible, hidden)
        }
    };
    drop(seen);
    let killmail = desk.commands.killmail(id).await;
    let mut cases = Vec::new();
    for subscription in subscriptions {
        let post = desk.commands.post(&subscription.spec.destination, id)?;
        cases.push(Case {
            matches: killmail
                .as_ref()
                .ok()
                .and_then(Option::as_ref)
                .map(|killmail| matches(&subscription, killmail)),
            subscription,
            post,
        });
    }
    // What concerns the killmail first, then what came close.
    cases.sort_by_key(|case| {
        (
            case.post.is_none(),
            case.matches != Some(true),
            case.subscription.spec.name.clone(),
        )
    });
    let known = killmail.as_ref().ok().and_then(Option::as_ref);
    let reach = reach(desk.commands.received(id)?, known, &desk.commands.standing()?);
    let log_begins = match &killmail {
        Ok(None) if reach != ArrivalStatus::Received => {
            let status = desk.commands.feed_status().await.ok();
            status.and_then(|status| status.earliest_time)
        }
        _ => None,
    };
    let mut reply = Reply::new(
        GOOD,
        &format!("Killmail {id}"),
        head(id, &killmail, reach, log_begins, desk.commands.now()),
    );
    if killmail.is_err() {
        reply.embeds[0].color = BAD;
    }
    if cases.is_empty() {
        reply = reply.field("Here", "This server has no subscriptions that you can see.");
    }
    let mut footer = Vec::new();
    // Without the killmail and without a record there is nothing to say about a subscription: one line covers all of them.
    if known.is_none() {
        let count = cases.len();
        cases.retain(|case| case.post.is_some());
        let without = count - cases.len();
        if without > 0 && (killmail.is_err() || reach == ArrivalStatus::Received) {
            footer.push(format!(
                "No record for {}",
                format::counted(without as u64, "subscription", "subscriptions")
            ));
        }
    }
    let room = ROOM_EACH.min(ROOM / cases.len().clamp(1, MAX_ROWS));
    for case in cases.iter().take(MAX_ROWS) {
        let mut said = fate(desk, call, case, known, reach);
        if let Some(killmail) = known {
            said.push('\n');
            said.push_str(&clauses(&case.subscription, killmail, room.saturating_sub(said.len())));
        }
        reply = reply.field(&case.subscription.spec.name, said);
    }
    if cases.len() > MAX_ROWS {
        footer.push(format!(
            "{}: use the option name to see one",
            format::counted(
                (cases.len() - MAX_ROWS) as u64,
                "more subscription",
                "more subscriptions"
            )
        ));
    }
    if hidden > 0 {
        footer.push(format!("{hidden} in channels that you cannot see: not shown"));
    }
    Ok(InteractionResponse::Say(if footer.is_empty() {
        reply
    } else {
        reply.footer(&footer.join("; "))
    }))
}

/// A subscription and the killmail.
struct Case {
    subscription: Arc<Subscription>,
    post: Option<PostRow>,
    /// `None` = unknown, because the killmail is.
    matches: Option<bool>,
}

/// `123`, `https://zkillboard.com/kill/123/`, with or without what people paste around it.
fn killmail_id(text: &str) -> Option<u64> {
    let text = text.trim().trim_matches(['<', '>', '`', ' ']);
    let digits = match text.split_once("/kill/") {
        Some((before, rest)) if before.contains("zkillboard.com") => rest.split(['/', '?', '#']).next()?,
        Some(_) => return None,
        None => text,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|id| plain && *id != 0)
}

fn head(
    id: u64,
    killmail: &Result<Option<Killmail>, Unavailable>,
    reach: ArrivalStatus,
    log_begins: Option<killfeed::Timestamp>,
    now: u64,
) -> String {
    match killmail {
        Ok(Some(killmail)) => {
            let kill = matching::millis(&killmail.kill_time);
            let published = matching::millis(&killmail.published_time);
            let mut said = format!(
                "{}\nKilled {}, published {}",
                crate::render::link(killmail.killmail_id),
                format::ago(kill),
                format::ago(published)
            );
            // A difference of less than a minute says nothing.
            if kill > 0 && now > kill && published >= kill + 60_000 {
                said.push_str(&format!(" ({} later)", format::span(published.saturating_sub(kill))));
            }
            match reach {
                ArrivalStatus::Received | ArrivalStatus::Unknown => {}
                ArrivalStatus::Pending => {
                    said.push_str("\n**Not received yet**: it is in the log, but the bot is still catching up.");
                }
                ArrivalStatus::Before(began) => said.push_str(&format!(
                    "\nThis kill happened before the bot started listening ({}), so it was never considered.",
                    format::clock(began, now)
                )),
                ArrivalStatus::Expired => {
                    said.push_str("\nThe bot has no record of this kill. Records are kept for 7 days.")
                }
            }
            said
        }
        Ok(None) if reach == ArrivalStatus::Received => {
            "The bot received this kill, but it is **no longer in the log**, so its conditions cannot be shown."
                .to_owned()
        }
        Ok(None) => {
            let since =
                log_begins.map(|begins| format!(" since {}", format::clock(matching::millis(&Some(begins)), now)));
            format!(
                "zKillboard has not published kill {id}{}, or it is older than 7 days. Kills appear only if someone involved shares \
                 them with zKillboard.",
                since.unwrap_or_default()
            )
        }
        Err(away) => format!(
            "{}, so the conditions cannot be shown now.",
            format::capitalised(&format::escape(&away.0))
        ),
    }
}

/// Returns the outcome of the killmail for this subscription.
fn fate(
    desk: &CommandContext<'_>,
    call: &Invocation,
    case: &Case,
    killmail: Option<&Killmail>,
    reach: ArrivalStatus,
) -> String {
    let one = &case.subscription;
    let mut lines = Vec::new();
    let own = |post: &PostRow| post.matches.iter().any(|found| found.subscription == one.id.0);
    match &case.post {
        Some(post) => lines.push(outcome(call, one, post, own(post), killmail, desk)),
        None => lines.push(match (case.matches, reach) {
            (Some(true), ArrivalStatus::Received) => not_queued(one, killmail),
            (Some(true), ArrivalStatus::Pending) => not_yet(one, killmail, desk),
            (Some(true), ArrivalStatus::Before(_)) => {
                "**Not posted**: it matches, but happened before the bot started listening.".to_owned()
            }
            (Some(true), ArrivalStatus::Expired) => {
                "**Not posted**, as far as known: it matches, but the bot has no record of it. Records are kept for 7 days."
                    .to_owned()
            }
            (Some(false), _) => "**Not posted**: it does not match.".to_owned(),
            (Some(true), ArrivalStatus::Unknown) | (None, _) => NO_RECORD.to_owned(),
        }),
    }
    if one.spec.paused {
        lines.push("This subscription is **paused** now.".to_owned());
    }
    if let Some(suspension) = &one.suspension {
        lines.push(format!(
            "This subscription is **suspended** now: {}.",
            format::escape(&suspension.reason)
        ));
    }
    lines.join("\n")
}

fn outcome(
    call: &Invocation,
    one: &Subscription,
    post: &PostRow,
    own: bool,
    killmail: Option<&Killmail>,
    desk: &CommandContext<'_>,
) -> String {
    let since = format::ago(post.since);
    let link = match (&one.spec.destination, post.message_id) {
        (Destination::Channel(channel), 1..) => {
            format!(
                ": https://discord.com/channels/{}/{channel}/{}",
                call.guild, post.message_id
            )
        }
        _ => String::new(),
    };
    let detail = if post.detail.is_empty() {
        String::new()
    } else {
        format!(" ({})", format::escape(&post.detail))
    };
    match post.state() {
        PostState::Sent if own => {
            let ping = if post.ping_held_back {
                "\n**Ping suppressed**: the same target was pinged in the 5 minutes before."
            } else {
                ""
            };
            format!("**Posted** {since}{link}{ping}")
        }
        PostState::Sent => format!("**Already posted through another subscription** of this channel {since}{link}"),
        PostState::Queued => format!("**Queued** {since}, and not posted yet."),
        PostState::Folded => format!(
            "**Folded** {since}: counted in an `N more killmails` post, because too many were queued or it arrived too late."
        ),
        PostState::TooOld => format!(
            "**Too old**: {}",
            ages(one, killmail, (post.since, "when its turn came"), desk)
        ),
        PostState::Dropped => {
            format!("**Discarded** {since}: the subscription was paused, edited or removed before the kill's turn.")
        }
        PostState::Dead => format!("**Rejected by Discord** {since}{detail}"),
        PostState::Unknown => format!(
            "**Outcome unknown** {since}{detail}: the connection was lost while it was sent, and the bot cannot search the channel."
        ),
        PostState::Gone => format!("**The channel no longer existed** {since}{detail}"),
        PostState::Unspecified => NO_RECORD.to_owned(),
    }
}

/// The oldest that a kill may be.
fn limit(one: &Subscription, desk: &CommandContext<'_>) -> Option<Duration> {
    match one.spec.max_age {
        MaxAge::Limit(limit) => Some(limit),
        MaxAge::Default => Some(desk.commands.terms().max_age),
        MaxAge::Unlimited => None,
    }
}

/// Age and limit.
fn ages(one: &Subscription, killmail: Option<&Killmail>, (at, when): (u64, &str), desk: &CommandContext<'_>) -> String {
    let limit = match (limit(one, desk), one.spec.max_age) {
        (Some(limit), MaxAge::Default) => format!("{} (default)", export::duration(limit)),
        (Some(limit), _) => export::duration(limit),
        (None, _) => "none".to_owned(),
    };
    match kill_time(killmail) {
        Some(kill) => format!(
            "{} old {when}; the limit is {limit}.",
            format::span(at.saturating_sub(kill))
        ),
        None => format!("the limit is {limit}."),
    }
}

fn kill_time(killmail: Option<&Killmail>) -> Option<u64> {
    let kill = killmail.map(|killmail| matching::millis(&killmail.kill_time));
    kill.filter(|kill| *kill > 0)
}

/// It matches and is still to come: whether it will be posted then.
fn not_yet(one: &Subscription, killmail: Option<&Killmail>, desk: &CommandContext<'_>) -> String {
    let now = desk.commands.now();
    let too_old = kill_time(killmail)
        .zip(limit(one, desk))
        .is_some_and(|(kill, limit)| u128::from(now.saturating_sub(kill)) > limit.as_millis());
    if before_active(one, killmail) || one.spec.paused || one.compiled.is_none() {
        return format!("**Not received yet**. When it arrives:\n{}", not_queued(one, killmail));
    }
    if too_old {
        return format!(
            "**Not received yet**, and **too old** to be posted: {}",
            ages(one, killmail, (now, "by now"), desk)
        );
    }
    "**Not received yet**. When it arrives, it will be posted.".to_owned()
}

/// Whether it was published before the subscription began (again) to look.
fn before_active(one: &Subscription, killmail: Option<&Killmail>) -> bool {
    let published = killmail.map_or(0, |killmail| matching::millis(&killmail.published_time));
    published / 1_000 < one.active_from / 1_000
}

/// It matches, and yet there is no row.
fn not_queued(one: &Subscription, killmail: Option<&Killmail>) -> String {
    if before_active(one, killmail) {
        return format!(
            "**Not posted**: it was published before this subscription was created, edited or resumed ({}).",
            format::ago(one.active_from)
        );
    }
    if one.spec.paused {
        return "**Not posted**: this subscription was paused.".to_owned();
    }
    if one.compiled.is_none() {
        return "**Not posted**: the filter was not compiled yet.".to_owned();
    }
    "**Not posted**: it matches now, but did not when it arrived (the names or the filter have changed since), or it arrived more \
     than 7 days ago."
        .to_owned()
}

fn matches(subscription: &Subscription, killmail: &Killmail) -> bool {
    let Some(compiled) = subscription.compiled.clone() else {
        return false;
    };
    let example = super::preview::example(&subscription.spec, compiled);
    let active = example.get(crate::subscriptions::SubscriptionId(1));
    active.is_some_and(|active| matching::outcome(killmail, active).is_some())
}

fn clauses(subscription: &Subscription, killmail: &Killmail, room: usize) -> String {
    let Some(compiled) = &subscription.compiled else {
        return "The filter is not compiled yet.".to_owned();
    };
    let mut all = Vec::new();
    match &compiled.filter {
        Some(filter) => {
            let explained = explain::explain(filter, killmail);
            if explained.is_empty() {
                all.push("✅ everything matches".to_owned());
            }
            all.extend(explained.iter().map(line));
        }
        None => all.push("❌ the subscription has no filter".to_owned()),
    }
    if let (Some(victim), Some(attacker)) = (&compiled.victim_is_us, &compiled.attacker_is_us) {
        let holds = |filter| killfeed::filter::Program::new(filter).is_ok_and(|program| program.matches(killmail));
        let (victim, attacker) = (holds(victim), holds(attacker));
        let holds = match subscription.spec.side {
            Side::Both => victim || attacker,
            Side::Kills => attacker && !victim,
            Side::Losses => victim,
        };
        all.push(format!(
            "{} us ({}): the victim is {}us, {} attacker is us",
            mark(holds),
            subscription.spec.side.word(),
            if victim { "" } else { "not " },
            if attacker { "an" } else { "no" }
        ));
    }
    let mut said = String::new();
    let count = all.len();
    for (index, line) in all.into_iter().enumerate() {
        if said.len() + line.len() > room {
            said.push_str(&format!("… {} more clauses", count - index));
            break;
        }
        said.push_str(&line);
        said.push('\n');
    }
    said
}

fn line(clause: &Clause) -> String {
    let values = if clause.values.is_empty() {
        String::new()
    } else {
        format!(": {}", format::escape(&clause.values))
    };
    format!(
        "{}{} {}{values}",
        "\u{2003}".repeat(clause.depth),
        mark(clause.holds),
        format::code(&crate::render::text::cut(&clause.text, 120))
    )
}

fn mark(holds: bool) -> &'static str {
    if holds { "✅" } else { "❌" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_links() {
        for (text, id) in [
            ("132467594", Some(132_467_594)),
            (" <https://zkillboard.com/kill/12/> ", Some(12)),
            ("https://zkillboard.com/kill/12", Some(12)),
            ("zkillboard.com/kill/12/?x#y", Some(12)),
            ("https://evil.example/kill/12/", None),
            ("https://zkillboard.com/kill/x/", None),
            ("-5", None),
            ("0", None),
            ("", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(killmail_id(text), id, "{text}");
        }
    }
}
