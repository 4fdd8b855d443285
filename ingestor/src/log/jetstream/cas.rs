//! One value in a bucket of its own, changed by compare-and-set.
//!
//! Of its own, because a cluster of version 2.9 judges only the condition on the whole stream's last sequence when it stores a message
//! (see `layout.rs`): over one key in a bucket this is a compare-and-set that two cannot both win.

use async_nats::{HeaderMap, jetstream::stream::Stream};
use bytes::Bytes;

use super::{
    client::{JetStreamClient, KvBucket, Message, Published},
    error::OperationError,
    layout,
};

/// A place for one value.
#[derive(Debug, Clone)]
pub(super) struct CasRegister {
    engine: JetStreamClient,
    stream: Stream,
    subject: String,
}

/// What stood there, and the state of the place to be named when it is changed.
#[derive(Debug, Clone)]
pub(super) struct CasSnapshot {
    pub(super) message: Option<Message>,
    pub(super) sequence: u64,
}

impl CasRegister {
    /// The value under `key`, which is the only one in this bucket.
    pub(super) fn new(engine: &JetStreamClient, bucket: &KvBucket, key: &str) -> Self {
        Self {
            engine: engine.clone(),
            stream: bucket.stream.clone(),
            subject: bucket.subject(key),
        }
    }

    /// As the leader has it.
    pub(super) async fn read(&self) -> Result<CasSnapshot, OperationError> {
        match self.engine.certain_last(&self.stream, &self.subject).await? {
            Some(message) => Ok(CasSnapshot {
                sequence: message.sequence,
                message: Some(message),
            }),
            None => {
                let gone = || OperationError::Unavailable(format!("the bucket of {} was not found", self.subject));
                let bounds = self.engine.bounds(&self.stream).await?.ok_or_else(gone)?;
                Ok(CasSnapshot {
                    message: None,
                    sequence: bounds.last,
                })
            }
        }
    }

    /// Puts a value there, if the place is still as it was at `sequence`. After [`OperationError::Unavailable`] it may have happened or happen yet.
    pub(super) async fn compare_and_set(
        &self,
        sequence: u64,
        mut headers: HeaderMap,
        value: Bytes,
    ) -> Result<Published, OperationError> {
        layout::expect_last(&mut headers, sequence);
        self.engine.publish(self.subject.clone(), headers, value).await
    }
}
