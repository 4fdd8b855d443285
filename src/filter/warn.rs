//! Warnings about filters that are valid but probably unintended.

use super::{
    Resolve, contradiction,
    syntax::{Kind, Problem, Span, Term},
    tree::{Leaf, Tree},
};
use crate::v1::{ParticipantField, ParticipantRole};

/// CCP's id of the category `Ship`.
const SHIP: u64 = 6;

/// Returns the warnings for a text whose names are resolved, in the order of the text.
pub(super) fn warnings(text: &str, term: &Term, resolve: &dyn Resolve) -> Vec<Problem> {
    let mut warnings = Vec::new();
    in_term(text, term, false, &mut warnings);
    contradiction::find(text, term, resolve, &mut warnings);
    warnings.sort_by_key(|warning| warning.span.start);
    warnings
}

fn in_term(text: &str, term: &Term, negated: bool, warnings: &mut Vec<Problem>) {
    match &term.kind {
        Kind::All { terms, .. } => terms.iter().for_each(|term| in_term(text, term, negated, warnings)),
        Kind::Any { terms, ors } => {
            warnings.extend(mixed(text, terms, ors));
            terms.iter().for_each(|term| in_term(text, term, negated, warnings));
        }
        Kind::Not(inner) => in_term(text, inner, !negated, warnings),
        Kind::Parenthesised(inner) | Kind::Group(_, inner) => in_term(text, inner, negated, warnings),
        Kind::Done {
            tree,
            field: Some(field),
        } => warnings.extend(bare(text, tree, *field, negated)),
        Kind::Done { .. } | Kind::Named(_) | Kind::Near { .. } => {}
    }
}

/// Warns about `-group:Capsule` and `category:Ship`, which also test the attackers.
fn bare(text: &str, tree: &Tree, field: Span, negated: bool) -> Option<Problem> {
    let (leaf, negated) = match tree {
        Tree::Not(inner) => (&**inner, !negated),
        leaf => (leaf, negated),
    };
    let Tree::Leaf(Leaf::Participant {
        role: ParticipantRole::Any,
        field: kind,
        values,
    }) = leaf
    else {
        return None;
    };
    let written = text.get(field.start..field.end)?;
    // An explicit `any.` shows that the attackers are meant too.
    if !matches!(
        kind,
        ParticipantField::Ship | ParticipantField::Group | ParticipantField::Category
    ) || written.contains('.')
    {
        return None;
    }
    let is_ship = *kind == ParticipantField::Category && values.iter().any(|value| value.ids.contains(&SHIP));
    let message = if negated {
        format!(
            "excluding a `{written}` also hides kills where an attacker is in such a ship; `victim.{written}` looks only at the ship that was lost"
        )
    } else if is_ship {
        format!(
            "nearly every kill has an attacker in a ship, so this matches nearly everything; `victim.{written}` looks only at what was lost"
        )
    } else {
        return None;
    };
    let suggestion = edited(text, &[(field.start, "victim.")]);
    Some(Problem::new(field, message).suggest([suggestion]))
}

/// Warns about `a b OR c`, which means `(a b) OR c` but is often meant as `a (b OR c)`.
fn mixed(text: &str, terms: &[Term], ors: &[Span]) -> Option<Problem> {
    let several = |term: &'_ Term| matches!(term.kind, Kind::All { side_by_side: true, .. });
    let first = terms.iter().position(several)?;
    let parts = |term: &Term| match &term.kind {
        Kind::All { terms, .. } => match (terms.first(), terms.last()) {
            (Some(first), Some(last)) => (first.span, last.span),
            _ => (term.span, term.span),
        },
        _ => (term.span, term.span),
    };
    let mut as_meant = Vec::new();
    let mut as_read = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let is_last = index + 1 == terms.len();
        let together = matches!(term.kind, Kind::All { .. });
        if together {
            as_read.push((term.span.start, "("));
            as_read.push((term.span.end, ")"));
        }
        let (first, last) = parts(term);
        // The suggestion groups the terms directly beside each OR. Between two ORs, a single term continues the group, and
        // several terms end one group and start the next.
        if index > 0 && (together || is_last) {
            as_meant.push((first.end, ")"));
        }
        if !is_last && (together || index == 0) {
            as_meant.push((last.start, "("));
        }
    }
    as_meant.sort_by_key(|(at, _)| *at);
    let or = ors.get(first.saturating_sub(1)).or(ors.last())?;
    let message = "terms side by side are combined before OR; add parentheses to show what you mean";
    Some(Problem::new(*or, message).suggest([edited(text, &as_meant), edited(text, &as_read)]))
}

/// Returns the text with the insertions, whose positions are in ascending order.
fn edited(text: &str, insertions: &[(usize, &str)]) -> String {
    let mut edited = text.to_owned();
    for (at, insertion) in insertions.iter().rev() {
        edited.insert_str(*at, insertion);
    }
    edited
}
