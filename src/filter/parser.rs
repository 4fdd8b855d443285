//! Text → terms, by recursive descent: terms, groups, near. What stands between a field and its value is in `condition`.
//!
//! Written by hand: nearly everything this module does is to say well what is wrong with a text. It goes on after whatever
//! leaves the structure clear, so that one try tells all; it stops where a parenthesis or a term is missing.

use super::{
    fields::{self, Field},
    print,
    scanner::{Scanner, ends_value, ends_word, is_operator},
    syntax::{Kind, Problem, Span, Term, Value},
    text::is_dash,
    tree::{Leaf, Tree},
};
use crate::v1::{ParticipantRole, filter_near::Reach};

/// The contract's limit, in Unicode scalar values.
const MAX_LENGTH: usize = 2_000;

/// The contract's limit of parentheses, groups and NOT around one another. Bounds every recursion over a text.
const MAX_LEVELS: usize = 64;

/// Reads a text; `None` = it is empty and means everything.
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
        // Only a parenthesis ends the terms before the end of the text.
        let here = parser.scanner.here();
        parser
            .problems
            .push(Problem::new(here, "this `)` closes nothing: its `(` is missing").suggest([""]));
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

/// Said what is wrong, and the rest of the text can't be understood.
pub(super) struct Stop;

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) scanner: Scanner<'a>,
    pub(super) problems: Vec<Problem>,
    levels: usize,
    /// The role of the group that is being read.
    pub(super) group: Option<ParticipantRole>,
    /// The value before this place: a bare word may belong to it.
    pub(super) last: Option<LastValue>,
}

/// A value without quotes that a condition ended with.
pub(super) struct LastValue {
    /// Where it ended.
    pub(super) end: usize,
    /// The condition up to the value, as written.
    pub(super) head: String,
    /// The value, as written.
    pub(super) value: String,
    pub(super) field: Field,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<Term, Stop> {
        let mut terms = vec![self.all()?];
        let mut ors = Vec::new();
        while let Some(or) = self.joint("or", &["|", "||"], "OR") {
            ors.push(or);
            terms.push(self.all()?);
        }
        Ok(joined(terms, |terms| Kind::Any { terms, ors }))
    }

    fn all(&mut self) -> Result<Term, Stop> {
        let mut terms = vec![self.term()?];
        let mut side_by_side = false;
        loop {
            self.scanner.skip_white_space();
            if let Some(comma) = self.scanner.take(',') {
                let message = "a comma joins nothing here: terms side by side mean AND";
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
            if self.joint("and", &["&", "&&"], "AND").is_none() {
                side_by_side = true;
            }
            terms.push(self.term()?);
        }
        Ok(joined(terms, |terms| Kind::All { terms, side_by_side }))
    }

    /// Takes the keyword, or what other languages write for it (which is a problem with an easy answer).
    fn joint(&mut self, keyword: &str, foreign: &[&str], instead: &str) -> Option<Span> {
        self.scanner.skip_white_space();
        let word = self.word_ahead();
        let is_foreign = foreign.contains(&word.as_str());
        if !is_foreign && !self.is_keyword(&word, keyword) {
            return None;
        }
        let span = self.scanner.take_until(ends_word);
        if is_foreign {
            let message = format!("`{word}` is no word of this language: write {instead}");
            self.problems.push(Problem::new(span, message).suggest([instead]));
        }
        Some(span)
    }

    fn term(&mut self) -> Result<Term, Stop> {
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
                        "`!` is no word of this language: write NOT, or `-` right before the term",
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
                    "a field is missing before this sign, as in `value>=1b`",
                )))
            }
            Some(_) => self.word(start),
        }
    }

    fn negated(&mut self, start: usize, dash: Span) -> Result<Term, Stop> {
        self.scanner.next();
        if self.scanner.peek().is_some_and(is_dash) {
            while self.scanner.peek().is_some_and(is_dash) {
                self.scanner.next();
            }
            let span = self.scanner.span_from(start);
            self.problems
                .push(Problem::new(span, "only one `-` may stand before a term").suggest(["-"]));
        }
        if self.scanner.peek().is_some_and(char::is_whitespace) {
            let message = "`-` goes right before its term, without a space";
            self.problems.push(Problem::new(dash, message).suggest(["NOT"]));
        }
        let inner = self.deeper(dash, Self::term)?;
        Ok(self.finish(start, Kind::Not(Box::new(inner))))
    }

    fn word(&mut self, start: usize) -> Result<Term, Stop> {
        let span = self.scanner.take_until(ends_word);
        let word = self.scanner.text_from(start);
        let after = self.scanner.position();
        for keyword in ["and", "or"] {
            if self.is_keyword_here(&word, keyword) {
                let message = format!("{} joins two terms; one is missing before it", keyword.to_uppercase());
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
                    let message = "near takes a system and a distance in parentheses";
                    return Err(
                        self.stop(Problem::new(span, message).suggest(["near(Turnur, 7ly)", "near(Turnur, 5j)"]))
                    );
                }
                return self.condition(start, span, &word);
            }
            _ => {}
        }
        let opens = self.scanner.peek() == Some('(');
        self.scanner.go_to(after);
        match Field::named(&word) {
            Ok(Field::Flag(flag)) => {
                if let Some(role) = self.group {
                    self.not_in_group(span, &word, role);
                }
                let tree = Tree::Leaf(Leaf::Flag(flag));
                return Ok(self.finish(start, Kind::Done { tree, field: None }));
            }
            // A word of a name can be a field's too: `corporation:Space Group Ltd`.
            Ok(field) if !self.follows_value(start) => {
                let problem = match field {
                    Field::Number(_) => {
                        Problem::new(span, format!("`{word}` is a number: compare it, as in `{word}>=5`"))
                            .suggest([format!("{word}>=")])
                    }
                    Field::Age => Problem::new(span, "`age` has to be compared, as in `age<2h`").suggest(["age<"]),
                    _ if opens => Problem::new(span, format!("a `:` is missing between `{word}` and its values"))
                        .suggest([format!("{word}:")]),
                    _ => Problem::new(span, format!("`{word}` needs a value, as in `{word}:...`"))
                        .suggest([format!("{word}:")]),
                };
                self.problems.push(problem);
            }
            _ => self.bare_word(start, span, word),
        }
        Ok(self.broken(start))
    }

    /// A word (or a name in quotes) that belongs to no field.
    fn bare_word(&mut self, start: usize, span: Span, word: String) {
        let quoted =
            self.scanner.position() > start && self.text[span.start..].starts_with(|c| super::text::plain(c) == '"');
        let mut words = vec![word];
        if !quoted {
            words.extend(self.bare_words());
        }
        let first = words[0].clone();
        let problem = if self.follows_value(start)
            && let Some(last) = self.last.take()
        {
            let mut problem = Problem::new(
                span,
                format!("`{first}` has no field; a name with spaces goes in quotes"),
            );
            if last.field.kind().is_some() || last.field == Field::Label {
                let name = format!("{} {}", last.value, words.join(" "));
                problem = problem.suggest([format!("{}{}", last.head, print::quoted(&name))]);
            } else {
                let value = format!("{}{}", last.value, words.join(""));
                problem.message = format!("`{first}` has no field");
                if self.is_value_of(last.field, &value) {
                    problem.message.push_str("; a number has no spaces in it");
                    problem = problem.suggest([format!("{}{value}", last.head)]);
                }
            }
            problem
        } else {
            let mut problem = Problem::new(
                span,
                format!("`{first}` has no field: say what it is, as in `ship:...` or `region:...`"),
            )
            .suggest(fields::similar_words(&first));
            problem.bare_word = Some(words.join(" "));
            problem
        };
        self.problems.push(problem);
    }

    /// Takes the words that follow a bare word: they have the same fault, and are told of once.
    fn bare_words(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            let back = self.scanner.position();
            self.scanner.skip_white_space();
            let from = self.scanner.position();
            self.scanner.take_until(ends_word);
            let word = self.scanner.text_from(from);
            let after = self.scanner.position();
            self.scanner.skip_white_space();
            let goes_on = !word.is_empty()
                && !word.starts_with(is_dash)
                && !word.starts_with('@')
                && !fields::KEYWORDS.contains(&word.to_lowercase().as_str())
                && !matches!(Field::named(&word), Ok(Field::Flag(_)))
                && !self.scanner.peek().is_some_and(|c| is_operator(c) || c == '(');
            self.scanner.go_to(if goes_on { after } else { back });
            if !goes_on {
                return words;
            }
            words.push(word);
        }
    }

    /// Whether nothing but white space is between the last value and `position`.
    fn follows_value(&self, position: usize) -> bool {
        self.last
            .as_ref()
            .is_some_and(|last| self.scanner.is_blank(last.end, position))
    }

    fn group(&mut self, start: usize, word: Span, role: ParticipantRole) -> Result<Term, Stop> {
        if self.group.is_some() {
            self.problems.push(Problem::new(
                word,
                "groups do not nest: inside a group everything is about one participant already",
            ));
        }
        let open = self.scanner.here();
        self.scanner.next();
        let outer = self.group.replace(role);
        let inner = self.enclosed(open);
        self.group = outer;
        Ok(self.finish(start, Kind::Group(role, Box::new(inner?))))
    }

    /// `final( )` and `any( )` do not exist; what the former would mean can be said otherwise.
    fn no_group(&mut self, start: usize, word: Span, role: &str) -> Result<Term, Stop> {
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
                    "there is no `final( )`: one attacker has the final blow, so write `final.` before each field"
                }
                _ => "there is no `any( )`: write `attacker( )` or `victim( )`, or both with OR",
            },
        );
        if role == "final" && self.problems.len() == known {
            let mut fields = Vec::new();
            inner.visit(&mut |term| match &term.kind {
                Kind::Named(named) => fields.push(named.field_span.start),
                Kind::Done { field: Some(field), .. } => fields.push(field.start),
                _ => {}
            });
            // From the back, so that the places before stay where they are.
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

    fn near(&mut self, start: usize, word: Span) -> Result<Term, Stop> {
        if let Some(role) = self.group {
            self.not_in_group(word, "near", role);
        }
        self.scanner.next();
        self.scanner.skip_white_space();
        let here = self.scanner.here();
        let mut origin = match self.scanner.peek() {
            Some('"') => self.quoted()?,
            Some(c) if !ends_value(c) => {
                let from = self.scanner.position();
                let span = self.scanner.take_until(ends_value);
                Value {
                    span,
                    text: self.scanner.text_from(from),
                    quoted: false,
                }
            }
            _ => return Err(self.stop(Problem::new(here, "near needs a system, as in near(Turnur, 7ly)"))),
        };
        let no_comma = self.rest_of_origin(&mut origin);
        let here = self.scanner.here();
        if self.scanner.take(',').is_none() && !no_comma {
            let message = "near needs a distance after the system, as in near(Turnur, 7ly) or near(Turnur, 5j)";
            return Err(self.stop(Problem::new(here, message).suggest([", 7ly", ", 5j"])));
        }
        self.scanner.skip_white_space();
        let from = self.scanner.position();
        let mut span = self.scanner.take_until(ends_value);
        let mut text = self.scanner.text_from(from);
        // `7 ly`
        let back = self.scanner.position();
        self.scanner.skip_white_space();
        let from = self.scanner.position();
        let more = self.scanner.take_until(ends_value);
        let unit = self.scanner.text_from(from);
        if unit.is_empty() {
            self.scanner.go_to(back);
        } else {
            span = span.to(more);
            text = format!("{text} {unit}");
        }
        let reach = match reach(&text) {
            Ok(reach) => reach,
            Err((message, suggestions)) => {
                self.problems.push(Problem::new(span, message).suggest(suggestions));
                Reach::Jumps(0)
            }
        };
        self.close()?;
        Ok(self.finish(start, Kind::Near { origin, reach }))
    }

    /// More words up to the comma belong to the origin's name, unless one is a distance: then the comma is missing, which is
    /// said and returned.
    fn rest_of_origin(&mut self, origin: &mut Value) -> bool {
        let (mut name, mut span) = (origin.text.clone(), origin.span);
        let mut no_comma = false;
        loop {
            self.scanner.skip_white_space();
            let from = self.scanner.position();
            let next_span = self.scanner.take_until(ends_value);
            let next = self.scanner.text_from(from);
            if next.is_empty() {
                break;
            }
            if reach(&next).is_ok() {
                let message = "a comma is missing between the system and the distance";
                self.problems
                    .push(Problem::new(next_span, message).suggest([format!(", {next}")]));
                self.scanner.go_to(from);
                no_comma = true;
                break;
            }
            name = format!("{name} {next}");
            span = span.to(next_span);
        }
        if span != origin.span {
            self.problems
                .push(Problem::new(span, "a name with spaces goes in quotes").suggest([print::quoted(&name)]));
        }
        no_comma
    }

    /// What stands up to the `)` whose `(` was just taken.
    fn enclosed(&mut self, open: Span) -> Result<Term, Stop> {
        self.scanner.skip_white_space();
        if self.scanner.peek() == Some(')') {
            let here = self.scanner.here();
            return Err(self.stop(Problem::new(here, "nothing stands between these parentheses")));
        }
        let inner = self.deeper(open, Self::any)?;
        self.close()?;
        Ok(inner)
    }

    fn close(&mut self) -> Result<(), Stop> {
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

    /// One level further in; `span` is what opens it.
    fn deeper(&mut self, span: Span, read: impl FnOnce(&mut Self) -> Result<Term, Stop>) -> Result<Term, Stop> {
        if self.levels == MAX_LEVELS {
            let message = format!("parentheses, groups and NOT stand more than {MAX_LEVELS} levels inside one another");
            return Err(self.stop(Problem::new(span, message)));
        }
        self.levels += 1;
        let term = read(self);
        self.levels -= 1;
        term
    }

    pub(super) fn quoted(&mut self) -> Result<Value, Stop> {
        self.scanner
            .quoted()
            .map_err(|end| self.stop(Problem::new(end, "a closing quote is missing at the end").suggest(["\""])))
    }

    pub(super) fn reserved(&mut self, span: Span) {
        let message = "names with `@` are reserved for lists, which do not exist yet; in quotes it is part of a name";
        self.problems.push(Problem::new(span, message));
    }

    pub(super) fn not_in_group(&mut self, span: Span, word: &str, role: ParticipantRole) {
        let group = fields::role_prefix(role).trim_end_matches('.');
        let bare = word.split_once('.').map_or(word, |(_, field)| field);
        let mut problem = Problem::new(
            span,
            format!(
                "`{word}` does not go inside {group}( ): only character, corporation, alliance, faction, ship, group, category{} of that one participant do",
                if role == ParticipantRole::Victim {
                    ""
                } else {
                    ", weapon and weapon_group"
                }
            ),
        );
        let is_weapon = bare.to_lowercase().starts_with("weapon");
        if is_weapon && role == ParticipantRole::Victim {
            problem.message = format!("`{word}` does not go inside victim( ): only attackers have weapons");
        } else if matches!(Field::named(bare), Ok(Field::Participant(..))) {
            problem.message = format!("inside {group}( ) every field is about that one participant: write `{bare}`");
            problem = problem.suggest([bare]);
        }
        self.problems.push(problem);
    }

    /// The word at this place, not taken.
    fn word_ahead(&mut self) -> String {
        let from = self.scanner.position();
        self.scanner.take_until(ends_word);
        let word = self.scanner.text_from(from);
        self.scanner.go_to(from);
        word
    }

    /// Whether `word`, which comes next, is this keyword, and not a field (`or:x`).
    fn is_keyword(&self, word: &str, keyword: &str) -> bool {
        let next = self.scanner.peek_at(word.chars().count());
        word.eq_ignore_ascii_case(keyword) && !next.is_some_and(is_operator)
    }

    /// The same for a word that was just taken.
    fn is_keyword_here(&self, word: &str, keyword: &str) -> bool {
        word.eq_ignore_ascii_case(keyword) && !self.scanner.peek().is_some_and(is_operator)
    }

    pub(super) fn stop(&mut self, problem: Problem) -> Stop {
        self.problems.push(problem);
        Stop
    }

    pub(super) fn finish(&self, start: usize, kind: Kind) -> Term {
        Term {
            span: self.scanner.span_from(start),
            kind,
        }
    }

    /// Stands for what was told to be wrong: a text with problems gives no terms in the end.
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

/// `7ly`, `7.5ly`, `5j`.
fn reach(text: &str) -> Result<Reach, (String, Vec<String>)> {
    let lower = text.to_lowercase();
    let end = lower
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(lower.len());
    let (digits, unit) = lower.split_at(end);
    let number = digits.parse::<f64>().ok().filter(|number| number.is_finite());
    let (whole, suggest) = (!digits.contains('.'), |units: &[&str]| {
        units.iter().map(|unit| format!("{digits}{unit}")).collect()
    });
    let example = "write light years or stargate jumps, as in 7ly or 5j";
    match (number, unit) {
        (None, _) => Err((format!("`{text}` is no distance; {example}"), Vec::new())),
        (Some(light_years), "ly") => Ok(Reach::LightYears(light_years)),
        // Farther than any route there is.
        (Some(_), "j") if whole => Ok(Reach::Jumps(digits.parse().unwrap_or(u32::MAX))),
        (Some(_), "j") => Err((format!("`{text}` is no distance: jumps are whole"), vec![])),
        (Some(_), "") => Err((
            format!("`{text}` has no unit; {example}"),
            if whole { suggest(&["ly", "j"]) } else { suggest(&["ly"]) },
        )),
        (Some(_), unit) => {
            let meant: &[&str] = match unit.trim() {
                "ly" | "lightyears" | "light years" | "lightyear" | "light" | "l" | "lys" => &["ly"],
                "j" | "jump" | "jumps" | "js" | "gates" | "gate" if whole => &["j"],
                _ => &[],
            };
            Err((format!("`{text}` is no distance; {example}"), suggest(meant)))
        }
    }
}
