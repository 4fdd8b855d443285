//! Records, dedup entries and batches for tests of the log.

use bytes::Bytes;
use killfeed::{
    id::{ContentHash, KillmailId},
    v1,
};
use killfeed_ingestor::log::{AppendBatch, DedupEntry, NewBody, NewEvent};
use prost::Message as _;

fn hash_of(id: u64, revision: u32) -> ContentHash {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&id.to_le_bytes());
    digest[8..12].copy_from_slice(&revision.to_le_bytes());
    ContentHash { version: 1, digest }
}

pub(super) fn mark(id: u64, revision: u32) -> DedupEntry {
    DedupEntry {
        revision,
        hash: Some(hash_of(id, revision)),
    }
}

pub(super) fn killmail(id: u64, revision: u32, ingested_ms: i64) -> NewEvent {
    let killmail = v1::Killmail {
        killmail_id: id,
        revision,
        ..Default::default()
    };
    NewEvent {
        offset: None,
        ingested_ms,
        body: NewBody::Killmail {
            id: KillmailId(id),
            revision,
            hash: Some(hash_of(id, revision)),
            bytes: killmail.encode_to_vec().into(),
        },
    }
}

pub(super) fn gap(missing: u64, ingested_ms: i64) -> NewEvent {
    let gap = v1::Gap {
        missing,
        ..Default::default()
    };
    NewEvent {
        offset: None,
        ingested_ms,
        body: NewBody::Gap(gap.encode_to_vec().into()),
    }
}

pub(super) fn batch(events: impl IntoIterator<Item = NewEvent>, state: &'static str) -> AppendBatch {
    AppendBatch {
        events: events.into_iter().collect(),
        dedup_entries: Vec::new(),
        feed_state: Some(Bytes::from_static(state.as_bytes())),
    }
}
