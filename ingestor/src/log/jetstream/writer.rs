//! The writing half of a shared log, for as long as this ingestor has the lease.
//!
//! Every record is published on the condition that the stream ends where this term knows it to end. So records of one batch follow each
//! other without omission, an unknown outcome can be looked up, and whoever wrote after another took over is refused. A surprise ends the
//! term; the next one begins by writing the marks of all records that came since the position was stored, so that what a crash, or a
//! leader that woke up late, left between a record and its mark is mended before anything is decided.

use std::sync::Arc;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use killfeed::{cursor::Offset, id::KillmailId};
use killfeed_service::clock::Clock;
use tokio::sync::Mutex;

use super::{
    JetStreamState,
    cas::CasRegister,
    client::{Message, Published},
    dedup::DedupStore,
    election::LeaseGuard,
    error::OperationError,
    fetch, layout,
    publish::{self, OutgoingEvent, Sent},
};
use crate::log::{AppendBatch, DedupEntry, Head, LogError, LogWrite, NewBody, NewEvent, Record, RecordKind, metrics};

/// Records whose marks are written anew at once.
const REPAIR_CONCURRENCY: usize = 64;

/// How far the marks reach, and when that record was ingested: headers of the stored position.
const HEAD: &str = "Killfeed-Head";
const HEAD_TIME: &str = "Killfeed-Head-Time";

/// The writing half.
pub(super) struct LeaderWriter {
    shared: Arc<JetStreamState>,
    position: CasRegister,
    right: Arc<LeaseGuard>,
    /// One batch at a time.
    state: Mutex<WriterState>,
}

impl std::fmt::Debug for LeaderWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderWriter")
            .field("right", &self.right)
            .finish_non_exhaustive()
    }
}

struct WriterState {
    marks: DedupStore,
    /// Where the stream ends: every record up to here has its mark once `pending` is done.
    head: Head,
    /// The place of the position.
    place: u64,
    feed_state: Option<Bytes>,
    /// A batch that is not through.
    pending: Option<Pending>,
}

/// How far a batch came.
struct Pending {
    batch: AppendBatch,
    /// What of it is to be published.
    entries: Vec<OutgoingEvent>,
    /// So many of them are in the stream.
    stored: usize,
    /// What was sent last may have arrived, or may yet.
    in_doubt: bool,
}

impl LeaderWriter {
    /// Begins to write: mends the marks, and takes the position away from whoever wrote before.
    pub(super) async fn start(
        shared: Arc<JetStreamState>,
        position: CasRegister,
        right: Arc<LeaseGuard>,
    ) -> Result<(Self, Head), OperationError> {
        let held = position.read().await?;
        let (known, feed_state) = match &held.message {
            None => (Head::default(), None),
            Some(message) => (
                known_head(message),
                Some(message.payload.clone()).filter(|state| !state.is_empty()),
            ),
        };
        shared.must_reach(known.offset);
        let bounds = shared.bounds().await?;
        let mut marks = DedupStore::new(&shared.engine, &shared.marks);
        let mut head = Head {
            offset: Offset(bounds.last),
            ..known
        };
        let from = known.offset.max(bounds.trimmed()).0 + 1;
        if from <= bounds.last {
            let records = bounds.last + 1 - from;
            tracing::info!(records, "rewriting the dedup entries of the newest records");
        }
        let messages = stream::iter(from..=bounds.last).map(|sequence| fetch::message(&shared, sequence));
        let mut chunks = messages.buffered(REPAIR_CONCURRENCY).try_chunks(REPAIR_CONCURRENCY);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| error.1)?;
            let found: Vec<Message> = chunk.into_iter().flatten().collect();
            if let Some(last) = found.last() {
                head.ingested_ms = layout::time(&last.headers).unwrap_or(head.ingested_ms);
            }
            marks
                .set(
                    &found
                        .iter()
                        .filter_map(|message| mark_of(&shared, message))
                        .collect::<Vec<_>>(),
                )
                .await?;
        }
        drop(chunks);
        let term = Self {
            state: Mutex::new(WriterState {
                marks,
                head,
                place: held.sequence,
                feed_state,
                pending: None,
            }),
            shared,
            position,
            right,
        };
        {
            let mut state = term.state.lock().await;
            let feed_state = state.feed_state.clone();
            term.store(&mut state, feed_state).await?;
        }
        Ok((term, head))
    }

    /// Writes the feed's state down, and with it how far the marks reach. Whoever wrote there meanwhile ends the term.
    async fn store(&self, state: &mut WriterState, feed_state: Option<Bytes>) -> Result<(), OperationError> {
        let mut headers = HeaderMap::new();
        headers.insert(HEAD, state.head.offset.0.to_string().as_str());
        headers.insert(HEAD_TIME, state.head.ingested_ms.to_string().as_str());
        let value = feed_state.clone().unwrap_or_default();
        match self
            .position
            .compare_and_set(state.place, headers, value.clone())
            .await?
        {
            Published::Stored(sequence) => state.place = sequence,
            Published::Rejected => {
                // By us, if an acknowledgement was lost: nobody else knows that head and that state.
                let held = self.position.read().await?;
                let ours = held.message.as_ref().is_some_and(|message| {
                    message.payload == value && known_head(message) == state.head && held.sequence > state.place
                });
                if !ours {
                    return Err(self.abort("another ingestor moved the feed's position"));
                }
                state.place = held.sequence;
            }
        }
        state.feed_state = feed_state;
        Ok(())
    }

    /// With what the servers said beside.
    fn explain(&self, error: LogError) -> LogError {
        match error {
            LogError::Unavailable(reason) => self.shared.engine.explain(OperationError::Unavailable(reason)).into(),
            error => error,
        }
    }

    /// Ends the term.
    fn abort(&self, what: &str) -> OperationError {
        tracing::warn!(what, "stopped polling zKillboard, lease lost");
        self.right.end();
        OperationError::Unavailable(what.to_owned())
    }

    async fn try_append(&self, state: &mut WriterState, batch: AppendBatch) -> Result<Head, LogError> {
        let pending = match state.pending.take() {
            Some(pending) if pending.batch == batch => pending,
            Some(_) => {
                return Err(self
                    .abort("a partly stored batch was followed by a different one")
                    .into());
            }
            None => {
                check(&batch, state.head)?;
                let before = state.feed_state.as_deref().unwrap_or_default();
                Pending {
                    entries: publish::entries(&self.shared, &batch.events, before).await?,
                    batch,
                    stored: 0,
                    in_doubt: false,
                }
            }
        };
        let pending = state.pending.insert(pending);
        let base = state.head.offset.0 - pending.stored as u64;
        if pending.in_doubt {
            pending.stored = publish::settle(&self.shared, &pending.entries, base)
                .await?
                .ok_or_else(|| self.abort("another ingestor wrote to the log"))?;
            pending.in_doubt = false;
            state.head = head_after(&pending.entries, base, pending.stored, state.head);
        }
        if !self.right.holds() {
            return Err(
                OperationError::Unavailable("the lease has ended: another ingestor may be writing".into()).into(),
            );
        }
        if pending.stored < pending.entries.len() {
            let rest = &pending.entries[pending.stored..];
            pending.in_doubt = true;
            let sent = publish::all(&self.shared, rest, base + pending.stored as u64).await;
            pending.stored += sent.stored;
            state.head = head_after(&pending.entries, base, pending.stored, state.head);
            match sent.end {
                Sent::All => pending.in_doubt = false,
                Sent::Rejected => {
                    let next = &pending.entries[pending.stored];
                    self.repair(&mut state.marks, &next.event).await?;
                    return Err(self
                        .abort("the log has a record that this ingestor did not write")
                        .into());
                }
                Sent::Broken(trouble) => return Err(trouble.into()),
            }
        }
        let batch = pending.batch.clone();
        let moved = batch
            .events
            .iter()
            .filter_map(mark_of_event)
            .chain(batch.dedup_entries.iter().copied());
        state.marks.set(&moved.collect::<Vec<_>>()).await?;
        let feed_state = batch.feed_state.or_else(|| state.feed_state.clone());
        self.store(state, feed_state).await?;
        state.pending = None;
        Ok(state.head)
    }

    /// A record of this subject is there, but its mark did not say so: whatever happened, the mark follows the log.
    async fn repair(&self, marks: &mut DedupStore, event: &NewEvent) -> Result<(), OperationError> {
        let NewBody::Killmail { id, .. } = &event.body else {
            return Ok(());
        };
        let subject = format!("{}.killmail.{}.*", self.shared.engine.names.stream, id.0);
        let found = self.shared.engine.certain_last(&self.shared.stream, &subject).await?;
        let mark: Vec<_> = found
            .iter()
            .filter_map(|message| mark_of(&self.shared, message))
            .collect();
        marks.set(&mark).await
    }
}

#[async_trait]
impl LogWrite for LeaderWriter {
    async fn dedup_entries(&self, ids: &[KillmailId]) -> Result<Vec<Option<DedupEntry>>, LogError> {
        let mut state = self.state.lock().await;
        let marks = state.marks.get(ids).await;
        Ok(marks.map_err(|trouble| self.shared.engine.explain(trouble))?)
    }

    async fn feed_state(&self) -> Result<Option<Bytes>, LogError> {
        Ok(self.state.lock().await.feed_state.clone())
    }

    async fn append(&self, batch: AppendBatch) -> Result<Head, LogError> {
        let started = Clock::system().now().up;
        let mut state = self.state.lock().await;
        let events = batch.events.len();
        let head = self
            .try_append(&mut state, batch)
            .await
            .map_err(|error| self.explain(error))?;
        ::metrics::histogram!(metrics::APPEND_SECONDS).record((Clock::system().now().up - started).as_secs_f64());
        ::metrics::counter!(metrics::APPENDED).increment(events as u64);
        Ok(head)
    }

    async fn newest_record(&self, id: KillmailId) -> Result<Option<Arc<Record>>, LogError> {
        let head = self.state.lock().await.head.offset;
        Ok(self.shared.newest_at(id, head).await?)
    }
}

/// What would be refused for ever.
fn check(batch: &AppendBatch, head: Head) -> Result<(), LogError> {
    let mut time = head.ingested_ms;
    for event in &batch.events {
        if event.offset.is_some() {
            let reason = "JetStream assigns its own offsets: another log's offsets cannot be kept";
            return Err(LogError::Rejected(reason.into()));
        }
        if event.ingested_ms < time {
            let reason = format!(
                "a record of {} ms follows one of {time} ms (since 1970): times must not decrease",
                event.ingested_ms
            );
            return Err(LogError::Rejected(reason));
        }
        time = event.ingested_ms;
    }
    Ok(())
}

/// Where the stream ends once so many entries after `base` are in it.
fn head_after(entries: &[OutgoingEvent], base: u64, stored: usize, before: Head) -> Head {
    let last = stored.checked_sub(1).and_then(|last| entries.get(last));
    Head {
        offset: Offset(base + stored as u64),
        ingested_ms: last.map_or(before.ingested_ms, |last| last.event.ingested_ms),
    }
}

fn known_head(message: &Message) -> Head {
    let number = |name: &str| message.headers.get(name).and_then(|value| value.as_str().parse().ok());
    Head {
        offset: Offset(number(HEAD).and_then(|number| u64::try_from(number).ok()).unwrap_or(0)),
        ingested_ms: number(HEAD_TIME).unwrap_or(0),
    }
}

fn mark_of_event(event: &NewEvent) -> Option<(KillmailId, DedupEntry)> {
    match &event.body {
        NewBody::Gap(_) => None,
        NewBody::Killmail { id, revision, hash, .. } => Some((
            *id,
            DedupEntry {
                revision: *revision,
                hash: *hash,
            },
        )),
    }
}

fn mark_of(shared: &JetStreamState, message: &Message) -> Option<(KillmailId, DedupEntry)> {
    let hash = layout::hash(&message.headers);
    match (shared.engine.names.kind(&message.subject), hash) {
        (Ok(RecordKind::Killmail { id, revision }), Ok(hash)) => Some((id, DedupEntry { revision, hash })),
        (Ok(RecordKind::Gap), _) => None,
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(offset = message.sequence, %error, "log record has malformed headers, skipping its dedup entry");
            None
        }
    }
}
