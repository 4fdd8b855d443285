//! What a subscription will do: in English, how often it would have matched, how to cut the noise, and which permissions are missing.

use killfeed::v1::CompileFilterResponse;
use sha2::{Digest as _, Sha256};

use super::{CommandContext, access::ChannelAccess, format};
use crate::{
    commands::{QueryError, filters},
    discord::interactions::{Button, ButtonStyle, CAREFUL, GOOD, Reply},
    matching,
    sink::Destination,
    subscriptions::{MaxAge, Subscription, SubscriptionSpec},
};

pub(super) const DAY: u64 = 86_400_000;
/// More than this a day is a flood.
const FLOOD: f64 = 500.0;
/// A part that is smaller than this share gets no button of its own.
const SHARE: u64 = 10;

/// Kinds of killmails that people often do not want: singular, plural, the filter that finds them (CCP's ids, which are
/// never looked up), the term that leaves them out, and the label of the button that adds it.
pub(super) const PARTS: [(&str, &str, &str, &str, &str); 3] = [
    ("pod", "pods", "victim.group:29", "-victim.group:Capsule", "No pods"),
    ("NPC kill", "NPC kills", "npc", "NOT npc", "No NPC kills"),
    (
        "shuttle or corvette",
        "shuttles or corvettes",
        "victim.group:(31 OR 237)",
        "-victim.group:(Shuttle OR Corvette)",
        "No shuttles or corvettes",
    ),
];

/// How often a wish would have matched.
pub(super) struct MatchCounts {
    pub(super) all: u64,
    /// As [`PARTS`]; `None` = the filter has no room for one more term.
    pub(super) parts: [Option<u64>; PARTS.len()],
    /// The same.
    pub(super) too_old: Option<u64>,
    /// From when on it was counted.
    pub(super) since: u64,
    pub(super) until: u64,
    /// The log begins later than was asked for.
    pub(super) log_is_younger: bool,
}

/// Counts over the last `ms` of the log.
pub(super) async fn count(
    desk: &CommandContext<'_>,
    wish: &SubscriptionSpec,
    ms: u64,
) -> Result<MatchCounts, QueryError> {
    let until = desk.commands.now();
    let status = desk.commands.feed_status().await?;
    let begins = status.earliest_time.map(|time| matching::millis(&Some(time)));
    // An empty log has no beginning yet.
    let begins = begins.unwrap_or(until).min(until);
    let wanted = until.saturating_sub(ms);
    let since = wanted.max(begins);
    let effective = filters::effective(&wish.filter, &wish.us, wish.side);
    let limit = match wish.max_age {
        MaxAge::Default => Some(desk.commands.terms().max_age),
        MaxAge::Limit(limit) => Some(limit),
        MaxAge::Unlimited => None,
    };
    // What comes while this is counted is in neither number.
    let count = |term: &str| {
        let text = filters::and(&effective, term);
        async move { desk.commands.count(&text, since, until).await }
    };
    // A long filter is one without the term, and none with it.
    let some = |term: &str| {
        let counted = count(term);
        async move {
            match counted.await {
                Err(QueryError::Rejected(_)) => Ok(None),
                counted => counted.map(Some),
            }
        }
    };
    let part = |index: usize| some(PARTS[index].2);
    let older = async {
        match limit {
            Some(limit) => some(&format!("age>{}m", limit.as_secs().div_ceil(60))).await,
            None => Ok(Some(0)),
        }
    };
    let (all, capsules, npc, shuttles, too_old) = tokio::try_join!(count(""), part(0), part(1), part(2), older)?;
    Ok(MatchCounts {
        all,
        parts: [capsules, npc, shuttles],
        too_old,
        since,
        until,
        log_is_younger: begins > wanted,
    })
}

impl MatchCounts {
    /// Returns a sentence like `212 in the last 24 hours: 61 pods, 40 NPC kills.`
    pub(super) fn say(&self) -> String {
        let span = format::span(self.until.saturating_sub(self.since));
        let mut said = format!("{} in the last {span}", format::number(self.all));
        if self.log_is_younger {
            let since = format::clock(self.since, self.until);
            said = format!("{said} (the bot has only been listening since {since})");
        }
        let mut parts: Vec<String> = self
            .parts
            .iter()
            .zip(PARTS)
            .filter_map(|(count, part)| Some((count.filter(|count| *count > 0)?, part)))
            .map(|(count, (one, several, ..))| format::counted(count, one, several))
            .collect();
        if let Some(too_old) = self.too_old.filter(|count| *count > 0) {
            parts.push(format!("{} too old to be posted (max_age)", format::number(too_old)));
        }
        if self.parts.contains(&None) || self.too_old.is_none() {
            parts.push("the filter is too long to count pods and the like".to_owned());
        }
        if !parts.is_empty() {
            said = format!("{said}: {}", parts.join(", "));
        }
        said + "."
    }

    /// How many a day would be posted, if it goes on like that.
    pub(super) fn per_day(&self) -> f64 {
        let span = self.until.saturating_sub(self.since).max(60_000);
        // Counts and times of a week: far below what a float holds exactly.
        (self.all.saturating_sub(self.too_old.unwrap_or(0))) as f64 * DAY as f64 / span as f64
    }

    /// Returns a warning if it is too much to read. `has_buttons`: the reply has a button that makes it less.
    fn flood(&self, has_buttons: bool) -> Option<String> {
        let per_day = self.per_day();
        (per_day > FLOOD).then(|| {
            let count = format::number(per_day.round() as u64);
            let advice = if has_buttons { "" } else { " Make the filter narrower." };
            format!("About {count} posts a day. Too many?{advice}")
        })
    }
}

/// The whole reply about a subscription that was just stored.
pub(super) async fn reply(
    desk: &CommandContext<'_>,
    seen: &ChannelAccess<'_>,
    title: &str,
    subscription: &Subscription,
    meaning: &CompileFilterResponse,
) -> Reply {
    let wish = &subscription.spec;
    let id = subscription.id.0;
    let counted = count(desk, wish, DAY).await;
    let mut warnings = format::warnings(meaning);
    let mut buttons = Vec::new();
    let said = match &counted {
        Ok(counted) => {
            for (index, (count, (.., label))) in counted.parts.iter().zip(PARTS).enumerate() {
                let count = count.unwrap_or(0);
                // If all matches are of this kind, they are what is wanted.
                if count * 100 > counted.all * SHARE && count < counted.all {
                    buttons.push(Button::new(
                        ButtonStyle::Plain,
                        label,
                        format!("kf:without:{id}:{index}"),
                    ));
                }
            }
            warnings.extend(counted.flood(!buttons.is_empty()));
            counted.say()
        }
        Err(QueryError::Unavailable(away)) => format!(
            "{}, so matches cannot be counted now.",
            format::capitalised(&format::escape(&away.0))
        ),
        Err(QueryError::Rejected(reason)) => format::too_much(reason),
    };
    let mut suggestions = Vec::new();
    let of = fingerprint(&wish.filter);
    for (index, warning) in meaning.warnings.iter().enumerate().take(format::WARNINGS) {
        for (number, suggestion) in warning.suggestions.iter().enumerate().take(2) {
            let custom_id = format!("kf:use:{id}:{index}:{number}:{of}");
            suggestions.push(Button::new(
                ButtonStyle::Primary,
                &format!("Use {suggestion}"),
                custom_id,
            ));
        }
    }
    // A single suggestion is named just above its button.
    if let [only] = &mut suggestions[..] {
        only.label = "Use that".to_owned();
    }
    let channel = match wish.destination {
        Destination::Channel(channel) => channel,
        Destination::Webhook(_) => 0,
    };
    let lacking = seen.missing(channel, wish.ping);
    let suspended = subscription.suspension.as_ref().map(|suspension| {
        format!(
            "Nothing is posted in that channel now: {} ({})",
            format::escape(&suspension.reason),
            format::ago(suspension.since)
        )
    });
    let careful = !warnings.is_empty() || !lacking.is_empty() || suspended.is_some();
    let description = format!(
        "{} posts to {}:\n{}{}",
        format::bold(&wish.name),
        format::channel(&wish.destination),
        format::block(&wish.filter),
        format::plain_sentences(&meaning.description),
    );
    Reply::new(if careful { CAREFUL } else { GOOD }, title, description)
        .field("Settings", format::manner(wish, desk.commands.terms().max_age))
        .field("How often", said)
        .field("Note", warnings.join("\n"))
        .field("Missing permissions", lacking)
        .field("Suspended", suspended.unwrap_or_default())
        .field(
            "Paused",
            if wish.paused {
                "Nothing is posted until you use `/killfeed resume`."
            } else {
                ""
            },
        )
        .row(suggestions)
        .row(buttons)
}

/// Names a filter in a button: one that was changed meanwhile is another.
pub(super) fn fingerprint(filter: &str) -> String {
    let digest = Sha256::digest(filter.as_bytes());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_said_with_their_parts() {
        let mut counted = MatchCounts {
            all: 212,
            parts: [Some(61), Some(40), Some(12)],
            too_old: Some(9),
            since: DAY,
            until: 2 * DAY,
            log_is_younger: false,
        };
        assert_eq!(
            counted.say(),
            "212 in the last 24 hours: 61 pods, 40 NPC kills, 12 shuttles or corvettes, 9 too old to be posted (max_age)."
        );
        assert_eq!(counted.flood(false), None);
        counted = MatchCounts {
            all: 8,
            parts: [Some(0); 3],
            too_old: Some(0),
            since: 18 * 3_600_000 + 120_000,
            until: 18 * 3_600_000 + 16 * 60_000,
            log_is_younger: true,
        };
        assert_eq!(
            counted.say(),
            "8 in the last 14 minutes (the bot has only been listening since 18:02)."
        );
        counted.parts[1] = None;
        assert!(counted.say().contains("the filter is too long"), "{}", counted.say());
        // 8 in 14 minutes are 823 a day.
        assert_eq!(counted.flood(true).unwrap(), "About 823 posts a day. Too many?");
        assert!(counted.flood(false).unwrap().ends_with("Make the filter narrower."));
    }
}
