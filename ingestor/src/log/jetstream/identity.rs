//! Who this log is: a random id in the bucket of marks, beside when its stream was made.

use async_nats::{HeaderMap, jetstream::stream::Stream};
use killfeed::cursor::LogId;
use serde::{Deserialize, Serialize};

use super::{
    JetStreamOptions,
    client::{JetStreamClient, KvBucket, Published},
    error::{JetStreamError, OperationError},
    layout::{self, SCHEMA},
};
use crate::log::open::random_id;

const KEY: &str = "log";

/// Read first and alone, so that a newer layout is named as such.
#[derive(Debug, Deserialize)]
struct SchemaHeader {
    schema: u32,
    log_id: String,
}

/// What stands under the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    schema: u32,
    /// 16 hexadecimal digits.
    log_id: String,
    /// The stream's, in nanoseconds since 1970.
    created: String,
}

/// A log that is what it says it is.
pub(super) struct FoundLog {
    pub(super) id: LogId,
    pub(super) stream: Stream,
    pub(super) created: String,
}

/// Finds the log, or begins one where there is nothing yet.
pub(super) async fn find(
    engine: &JetStreamClient,
    marks: &KvBucket,
    options: &JetStreamOptions,
) -> Result<FoundLog, OperationError> {
    // Twice: another ingestor may begin the log at the same moment.
    for _ in 0..2 {
        if let Some(stored) = stored(engine, marks).await? {
            let found = known(engine, &stored).await?;
            engine.adapt_log_stream(&found.stream, options).await?;
            return Ok(found);
        }
        if let Some(found) = start(engine, marks, options).await? {
            return Ok(found);
        }
    }
    Err(OperationError::Unavailable(
        "another ingestor is creating the log".into(),
    ))
}

async fn stored(engine: &JetStreamClient, marks: &KvBucket) -> Result<Option<Stored>, OperationError> {
    let Some(message) = engine.certain_last(&marks.stream, &marks.subject(KEY)).await? else {
        return Ok(None);
    };
    let damaged = |reason: String| JetStreamError::Damaged {
        place: format!("the key {KEY} of the bucket {}", marks.name),
        reason,
    };
    let label: SchemaHeader = serde_json::from_slice(&message.payload).map_err(|error| damaged(error.to_string()))?;
    if label.schema > SCHEMA {
        return Err(OperationError::Fatal(JetStreamError::NewerSchema {
            log_id: label.log_id,
            found: label.schema,
            known: SCHEMA,
        }));
    }
    let stored = serde_json::from_slice(&message.payload).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(stored))
}

/// A log that was begun before: its stream has to be there, and to be the same.
async fn known(engine: &JetStreamClient, stored: &Stored) -> Result<FoundLog, OperationError> {
    let names = &engine.names;
    let found = match engine.log_stream().await? {
        Some(stream) => engine.bounds(&stream).await?.map(|bounds| (stream, bounds)),
        None => None,
    };
    let Some((stream, bounds)) = found else {
        return Err(OperationError::Fatal(JetStreamError::Missing {
            stream: names.stream.clone(),
            marks: names.marks(),
            position: names.position(),
            poller: names.poller(),
            log_id: stored.log_id.clone(),
        }));
    };
    check_created(&names.stream, &stored.log_id, &bounds.created, &stored.created)?;
    let id = stored.log_id.parse().map_err(|_| JetStreamError::Damaged {
        place: format!("the key {KEY} of the bucket {}", names.marks()),
        reason: format!("invalid log id {:?}", stored.log_id),
    })?;
    Ok(FoundLog {
        id,
        stream,
        created: stored.created.clone(),
    })
}

/// A stream of the same name that was made at another time is another stream.
pub(super) fn check_created(stream: &str, log_id: &str, found: &str, expected: &str) -> Result<(), JetStreamError> {
    if found == expected {
        return Ok(());
    }
    Err(JetStreamError::Replaced {
        stream: stream.to_owned(),
        log_id: log_id.to_owned(),
        found: found.to_owned(),
        expected: expected.to_owned(),
    })
}

/// `None` = another ingestor was faster.
async fn start(
    engine: &JetStreamClient,
    marks: &KvBucket,
    options: &JetStreamOptions,
) -> Result<Option<FoundLog>, OperationError> {
    let stream = match engine.log_stream().await? {
        Some(stream) => stream,
        None => engine.make_log_stream(options).await?,
    };
    let gone = || OperationError::Unavailable("the stream disappeared right after its creation".into());
    let bounds = engine.bounds(&stream).await?.ok_or_else(gone)?;
    if bounds.last > 0 {
        // Whoever wrote that has said who it is before, so the key is there by now.
        return match stored(engine, marks).await? {
            Some(_) => Ok(None),
            None => Err(OperationError::Fatal(JetStreamError::MissingDedup {
                stream: engine.names.stream.clone(),
                marks: engine.names.marks(),
            })),
        };
    }
    let id = random_id();
    let log = Stored {
        schema: SCHEMA,
        log_id: id.to_string(),
        created: bounds.created.clone(),
    };
    let value = serde_json::to_vec(&log).map_err(|error| OperationError::unavailable("writing the log's id", error))?;
    let mut headers = HeaderMap::new();
    layout::expect(&mut headers, 0);
    match engine.publish(marks.subject(KEY), headers, value.into()).await? {
        Published::Rejected => Ok(None),
        Published::Stored(_) => {
            tracing::info!(log_id = %id, stream = engine.names.stream, "new log created");
            Ok(Some(FoundLog {
                id,
                stream,
                created: bounds.created,
            }))
        }
    }
}
