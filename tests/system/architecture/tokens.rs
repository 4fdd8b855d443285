//! Rust source text as tokens: enough to find modules, imports, paths and visible types.
//!
//! Comments and lifetimes are dropped, so a path in a comment is not a use of a module.

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier or a keyword.
    Word,
    /// A string, a character or a number.
    Literal,
    /// Punctuation; `::` is one token.
    Mark,
}

/// A token with its line, counted from 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) line: usize,
}

impl<'a> Token<'a> {
    /// Returns the text of a word, `None` for other tokens.
    pub(super) fn word(self) -> Option<&'a str> {
        (self.kind == Kind::Word).then_some(self.text)
    }

    /// Returns the text of a mark or a keyword, and an empty text for a literal.
    pub(super) fn code(self) -> &'a str {
        if self.kind == Kind::Literal { "" } else { self.text }
    }
}

/// Returns the tokens of a source text.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    while at < text.len() {
        let (kind, end) = next(text, at);
        if let Some(kind) = kind {
            let text = &text[at..end];
            found.push(Token { kind, text, line });
        }
        line += text.as_bytes()[at..end].iter().filter(|byte| **byte == b'\n').count();
        at = end;
    }
    found
}

/// Returns the kind of the token at a position, and its end.
///
/// Spaces, comments and lifetimes have no kind.
fn next(text: &str, at: usize) -> (Option<Kind>, usize) {
    let bytes = text.as_bytes();
    match bytes[at] {
        b'/' if bytes.get(at + 1) == Some(&b'/') => (None, text[at..].find('\n').map_or(text.len(), |end| at + end)),
        b'/' if bytes.get(at + 1) == Some(&b'*') => (None, end_of_block_comment(bytes, at)),
        b'"' => (Some(Kind::Literal), end_of_quoted(bytes, at + 1, b'"')),
        b'\'' => character_or_lifetime(text, at),
        b'0'..=b'9' => (Some(Kind::Literal), end_of_word(bytes, at)),
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => word_or_prefixed_literal(bytes, at),
        b':' if bytes.get(at + 1) == Some(&b':') => (Some(Kind::Mark), at + 2),
        byte if byte.is_ascii_punctuation() => (Some(Kind::Mark), at + 1),
        _ => (None, at + text[at..].chars().next().map_or(1, char::len_utf8)),
    }
}

fn end_of_word(bytes: &[u8], at: usize) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    at + bytes[at..].iter().take_while(|byte| is_part(byte)).count()
}

/// Returns the position after a block comment; block comments nest.
fn end_of_block_comment(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut end) = (1, at + 2);
    while depth > 0 && end + 1 < bytes.len() {
        let step = match &bytes[end..end + 2] {
            b"/*" => 1,
            b"*/" => -1,
            _ => 0,
        };
        depth += step;
        end += if step == 0 { 1 } else { 2 };
    }
    if depth > 0 { bytes.len() } else { end }
}

/// Returns the position after the closing quote; a backslash escapes one byte.
fn end_of_quoted(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn character_or_lifetime(text: &str, at: usize) -> (Option<Kind>, usize) {
    let bytes = text.as_bytes();
    let after = at + 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
    if bytes.get(at + 1) == Some(&b'\\') || bytes.get(after) == Some(&b'\'') {
        (Some(Kind::Literal), end_of_quoted(bytes, at + 1, b'\''))
    } else {
        (None, end_of_word(bytes, at + 1).max(at + 1))
    }
}

/// Returns the kind and the end of a word or of a literal with a prefix.
///
/// Literals with a prefix are `b"..."`, `r#"..."#` and `b'x'`. A raw identifier like `r#type` is a word.
fn word_or_prefixed_literal(bytes: &[u8], at: usize) -> (Option<Kind>, usize) {
    let end = end_of_word(bytes, at);
    let prefix = &bytes[at..end];
    let hashes = bytes[end..].iter().take_while(|byte| **byte == b'#').count();
    let is_raw = matches!(prefix, b"r" | b"br" | b"cr");
    match bytes.get(end + hashes) {
        Some(b'"') if is_raw => {
            let closing = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let start = end + hashes + 1;
            let length = bytes[start..].windows(closing.len()).position(|part| part == closing);
            (
                Some(Kind::Literal),
                length.map_or(bytes.len(), |length| start + length + closing.len()),
            )
        }
        Some(b'"') if hashes == 0 && matches!(prefix, b"b" | b"c") => {
            (Some(Kind::Literal), end_of_quoted(bytes, end + 1, b'"'))
        }
        Some(b'\'') if hashes == 0 && prefix == b"b" => (Some(Kind::Literal), end_of_quoted(bytes, end + 1, b'\'')),
        Some(byte) if prefix == b"r" && hashes == 1 && (byte.is_ascii_alphabetic() || *byte == b'_') => {
            (Some(Kind::Word), end_of_word(bytes, end + 1))
        }
        _ => (Some(Kind::Word), end),
    }
}

/// Returns the position after the group that opens at `at`, which is `(`, `[` or `{`.
pub(super) fn end_of_group(tokens: &[Token<'_>], at: usize) -> usize {
    let mut depth = 0;
    for (offset, token) in tokens[at..].iter().enumerate() {
        match token.code() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + offset + 1;
        }
    }
    tokens.len()
}

/// Returns the position after the item, field, variant, arm or statement that starts at `at`.
pub(super) fn end_of_item(tokens: &[Token<'_>], mut at: usize) -> usize {
    while code_at(tokens, at) == "#" {
        at = end_of_group(tokens, at + 1);
    }
    if code_at(tokens, at) == "pub" {
        at += 1;
        if code_at(tokens, at) == "(" {
            at = end_of_group(tokens, at);
        }
    }
    // The braces of these items do not end them: `use a::{b};`.
    let until_semicolon = match code_at(tokens, at) {
        "use" | "static" | "let" | "type" => true,
        "const" => !matches!(code_at(tokens, at + 1), "fn" | "unsafe" | "async" | "extern"),
        _ => false,
    };
    while at < tokens.len() {
        match tokens[at].code() {
            ";" | "," => return at + 1,
            ")" | "]" | "}" => return at,
            "{" if !until_semicolon => return end_of_group(tokens, at),
            "(" | "[" | "{" => at = end_of_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Returns the text of a mark or keyword at a position, and an empty text after the end.
pub(super) fn code_at<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.code())
}

#[test]
fn text_in_comments_and_strings_is_not_code() {
    let text = r####"a /* b /* c */ d */ e // f
        "g \" h" 'i' '\'' b'j' r#"k " l"# b"m" 'n: o::p r#type 1_000.max"####;
    let words: Vec<_> = tokens(text).into_iter().filter_map(Token::word).collect();
    assert_eq!(words, ["a", "e", "o", "p", "r#type", "max"]);
    let lines: Vec<_> = tokens("a\n\"b\nc\"\nd").iter().map(|token| token.line).collect();
    assert_eq!(lines, [1, 2, 4]);
}

#[test]
fn items_end_where_the_next_one_starts() {
    let rest = |text: &'static str| {
        let tokens = tokens(text);
        code_at(&tokens, end_of_item(&tokens, 0)).to_owned()
    };
    assert_eq!(rest("fn a() -> B { c; d } next"), "next");
    assert_eq!(rest("pub(in crate::a) use b::{c, d}; next"), "next");
    assert_eq!(rest("#[e] pub(super) const fn f() { g } next"), "next");
    assert_eq!(rest("Variant { field: u8 } , next"), ",");
    assert_eq!(rest("field: u8, next"), "next");
    assert_eq!(rest("last: u8 }"), "}");
}
