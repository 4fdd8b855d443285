//! `/killfeed`: what each subcommand, button and form does and says. One file per subcommand; what they share is in `options`
//! (options → a subscription), `format` (how things are said), `describe` (what a subscription will do) and `access` (whose
//! channels somebody may know of).

mod check;
mod complete;
mod describe;
mod edit;
mod export;
mod forget;
mod help;
mod import;
mod list;
mod pause;
mod preview;
mod registration;
mod access;
mod status;
mod subscribe;
mod test;
mod unsubscribe;
mod why;
mod options;
mod format;

use std::sync::Arc;

pub(super) use complete::complete;
pub(super) use registration::registration;

use super::{
    api::GetError,
    guild_directory::GuildDirectory,
    interactions::{BAD, CommandOptions, InteractionClient, InteractionResponse, Invocation, InvocationKind, Reply},
};
use crate::{
    commands::{Actor, ChangeError, Commands, QueryError, Unavailable},
    database::StorageError,
    subscriptions::{Subscription, SubscriptionSource},
};

/// What the commands stand on.
pub(super) struct CommandContext<'a> {
    pub(super) commands: &'a dyn Commands,
    pub(super) world: GuildDirectory,
    pub(super) answers: &'a InteractionClient,
    /// Another process answered an interaction of this one's shards.
    pub(super) foreign: bool,
}

/// Why a command ends before its end.
enum CommandError {
    /// The reply that says why.
    Say(Box<Reply>),
    /// The process must end.
    Storage(StorageError),
}

type CommandResult = Result<InteractionResponse, CommandError>;

/// Carries it out. `Err` = the process must end.
pub(super) async fn answer(desk: &CommandContext<'_>, call: &Invocation) -> Result<InteractionResponse, StorageError> {
    let done = match &call.what {
        InvocationKind::Command(given) => command(desk, call, given).await,
        InvocationKind::Button { custom_id, shown } => button(desk, call, custom_id, shown).await,
        InvocationKind::Form { custom_id, inputs } => {
            match custom_id.strip_prefix("kf:form:").and_then(|id| id.parse().ok()) {
                Some(id) => edit::form(desk, call, id, inputs).await,
                None => Err(outdated()),
            }
        }
        InvocationKind::Autocomplete(..) => Ok(InteractionResponse::Choices(complete(desk, call).await)),
    };
    match done {
        Ok(answer) => Ok(answer),
        Err(CommandError::Say(reply)) => Ok(InteractionResponse::Say(*reply)),
        Err(CommandError::Storage(error)) => Err(error),
    }
}

/// Whether it takes its turn in the guild.
pub(super) fn changes(call: &Invocation) -> bool {
    match &call.what {
        InvocationKind::Command(given) => matches!(
            given.subcommand.as_str(),
            "subscribe" | "unsubscribe" | "pause" | "resume" | "edit" | "import" | "forget"
        ),
        InvocationKind::Button { custom_id, .. } => {
            !custom_id.starts_with("kf:list:") && !custom_id.starts_with("kf:edit:")
        }
        InvocationKind::Form { .. } => true,
        InvocationKind::Autocomplete(..) => false,
    }
}

/// Whether the answer comes in place of the message whose button was pressed: it is deferred in another way.
pub(super) fn updates(call: &Invocation) -> bool {
    let InvocationKind::Button { custom_id, .. } = &call.what else {
        return false;
    };
    !custom_id.starts_with("kf:sub:")
}

/// For guilds that are not among NOTIFIER_GUILDS.
pub(super) fn not_served() -> Reply {
    let text = "This bot works only in servers chosen by its operator, and this server is not one of them.";
    Reply::new(BAD, "Not available here", text)
}

pub(super) fn took_too_long() -> Reply {
    Reply::new(
        BAD,
        "Timed out",
        "This took longer than Discord waits for an answer. `/killfeed list` shows the current state.",
    )
}

async fn command(desk: &CommandContext<'_>, call: &Invocation, given: &CommandOptions) -> CommandResult {
    if given.command != "killfeed" {
        return Err(outdated());
    }
    match given.subcommand.as_str() {
        "subscribe" => subscribe::subscribe(desk, call, given).await,
        "unsubscribe" => unsubscribe::unsubscribe(desk, call, given).await,
        "pause" => pause::pause(desk, call, given, true).await,
        "resume" => pause::pause(desk, call, given, false).await,
        "edit" => edit::edit(desk, call, given).await,
        "list" => list::list(desk, call, given).await,
        "preview" => preview::preview(desk, call, given).await,
        "why" => why::why(desk, call, given).await,
        "test" => test::test(desk, call, given).await,
        "status" => status::status(desk, call).await,
        "check" => check::check(desk, call, given).await,
        "export" => export::export(desk, call).await,
        "import" => import::import(desk, call, given).await,
        "forget" => Ok(forget::ask(desk, call)),
        "help" => Ok(help::help()),
        _ => Err(outdated()),
    }
}

async fn button(desk: &CommandContext<'_>, call: &Invocation, custom_id: &str, shown: &str) -> CommandResult {
    let mut parts = custom_id.splitn(3, ':');
    let (Some("kf"), Some(verb)) = (parts.next(), parts.next()) else {
        return Err(outdated());
    };
    let rest = parts.next().unwrap_or_default();
    let numbers: Vec<u64> = rest.split(':').map_while(|number| number.parse().ok()).collect();
    match (verb, numbers.as_slice()) {
        ("list", [channel, page]) => list::page(desk, call, *channel, *page).await,
        ("pause", [id, channel, page]) => list::pause(desk, call, *id, true, (*channel, *page)).await,
        ("resume", [id, channel, page]) => list::pause(desk, call, *id, false, (*channel, *page)).await,
        ("edit", [id, ..]) => edit::open_form(desk, call, *id).await,
        ("remove", [id, channel, page]) => unsubscribe::ask(desk, call, *id, (*channel, *page)).await,
        ("removed", [id, channel, page]) => unsubscribe::confirmed(desk, call, *id, (*channel, *page)).await,
        ("removeall", [channel]) => unsubscribe::all_confirmed(desk, call, *channel).await,
        ("keep", []) => Ok(InteractionResponse::Update(Reply::new(
            super::interactions::GOOD,
            "Kept",
            "Nothing was changed.",
        ))),
        ("without", [id, part]) => edit::without(desk, call, *id, *part).await,
        ("use", [id, warning, suggestion, ..]) => {
            let of = rest.rsplit(':').next().unwrap_or_default();
            edit::take_suggestion(desk, call, *id, (*warning, *suggestion), of).await
        }
        ("sub", _) => subscribe::from_preview(desk, call, rest, shown).await,
        ("forget", []) => forget::confirmed(desk, call).await,
        _ => Err(outdated()),
    }
}

/// A button or command of another version.
fn outdated() -> CommandError {
    say(
        "Outdated",
        "This button or command belongs to another version of the bot. Run the command again.",
    )
}

/// Builds a reply that ends a command early.
fn say(title: &str, text: impl Into<String>) -> CommandError {
    CommandError::Say(Box::new(Reply::new(BAD, title, text)))
}

fn by(desk: &CommandContext<'_>, call: &Invocation) -> Actor {
    Actor {
        user: call.user,
        source: SubscriptionSource::Command,
        now: desk.commands.now(),
    }
}

/// The subscription of an id that a button carries. Who could see its channel when the button was shown may not see it any more.
async fn by_id(desk: &CommandContext<'_>, call: &Invocation, id: u64) -> Result<Arc<Subscription>, CommandError> {
    let all = desk.commands.subscriptions(call.guild);
    let found = all.into_iter().find(|one| one.id.0 == id);
    let found = found.ok_or_else(|| {
        say(
            "Subscription not found",
            "This subscription no longer exists. Nothing was changed.",
        )
    })?;
    if access::ChannelAccess::of(desk, call, &found).await?.can_see(&found) {
        Ok(found)
    } else {
        Err(access::not_yours())
    }
}

impl From<StorageError> for CommandError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<Unavailable> for CommandError {
    fn from(away: Unavailable) -> Self {
        let text = format!(
            "{}. Nothing was changed; try again in a minute.",
            format::capitalised(&format::escape(&away.0))
        );
        say("Not available now", text)
    }
}

impl From<QueryError> for CommandError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Unavailable(away) => away.into(),
            QueryError::Rejected(reason) => say("Search not possible", format::too_much(&reason)),
        }
    }
}

impl From<ChangeError> for CommandError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Storage(error) => Self::Storage(error),
            other => {
                let text = format::capitalised(&format::escape(&other.to_string()));
                say("Nothing was changed", format!("{text}."))
            }
        }
    }
}

impl From<GetError> for CommandError {
    fn from(error: GetError) -> Self {
        let text = format!(
            "Discord did not report the permissions of this server ({}). Nothing was changed; try again in a minute.",
            format::escape(&error.to_string())
        );
        say("Discord did not answer", text)
    }
}
