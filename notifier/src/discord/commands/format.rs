//! The wording that replies share: escaped, short, the same everywhere.

use killfeed::v1::{CompileFilterResponse, Diagnostic};

use crate::{
    commands::export,
    render::text,
    sink::Destination,
    subscriptions::{MaxAge, PING_MAX_AGE, Ping, Side, SubscriptionSpec},
};

pub(super) use text::grouped as number;

/// Longer filters are shown in part.
const SHOWN: usize = 1_200;
const SHOWN_IN_FIELD: usize = 1_000;
/// How many warnings a reply shows.
pub(super) const WARNINGS: usize = 4;
/// Longer suggestions of warnings are cut.
const SUGGESTION: usize = 80;
/// What a line of a code block shows without breaking, on a desktop.
const LINE: usize = 90;

/// Text of others without markdown and anything that hides or reorders it.
pub(super) fn escape(name: &str) -> String {
    escaped(name, 200)
}

/// Every sign that could mean something to Discord, but no more: a filter as a name should stay readable.
fn escaped(text: &str, limit: usize) -> String {
    let plain = text::plain(text, limit);
    let mut shown = String::with_capacity(plain.len() + 8);
    for (index, c) in plain.char_indices() {
        let special = matches!(
            c,
            '\\' | '*' | '_' | '~' | '`' | '|' | '<' | '>' | '#' | '[' | ']' | '@'
        );
        // A link is one only with its `://`; `-` begins a list only at the beginning.
        if special || plain[index..].starts_with("://") || (index == 0 && matches!(c, '-' | '+')) {
            shown.push('\\');
        }
        shown.push(c);
    }
    shown
}

/// Sentences with names of others in them: whole, and as harmless.
pub(super) fn plain_sentences(sentences: &str) -> String {
    escaped(sentences, 1_500)
}

/// A name in bold.
pub(super) fn bold(name: &str) -> String {
    format!("**{}**", escape(name))
}

/// Text in a code block, whole as far as that is reasonable.
pub(super) fn block(filter: &str) -> String {
    block_of(filter, SHOWN)
}

/// The same for a field, which has less room: one whose end is cut off would be no block.
pub(super) fn short_block(filter: &str) -> String {
    block_of(filter, SHOWN_IN_FIELD)
}

fn block_of(filter: &str, shown: usize) -> String {
    if filter.is_empty() {
        return "```\n(everything)\n```".to_owned();
    }
    format!("```\n{}\n```", harmless(&text::cut(filter, shown)))
}

/// Text inside of a line, as code.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", harmless(&text::cut(text, 300)).replace('`', "ˋ"))
}

/// Three backticks would end a code block.
fn harmless(text: &str) -> String {
    text.replace("```", "ˋˋˋ")
}

/// The filter in a code block with a caret under the first character of what is wrong, the reason, and suggestions.
pub(super) fn wrong(filter: &str, diagnostics: &[Diagnostic]) -> String {
    let Some(first) = diagnostics.first() else {
        return format!("{}The filter was rejected without a reason.", block(filter));
    };
    let start = usize::try_from(first.start).unwrap_or(usize::MAX).min(filter.len());
    let before = filter.get(..start).unwrap_or(filter).chars().count();
    let characters: Vec<char> = filter.chars().collect();
    // Of a long filter only what is around the place, so that the caret stands where it belongs.
    let from = if characters.len() <= LINE {
        0
    } else {
        before.saturating_sub(LINE / 2)
    };
    let to = characters.len().min(from + LINE);
    let part: String = characters.get(from..to).unwrap_or_default().iter().collect();
    let (head, tail) = (
        if from > 0 { "…" } else { "" },
        if to < characters.len() { "…" } else { "" },
    );
    let indent = " ".repeat(before - from + head.chars().count());
    let mut said = format!("```\n{head}{}{tail}\n{indent}^\n```", part.replace('`', "ˋ"));
    for diagnostic in diagnostics.iter().take(5) {
        said.push_str(&format!("{}\n", capitalised(&escape(&diagnostic.message))));
        if !diagnostic.suggestions.is_empty() {
            let suggestions: Vec<String> = diagnostic.suggestions.iter().take(5).map(|one| code(one)).collect();
            said.push_str(&format!("Did you mean {}?\n", suggestions.join(" or ")));
        }
    }
    said
}

/// Returns the first warnings about a valid filter, each with the filters that may have been meant.
pub(super) fn warnings(meaning: &CompileFilterResponse) -> Vec<String> {
    let warning = |warning: &Diagnostic| {
        let message = capitalised(escape(&warning.message).trim_end_matches('.'));
        // A suggestion is a whole filter, and one field has to hold all warnings.
        let suggestions = warning.suggestions.iter().take(2);
        let suggestions: Vec<String> = suggestions.map(|one| code(&text::cut(one, SUGGESTION))).collect();
        if suggestions.is_empty() {
            format!("{message}.")
        } else {
            format!("{message}. Did you mean {}?", suggestions.join(" or "))
        }
    };
    meaning.warnings.iter().take(WARNINGS).map(warning).collect()
}

/// Explains why an ingestor does not search for a filter together with `us`, each of which is valid.
pub(super) fn too_much(reason: &str) -> String {
    format!(
        "The filter and `us` cannot be searched together: {}. Posts are not affected. To see matches, shorten the filter or `us`.",
        escape(reason)
    )
}

pub(super) fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}

/// Returns a moment that Discord shows in the reader's own time. 0 = never.
pub(super) fn ago(ms: u64) -> String {
    match ms {
        0 => "never".to_owned(),
        _ => format!("<t:{}:R>", ms / 1_000),
    }
}

/// Returns `18:02` in EVE time, with its date if that is not today.
pub(super) fn clock(ms: u64, now: u64) -> String {
    let shown = text::eve_time(i64::try_from(ms / 1_000).unwrap_or(0));
    match shown.split_once(' ') {
        Some((_, time)) if ms / 86_400_000 == now / 86_400_000 => time.to_owned(),
        _ => shown,
    }
}

/// `14 minutes`, `3 hours`, `24 hours`.
pub(super) fn span(ms: u64) -> String {
    let minutes = (ms + 30_000) / 60_000;
    match minutes {
        0 => "minute".to_owned(),
        1 => "1 minute".to_owned(),
        2..=119 => format!("{minutes} minutes"),
        _ => format!("{} hours", (minutes + 30) / 60),
    }
}

/// `1 match`, `2 matches`.
pub(super) fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { several })
}

pub(super) fn channel(destination: &Destination) -> String {
    match destination {
        Destination::Channel(id) => format!("<#{id}>"),
        Destination::Webhook(id) => format!("webhook {id}"),
    }
}

/// Returns the target of a ping, which is named but not pinged.
pub(super) fn ping(ping: Ping) -> String {
    match ping {
        Ping::Here => "@here".to_owned(),
        Ping::Everyone => "@everyone".to_owned(),
        Ping::Role(id) => format!("<@&{id}>"),
    }
}

/// Ages, style and ping of a subscription, one a line.
pub(super) fn manner(wish: &SubscriptionSpec, default_max_age: std::time::Duration) -> String {
    let mut lines = Vec::new();
    if !wish.us.is_empty() {
        let side = match wish.side {
            Side::Both => "kills and losses",
            Side::Kills => "kills only",
            Side::Losses => "losses only",
        };
        lines.push(format!("Us: {} ({side})", code(&wish.us)));
    }
    let age = match wish.max_age {
        MaxAge::Default => format!("up to {} old (default)", export::duration(default_max_age)),
        MaxAge::Limit(limit) => format!("up to {} old", export::duration(limit)),
        MaxAge::Unlimited => "of any age".to_owned(),
    };
    lines.push(format!("Style: {} · Kills {age}", wish.style.word()));
    match wish.ping {
        Some(target) => lines.push(format!(
            "Ping: {}, for kills up to {} old",
            ping(target),
            export::duration(wish.ping_max_age.unwrap_or(PING_MAX_AGE))
        )),
        None => lines.push("Ping: none".to_owned()),
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(start: u32) -> Diagnostic {
        Diagnostic {
            message: "no system is called Jia".into(),
            start,
            end: start + 3,
            suggestions: vec!["Jita".into()],
        }
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        let said = wrong("é system:Jia", &[diagnostic(10)]);
        assert_eq!(
            said,
            "```\né system:Jia\n         ^\n```No system is called Jia\nDid you mean `Jita`?\n"
        );
        let long = format!("{} system:Jia {}", "npc ".repeat(50), "solo ".repeat(50));
        let said = wrong(&long, &[diagnostic(208)]);
        let lines: Vec<&str> = said.lines().collect();
        let column = lines[2].chars().position(|c| c == '^').unwrap();
        let shown: Vec<char> = lines[1].chars().collect();
        assert_eq!(shown[column..column + 3].iter().collect::<String>(), "Jia");
        assert!(shown[0] == '…' && *shown.last().unwrap() == '…');
        // At the end of the text, and in one that would end the block.
        assert!(wrong("npc AND", &[diagnostic(7)]).contains("npc AND\n       ^"));
        assert!(!wrong("```", &[diagnostic(0)])[4..].starts_with("```"));
    }

    #[test]
    fn warnings_name_what_may_be_meant() {
        let warning = |message: &str, suggestions: &[&str]| Diagnostic {
            message: message.to_owned(),
            suggestions: suggestions.iter().map(|one| (*one).to_owned()).collect(),
            ..Diagnostic::default()
        };
        let meaning = CompileFilterResponse {
            warnings: vec![
                warning("this is odd", &[]),
                warning("so is this.", &["npc", "solo", "war"]),
            ],
            ..CompileFilterResponse::default()
        };
        assert_eq!(
            warnings(&meaning),
            ["This is odd.", "So is this. Did you mean `npc` or `solo`?"]
        );
    }

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(counted(1, "match", "matches"), "1 match");
        assert_eq!(
            (span(14 * 60_000), span(86_400_000)),
            ("14 minutes".to_owned(), "24 hours".to_owned())
        );
        assert_eq!(clock(18 * 3_600_000 + 120_000, 20 * 3_600_000), "18:02");
        assert_eq!(clock(0, 86_400_000), "1970-01-01 00:00");
    }

    #[test]
    fn nothing_of_others_does_harm() {
        assert_eq!(escape("@everyone **x** \u{202e}y"), r"\@everyone \*\*x\*\* y");
        assert_eq!(code("a`b"), "`aˋb`");
        assert_eq!(block("``` x").matches("```").count(), 2);
    }
}
