//! What a subscription will do: in English, how often it would have matched, what it could do without, what the bot lacks.

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

/// Kinds of killmails that people often do not want: what they are called, the filter that finds them (CCP's ids, which are
/// never looked up), and the term that leaves them out.
pub(super) const PARTS: [(&str, &str, &str, &str); 3] = [
    ("capsule", "capsules", "victim.group:29", "-victim.group:Capsule"),
    ("NPC only", "NPC only", "npc", "NOT npc"),
    (
        "shuttle or corvette",
        "shuttles or corvettes",
        "victim.group:(31 OR 237)",
        "-victim.group:(Shuttle OR Corvette)",
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
    /// `**212 matches** in the last 24 hours: 61 capsules, 40 NPC only`.
    pub(super) fn say(&self) -> String {
        let span = format::span(self.until.saturating_sub(self.since));
        let mut said = format!(
            "**{}** in the last {span}",
            format::counted(self.all, "match", "matches")
        );
        let mut parts: Vec<String> = self
            .parts
            .iter()
            .zip(PARTS)
            .filter_map(|(count, part)| Some((count.filter(|count| *count > 0)?, part)))
            .map(|(count, (one, several, ..))| format::counted(count, one, several))
            .collect();
        if let Some(too_old) = self.too_old.filter(|count| *count > 0) {
            parts.push(format!("{} older than max_age (not posted)", format::number(too_old)));
        }
        if self.parts.contains(&None) || self.too_old.is_none() {
            parts.push("too long a filter to say what of it are capsules and the like".to_owned());
        }
        if !parts.is_empty() {
            said = format!("{said}: {}", parts.join(", "));
        }
        if self.log_is_younger {
            said = format!("{said}; this log begins at {}", format::clock(self.since, self.until));
        }
        said
    }

    /// How many a day would be posted, if it goes on like that.
    pub(super) fn per_day(&self) -> f64 {
        let span = self.until.saturating_sub(self.since).max(60_000);
        // Counts and times of a week: far below what a float holds exactly.
        (self.all.saturating_sub(self.too_old.unwrap_or(0))) as f64 * DAY as f64 / span as f64
    }

    fn flood(&self) -> Option<String> {
        let per_day = self.per_day();
        (per_day > FLOOD).then(|| {
            format!(
                "That makes about {} posts a day, which nobody reads: make the filter narrower.",
                format::number(per_day.round() as u64)
            )
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
    let mut warnings: Vec<String> = meaning
        .warnings
        .iter()
        .take(4)
        .map(|warning| format::escape(&warning.message))
        .collect();
    let mut buttons = Vec::new();
    let said = match &counted {
        Ok(counted) => {
            warnings.extend(counted.flood());
            for (index, (count, (_, several, ..))) in counted.parts.iter().zip(PARTS).enumerate() {
                let count = count.unwrap_or(0);
                // All of them: then they are what is wanted.
                if count * 100 > counted.all * SHARE && count < counted.all {
                    let label = format!("without {several}");
                    buttons.push(Button::new(
                        ButtonStyle::Plain,
                        &label,
                        format!("kf:without:{id}:{index}"),
                    ));
                }
            }
            counted.say()
        }
        Err(QueryError::Unavailable(away)) => format!("Cannot be counted now: {}", format::escape(&away.0)),
        Err(QueryError::Rejected(reason)) => format::too_much(reason),
    };
    let mut suggestions = Vec::new();
    let of = fingerprint(&wish.filter);
    for (index, warning) in meaning.warnings.iter().enumerate().take(4) {
        for (number, suggestion) in warning.suggestions.iter().enumerate().take(2) {
            let custom_id = format!("kf:use:{id}:{index}:{number}:{of}");
            suggestions.push(Button::new(
                ButtonStyle::Primary,
                &format!("use: {suggestion}"),
                custom_id,
            ));
        }
    }
    let channel = match wish.destination {
        Destination::Channel(channel) => channel,
        Destination::Webhook(_) => 0,
    };
    let lacking = seen.missing(channel, wish.ping);
    let suspended = subscription.suspension.as_ref().map(|suspension| {
        format!(
            "Nothing is posted there now: {} ({})",
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
        .field("How", format::manner(wish, desk.commands.terms().max_age))
        .field("How often", said)
        .field("Careful", warnings.join("\n"))
        .field("What I lack there", lacking)
        .field("Suspended", suspended.unwrap_or_default())
        .field(
            "Paused",
            if wish.paused {
                "It is paused: `/killfeed resume` goes on with it."
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
            "**212 matches** in the last 24 hours: 61 capsules, 40 NPC only, 12 shuttles or corvettes, 9 older than \
             max_age (not posted)"
        );
        assert_eq!(counted.flood(), None);
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
            "**8 matches** in the last 14 minutes; this log begins at 18:02 EVE time"
        );
        counted.parts[1] = None;
        assert!(counted.say().contains("too long a filter"), "{}", counted.say());
        // 8 in 14 minutes are 823 a day.
        assert!(counted.flood().unwrap().contains("about 823 posts a day"));
    }
}
