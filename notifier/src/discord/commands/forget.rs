//! `forget`: everything kept about the server, deleted, after a button.

use super::{CommandContext, CommandResult, format, import::channels};
use crate::discord::interactions::{Button, ButtonStyle, CAREFUL, GOOD, InteractionResponse, Invocation, Reply};

pub(super) fn ask(desk: &CommandContext<'_>, call: &Invocation) -> InteractionResponse {
    let count = desk.commands.subscriptions(call.guild).len();
    let text = format!(
        "This deletes everything stored about this server, also from the operator's daily copies: {}, the names of the authors, \
         queued posts, and the record of past posts. You cannot undo this. To keep your subscriptions, use `/killfeed export` first.",
        format::counted(count as u64, "subscription", "subscriptions")
    );
    InteractionResponse::Say(Reply::new(CAREFUL, "Forget this server?", text).row([
        Button::new(ButtonStyle::Danger, "Delete everything", "kf:forget:"),
        Button::new(ButtonStyle::Plain, "Keep it", "kf:keep"),
    ]))
}

pub(super) async fn confirmed(desk: &CommandContext<'_>, call: &Invocation) -> CommandResult {
    let mut known = channels(&desk.commands.subscriptions(call.guild));
    let mut careful = Vec::new();
    // Outcomes are kept for channels whose subscriptions are gone, too.
    match desk.world.view(call.guild, &[]).await {
        Ok(view) => known.extend(view.channels.keys()),
        Err(error) => careful.push(format!(
            "Discord did not list this server's channels ({}). Records of posts in channels without subscriptions are kept for up to \
             7 days. To delete them sooner, try again.",
            format::escape(&error.to_string())
        )),
    }
    let forgotten = desk.commands.forget(call.guild, known).await?;
    tracing::info!(
        guild = call.guild,
        user = call.user,
        removed = forgotten.subscriptions,
        "guild forgotten on request"
    );
    let count = format::counted(forgotten.subscriptions as u64, "subscription", "subscriptions");
    let mut text = format!("Deleted {count} and everything else stored about this server");
    match forgotten.copies {
        Ok(()) => text.push_str(", also from the daily copies."),
        Err(error) => {
            text.push('.');
            careful.push(format!(
                "The operator's daily copies could not be rewritten ({}) and still have the subscriptions. Each copy is deleted after \
                 7 days. To remove them sooner, try again or ask the operator.",
                format::escape(&error)
            ));
        }
    }
    let color = if careful.is_empty() { GOOD } else { CAREFUL };
    let reply = Reply::new(color, "Forgotten", text).field("Not deleted", careful.join("\n"));
    Ok(InteractionResponse::Update(reply))
}
