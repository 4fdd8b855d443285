//! A filter as the set looks at it: what is asked for as keys, NOT only before single tests, groups taken apart where that is the same.

use std::sync::Arc;

use super::{
    super::tree::{Leaf, Tree},
    key::{
        ANY, ATTACKER, CONSTELLATION, FINAL, FLAG, HAS_VICTIM, HOUR, ITEM, ITEM_GROUP, LABEL, MAX_ID, REGION, SPACE,
        SYSTEM, VICTIM, domain, flag_id, label_id,
    },
};
use crate::v1::{Comparison, EntityKind, FilterValue, KillmailFlag, NumberField, ParticipantRole, Space};

#[derive(Debug, Clone)]
pub(super) enum Expr {
    /// Every one holds; without any: true.
    All(Vec<Expr>),
    /// Some one holds; without any: false.
    Any(Vec<Expr>),
    /// Before a test only.
    Not(Box<Expr>),
    Has(Has),
    Number {
        field: NumberField,
        comparison: Comparison,
        value: f64,
    },
    Age {
        comparison: Comparison,
        seconds: u64,
    },
    /// It holds for one attacker: what stands in it has role [`ANY`].
    SomeAttacker(Box<Expr>),
}

/// The killmail (or, in a group, the attacker) has one of these ids.
#[derive(Debug, Clone)]
pub(super) struct Has {
    pub(super) kind: u8,
    pub(super) role: u8,
    /// Ascending, each once.
    pub(super) ids: Arc<[u64]>,
}

impl Expr {
    pub(super) const TRUE: Self = Self::All(Vec::new());

    /// `None`: it names an id that no key can stand for.
    pub(super) fn of(tree: &Tree) -> Option<Self> {
        Self::with_member(tree, ANY)
    }

    /// `member`: the role of who stands in the group around the tree.
    // Recursive, as everything over a checked tree, which is at most `tree::MAX_DEPTH` deep.
    fn with_member(tree: &Tree, member: u8) -> Option<Self> {
        let each = |operands: &[Tree]| -> Option<Vec<Self>> {
            operands
                .iter()
                .map(|operand| Self::with_member(operand, member))
                .collect()
        };
        Some(match tree {
            Tree::All(operands) => Self::all(each(operands)?),
            Tree::Any(operands) => Self::any(each(operands)?),
            Tree::Not(operand) => Self::with_member(operand, member)?.negated(),
            Tree::Group(ParticipantRole::Victim, operand) => {
                let is_there = has(FLAG, ANY, [flag_id(HAS_VICTIM, true)])?;
                Self::all([is_there, Self::with_member(operand, VICTIM)?])
            }
            Tree::Group(_, operand) => Self::some_attacker(Self::with_member(operand, ANY)?),
            Tree::Leaf(leaf) => Self::leaf(leaf, member)?,
        })
    }

    fn leaf(leaf: &Leaf, member: u8) -> Option<Self> {
        match leaf {
            Leaf::Participant { role, field, values } => {
                let role = match role {
                    ParticipantRole::Victim => VICTIM,
                    ParticipantRole::Attacker => ATTACKER,
                    ParticipantRole::Final => FINAL,
                    ParticipantRole::Member => member,
                    ParticipantRole::Any | ParticipantRole::Unspecified => ANY,
                };
                has(*field as i32 as u8, role, ids(values))
            }
            Leaf::Item {
                kind: EntityKind::Group,
                values,
            } => has(ITEM_GROUP, ANY, ids(values)),
            Leaf::Item { values, .. } => has(ITEM, ANY, ids(values)),
            Leaf::Place { kind, values } => {
                let kind = match kind {
                    EntityKind::System => SYSTEM,
                    EntityKind::Constellation => CONSTELLATION,
                    _ => REGION,
                };
                has(kind, ANY, ids(values))
            }
            Leaf::Near { system_ids, .. } => has(SYSTEM, ANY, system_ids.iter().copied().map(u64::from)),
            Leaf::Space(spaces) => has(SPACE, ANY, spaces.iter().map(|&space| space_id(space))),
            Leaf::Flag(KillmailFlag::Ganked) => has(LABEL, ANY, [label_id("ganked")]),
            Leaf::Flag(flag) => has(FLAG, ANY, [flag_id(*flag as i32 as u64, true)]),
            Leaf::Label(labels) => has(LABEL, ANY, labels.iter().map(|label| label_id(label))),
            &Leaf::Hour { from, to } => {
                let (from, to) = (u64::from(from), u64::from(to));
                let within = |hour: &u64| match from <= to {
                    true => (from..=to).contains(hour),
                    false => *hour >= from || *hour <= to,
                };
                has(HOUR, ANY, (0..24).filter(within))
            }
            &Leaf::Number {
                field,
                comparison,
                value,
            } => Some(Self::Number {
                field,
                comparison,
                value,
            }),
            &Leaf::Age { comparison, seconds } => Some(Self::Age { comparison, seconds }),
        }
    }

    pub(super) fn all(operands: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for operand in operands {
            match operand {
                Self::All(inner) => flat.extend(inner),
                Self::Any(inner) if inner.is_empty() => return Self::Any(inner),
                other => flat.push(other),
            }
        }
        single(flat, Self::All)
    }

    /// What asks for the same in several lists asks for it in one.
    pub(super) fn any(operands: impl IntoIterator<Item = Self>) -> Self {
        let mut flat: Vec<Self> = Vec::new();
        for operand in operands {
            match operand {
                Self::Any(inner) => flat.extend(inner),
                Self::All(inner) if inner.is_empty() => return Self::All(inner),
                Self::Has(more) => {
                    let alike = flat.iter_mut().find_map(|known| match known {
                        Self::Has(has) if (has.kind, has.role) == (more.kind, more.role) => Some(has),
                        _ => None,
                    });
                    match alike {
                        Some(has) => has.ids = sorted(has.ids.iter().chain(&*more.ids).copied()),
                        None => flat.push(Self::Has(more)),
                    }
                }
                other => flat.push(other),
            }
        }
        single(flat, Self::Any)
    }

    fn negated(self) -> Self {
        match self {
            Self::All(operands) => Self::any(operands.into_iter().map(Self::negated)),
            Self::Any(operands) => Self::all(operands.into_iter().map(Self::negated)),
            Self::Not(test) => *test,
            // Each flag is either set or not, and a killmail has many of them: of several none may be as it was asked for.
            Self::Has(Has { kind: FLAG, role, ids }) => Self::all(ids.iter().map(|id| {
                Self::Has(Has {
                    kind: FLAG,
                    role,
                    ids: sorted([id ^ 1]),
                })
            })),
            Self::Has(Has { kind, role, ids }) => match domain(kind) {
                Some(domain) => Self::Has(Has {
                    kind,
                    role,
                    ids: sorted(domain.filter(|id| !ids.contains(id))),
                }),
                None => Self::Not(Box::new(Self::Has(Has { kind, role, ids }))),
            },
            test => Self::Not(Box::new(test)),
        }
    }

    /// Some attacker is one or the other: some attacker is one, or some is the other.
    fn some_attacker(of_one: Self) -> Self {
        match of_one {
            Self::Any(operands) => Self::any(operands.into_iter().map(Self::some_attacker)),
            Self::Has(has) => Self::Has(Has { role: ATTACKER, ..has }),
            other => Self::SomeAttacker(Box::new(other)),
        }
    }

    /// What holds for the killmail wherever this holds for one attacker.
    pub(super) fn relaxed(&self) -> Self {
        match self {
            Self::All(operands) => Self::all(operands.iter().map(Self::relaxed)),
            Self::Any(operands) => Self::any(operands.iter().map(Self::relaxed)),
            Self::Has(has) => Self::Has(Has {
                role: ATTACKER,
                ..has.clone()
            }),
            _ => Self::TRUE,
        }
    }
}

fn single(mut operands: Vec<Expr>, joined: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match operands.len() {
        1 => operands.remove(0),
        _ => joined(operands),
    }
}

fn has(kind: u8, role: u8, ids: impl IntoIterator<Item = u64>) -> Option<Expr> {
    let ids = sorted(ids);
    let known = ids.last().is_none_or(|&last| last <= MAX_ID);
    known.then_some(Expr::Has(Has { kind, role, ids }))
}

fn sorted(ids: impl IntoIterator<Item = u64>) -> Arc<[u64]> {
    let mut ids: Vec<u64> = ids.into_iter().collect();
    if !ids.is_sorted_by(|a, b| a < b) {
        ids.sort_unstable();
        ids.dedup();
    }
    ids.into()
}

fn ids(values: &[FilterValue]) -> impl Iterator<Item = u64> {
    values.iter().flat_map(|value| value.ids.iter().copied())
}

/// A kind of space, as an id of kind [`SPACE`].
pub(super) fn space_id(space: Space) -> u64 {
    space as i32 as u64
}
