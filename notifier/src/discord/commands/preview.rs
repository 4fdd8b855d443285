//! `preview`: what a filter would have matched, with the newest killmails as they would look. Nothing is stored.

use killfeed::v1::Killmail;

use super::{CommandContext, CommandResult, access, describe, format, options, registration::MAX_HOURS, say};
use crate::{
    commands::filters,
    database::{CompiledRow, KillOutcome},
    discord::interactions::{
        Button, ButtonStyle, CAREFUL, CUSTOM_ID, CommandOptions, GOOD, InteractionResponse, Invocation, Reply,
    },
    matching,
    render::{self, PostItem},
    subscriptions::{
        PING_MAX_AGE, Snapshot, Style, Subscription, SubscriptionId, SubscriptionSource, SubscriptionSpec,
    },
};

const HOUR: u64 = 3_600_000;
/// How many are shown.
const SHOWN: usize = 3;

pub(super) async fn preview(desk: &CommandContext<'_>, call: &Invocation, given: &CommandOptions) -> CommandResult {
    let typed = given.text("filter").map(filters::clean);
    let (wish, known) = match (typed, given.text("name")) {
        (Some(filter), None) => {
            let mut wish = options::blank(call.guild, call.channel);
            wish.name = options::name_for(desk, call.guild, &filter);
            wish.filter = filter;
            (wish, None)
        }
        (None, Some(name)) => {
            let (_, subscription) = access::named(desk, call, name).await?;
            (subscription.spec.clone(), Some(subscription))
        }
        _ => {
            return Err(say(
                "Nothing to preview",
                "Give either a `filter` or the `name` of a subscription.",
            ));
        }
    };
    let hours = given
        .numbers
        .get("hours")
        .copied()
        .and_then(|hours| u64::try_from(hours).ok());
    let hours = hours.unwrap_or(24).clamp(1, MAX_HOURS);
    let (meaning, compiled) = options::compile(desk, &wish).await?;
    let counted = describe::count(desk, &wish, hours * HOUR).await?;
    let effective = filters::effective(&wish.filter, &wish.us, wish.side);
    let newest = desk.commands.newest(&effective, counted.since, SHOWN).await?;

    let warnings = format::warnings(&meaning);
    let title = known
        .as_ref()
        .map_or("Preview".to_owned(), |one| format!("Preview of {}", one.spec.name));
    let text = format!(
        "{}{}",
        format::block(&wish.filter),
        format::plain_sentences(&meaning.description)
    );
    let mut reply = Reply::new(if warnings.is_empty() { GOOD } else { CAREFUL }, &title, text)
        .field("How often", counted.say())
        .field("Note", warnings.join("\n"));
    if newest.is_empty() {
        reply = reply.footer("No matches in that time");
    } else {
        reply = reply.footer(&format!("The newest {}, as they would be posted", newest.len()));
    }
    let example = example(&wish, compiled);
    let items: Vec<PostItem<'_>> = newest
        .iter()
        .map(|killmail| item(&wish, Some(&example), killmail))
        .collect();
    let (message, _) = render::killmails(&items, &[]);
    reply.content = message.content;
    reply.embeds.extend(message.embeds);
    if known.is_none() {
        let carried = if wish.filter.is_empty() {
            "(everything)"
        } else {
            &wish.filter
        };
        let custom_id = format!("kf:sub:{carried}");
        // A filter that is too long for a button is read from the code block above.
        let fits = custom_id.encode_utf16().count() <= CUSTOM_ID;
        let custom_id = if fits { custom_id } else { "kf:sub:".to_owned() };
        reply = reply.row([Button::new(ButtonStyle::Primary, "Subscribe to this", custom_id)]);
    }
    Ok(InteractionResponse::Say(reply))
}

/// The wish as if it were a subscription, to be matched with.
pub(super) fn example(wish: &SubscriptionSpec, compiled: CompiledRow) -> Snapshot {
    let subscription = Subscription {
        id: SubscriptionId(1),
        spec: SubscriptionSpec {
            paused: false,
            style: Style::Full,
            ..wish.clone()
        },
        source: SubscriptionSource::Command,
        created: (0, 0),
        changed: (0, 0),
        active_from: 0,
        suspension: None,
        problem: String::new(),
        compiled: Some(compiled),
    };
    Snapshot::new([&subscription], PING_MAX_AGE)
}

/// The killmail as the wish would have it posted; without its `us` and distances where it has no trees.
pub(super) fn item<'a>(wish: &'a SubscriptionSpec, example: Option<&Snapshot>, killmail: &'a Killmail) -> PostItem<'a> {
    let active = example.and_then(|example| example.get(SubscriptionId(1)));
    let outcome = active.and_then(|active| matching::outcome(killmail, active));
    let system = killmail.location.as_ref().map_or(0, |location| location.system_id);
    PostItem {
        killmail,
        outcome: outcome.unwrap_or(KillOutcome::Neutral),
        style: wish.style,
        subscriptions: vec![wish.name.as_str()],
        distances: matching::distances(active, system),
    }
}
