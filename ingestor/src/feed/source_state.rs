//! The state that one source leaves to the next: bans and the bucket outlive every change of source, and so does the walk's place.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::state::{self, FeedState, StateError};

/// A promoted relay walks on from this far below the highest number it relayed: what it knows already is dropped there.
const OVERLAP: u64 = 2_000;

/// The state of a source other than R2Z2, and what R2Z2 left.
#[derive(Debug, Serialize, Deserialize)]
struct SourceState<T> {
    source: String,
    version: u32,
    state: T,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r2z2: Option<Box<RawValue>>,
}

/// What of a relay's state matters to whoever comes after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Relayed {
    /// The highest of zKillboard's numbers among the killmails relayed.
    pub(super) highest_sequence: u64,
}

pub(super) const RELAY: &str = "relay";
pub(super) const REPLAY: &str = "replay";
const VERSION: u32 = 1;

/// R2Z2's state, whichever source stored last.
pub(super) fn to_r2z2(stored: &[u8]) -> Result<FeedState, StateError> {
    let left = |r2z2: Option<Box<RawValue>>| match r2z2 {
        Some(raw) => FeedState::from_bytes(raw.get().as_bytes()),
        None => Ok(FeedState::default()),
    };
    match state::source(stored)?.as_str() {
        RELAY => {
            let kept: SourceState<Relayed> = read(stored)?;
            Ok(resume_walk(left(kept.r2z2)?, kept.state.highest_sequence))
        }
        REPLAY => {
            let kept: SourceState<serde::de::IgnoredAny> = read(stored)?;
            left(kept.r2z2)
        }
        _ => FeedState::from_bytes(stored),
    }
}

/// The state that source `kind` stored last if it was the last one, and what R2Z2 left.
pub(super) fn to_other<T: DeserializeOwned + Default>(
    kind: &str,
    stored: Option<&[u8]>,
) -> Result<(T, Option<Box<RawValue>>), StateError> {
    let Some(stored) = stored else {
        return Ok((T::default(), None));
    };
    let source = state::source(stored)?;
    if source == kind {
        let kept: SourceState<T> = read(stored)?;
        return Ok((kept.state, kept.r2z2));
    }
    if source == RELAY || source == REPLAY {
        // Its own state means nothing to another source; but what a relay saw is where the walk has to go on one day.
        let r2z2 = to_r2z2(stored)?;
        return Ok((T::default(), raw(&r2z2.to_bytes())));
    }
    FeedState::from_bytes(stored)?;
    Ok((T::default(), raw(stored)))
}

/// As it is stored.
pub(super) fn to_bytes<T: Serialize>(kind: &str, state: &T, r2z2: Option<&RawValue>) -> Bytes {
    let kept = SourceState {
        source: kind.into(),
        version: VERSION,
        state,
        r2z2: r2z2.map(ToOwned::to_owned),
    };
    #[expect(clippy::expect_used, reason = "numbers and texts always serialize to memory")]
    serde_json::to_vec(&kept).expect("plain data serializes").into()
}

/// The walk of a log that was relayed up to here. It never goes back.
fn resume_walk(left: FeedState, highest: u64) -> FeedState {
    if highest == 0 {
        return left;
    }
    let from = highest.saturating_sub(OVERLAP).max(1);
    FeedState {
        next: Some(left.next.map_or(from, |next| next.max(from))),
        known_head: left.known_head.max(highest),
        // What was missing then was the upstream's to wait for.
        holes: Default::default(),
        again: Default::default(),
        head_since: None,
        ..left
    }
}

fn raw(bytes: &[u8]) -> Option<Box<RawValue>> {
    serde_json::from_slice(bytes).ok()
}

fn read<T: DeserializeOwned>(stored: &[u8]) -> Result<SourceState<T>, StateError> {
    let kept: SourceState<T> = serde_json::from_slice(stored).map_err(|error| StateError::Malformed {
        reason: error.to_string(),
    })?;
    if kept.version > VERSION {
        return Err(StateError::Newer { found: kept.version });
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(next: u64) -> FeedState {
        let mut state = FeedState {
            next: Some(next),
            known_head: next,
            ..Default::default()
        };
        state.ban.refuse(1_000, None, 0.0);
        state
    }

    #[test]
    fn a_relay_promoted_walks_on_below_what_it_relayed() {
        let relayed = |highest_sequence| to_bytes(RELAY, &Relayed { highest_sequence }, None);
        let state = to_r2z2(&relayed(97_501_000)).unwrap();
        assert_eq!((state.next, state.known_head), (Some(97_499_000), 97_501_000));
        assert_eq!(to_r2z2(&relayed(1_500)).unwrap().next, Some(1));
        // Nothing relayed yet: it begins where the settings say.
        assert_eq!(to_r2z2(&relayed(0)).unwrap(), FeedState::default());
    }

    #[test]
    fn bans_outlive_every_change_of_source_and_the_walk_never_goes_back() {
        let before = walked(5_000);
        let (own, left): (Relayed, _) = to_other(RELAY, Some(&before.to_bytes())).unwrap();
        assert_eq!(own, Relayed::default());
        for (highest, next) in [(0, 5_000), (5_200, 5_000), (9_000, 7_000)] {
            let relayed = Relayed {
                highest_sequence: highest,
            };
            let stored = to_bytes(RELAY, &relayed, left.as_deref());
            let (again, _): (Relayed, _) = to_other(RELAY, Some(&stored)).unwrap();
            assert_eq!(again, relayed, "a restart as a relay");
            let state = to_r2z2(&stored).unwrap();
            assert_eq!((state.next, state.ban), (Some(next), before.ban));
            // By way of a third source.
            let (_, left): (Vec<u64>, _) = to_other(REPLAY, Some(&stored)).unwrap();
            let replayed = to_bytes(REPLAY, &vec![1_u64], left.as_deref());
            assert_eq!(to_r2z2(&replayed).unwrap(), state);
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for text in [
            "",
            "{}",
            r#"{"source":"relay","version":1,"state":{}}"#,
            r#"{"source":"relay","version":2,"state":{"highest_sequence":1}}"#,
            r#"{"source":"relay","version":1,"state":{"highest_sequence":1},"r2z2":{"source":"x","version":1}}"#,
            r#"{"source":"telepathy","version":1,"state":{}}"#,
        ] {
            let error = to_r2z2(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("state"), "{error}");
        }
    }
}
