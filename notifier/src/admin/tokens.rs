//! NOTIFIER_ADMIN_TOKENS_FILE: one `name token` a line. Tokens are kept as hashes, and never shown.

use std::{fmt, io, path::Path};

use sha2::{Digest as _, Sha256};

/// The tokens that are let in, and whose they are.
#[derive(Clone)]
pub struct Tokens(Vec<(String, [u8; 32])>);

/// Why a tokens file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensFileError {
    /// Not readable.
    #[error("a readable file ({0})")]
    Unreadable(#[from] io::Error),
    /// A line that is neither empty, a comment, nor a name and a token.
    #[error("a file with one `name token` per line, or comments after #; line {0} is neither")]
    Line(usize),
    /// Nobody could call.
    #[error("a file with at least one `name token` line")]
    Empty,
}

impl Tokens {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, TokensFileError> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    fn parse(text: &str) -> Result<Self, TokensFileError> {
        let mut tokens = Vec::new();
        for (name, token) in lines(text)? {
            tokens.push((name.to_owned(), digest(token)));
        }
        if tokens.is_empty() {
            Err(TokensFileError::Empty)
        } else {
            Ok(Self(tokens))
        }
    }

    /// Whose token this is. What is compared are hashes: how far they agree says nothing about a token.
    pub(super) fn owner(&self, token: &str) -> Option<&str> {
        let digest = digest(token.trim());
        self.0
            .iter()
            .find(|(_, known)| *known == digest)
            .map(|(name, _)| name.as_str())
    }
}

/// The first token of a file, for a caller on the same machine.
pub(super) fn first(path: &Path) -> Result<String, TokensFileError> {
    let text = std::fs::read_to_string(path)?;
    let first = lines(&text)?.first().map(|(_, token)| (*token).to_owned());
    first.ok_or(TokensFileError::Empty)
}

fn lines(text: &str) -> Result<Vec<(&str, &str)>, TokensFileError> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let (Some(name), Some(token), None) = (words.next(), words.next(), words.next()) else {
            return Err(TokensFileError::Line(index + 1));
        };
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokensFileError::Line(index + 1));
        }
        found.push((name, token));
    }
    Ok(found)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tokens() {
        let tokens = Tokens::parse("# us\nweb  s3cret\n\nops other\n").unwrap();
        assert_eq!(
            (tokens.owner("s3cret"), tokens.owner("other"), tokens.owner("")),
            (Some("web"), Some("ops"), None)
        );
        assert!(!format!("{tokens:?}").contains("s3cret"));
        assert!(matches!(Tokens::parse("web\n"), Err(TokensFileError::Line(1))));
        assert!(matches!(Tokens::parse("# none"), Err(TokensFileError::Empty)));
    }
}
