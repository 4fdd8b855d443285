//! A scanner over the characters of a text.
//!
//! Byte positions always refer to the original text, even where a character is replaced or ignored.

use super::{
    syntax::{Span, Value},
    text::{is_invisible, plain},
};

/// A text and the current position in it.
pub(super) struct Scanner<'a> {
    text: &'a str,
    /// Byte positions and characters, without invisible ones and with plain quotes and apostrophes.
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

    /// Returns the next character without taking it; `None` at the end.
    pub(super) fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    /// Returns the character `ahead` places after the next one, without taking it.
    pub(super) fn peek_at(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).map(|&(_, c)| c)
    }

    /// Takes the next character; `None` at the end.
    pub(super) fn next(&mut self) -> Option<char> {
        let next = self.peek();
        if next.is_some() {
            self.at += 1;
        }
        next
    }

    /// Takes the next character and returns its span if it is the wanted one.
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

    /// Returns the span of the next character. At the end of the text the span is empty.
    pub(super) fn here(&self) -> Span {
        let start = self.byte(self.at);
        let end = match self.characters.get(self.at) {
            // The original character may have more bytes than its plain form.
            Some(_) => start + self.text[start..].chars().next().map_or(0, char::len_utf8),
            None => start,
        };
        Span { start, end }
    }

    /// Returns the current position, for [`Self::go_to`].
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Moves to a position.
    pub(super) fn go_to(&mut self, position: usize) {
        self.at = position;
    }

    /// Returns the span of the characters taken since `position`.
    pub(super) fn span_from(&self, position: usize) -> Span {
        let start = self.byte(position);
        let end = match self.at.checked_sub(1).and_then(|last| self.characters.get(last)) {
            Some(&(last, _)) if self.at > position => last + self.text[last..].chars().next().map_or(0, char::len_utf8),
            _ => start,
        };
        Span { start, end }
    }

    /// Returns the characters taken since `position`, in their plain form.
    pub(super) fn text_from(&self, position: usize) -> String {
        self.text_between(position, self.at)
    }

    /// Returns the characters between two positions, in their plain form.
    pub(super) fn text_between(&self, from: usize, to: usize) -> String {
        self.characters
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .map(|&(_, c)| c)
            .collect()
    }

    /// Returns whether only white space is between two positions.
    pub(super) fn is_blank(&self, from: usize, to: usize) -> bool {
        self.characters
            .get(from..to)
            .is_some_and(|between| between.iter().all(|(_, c)| c.is_whitespace()))
    }

    /// Takes characters until `ends` is true for the next one, or until the end.
    pub(super) fn take_until(&mut self, ends: impl Fn(char) -> bool) -> Span {
        let start = self.at;
        while self.peek().is_some_and(|c| !ends(c)) {
            self.at += 1;
        }
        self.span_from(start)
    }

    /// Takes a value in quotes. The next character is the opening quote.
    ///
    /// Returns the end of the text as an error if the closing quote is missing.
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

/// Returns whether `c` ends a value without quotes.
pub(super) fn ends_value(c: char) -> bool {
    c.is_whitespace() || matches!(c, '(' | ')' | ',')
}

/// Returns whether `c` ends a word that is not a value.
pub(super) fn ends_word(c: char) -> bool {
    ends_value(c) || is_operator(c) || c == '"'
}

/// Returns whether operators contain `c`.
pub(super) fn is_operator(c: char) -> bool {
    matches!(c, ':' | '=' | '<' | '>' | '!' | '≥' | '≤' | '≠')
}
