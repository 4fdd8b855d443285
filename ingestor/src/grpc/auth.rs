//! Who is calling: bearer tokens out of a file.

use std::{
    fmt, io,
    net::{IpAddr, Ipv6Addr},
    path::Path,
    sync::Arc,
};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use tokio_util::sync::CancellationToken;
use tonic::{Status, metadata::MetadataMap};

use super::status;

/// The tokens that are let in, and whose they are. Clones share what [`Tokens::replace`] puts in.
#[derive(Clone)]
pub struct Tokens(Arc<ArcSwap<Vec<TokenEntry>>>);

#[derive(Clone)]
struct TokenEntry {
    name: Arc<str>,
    /// Hashes are all of one length, and what is in memory is no token.
    digest: [u8; 32],
    /// Cancelled when it is taken out of the file.
    revoked: CancellationToken,
}

/// Why a tokens file cannot be used. Never shows a token.
#[derive(Debug, thiserror::Error)]
pub enum TokensFileError {
    /// Not readable.
    #[error("cannot read the file: {0}")]
    Unreadable(#[from] io::Error),
    /// A line that is neither empty, a comment, nor a name and a token.
    #[error("line {line}: {problem}; expected `name token` or a comment that starts with #")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Nobody could call.
    #[error("the file contains no token; expected at least one line `name token`")]
    Empty,
}

impl Tokens {
    /// Reads `name token` lines; a name may have several tokens, so that one can be replaced without an outage.
    pub fn read(path: &Path) -> Result<Self, TokensFileError> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    fn parse(text: &str) -> Result<Self, TokensFileError> {
        let mut tokens: Vec<TokenEntry> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |problem| TokensFileError::Line {
                line: index + 1,
                problem,
            };
            let mut words = line.split_whitespace();
            let (Some(name), Some(token), None) = (words.next(), words.next(), words.next()) else {
                return Err(bad("the line does not have exactly two words"));
            };
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(bad("the token contains characters that are not visible ASCII"));
            }
            let digest = digest(token);
            if tokens.iter().any(|known| known.digest == digest) {
                return Err(bad("the token is a duplicate of an earlier line"));
            }
            let name = name.into();
            tokens.push(TokenEntry {
                name,
                digest,
                revoked: CancellationToken::new(),
            });
        }
        if tokens.is_empty() {
            return Err(TokensFileError::Empty);
        }
        Ok(Self(Arc::new(ArcSwap::from_pointee(tokens))))
    }

    /// From here on the tokens of `other` are let in, and no others: streams of a token that is not among them end.
    pub fn replace(&self, other: &Self) {
        let before = self.0.load_full();
        let mut tokens: Vec<TokenEntry> = other.0.load().to_vec();
        for token in &mut tokens {
            // Its streams go on, and end when it goes later.
            if let Some(same) = before.iter().find(|old| old.is(token)) {
                token.revoked = same.revoked.clone();
            }
        }
        let after = Arc::new(tokens);
        self.0.store(after.clone());
        for gone in before.iter().filter(|old| !after.iter().any(|token| old.is(token))) {
            gone.revoked.cancel();
        }
    }

    /// Whose token this is. Takes the same time for every token, known or not.
    fn find(&self, token: &str) -> Option<TokenEntry> {
        let tokens = self.0.load();
        let digest = digest(token);
        let none = u64::MAX;
        let mut found = none;
        for (index, known) in (0u64..).zip(tokens.iter()) {
            let same: Choice = known.digest.ct_eq(&digest);
            found.conditional_assign(&index, same);
        }
        let index = usize::try_from(found).ok()?;
        tokens.get(index).cloned()
    }
}

impl TokenEntry {
    fn is(&self, other: &Self) -> bool {
        self.digest == other.digest && self.name == other.name
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.load().iter().map(|token| &token.name))
            .finish()
    }
}

/// Who is calling, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// By the name of its token.
    Token(Arc<str>),
    /// Without a token, where none is needed. An IPv6 host has a whole /64, so its lower half does not count.
    Address(Option<IpAddr>),
}

impl Caller {
    /// For logs and metrics: names are few and set by the operator, addresses are not.
    pub(super) fn label(&self) -> Arc<str> {
        match self {
            Self::Token(name) => name.clone(),
            Self::Address(_) => "anonymous".into(),
        }
    }
}

/// Whether the token of a stream is still let in.
#[derive(Debug, Clone, Default)]
pub(super) struct Revoked(Option<CancellationToken>);

impl Revoked {
    pub(super) fn is_revoked(&self) -> bool {
        self.0.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Until it is not.
    pub(super) async fn wait(&self) {
        match &self.0 {
            Some(revoked) => revoked.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

/// Who sends `metadata` from `address`, or UNAUTHENTICATED.
pub(super) fn caller(
    tokens: Option<&Tokens>,
    metadata: &MetadataMap,
    address: Option<IpAddr>,
) -> Result<(Caller, Revoked), Status> {
    let Some(tokens) = tokens else {
        return Ok((Caller::Address(address.map(network)), Revoked::default()));
    };
    let header = metadata
        .get("authorization")
        .ok_or_else(|| status::unauthenticated("missing token"))?;
    let token = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| status::unauthenticated("not a bearer token"))?;
    let found = tokens
        .find(token)
        .ok_or_else(|| status::unauthenticated("unknown token"))?;
    Ok((Caller::Token(found.name), Revoked(Some(found.revoked))))
}

/// Who is behind an address, as far as it tells: an IPv6 host has a whole /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    const FILE: &str = "# who may call\n\nops  s3cret-1\n\tbot s3cret-2  \nops s3cret-3\n";

    fn call(tokens: Option<&Tokens>, header: Option<&str>) -> Result<Caller, Code> {
        let mut metadata = MetadataMap::new();
        if let Some(header) = header {
            metadata.insert("authorization", header.parse().unwrap());
        }
        let address = Some("2001:db8:1:2:3:4:5:6".parse().unwrap());
        let caller = caller(tokens, &metadata, address);
        caller.map(|(caller, _)| caller).map_err(|status| status.code())
    }

    #[test]
    fn a_token_tells_its_owner() {
        let tokens = Tokens::parse(FILE).unwrap();
        let owner = |name: &str| Ok(Caller::Token(name.into()));
        for (header, expected) in [
            (Some("Bearer s3cret-1"), owner("ops")),
            (Some("bearer  s3cret-2"), owner("bot")),
            (Some("Bearer s3cret-3"), owner("ops")),
            (Some("Bearer s3cret"), Err(Code::Unauthenticated)),
            (Some("Bearer "), Err(Code::Unauthenticated)),
            (Some("Basic s3cret-1"), Err(Code::Unauthenticated)),
            (Some("s3cret-1"), Err(Code::Unauthenticated)),
            (None, Err(Code::Unauthenticated)),
        ] {
            assert_eq!(call(Some(&tokens), header), expected, "{header:?}");
        }
    }

    #[test]
    fn without_a_tokens_file_callers_are_addresses() {
        let caller = call(None, Some("Bearer anything")).unwrap();
        assert_eq!(caller, Caller::Address(Some("2001:db8:1:2::".parse().unwrap())));
        assert_eq!(&*caller.label(), "anonymous");
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(network(mapped), "192.0.2.7".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn what_is_taken_out_of_the_file_is_let_in_no_more() {
        let tokens = Tokens::parse(FILE).unwrap();
        let revoked = |token: &str| tokens.find(token).unwrap().revoked;
        let (kept, gone, renamed) = (revoked("s3cret-1"), revoked("s3cret-2"), revoked("s3cret-3"));
        let shared = tokens.clone();
        shared.replace(&Tokens::parse("ops s3cret-1\nothers s3cret-3\nnew s3cret-4").unwrap());
        assert!(tokens.find("s3cret-2").is_none(), "clones see it as well");
        assert_eq!(&*tokens.find("s3cret-4").unwrap().name, "new");
        assert!(!kept.is_cancelled() && gone.is_cancelled() && renamed.is_cancelled());
        tokens.replace(&Tokens::parse("new s3cret-4").unwrap());
        assert!(kept.is_cancelled(), "also what outlived an earlier change");
    }

    #[test]
    fn a_bad_line_is_named_and_its_token_is_not() {
        for (text, expected) in [
            (
                "",
                "the file contains no token; expected at least one line `name token`",
            ),
            (
                "# only words\n",
                "the file contains no token; expected at least one line `name token`",
            ),
            (
                "ops a\nsecret\n",
                "line 2: the line does not have exactly two words; expected `name token` or a comment that starts with #",
            ),
            (
                "ops secret more",
                "line 1: the line does not have exactly two words; expected `name token` or a comment that starts with #",
            ),
            (
                "ops sécret",
                "line 1: the token contains characters that are not visible ASCII; expected `name token` or a comment that starts with #",
            ),
            (
                "a secret\nb secret",
                "line 2: the token is a duplicate of an earlier line; expected `name token` or a comment that starts with #",
            ),
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        assert!(!format!("{:?}", Tokens::parse(FILE).unwrap()).contains("s3cret"));
    }
}
