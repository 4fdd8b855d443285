//! What is remembered of killmails for good: a bucket with one key for each.

use std::collections::{HashMap, VecDeque};

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use killfeed::id::KillmailId;

use super::{
    client::{JetStreamClient, KvBucket, Message, Published},
    error::{JetStreamError, OperationError},
};
use crate::log::{
    DedupEntry,
    format::{self, MARK},
};

/// Reads or writes on their way at once.
const REQUEST_CONCURRENCY: usize = 64;
/// Marks kept in memory: those of a day, so that what is published anew soon after is not asked for, and a server that is a moment
/// behind is not believed.
const MAX_CACHED_ENTRIES: usize = 20_000;
/// What a key that was deleted or purged has in place of a value.
const OPERATION: &str = "KV-Operation";
const EXPECTED_LAST_OF_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence";

/// A mark and where it stands.
#[derive(Debug, Clone, Copy)]
struct CachedEntry {
    /// `None`: an operator removed it, which left a message that says so.
    mark: Option<DedupEntry>,
    sequence: u64,
}

/// The bucket, as its only writer sees it.
#[derive(Debug)]
pub(super) struct DedupStore {
    engine: JetStreamClient,
    bucket: KvBucket,
    known: HashMap<KillmailId, CachedEntry>,
    /// Oldest first.
    order: VecDeque<KillmailId>,
}

impl DedupStore {
    pub(super) fn new(engine: &JetStreamClient, bucket: &KvBucket) -> Self {
        Self {
            engine: engine.clone(),
            bucket: bucket.clone(),
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// What is remembered of these, in the same order.
    pub(super) async fn get(&mut self, ids: &[KillmailId]) -> Result<Vec<Option<DedupEntry>>, OperationError> {
        self.learn(ids).await?;
        Ok(ids
            .iter()
            .map(|id| self.known.get(id).and_then(|known| known.mark))
            .collect())
    }

    /// Remembers these; those that are there in a higher revision already stay.
    pub(super) async fn set(&mut self, marks: &[(KillmailId, DedupEntry)]) -> Result<(), OperationError> {
        // Only the last one of each killmail counts.
        let newest: HashMap<KillmailId, DedupEntry> = marks.iter().copied().collect();
        // Another one may have written meanwhile: then it is looked at again, a few times.
        for _ in 0..4 {
            self.learn(&newest.keys().copied().collect::<Vec<_>>()).await?;
            let due: Vec<(KillmailId, DedupEntry, u64)> = newest
                .iter()
                .filter_map(|(id, mark)| match self.known.get(id) {
                    Some(CachedEntry { mark: Some(known), .. }) if known == mark || known.revision > mark.revision => {
                        None
                    }
                    Some(known) => Some((*id, *mark, known.sequence)),
                    None => Some((*id, *mark, 0)),
                })
                .collect();
            if due.is_empty() {
                return Ok(());
            }
            let this = &*self;
            let written: Vec<(KillmailId, DedupEntry, Result<Published, OperationError>)> = stream::iter(due)
                .map(|(id, mark, sequence)| async move { (id, mark, this.write(id, mark, sequence).await) })
                .buffer_unordered(REQUEST_CONCURRENCY)
                .collect()
                .await;
            let mut failed = None;
            for (id, mark, written) in written {
                match written {
                    Ok(Published::Stored(sequence)) => self.insert(
                        id,
                        CachedEntry {
                            mark: Some(mark),
                            sequence,
                        },
                    ),
                    Ok(Published::Rejected) => {
                        self.known.remove(&id);
                    }
                    // It may have been written: asked for again.
                    Err(trouble) => {
                        self.known.remove(&id);
                        failed = Some(trouble);
                    }
                }
            }
            if let Some(trouble) = failed {
                return Err(trouble);
            }
        }
        Err(OperationError::Unavailable(
            "the dedup entries keep changing: another ingestor is writing them".into(),
        ))
    }

    async fn learn(&mut self, ids: &[KillmailId]) -> Result<(), OperationError> {
        let unknown: Vec<KillmailId> = ids.iter().copied().filter(|id| !self.known.contains_key(id)).collect();
        let this = &*self;
        let found: Vec<Option<(KillmailId, CachedEntry)>> = stream::iter(unknown)
            .map(|id| this.read(id))
            .buffer_unordered(REQUEST_CONCURRENCY)
            .try_collect()
            .await?;
        for (id, known) in found.into_iter().flatten() {
            self.insert(id, known);
        }
        Ok(())
    }

    async fn read(&self, id: KillmailId) -> Result<Option<(KillmailId, CachedEntry)>, OperationError> {
        let subject = self.subject(id);
        let message = match self.engine.any_last(&self.bucket.stream, &subject).await? {
            Some(message) => Some(message),
            // A server that is behind says the same as one that knows: only the leader's word makes a killmail new.
            None => self.engine.certain_last(&self.bucket.stream, &subject).await?,
        };
        let Some(message) = message else {
            return Ok(None);
        };
        let Message {
            sequence,
            payload,
            headers,
            ..
        } = message;
        if payload.is_empty() && headers.get(OPERATION).is_some() {
            return Ok(Some((id, CachedEntry { mark: None, sequence })));
        }
        let damaged = |reason: String| {
            OperationError::Fatal(JetStreamError::Damaged {
                place: format!("the key {} of the bucket {}", id.0, self.bucket.name),
                reason,
            })
        };
        let bytes: &[u8; MARK] = payload[..]
            .try_into()
            .map_err(|_| damaged(format!("it has {} bytes, expected {MARK}", payload.len())))?;
        let mark = format::decode_mark(bytes).map_err(|error| damaged(error.to_string()))?;
        let mark = Some(mark);
        Ok(Some((id, CachedEntry { mark, sequence })))
    }

    async fn write(&self, id: KillmailId, mark: DedupEntry, sequence: u64) -> Result<Published, OperationError> {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED_LAST_OF_SUBJECT, sequence.to_string().as_str());
        let value = Bytes::copy_from_slice(&format::encode_mark(&mark));
        self.engine.publish(self.subject(id), headers, value).await
    }

    fn subject(&self, id: KillmailId) -> String {
        self.bucket.subject(id.0)
    }

    fn insert(&mut self, id: KillmailId, known: CachedEntry) {
        if self.known.insert(id, known).is_none() {
            self.order.push_back(id);
        }
        while self.known.len() > MAX_CACHED_ENTRIES {
            // A killmail that was forgotten meanwhile stands in the order all the same.
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            self.known.remove(&oldest);
        }
    }
}
