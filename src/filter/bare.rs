//! Diagnostics for words without a field.
//!
//! Such a word is usually part of a name without quotes, or a name whose field is missing.

use super::{
    fields::{self, Field},
    near,
    parser::{Parser, Unrecoverable},
    print,
    scanner::{ends_word, is_operator},
    syntax::{Problem, Span},
    text::is_dash,
};

impl Parser<'_> {
    /// Reports a word that is not a flag and has no operator after it.
    pub(super) fn word_alone(&mut self, start: usize, span: Span, word: String) -> Result<(), Unrecoverable> {
        // Part of a name can also be the name of a field: `corporation:Space Group Ltd`.
        if self.follows_value(start) {
            self.bare_word(start, span, word);
            return Ok(());
        }
        match (Field::named(&word), word.to_lowercase().as_str()) {
            (Ok(field), _) => return self.field_alone(span, &word, field),
            (_, "near") => self.problems.push(near::without_parentheses(span)),
            (Err(no_field), name) if fields::is_role(name) => {
                self.problems
                    .push(Problem::new(span, no_field.message).suggest(no_field.suggestions));
            }
            _ => self.bare_word(start, span, word),
        }
        Ok(())
    }

    /// Reports a field without an operator: `value`, `ship Nyx`, `ship(Nyx OR Brutix)`.
    fn field_alone(&mut self, span: Span, word: &str, field: Field) -> Result<(), Unrecoverable> {
        let back = self.scanner.position();
        self.scanner.skip_white_space();
        let is_list = self.scanner.peek() == Some('(');
        self.scanner.go_to(back);
        let sign = match field {
            Field::Number(_) => ">=",
            Field::Age => "<",
            _ => ":",
        };
        // The words that follow are probably its value, so the suggestion includes them.
        let words = if is_list { Vec::new() } else { self.bare_words() };
        let value = match words.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            several if field.kind().is_some() => print::quoted(&several.join(" ")),
            several => several.join(""),
        };
        let message = match field {
            Field::Number(_) => format!("`{word}` needs a comparison, as in `{word}>=5`"),
            Field::Age => "`age` needs a comparison, as in `age<2h`".to_owned(),
            _ if is_list || !value.is_empty() => format!("a `:` is missing between `{word}` and its value"),
            _ => format!("`{word}` needs a value, as in `{word}:...`"),
        };
        let span = if words.is_empty() {
            span
        } else {
            span.to(self.scanner.span_from(back))
        };
        self.problems
            .push(Problem::new(span, message).suggest([format!("{word}{sign}{value}")]));
        if is_list {
            // Parse the list as the value, so that its words are not reported one by one.
            self.values(Some(field), word, false)?;
        }
        Ok(())
    }

    /// Reports a word, or a name in quotes, that belongs to no field.
    pub(super) fn bare_word(&mut self, start: usize, span: Span, word: String) {
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
                format!("`{first}` has no field; put a name with spaces in quotes"),
            );
            if last.field.kind().is_some() || last.field == Field::Label {
                let name = format!("{} {}", last.value, words.join(" "));
                problem = problem.suggest([format!("{}{}", last.head, print::quoted(&name))]);
            } else {
                let value = format!("{}{}", last.value, words.join(""));
                problem.message = format!("`{first}` has no field");
                if self.is_value_of(last.field, &value) {
                    problem.message.push_str("; write the number without spaces");
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

    /// Takes the words after a bare word. They have the same error, which is reported only once.
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

    /// Returns whether only white space is between the last value and `position`.
    fn follows_value(&self, position: usize) -> bool {
        self.last
            .as_ref()
            .is_some_and(|last| self.scanner.is_blank(last.end, position))
    }
}
