//! What a relay has to know after a restart, beyond what the log says: for the day when it is promoted.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::feed::{
    source_state::{self, RELAY, Relayed},
    state::StateError,
};

/// The durable state.
#[derive(Debug)]
pub(super) struct RelayState {
    own: Relayed,
    /// What the walk left before this ingestor became a relay.
    r2z2: Option<Box<RawValue>>,
}

impl RelayState {
    pub(super) fn restored(stored: Option<&[u8]>) -> Result<Self, StateError> {
        let (own, r2z2) = source_state::to_other(RELAY, stored)?;
        Ok(Self { own, r2z2 })
    }

    /// A killmail with this number was relayed.
    pub(super) fn saw(&mut self, sequence: u64) {
        self.own.highest_sequence = self.own.highest_sequence.max(sequence);
    }

    pub(super) fn highest_sequence(&self) -> u64 {
        self.own.highest_sequence
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        source_state::to_bytes(RELAY, &self.own, self.r2z2.as_deref())
    }
}
