//! Who was there: how many, in what, of whom. Ids decide between equal numbers, so the same killmail always reads the same.

use std::collections::BTreeMap;

use killfeed::v1::{Attacker, Killmail};

use super::{
    names::{NameFormatter, counted},
    text::grouped,
};

/// `3 attackers`, `27, 25 pilots`; below it what zKillboard says about them.
pub(super) fn attackers(killmail: &Killmail) -> Vec<String> {
    let all = killmail.attackers.len();
    let pilots = killmail.attackers.iter().filter(|a| a.character_id != 0).count();
    let (count, with_pilots) = (number(all), number(pilots));
    let text = match (all, pilots) {
        // "Solo" is zKillboard's judgement: a lone pilot who is helped by others is none.
        (1, 1) if killmail.solo => "1, solo".to_owned(),
        _ if all == pilots => count,
        (_, 0) => format!("{count}, no pilots"),
        (_, 1) => format!("{count}, 1 pilot"),
        _ => format!("{count}, {with_pilots} pilots"),
    };
    let ganked = killmail.labels.iter().any(|label| label == "ganked");
    let flags = [
        (killmail.npc, "NPC"),
        (killmail.awox, "awox"),
        (ganked, "ganked"),
        (killmail.war_id != 0, "war"),
    ];
    let flags: Vec<&str> = flags
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| flag)
        .collect();
    vec![text, flags.join(", ")]
}

/// `5 Dreadnought · 2 Carrier`: the attackers by the group of their ships. Nothing for a single one, who is named anyway.
pub(super) fn by_ship_group(killmail: &Killmail, names: NameFormatter<'_>, max: usize, limit: usize) -> Vec<String> {
    let count = |attacker: &Attacker| attacker.ship_group_id;
    let named = |group: &u32| names.ship_group(*group);
    compose(killmail, count, named, "unknown ship", max, limit)
}

/// `18 Ember Pact [EMBER] · 2 NPC`: the attackers by alliance; corporations without one count by themselves.
pub(super) fn by_alliance(killmail: &Killmail, names: NameFormatter<'_>, max: usize, limit: usize) -> Vec<String> {
    let count = |attacker: &Attacker| match (attacker.alliance_id, attacker.corporation_id) {
        (0, 0) => (0, 0, attacker.faction_id),
        (0, corporation) => (0, corporation, 0),
        (alliance, _) => (alliance, 0, 0),
    };
    let named = |(alliance, corporation, faction): &(u64, u64, u32)| names.party(*alliance, *corporation, *faction);
    compose(killmail, count, named, "of nobody", max, limit)
}

fn compose<K: Ord>(
    killmail: &Killmail,
    key: impl Fn(&Attacker) -> K,
    name: impl Fn(&K) -> Option<String>,
    nameless: &str,
    max: usize,
    limit: usize,
) -> Vec<String> {
    if killmail.attackers.len() < 2 {
        return Vec::new();
    }
    let mut counts = BTreeMap::<K, u64>::new();
    for attacker in &killmail.attackers {
        *counts.entry(key(attacker)).or_default() += 1;
    }
    let mut counts: Vec<(K, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    // Looking up a name takes a walk through all names of the killmail: only those that are shown are worth it.
    let rest = counts.split_off(counts.len().min(max));
    let named = counts
        .iter()
        .map(|(key, count)| (name(key).unwrap_or_else(|| nameless.to_owned()), *count));
    vec![counted(named, rest.iter().map(|(_, count)| count).sum(), limit)]
}

fn number(count: usize) -> String {
    grouped(u64::try_from(count).unwrap_or(u64::MAX))
}
