//! The syntax of a text: terms with their spans, before their names are resolved.

use super::tree::Tree;
use crate::v1::{self, Comparison, ParticipantRole, filter_near::Reach};

/// A range of bytes in the original text: from the first byte to one past the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// Returns the span from the start of this one to the end of `other`.
    pub(super) fn to(self, other: Self) -> Self {
        Self {
            start: self.start,
            end: other.end,
        }
    }
}

/// An error or a warning, before it becomes a diagnostic.
#[derive(Debug)]
pub(super) struct Problem {
    pub message: String,
    pub span: Span,
    pub suggestions: Vec<String>,
    /// A bare word with no value before it. The entities with this name determine the suggested fields.
    pub bare_word: Option<String>,
}

impl Problem {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span,
            suggestions: Vec::new(),
            bare_word: None,
        }
    }

    pub(super) fn suggest(mut self, suggestions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.suggestions.extend(suggestions.into_iter().map(Into::into));
        self
    }

    pub(super) fn diagnostic(self) -> v1::Diagnostic {
        // Longer texts than 2,000 characters are not parsed, so the offsets fit.
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        v1::Diagnostic {
            message: self.message,
            start: offset(self.span.start),
            end: offset(self.span.end),
            suggestions: self.suggestions,
        }
    }
}

/// A condition, or several that are joined.
#[derive(Debug)]
pub(super) struct Term {
    pub span: Span,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// At least two terms. `side_by_side` is true if some of them have no AND between them.
    All {
        terms: Vec<Term>,
        side_by_side: bool,
    },
    /// At least two terms, and the spans of the ORs between them.
    Any {
        terms: Vec<Term>,
        ors: Vec<Span>,
    },
    Not(Box<Term>),
    Parenthesised(Box<Term>),
    Group(ParticipantRole, Box<Term>),
    /// A condition whose names are not resolved yet.
    Named(NameCondition),
    /// A `near( )` whose origin is not resolved yet.
    Near {
        origin: Value,
        reach: Reach,
    },
    /// A resolved condition, with the span of its field if it is a participant field.
    Done {
        tree: Tree,
        field: Option<Span>,
    },
}

/// A replacement of a term, or its removal if `instead` is `None`.
#[derive(Clone, Copy)]
pub(super) struct TermEdit<'a> {
    pub at: Span,
    pub instead: Option<&'a Tree>,
}

impl Term {
    /// Calls `each` for this term and every term inside it.
    pub(super) fn visit<'a>(&'a self, each: &mut impl FnMut(&'a Self)) {
        each(self);
        match &self.kind {
            Kind::All { terms, .. } | Kind::Any { terms, .. } => terms.iter().for_each(|term| term.visit(each)),
            Kind::Not(inner) | Kind::Parenthesised(inner) | Kind::Group(_, inner) => inner.visit(each),
            Kind::Named(_) | Kind::Near { .. } | Kind::Done { .. } => {}
        }
    }

    /// Returns the tree. Every name must be resolved.
    pub(super) fn tree(&self) -> Tree {
        self.changed(&[]).unwrap_or(Tree::EVERYTHING)
    }

    /// Returns the tree with some terms changed; `None` if nothing is left.
    pub(super) fn changed(&self, changes: &[TermEdit<'_>]) -> Option<Tree> {
        if let Some(change) = changes.iter().find(|change| change.at == self.span) {
            return change.instead.cloned();
        }
        let all = |terms: &[Self]| {
            let left: Vec<Tree> = terms.iter().filter_map(|term| term.changed(changes)).collect();
            (!left.is_empty()).then_some(left)
        };
        match &self.kind {
            Kind::All { terms, .. } => all(terms).map(Tree::all),
            Kind::Any { terms, .. } => all(terms).map(Tree::any),
            Kind::Not(inner) => inner.changed(changes).map(Tree::negated),
            Kind::Parenthesised(inner) => inner.changed(changes),
            Kind::Group(role, inner) => inner.changed(changes).map(|inner| Tree::Group(*role, Box::new(inner))),
            Kind::Done { tree, .. } => Some(tree.clone()),
            Kind::Named(_) | Kind::Near { .. } => None,
        }
    }
}

/// A condition of the form `field:values`.
#[derive(Debug)]
pub(super) struct NameCondition {
    pub field: super::fields::Field,
    pub field_span: Span,
    /// Whether the operator is `!=`.
    pub negated: bool,
    pub values: Vec<Value>,
}

/// A value as written.
#[derive(Debug, Clone)]
pub(super) struct Value {
    /// The span, including the quotes.
    pub span: Span,
    /// The text without quotes and escapes.
    pub text: String,
    pub quoted: bool,
}

/// An operator between a field and a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operator {
    pub comparison: Comparison,
    pub span: Span,
}
