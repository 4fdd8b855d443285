//! `forget`: everything kept about the server, deleted, after a button.

use super::{CommandContext, CommandResult, format, import::channels};
use crate::discord::interactions::{Button, ButtonStyle, CAREFUL, GOOD, InteractionResponse, Invocation, Reply};

pub(super) fn ask(desk: &CommandContext<'_>, call: &Invocation) -> InteractionResponse {
    let count = desk.commands.subscriptions(call.guild).len();
    let text = format!(
        "This deletes everything that is kept about this server: {}, what waits for its channels, what became of its killmails, \
         who made and changed what, and all of this in the operator's daily copies. It cannot be undone; `/killfeed export` keeps a copy.",
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
            "Discord did not say which channels there are ({}): what became of killmails in those that have no subscription any more is \
             kept for up to 7 days. To have it deleted before that, try again.",
            format::escape(&error.to_string())
        )),
    }
    let forgotten = desk.commands.forget(call.guild, known).await?;
    tracing::info!(
        guild = call.guild,
        user = call.user,
        removed = forgotten.subscriptions,
        "everything about a guild was deleted on request"
    );
    let count = format::counted(forgotten.subscriptions as u64, "subscription", "subscriptions");
    let mut text = format!("{count} and all that belonged to them are deleted");
    match forgotten.copies {
        Ok(()) => text.push_str(", from the daily copies too."),
        Err(error) => {
            text.push('.');
            careful.push(format!(
                "The operator's daily copies could not be rewritten ({}), and still have the subscriptions. They are kept for 7 days; \
                 to have them rewritten before that, try again or ask the operator.",
                format::escape(&error)
            ));
        }
    }
    let color = if careful.is_empty() { GOOD } else { CAREFUL };
    let reply = Reply::new(color, "Forgotten", text).field("Not all of it", careful.join("\n"));
    Ok(InteractionResponse::Update(reply))
}
