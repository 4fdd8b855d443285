//! Warnings about terms that exclude each other: `system:Jita space:nullsec`, `value>=1b value<500m`.
//!
//! The check is not complete: it warns only about contradictions that it is certain of.

use std::cell::OnceCell;

use super::{
    Program, Resolve, print,
    syntax::{Kind, Problem, Span, Term, TermEdit},
    tree::{Leaf, Tree},
};
use crate::v1::{self, Comparison, EntityKind, FilterValue, NumberField, ParticipantRole, Space};

/// The number of characters of a term that a warning quotes.
const QUOTED: usize = 60;

/// The number of conditions on the place that are tested in pairs.
///
/// The number of pairs grows with the square of this.
const PAIRS_OF: usize = 16;

/// Checks every AND of a text whose names are resolved.
pub(super) fn find(text: &str, root: &Term, resolve: &dyn Resolve, warnings: &mut Vec<Problem>) {
    below(text, root, root, &Places::new(resolve), warnings);
}

fn below(text: &str, root: &Term, term: &Term, places: &Places<'_>, warnings: &mut Vec<Problem>) {
    match &term.kind {
        Kind::All { .. } => {
            let mut together = Vec::new();
            conjuncts(term, &mut together);
            warnings.extend(among(text, root, &together, places));
            for conjunct in together {
                below(text, root, conjunct.term, places, warnings);
            }
        }
        Kind::Any { terms, .. } => {
            for term in terms {
                below(text, root, term, places, warnings);
            }
        }
        Kind::Not(inner) | Kind::Parenthesised(inner) | Kind::Group(_, inner) => {
            below(text, root, inner, places, warnings);
        }
        Kind::Named(_) | Kind::Near { .. } | Kind::Done { .. } => {}
    }
}

/// One operand of an AND.
struct Conjunct<'a> {
    term: &'a Term,
    tree: Tree,
}

/// Collects the operands of an AND, including those of an AND in parentheses directly inside it.
fn conjuncts<'a>(term: &'a Term, found: &mut Vec<Conjunct<'a>>) {
    match &term.kind {
        Kind::All { terms, .. } => terms.iter().for_each(|term| conjuncts(term, found)),
        Kind::Parenthesised(inner) if matches!(inner.kind, Kind::All { .. } | Kind::Parenthesised(_)) => {
            conjuncts(inner, found);
        }
        _ => found.push(Conjunct {
            term,
            tree: term.tree(),
        }),
    }
}

/// Returns a warning about the first contradiction. One at a time is enough to fix.
fn among(text: &str, root: &Term, together: &[Conjunct<'_>], places: &Places<'_>) -> Option<Problem> {
    if let Some((first, second)) = pair(together, |first, second| excludes(&first.tree, &second.tree)) {
        return Some(warning(text, root, first, second));
    }
    let about_place: Vec<&Conjunct<'_>> = together
        .iter()
        .filter(|conjunct| is_about_place(&conjunct.tree))
        .collect();
    let trees: Vec<&Tree> = about_place.iter().map(|conjunct| &conjunct.tree).collect();
    let last = about_place.last().filter(|_| trees.len() > 1)?;
    // Test all of them together first. For nearly every filter this is the only test.
    if !places.nowhere(&trees) {
        return None;
    }
    let looked_at = &about_place[..about_place.len().min(PAIRS_OF)];
    if let Some((first, second)) = pair(looked_at, |first, second| places.nowhere(&[&first.tree, &second.tree])) {
        return Some(warning(text, root, first, second));
    }
    let message = "no known system meets all these conditions, so together they match nothing";
    Some(Problem::new(last.term.span, message))
}

/// Returns the first pair for which `is_it` is true.
fn pair<T>(all: &[T], is_it: impl Fn(&T, &T) -> bool) -> Option<(&T, &T)> {
    all.iter().enumerate().find_map(|(index, second)| {
        let first = all[..index].iter().find(|first| is_it(first, second))?;
        Some((first, second))
    })
}

fn warning(text: &str, root: &Term, first: &Conjunct<'_>, second: &Conjunct<'_>) -> Problem {
    let message = format!(
        "`{}` and `{}` exclude each other, so nothing matches both",
        excerpt(text, first.term.span),
        excerpt(text, second.term.span)
    );
    let mut suggestions = Vec::new();
    let mut suggest = |changes: &[TermEdit<'_>]| {
        suggestions.extend(root.changed(changes).map(|tree| print::canonical(&tree)));
    };
    let (in_first, in_second) = (first.term.span, second.term.span);
    if let Some(both) = either(&first.tree, &second.tree) {
        let both = TermEdit {
            at: in_first,
            instead: Some(&both),
        };
        suggest(&[
            both,
            TermEdit {
                at: in_second,
                instead: None,
            },
        ]);
    }
    suggest(&[TermEdit {
        at: in_second,
        instead: None,
    }]);
    suggest(&[TermEdit {
        at: in_first,
        instead: None,
    }]);
    Problem::new(second.term.span, message).suggest(suggestions)
}

fn excerpt(text: &str, span: Span) -> String {
    let whole = text.get(span.start..span.end).unwrap_or_default();
    match whole.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", &whole[..end]),
        None => whole.to_owned(),
    }
}

/// Joins two conditions on the same field into a list, which was probably meant.
fn either(first: &Tree, second: &Tree) -> Option<Tree> {
    let joined = |a: &[FilterValue], b: &[FilterValue]| a.iter().chain(b).cloned().collect();
    match (first, second) {
        (Tree::Leaf(Leaf::Participant { role, field, values: a }), Tree::Leaf(Leaf::Participant { values: b, .. })) => {
            Some(Tree::Leaf(Leaf::Participant {
                role: *role,
                field: *field,
                values: joined(a, b),
            }))
        }
        (Tree::Leaf(Leaf::Place { kind, values: a }), Tree::Leaf(Leaf::Place { kind: other, values: b })) => {
            (kind == other).then(|| {
                Tree::Leaf(Leaf::Place {
                    kind: *kind,
                    values: joined(a, b),
                })
            })
        }
        (Tree::Leaf(Leaf::Space(a)), Tree::Leaf(Leaf::Space(b))) => {
            Some(Tree::Leaf(Leaf::Space(a.iter().chain(b).copied().collect())))
        }
        (near @ Tree::Leaf(Leaf::Near { .. }), other @ Tree::Leaf(Leaf::Near { .. })) => {
            Some(Tree::any([near.clone(), other.clone()]))
        }
        _ => None,
    }
}

/// Returns whether the two exclude each other, judging by the text alone.
fn excludes(first: &Tree, second: &Tree) -> bool {
    if is_negation(first, second) || is_negation(second, first) {
        return true;
    }
    match (first, second) {
        (
            Tree::Leaf(Leaf::Participant { role, field, values: a }),
            Tree::Leaf(Leaf::Participant {
                role: other_role,
                field: other_field,
                values: b,
            }),
        ) => {
            // Different attackers can meet different conditions, so only roles with one participant can contradict.
            let one = matches!(
                role,
                ParticipantRole::Victim | ParticipantRole::Final | ParticipantRole::Member
            );
            one && role == other_role && field == other_field && disjoint(a, b)
        }
        (Tree::Leaf(Leaf::Place { kind, values: a }), Tree::Leaf(Leaf::Place { kind: other, values: b })) => {
            kind == other && disjoint(a, b)
        }
        (Tree::Leaf(Leaf::Space(a)), Tree::Leaf(Leaf::Space(b))) => !a.iter().any(|space| b.contains(space)),
        (
            &Tree::Leaf(Leaf::Number {
                field,
                comparison,
                value,
            }),
            &Tree::Leaf(Leaf::Number {
                field: other_field,
                comparison: other_comparison,
                value: other_value,
            }),
        ) => field == other_field && no_number(field, (comparison, value), (other_comparison, other_value)),
        (
            &Tree::Leaf(Leaf::Hour { from, to }),
            &Tree::Leaf(Leaf::Hour {
                from: other_from,
                to: other_to,
            }),
        ) => !(0..24).any(|hour| is_within(hour, from, to) && is_within(hour, other_from, other_to)),
        _ => false,
    }
}

/// The known locations, for conditions on the place.
struct Places<'a> {
    resolve: &'a dyn Resolve,
    /// An empty killmail in each system, created on first use.
    everywhere: OnceCell<Vec<v1::Killmail>>,
}

impl<'a> Places<'a> {
    fn new(resolve: &'a dyn Resolve) -> Self {
        Self {
            resolve,
            everywhere: OnceCell::new(),
        }
    }

    /// Returns whether the conditions hold together in no system; `false` if that is uncertain.
    fn nowhere(&self, trees: &[&Tree]) -> bool {
        let program = Program::of(&Tree::all(trees.iter().copied().cloned()));
        let named: Option<Vec<Option<v1::Killmail>>> = trees
            .iter()
            .filter_map(|tree| systems_of(tree))
            .min_by_key(Vec::len)
            .map(|systems| systems.into_iter().map(|system| self.at(system)).collect());
        match named {
            // A system with an unknown location could meet every condition.
            Some(named) => named
                .iter()
                .all(|killmail| killmail.as_ref().is_some_and(|killmail| !program.matches(killmail))),
            None => {
                let everywhere = self.everywhere();
                !everywhere.is_empty() && !everywhere.iter().any(|killmail| program.matches(killmail))
            }
        }
    }

    fn everywhere(&self) -> &[v1::Killmail] {
        self.everywhere.get_or_init(|| {
            let systems = self.resolve.wildcard(EntityKind::System, "*");
            systems.into_iter().filter_map(|system| self.at(system)).collect()
        })
    }

    fn at(&self, system: u64) -> Option<v1::Killmail> {
        let location = u32::try_from(system)
            .ok()
            .and_then(|system| self.resolve.location(system))?;
        (location.space() != Space::Unspecified).then(|| v1::Killmail {
            location: Some(location),
            ..v1::Killmail::default()
        })
    }
}

/// Returns the systems that a condition names; `None` if it is about something else.
fn systems_of(tree: &Tree) -> Option<Vec<u64>> {
    match tree {
        Tree::Leaf(Leaf::Place {
            kind: EntityKind::System,
            values,
        }) => Some(ids(values)),
        Tree::Leaf(Leaf::Near { system_ids, .. }) => Some(system_ids.iter().copied().map(u64::from).collect()),
        _ => None,
    }
}

fn is_negation(not: &Tree, tree: &Tree) -> bool {
    matches!(not, Tree::Not(inner) if **inner == *tree)
}

fn is_about_place(tree: &Tree) -> bool {
    match tree {
        Tree::All(operands) | Tree::Any(operands) => operands.iter().all(is_about_place),
        Tree::Not(operand) => is_about_place(operand),
        Tree::Group(..) => false,
        Tree::Leaf(leaf) => matches!(
            leaf,
            Leaf::Place { .. }
                | Leaf::Space(_)
                | Leaf::Near { .. }
                | Leaf::Number {
                    field: NumberField::Security | NumberField::Class,
                    ..
                }
        ),
    }
}

fn ids(values: &[FilterValue]) -> Vec<u64> {
    values.iter().flat_map(|value| value.ids.iter().copied()).collect()
}

fn disjoint(first: &[FilterValue], second: &[FilterValue]) -> bool {
    let first: std::collections::HashSet<u64> = ids(first).into_iter().collect();
    !ids(second).iter().any(|id| first.contains(id))
}

/// Returns whether no number meets both comparisons.
///
/// Tests each bound, its neighbors on both sides, the middle between the bounds, and the largest number.
fn no_number(field: NumberField, first: (Comparison, f64), second: (Comparison, f64)) -> bool {
    let step = match field {
        NumberField::Security => 0.1,
        _ if super::fields::is_isk(field) => 0.01,
        _ => 1.0,
    };
    let near = |bound: f64| [bound - step, bound, bound + step, bound.next_down(), bound.next_up()];
    let whole = |number: &f64| match field {
        NumberField::Security => true,
        _ if super::fields::is_isk(field) => *number >= 0.0,
        _ => *number >= 0.0 && number.fract() == 0.0,
    };
    let middle = [(first.1 + second.1) / 2.0, f64::MAX];
    let mut candidates = near(first.1)
        .into_iter()
        .chain(near(second.1))
        .chain(middle)
        .filter(whole);
    !candidates.any(|number| {
        super::program::compare(first.0, &number, &first.1) && super::program::compare(second.0, &number, &second.1)
    })
}

fn is_within(hour: u32, from: u32, to: u32) -> bool {
    if from <= to {
        (from..=to).contains(&hour)
    } else {
        hour >= from || hour <= to
    }
}
