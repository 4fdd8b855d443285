//! The style `full`: an embed with everything one wants to know before opening the link.

use killfeed::v1::{Attacker, Killmail};

use super::{
    Item, limits,
    names::{self, Names},
    text,
};
use crate::{
    database::Outcome,
    sink::{Embed, Footer, Picture},
};

// Colours that people who confuse red and green tell apart too (Okabe and Ito); the title says it in words as well.
const KILL: u32 = 0x0000_72B2;
const LOSS: u32 = 0x00D5_5E00;
pub(super) const NEUTRAL: u32 = 0x0099_9999;

pub(super) fn embed(item: &Item<'_>) -> Embed {
    let killmail = item.killmail;
    let names = Names(killmail);
    let victim = killmail.victim.as_ref().map(|victim| names.victim(victim));
    let blow = final_blow(killmail).map(|attacker| names.attacker(attacker));
    let place = killmail
        .location
        .as_ref()
        .map(|location| vec![names::system(location), names::region(location)]);
    let fields = [
        limits::field("Victim", &victim.unwrap_or_default(), true),
        limits::field("Final blow", &blow.unwrap_or_default(), true),
        limits::field("Where", &place.unwrap_or_default(), true),
        limits::field("When", &when(killmail), true),
        limits::field("Attackers", &attackers(killmail), true),
        limits::field("Damage", &damage(killmail), true),
    ];
    Embed {
        fields: fields.into_iter().flatten().collect(),
        ..frame(item)
    }
}

/// What every style that is an embed has: title, link, picture, colour, footer.
pub(super) fn frame(item: &Item<'_>) -> Embed {
    let killmail = item.killmail;
    let ship = killmail.victim.as_ref().map_or(0, |victim| victim.ship_type_id);
    let name = text::escaped(&Names(killmail).type_plain(ship, "Something"), limits::TITLE);
    let value = killmail.value.as_ref().and_then(|value| value.total);
    let word = word(item.outcome).map(|word| format!("{word}: ")).unwrap_or_default();
    let value = value
        .map(|value| format!(" · {}", text::isk(value)))
        .unwrap_or_default();
    Embed {
        title: text::cut(&format!("{word}{name}{value}"), limits::TITLE),
        url: super::link(killmail.killmail_id),
        color: color(item.outcome),
        thumbnail: (ship != 0).then(|| Picture {
            url: format!("https://images.evetech.net/types/{ship}/render?size=128"),
        }),
        footer: footer(&item.subscriptions),
        ..Default::default()
    }
}

pub(super) fn final_blow(killmail: &Killmail) -> Option<&Attacker> {
    let flagged = killmail.attackers.iter().find(|attacker| attacker.final_blow);
    flagged.or(killmail.attackers.first())
}

pub(super) fn kill_seconds(killmail: &Killmail) -> Option<i64> {
    // Discord shows no date it cannot count with; EVE's kills lie well within.
    let seconds = killmail.kill_time.as_ref()?.seconds;
    (0..=253_402_300_799).contains(&seconds).then_some(seconds)
}

/// `3 attackers`, `27 (25 pilots)`.
pub(super) fn attackers(killmail: &Killmail) -> Vec<String> {
    let all = killmail.attackers.len();
    let pilots = killmail
        .attackers
        .iter()
        .filter(|attacker| attacker.character_id != 0)
        .count();
    let text = match (all, pilots) {
        (1, 1) => "1, solo".to_owned(),
        _ if all == pilots => all.to_string(),
        (_, 0) => format!("{all}, no pilots"),
        (_, 1) => format!("{all}, 1 pilot"),
        _ => format!("{all}, {pilots} pilots"),
    };
    // "Solo" is zKillboard's judgement: a lone pilot who is helped by others is none.
    let text = if killmail.solo {
        text
    } else {
        text.replace(", solo", "")
    };
    let flags = [
        (killmail.npc, "NPC"),
        (killmail.awox, "awox"),
        (killmail.war_id != 0, "war"),
    ];
    let flags: Vec<&str> = flags
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| flag)
        .collect();
    vec![text, flags.join(", ")]
}

/// Whole numbers with thin groups: `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn damage(killmail: &Killmail) -> Vec<String> {
    let taken = killmail.victim.as_ref().map_or(0, |victim| victim.damage_taken);
    if taken == 0 { Vec::new() } else { vec![grouped(taken)] }
}

fn when(killmail: &Killmail) -> Vec<String> {
    kill_seconds(killmail).map_or(Vec::new(), |seconds| {
        vec![format!("<t:{seconds}:R>"), format!("{} EVE", text::eve_time(seconds))]
    })
}

fn footer(subscriptions: &[&str]) -> Option<Footer> {
    const NAMED: usize = 3;
    let mut parts: Vec<String> = subscriptions
        .iter()
        .take(NAMED)
        .map(|name| text::plain(name, 100))
        .collect();
    if subscriptions.len() > NAMED {
        parts.push(format!("+{}", subscriptions.len() - NAMED));
    }
    let text = text::cut(&parts.join(" · "), limits::FOOTER);
    (!text.is_empty()).then_some(Footer { text })
}

fn word(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Neutral => None,
        Outcome::Kill => Some("Kill"),
        Outcome::Loss => Some("Loss"),
        Outcome::FriendlyFire => Some("Friendly fire"),
    }
}

fn color(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::Neutral => NEUTRAL,
        Outcome::Kill => KILL,
        Outcome::Loss | Outcome::FriendlyFire => LOSS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
