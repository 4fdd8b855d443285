//! Records by their place, for readers that are further back than memory reaches.
//!
//! Single reads, many at once over one connection: version 2.9 of the server has no batched ones, and a consumer of its own for each
//! reader would be state that the servers have to agree on and to clean up.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use killfeed::{cursor::Offset, v1};
use prost::Message as _;

use super::{
    JetStreamState,
    client::Message,
    error::OperationError,
    layout::{self},
};
use crate::log::{ReadLimit, Record, RecordKind};

/// Reads on their way at once.
const READ_CONCURRENCY: usize = 64;

/// Records after `after` up to and including `head`.
pub(super) async fn range(
    shared: &JetStreamState,
    after: Offset,
    head: Offset,
    limit: ReadLimit,
) -> Result<Vec<Arc<Record>>, OperationError> {
    let from = after.max(shared.view.status().trimmed).0 + 1;
    let mut read = Vec::new();
    let mut bytes = 0;
    let records = stream::iter(from..=head.0).map(|sequence| record(shared, sequence));
    let mut records = records.buffered(READ_CONCURRENCY.min(limit.records.max(1)));
    while let Some(record) = records.next().await {
        // Nothing there: trimmed, which the log's bounds say by now.
        let Some(record) = record? else { continue };
        bytes += record.bytes.len();
        read.push(record);
        if !limit.admits(read.len(), bytes) {
            break;
        }
    }
    Ok(read)
}

/// The record of a sequence. `None`: there is none any more, and the log's bounds say so or an operator deleted it.
pub(super) async fn record(shared: &JetStreamState, sequence: u64) -> Result<Option<Arc<Record>>, OperationError> {
    Ok(message(shared, sequence)
        .await?
        .map(|message| Arc::new(decode(&message))))
}

/// The same as the message that it is.
pub(super) async fn message(shared: &JetStreamState, sequence: u64) -> Result<Option<Message>, OperationError> {
    if let Some(message) = shared.engine.get_direct(&shared.stream, sequence).await? {
        return Ok(Some(message));
    }
    // A server that is behind says the same as one that knows: only the leader's word counts.
    if let Some(message) = shared.engine.get_from_leader(&shared.stream, sequence).await? {
        return Ok(Some(message));
    }
    let bounds = shared.bounds().await?;
    if sequence > bounds.last || (sequence > bounds.trimmed().0 && bounds.deleted == 0) {
        return Err(OperationError::Unavailable(format!(
            "the record {sequence} is not available yet"
        )));
    }
    Ok(None)
}

/// A record, or in the place of a damaged one a gap: readers go on and know that something is missing there.
pub(super) fn decode(message: &Message) -> Record {
    layout::decode(message.sequence, &message.headers, &message.payload).unwrap_or_else(|error| {
        tracing::error!(offset = message.sequence, %error, "log record is corrupt, serving a gap in its place");
        let gap = v1::Gap {
            reason: v1::GapReason::UpstreamMissing.into(),
            missing: 1,
            ..Default::default()
        };
        let ingested_ms = layout::time(&message.headers).unwrap_or(0);
        Record::new(
            Offset(message.sequence),
            ingested_ms,
            RecordKind::Gap,
            gap.encode_to_vec().into(),
        )
    })
}
