//! Who was there: how many, in what, of whom. Ids decide between equal numbers, so the same killmail always reads the same.

use std::collections::BTreeMap;

use killfeed::v1::{Attacker, Killmail};

use super::{
    names::{NameFormatter, counted},
    text::grouped,
};

/// Returns `3`, `1 (solo)` or `27 (25 players, 2 NPCs)`; below it what zKillboard says about them.
pub(super) fn attackers(killmail: &Killmail) -> Vec<String> {
    let all = killmail.attackers.len();
    let pilots = killmail.attackers.iter().filter(|a| a.character_id != 0).count();
    let count = number(all);
    let noun = |of: usize, one: &str, many: &str| format!("{} {}", number(of), if of == 1 { one } else { many });
    let npcs = noun(all - pilots, "NPC", "NPCs");
    let text = match (all, pilots) {
        // "Solo" is zKillboard's judgement: a lone pilot who is helped by others is not solo.
        (1, 1) if killmail.solo => "1 (solo)".to_owned(),
        _ if all == pilots => count,
        (1, 0) => "1 (NPC)".to_owned(),
        (_, 0) => format!("{count} (all NPCs)"),
        _ => format!("{count} ({}, {npcs})", noun(pilots, "player", "players")),
    };
    let ganked = killmail.labels.iter().any(|label| label == "ganked");
    let flags = [
        // Where all attackers are NPCs, the line above says so already.
        (killmail.npc && (pilots > 0 || all == 0), "NPC kill"),
        (killmail.awox, "awox"),
        (ganked, "ganked"),
        (killmail.war_id != 0, "war target"),
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

/// `18 Ember Pact [EMBER] · 2 NPC`: the attackers by alliance; corporations without one are counted separately.
pub(super) fn by_alliance(killmail: &Killmail, names: NameFormatter<'_>, max: usize, limit: usize) -> Vec<String> {
    let count = |attacker: &Attacker| match (attacker.alliance_id, attacker.corporation_id) {
        (0, 0) => (0, 0, attacker.faction_id),
        (0, corporation) => (0, corporation, 0),
        (alliance, _) => (alliance, 0, 0),
    };
    let named = |(alliance, corporation, faction): &(u64, u64, u32)| names.party(*alliance, *corporation, *faction);
    compose(killmail, count, named, "unaffiliated", max, limit)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attackers_are_counted_as_players_and_npcs() {
        let line = |players: u64, npcs: u64, solo: bool, npc: bool| {
            let attacker = |character_id| Attacker {
                character_id,
                ..Attacker::default()
            };
            let attackers = (1..=players).chain(std::iter::repeat_n(0, usize::try_from(npcs).unwrap()));
            let killmail = Killmail {
                attackers: attackers.map(attacker).collect(),
                solo,
                npc,
                ..Killmail::default()
            };
            attackers_of(&killmail)
        };
        for ((players, npcs, solo, npc), expected) in [
            ((1, 0, true, false), "1 (solo)"),
            ((27, 0, false, false), "27"),
            ((2, 1, false, false), "3 (2 players, 1 NPC)"),
            ((1, 2, false, true), "3 (1 player, 2 NPCs) · NPC kill"),
            ((0, 1, false, true), "1 (NPC)"),
            ((0, 4, false, true), "4 (all NPCs)"),
            ((0, 0, false, true), "0 · NPC kill"),
        ] {
            assert_eq!(line(players, npcs, solo, npc), expected);
        }
    }

    fn attackers_of(killmail: &Killmail) -> String {
        let lines = attackers(killmail);
        let shown: Vec<&str> = lines
            .iter()
            .map(String::as_str)
            .filter(|line| !line.is_empty())
            .collect();
        shown.join(" · ")
    }
}
