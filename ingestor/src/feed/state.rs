//! What the feed has to know after a restart. It goes out with each batch into the log's transaction, and comes back at
//! the start: whatever is written here and can be lost would be a killmail lost or a request too many.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Millis, ban::Ban, history::Day, limiter::SavedBucket};

const VERSION: u32 = 1;
const KIND: &str = "r2z2";

/// The feed's durable state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct FeedState {
    /// The next number the walk asks for; `None` = not known yet. Never goes back.
    pub(super) next: Option<u64>,
    /// The highest number known to have been given out.
    #[serde(default)]
    pub(super) known_head: u64,
    /// The highest number that was there.
    #[serde(default)]
    pub(super) last_found: Option<u64>,
    /// When the number last waited for at the head first answered 404: whatever came after it is younger.
    #[serde(default)]
    pub(super) head_since: Option<Millis>,
    /// Numbers that are missing, or came and could not be read.
    #[serde(default)]
    pub(super) holes: BTreeMap<u64, Hole>,
    /// Older numbers that were announced as published anew.
    #[serde(default)]
    pub(super) again: VecDeque<Refetch>,
    /// zKillboard refuses us, or lately did.
    #[serde(default)]
    pub(super) ban: Ban,
    /// What may be sent.
    #[serde(default)]
    pub(super) bucket: SavedBucket,
    /// A backfill that is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) backfill: Option<Backfill>,
}

/// How far a backfill came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Backfill {
    /// As it was asked for: its first and its last day.
    pub(super) from: Day,
    pub(super) to: Day,
    /// The day it goes on with.
    pub(super) next: Day,
}

/// A number below the head without a usable document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hole {
    /// When it was found missing (or unreadable); the re-checks count from here.
    pub(super) since: Millis,
    /// Published no earlier than this, if that is known.
    pub(super) after: Option<Millis>,
    /// How many re-checks are over.
    pub(super) checks: u32,
    /// It was there, but could not be read: the walk does not wait for it.
    pub(super) unreadable: bool,
}

/// An older number to fetch once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refetch {
    pub(super) number: u64,
    /// Not before.
    pub(super) at: Millis,
    /// How often it was tried in vain.
    pub(super) tries: u32,
}

/// The stored state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not what this program writes.
    #[error(
        "cannot read the stored feed state: {reason}; restore a backup, or use an empty data folder and set INGESTOR_FEED_START"
    )]
    Malformed {
        /// Why.
        reason: String,
    },
    /// Of another source, a relay say.
    #[error(
        "the stored feed state belongs to the source {found:?}, not {KIND:?}; use a separate data folder for each source"
    )]
    OtherSource {
        /// What it says it is.
        found: String,
    },
    /// Written by a newer version.
    #[error(
        "cannot read the stored feed state: it has version {found}, but this program supports versions up to {VERSION}; use the newer program"
    )]
    Newer {
        /// Its version.
        found: u32,
    },
    /// No client could be built from the settings.
    #[error("cannot create the HTTP client for the feed: {0}")]
    Client(String),
}

/// Read first and alone, so that a newer layout is named as such.
#[derive(Serialize, Deserialize)]
struct StateHeader {
    source: String,
    version: u32,
}

#[derive(Serialize)]
struct Labelled<'s> {
    #[serde(flatten)]
    label: StateHeader,
    state: &'s FeedState,
}

#[derive(Deserialize)]
struct Unlabelled {
    state: FeedState,
}

/// Which source wrote a state.
pub(super) fn source(bytes: &[u8]) -> Result<String, StateError> {
    let label: StateHeader = serde_json::from_slice(bytes).map_err(|error| StateError::Malformed {
        reason: error.to_string(),
    })?;
    Ok(label.source)
}

impl FeedState {
    pub(super) fn to_bytes(&self) -> Bytes {
        let label = StateHeader {
            source: KIND.into(),
            version: VERSION,
        };
        let bytes = serde_json::to_vec(&Labelled { label, state: self });
        #[expect(
            clippy::expect_used,
            reason = "numbers and integer-keyed maps always serialize to memory"
        )]
        bytes.expect("plain data serializes").into()
    }

    /// After a restart: what the clock says was still to come must not be further away than it ever is, if the clock was
    /// set back.
    pub(super) fn restored(mut self, now: Millis) -> Self {
        self.ban = self.ban.restored(now);
        for hole in self.holes.values_mut() {
            hole.since = hole.since.min(now);
        }
        for again in &mut self.again {
            again.at = again.at.min(now);
        }
        self
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let malformed = |error: serde_json::Error| StateError::Malformed {
            reason: error.to_string(),
        };
        let label: StateHeader = serde_json::from_slice(bytes).map_err(malformed)?;
        if label.source != KIND {
            return Err(StateError::OtherSource { found: label.source });
        }
        if label.version > VERSION {
            return Err(StateError::Newer { found: label.version });
        }
        let Unlabelled { state } = serde_json::from_slice(bytes).map_err(malformed)?;
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_went() {
        let hole = Hole {
            since: 5,
            after: Some(4),
            checks: 2,
            unreadable: true,
        };
        let again = Refetch {
            number: 3,
            at: 9,
            tries: 1,
        };
        let mut state = FeedState {
            next: Some(100),
            known_head: 120,
            last_found: Some(99),
            head_since: Some(77),
            holes: BTreeMap::from([(98, hole)]),
            again: VecDeque::from([again]),
            ..Default::default()
        };
        state.ban.refuse(1_000, None, 0.0);
        assert_eq!(FeedState::from_bytes(&state.to_bytes()).unwrap(), state);
        let empty = FeedState::default();
        assert_eq!(FeedState::from_bytes(&empty.to_bytes()).unwrap(), empty);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, expected) in [
            ("", "cannot read the stored feed state: EOF"),
            ("{}", "missing field `source`"),
            (
                r#"{"source":"relay","version":1,"state":{}}"#,
                r#"belongs to the source "relay", not "r2z2""#,
            ),
            (
                r#"{"source":"r2z2","version":2,"state":[]}"#,
                "has version 2, but this program supports versions up to 1",
            ),
            (
                r#"{"source":"r2z2","version":1,"state":{"next":"x"}}"#,
                "cannot read the stored feed state: invalid type",
            ),
        ] {
            let error = FeedState::from_bytes(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
