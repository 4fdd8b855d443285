//! What a filter makes of one killmail, clause by clause, with the killmail's own values. Pure.

mod values;

use killfeed::{
    filter::{Program, canonical},
    v1::{
        Filter, FilterAll, FilterAny, FilterNode, FilterNot, FilterParticipantGroup, Killmail, ParticipantRole,
        filter_node::Node,
    },
};

/// One clause of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// How deep it stands inside of others.
    pub depth: usize,
    /// Whether it holds.
    pub holds: bool,
    /// As the filter has it; for an OR only the word that joins what follows.
    pub text: String,
    /// What the killmail has there.
    pub values: String,
}

/// Nobody reads more.
const MAX_CLAUSES: usize = 60;

/// The clauses of a filter, in its order. Empty = everything matches. A broken filter is one clause that says so.
pub fn explain(filter: &Filter, killmail: &Killmail) -> Vec<Clause> {
    let mut clauses = Vec::new();
    if let Err(error) = Program::new(filter) {
        clauses.push(Clause {
            depth: 0,
            holds: false,
            text: "the filter".to_owned(),
            values: error.to_string(),
        });
        return clauses;
    }
    clause(filter, 0, 0, killmail, &mut clauses);
    clauses
}

fn clause(filter: &Filter, index: u32, depth: usize, killmail: &Killmail, clauses: &mut Vec<Clause>) {
    if clauses.len() >= MAX_CLAUSES {
        return;
    }
    let Some(node) = node(filter, index) else {
        return;
    };
    match node {
        Node::All(all) if depth == 0 => {
            for &operand in &all.operands {
                clause(filter, operand, depth + 1, killmail, clauses);
            }
        }
        Node::Any(FilterAny { operands }) | Node::All(FilterAll { operands }) => {
            let some = matches!(node, Node::Any(_));
            clauses.push(Clause {
                depth: depth.saturating_sub(1),
                holds: holds(filter, index, killmail),
                text: if some { "one of these" } else { "all of these" }.to_owned(),
                values: String::new(),
            });
            for &operand in operands {
                clause(filter, operand, depth + 1, killmail, clauses);
            }
        }
        _ => clauses.push(Clause {
            depth: depth.saturating_sub(1),
            holds: holds(filter, index, killmail),
            text: canonical(&subtree(filter, index)),
            values: inner(filter, index, killmail),
        }),
    }
}

/// The values that a condition, or the one below its NOTs, is about.
fn inner(filter: &Filter, index: u32, killmail: &Killmail) -> String {
    match node(filter, index) {
        Some(Node::Not(FilterNot { operand })) => inner(filter, *operand, killmail),
        Some(Node::All(FilterAll { operands }) | Node::Any(FilterAny { operands })) => {
            let values: Vec<String> = operands
                .iter()
                .take(4)
                .map(|operand| inner(filter, *operand, killmail))
                .collect();
            values.join("; ")
        }
        Some(Node::ParticipantGroup(group)) => values::group(&subtree(filter, index), group.role(), killmail),
        Some(leaf) => values::leaf(leaf, killmail),
        None => String::new(),
    }
}

fn holds(filter: &Filter, index: u32, killmail: &Killmail) -> bool {
    Program::new(&subtree(filter, index)).is_ok_and(|program| program.matches(killmail))
}

fn node(filter: &Filter, index: u32) -> Option<&Node> {
    filter.nodes.get(usize::try_from(index).ok()?)?.node.as_ref()
}

/// A node with everything below it as a filter of its own.
fn subtree(filter: &Filter, index: u32) -> Filter {
    let mut nodes: Vec<FilterNode> = Vec::new();
    let mut queue = vec![index];
    let mut next = 0;
    // Breadth first: an operand's index is greater than that of the node that names it.
    while let Some(&index) = queue.get(next) {
        next += 1;
        let mut renumber = |operand: u32| {
            queue.push(operand);
            u32::try_from(queue.len() - 1).unwrap_or(u32::MAX)
        };
        let node = node(filter, index).map(|node| match node {
            Node::All(all) => Node::All(FilterAll {
                operands: all.operands.iter().map(|operand| renumber(*operand)).collect(),
            }),
            Node::Any(any) => Node::Any(FilterAny {
                operands: any.operands.iter().map(|operand| renumber(*operand)).collect(),
            }),
            Node::Not(not) => Node::Not(FilterNot {
                operand: renumber(not.operand),
            }),
            Node::ParticipantGroup(group) => Node::ParticipantGroup(FilterParticipantGroup {
                role: group.role,
                operand: renumber(group.operand),
            }),
            leaf => leaf.clone(),
        });
        nodes.push(FilterNode { node });
    }
    Filter {
        language_version: filter.language_version,
        nodes,
    }
}

/// Who a role is, for people.
fn who(role: ParticipantRole) -> &'static str {
    match role {
        ParticipantRole::Victim => "the victim",
        ParticipantRole::Final => "the final blow",
        _ => "the attackers",
    }
}

#[cfg(test)]
mod tests {
    use killfeed::v1::{
        Attacker, Comparison, Entity, EntityKind, FilterFlag, FilterNumber, FilterParticipant, FilterValue,
        KillmailFlag, NumberField, ParticipantField, Valuation, Victim,
    };

    use super::*;

    fn participant(role: ParticipantRole, id: u64, name: &str) -> Node {
        Node::Participant(FilterParticipant {
            role: role.into(),
            field: ParticipantField::Alliance.into(),
            values: vec![FilterValue {
                text: name.into(),
                ids: vec![id],
            }],
        })
    }

    fn killmail() -> Killmail {
        let attacker = |alliance_id| Attacker {
            alliance_id,
            ..Default::default()
        };
        Killmail {
            victim: Some(Victim {
                alliance_id: 7,
                ..Default::default()
            }),
            attackers: vec![attacker(5), attacker(5), attacker(6)],
            value: Some(Valuation {
                total: Some(312_000_000.0),
                ..Default::default()
            }),
            entities: vec![Entity {
                kind: EntityKind::Alliance.into(),
                id: 5,
                name: "Five".into(),
                ticker: "V".into(),
            }],
            ..Default::default()
        }
    }

    #[test]
    fn every_clause_says_what_the_killmail_has() {
        // attacker.alliance:Five NOT value>=1b (npc OR attacker(alliance:Six))
        let nodes = [
            Node::All(FilterAll {
                operands: vec![1, 2, 3],
            }),
            participant(ParticipantRole::Attacker, 5, "Five"),
            Node::Not(FilterNot { operand: 4 }),
            Node::Any(FilterAny { operands: vec![5, 6] }),
            Node::Number(FilterNumber {
                field: NumberField::Value.into(),
                comparison: Comparison::GreaterOrEqual.into(),
                value: 1e9,
            }),
            Node::Flag(FilterFlag {
                flag: KillmailFlag::Npc.into(),
            }),
            Node::ParticipantGroup(FilterParticipantGroup {
                role: ParticipantRole::Attacker.into(),
                operand: 7,
            }),
            participant(ParticipantRole::Member, 6, "Six"),
        ];
        let filter = Filter {
            language_version: killfeed::filter::LANGUAGE_VERSION,
            nodes: nodes.into_iter().map(|node| FilterNode { node: Some(node) }).collect(),
        };
        let shown: Vec<String> = explain(&filter, &killmail())
            .into_iter()
            .map(|clause| {
                let mark = if clause.holds { "+" } else { "-" };
                format!("{}{mark} {}: {}", "  ".repeat(clause.depth), clause.text, clause.values)
            })
            .collect();
        insta::assert_snapshot!("explained", shown.join("\n"));
        assert!(explain(&crate::matching::tests::everything(), &killmail()).is_empty());
    }
}
