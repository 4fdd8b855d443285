//! Parsing of `near(Turnur, 7ly)`.

use super::{
    parser::{Parser, Unrecoverable},
    print,
    scanner::ends_value,
    syntax::{Kind, Problem, Span, Term, Value},
};
use crate::v1::filter_near::Reach;

/// Returns the problem of a `near` without parentheses.
pub(super) fn without_parentheses(span: Span) -> Problem {
    let message = "near needs a system and a distance in parentheses";
    Problem::new(span, message).suggest(["near(Turnur, 7ly)", "near(Turnur, 5j)"])
}

impl Parser<'_> {
    /// Parses a `near( )` whose first word was taken. The next character is the `(`.
    pub(super) fn near(&mut self, start: usize, word: Span) -> Result<Term, Unrecoverable> {
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
        // Take `7 ly` as one text, so that a single diagnostic can suggest `7ly`.
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

    /// Takes the rest of an origin's name, up to the comma.
    ///
    /// Returns whether the comma is missing, which is the case if one of the words is a distance. A missing comma is reported
    /// here.
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
                .push(Problem::new(span, "put a name with spaces in quotes").suggest([print::quoted(&name)]));
        }
        no_comma
    }
}

/// Parses a distance: `7ly`, `7.5ly` or `5j`.
///
/// The error is a message with suggestions.
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
        (None, _) => Err((format!("`{text}` is not a distance; {example}"), Vec::new())),
        (Some(light_years), "ly") => Ok(Reach::LightYears(light_years)),
        // A number beyond `u32` is longer than any route, so the maximum matches the same systems.
        (Some(_), "j") if whole => Ok(Reach::Jumps(digits.parse().unwrap_or(u32::MAX))),
        (Some(_), "j") => Err((format!("`{text}` is not a distance: jumps are whole numbers"), vec![])),
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
            Err((format!("`{text}` is not a distance; {example}"), suggest(meant)))
        }
    }
}
