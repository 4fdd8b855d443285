//! The tree of a filter in memory, and its conversion to and from the flat message.
//!
//! All rules for a valid tree are checked here and nowhere else.

use super::{InvalidFilter, LANGUAGE_VERSION};
use crate::v1::{
    self, Comparison, EntityKind, FilterDistances, FilterNode, FilterValue, KillmailFlag, NumberField,
    ParticipantField, ParticipantRole, Space, filter_near::Reach, filter_node::Node,
};

/// The maximum depth of a tree, which bounds every recursion over it.
///
/// Every compiled text fits: a text has at most 64 levels of parentheses, groups and NOT, and each of them adds at most an
/// `any` and an `all` to the tree.
const MAX_DEPTH: usize = 256;

/// A filter or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    /// Every operand holds. Without operands it matches everything.
    All(Vec<Tree>),
    /// At least one operand holds.
    Any(Vec<Tree>),
    /// The operand does not hold.
    Not(Box<Tree>),
    /// The operand holds for one participant of this role.
    Group(ParticipantRole, Box<Tree>),
    /// A condition.
    Leaf(Leaf),
}

/// A condition, as in the proto file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Leaf {
    Participant {
        role: ParticipantRole,
        field: ParticipantField,
        values: Vec<FilterValue>,
    },
    Item {
        kind: EntityKind,
        values: Vec<FilterValue>,
    },
    Place {
        kind: EntityKind,
        values: Vec<FilterValue>,
    },
    Space(Vec<Space>),
    Number {
        field: NumberField,
        comparison: Comparison,
        value: f64,
    },
    Near {
        origin: FilterValue,
        reach: Reach,
        system_ids: Vec<u32>,
        /// One distance for each system. Matching ignores them.
        distances: Option<FilterDistances>,
    },
    Flag(KillmailFlag),
    Label(Vec<String>),
    Hour {
        from: u32,
        to: u32,
    },
    Age {
        comparison: Comparison,
        seconds: u64,
    },
}

impl Tree {
    /// The tree that matches every killmail.
    pub(super) const EVERYTHING: Self = Self::All(Vec::new());

    /// Joins operands with AND. An operand that is an `All` is flattened, so that equal filters have equal trees.
    pub(super) fn all(operands: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for operand in operands {
            match operand {
                Self::All(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() == 1 {
            flat.remove(0)
        } else {
            Self::All(flat)
        }
    }

    /// Joins at least one operand with OR. An operand that is an `Any` is flattened.
    pub(super) fn any(operands: impl IntoIterator<Item = Self>) -> Self {
        let mut flat = Vec::new();
        for operand in operands {
            match operand {
                Self::Any(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        if flat.len() == 1 {
            flat.remove(0)
        } else {
            Self::Any(flat)
        }
    }

    /// Negates the tree.
    pub(super) fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// Converts the tree to the flat message, in which parents come before their children.
    pub(super) fn to_filter(&self) -> v1::Filter {
        let mut nodes = Vec::new();
        self.write(&mut nodes);
        v1::Filter {
            language_version: LANGUAGE_VERSION,
            nodes,
        }
    }

    fn write(&self, nodes: &mut Vec<FilterNode>) -> u32 {
        let index = nodes.len();
        // Reserve the index of this node before the children get theirs.
        nodes.push(FilterNode::default());
        let node = match self {
            Self::All(operands) => Node::All(v1::FilterAll {
                operands: operands.iter().map(|operand| operand.write(nodes)).collect(),
            }),
            Self::Any(operands) => Node::Any(v1::FilterAny {
                operands: operands.iter().map(|operand| operand.write(nodes)).collect(),
            }),
            Self::Not(operand) => Node::Not(v1::FilterNot {
                operand: operand.write(nodes),
            }),
            Self::Group(role, operand) => Node::ParticipantGroup(v1::FilterParticipantGroup {
                role: (*role).into(),
                operand: operand.write(nodes),
            }),
            Self::Leaf(leaf) => leaf.to_node(),
        };
        nodes[index].node = Some(node);
        // A text has at most 2,000 characters, so the number of nodes fits into a `u32`.
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Converts and checks a message, which may come from an untrusted source.
    pub(super) fn from_filter(filter: &v1::Filter) -> Result<Self, InvalidFilter> {
        if filter.language_version != LANGUAGE_VERSION {
            return Err(InvalidFilter::Version(filter.language_version));
        }
        let places = places(filter)?;
        // Children come after their parents, so iterating backward visits every operand before its node.
        let mut ready: Vec<Option<Self>> = Vec::new();
        ready.resize_with(filter.nodes.len(), || None);
        for (index, node) in filter.nodes.iter().enumerate().rev() {
            let broken = |reason| InvalidFilter::Node { node: index, reason };
            let mut take = |operand: u32| {
                usize::try_from(operand)
                    .ok()
                    .and_then(|operand| ready.get_mut(operand))
                    .and_then(Option::take)
                    .ok_or(broken("an operand is missing"))
            };
            let tree = match node.node.as_ref().ok_or(broken("its kind is unknown"))? {
                Node::All(all) => Self::All(all.operands.iter().map(|&o| take(o)).collect::<Result<_, _>>()?),
                Node::Any(any) => Self::Any(any.operands.iter().map(|&o| take(o)).collect::<Result<_, _>>()?),
                Node::Not(not) => take(not.operand)?.negated(),
                Node::ParticipantGroup(group) => Self::Group(group.role(), Box::new(take(group.operand)?)),
                other => Self::Leaf(Leaf::from_node(other, places[index].group).map_err(broken)?),
            };
            ready[index] = Some(tree);
        }
        ready.into_iter().next().flatten().ok_or(InvalidFilter::Node {
            node: 0,
            reason: "it is missing",
        })
    }
}

/// The position of a node in the tree.
#[derive(Clone, Copy)]
struct NodeContext {
    depth: usize,
    /// The role of the group that contains the node.
    group: Option<ParticipantRole>,
}

/// Checks the operators, and that the nodes form one tree of bounded depth.
fn places(filter: &v1::Filter) -> Result<Vec<NodeContext>, InvalidFilter> {
    let mut places: Vec<Option<NodeContext>> = vec![None; filter.nodes.len()];
    if let Some(root) = places.first_mut() {
        *root = Some(NodeContext { depth: 1, group: None });
    }
    for (index, node) in filter.nodes.iter().enumerate() {
        let broken = |reason| InvalidFilter::Node { node: index, reason };
        // The parent has a lower index, so it was visited before.
        let here = places[index].ok_or(broken("no node before it has it as an operand"))?;
        if here.depth > MAX_DEPTH {
            return Err(broken("it is nested too deeply"));
        }
        let mut group = here.group;
        let operands: &[u32] = match node.node.as_ref().ok_or(broken("its kind is unknown"))? {
            Node::All(all) if all.operands.is_empty() && index > 0 => return Err(broken("it has no operands")),
            Node::All(all) => &all.operands,
            Node::Any(any) if any.operands.len() < 2 => return Err(broken("it has fewer than two operands")),
            Node::Any(any) => &any.operands,
            Node::Not(not) => std::slice::from_ref(&not.operand),
            Node::ParticipantGroup(inner) => {
                if group.is_some() {
                    return Err(broken("it is a group inside a group"));
                }
                match inner.role() {
                    role @ (ParticipantRole::Victim | ParticipantRole::Attacker) => group = Some(role),
                    _ => return Err(broken("the role of a group is neither victim nor attacker")),
                }
                std::slice::from_ref(&inner.operand)
            }
            _ => &[],
        };
        for &operand in operands {
            let child = usize::try_from(operand).ok().filter(|&child| child > index);
            let place = child
                .and_then(|child| places.get_mut(child))
                .ok_or(broken("an operand is not a later node"))?;
            if place.is_some() {
                return Err(broken("an operand belongs to two nodes"));
            }
            *place = Some(NodeContext {
                depth: here.depth + 1,
                group,
            });
        }
    }
    if places.is_empty() {
        return Err(InvalidFilter::Node {
            node: 0,
            reason: "it is missing",
        });
    }
    Ok(places.into_iter().flatten().collect())
}

impl Leaf {
    fn to_node(&self) -> Node {
        match self.clone() {
            Self::Participant { role, field, values } => Node::Participant(v1::FilterParticipant {
                role: role.into(),
                field: field.into(),
                values,
            }),
            Self::Item { kind, values } => Node::Item(v1::FilterItem {
                kind: kind.into(),
                values,
            }),
            Self::Place { kind, values } => Node::Place(v1::FilterPlace {
                kind: kind.into(),
                values,
            }),
            Self::Space(spaces) => Node::Space(v1::FilterSpace {
                spaces: spaces.into_iter().map(Into::into).collect(),
            }),
            Self::Number {
                field,
                comparison,
                value,
            } => Node::Number(v1::FilterNumber {
                field: field.into(),
                comparison: comparison.into(),
                value,
            }),
            Self::Near {
                origin,
                reach,
                system_ids,
                distances,
            } => Node::Near(v1::FilterNear {
                origin: Some(origin),
                reach: Some(reach),
                system_ids,
                distances,
            }),
            Self::Flag(flag) => Node::Flag(v1::FilterFlag { flag: flag.into() }),
            Self::Label(labels) => Node::Label(v1::FilterLabel { labels }),
            Self::Hour { from, to } => Node::Hour(v1::FilterHour { from, to }),
            Self::Age { comparison, seconds } => Node::Age(v1::FilterAge {
                comparison: comparison.into(),
                seconds,
            }),
        }
    }

    fn from_node(node: &Node, group: Option<ParticipantRole>) -> Result<Self, &'static str> {
        if group.is_some() && !matches!(node, Node::Participant(_)) {
            return Err("a group can contain only conditions on a participant");
        }
        Ok(match node {
            Node::All(_) | Node::Any(_) | Node::Not(_) | Node::ParticipantGroup(_) => return Err("not a condition"),
            Node::Participant(participant) => {
                let (role, field) = (participant.role(), participant.field());
                match (role, group) {
                    (ParticipantRole::Unspecified, _) => return Err("its role is unknown"),
                    (ParticipantRole::Member, None) => return Err("the role MEMBER is valid only inside a group"),
                    (ParticipantRole::Member, Some(_)) | (_, None) => {}
                    (_, Some(_)) => return Err("inside a group, only the role MEMBER is valid"),
                }
                let weapon = matches!(field, ParticipantField::Weapon | ParticipantField::WeaponGroup);
                if field == ParticipantField::Unspecified {
                    return Err("its field is unknown");
                }
                if weapon && (role == ParticipantRole::Victim || group == Some(ParticipantRole::Victim)) {
                    return Err("the victim has no weapon");
                }
                Self::Participant {
                    role,
                    field,
                    values: values(&participant.values)?,
                }
            }
            Node::Item(item) => match item.kind() {
                kind @ (EntityKind::Type | EntityKind::Group) => Self::Item {
                    kind,
                    values: values(&item.values)?,
                },
                _ => return Err("an item must be a type or a group"),
            },
            Node::Place(place) => match place.kind() {
                kind @ (EntityKind::System | EntityKind::Constellation | EntityKind::Region) => Self::Place {
                    kind,
                    values: values(&place.values)?,
                },
                _ => return Err("a place must be a system, a constellation or a region"),
            },
            Node::Space(space) => {
                let spaces: Vec<Space> = space.spaces().collect();
                // The iterator omits unknown values or turns them into UNSPECIFIED.
                if spaces.is_empty() || spaces.len() != space.spaces.len() || spaces.contains(&Space::Unspecified) {
                    return Err("a kind of space is missing or unknown");
                }
                Self::Space(spaces)
            }
            Node::Number(number) => {
                if number.field() == NumberField::Unspecified {
                    return Err("its field is unknown");
                }
                if number.comparison() == Comparison::Unspecified {
                    return Err("its comparison is unknown");
                }
                if !number.value.is_finite() {
                    return Err("its number is not finite");
                }
                Self::Number {
                    field: number.field(),
                    comparison: number.comparison(),
                    value: number.value,
                }
            }
            Node::Near(near) => {
                let origin = near.origin.clone().ok_or("it has no origin")?;
                if origin.ids.len() != 1 || origin.ids[0] == 0 {
                    return Err("its origin is not one system");
                }
                let reach = near.reach.ok_or("its reach is missing or unknown")?;
                if matches!(reach, Reach::LightYears(distance) if !distance.is_finite() || distance < 0.0) {
                    return Err("its reach is not a valid distance");
                }
                if near.system_ids.is_empty() || near.system_ids.contains(&0) {
                    return Err("its systems are missing or include the id 0");
                }
                Self::Near {
                    origin,
                    reach,
                    system_ids: near.system_ids.clone(),
                    // Distances are only shown, so wrong ones are dropped instead of making the filter invalid.
                    distances: near.distances.clone().filter(|it| super::distance::fits(it, near)),
                }
            }
            Node::Flag(flag) => match flag.flag() {
                KillmailFlag::Unspecified => return Err("its flag is unknown"),
                flag => Self::Flag(flag),
            },
            Node::Label(label) if label.labels.is_empty() => return Err("it has no label"),
            Node::Label(label) => Self::Label(label.labels.clone()),
            Node::Hour(hour) if hour.from > 23 || hour.to > 23 => return Err("its hour is over 23"),
            Node::Hour(hour) => Self::Hour {
                from: hour.from,
                to: hour.to,
            },
            Node::Age(age) => match age.comparison() {
                comparison @ (Comparison::Less
                | Comparison::LessOrEqual
                | Comparison::Greater
                | Comparison::GreaterOrEqual) => Self::Age {
                    comparison,
                    seconds: age.seconds,
                },
                _ => return Err("its comparison is not valid for an age"),
            },
        })
    }
}

fn values(values: &[FilterValue]) -> Result<Vec<FilterValue>, &'static str> {
    // 0 means "none" in a killmail: an id of 0 would match participants without an alliance.
    if values.is_empty()
        || values
            .iter()
            .any(|value| value.ids.is_empty() || value.ids.contains(&0))
    {
        return Err("a value has no ids, or the id 0");
    }
    Ok(values.to_vec())
}
