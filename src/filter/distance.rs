//! Distances of a system from the origins of a filter's `near( )`, to be shown with a killmail.
//!
//! Matching does not use these distances.

use crate::v1::{Filter, FilterDistances, FilterNear, filter_node::Node};

/// The distance from the origin of a `near( )` to a system within its reach.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance {
    /// The straight distance in thousandths of a light year (9.46e15 m).
    pub milli_light_years: u32,
    /// The number of stargate jumps; `None` if there is no route.
    pub jumps: Option<u32>,
    /// The id of the origin.
    pub origin: u64,
    /// The English name of the origin; empty if unknown.
    pub origin_name: String,
}

/// Returns the distances of `system` from the origins of the filter's `near( )`, nearest first.
///
/// Only conditions that the system meets count, and each origin counts once. A negated `near( )`, an origin that is the
/// system itself, and a tree without distances contribute nothing.
pub fn distances(filter: &Filter, system: u32) -> Vec<Distance> {
    let mut negated = vec![false; filter.nodes.len()];
    let mut found = Vec::new();
    for (index, node) in filter.nodes.iter().enumerate() {
        let here = negated[index];
        // An operand comes after the node that refers to it. Other operands make the tree invalid, so they are ignored.
        let mut pass_on = |operands: &[u32], value: bool| {
            for &operand in operands {
                let later = usize::try_from(operand).ok().filter(|&operand| operand > index);
                if let Some(place) = later.and_then(|operand| negated.get_mut(operand)) {
                    *place = value;
                }
            }
        };
        match &node.node {
            Some(Node::All(all)) => pass_on(&all.operands, here),
            Some(Node::Any(any)) => pass_on(&any.operands, here),
            Some(Node::Not(not)) => pass_on(&[not.operand], !here),
            Some(Node::Near(near)) if !here => found.extend(distance(near, system)),
            _ => {}
        }
    }
    found.sort_unstable();
    let mut origins = Vec::new();
    found.retain(|distance| {
        let new = !origins.contains(&distance.origin);
        origins.push(distance.origin);
        new
    });
    found
}

/// Returns whether there is exactly one distance for each of the condition's systems.
pub(super) fn fits(distances: &FilterDistances, near: &FilterNear) -> bool {
    let systems = near.system_ids.len();
    distances.milli_light_years.len() == systems && distances.jumps_plus_one.len() == systems
}

fn distance(near: &FilterNear, system: u32) -> Option<Distance> {
    let distances = near.distances.as_ref().filter(|distances| fits(distances, near))?;
    let origin = near.origin.as_ref()?;
    let &id = origin.ids.first().filter(|&&id| id != u64::from(system))?;
    let place = near.system_ids.binary_search(&system).ok()?;
    let name = [&distances.origin_name, &origin.text]
        .into_iter()
        .find(|name| !name.is_empty());
    Some(Distance {
        milli_light_years: distances.milli_light_years[place],
        jumps: distances.jumps_plus_one[place].checked_sub(1),
        origin: id,
        origin_name: name.cloned().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        filter::{self, CompileOutcome, Resolution, Resolve},
        v1::{EntityKind, FilterNode},
    };

    /// A fictional map with two origins and five systems around them.
    struct Map;

    const A: u32 = 30_000_001;
    const B: u32 = 30_000_002;

    impl Resolve for Map {
        fn exact(&self, kind: EntityKind, name: &str) -> Resolution {
            let known = [(A, "Alpha"), (B, "Beta")]
                .into_iter()
                .find(|(_, known)| *known == name);
            match known.filter(|_| kind == EntityKind::System) {
                Some((id, name)) => Resolution::Found {
                    name: name.to_owned(),
                    ids: vec![id.into()],
                },
                None => Resolution::Unknown,
            }
        }

        fn wildcard(&self, _: EntityKind, _: &str) -> Vec<u64> {
            Vec::new()
        }

        fn similar(&self, _: EntityKind, _: &str) -> Vec<String> {
            Vec::new()
        }

        fn within_light_years(&self, _: u64, light_years: f64) -> Option<Vec<u32>> {
            let many = light_years > 50.0;
            Some((A..A + if many { 3_000 } else { 5 }).collect())
        }

        fn within_jumps(&self, system: u64, _: u32) -> Option<Vec<u32>> {
            self.within_light_years(system, 5.0)
        }

        fn distances(&self, origin: u64, systems: &[u32]) -> Option<FilterDistances> {
            let away = |system: &u32| u64::from(*system).abs_diff(origin) as u32;
            Some(FilterDistances {
                origin_name: if origin == u64::from(A) { "Alpha" } else { "Beta" }.to_owned(),
                milli_light_years: systems.iter().map(|system| away(system) * 1_500).collect(),
                // A system whose id differs by 4 has no route.
                jumps_plus_one: systems.iter().map(|system| (away(system) + 1) % 5).collect(),
            })
        }
    }

    fn compiled(text: &str) -> Filter {
        match filter::compile(text, &Map) {
            CompileOutcome::Compiled(compiled) => compiled.filter,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn told(text: &str, system: u32) -> Vec<(String, u32, Option<u32>)> {
        let found = distances(&compiled(text), system).into_iter();
        found
            .map(|one| (one.origin_name, one.milli_light_years, one.jumps))
            .collect()
    }

    #[test]
    fn distances_list_each_nearby_origin_once() {
        let alpha = |thousandths, jumps| ("Alpha".to_owned(), thousandths, jumps);
        let beta = |thousandths, jumps| ("Beta".to_owned(), thousandths, jumps);
        for (text, system, expected) in [
            ("near(Alpha, 7ly)", A + 2, vec![alpha(3_000, Some(2))]),
            ("near(Alpha, 7ly)", A + 4, vec![alpha(6_000, None)]),
            ("near(30000001, 5j)", A + 1, vec![alpha(1_500, Some(1))]),
            ("near(Alpha, 7ly)", A, vec![]),
            ("near(Alpha, 7ly)", A + 5, vec![]),
            (
                "near(Alpha, 7ly) OR near(Beta, 7ly)",
                A + 3,
                vec![beta(3_000, Some(2)), alpha(4_500, Some(3))],
            ),
            (
                "near(Alpha, 7ly) near(Alpha, 5j) npc",
                A + 1,
                vec![alpha(1_500, Some(1))],
            ),
            ("npc OR NOT near(Alpha, 7ly)", A + 1, vec![]),
            ("NOT (npc OR NOT near(Alpha, 7ly))", A + 1, vec![alpha(1_500, Some(1))]),
            ("npc", A, vec![]),
        ] {
            assert_eq!(told(text, system), expected, "{text} {system}");
        }
        // Joining filters keeps the distances.
        let both = filter::all_of([&compiled("npc"), &compiled("near(Alpha, 7ly)")]).unwrap();
        assert_eq!(distances(&both, A + 1).len(), 1);
    }

    #[test]
    fn excess_or_mismatched_distances_do_not_affect_matching() {
        assert_eq!(told("near(Alpha, 99ly)", A + 9).len(), 1);
        let large = "near(Alpha, 99ly) OR near(Beta, 99ly)";
        assert_eq!(told(large, A + 9).len(), 1, "5,000 at most in one filter");
        let killmail = crate::v1::Killmail {
            location: Some(crate::v1::Location {
                system_id: A + 1,
                space: crate::v1::Space::Lowsec.into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut odd = compiled("near(Alpha, 7ly)");
        let Some(FilterNode {
            node: Some(Node::Near(near)),
        }) = odd.nodes.first_mut()
        else {
            panic!("one near")
        };
        near.distances.as_mut().unwrap().jumps_plus_one.pop();
        assert!(distances(&odd, A + 1).is_empty());
        assert!(filter::Program::new(&odd).unwrap().matches(&killmail));
        let kept = filter::all_of([&odd]).unwrap();
        let Some(Node::Near(near)) = &kept.nodes[0].node else {
            panic!("one near")
        };
        assert_eq!(near.distances, None);
    }

    #[test]
    fn distances_ignore_operands_out_of_order() {
        let mut filter = compiled("NOT near(Alpha, 7ly)");
        for operand in [0, 7, u32::MAX] {
            let Some(Node::Not(not)) = &mut filter.nodes[0].node else {
                panic!("a negation")
            };
            not.operand = operand;
            assert!(filter::Program::new(&filter).is_err());
            // The tree is invalid, so this only checks that the call returns.
            assert!(distances(&filter, A + 1).len() <= 1);
        }
    }
}
