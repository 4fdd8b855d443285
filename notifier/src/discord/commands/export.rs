//! `export`: all subscriptions of the server that the invoker may know of, as a file that `import` takes.

use super::{Desk, Done, seen::Seen, words};
use crate::{
    commands::export as file,
    discord::interactions::{Answer, Call, File, GOOD, Reply},
};

pub(super) async fn export(desk: &Desk<'_>, call: &Call) -> Done {
    let (seen, all) = Seen::all(desk, call).await?;
    let count = all.len();
    let visible: Vec<_> = all.into_iter().filter(|one| seen.sees(one)).collect();
    let mut text = format!(
        "{} in the file. `/killfeed import` takes it.",
        words::counted(visible.len() as u64, "subscription", "subscriptions")
    );
    if visible.len() < count {
        text.push_str(&format!(
            "\n**{}** in channels that you cannot see are left out.",
            count - visible.len()
        ));
    }
    let mut reply = Reply::new(GOOD, "Export", text);
    reply.file = Some(File {
        name: format!("killfeed-{}.json", call.guild),
        text: file::json(visible.iter().map(AsRef::as_ref)),
    });
    Ok(Answer::Say(reply))
}
