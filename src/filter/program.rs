//! Evaluation of one checked filter.

use std::sync::Arc;

use super::{
    InvalidFilter,
    ids::IdSet,
    tree::{Leaf, Tree},
};
use crate::v1::{self, Comparison, EntityKind, KillmailFlag, NumberField, ParticipantField, ParticipantRole, Space};

/// A checked filter that tests killmails. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Program(Arc<Predicate>);

/// A condition on a killmail.
#[derive(Debug)]
enum Predicate {
    All(Box<[Predicate]>),
    Any(Box<[Predicate]>),
    Not(Box<Predicate>),
    SomeAttacker(ParticipantPredicate),
    Victim(ParticipantPredicate),
    FinalBlow(ParticipantPredicate),
    VictimOrSomeAttacker(ParticipantPredicate),
    ItemType(IdSet),
    ItemGroup(IdSet),
    System(IdSet),
    Constellation(IdSet),
    Region(IdSet),
    Space(Box<[Space]>),
    Number {
        field: NumberField,
        comparison: Comparison,
        value: f64,
    },
    Flag(KillmailFlag),
    Label(Box<[String]>),
    Hour {
        from: u32,
        to: u32,
    },
    Age {
        comparison: Comparison,
        nanos: i128,
    },
}

/// A condition on one participant.
#[derive(Debug)]
enum ParticipantPredicate {
    All(Box<[ParticipantPredicate]>),
    Any(Box<[ParticipantPredicate]>),
    Not(Box<ParticipantPredicate>),
    Has(ParticipantField, IdSet),
}

impl Program {
    /// Checks every node of a filter and prepares it for matching.
    pub fn new(filter: &v1::Filter) -> Result<Self, InvalidFilter> {
        Tree::from_filter(filter).map(|tree| Self::of(&tree))
    }

    /// Returns the program that matches every killmail.
    pub fn everything() -> Self {
        Self::of(&Tree::EVERYTHING)
    }

    /// Returns whether the filter matches `killmail`.
    pub fn matches(&self, killmail: &v1::Killmail) -> bool {
        self.0.holds(killmail)
    }

    pub(super) fn of(tree: &Tree) -> Self {
        Self(Arc::new(Predicate::of(tree)))
    }
}

impl Predicate {
    // Recursion is safe here and in `holds`: a checked tree is at most `tree::MAX_DEPTH` deep.
    fn of(tree: &Tree) -> Self {
        match tree {
            Tree::All(operands) => Self::All(operands.iter().map(Self::of).collect()),
            Tree::Any(operands) => Self::Any(operands.iter().map(Self::of).collect()),
            Tree::Not(operand) => Self::Not(Box::new(Self::of(operand))),
            Tree::Group(ParticipantRole::Victim, operand) => Self::Victim(ParticipantPredicate::of(operand)),
            Tree::Group(_, operand) => Self::SomeAttacker(ParticipantPredicate::of(operand)),
            Tree::Leaf(leaf) => match leaf {
                Leaf::Participant { role, field, values } => {
                    let member = ParticipantPredicate::Has(*field, IdSet::of(values));
                    match role {
                        ParticipantRole::Victim => Self::Victim(member),
                        ParticipantRole::Attacker => Self::SomeAttacker(member),
                        ParticipantRole::Final => Self::FinalBlow(member),
                        // In a checked tree, members occur only in groups and unspecified roles do not occur.
                        ParticipantRole::Any | ParticipantRole::Member | ParticipantRole::Unspecified => {
                            Self::VictimOrSomeAttacker(member)
                        }
                    }
                }
                Leaf::Item {
                    kind: EntityKind::Group,
                    values,
                } => Self::ItemGroup(IdSet::of(values)),
                Leaf::Item { values, .. } => Self::ItemType(IdSet::of(values)),
                Leaf::Place {
                    kind: EntityKind::System,
                    values,
                } => Self::System(IdSet::of(values)),
                Leaf::Place {
                    kind: EntityKind::Constellation,
                    values,
                } => Self::Constellation(IdSet::of(values)),
                Leaf::Place { values, .. } => Self::Region(IdSet::of(values)),
                Leaf::Near { system_ids, .. } => Self::System(system_ids.iter().copied().map(u64::from).collect()),
                Leaf::Space(spaces) => Self::Space(spaces.as_slice().into()),
                &Leaf::Number {
                    field,
                    comparison,
                    value,
                } => Self::Number {
                    field,
                    comparison,
                    value,
                },
                Leaf::Flag(flag) => Self::Flag(*flag),
                Leaf::Label(labels) => Self::Label(labels.as_slice().into()),
                &Leaf::Hour { from, to } => Self::Hour { from, to },
                &Leaf::Age { comparison, seconds } => Self::Age {
                    comparison,
                    nanos: i128::from(seconds) * NANOS,
                },
            },
        }
    }

    fn holds(&self, killmail: &v1::Killmail) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(killmail)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(killmail)),
            Self::Not(test) => !test.holds(killmail),
            Self::SomeAttacker(member) => some_attacker(killmail, member),
            Self::Victim(member) => victim(killmail, member),
            Self::FinalBlow(member) => killmail
                .attackers
                .iter()
                .any(|attacker| attacker.final_blow && member.holds(&Participant::Attacker(attacker))),
            Self::VictimOrSomeAttacker(member) => victim(killmail, member) || some_attacker(killmail, member),
            Self::ItemType(ids) => some_item(killmail, |item| ids.contains(item.type_id.into())),
            Self::ItemGroup(ids) => some_item(killmail, |item| ids.contains(item.group_id.into())),
            Self::System(ids) => place(killmail).is_some_and(|place| ids.contains(place.system_id.into())),
            Self::Constellation(ids) => {
                place(killmail).is_some_and(|place| ids.contains(place.constellation_id.into()))
            }
            Self::Region(ids) => place(killmail).is_some_and(|place| ids.contains(place.region_id.into())),
            Self::Space(spaces) => place(killmail).is_some_and(|place| spaces.contains(&place.space())),
            Self::Number {
                field,
                comparison,
                value,
            } => number(killmail, *field).is_some_and(|number| compare(*comparison, &number, value)),
            Self::Flag(flag) => is_set(killmail, *flag),
            Self::Label(wanted) => killmail
                .labels
                .iter()
                .any(|label| wanted.iter().any(|wanted| same_label(label, wanted))),
            &Self::Hour { from, to } => killmail.kill_time.is_some_and(|time| {
                let hour = time.seconds.rem_euclid(86_400) / 3_600;
                let (from, to) = (i64::from(from), i64::from(to));
                if from <= to {
                    (from..=to).contains(&hour)
                } else {
                    hour >= from || hour <= to
                }
            }),
            Self::Age { comparison, nanos } => match (killmail.kill_time, killmail.ingested_time) {
                (Some(kill), Some(ingested)) => compare(*comparison, &(instant(ingested) - instant(kill)), nanos),
                _ => false,
            },
        }
    }
}

impl ParticipantPredicate {
    fn of(tree: &Tree) -> Self {
        match tree {
            Tree::All(operands) => Self::All(operands.iter().map(Self::of).collect()),
            Tree::Any(operands) => Self::Any(operands.iter().map(Self::of).collect()),
            Tree::Not(operand) => Self::Not(Box::new(Self::of(operand))),
            Tree::Leaf(Leaf::Participant { field, values, .. }) => Self::Has(*field, IdSet::of(values)),
            // A checked group contains nothing else. An empty `Any` matches nobody.
            Tree::Group(..) | Tree::Leaf(_) => Self::Any(Box::default()),
        }
    }

    fn holds(&self, participant: &Participant<'_>) -> bool {
        match self {
            Self::All(members) => members.iter().all(|member| member.holds(participant)),
            Self::Any(members) => members.iter().any(|member| member.holds(participant)),
            Self::Not(member) => !member.holds(participant),
            // 0 means "none", and no set contains 0.
            Self::Has(field, ids) => ids.contains(participant.id(*field)),
        }
    }
}

/// A participant of a killmail.
pub(super) enum Participant<'a> {
    /// The victim.
    Victim(&'a v1::Victim),
    /// One of the attackers.
    Attacker(&'a v1::Attacker),
}

impl Participant<'_> {
    /// Returns the id in a field; 0 means "none".
    pub(super) fn id(&self, field: ParticipantField) -> u64 {
        match (self, field) {
            (_, ParticipantField::Unspecified) => 0,
            (Self::Victim(victim), ParticipantField::Character) => victim.character_id,
            (Self::Victim(victim), ParticipantField::Corporation) => victim.corporation_id,
            (Self::Victim(victim), ParticipantField::Alliance) => victim.alliance_id,
            (Self::Victim(victim), ParticipantField::Faction) => victim.faction_id.into(),
            (Self::Victim(victim), ParticipantField::Ship) => victim.ship_type_id.into(),
            (Self::Victim(victim), ParticipantField::Group) => victim.ship_group_id.into(),
            (Self::Victim(victim), ParticipantField::Category) => victim.ship_category_id.into(),
            (Self::Victim(_), ParticipantField::Weapon | ParticipantField::WeaponGroup) => 0,
            (Self::Attacker(attacker), ParticipantField::Character) => attacker.character_id,
            (Self::Attacker(attacker), ParticipantField::Corporation) => attacker.corporation_id,
            (Self::Attacker(attacker), ParticipantField::Alliance) => attacker.alliance_id,
            (Self::Attacker(attacker), ParticipantField::Faction) => attacker.faction_id.into(),
            (Self::Attacker(attacker), ParticipantField::Ship) => attacker.ship_type_id.into(),
            (Self::Attacker(attacker), ParticipantField::Group) => attacker.ship_group_id.into(),
            (Self::Attacker(attacker), ParticipantField::Category) => attacker.ship_category_id.into(),
            (Self::Attacker(attacker), ParticipantField::Weapon) => attacker.weapon_type_id.into(),
            (Self::Attacker(attacker), ParticipantField::WeaponGroup) => attacker.weapon_group_id.into(),
        }
    }
}

/// The number of nanoseconds in a second.
pub(super) const NANOS: i128 = 1_000_000_000;

/// Returns the nanoseconds since 1970.
pub(super) fn instant(time: prost_types::Timestamp) -> i128 {
    i128::from(time.seconds) * NANOS + i128::from(time.nanos)
}

fn victim(killmail: &v1::Killmail, member: &ParticipantPredicate) -> bool {
    killmail
        .victim
        .as_ref()
        .is_some_and(|victim| member.holds(&Participant::Victim(victim)))
}

fn some_attacker(killmail: &v1::Killmail, member: &ParticipantPredicate) -> bool {
    killmail
        .attackers
        .iter()
        .any(|attacker| member.holds(&Participant::Attacker(attacker)))
}

/// Returns whether any item matches, including items in nested containers.
///
/// The depth of containers is not limited, so an explicit stack replaces recursion.
fn some_item(killmail: &v1::Killmail, is_wanted: impl Fn(&v1::Item) -> bool) -> bool {
    let mut inside: Vec<&[v1::Item]> = Vec::new();
    let mut items: &[v1::Item] = killmail.victim.as_ref().map_or(&[], |victim| &victim.items);
    loop {
        for item in items {
            if is_wanted(item) {
                return true;
            }
            if !item.items.is_empty() {
                inside.push(&item.items);
            }
        }
        match inside.pop() {
            Some(next) => items = next,
            None => return false,
        }
    }
}

/// Returns the location of a killmail; `None` if it is unknown.
pub(super) fn place(killmail: &v1::Killmail) -> Option<&v1::Location> {
    killmail
        .location
        .as_ref()
        .filter(|location| location.space() != Space::Unspecified)
}

/// Returns the number in a field; `None` if the killmail does not contain it.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact below 2^53, and no count or damage comes near"
)]
pub(super) fn number(killmail: &v1::Killmail, field: NumberField) -> Option<f64> {
    let value = killmail.value.as_ref();
    let number = match field {
        NumberField::Unspecified => None,
        NumberField::Value => value?.total,
        NumberField::Dropped => value?.dropped,
        NumberField::Destroyed => value?.destroyed,
        NumberField::Fitted => value?.fitted,
        NumberField::Points => killmail.points.map(f64::from),
        NumberField::Attackers => Some(killmail.attackers.len() as f64),
        NumberField::Pilots => Some(
            killmail
                .attackers
                .iter()
                .filter(|attacker| attacker.character_id != 0)
                .count() as f64,
        ),
        NumberField::Damage => killmail.victim.as_ref().map(|victim| victim.damage_taken as f64),
        NumberField::Security => place(killmail).map(|place| displayed_security(place.security_status)),
        NumberField::Class => place(killmail)
            .map(|place| place.wormhole_class)
            .filter(|&class| class != 0)
            .map(f64::from),
    };
    // NaN counts as absent: without this filter, `!=` would be true for it.
    number.filter(|number| !number.is_nan())
}

/// Rounds a security status as the game does.
fn displayed_security(security: f64) -> f64 {
    if security > 0.0 && security < 0.05 {
        0.1
    } else {
        (10.0 * security + 0.5).floor() / 10.0
    }
}

/// Returns whether the killmail has the flag.
pub(super) fn is_set(killmail: &v1::Killmail, flag: KillmailFlag) -> bool {
    match flag {
        KillmailFlag::Npc => killmail.npc,
        KillmailFlag::Solo => killmail.solo,
        KillmailFlag::Awox => killmail.awox,
        KillmailFlag::War => killmail.war_id != 0,
        KillmailFlag::Ganked => killmail.labels.iter().any(|label| same_label(label, "ganked")),
        KillmailFlag::Unspecified => false,
    }
}

pub(super) fn compare<T: PartialOrd>(comparison: Comparison, left: &T, right: &T) -> bool {
    match comparison {
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Unspecified => false,
    }
}

fn same_label(left: &str, right: &str) -> bool {
    left.chars()
        .flat_map(char::to_lowercase)
        .eq(right.chars().flat_map(char::to_lowercase))
}
