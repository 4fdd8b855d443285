//! Cursors: a reader's position in a log.
//!
//! A cursor is opaque to clients. They store its text and send it back to resume.

use std::{fmt, str::FromStr};

/// The identity of a log.
///
/// A random number, chosen when the log is created, and chosen again whenever its history could have forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub u64);

/// A record's position in its log.
///
/// Offsets increase strictly but are not consecutive, so the next one cannot be computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub u64);

/// The position right after a record of a log. `Offset(0)` is the position before the first record.
///
/// The text form is `k1-<log id>-<offset>`, both in hexadecimal digits; `k1` is the version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The log.
    pub log: LogId,
    /// The offset of the last record that the reader has passed.
    pub offset: Offset,
}

/// The error for a text that is not a cursor of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid cursor: expected one from a StreamKillmailsResponse or GetFeedStatusResponse, like k1-8f3a20c1d94e7b56-1a2b"
)]
pub struct MalformedCursor;

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for LogId {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        (text.len() == 16)
            .then(|| hex(text))
            .flatten()
            .map(LogId)
            .ok_or(MalformedCursor)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k1-{}-{:x}", self.log, self.offset.0)
    }
}

impl FromStr for Cursor {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (log, offset) = text
            .strip_prefix("k1-")
            .and_then(|rest| rest.split_once('-'))
            .ok_or(MalformedCursor)?;
        Ok(Self {
            log: log.parse()?,
            offset: Offset(hex(offset).ok_or(MalformedCursor)?),
        })
    }
}

/// Parses lower-case hexadecimal digits.
///
/// `from_str_radix` alone would also accept signs and upper case, but a cursor must have only one text.
fn hex(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for (log, offset) in [(0, 0), (u64::MAX, u64::MAX), (0x8f3a_20c1_d94e_7b56, 6699)] {
            let cursor = Cursor {
                log: LogId(log),
                offset: Offset(offset),
            };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn malformed_text_is_rejected() {
        for text in [
            "",
            "k1",
            "k1--",
            "k2-8f3a20c1d94e7b56-1",
            "k1-8f3a20c1d94e7b56-",
            "k1-8f3a20c1d94e7b56-+1",
            "k1-8F3A20C1D94E7B56-1",
            "k1-8f3a-1",
            "k1-8f3a20c1d94e7b56-11111111111111111",
            "k1-8f3a20c1d94e7b56-1 ",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(MalformedCursor), "{text}");
        }
    }
}
