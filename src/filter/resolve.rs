//! Resolution of the names in terms to ids.

use super::{
    Resolution, Resolve,
    fields::{self, Field},
    print,
    syntax::{Kind, NameCondition, Problem, Span, Term, Value},
    tree::{Leaf, Tree},
};
use crate::v1::{EntityKind, FilterValue, filter_near::Reach};

/// The language's limit of ids from wildcards and lists in one filter.
const MAX_IDS: usize = 5_000;

/// The number of systems up to which a filter carries distances.
///
/// A text can contain a hundred `near( )` that each cover all of New Eden. Without a limit, such a tree would carry almost a
/// million distances.
const MAX_DISTANCES: usize = 5_000;

/// The maximum number of suggestions. More do not help a user.
const MAX_SUGGESTIONS: usize = 5;

/// After this many problems, no more names are looked up.
///
/// A search for similar names compares every known name, and a text can contain hundreds of misspelled ones.
const MAX_WRONG: usize = 10;

/// The fields that a bare word is looked up in, in the order of the suggestions.
const NAMED_FIELDS: [(EntityKind, &str); 10] = [
    (EntityKind::Type, "ship"),
    (EntityKind::Group, "group"),
    (EntityKind::Category, "victim.category"),
    (EntityKind::System, "system"),
    (EntityKind::Constellation, "constellation"),
    (EntityKind::Region, "region"),
    (EntityKind::Faction, "faction"),
    (EntityKind::Alliance, "alliance"),
    (EntityKind::Corporation, "corporation"),
    (EntityKind::Character, "character"),
];

/// Resolves the names of a text and collects the problems.
pub(super) struct TermResolver<'a> {
    pub(super) problems: Vec<Problem>,
    pub(super) unavailable: Vec<(EntityKind, String)>,
    resolve: &'a dyn Resolve,
    ids: usize,
    /// The number of systems of all `near( )` so far.
    near: usize,
}

impl<'a> TermResolver<'a> {
    pub(super) fn new(resolve: &'a dyn Resolve) -> Self {
        Self {
            problems: Vec::new(),
            unavailable: Vec::new(),
            resolve,
            ids: 0,
            near: 0,
        }
    }

    /// Resolves every name in the term.
    pub(super) fn term(&mut self, term: &mut Term) {
        let done = match &mut term.kind {
            Kind::All { terms, .. } | Kind::Any { terms, .. } => {
                terms.iter_mut().for_each(|term| self.term(term));
                return;
            }
            Kind::Not(inner) | Kind::Parenthesised(inner) | Kind::Group(_, inner) => return self.term(inner),
            Kind::Done { .. } => return,
            Kind::Named(named) => self.named(named),
            Kind::Near { origin, reach } => self.near(origin, *reach).map(|leaf| Kind::Done {
                tree: Tree::Leaf(leaf),
                field: None,
            }),
        };
        // A failed resolution was reported, so the tree of this text is never used.
        term.kind = done.unwrap_or(Kind::Done {
            tree: Tree::EVERYTHING,
            field: None,
        });
    }

    fn named(&mut self, named: &NameCondition) -> Option<Kind> {
        let kind = named.field.kind()?;
        let values: Vec<Option<FilterValue>> = named.values.iter().map(|value| self.value(kind, value)).collect();
        let values = values.into_iter().collect::<Option<Vec<_>>>()?;
        let leaf = match named.field {
            Field::Participant(role, field) => Leaf::Participant { role, field, values },
            Field::Item(kind) => Leaf::Item { kind, values },
            _ => Leaf::Place { kind, values },
        };
        let tree = Tree::Leaf(leaf);
        Some(Kind::Done {
            tree: if named.negated { tree.negated() } else { tree },
            field: matches!(named.field, Field::Participant(..)).then_some(named.field_span),
        })
    }

    fn value(&mut self, kind: EntityKind, value: &Value) -> Option<FilterValue> {
        if self.problems.len() >= MAX_WRONG {
            return None;
        }
        let resolved = if is_id(value) {
            FilterValue {
                text: String::new(),
                ids: vec![self.id(value)?],
            }
        } else {
            let name = self.written(kind, value)?;
            if fields::is_static(kind) && name.contains('*') {
                FilterValue {
                    text: name.to_owned(),
                    ids: self.wildcard(kind, name, value.span)?,
                }
            } else {
                self.exact(kind, name, value.span)?
            }
        };
        let before = self.ids;
        self.ids += resolved.ids.len();
        if before <= MAX_IDS && self.ids > MAX_IDS {
            let message = format!(
                "with `{}` this filter covers {} ids; at most {MAX_IDS} are allowed",
                value.text, self.ids
            );
            self.problems.push(Problem::new(value.span, message));
        }
        // A filter over the limit is invalid, so its further values are not needed.
        (self.ids <= MAX_IDS).then_some(resolved)
    }

    fn id(&mut self, value: &Value) -> Option<u64> {
        let message = match value.text.parse::<u64>() {
            Ok(0) => "0 is not an id: it means \"none\"".to_owned(),
            Ok(id) => return Some(id),
            Err(_) => format!("`{}` is too large for an id", value.text),
        };
        self.problems.push(Problem::new(value.span, message));
        None
    }

    /// Returns the trimmed name of a value, or reports that it is empty.
    fn written<'v>(&mut self, kind: EntityKind, value: &'v Value) -> Option<&'v str> {
        let name = value.text.trim();
        if name.is_empty() {
            let message = format!(
                "the name of the {} is missing between the quotes",
                fields::kind_word(kind)
            );
            self.problems.push(Problem::new(value.span, message));
            return None;
        }
        Some(name)
    }

    fn wildcard(&mut self, kind: EntityKind, pattern: &str, span: Span) -> Option<Vec<u64>> {
        let mut ids = self.resolve.wildcard(kind, pattern);
        ids.retain(|&id| id != 0);
        if !ids.is_empty() {
            return Some(ids);
        }
        let message = format!("no {} matches `{pattern}`", fields::kind_word(kind));
        let similar = self.resolve.similar(kind, &pattern.replace('*', ""));
        self.problems
            .push(Problem::new(span, message).suggest(suggestions(similar)));
        None
    }

    fn exact(&mut self, kind: EntityKind, name: &str, span: Span) -> Option<FilterValue> {
        match self.resolve.exact(kind, name) {
            Resolution::Found { name: proper, mut ids } => {
                ids.sort_unstable();
                ids.dedup();
                ids.retain(|&id| id != 0);
                if !ids.is_empty() {
                    // An empty text would mark the value as an id.
                    let text = if proper.trim().is_empty() {
                        name.to_owned()
                    } else {
                        proper
                    };
                    return Some(FilterValue { text, ids });
                }
                self.unknown(kind, &proper, span);
            }
            Resolution::Unknown => self.unknown(kind, name, span),
            Resolution::Unavailable => {
                let missing = (kind, name.to_owned());
                if !self.unavailable.contains(&missing) {
                    self.unavailable.push(missing);
                }
            }
        }
        None
    }

    fn unknown(&mut self, kind: EntityKind, name: &str, span: Span) {
        let word = fields::kind_word(kind);
        let bearers = self.resolve.by_ticker(kind, name);
        if !bearers.is_empty() {
            let message = format!(
                "`{name}` is the ticker of the {word} {}: write its full name",
                bearers.join(", or of ")
            );
            self.problems
                .push(Problem::new(span, message).suggest(suggestions(bearers)));
            return;
        }
        let mut message = format!("no {word} is called `{name}`");
        let elsewhere = NAMED_FIELDS
            .iter()
            .filter(|(other, _)| *other != kind)
            .find(|(other, _)| matches!(self.resolve.exact(*other, name), Resolution::Found { .. }));
        if let Some((other, field)) = elsewhere {
            let found = print::name(name);
            message.push_str(&format!(
                ", but this {} is: `{field}:{found}`",
                fields::kind_word(*other)
            ));
        } else if name.contains('*') {
            message.push_str("; `*` is a wildcard only in the names of ships, groups, items and places");
        } else if let Some(term) = name.strip_prefix(super::text::is_dash) {
            message.push_str(&format!("; to exclude `{term}`, put the `-` before the field"));
        } else if let Some((field, _)) = name
            .split_once(super::scanner::is_operator)
            .filter(|(field, _)| Field::named(field).is_ok())
        {
            message.push_str(&format!("; put a space before `{field}` to start another term"));
        }
        let similar = self.resolve.similar(kind, name);
        self.problems
            .push(Problem::new(span, message).suggest(suggestions(similar)));
    }

    fn near(&mut self, origin: &Value, reach: Reach) -> Option<Leaf> {
        if self.problems.len() >= MAX_WRONG {
            return None;
        }
        let span = origin.span;
        let resolved = if is_id(origin) {
            FilterValue {
                text: String::new(),
                ids: vec![self.id(origin)?],
            }
        } else {
            let name = self.written(EntityKind::System, origin)?;
            if name.contains('*') {
                let message = format!(
                    "near takes one system, not a wildcard like `{name}`: write several near( ) joined with OR"
                );
                self.problems.push(Problem::new(span, message));
                return None;
            }
            self.exact(EntityKind::System, name, span)?
        };
        let &[system] = resolved.ids.as_slice() else {
            let message = format!("several systems are called `{}`: write the id of one", resolved.text);
            let ids = resolved.ids.iter().take(MAX_SUGGESTIONS).map(u64::to_string);
            self.problems.push(Problem::new(span, message).suggest(ids));
            return None;
        };
        let within = match reach {
            Reach::LightYears(distance) => self.resolve.within_light_years(system, distance),
            Reach::Jumps(jumps) => self.resolve.within_jumps(system, jumps),
        };
        let Some(mut system_ids) = within else {
            let message = format!(
                "the system `{}` is not on the map, so its neighbors are unknown",
                origin.text
            );
            self.problems.push(Problem::new(span, message));
            return None;
        };
        // The origin always counts, even if the map omits it.
        system_ids.extend(u32::try_from(system));
        system_ids.retain(|&id| id != 0);
        system_ids.sort_unstable();
        system_ids.dedup();
        self.near += system_ids.len();
        let told = self.near <= MAX_DISTANCES;
        let distances = told.then(|| self.resolve.distances(system, &system_ids)).flatten();
        Some(Leaf::Near {
            origin: resolved,
            reach,
            system_ids,
            distances,
        })
    }
}

/// Suggests conditions for a word without a field, from the fields that have such a name.
pub(super) fn bare_word(word: &str, resolve: &dyn Resolve) -> Vec<String> {
    NAMED_FIELDS
        .iter()
        .filter_map(|(kind, field)| match resolve.exact(*kind, word) {
            Resolution::Found { name, .. } => Some(format!("{field}:{}", print::name(&name))),
            Resolution::Unknown | Resolution::Unavailable => None,
        })
        .take(MAX_SUGGESTIONS)
        .collect()
}

/// Returns the names of characters, corporations and alliances in the term, which only ESI knows.
pub(super) fn names(term: &Term) -> Vec<(EntityKind, String)> {
    let mut names: Vec<(EntityKind, String)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    term.visit(&mut |term| {
        let Kind::Named(named) = &term.kind else { return };
        let Some(kind) = named.field.kind().filter(|&kind| !fields::is_static(kind)) else {
            return;
        };
        for value in named.values.iter().filter(|value| !is_id(value)) {
            let name = value.text.trim();
            if !name.is_empty() && seen.insert((kind, super::fold(name))) {
                names.push((kind, name.to_owned()));
            }
        }
    });
    names
}

/// Returns whether the value is an id: all digits, and not in quotes.
fn is_id(value: &Value) -> bool {
    !value.quoted && value.text.chars().all(|c| c.is_ascii_digit())
}

fn suggestions(names: Vec<String>) -> Vec<String> {
    names
        .iter()
        .take(MAX_SUGGESTIONS)
        .map(|name| print::name(name))
        .collect()
}
