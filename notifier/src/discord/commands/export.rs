//! `export`: all subscriptions of the server that the invoker may know of, as a file that `import` takes.

use super::{CommandContext, CommandResult, access::ChannelAccess, format};
use crate::{
    commands::export as file,
    discord::interactions::{Attachment, GOOD, InteractionResponse, Invocation, Reply},
};

pub(super) async fn export(desk: &CommandContext<'_>, call: &Invocation) -> CommandResult {
    let (seen, all) = ChannelAccess::all(desk, call).await?;
    let count = all.len();
    let visible: Vec<_> = all.into_iter().filter(|one| seen.can_see(one)).collect();
    let mut text = format!(
        "The file has {}. `/killfeed import` restores it.",
        format::counted(visible.len() as u64, "subscription", "subscriptions")
    );
    if visible.len() < count {
        text.push_str(&format!(
            "\n**{}** in channels that you cannot see: not included.",
            count - visible.len()
        ));
    }
    let mut reply = Reply::new(GOOD, "Export", text);
    reply.file = Some(Attachment {
        name: format!("killfeed-{}.json", call.guild),
        text: file::json(visible.iter().map(AsRef::as_ref)),
    });
    Ok(InteractionResponse::Say(reply))
}
