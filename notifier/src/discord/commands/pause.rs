//! `pause` and `resume`: one by its name, or all of the channel.

use super::{CommandContext, CommandResult, access, by, format, say, unsubscribe};
use crate::discord::interactions::{CommandOptions, GOOD, InteractionResponse, Invocation, Reply};

pub(super) async fn pause(
    desk: &CommandContext<'_>,
    call: &Invocation,
    given: &CommandOptions,
    paused: bool,
) -> CommandResult {
    let name = given.text("name").unwrap_or_default();
    let names = if name.trim() == "*" {
        unsubscribe::names_here(desk, call).await?
    } else {
        let (_, subscription) = access::named(desk, call, name).await?;
        vec![subscription.spec.name.clone()]
    };
    if names.is_empty() {
        return Err(say("No subscriptions", "This channel has no subscriptions."));
    }
    let changed = desk
        .commands
        .set_paused(call.guild, &names, paused, by(desk, call))
        .await?;
    tracing::info!(
        guild = call.guild,
        user = call.user,
        paused,
        count = changed.len(),
        "paused or resumed"
    );
    let shown: Vec<String> = changed
        .iter()
        .take(20)
        .map(|one| format::bold(&one.spec.name))
        .collect();
    let more = changed.len().saturating_sub(shown.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let shown = format!("{}{more}", shown.join(", "));
    let (title, text) = match (paused, changed.is_empty()) {
        (true, true) => ("Already paused", "Nothing was changed.".to_owned()),
        (false, true) => ("Not paused", "Nothing was changed.".to_owned()),
        (true, false) => (
            "Paused",
            format!(
                "Paused {shown}. Queued posts were discarded, and kills that happen during the pause will not be posted later."
            ),
        ),
        (false, false) => (
            "Resumed",
            format!("Resumed {shown}. Kills that happened during the pause will not be posted."),
        ),
    };
    Ok(InteractionResponse::Say(Reply::new(GOOD, title, text)))
}
