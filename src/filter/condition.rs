//! Parsing of conditions: a field, an operator, and a value or a list of values.

use super::{
    fields::{self, Field},
    parser::{LastValue, Parser, Unrecoverable},
    print,
    quantity::{self, QuantityError, Rules},
    scanner::{ends_value, is_operator},
    syntax::{Kind, NameCondition, Operator, Problem, Span, Term, Value},
    tree::{Leaf, Tree},
};
use crate::v1::{Comparison, NumberField, ParticipantField, ParticipantRole};

/// The wormhole classes of the language.
const CLASSES: std::ops::RangeInclusive<f64> = 1.0..=25.0;

/// The values to the right of an operator.
pub(super) struct Values {
    values: Vec<Value>,
    is_list: bool,
}

impl Parser<'_> {
    /// Parses a condition whose field (`word`) was taken. An operator comes next.
    pub(super) fn condition(&mut self, start: usize, span: Span, word: &str) -> Result<Term, Unrecoverable> {
        let field = Field::named(word);
        let operator = self.operator(field == Ok(Field::Label));
        let head_end = self.scanner.position();
        let numeric = matches!(field, Ok(Field::Number(_)));
        let head = self.scanner.text_from(start);
        let values = self.values(field.as_ref().ok().copied(), &head, numeric)?;
        let field = match field {
            Ok(field) => field,
            Err(no_field) => {
                self.problems
                    .push(Problem::new(span, no_field.message).suggest(no_field.suggestions));
                return Ok(self.broken(start));
            }
        };
        self.last = match values.values.as_slice() {
            [value] if !value.quoted && !values.is_list => Some(LastValue {
                end: self.scanner.position(),
                head: self.scanner.text_between(start, head_end),
                value: value.text.clone(),
                field,
            }),
            _ => None,
        };
        let Some(operator) = operator else {
            return Ok(self.broken(start));
        };
        let field = self.in_its_group(field, span, word);
        if values.values.is_empty() || !self.takes_operator(field, span, operator, &values, start) {
            return Ok(self.broken(start));
        }
        if field != Field::Label
            && let Some(list) = values
                .values
                .iter()
                .find(|value| !value.quoted && value.text.starts_with('@'))
        {
            self.reserved(list.span);
            return Ok(self.broken(start));
        }
        let negated = operator.comparison == Comparison::NotEqual;
        let tree = match field {
            Field::Participant(..) | Field::Item(_) | Field::Place(_) => {
                let named = NameCondition {
                    field,
                    field_span: span,
                    negated,
                    values: values.values,
                };
                return Ok(self.finish(start, Kind::Named(named)));
            }
            Field::Flag(_) => return Ok(self.broken(start)),
            Field::Label => Some(Tree::Leaf(Leaf::Label(
                values.values.into_iter().map(|value| value.text).collect(),
            ))),
            Field::Space => self.spaces(&values.values),
            Field::Hour => self.hours(&values.values),
            Field::Age => self.age(operator, &values.values),
            Field::Number(number) => {
                let tree = self.numbers(number, operator.comparison, &values.values);
                let Some(tree) = tree else {
                    return Ok(self.broken(start));
                };
                return Ok(self.finish(start, Kind::Done { tree, field: None }));
            }
        };
        let Some(tree) = tree else {
            return Ok(self.broken(start));
        };
        let tree = if negated { tree.negated() } else { tree };
        Ok(self.finish(start, Kind::Done { tree, field: None }))
    }

    /// Takes the operator. If it is invalid, reports that and returns `None`.
    fn operator(&mut self, is_label: bool) -> Option<Operator> {
        let start = self.scanner.position();
        let first = self.scanner.next();
        match first {
            // A label can start with any character, so the operator must not take more than its own.
            Some(':' | '=' | '≠') if is_label => {}
            Some('!') if is_label => _ = self.scanner.next(),
            _ => _ = self.scanner.take_until(|c| !is_operator(c)),
        }
        let span = self.scanner.span_from(start);
        let text = self.scanner.text_from(start);
        let comparison = match text.as_str() {
            ":" | "=" => Comparison::Equal,
            "!=" | "≠" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" | "≤" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" | "≥" => Comparison::GreaterOrEqual,
            other => {
                let meant: &[&str] = match other {
                    "==" | "===" | ":=" | "::" | "=:" | ":==" => &[":"],
                    "=>" | ":>=" | ":≥" | ">==" => &[">="],
                    "=<" | ":<=" | ":≤" | "<==" => &["<="],
                    ":>" => &[">"],
                    ":<" => &["<"],
                    "<>" | "!==" | ":!" | ":!=" | "=!" | "!:" => &["!="],
                    _ => &[],
                };
                let message = format!("`{other}` is not an operator; use : = != < <= > or >=");
                self.problems
                    .push(Problem::new(span, message).suggest(meant.iter().copied()));
                return None;
            }
        };
        Some(Operator { comparison, span })
    }

    /// Turns a participant field without a role into one of the group's participant.
    ///
    /// Reports a field that is not allowed inside a group.
    fn in_its_group(&mut self, field: Field, span: Span, word: &str) -> Field {
        let Some(role) = self.group else { return field };
        match field {
            Field::Participant(ParticipantRole::Any, participant) if !word.contains('.') => {
                let weapon = matches!(participant, ParticipantField::Weapon | ParticipantField::WeaponGroup);
                if weapon && role == ParticipantRole::Victim {
                    self.not_in_group(span, word, role);
                }
                Field::Participant(ParticipantRole::Member, participant)
            }
            _ => {
                self.not_in_group(span, word, role);
                field
            }
        }
    }

    /// Returns whether the field allows the operator, and reports it if not.
    fn takes_operator(&mut self, field: Field, word: Span, operator: Operator, values: &Values, start: usize) -> bool {
        let equality = matches!(operator.comparison, Comparison::Equal | Comparison::NotEqual);
        let name = field.name();
        let problem = match field {
            Field::Flag(_) => {
                let condition = Span {
                    start: word.start,
                    end: self.scanner.span_from(start).end,
                };
                Problem::new(
                    condition,
                    format!("`{name}` takes no value: write it without an operator"),
                )
                .suggest([name.clone(), format!("-{name}")])
            }
            Field::Age if equality => Problem::new(operator.span, "`age` needs <, <=, > or >=").suggest(["<", ">"]),
            Field::Number(_) | Field::Age => {
                if !values.is_list || equality {
                    return true;
                }
                Problem::new(operator.span, "a list of values needs `:` or `!=`").suggest([":"])
            }
            _ if equality => return true,
            Field::Hour => Problem::new(
                operator.span,
                "`hour` needs `:` and an hour or a range of hours, as in hour:22-3",
            )
            .suggest([":"]),
            _ => Problem::new(operator.span, format!("`{name}` is not a number: use `:` or `!=`")).suggest([":"]),
        };
        self.problems.push(problem);
        false
    }

    /// Takes a value or a list. If there is none, reports that and returns no values.
    pub(super) fn values(&mut self, field: Option<Field>, head: &str, numeric: bool) -> Result<Values, Unrecoverable> {
        let before = self.scanner.position();
        self.scanner.skip_white_space();
        let spaced = self.scanner.position() > before;
        let mut values = Values {
            values: Vec::new(),
            is_list: false,
        };
        let here = self.scanner.here();
        match self.scanner.peek() {
            None => return Err(self.stop(Problem::new(here, format!("a value is missing after `{head}`")))),
            Some('(') => {
                self.scanner.next();
                values.is_list = true;
                values.values = self.list(field, head, numeric)?;
            }
            Some(')' | ',') => self
                .problems
                .push(Problem::new(here, format!("a value is missing after `{head}`"))),
            Some('"') => values.values.push(self.quoted()?),
            Some(_) => {
                let start = self.scanner.position();
                let value = self.unquoted(numeric, false);
                if spaced && is_keyword(&value.text) {
                    self.problems
                        .push(Problem::new(value.span, format!("a value is missing after `{head}`")));
                    self.scanner.go_to(start);
                } else {
                    values.values.push(value);
                }
            }
        }
        Ok(values)
    }

    fn unquoted(&mut self, numeric: bool, in_list: bool) -> Value {
        let start = self.scanner.position();
        self.scanner.take_until(ends_value);
        // `1,000` is one invalid number. In a list, a comma with fewer than three digits after it was meant as OR.
        let digits = if in_list { 3 } else { 1 };
        while numeric
            && self.scanner.peek() == Some(',')
            && (1..=digits).all(|ahead| self.scanner.peek_at(ahead).is_some_and(|c| c.is_ascii_digit()))
        {
            self.scanner.next();
            self.scanner.take_until(ends_value);
        }
        Value {
            span: self.scanner.span_from(start),
            text: self.scanner.text_from(start),
            quoted: false,
        }
    }

    /// Takes the values up to the `)`. The `(` was taken.
    fn list(&mut self, field: Option<Field>, head: &str, numeric: bool) -> Result<Vec<Value>, Unrecoverable> {
        let mut values: Vec<Value> = Vec::new();
        let mut wanted = true;
        loop {
            self.scanner.skip_white_space();
            let here = self.scanner.here();
            let value = match self.scanner.peek() {
                None => {
                    let message = format!("the list after `{head}` is not closed: a `)` is missing at the end");
                    return Err(self.stop(Problem::new(here, message).suggest([")"])));
                }
                Some(')') => {
                    self.scanner.next();
                    if wanted {
                        self.problems
                            .push(Problem::new(here, "a value is missing before this `)`"));
                    }
                    return Ok(values);
                }
                Some('(') => {
                    let message = format!("`{head}( )` can contain only values and OR, not parentheses");
                    return Err(self.stop(Problem::new(here, message)));
                }
                Some(',') => {
                    self.scanner.next();
                    self.problems
                        .push(Problem::new(here, "join the values of a list with OR").suggest([" OR"]));
                    wanted = true;
                    continue;
                }
                Some('"') => self.quoted()?,
                Some(_) => self.unquoted(numeric, true),
            };
            if !value.quoted && is_keyword(&value.text) {
                self.list_keyword(&value, head, wanted);
                wanted = true;
                continue;
            }
            if !wanted {
                self.values_without_or(&value, values.last(), field);
            } else if field != Some(Field::Label) {
                self.condition_as_value(&value, field, head);
            }
            values.push(value);
            wanted = false;
        }
    }

    fn list_keyword(&mut self, keyword: &Value, head: &str, wanted: bool) {
        let word = keyword.text.to_uppercase();
        let problem = match (word.as_str(), wanted) {
            ("OR", false) => return,
            ("NOT", _) => Problem::new(
                keyword.span,
                format!("`{head}( )` can contain only values and OR; NOT goes before a whole term"),
            ),
            (_, true) => Problem::new(keyword.span, format!("a value is missing before {word}")),
            _ => Problem::new(keyword.span, format!("`{head}( )` can contain only values and OR")).suggest(["OR"]),
        };
        self.problems.push(problem);
    }

    /// Reports a second value without an OR before it, which is usually part of a name with spaces.
    fn values_without_or(&mut self, value: &Value, before: Option<&Value>, field: Option<Field>) {
        let names = field.is_some_and(|field| field.kind().is_some() || field == Field::Label);
        let start = self.scanner.position();
        let mut words = vec![value.text.clone()];
        if names && !value.quoted {
            words.extend(self.list_words());
        }
        let problem = match before {
            Some(before) if names && !value.quoted && !before.quoted => {
                let name = format!("{} {}", before.text, words.join(" "));
                Problem::new(
                    value.span,
                    format!("write OR before `{}`, or put a name with spaces in quotes", value.text),
                )
                .suggest([print::quoted(&name)])
            }
            _ => {
                self.scanner.go_to(start);
                let written = self.text.get(value.span.start..value.span.end).unwrap_or_default();
                Problem::new(value.span, format!("write OR before `{}`", value.text)).suggest([format!("OR {written}")])
            }
        };
        self.problems.push(problem);
    }

    /// Takes the words up to the next keyword or the end of the list.
    fn list_words(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            let back = self.scanner.position();
            self.scanner.skip_white_space();
            let from = self.scanner.position();
            self.scanner.take_until(|c| ends_value(c) || c == '"');
            let word = self.scanner.text_from(from);
            if word.is_empty() || is_keyword(&word) {
                self.scanner.go_to(back);
                return words;
            }
            words.push(word);
        }
    }

    /// Reports a condition inside a list: `ship:(group:Titan)`.
    fn condition_as_value(&mut self, value: &Value, field: Option<Field>, head: &str) {
        let Some(at) = value.text.find(is_operator).filter(|_| !value.quoted) else {
            return;
        };
        let (name, rest) = value.text.split_at(at);
        let Ok(named) = Field::named(name) else { return };
        let mut problem = Problem::new(
            value.span,
            format!("`{head}( )` can contain only values and OR, not a field"),
        );
        if field == Some(named) {
            problem = problem.suggest([rest.trim_start_matches(is_operator)]);
        }
        self.problems.push(problem);
    }

    fn spaces(&mut self, values: &[Value]) -> Option<Tree> {
        let mut spaces = Vec::new();
        for value in values {
            match fields::space_named(value.text.trim()) {
                Some(space) => spaces.push(space),
                None => {
                    let message = format!(
                        "`{}` is not a kind of space; use highsec, lowsec, nullsec, wormhole, abyssal or pochven",
                        value.text
                    );
                    let similar = fields::similar_spaces(value.text.trim());
                    self.problems.push(Problem::new(value.span, message).suggest(similar));
                }
            }
        }
        (spaces.len() == values.len()).then_some(Tree::Leaf(Leaf::Space(spaces)))
    }

    fn hours(&mut self, values: &[Value]) -> Option<Tree> {
        let mut hours = Vec::new();
        for value in values {
            let span = self.quantity(value, quantity::hours)?;
            hours.push(Tree::Leaf(Leaf::Hour {
                from: span.0,
                to: span.1,
            }));
        }
        Some(Tree::any(hours))
    }

    fn age(&mut self, operator: Operator, values: &[Value]) -> Option<Tree> {
        let seconds = self.quantity(values.first()?, quantity::age)?;
        Some(Tree::Leaf(Leaf::Age {
            comparison: operator.comparison,
            seconds,
        }))
    }

    fn numbers(&mut self, field: NumberField, comparison: Comparison, values: &[Value]) -> Option<Tree> {
        let mut numbers = Vec::new();
        for value in values {
            let number = self.quantity(value, |text| number(field, text))?;
            numbers.push(Tree::Leaf(Leaf::Number {
                field,
                comparison,
                value: number,
            }));
        }
        // `!=` with a list means none of the values, and is false where the number is unknown.
        Some(if comparison == Comparison::NotEqual {
            Tree::all(numbers)
        } else {
            Tree::any(numbers)
        })
    }

    fn quantity<T>(&mut self, value: &Value, read: impl Fn(&str) -> Result<T, QuantityError>) -> Option<T> {
        let quantity = read(&value.text);
        if value.quoted {
            let problem = Problem::new(value.span, "write the number without quotes");
            self.problems
                .push(problem.suggest(quantity.is_ok().then_some(value.text.as_str())));
            return None;
        }
        quantity
            .map_err(|no| {
                self.problems
                    .push(Problem::new(value.span, no.message).suggest(no.suggestion))
            })
            .ok()
    }

    /// Returns whether `text` is a value of `field`, for fields whose values are not names.
    pub(super) fn is_value_of(&self, field: Field, text: &str) -> bool {
        match field {
            Field::Number(field) => number(field, text).is_ok(),
            Field::Hour => quantity::hours(text).is_ok(),
            Field::Age => quantity::age(text).is_ok(),
            Field::Space => fields::space_named(text).is_some(),
            _ => false,
        }
    }
}

fn number(field: NumberField, text: &str) -> Result<f64, QuantityError> {
    let security = field == NumberField::Security;
    let isk = fields::is_isk(field);
    let number = quantity::number(
        text,
        Rules {
            isk,
            decimal: isk || security,
            negative: security,
        },
    )?;
    if field == NumberField::Class && !CLASSES.contains(&number) {
        return Err(QuantityError {
            message: format!(
                "`{text}` is not a wormhole class; use 1 to 25 (1-6 wormholes, 12 Thera, 13 shattered, 14-18 drifter)"
            ),
            suggestion: None,
        });
    }
    Ok(number)
}

fn is_keyword(word: &str) -> bool {
    fields::KEYWORDS.contains(&word.to_lowercase().as_str())
}
