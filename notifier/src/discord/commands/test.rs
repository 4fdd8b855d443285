//! `test`: the newest matching killmail into the subscription's channel, marked as a test. It pings nobody.

use sha2::{Digest as _, Sha256};

use super::{CommandContext, CommandResult, access, format, preview, say};
use crate::{
    commands::filters,
    discord::interactions::{CommandOptions, GOOD, InteractionResponse, Invocation, Reply},
    matching, render,
    sink::{Destination, Footer, Post, SendOutcome},
};

pub(super) async fn test(desk: &CommandContext<'_>, call: &Invocation, given: &CommandOptions) -> CommandResult {
    let (seen, subscription) = access::named(desk, call, given.text("name").unwrap_or_default()).await?;
    let wish = &subscription.spec;
    let Destination::Channel(channel) = wish.destination else {
        return Err(super::outdated());
    };
    seen.require_post(channel)?;
    let effective = filters::effective(&wish.filter, &wish.us, wish.side);
    let newest = desk.commands.newest(&effective, 0, 1).await?;
    let Some(killmail) = newest.first() else {
        return Err(say(
            "No matches",
            "No killmail in the log matches this subscription. `/killfeed preview` counts matches.",
        ));
    };
    let example = subscription
        .compiled
        .clone()
        .map(|compiled| preview::example(wish, compiled));
    let item = preview::item(wish, example.as_ref(), killmail);
    let (mut message, _) = render::killmails(&[item], &[]);
    let mark = format!("Test of {}", format::bold(&wish.name));
    message.content = if message.content.is_empty() {
        mark
    } else {
        format!("{mark}\n{}", message.content)
    };
    for embed in &mut message.embeds {
        let footer = embed.footer.take().map(|footer| footer.text).unwrap_or_default();
        embed.footer = Some(Footer {
            text: if footer.is_empty() {
                "Test".to_owned()
            } else {
                format!("Test · {footer}")
            },
        });
    }
    let post = Post {
        destination: wish.destination.clone(),
        nonce: nonce(channel, killmail.killmail_id, call.id),
        killmails: vec![killmail.killmail_id],
        message,
    };
    let lacking = seen.missing(channel, None);
    match desk.commands.send(&post).await {
        SendOutcome::Sent { message_id } => {
            tracing::info!(guild = call.guild, user = call.user, name = wish.name, "test posted");
            let text = format!(
                "https://discord.com/channels/{}/{channel}/{message_id}\nThis is the newest match, from {}. Nobody was pinged.",
                call.guild,
                format::ago(matching::millis(&killmail.kill_time))
            );
            Ok(InteractionResponse::Say(
                Reply::new(GOOD, "Test posted", text).field("Missing permissions", lacking),
            ))
        }
        SendOutcome::Rejected { status, code, message } => Err(say(
            "Discord rejected the post",
            format!("{} (HTTP {status}, code {code}).\n{lacking}", format::escape(&message)),
        )),
        SendOutcome::RateLimited { retry_after } => Err(say(
            "Rate limited",
            format!(
                "Discord asks the bot to wait. Try again in {} s.",
                retry_after.as_secs() + 1
            ),
        )),
        SendOutcome::Unauthorized => Err(say(
            "Discord rejected the bot",
            "Discord no longer accepts the bot's token. The operator must replace it.",
        )),
        SendOutcome::Unknown { reason } => Err(say(
            "Outcome unknown",
            format!(
                "The connection was lost while the test was sent ({}). Check the channel.",
                format::escape(&reason)
            ),
        )),
    }
}

/// 24 hexadecimal characters, the same for the same interaction: a test that is sent again posts nothing twice.
fn nonce(channel: u64, killmail: u64, interaction: u64) -> String {
    let mut hash = Sha256::new();
    hash.update(b"test");
    for number in [channel, killmail, interaction] {
        hash.update(number.to_be_bytes());
    }
    hash.finalize()
        .iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
