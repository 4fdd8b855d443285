//! What is a filter, but probably not the one that was meant.

use super::{
    Resolve, contradiction,
    syntax::{Kind, Problem, Span, Term},
    tree::{Leaf, Tree},
};
use crate::v1::{ParticipantField, ParticipantRole};

/// CCP's id of the category Ship.
const SHIP: u64 = 6;

/// Looks at a text whose names are resolved.
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

/// `-group:Capsule`, `category:Ship`: about attackers too, which is mostly forgotten.
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
    // Who writes `any.` means it.
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
            "negated, `{written}` also drops killmails where some attacker is in such a ship; if only the victim's ship is meant, write `victim.{written}`"
        )
    } else if is_ship {
        format!(
            "on nearly every killmail some attacker is in a ship; if only the victim's ship is meant, write `victim.{written}`"
        )
    } else {
        return None;
    };
    let suggestion = edited(text, &[(field.start, "victim.")]);
    Some(Problem::new(field, message).suggest([suggestion]))
}

/// `a b OR c`: read as `(a b) OR c`, often meant as `a (b OR c)`.
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
        // An OR binds what is right beside it. Between two ORs a single term goes on, several close and open anew.
        if index > 0 && (together || is_last) {
            as_meant.push((first.end, ")"));
        }
        if !is_last && (together || index == 0) {
            as_meant.push((last.start, "("));
        }
    }
    as_meant.sort_by_key(|(at, _)| *at);
    let or = ors.get(first.saturating_sub(1)).or(ors.last())?;
    let message = "terms side by side bind tighter than OR; parentheses make clear what is meant";
    Some(Problem::new(*or, message).suggest([edited(text, &as_meant), edited(text, &as_read)]))
}

/// The text with something put in at these places, which ascend.
fn edited(text: &str, insertions: &[(usize, &str)]) -> String {
    let mut edited = text.to_owned();
    for (at, insertion) in insertions.iter().rev() {
        edited.insert_str(*at, insertion);
    }
    edited
}
