//! The style `full`: an embed with everything one wants to know before opening the link.

use killfeed::v1::{Attacker, Killmail};

use super::{
    Detail, PostItem, attackers, limits,
    names::{self, NameFormatter},
    place, text,
};
use crate::{
    database::KillOutcome,
    sink::{Embed, Footer, Picture},
};

// Colours that people who confuse red and green tell apart too (Okabe and Ito); the title says it in words as well.
pub(super) const KILL: u32 = 0x0000_72B2;
pub(super) const LOSS: u32 = 0x00D5_5E00;
pub(super) const NEUTRAL: u32 = 0x0099_9999;

/// What took longer than this to arrive is late: the default of `ping_max_age`, beyond which nobody is woken either.
const LATE: i64 = 15 * 60;

pub(super) fn embed(item: &PostItem<'_>, room: Detail) -> Embed {
    let killmail = item.killmail;
    let linked = room == Detail::Plenty;
    let (most, limit, origins) = match room {
        Detail::Plenty => (8, 600, 3),
        Detail::Little => (3, 150, 1),
        Detail::Least => (2, 60, 1),
    };
    let (names, plain) = (NameFormatter::new(killmail, linked), NameFormatter::plain(killmail));
    let victim = killmail.victim.as_ref().map(|victim| {
        let mut lines = briefly(names.victim(victim), room);
        if room != Detail::Least {
            lines.push(lost(killmail, plain));
        }
        lines
    });
    let blow = final_blow(killmail).map(|attacker| briefly(names.attacker(attacker), room));
    let place = killmail.location.as_ref().map(|location| {
        let mut lines = vec![names::system(location, linked), names::region(location, linked)];
        lines.extend(place::gate(location));
        lines.extend(place::distances(&item.distances, origins));
        lines
    });
    let fields = [
        limits::field("Victim", &victim.unwrap_or_default(), true),
        limits::field("Final blow", &blow.unwrap_or_default(), true),
        limits::field("Where", &place.unwrap_or_default(), true),
        limits::field("Value", &value(killmail, room), true),
        limits::field("Attackers", &attackers::attackers(killmail), true),
        limits::field("When", &when(killmail), true),
        limits::field("Ships", &attackers::by_ship_group(killmail, plain, most, limit), false),
        limits::field("Fleet", &attackers::by_alliance(killmail, plain, most, limit), false),
        limits::field("Links", &if linked { links(killmail) } else { Vec::new() }, false),
    ];
    Embed {
        fields: fields.into_iter().flatten().collect(),
        ..frame(item)
    }
}

/// What every style that is an embed has: title, link, picture, colour, footer.
pub(super) fn frame(item: &PostItem<'_>) -> Embed {
    let ship = item.killmail.victim.as_ref().map_or(0, |victim| victim.ship_type_id);
    Embed {
        title: text::cut(&title(item), limits::TITLE),
        url: super::link(item.killmail.killmail_id),
        color: color(item.outcome),
        thumbnail: (ship != 0).then(|| Picture {
            url: format!("https://images.evetech.net/types/{ship}/render?size=128"),
        }),
        footer: footer(&item.subscriptions),
        ..Default::default()
    }
}

/// `Loss: Ama Vey [WATCH] lost a Naglfar to Rook Ontari [EMBER] +2 · 2.41b ISK`.
fn title(item: &PostItem<'_>) -> String {
    let killmail = item.killmail;
    let names = NameFormatter::plain(killmail);
    let victim = killmail.victim.as_ref();
    let who = victim
        .and_then(|victim| names.brief_victim(victim))
        .unwrap_or_else(|| "Somebody".to_owned());
    let ship = victim.map_or(0, |victim| victim.ship_type_id);
    let what = if ship == 0 {
        "something".to_owned()
    } else {
        names::with_article(&names.ship(ship, ""))
    };
    let word = word(item.outcome).map(|word| format!("{word}: ")).unwrap_or_default();
    let mut title = format!("{word}{who} lost {what}");
    if let Some(whom) = final_blow(killmail).and_then(|attacker| names.brief_attacker(attacker)) {
        title.push_str(&format!(" to {whom}"));
        let others = killmail.attackers.len().saturating_sub(1);
        if others > 0 {
            title.push_str(&format!(
                " +{}",
                text::grouped(u64::try_from(others).unwrap_or(u64::MAX))
            ));
        }
    }
    let total = killmail.value.as_ref().and_then(|value| value.total);
    if let Some(total) = total.filter(|total| text::is_amount(*total)) {
        title.push_str(&format!(" · {}", text::isk(total)));
    }
    title
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

/// `late: reached zKillboard 3 h 12 min after the kill`; `None` if it came in time.
pub(super) fn late(killmail: &Killmail) -> Option<String> {
    // The times of a later revision say when that one came, not the killmail.
    let kill = kill_seconds(killmail).filter(|_| killmail.revision == 0)?;
    let after = |time: &Option<killfeed::Timestamp>| {
        let seconds = time.as_ref()?.seconds.checked_sub(kill)?;
        u64::try_from(seconds).ok().filter(|_| seconds > LATE)
    };
    let published = after(&killmail.published_time).map(|by| ("reached zKillboard", by));
    let late = published.or_else(|| after(&killmail.ingested_time).map(|by| ("received", by)));
    late.map(|(what, by)| format!("late: {what} {} after the kill", text::duration(by)))
}

/// `Naglfar (Dreadnought), 1,234,567 damage`.
fn lost(killmail: &Killmail, names: NameFormatter<'_>) -> String {
    let Some(victim) = &killmail.victim else {
        return String::new();
    };
    let mut parts = Vec::new();
    if victim.ship_type_id != 0 {
        let ship = names.ship(victim.ship_type_id, "");
        parts.push(match names.ship_group(victim.ship_group_id) {
            Some(group) if group != ship => format!("{ship} ({group})"),
            _ => ship,
        });
    }
    if victim.damage_taken != 0 {
        parts.push(format!("{} damage", text::grouped(victim.damage_taken)));
    }
    parts.join(", ")
}

/// Pilot and the largest of those it flies for, where there is little room.
fn briefly(mut lines: Vec<String>, room: Detail) -> Vec<String> {
    if room == Detail::Least && lines.len() > 2 {
        lines.drain(1..lines.len() - 1);
    }
    lines
}

fn value(killmail: &Killmail, room: Detail) -> Vec<String> {
    let value = killmail.value.as_ref();
    let total = value.and_then(|value| value.total);
    let dropped = text::isk_or_unknown(value.and_then(|value| value.dropped));
    // An amount stands in the title already.
    let again = room == Detail::Least && total.is_some_and(text::is_amount);
    let total = (!again).then(|| text::isk_or_unknown(total));
    total.into_iter().chain([format!("dropped: {dropped}")]).collect()
}

fn when(killmail: &Killmail) -> Vec<String> {
    let Some(seconds) = kill_seconds(killmail) else {
        return Vec::new();
    };
    vec![
        format!("<t:{seconds}:R>"),
        format!("{} EVE", text::eve_time(seconds)),
        late(killmail).unwrap_or_default(),
    ]
}

/// The killmail itself is where the title leads: a message has its link once.
fn links(killmail: &Killmail) -> Vec<String> {
    let Some(location) = &killmail.location else {
        return Vec::new();
    };
    let mut links = related(location.system_id, killmail);
    links.extend(names::dotlan(location).map(|url| text::link("Dotlan", &url)));
    vec![links.join(" · ")]
}

/// The battle around a killmail; nothing where time or place is not known.
pub(super) fn related(system: u32, killmail: &Killmail) -> Vec<String> {
    let Some(hour) = kill_seconds(killmail).filter(|_| system != 0).map(text::hour) else {
        return Vec::new();
    };
    vec![
        text::link(
            "Battle report",
            &format!("https://br.evetools.org/related/{system}/{hour}"),
        ),
        text::link(
            "zKillboard related",
            &format!("https://zkillboard.com/related/{system}/{hour}/"),
        ),
    ]
}

/// The first three subscriptions, and how many there are besides.
pub(super) fn footer(subscriptions: &[&str]) -> Option<Footer> {
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

fn word(outcome: KillOutcome) -> Option<&'static str> {
    match outcome {
        KillOutcome::Neutral => None,
        KillOutcome::Kill => Some("Kill"),
        KillOutcome::Loss => Some("Loss"),
        KillOutcome::FriendlyFire => Some("Friendly fire"),
    }
}

fn color(outcome: KillOutcome) -> u32 {
    match outcome {
        KillOutcome::Neutral => NEUTRAL,
        KillOutcome::Kill => KILL,
        KillOutcome::Loss | KillOutcome::FriendlyFire => LOSS,
    }
}
