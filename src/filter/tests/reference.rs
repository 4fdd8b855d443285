//! A reference implementation of the language's rules, to compare the program with.
//!
//! The implementation is slow, recursive and as simple as possible. It evaluates the message directly and shares no code
//! with the program.

use crate::v1::{
    Comparison, EntityKind, Filter, FilterValue, Killmail, KillmailFlag, NumberField, ParticipantField as Field,
    ParticipantRole as Role, Space, filter_node::Node,
};

/// The ids of a participant, with their fields.
type Ids = Vec<(Field, u64)>;

pub(super) fn matches(filter: &Filter, killmail: &Killmail) -> bool {
    holds(filter, 0, killmail, None)
}

fn holds(filter: &Filter, index: u32, killmail: &Killmail, member: Option<&Ids>) -> bool {
    let holds = |&index: &u32| holds(filter, index, killmail, member);
    match filter.nodes[index as usize].node.as_ref().unwrap() {
        Node::All(all) => all.operands.iter().filter(|index| !holds(index)).count() == 0,
        Node::Any(any) => any.operands.iter().filter(|index| holds(index)).count() > 0,
        Node::Not(not) => !holds(&not.operand),
        Node::ParticipantGroup(group) => participants(killmail, group.role())
            .iter()
            .any(|ids| self::holds(filter, group.operand, killmail, Some(ids))),
        Node::Participant(participant) => match (participant.role(), member) {
            (Role::Member, Some(ids)) => has(ids, participant.field(), &participant.values),
            (role, _) => participants(killmail, role)
                .iter()
                .any(|ids| has(ids, participant.field(), &participant.values)),
        },
        Node::Item(item) => {
            fn flat(items: &[crate::v1::Item]) -> Vec<(u32, u32)> {
                items
                    .iter()
                    .flat_map(|item| [vec![(item.type_id, item.group_id)], flat(&item.items)].concat())
                    .collect()
            }
            let items = killmail
                .victim
                .as_ref()
                .map(|victim| flat(&victim.items))
                .unwrap_or_default();
            items.iter().any(|&(type_id, group_id)| {
                one_of(
                    &item.values,
                    u64::from(if item.kind() == EntityKind::Type {
                        type_id
                    } else {
                        group_id
                    }),
                )
            })
        }
        Node::Place(place) => match killmail.location.as_ref() {
            Some(location) if location.space() != Space::Unspecified => one_of(
                &place.values,
                u64::from(match place.kind() {
                    EntityKind::System => location.system_id,
                    EntityKind::Constellation => location.constellation_id,
                    _ => location.region_id,
                }),
            ),
            _ => false,
        },
        Node::Near(near) => match killmail.location.as_ref() {
            Some(location) if location.space != 0 => near.system_ids.contains(&location.system_id),
            _ => false,
        },
        Node::Space(space) => killmail
            .location
            .as_ref()
            .is_some_and(|location| location.space != 0 && space.spaces.contains(&location.space)),
        Node::Number(wanted) => {
            let isk = |pick: fn(&crate::v1::Valuation) -> Option<f64>| killmail.value.as_ref().and_then(pick);
            let location = killmail.location.as_ref().filter(|location| location.space != 0);
            let number = match wanted.field() {
                NumberField::Value => isk(|value| value.total),
                NumberField::Dropped => isk(|value| value.dropped),
                NumberField::Destroyed => isk(|value| value.destroyed),
                NumberField::Fitted => isk(|value| value.fitted),
                NumberField::Points => killmail.points.map(f64::from),
                NumberField::Attackers => Some(killmail.attackers.iter().map(|_| 1.0).sum()),
                NumberField::Pilots => Some(
                    killmail
                        .attackers
                        .iter()
                        .map(|attacker| if attacker.character_id > 0 { 1.0 } else { 0.0 })
                        .sum(),
                ),
                NumberField::Damage => killmail.victim.as_ref().map(|victim| victim.damage_taken as f64),
                NumberField::Security => location.map(|location| {
                    let tenths = (location.security_status * 10.0 + 0.5).floor();
                    let barely = location.security_status > 0.0 && location.security_status < 0.05;
                    if barely { 0.1 } else { tenths / 10.0 }
                }),
                NumberField::Class => location
                    .filter(|location| location.wormhole_class > 0)
                    .map(|l| f64::from(l.wormhole_class)),
                NumberField::Unspecified => None,
            };
            match (number, wanted.comparison()) {
                (None, _) => false,
                (Some(number), _) if number.is_nan() => false,
                (Some(number), Comparison::Less) => number < wanted.value,
                (Some(number), Comparison::LessOrEqual) => number <= wanted.value,
                (Some(number), Comparison::Greater) => number > wanted.value,
                (Some(number), Comparison::GreaterOrEqual) => number >= wanted.value,
                (Some(number), Comparison::Equal) => number == wanted.value,
                (Some(number), _) => number != wanted.value,
            }
        }
        Node::Flag(flag) => match flag.flag() {
            KillmailFlag::Npc => killmail.npc,
            KillmailFlag::Solo => killmail.solo,
            KillmailFlag::Awox => killmail.awox,
            KillmailFlag::War => killmail.war_id > 0,
            _ => killmail.labels.iter().any(|label| label.to_lowercase() == "ganked"),
        },
        Node::Label(label) => label.labels.iter().any(|wanted| {
            killmail
                .labels
                .iter()
                .any(|label| label.to_lowercase() == wanted.to_lowercase())
        }),
        Node::Hour(hour) => killmail.kill_time.is_some_and(|time| {
            let now = (time.seconds / 3_600 % 24) as u32;
            let mut hours = vec![hour.from];
            while hours[hours.len() - 1] != hour.to {
                hours.push((hours[hours.len() - 1] + 1) % 24);
            }
            hours.contains(&now)
        }),
        Node::Age(age) => match (killmail.kill_time, killmail.ingested_time) {
            (Some(kill), Some(ingested)) => {
                let nanos =
                    |time: prost_types::Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
                let difference = nanos(ingested) - nanos(kill);
                let wanted = i128::from(age.seconds) * 1_000_000_000;
                match age.comparison() {
                    Comparison::Less => difference < wanted,
                    Comparison::LessOrEqual => difference <= wanted,
                    Comparison::Greater => difference > wanted,
                    _ => difference >= wanted,
                }
            }
            _ => false,
        },
    }
}

fn participants(killmail: &Killmail, role: Role) -> Vec<Ids> {
    let victim = killmail.victim.iter().map(|victim| {
        vec![
            (Field::Character, victim.character_id),
            (Field::Corporation, victim.corporation_id),
            (Field::Alliance, victim.alliance_id),
            (Field::Faction, victim.faction_id.into()),
            (Field::Ship, victim.ship_type_id.into()),
            (Field::Group, victim.ship_group_id.into()),
            (Field::Category, victim.ship_category_id.into()),
        ]
    });
    let attackers = killmail
        .attackers
        .iter()
        .filter(|attacker| role != Role::Final || attacker.final_blow)
        .map(|attacker| {
            vec![
                (Field::Character, attacker.character_id),
                (Field::Corporation, attacker.corporation_id),
                (Field::Alliance, attacker.alliance_id),
                (Field::Faction, attacker.faction_id.into()),
                (Field::Ship, attacker.ship_type_id.into()),
                (Field::Group, attacker.ship_group_id.into()),
                (Field::Category, attacker.ship_category_id.into()),
                (Field::Weapon, attacker.weapon_type_id.into()),
                (Field::WeaponGroup, attacker.weapon_group_id.into()),
            ]
        });
    match role {
        Role::Victim => victim.collect(),
        Role::Attacker | Role::Final => attackers.collect(),
        _ => victim.chain(attackers).collect(),
    }
}

fn has(ids: &Ids, field: Field, values: &[FilterValue]) -> bool {
    ids.iter().any(|&(known, id)| known == field && one_of(values, id))
}

fn one_of(values: &[FilterValue], id: u64) -> bool {
    id != 0 && values.iter().any(|value| value.ids.contains(&id))
}
