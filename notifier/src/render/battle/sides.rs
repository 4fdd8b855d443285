//! Who fought with whom: the sides of a battle, from who shot whom. Nothing else is known and nothing else is used.

use std::collections::{BTreeMap, BTreeSet};

use killfeed::v1::{Attacker, Killmail, Victim};

/// Those who fly together: an alliance, or a corporation without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    Alliance(u64),
    Corporation(u64),
}

/// Only so many parties are weighed against each other, the busiest first; hundreds of small ones take part in the largest
/// battles, and each is compared with each.
const MAX_PARTIES: usize = 64;
/// How often everybody may change sides before it is left as it is.
const ROUNDS: usize = 8;
/// Ids of NPC corporations: their members have nothing in common.
const NPC_CORPORATIONS: std::ops::Range<u64> = 1_000_000..2_000_000;

impl Party {
    fn of(alliance: u64, corporation: u64) -> Option<Self> {
        match (alliance, corporation) {
            (0, 0) => None,
            (0, npc) if NPC_CORPORATIONS.contains(&npc) => None,
            (0, corporation) => Some(Self::Corporation(corporation)),
            (alliance, _) => Some(Self::Alliance(alliance)),
        }
    }

    pub(super) fn of_victim(victim: &Victim) -> Option<Self> {
        Self::of(victim.alliance_id, victim.corporation_id)
    }

    pub(super) fn of_attacker(attacker: &Attacker) -> Option<Self> {
        Self::of(attacker.alliance_id, attacker.corporation_id)
    }
}

/// The two sides, each in the order of how much its parties were involved. Whoever shot nobody of them and was shot by
/// nobody of them is on neither.
pub(super) fn sides(killmails: &[&Killmail]) -> [Vec<Party>; 2] {
    let parties = busiest(killmails);
    let place: BTreeMap<Party, usize> = parties.iter().enumerate().map(|(at, party)| (*party, at)).collect();
    let bonds = bonds(killmails, &place, parties.len());
    let mut side: Vec<Option<bool>> = vec![None; parties.len()];
    if let Some(first) = side.first_mut() {
        *first = Some(false);
    }
    // Whoever is bound most clearly to those who have a side gets one next.
    loop {
        let pulls = (0..parties.len()).filter(|at| side[*at].is_none());
        let strongest = pulls
            .map(|at| (pull(&bonds[at], &side), at))
            .max_by_key(|(pull, at)| (pull.unsigned_abs(), std::cmp::Reverse(*at)));
        match strongest {
            Some((pull, at)) if pull != 0 => side[at] = Some(pull < 0),
            Some(_) | None => break,
        }
    }
    // Early choices knew little: everybody who would rather be on the other side goes there.
    for _ in 0..ROUNDS {
        let mut settled = true;
        for at in 0..parties.len() {
            let pull = pull(&bonds[at], &side);
            let wanted = Some(pull < 0);
            if side[at].is_some() && pull != 0 && side[at] != wanted {
                side[at] = wanted;
                settled = false;
            }
        }
        if settled {
            break;
        }
    }
    let of = |wanted: bool| {
        let on_it = parties.iter().zip(&side).filter(|(_, side)| **side == Some(wanted));
        on_it.map(|(party, _)| *party).collect()
    };
    [of(false), of(true)]
}

/// Above 0: to the first side; below: to the second.
fn pull(bonds: &[i64], side: &[Option<bool>]) -> i64 {
    let pulls = bonds.iter().zip(side).map(|(bond, side)| match side {
        None => 0,
        Some(false) => *bond,
        Some(true) => -bond,
    });
    pulls.sum()
}

/// Those on the most killmails, the busiest first.
fn busiest(killmails: &[&Killmail]) -> Vec<Party> {
    let mut involved = BTreeMap::<Party, u64>::new();
    for killmail in killmails {
        let victim = killmail.victim.as_ref().and_then(Party::of_victim);
        for party in attackers(killmail).into_iter().chain(victim) {
            *involved.entry(party).or_default() += 1;
        }
    }
    let mut parties: Vec<(Party, u64)> = involved.into_iter().collect();
    parties.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    parties.truncate(MAX_PARTIES);
    parties.into_iter().map(|(party, _)| party).collect()
}

fn attackers(killmail: &Killmail) -> BTreeSet<Party> {
    killmail.attackers.iter().filter_map(Party::of_attacker).collect()
}

/// Per pair: what speaks for one side (shot together) less what speaks against it (one shot the other). Being shot at says
/// more than being there at the same time, where third parties help themselves.
fn bonds(killmails: &[&Killmail], place: &BTreeMap<Party, usize>, parties: usize) -> Vec<Vec<i64>> {
    const SHOT: i64 = 3;
    let mut bonds = vec![vec![0_i64; parties]; parties];
    let mut bind = |a: usize, b: usize, by: i64| {
        if a != b {
            bonds[a][b] += by;
            bonds[b][a] += by;
        }
    };
    for killmail in killmails {
        let there: Vec<usize> = attackers(killmail)
            .iter()
            .filter_map(|p| place.get(p).copied())
            .collect();
        let victim = killmail.victim.as_ref().and_then(Party::of_victim);
        let victim = victim.and_then(|party| place.get(&party).copied());
        for (index, attacker) in there.iter().enumerate() {
            if let Some(victim) = victim {
                bind(*attacker, victim, -SHOT);
            }
            for other in &there[index + 1..] {
                bind(*attacker, *other, 1);
            }
        }
    }
    bonds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killmail(victim: u64, attackers: &[u64]) -> Killmail {
        Killmail {
            victim: Some(Victim {
                alliance_id: victim,
                ..Default::default()
            }),
            attackers: attackers
                .iter()
                .map(|&alliance_id| Attacker {
                    alliance_id,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    }

    fn split(killmails: &[Killmail]) -> [Vec<u64>; 2] {
        let ids = |parties: Vec<Party>| {
            let mut ids: Vec<u64> = parties
                .into_iter()
                .map(|party| match party {
                    Party::Alliance(id) | Party::Corporation(id) => id,
                })
                .collect();
            ids.sort_unstable();
            ids
        };
        sides(&killmails.iter().collect::<Vec<_>>()).map(ids)
    }

    #[test]
    fn allies_stand_together_and_enemies_apart() {
        let battle = [
            killmail(1, &[10, 11]),
            killmail(2, &[10]),
            killmail(10, &[1, 2]),
            killmail(11, &[2, 3]),
        ];
        // 2 and 10 were in three killmails each: the lower id goes first.
        assert_eq!(split(&battle), [vec![1, 2, 3], vec![10, 11]]);
    }

    #[test]
    fn a_third_party_that_shoots_both_does_not_join_them() {
        let mut battle = vec![killmail(1, &[2]); 5];
        battle.extend(vec![killmail(2, &[1]); 5]);
        battle.push(killmail(1, &[3, 2]));
        let [a, b] = split(&battle);
        assert!(
            a.contains(&1) != a.contains(&2) && b.contains(&1) != b.contains(&2),
            "{a:?} {b:?}"
        );
    }

    #[test]
    fn who_met_nobody_of_them_is_on_neither_side() {
        let mut battle = vec![killmail(1, &[2]); 3];
        battle.push(killmail(8, &[9]));
        let [a, b] = split(&battle);
        assert_eq!((a.len(), b.len()), (1, 1));
        assert!(![a, b].concat().contains(&8));
        assert_eq!(sides(&[]), [vec![], vec![]]);
        assert_eq!(
            split(&[killmail(1, &[1])]),
            [vec![1], vec![]],
            "friendly fire makes no enemy"
        );
    }

    #[test]
    fn corporations_of_npcs_are_no_party() {
        assert_eq!(Party::of(0, 1_000_125), None);
        assert_eq!(Party::of(0, 98_000_001), Some(Party::Corporation(98_000_001)));
        assert_eq!(Party::of(7, 1_000_125), Some(Party::Alliance(7)));
    }
}
