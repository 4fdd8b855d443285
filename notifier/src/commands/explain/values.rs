//! What a killmail has where a condition looks.

use killfeed::{
    filter::{Program, participant_kind},
    v1::{
        Attacker, EntityKind, Filter, FilterItem, FilterParticipant, FilterPlace, Item, Killmail, KillmailFlag,
        NumberField, ParticipantField, ParticipantRole, Space, filter_node::Node,
    },
};

use super::who;
use crate::render::text;

/// Of so many different ones at most.
const NAMED: usize = 3;

/// The values that a condition without operands looks at.
pub(super) fn leaf(node: &Node, killmail: &Killmail) -> String {
    match node {
        Node::Participant(participant) => participants(participant, killmail),
        Node::Item(item) => items(item, killmail),
        Node::Place(place) => place_name(place, killmail),
        Node::Near(_) => named(killmail, EntityKind::System, system(killmail)),
        Node::Space(_) => space(killmail),
        Node::Number(number) => amount(number.field(), killmail),
        Node::Flag(flag) => yes_or_no(match flag.flag() {
            KillmailFlag::Npc => killmail.npc,
            KillmailFlag::Solo => killmail.solo,
            KillmailFlag::Awox => killmail.awox,
            KillmailFlag::War => killmail.war_id != 0,
            _ => return labels(killmail),
        }),
        Node::Label(_) => labels(killmail),
        Node::Hour(_) => killmail.kill_time.as_ref().map_or_else(unknown, |time| {
            format!("{} h EVE time", time.seconds.rem_euclid(86_400) / 3_600)
        }),
        Node::Age(_) => match (&killmail.kill_time, &killmail.ingested_time) {
            (Some(kill), Some(ingested)) => span(ingested.seconds.saturating_sub(kill.seconds)),
            _ => unknown(),
        },
        Node::All(_) | Node::Any(_) | Node::Not(_) | Node::ParticipantGroup(_) => String::new(),
    }
}

/// How many of those who took part have everything that `group` asks of one of them.
pub(super) fn group(group: &Filter, role: ParticipantRole, killmail: &Killmail) -> String {
    let Ok(program) = Program::new(group) else {
        return String::new();
    };
    if role == ParticipantRole::Victim {
        return yes_or_no(program.matches(killmail));
    }
    let alone = |attacker: &Attacker| Killmail {
        attackers: vec![*attacker],
        ..Default::default()
    };
    let all = killmail.attackers.len();
    let fitting = killmail
        .attackers
        .iter()
        .filter(|attacker| program.matches(&alone(attacker)))
        .count();
    match fitting {
        0 => format!("none of the {all} attackers matches all conditions"),
        _ => format!("{fitting} of {all} attackers"),
    }
}

fn participants(condition: &FilterParticipant, killmail: &Killmail) -> String {
    let field = condition.field();
    let kind = participant_kind(field);
    let victim = || {
        let id = killmail.victim.as_ref().map_or(0, |victim| match field {
            ParticipantField::Character => victim.character_id,
            ParticipantField::Corporation => victim.corporation_id,
            ParticipantField::Alliance => victim.alliance_id,
            ParticipantField::Faction => victim.faction_id.into(),
            ParticipantField::Ship => victim.ship_type_id.into(),
            ParticipantField::Group => victim.ship_group_id.into(),
            ParticipantField::Category => victim.ship_category_id.into(),
            ParticipantField::Weapon | ParticipantField::WeaponGroup | ParticipantField::Unspecified => 0,
        });
        format!("{}: {}", who(ParticipantRole::Victim), named(killmail, kind, id))
    };
    let attackers = |final_blow: bool| {
        let mut counted: Vec<(u64, usize)> = Vec::new();
        for attacker in killmail.attackers.iter().filter(|one| !final_blow || one.final_blow) {
            let id = of_attacker(attacker, field);
            match counted.iter_mut().find(|(known, _)| *known == id) {
                Some((_, count)) => *count += 1,
                None => counted.push((id, 1)),
            }
        }
        // Those asked for first, then the commonest.
        let asked = |id: u64| condition.values.iter().any(|value| value.ids.contains(&id));
        counted.sort_by_key(|(id, count)| (!asked(*id), std::cmp::Reverse(*count)));
        let more = counted.len().saturating_sub(NAMED);
        let shown = counted.iter().take(NAMED).map(|(id, count)| match count {
            1 => named(killmail, kind, *id),
            _ => format!("{} ×{count}", named(killmail, kind, *id)),
        });
        let mut shown: Vec<String> = shown.collect();
        if more > 0 {
            shown.push(format!("{more} more"));
        }
        let role = if final_blow {
            ParticipantRole::Final
        } else {
            ParticipantRole::Attacker
        };
        format!("{}: {}", who(role), shown.join(", "))
    };
    match condition.role() {
        ParticipantRole::Victim => victim(),
        ParticipantRole::Final => attackers(true),
        ParticipantRole::Attacker => attackers(false),
        _ => format!("{}; {}", victim(), attackers(false)),
    }
}

fn of_attacker(attacker: &Attacker, field: ParticipantField) -> u64 {
    match field {
        ParticipantField::Unspecified => 0,
        ParticipantField::Character => attacker.character_id,
        ParticipantField::Corporation => attacker.corporation_id,
        ParticipantField::Alliance => attacker.alliance_id,
        ParticipantField::Faction => attacker.faction_id.into(),
        ParticipantField::Ship => attacker.ship_type_id.into(),
        ParticipantField::Group => attacker.ship_group_id.into(),
        ParticipantField::Category => attacker.ship_category_id.into(),
        ParticipantField::Weapon => attacker.weapon_type_id.into(),
        ParticipantField::WeaponGroup => attacker.weapon_group_id.into(),
    }
}

fn items(condition: &FilterItem, killmail: &Killmail) -> String {
    let wanted = |id: u32| condition.values.iter().any(|value| value.ids.contains(&id.into()));
    let of_group = condition.kind() == EntityKind::Group;
    let mut found: Vec<u32> = Vec::new();
    let mut carried = 0_usize;
    let mut inside: Vec<&[Item]> = killmail.victim.iter().map(|victim| &victim.items[..]).collect();
    while let Some(items) = inside.pop() {
        for item in items {
            carried += 1;
            let fits = wanted(if of_group { item.group_id } else { item.type_id });
            if fits && !found.contains(&item.type_id) {
                found.push(item.type_id);
            }
            inside.push(&item.items);
        }
    }
    if found.is_empty() {
        return match carried {
            0 => "the victim carried nothing".to_owned(),
            1 => "not the victim's only item".to_owned(),
            _ => format!("none of the victim's {carried} items"),
        };
    }
    let names = found
        .iter()
        .take(NAMED)
        .map(|id| named(killmail, EntityKind::Type, (*id).into()));
    names.collect::<Vec<_>>().join(", ")
}

fn place_name(condition: &FilterPlace, killmail: &Killmail) -> String {
    let Some(place) = &killmail.location else {
        return unknown();
    };
    let (name, id) = match condition.kind() {
        EntityKind::Constellation => (&place.constellation_name, place.constellation_id),
        EntityKind::Region => (&place.region_name, place.region_id),
        _ => (&place.system_name, place.system_id),
    };
    match (name.as_str(), id) {
        ("", 0) => unknown(),
        ("", id) => id.to_string(),
        (name, _) => text::plain(name, 100),
    }
}

fn system(killmail: &Killmail) -> u64 {
    killmail.location.as_ref().map_or(0, |place| place.system_id.into())
}

fn space(killmail: &Killmail) -> String {
    let word = match killmail.location.as_ref().map(killfeed::v1::Location::space) {
        Some(Space::Highsec) => "highsec",
        Some(Space::Lowsec) => "lowsec",
        Some(Space::Nullsec) => "nullsec",
        Some(Space::Wormhole) => "wormhole",
        Some(Space::Abyssal) => "abyssal",
        Some(Space::Pochven) => "pochven",
        Some(Space::Unspecified) | None => return unknown(),
    };
    word.to_owned()
}

fn amount(field: NumberField, killmail: &Killmail) -> String {
    let value = killmail.value.as_ref();
    let isk = |amount: Option<f64>| amount.map_or_else(unknown, text::isk);
    let place = killmail
        .location
        .as_ref()
        .filter(|place| place.space() != Space::Unspecified);
    match field {
        NumberField::Unspecified => String::new(),
        NumberField::Value => isk(value.and_then(|value| value.total)),
        NumberField::Dropped => isk(value.and_then(|value| value.dropped)),
        NumberField::Destroyed => isk(value.and_then(|value| value.destroyed)),
        NumberField::Fitted => isk(value.and_then(|value| value.fitted)),
        NumberField::Points => killmail.points.map_or_else(unknown, |points| points.to_string()),
        NumberField::Attackers => killmail.attackers.len().to_string(),
        NumberField::Pilots => {
            let pilots = killmail.attackers.iter().filter(|attacker| attacker.character_id != 0);
            pilots.count().to_string()
        }
        NumberField::Damage => {
            let victim = killmail.victim.as_ref();
            victim.map_or_else(unknown, |victim| victim.damage_taken.to_string())
        }
        NumberField::Security => place.map_or_else(unknown, |place| text::security(place.security_status)),
        NumberField::Class => match place.map(|place| place.wormhole_class) {
            None | Some(0) => "none".to_owned(),
            Some(class) => class.to_string(),
        },
    }
}

fn labels(killmail: &Killmail) -> String {
    if killmail.labels.is_empty() {
        return "no labels".to_owned();
    }
    let labels: Vec<String> = killmail
        .labels
        .iter()
        .take(10)
        .map(|label| text::plain(label, 40))
        .collect();
    labels.join(", ")
}

/// The name that the killmail carries for an id, else the id.
fn named(killmail: &Killmail, kind: EntityKind, id: u64) -> String {
    if id == 0 {
        return "none".to_owned();
    }
    if kind == EntityKind::System
        && let Some(place) = killmail
            .location
            .as_ref()
            .filter(|place| u64::from(place.system_id) == id)
        && !place.system_name.is_empty()
    {
        return text::plain(&place.system_name, 100);
    }
    let known = killmail
        .entities
        .iter()
        .find(|entity| entity.kind() == kind && entity.id == id);
    known.map_or_else(|| id.to_string(), |entity| text::plain(&entity.name, 100))
}

fn yes_or_no(it_is: bool) -> String {
    if it_is { "yes" } else { "no" }.to_owned()
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// `45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`.
fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}
