//! `import`: subscriptions from an export or from another bot's file: all rows or none, and every obstacle is named.

use super::{
    CommandContext, CommandError, CommandResult,
    access::{ChannelAccess, channel_of},
    by, format,
    options::blank,
    say,
};
use crate::{
    commands::{RowError, compile_all, other_bots},
    discord::interactions::{CAREFUL, CommandOptions, GOOD, InteractionResponse, Invocation, MAX_FILE_BYTES, Reply},
    sink::Destination,
    subscriptions::{SubscriptionSpec, file},
};

/// Named at most.
const NAMED: usize = 15;

pub(super) async fn import(desk: &CommandContext<'_>, call: &Invocation, given: &CommandOptions) -> CommandResult {
    let Some(attached) = given.files.get("file") else {
        return Err(say(
            "No file",
            "Attach a file: a killfeed export, or another bot's file.",
        ));
    };
    if usize::try_from(attached.size).unwrap_or(usize::MAX) > MAX_FILE_BYTES {
        return Err(say("Too large", "The file is larger than 1 MiB."));
    }
    let text = desk.answers.fetch(&attached.url).await;
    let text = text.map_err(|reason| {
        say(
            "Cannot read the file",
            format!("The file could not be read: {}.", format::escape(&reason)),
        )
    })?;
    let (wishes, untranslated, from) = read(desk, call, &text)?;
    let existing = desk.commands.subscriptions(call.guild);
    let mut offenders: Vec<RowError> = wishes
        .iter()
        .filter(|wish| existing.iter().any(|one| one.spec.name == wish.name))
        .map(|wish| offender(wish, "a subscription with this name already exists"))
        .collect();
    let limit = desk.commands.terms().max_subscriptions;
    if existing.len() + wishes.len() > limit {
        return Err(say(
            "Too many subscriptions",
            format!(
                "A server can have {limit} subscriptions. With the {} in this file, it would have {}. Nothing was stored.",
                wishes.len(),
                existing.len() + wishes.len()
            ),
        ));
    }
    offenders.extend(not_allowed(desk, call, &wishes).await?);
    if !offenders.is_empty() {
        return Err(refused(&offenders));
    }
    if wishes.is_empty() && untranslated.is_empty() {
        return Err(say("Nothing to import", "The file has no subscriptions."));
    }
    let count = wishes.len();
    match compile_all(desk.commands, wishes).await? {
        Err(offenders) => Err(refused(&offenders)),
        Ok(compiled) => {
            let added = desk.commands.add(compiled, by(desk, call)).await?;
            tracing::info!(guild = call.guild, user = call.user, count, "subscriptions imported");
            let names: Vec<String> = added
                .iter()
                .take(NAMED)
                .map(|one| format::bold(&one.spec.name))
                .collect();
            let more = added.len().saturating_sub(names.len());
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let from = if from.is_empty() {
                String::new()
            } else {
                format!(" from {from}")
            };
            let text = format!(
                "{}{from}: {}{more}. `/killfeed list` shows them.",
                format::counted(count as u64, "subscription", "subscriptions"),
                names.join(", ")
            );
            let color = if untranslated.is_empty() { GOOD } else { CAREFUL };
            let not = named(&untranslated);
            Ok(InteractionResponse::Say(
                Reply::new(color, "Imported", text).field("Not imported", not),
            ))
        }
    }
}

type Read = (Vec<SubscriptionSpec>, Vec<RowError>, &'static str);

/// The wishes in the text, for this guild.
fn read(desk: &CommandContext<'_>, call: &Invocation, text: &str) -> Result<Read, CommandError> {
    if let Some(foreign) = other_bots::read(text) {
        let wishes = foreign.rows.into_iter().map(|row| SubscriptionSpec {
            name: row.name,
            filter: row.filter,
            ping: row.ping,
            ping_max_age: row.ping_max_age,
            ..blank(call.guild, row.channel.unwrap_or(call.channel))
        });
        return Ok((wishes.collect(), foreign.untranslated, foreign.from));
    }
    let rows = file::parse_each(text, &desk.commands.terms().discord_api_url);
    let rows = rows.map_err(|error| {
        let expected = "Import a file from `/killfeed export`, a subscriptions file (TOML or JSON), a zKillBot list, a zk-activity \
                        guild file, or hazardous-killbot commands.";
        let error = format::escape(&error.to_string());
        say("File not recognized", format!("Nothing was stored: {error}\n{expected}"))
    })?;
    let mut wishes = Vec::new();
    let mut offenders = Vec::new();
    for row in rows {
        match row {
            Ok(wish) if wish.webhook_url.is_some() => offenders.push(offender(&wish, "webhooks cannot be imported")),
            Ok(wish) if wish.guild != call.guild => offenders.push(offender(&wish, "it is for another server")),
            Ok(wish) => wishes.push(wish),
            Err(error) => offenders.push(RowError {
                name: String::new(),
                why: error.to_string(),
            }),
        }
    }
    if offenders.is_empty() {
        Ok((wishes, Vec::new(), ""))
    } else {
        Err(refused(&offenders))
    }
}

/// The invoker's own permissions bind for each row.
async fn not_allowed(
    desk: &CommandContext<'_>,
    call: &Invocation,
    wishes: &[SubscriptionSpec],
) -> Result<Vec<RowError>, CommandError> {
    let mut channels: Vec<u64> = wishes
        .iter()
        .filter_map(|wish| match wish.destination {
            Destination::Channel(channel) => Some(channel),
            Destination::Webhook(_) => None,
        })
        .collect();
    channels.sort_unstable();
    channels.dedup();
    let seen = ChannelAccess::with(desk, call, &channels).await?;
    let mut offenders = Vec::new();
    for wish in wishes {
        let Destination::Channel(channel) = wish.destination else {
            continue;
        };
        let allowed = seen
            .require_post(channel)
            .and_then(|()| seen.must_ping(wish.ping, channel));
        match allowed {
            Ok(()) => {}
            Err(CommandError::Say(reply)) => {
                let why = reply
                    .embeds
                    .first()
                    .map(|embed| embed.description.clone())
                    .unwrap_or_default();
                offenders.push(RowError {
                    name: wish.name.clone(),
                    why,
                });
            }
            Err(storage) => return Err(storage),
        }
    }
    Ok(offenders)
}

fn offender(wish: &SubscriptionSpec, why: &str) -> RowError {
    RowError {
        name: wish.name.clone(),
        why: why.to_owned(),
    }
}

fn refused(offenders: &[RowError]) -> CommandError {
    say(
        "Nothing was stored",
        format!("Fix these rows, then import the file again:\n{}", named(offenders)),
    )
}

fn named(offenders: &[RowError]) -> String {
    let mut lines: Vec<String> = offenders
        .iter()
        .take(NAMED)
        .map(|one| match one.name.as_str() {
            "" => format::capitalised(&format::escape(&one.why)),
            name => format!("{}: {}", format::bold(name), format::escape(&one.why)),
        })
        .collect();
    if offenders.len() > NAMED {
        lines.push(format!("and {} more", offenders.len() - NAMED));
    }
    lines.join("\n")
}

/// Channels of a guild's subscriptions, for what concerns all of them.
pub(super) fn channels(all: &[std::sync::Arc<crate::subscriptions::Subscription>]) -> std::collections::BTreeSet<u64> {
    all.iter().filter_map(|one| channel_of(one)).collect()
}
