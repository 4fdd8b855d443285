//! Walks over the characters of a text. Byte positions are always those of the original text, whatever a character counts as.

use super::{
    syntax::{Span, Value},
    text::{is_invisible, plain},
};

/// A place in a text.
pub(super) struct Scanner<'a> {
    text: &'a str,
    /// Byte position and character; without invisible ones, quotes and apostrophes made plain.
    characters: Vec<(usize, char)>,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let characters = text
            .char_indices()
            .filter(|&(_, c)| !is_invisible(c))
            .map(|(byte, c)| (byte, plain(c)))
            .collect();
        Self {
            text,
            characters,
            at: 0,
        }
    }

    /// The next character; `None` at the end.
    pub(super) fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    /// The character so many after the next.
    pub(super) fn peek_at(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).map(|&(_, c)| c)
    }

    /// Takes the next character.
    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek();
        if next.is_some() {
            self.at += 1;
        }
        next
    }

    /// Takes the next character if it is this one.
    pub(super) fn take(&mut self, wanted: char) -> Option<Span> {
        let span = self.here();
        (self.peek() == Some(wanted)).then(|| {
            self.at += 1;
            span
        })
    }

    /// Takes white space.
    pub(super) fn skip_white_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// The next character; at the end of the text empty.
    pub(super) fn here(&self) -> Span {
        let start = self.byte(self.at);
        let end = match self.characters.get(self.at) {
            // Of the original, which may be longer than what it was made into.
            Some(_) => start + self.text[start..].chars().next().map_or(0, char::len_utf8),
            None => start,
        };
        Span { start, end }
    }

    /// A place to come back to.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Goes back (or forth) to a place.
    pub(super) fn go_to(&mut self, position: usize) {
        self.at = position;
    }

    /// What was taken since `position`.
    pub(super) fn span_from(&self, position: usize) -> Span {
        let start = self.byte(position);
        let end = match self.at.checked_sub(1).and_then(|last| self.characters.get(last)) {
            Some(&(last, _)) if self.at > position => last + self.text[last..].chars().next().map_or(0, char::len_utf8),
            _ => start,
        };
        Span { start, end }
    }

    /// What was taken since `position`, made plain.
    pub(super) fn text_from(&self, position: usize) -> String {
        self.text_between(position, self.at)
    }

    /// What is between two places, made plain.
    pub(super) fn text_between(&self, from: usize, to: usize) -> String {
        self.characters
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .map(|&(_, c)| c)
            .collect()
    }

    /// Whether there is nothing but white space between two places.
    pub(super) fn is_blank(&self, from: usize, to: usize) -> bool {
        self.characters
            .get(from..to)
            .is_some_and(|between| between.iter().all(|(_, c)| c.is_whitespace()))
    }

    /// Takes characters until one that `ends` says, or the end.
    pub(super) fn take_until(&mut self, ends: impl Fn(char) -> bool) -> Span {
        let start = self.at;
        while self.peek().is_some_and(|c| !ends(c)) {
            self.at += 1;
        }
        self.span_from(start)
    }

    /// Takes a value in quotes; the next character is the opening one. `Err` with the end of the text if nothing closes it.
    pub(super) fn quoted(&mut self) -> Result<Value, Span> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(self.here()),
                Some('"') => break,
                Some('\\') if matches!(self.peek(), Some('"' | '\\')) => text.extend(self.next()),
                Some(c) => text.push(c),
            }
        }
        Ok(Value {
            span: self.span_from(start),
            text,
            quoted: true,
        })
    }

    fn byte(&self, at: usize) -> usize {
        self.characters.get(at).map_or(self.text.len(), |&(byte, _)| byte)
    }
}

/// Where a value without quotes ends.
pub(super) fn ends_value(c: char) -> bool {
    c.is_whitespace() || matches!(c, '(' | ')' | ',')
}

/// Where a word that is no value ends: also before an operator or a quote.
pub(super) fn ends_word(c: char) -> bool {
    ends_value(c) || is_operator(c) || c == '"'
}

/// What operators are made of.
pub(super) fn is_operator(c: char) -> bool {
    matches!(c, ':' | '=' | '<' | '>' | '!' | '≥' | '≤' | '≠')
}
