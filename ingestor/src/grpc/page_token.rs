//! Where a list goes on: opaque to clients, and good only for the request it came from.

use std::fmt;

use killfeed::{
    cursor::{LogId, Offset},
    v1::ListKillmailsRequest,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

/// The place between two pages.
///
/// As text: `l1-<log id>-<request>-<head>-<below>`, all in hexadecimal digits; `l1` is the version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageToken {
    pub(super) log: LogId,
    /// What was asked for: see [`request_hash`].
    pub(super) request: u64,
    /// The log's head at the first page: the list is of the log as it was then.
    pub(super) head: Offset,
    /// The next page begins below this record.
    pub(super) below: Offset,
}

impl PageToken {
    /// `None`: not a token of this version.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("l1-")?.split('-');
        let log = parts.next()?.parse().ok()?;
        let mut number = || {
            let part = parts.next()?;
            let plain = !part.is_empty() && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            plain.then(|| u64::from_str_radix(part, 16).ok()).flatten()
        };
        let token = Self {
            log,
            request: number()?,
            head: Offset(number()?),
            below: Offset(number()?),
        };
        parts.next().is_none().then_some(token)
    }
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            log,
            request,
            head,
            below,
        } = self;
        write!(f, "l1-{log}-{request:x}-{:x}-{:x}", head.0, below.0)
    }
}

/// What makes two requests pages of one list: everything but the token itself and the page's size.
pub(super) fn request_hash(request: &ListKillmailsRequest) -> u64 {
    let same = ListKillmailsRequest {
        page_size: 0,
        page_token: String::new(),
        ..request.clone()
    };
    let digest = Sha256::digest(same.encode_to_vec());
    let first = digest.iter().take(8);
    first.fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: PageToken = PageToken {
        log: LogId(0x10),
        request: u64::MAX,
        head: Offset(255),
        below: Offset(17),
    };

    #[test]
    fn a_token_survives_its_text() {
        let text = TOKEN.to_string();
        assert_eq!(text, "l1-0000000000000010-ffffffffffffffff-ff-11");
        assert_eq!(PageToken::parse(&text), Some(TOKEN));
    }

    #[test]
    fn anything_else_is_refused() {
        let text = TOKEN.to_string();
        let longer = format!("{text}-1");
        let cut = &text[..text.len() - 3];
        for text in [
            "",
            "l1-",
            "k1-0000000000000010-1",
            cut,
            &longer,
            &text.replace("l1", "l2"),
            &text.replace("ff-11", "+f-11"),
        ] {
            assert_eq!(PageToken::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_is_asked_for_counts() {
        let request = ListKillmailsRequest {
            filter: "npc".into(),
            ..Default::default()
        };
        let hash = request_hash(&request);
        let page = ListKillmailsRequest {
            page_size: 7,
            page_token: "x".into(),
            ..request.clone()
        };
        assert_eq!(request_hash(&page), hash);
        let counted = ListKillmailsRequest {
            count_only: true,
            ..request.clone()
        };
        let other = ListKillmailsRequest {
            filter: "solo".into(),
            ..request
        };
        assert!(request_hash(&counted) != hash && request_hash(&other) != hash);
    }
}
