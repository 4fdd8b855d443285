//! The style `battle`: one post for the killmails of one system within minutes.

mod sides;

use std::collections::{BTreeMap, BTreeSet};

use killfeed::{filter::Distance, v1::Killmail};

use self::sides::Party;
use super::{
    PostItem, full, limits,
    names::{self, NameFormatter, counted},
    place,
    text::{self, grouped},
};
use crate::{
    database::KillOutcome,
    sink::{Embed, Message, Picture},
    subscriptions::Ping,
};

/// What the links of the killmails may take of the description, and what is left of it for the line that counts the rest.
const LINKED: usize = 3_600;
const REST: usize = 40;
/// Distances are told from so many origins, as in `full`.
const ORIGINS: usize = 3;
/// What one party of a side, or all of them, may take.
const PARTIES: usize = 8;
const SIDE: usize = 700;

/// The digest of a battle, and how many of `items` it links: as many as fit, the most valuable first; the rest is counted.
/// In the order of the log, all of one system. The same items always make the same message, so that it can be edited.
pub fn battle(items: &[PostItem<'_>], pings: &[Ping]) -> (Message, usize) {
    let mut message = Message {
        content: super::mentions(pings),
        allowed_mentions: super::allowed(pings),
        embeds: Vec::new(),
    };
    let Some(first) = items.first() else {
        return (message, 0);
    };
    let killmails: Vec<&Killmail> = items.iter().map(|item| item.killmail).collect();
    let mut fields = vec![
        limits::field("Where", &place(first.killmail, &distances(items)), true),
        limits::field("When", &when(&killmails), true),
        limits::field("Result", &result(items), true),
    ];
    fields.extend(sides_of(items, &killmails));
    let system = first
        .killmail
        .location
        .as_ref()
        .map_or(0, |location| location.system_id);
    let related = full::related(system, first.killmail).join(" · ");
    fields.push(limits::field("Links", &[related], false));
    let dearest = dearest(items)
        .first()
        .map_or(first.killmail, |index| items[*index].killmail);
    let ship = dearest.victim.as_ref().map_or(0, |victim| victim.ship_type_id);
    let mut embed = Embed {
        title: text::cut(&title(items), limits::TITLE),
        color: color(items),
        thumbnail: (ship != 0).then(|| Picture {
            url: format!("https://images.evetech.net/types/{ship}/render?size=128"),
        }),
        fields: fields.into_iter().flatten().collect(),
        footer: full::footer(&subscriptions(items)),
        ..Default::default()
    };
    // Everything else comes first: it is short, and says what the links are of.
    let left = limits::TOTAL.saturating_sub(limits::characters(&embed) + REST);
    let (list, linked) = list(items, left.min(LINKED));
    embed.description = list;
    message.embeds.push(embed);
    (message, linked)
}

/// `Battle in Turnur: 14 killmails · 12.3b ISK`.
fn title(items: &[PostItem<'_>]) -> String {
    let location = items.first().and_then(|item| item.killmail.location.as_ref());
    let place = location.map_or_else(
        || "an unknown system".to_owned(),
        |location| text::escaped(&names::system_name(location), limits::TITLE / 2),
    );
    let noun = if items.len() == 1 { "killmail" } else { "killmails" };
    format!(
        "Battle in {place}: {} {noun} · {}",
        number(items.len()),
        sum(items.iter())
    )
}

fn place(killmail: &Killmail, distances: &[Distance]) -> Vec<String> {
    let Some(location) = &killmail.location else {
        return Vec::new();
    };
    let mut lines = vec![names::system(location, true), names::region(location, true)];
    lines.extend(place::distances(distances, ORIGINS));
    lines
}

/// How far the system is from what anybody watches who wanted one of them, the nearest first, each origin once.
fn distances(items: &[PostItem<'_>]) -> Vec<Distance> {
    let all = items.iter().flat_map(|item| item.distances.iter().cloned());
    let all: BTreeSet<Distance> = all.collect();
    let mut seen = BTreeSet::new();
    all.into_iter()
        .filter(|distance| seen.insert(distance.origin))
        .collect()
}

/// The last kill for those who watch, the first and last one for those who read it later.
fn when(killmails: &[&Killmail]) -> Vec<String> {
    let times = || killmails.iter().filter_map(|killmail| full::kill_seconds(killmail));
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return Vec::new();
    };
    let length = u64::try_from(last - first).unwrap_or_default();
    vec![
        format!("last kill <t:{last}:R>"),
        format!("{} EVE", text::eve_time(first)),
        if length == 0 {
            String::new()
        } else {
            format!("for {}", text::duration(length))
        },
    ]
}

/// `3 kills, 4.20b ISK` and `1 loss, 900m ISK`; without an `us` how much was lost in all.
fn result(items: &[PostItem<'_>]) -> Vec<String> {
    let line = |outcomes: &[KillOutcome], one: &str, many: &str| {
        let those: Vec<_> = items.iter().filter(|item| outcomes.contains(&item.outcome)).collect();
        match those.len() {
            0 => String::new(),
            1 => format!("1 {one}, {}", sum(those.into_iter())),
            count => format!("{} {many}, {}", number(count), sum(those.into_iter())),
        }
    };
    vec![
        line(&[KillOutcome::Kill], "kill", "kills"),
        line(&[KillOutcome::Loss], "loss", "losses"),
        line(&[KillOutcome::FriendlyFire], "friendly fire", "friendly fire"),
        line(&[KillOutcome::Neutral], "ship lost", "ships lost"),
    ]
}

fn sides_of(items: &[PostItem<'_>], killmails: &[&Killmail]) -> Vec<Option<crate::sink::Field>> {
    let sides = sides::sides(killmails);
    let mut fields = Vec::new();
    for (letter, parties) in ["A", "B"].into_iter().zip(&sides) {
        if parties.is_empty() {
            continue;
        }
        let members: BTreeSet<Party> = parties.iter().copied().collect();
        let lost: Vec<&PostItem<'_>> = items
            .iter()
            .filter(|item| party_of_victim(item.killmail).is_some_and(|party| members.contains(&party)))
            .collect();
        let pilots = pilots(killmails, &members);
        let all: u64 = pilots.values().map(|pilots| count(pilots.len())).sum();
        // By pilots, the larger party first; of equal ones whoever was more involved.
        let mut ranked: Vec<(Party, u64)> = parties
            .iter()
            .map(|party| (*party, pilots.get(party).map_or(0, |pilots| count(pilots.len()))))
            .collect();
        ranked.sort_by_key(|(_, pilots)| std::cmp::Reverse(*pilots));
        let rest = ranked.split_off(ranked.len().min(PARTIES));
        let named = ranked
            .into_iter()
            .map(|(party, pilots)| (name(killmails, party), pilots));
        let parties = counted(named, rest.iter().map(|(_, pilots)| pilots).sum(), SIDE);
        let noun = if all == 1 { "pilot" } else { "pilots" };
        let ships = if lost.len() == 1 { "ship" } else { "ships" };
        let lines = [
            format!("lost {} {ships}, {}", number(lost.len()), sum(lost.iter().copied())),
            parties,
        ];
        let side = format!("Side {letter}{}: {} {noun}", whose(items, &members), grouped(all));
        fields.push(limits::field(&side, &lines, false));
    }
    fields
}

/// The side that lost what is a loss to those who subscribed is theirs, if that is so of one side alone.
fn whose(items: &[PostItem<'_>], members: &BTreeSet<Party>) -> &'static str {
    let losses = items.iter().filter(|item| item.outcome == KillOutcome::Loss);
    let kills = items.iter().filter(|item| item.outcome == KillOutcome::Kill);
    let here = |item: &&PostItem<'_>| party_of_victim(item.killmail).is_some_and(|party| members.contains(&party));
    let (losses_here, losses_elsewhere): (Vec<_>, Vec<_>) = losses.partition(here);
    let kills_here = kills.filter(here).count();
    if !losses_here.is_empty() && losses_elsewhere.is_empty() && kills_here == 0 {
        " (ours)"
    } else {
        ""
    }
}

/// Who of each party was seen, as victim or attacker.
fn pilots(killmails: &[&Killmail], members: &BTreeSet<Party>) -> BTreeMap<Party, BTreeSet<u64>> {
    let mut pilots = BTreeMap::<Party, BTreeSet<u64>>::new();
    for killmail in killmails {
        let victim = killmail.victim.iter().map(|v| (Party::of_victim(v), v.character_id));
        let attackers = killmail
            .attackers
            .iter()
            .map(|a| (Party::of_attacker(a), a.character_id));
        for (party, pilot) in victim.chain(attackers) {
            if let Some(party) = party.filter(|party| pilot != 0 && members.contains(party)) {
                pilots.entry(party).or_default().insert(pilot);
            }
        }
    }
    pilots
}

/// The name that some killmail has for the party.
fn name(killmails: &[&Killmail], party: Party) -> String {
    let ids = match party {
        Party::Alliance(id) => (id, 0),
        Party::Corporation(id) => (0, id),
    };
    let named = killmails
        .iter()
        .find(|killmail| {
            let kind = match party {
                Party::Alliance(_) => killfeed::v1::EntityKind::Alliance,
                Party::Corporation(_) => killfeed::v1::EntityKind::Corporation,
            };
            let mut entities = killmail.entities.iter();
            entities.any(|entity| entity.kind == i32::from(kind) && entity.id == ids.0.max(ids.1))
        })
        .or(killmails.first());
    named
        .and_then(|killmail| NameFormatter::plain(killmail).party(ids.0, ids.1, 0))
        .unwrap_or_else(|| "somebody".to_owned())
}

/// The killmails as links, and how many of them: each on its own line with all there is to say if that fits, else the
/// shortest that links; the most valuable first, and those that do not fit are counted.
fn list(items: &[PostItem<'_>], room: usize) -> (String, usize) {
    let order = dearest(items);
    let long: Vec<String> = order.iter().map(|index| long_line(&items[*index])).collect();
    let all = long.join("\n");
    if text::length(&all) <= room {
        return (all, items.len());
    }
    let mut text = String::new();
    let mut linked = 0;
    for index in order {
        let part = ship(&items[index]);
        let separator = if text.is_empty() { "" } else { " · " };
        if text::length(&text) + text::length(separator) + text::length(&part) > room {
            break;
        }
        text.push_str(separator);
        text.push_str(&part);
        linked += 1;
    }
    let rest = items.len() - linked;
    if rest > 0 {
        let noun = if rest == 1 { "killmail" } else { "killmails" };
        text.push_str(&format!("\n{} more {noun}", number(rest)));
    }
    (text, linked)
}

/// Places in `items`, the most valuable first; of equal ones as they came.
fn dearest(items: &[PostItem<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    let value = |index: &usize| total(items[*index].killmail).unwrap_or_default();
    order.sort_by(|a, b| value(b).total_cmp(&value(a)));
    order
}

fn ship(item: &PostItem<'_>) -> String {
    let ship = item.killmail.victim.as_ref().map_or(0, |victim| victim.ship_type_id);
    let name = NameFormatter::plain(item.killmail).ship_label(ship, "something");
    text::link(&name, &super::link(item.killmail.killmail_id))
}

fn long_line(item: &PostItem<'_>) -> String {
    let victim = item.killmail.victim.as_ref();
    let who = victim
        .and_then(|victim| NameFormatter::plain(item.killmail).brief_victim(victim))
        .unwrap_or_else(|| "somebody".to_owned());
    let word = match item.outcome {
        KillOutcome::Neutral => "",
        KillOutcome::Kill => "Kill: ",
        KillOutcome::Loss => "Loss: ",
        KillOutcome::FriendlyFire => "Friendly fire: ",
    };
    format!(
        "{word}{} · {who} · {}",
        ship(item),
        text::isk_or_unknown(total(item.killmail))
    )
}

fn color(items: &[PostItem<'_>]) -> u32 {
    let of = |wanted: &[KillOutcome]| {
        let those = items.iter().filter(|item| wanted.contains(&item.outcome));
        those.fold((0_usize, 0.0), |(count, value), item| {
            (count + 1, value + total(item.killmail).unwrap_or_default())
        })
    };
    let (kills, killed) = of(&[KillOutcome::Kill]);
    let (losses, lost) = of(&[KillOutcome::Loss, KillOutcome::FriendlyFire]);
    match (kills, losses) {
        (0, 0) => full::NEUTRAL,
        _ if killed > lost || (killed == lost && kills > losses) => full::KILL,
        _ => full::LOSS,
    }
}

/// Every subscription that matches one of them, each once, in the order they come.
fn subscriptions<'a>(items: &[PostItem<'a>]) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    let all = items.iter().flat_map(|item| item.subscriptions.iter().copied());
    all.filter(|name| seen.insert(*name)).collect()
}

fn party_of_victim(killmail: &Killmail) -> Option<Party> {
    killmail.victim.as_ref().and_then(Party::of_victim)
}

fn total(killmail: &Killmail) -> Option<f64> {
    let total = killmail.value.as_ref().and_then(|value| value.total);
    total.filter(|total| text::is_amount(*total))
}

/// What these are worth together; `unknown` if not one of them says, `at least` if some do not.
fn sum<'a, 'b: 'a>(items: impl Iterator<Item = &'a PostItem<'b>>) -> String {
    let (mut known, mut unknown, mut sum) = (0, 0, 0.0);
    for item in items {
        match total(item.killmail) {
            Some(total) => {
                known += 1;
                sum += total;
            }
            None => unknown += 1,
        }
    }
    match (known, unknown) {
        (0, 0) => text::isk(0.0),
        (0, _) => "unknown ISK".to_owned(),
        (_, 0) => text::isk(sum),
        _ => format!("at least {}", text::isk(sum)),
    }
}

fn number(count: usize) -> String {
    grouped(self::count(count))
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
