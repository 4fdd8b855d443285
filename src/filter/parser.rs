//! A recursive descent parser for terms and groups.
//!
//! `condition` parses fields with their values, `near` parses `near( )`, and `bare` reports words without a field.
//!
//! The parser is written by hand because most of it produces good diagnostics. After an error it continues if the structure
//! is still clear, so that one attempt reports everything. It stops where a parenthesis or a term is missing.

use super::{
    fields::{self, Field},
    near,
    scanner::{Scanner, ends_word, is_operator},
    syntax::{Kind, Problem, Span, Term, Value},
    text::is_dash,
    tree::{Leaf, Tree},
};
use crate::v1::ParticipantRole;

/// The language's limit for the length of a text, in Unicode scalar values.
const MAX_LENGTH: usize = 2_000;

/// The language's limit for nested parentheses, groups and NOT. It bounds every recursion over a text.
const MAX_LEVELS: usize = 64;

/// Parses a text; returns `None` for an empty text, which matches everything.
pub(super) fn parse(text: &str) -> Result<Option<Term>, Vec<Problem>> {
    if let Some((byte, _)) = text.char_indices().nth(MAX_LENGTH) {
        let span = Span {
            start: byte,
            end: text.len(),
        };
        let length = text.chars().count();
        let message = format!("this filter has {length} characters; at most {MAX_LENGTH} are allowed");
        return Err(vec![Problem::new(span, message)]);
    }
    let mut parser = Parser {
        text,
        scanner: Scanner::new(text),
        problems: Vec::new(),
        levels: 0,
        group: None,
        last: None,
    };
    parser.scanner.skip_white_space();
    if parser.scanner.peek().is_none() {
        return Ok(None);
    }
    let term = parser.any();
    if term.is_ok() && parser.scanner.peek().is_some() {
        // Only a `)` can end the terms before the end of the text.
        let here = parser.scanner.here();
        parser.problems.push(Problem::new(here, "this `)` has no matching `(`"));
    }
    let mut problems = parser.problems;
    match term {
        Ok(term) if problems.is_empty() => Ok(Some(term)),
        _ => {
            problems.sort_by_key(|problem| problem.span.start);
            Err(problems)
        }
    }
}

/// The signal to stop parsing: the error was reported, and the rest of the text is ambiguous.
pub(super) struct Unrecoverable;

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) scanner: Scanner<'a>,
    pub(super) problems: Vec<Problem>,
    levels: usize,
    /// The role of the current group.
    pub(super) group: Option<ParticipantRole>,
    /// The value before the current position, which a bare word may belong to.
    pub(super) last: Option<LastValue>,
}

/// A value without quotes at the end of a condition.
pub(super) struct LastValue {
    /// The position after the value.
    pub(super) end: usize,
    /// The text of the condition before the value.
    pub(super) head: String,
    /// The text of the value.
    pub(super) value: String,
    pub(super) field: Field,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<Term, Unrecoverable> {
        let mut terms = vec![self.all()?];
        let mut ors = Vec::new();
        while let Some(or) = self.take_keyword("or", &["|", "||"], "OR") {
            ors.push(or);
            terms.push(self.all()?);
        }
        Ok(joined(terms, |terms| Kind::Any { terms, ors }))
    }

    fn all(&mut self) -> Result<Term, Unrecoverable> {
        let mut terms = vec![self.term()?];
        let mut side_by_side = false;
        loop {
            self.scanner.skip_white_space();
            if let Some(comma) = self.scanner.take(',') {
                let message = "a comma cannot join terms: write AND or a space";
                self.problems.push(Problem::new(comma, message).suggest([" AND"]));
                continue;
            }
            let word = self.word_ahead();
            if matches!(self.scanner.peek(), None | Some(')'))
                || self.is_keyword(&word, "or")
                || word == "|"
                || word == "||"
            {
                break;
            }
            if self.take_keyword("and", &["&", "&&"], "AND").is_none() {
                side_by_side = true;
            }
            terms.push(self.term()?);
        }
        Ok(joined(terms, |terms| Kind::All { terms, side_by_side }))
    }

    /// Takes a keyword, or reports and takes its symbol from other languages, such as `&&`.
    fn take_keyword(&mut self, keyword: &str, foreign: &[&str], instead: &str) -> Option<Span> {
        self.scanner.skip_white_space();
        let word = self.word_ahead();
        let is_foreign = foreign.contains(&word.as_str());
        if !is_foreign && !self.is_keyword(&word, keyword) {
            return None;
        }
        let span = self.scanner.take_until(ends_word);
        if is_foreign {
            let message = format!("`{word}` is not part of the filter language: write {instead}");
            self.problems.push(Problem::new(span, message).suggest([instead]));
        }
        Some(span)
    }

    fn term(&mut self) -> Result<Term, Unrecoverable> {
        self.scanner.skip_white_space();
        let start = self.scanner.position();
        let here = self.scanner.here();
        match self.scanner.peek() {
            None => Err(self.stop(Problem::new(here, "a term is missing at the end"))),
            Some(')') => Err(self.stop(Problem::new(here, "a term is missing before this `)`"))),
            Some(',') => Err(self.stop(Problem::new(here, "a term is missing before this comma"))),
            Some('(') => {
                self.scanner.next();
                let inner = self.enclosed(here)?;
                Ok(self.finish(start, Kind::Parenthesised(Box::new(inner))))
            }
            Some('"') => {
                let value = self.quoted()?;
                self.bare_word(start, value.span, value.text);
                Ok(self.broken(start))
            }
            Some('@') => {
                let span = self.scanner.take_until(ends_word);
                self.reserved(span);
                Ok(self.broken(start))
            }
            Some(c) if is_dash(c) => self.negated(start, here),
            Some('!') if self.scanner.peek_at(1) != Some('=') => {
                self.problems.push(
                    Problem::new(
                        here,
                        "`!` is not part of the filter language: write NOT, or `-` right before the term",
                    )
                    .suggest(["-"]),
                );
                self.scanner.next();
                let inner = self.deeper(here, Self::term)?;
                Ok(self.finish(start, Kind::Not(Box::new(inner))))
            }
            Some(c) if is_operator(c) => {
                let span = self.scanner.take_until(|c| !is_operator(c));
                Err(self.stop(Problem::new(
                    span,
                    "a field is missing before this sign; write, for example, `value>=1b`",
                )))
            }
            Some(_) => self.word(start),
        }
    }

    fn negated(&mut self, start: usize, dash: Span) -> Result<Term, Unrecoverable> {
        self.scanner.next();
        if self.scanner.peek().is_some_and(is_dash) {
            while self.scanner.peek().is_some_and(is_dash) {
                self.scanner.next();
            }
            let span = self.scanner.span_from(start);
            self.problems
                .push(Problem::new(span, "write only one `-` before a term").suggest(["-"]));
        }
        if self.scanner.peek().is_some_and(char::is_whitespace) {
            let message = "`-` goes right before its term, without a space";
            self.problems.push(Problem::new(dash, message).suggest(["NOT"]));
        }
        let inner = self.deeper(dash, Self::term)?;
        Ok(self.finish(start, Kind::Not(Box::new(inner))))
    }

    fn word(&mut self, start: usize) -> Result<Term, Unrecoverable> {
        let span = self.scanner.take_until(ends_word);
        let word = self.scanner.text_from(start);
        let after = self.scanner.position();
        for keyword in ["and", "or"] {
            if self.is_keyword_here(&word, keyword) {
                let message = format!(
                    "{} joins two terms, but the first one is missing",
                    keyword.to_uppercase()
                );
                return Err(self.stop(Problem::new(span, message)));
            }
        }
        if self.is_keyword_here(&word, "not") {
            let inner = self.deeper(span, Self::term)?;
            return Ok(self.finish(start, Kind::Not(Box::new(inner))));
        }
        self.scanner.skip_white_space();
        match (self.scanner.peek(), word.to_lowercase().as_str()) {
            (Some('('), "near") => return self.near(start, span),
            (Some('('), "attacker") => return self.group(start, span, ParticipantRole::Attacker),
            (Some('('), "victim") => return self.group(start, span, ParticipantRole::Victim),
            (Some('('), role @ ("final" | "any")) => return self.no_group(start, span, role),
            (Some(c), name) if is_operator(c) && !(c == '!' && self.scanner.peek_at(1) != Some('=')) => {
                if name == "near" {
                    return Err(self.stop(near::without_parentheses(span)));
                }
                return self.condition(start, span, &word);
            }
            _ => {}
        }
        self.scanner.go_to(after);
        if let Ok(Field::Flag(flag)) = Field::named(&word) {
            if let Some(role) = self.group {
                self.not_in_group(span, &word, role);
            }
            let tree = Tree::Leaf(Leaf::Flag(flag));
            return Ok(self.finish(start, Kind::Done { tree, field: None }));
        }
        self.word_alone(start, span, word)?;
        Ok(self.broken(start))
    }

    fn group(&mut self, start: usize, word: Span, role: ParticipantRole) -> Result<Term, Unrecoverable> {
        if self.group.is_some() {
            self.problems.push(Problem::new(
                word,
                "a group cannot contain another group: everything inside it is about one participant",
            ));
        }
        let open = self.scanner.here();
        self.scanner.next();
        let outer = self.group.replace(role);
        let inner = self.enclosed(open);
        self.group = outer;
        Ok(self.finish(start, Kind::Group(role, Box::new(inner?))))
    }

    /// Reports `final( )` and `any( )`, which do not exist, and suggests a replacement.
    fn no_group(&mut self, start: usize, word: Span, role: &str) -> Result<Term, Unrecoverable> {
        let open = self.scanner.here();
        self.scanner.next();
        let outer = self.group.replace(ParticipantRole::Attacker);
        let (known, inner_start) = (self.problems.len(), self.scanner.here().start);
        let inner = self.enclosed(open);
        self.group = outer;
        let inner = inner?;
        let mut problem = Problem::new(
            self.scanner.span_from(start),
            match role {
                "final" => {
                    "there is no `final( )`: only one attacker has the final blow, so write `final.` before each field"
                }
                _ => "there is no `any( )`: write `attacker( )`, `victim( )`, or both joined with OR",
            },
        );
        if role == "final" && self.problems.len() == known {
            let mut fields = Vec::new();
            inner.visit(&mut |term| match &term.kind {
                Kind::Named(named) => fields.push(named.field_span.start),
                Kind::Done { field: Some(field), .. } => fields.push(field.start),
                _ => {}
            });
            // Insert from the back, so that the earlier positions stay valid.
            fields.sort_unstable();
            let mut text = self.text[inner_start..inner.span.end].to_owned();
            for field in fields.into_iter().rev() {
                text.insert_str(field - inner_start, "final.");
            }
            problem = problem.suggest([format!("({text})")]);
        } else if role == "any" {
            problem.span = word;
            problem = problem.suggest(["attacker", "victim"]);
        }
        self.problems.push(problem);
        Ok(self.broken(start))
    }

    /// Parses the terms up to the `)`. The `(` was taken.
    fn enclosed(&mut self, open: Span) -> Result<Term, Unrecoverable> {
        self.scanner.skip_white_space();
        if self.scanner.peek() == Some(')') {
            let here = self.scanner.here();
            return Err(self.stop(Problem::new(here, "these parentheses are empty")));
        }
        let inner = self.deeper(open, Self::any)?;
        self.close()?;
        Ok(inner)
    }

    pub(super) fn close(&mut self) -> Result<(), Unrecoverable> {
        self.scanner.skip_white_space();
        let here = self.scanner.here();
        match self.scanner.take(')') {
            Some(_) => Ok(()),
            None if self.scanner.peek().is_none() => {
                Err(self.stop(Problem::new(here, "a `)` is missing at the end").suggest([")"])))
            }
            None => Err(self.stop(Problem::new(here, "a `)` is missing here").suggest([")"]))),
        }
    }

    /// Parses one level deeper. `span` is what opens the level.
    fn deeper(
        &mut self,
        span: Span,
        read: impl FnOnce(&mut Self) -> Result<Term, Unrecoverable>,
    ) -> Result<Term, Unrecoverable> {
        if self.levels == MAX_LEVELS {
            let message = format!("parentheses, groups and NOT are nested more than {MAX_LEVELS} levels deep");
            return Err(self.stop(Problem::new(span, message)));
        }
        self.levels += 1;
        let term = read(self);
        self.levels -= 1;
        term
    }

    pub(super) fn quoted(&mut self) -> Result<Value, Unrecoverable> {
        self.scanner
            .quoted()
            .map_err(|end| self.stop(Problem::new(end, "a closing quote is missing at the end").suggest(["\""])))
    }

    pub(super) fn reserved(&mut self, span: Span) {
        let message = "names that begin with `@` are reserved for lists, which do not exist yet; put a name that contains `@` in quotes";
        self.problems.push(Problem::new(span, message));
    }

    pub(super) fn not_in_group(&mut self, span: Span, word: &str, role: ParticipantRole) {
        let group = fields::role_prefix(role).trim_end_matches('.');
        let bare = word.split_once('.').map_or(word, |(_, field)| field);
        let mut problem = Problem::new(
            span,
            format!(
                "{group}( ) cannot contain `{word}`: only character, corporation, alliance, faction, ship, group{}",
                if role == ParticipantRole::Victim {
                    " and category"
                } else {
                    ", category, weapon and weapon_group"
                }
            ),
        );
        let is_weapon = bare.to_lowercase().starts_with("weapon");
        if is_weapon && role == ParticipantRole::Victim {
            problem.message = format!("victim( ) cannot contain `{word}`: only attackers have weapons");
        } else if matches!(Field::named(bare), Ok(Field::Participant(..))) {
            problem.message = format!("every field inside {group}( ) is about that participant: write just `{bare}`");
            problem = problem.suggest([bare]);
        }
        self.problems.push(problem);
    }

    /// Returns the next word without taking it.
    fn word_ahead(&mut self) -> String {
        let from = self.scanner.position();
        self.scanner.take_until(ends_word);
        let word = self.scanner.text_from(from);
        self.scanner.go_to(from);
        word
    }

    /// Returns whether `word`, which comes next, is this keyword and not a field (`or:x`).
    fn is_keyword(&self, word: &str, keyword: &str) -> bool {
        let next = self.scanner.peek_at(word.chars().count());
        word.eq_ignore_ascii_case(keyword) && !next.is_some_and(is_operator)
    }

    /// Returns whether `word`, which was taken, is this keyword and not a field.
    fn is_keyword_here(&self, word: &str, keyword: &str) -> bool {
        word.eq_ignore_ascii_case(keyword) && !self.scanner.peek().is_some_and(is_operator)
    }

    pub(super) fn stop(&mut self, problem: Problem) -> Unrecoverable {
        self.problems.push(problem);
        Unrecoverable
    }

    pub(super) fn finish(&self, start: usize, kind: Kind) -> Term {
        Term {
            span: self.scanner.span_from(start),
            kind,
        }
    }

    /// Returns a placeholder for an invalid term. A text with problems never becomes a tree.
    pub(super) fn broken(&self, start: usize) -> Term {
        self.finish(
            start,
            Kind::Done {
                tree: Tree::EVERYTHING,
                field: None,
            },
        )
    }
}

fn joined(mut terms: Vec<Term>, kind: impl FnOnce(Vec<Term>) -> Kind) -> Term {
    if terms.len() == 1 {
        return terms.remove(0);
    }
    let span = terms[0].span.to(terms[terms.len() - 1].span);
    Term {
        span,
        kind: kind(terms),
    }
}
