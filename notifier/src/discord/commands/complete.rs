//! What could be typed: the token at the end of a filter, names of subscriptions, ping targets. Never late: who calls this
//! takes an empty list instead.

mod token;

use std::collections::BTreeMap;

use killfeed::{
    filter::{kind_word, participant_kind},
    v1::{Entity, EntityKind, Filter, filter_node::Node},
};

use super::{CommandContext, access::ChannelAccess};
use crate::{
    commands::filters,
    discord::interactions::{Choice, Invocation, InvocationKind},
    subscriptions::Subscription,
};
use token::{Candidates, PartialToken};

/// Discord's limits.
const CHOICES: usize = 25;
const LENGTH: usize = 100;

/// What is offered where nothing was typed and nobody in the guild uses anything of the kind yet.
const POPULAR: [(EntityKind, &[&str]); 4] = [
    (
        EntityKind::Group,
        &[
            "Titan",
            "Supercarrier",
            "Dreadnought",
            "Carrier",
            "Force Auxiliary",
            "Marauder",
            "Black Ops",
            "Capsule",
            "Interdictor",
        ],
    ),
    (
        EntityKind::Category,
        &["Ship", "Structure", "Starbase", "Deployable", "Fighter"],
    ),
    (
        EntityKind::Region,
        &[
            "The Forge",
            "Delve",
            "Devoid",
            "Black Rise",
            "Pochven",
            "Geminate",
            "Catch",
        ],
    ),
    (
        EntityKind::System,
        &["Jita", "Amarr", "Perimeter", "Tama", "Turnur", "Ahbazon", "Uedama"],
    ),
];

/// For the option that is being typed.
pub(in crate::discord) async fn complete(desk: &CommandContext<'_>, call: &Invocation) -> Vec<Choice> {
    let InvocationKind::Autocomplete(given, option, text) = &call.what else {
        return Vec::new();
    };
    match option.as_str() {
        "filter" | "add" => filter(desk, call, text, false).await,
        "us" => filter(desk, call, text, true).await,
        "name" => names(desk, call, &given.subcommand, text).await,
        "ping" => pings(desk, call, text).await,
        _ => Vec::new(),
    }
}

async fn filter(desk: &CommandContext<'_>, call: &Invocation, text: &str, us: bool) -> Vec<Choice> {
    let text = filters::clean_start(text);
    let token = PartialToken::at_end(&text, us);
    let whole = if us {
        format!("attacker({})", text.trim())
    } else {
        text.trim().to_owned()
    };
    let (compiles, values) = tokio::join!(
        async {
            if text.trim().is_empty() {
                return false;
            }
            desk.commands
                .describe(&whole)
                .await
                .is_ok_and(|meaning| meaning.filter.is_some())
        },
        values(desk, call, &token)
    );
    let typed = text.trim();
    let mut choices = Vec::new();
    if compiles && fits(typed) {
        choices.push(Choice {
            name: typed.to_owned(),
            value: typed.to_owned(),
        });
    }
    let mut too_long = text.encode_utf16().count() > LENGTH;
    for (value, note) in values {
        let completed = format!("{}{value}", token.before);
        if !fits(&completed) {
            too_long = true;
            continue;
        }
        if choices.iter().any(|choice| choice.value == completed) {
            continue;
        }
        choices.push(Choice {
            name: shown(&completed, &note),
            value: completed,
        });
    }
    if choices.is_empty() && too_long {
        choices.push(too_long_for_discord(typed));
    }
    choices.truncate(CHOICES);
    choices
}

/// Discord takes no choice over 100 characters: the rest goes in by `edit`.
fn too_long_for_discord(typed: &str) -> Choice {
    // What does not fit is not cut, which would be another filter: chosen, it says that it is none.
    let value = if fits(typed) {
        typed
    } else {
        "@too_long: subscribe to the first part, then /killfeed edit add:"
    };
    Choice {
        name: "Too long to complete: subscribe to the first part, then add the rest with /killfeed edit add".to_owned(),
        value: value.to_owned(),
    }
}

/// What could stand for the token, best first, each with a note.
async fn values(desk: &CommandContext<'_>, call: &Invocation, token: &PartialToken) -> Vec<(String, String)> {
    match &token.wanted {
        Candidates::Words(words) => words.clone(),
        Candidates::Name { kind, typed, close } => {
            let mut found: Vec<(String, String)> = Vec::new();
            let used = used(&desk.commands.subscriptions(call.guild), &desk.commands.all(), *kind);
            let folded = killfeed::filter::fold(typed);
            let fitting = |name: &str| killfeed::filter::fold(name).starts_with(&folded);
            let mut add = |name: &str, note: String| {
                let value = format!("{}{close}", killfeed::filter::name(name));
                if !found.iter().any(|(known, _)| *known == value) {
                    found.push((value, note));
                }
            };
            for name in used.iter().filter(|name| fitting(name)).take(5) {
                add(name, format!("{}, used here", kind_word(*kind)));
            }
            if typed.trim().is_empty() {
                let popular = POPULAR
                    .iter()
                    .find(|(of, _)| of == kind)
                    .map_or(&[][..], |(_, names)| names);
                for name in popular {
                    add(name, kind_word(*kind).to_owned());
                }
                return found;
            }
            let entities = desk.commands.search(typed, &[*kind], CHOICES).await.unwrap_or_default();
            for entity in entities {
                let note = note(&entity);
                add(&entity.name, note);
            }
            found
        }
    }
}

/// Names of a kind in the filters of these subscriptions: those of the guild, newest first, then the commonest of all.
fn used(guild: &[std::sync::Arc<Subscription>], all: &[std::sync::Arc<Subscription>], kind: EntityKind) -> Vec<String> {
    let mut recent: Vec<&std::sync::Arc<Subscription>> = guild.iter().collect();
    recent.sort_by_key(|one| std::cmp::Reverse(one.changed.1));
    let mut names: Vec<String> = Vec::new();
    for one in recent {
        for name in names_in(one, kind) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    // What everybody can name is no secret of another guild; what pilots and corporations they watch is.
    let public = !matches!(
        kind,
        EntityKind::Character | EntityKind::Corporation | EntityKind::Alliance
    );
    if public {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for one in all.iter().take(5_000) {
            for name in names_in(one, kind) {
                *counts.entry(name).or_default() += 1;
            }
        }
        let mut common: Vec<_> = counts
            .into_iter()
            .filter(|(name, count)| *count > 1 && !names.contains(name))
            .collect();
        common.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        names.extend(common.into_iter().take(10).map(|(name, _)| name));
    }
    names
}

fn names_in(one: &Subscription, kind: EntityKind) -> Vec<String> {
    let Some(compiled) = &one.compiled else {
        return Vec::new();
    };
    let trees = [&compiled.filter, &compiled.victim_is_us];
    trees
        .into_iter()
        .flatten()
        .flat_map(|tree| names_of(tree, kind))
        .collect()
}

fn names_of(tree: &Filter, kind: EntityKind) -> Vec<String> {
    let mut names = Vec::new();
    for node in &tree.nodes {
        let (of, values) = match &node.node {
            Some(Node::Participant(one)) => (participant_kind(one.field()), &one.values[..]),
            Some(Node::Item(one)) => (one.kind(), &one.values[..]),
            Some(Node::Place(one)) => (one.kind(), &one.values[..]),
            Some(Node::Near(one)) => (EntityKind::System, one.origin.as_slice()),
            _ => continue,
        };
        if of == kind {
            names.extend(
                values
                    .iter()
                    .map(|value| value.text.clone())
                    .filter(|text| !text.is_empty() && !text.contains('*')),
            );
        }
    }
    names
}

async fn names(desk: &CommandContext<'_>, call: &Invocation, subcommand: &str, typed: &str) -> Vec<Choice> {
    let Ok((seen, all)) = ChannelAccess::all(desk, call).await else {
        return Vec::new();
    };
    let folded = typed.trim().to_lowercase();
    let mut choices = Vec::new();
    if matches!(subcommand, "unsubscribe" | "pause" | "resume") && (folded.is_empty() || folded == "*") {
        choices.push(Choice {
            name: "* all in this channel".to_owned(),
            value: "*".to_owned(),
        });
    }
    let mut fitting: Vec<_> = all
        .iter()
        .filter(|one| one.spec.name.to_lowercase().contains(&folded) && seen.can_see(one))
        // Only what can have an effect.
        .filter(|one| match subcommand {
            "pause" => !one.spec.paused,
            "resume" => one.spec.paused,
            _ => true,
        })
        .collect();
    fitting.sort_by_key(|one| !one.spec.name.to_lowercase().starts_with(&folded));
    choices.extend(fitting.into_iter().map(|one| Choice {
        name: crate::render::text::plain(&one.spec.name, LENGTH),
        value: one.spec.name.clone(),
    }));
    choices.retain(|choice| fits(&choice.value) && !choice.name.is_empty());
    choices.truncate(CHOICES);
    choices
}

async fn pings(desk: &CommandContext<'_>, call: &Invocation, typed: &str) -> Vec<Choice> {
    let Ok(seen) = ChannelAccess::with(desk, call, &[]).await else {
        return Vec::new();
    };
    let folded = typed.trim().trim_start_matches('@').to_lowercase();
    let own = ["here", "everyone", "none"]
        .into_iter()
        .map(|word| (word.to_owned(), word.to_owned()));
    // The role that everyone has carries the guild's id: it is `everyone`.
    let roles = seen.view.guild.roles.iter().filter(|role| role.id != call.guild);
    let mut roles: Vec<_> = roles
        .map(|role| (role.name.clone(), format!("role:{}", role.id)))
        .collect();
    roles.sort_by_key(|(name, _)| name.to_lowercase());
    own.chain(roles)
        .filter(|(name, value)| name.to_lowercase().contains(&folded) || value.starts_with(&folded))
        .map(|(name, value)| Choice {
            name: crate::render::text::plain(&name, LENGTH),
            value,
        })
        .filter(|choice| !choice.name.is_empty())
        .take(CHOICES)
        .collect()
}

fn fits(text: &str) -> bool {
    (1..=LENGTH).contains(&text.encode_utf16().count())
}

/// The text with its note; of a long one the end, which is what changes.
fn shown(text: &str, note: &str) -> String {
    let whole = if note.is_empty() {
        text.to_owned()
    } else {
        format!("{text}  ({note})")
    };
    let count = whole.encode_utf16().count();
    if count <= LENGTH {
        return whole;
    }
    let mut over = count - LENGTH + 1;
    let rest: String = whole
        .chars()
        .skip_while(|c| {
            let skip = over > 0;
            over = over.saturating_sub(c.len_utf16());
            skip
        })
        .collect();
    format!("…{rest}")
}

fn note(entity: &Entity) -> String {
    if entity.ticker.is_empty() {
        kind_word(entity.kind()).to_owned()
    } else {
        format!("{}, {}", kind_word(entity.kind()), entity.ticker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_end_is_shown() {
        let text = format!("{} alliance:\"Goonswarm Federation\"", "npc ".repeat(20));
        let shown = shown(text.trim(), "alliance, CONDI");
        assert_eq!(shown.encode_utf16().count(), LENGTH);
        assert!(
            shown.starts_with('…') && shown.ends_with("\"Goonswarm Federation\"  (alliance, CONDI)"),
            "{shown}"
        );
        assert!(fits("x") && !fits("") && !fits(&"x".repeat(101)) && !fits(&"🚀".repeat(51)));
    }

    #[test]
    fn what_does_not_fit_is_not_cut_into_another_filter() {
        let choice = too_long_for_discord(&"x".repeat(101));
        assert!(choice.value.starts_with('@') && fits(&choice.value) && fits(&choice.name));
        assert!(choice.name.contains("edit add"));
        assert_eq!(too_long_for_discord("npc").value, "npc");
    }
}
