//! The events of a batch on their way into the stream.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream::context::PublishErrorKind};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio::time::timeout;

use super::{JetStreamState, error::OperationError, fetch, layout};
use crate::log::{NewBody, NewEvent};

/// For an acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(3);
/// Reads on their way at once.
const READ_CONCURRENCY: usize = 64;

/// An event and its subject.
#[derive(Debug, Clone)]
pub(super) struct OutgoingEvent {
    pub(super) subject: String,
    pub(super) event: NewEvent,
}

/// What of a batch is to be published: all but gaps that were told before a crash and are there already.
pub(super) async fn entries(
    shared: &JetStreamState,
    events: &[NewEvent],
    feed_state: &[u8],
) -> Result<Vec<OutgoingEvent>, OperationError> {
    let subjects = shared.engine.names.subjects_of(events, feed_state);
    let mut entries = Vec::with_capacity(events.len());
    for (event, subject) in events.iter().zip(subjects) {
        let told = match event.body {
            NewBody::Gap(_) => shared.engine.certain_last(&shared.stream, &subject).await?.is_some(),
            NewBody::Killmail { .. } => false,
        };
        if !told {
            entries.push(OutgoingEvent {
                subject,
                event: event.clone(),
            });
        }
    }
    Ok(entries)
}

/// How it ended.
pub(super) enum Sent {
    All,
    /// The next one was not taken: the stream does not end there, or holds that record already.
    Rejected,
    /// What became of the next one is not known.
    Broken(OperationError),
}

/// What is known of a batch that was sent.
pub(super) struct PublishResult {
    /// So many are stored, the first ones without omission.
    pub(super) stored: usize,
    pub(super) end: Sent,
}

/// Publishes all of them after `base`, without waiting for one before the next is sent: each only goes in behind the one before.
pub(super) async fn all(shared: &JetStreamState, entries: &[OutgoingEvent], base: u64) -> PublishResult {
    let mut acknowledgements = Vec::with_capacity(entries.len());
    let mut broken = None;
    for (entry, after) in entries.iter().zip(base..) {
        let (mut headers, payload) = match encode(shared, &entry.event) {
            Ok(encoded) => encoded,
            Err(trouble) => {
                broken = Some(trouble);
                break;
            }
        };
        layout::expect(&mut headers, after);
        let subject = entry.subject.clone();
        let sent = timeout(
            ACK_TIMEOUT,
            shared.engine.context.publish_with_headers(subject, headers, payload),
        )
        .await;
        match sent {
            Ok(Ok(acknowledgement)) => acknowledgements.push(acknowledgement),
            Ok(Err(error)) => broken = Some(OperationError::unavailable("publishing", error)),
            Err(_) => {
                broken = Some(OperationError::Unavailable(
                    "publishing: the request was not sent in time".into(),
                ))
            }
        }
        if broken.is_some() {
            break;
        }
    }
    let mut stored = 0;
    for acknowledgement in acknowledgements {
        let end = match timeout(ACK_TIMEOUT, async { acknowledgement.await }).await {
            Ok(Ok(_)) => {
                stored += 1;
                continue;
            }
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => Sent::Rejected,
            Ok(Err(error)) => Sent::Broken(OperationError::unavailable("publishing", error)),
            Err(_) => Sent::Broken(OperationError::Unavailable("no acknowledgment arrived".into())),
        };
        return PublishResult { stored, end };
    }
    PublishResult {
        stored,
        end: broken.map_or(Sent::All, Sent::Broken),
    }
}

/// After an unknown outcome: how many of them are in the stream right after `base`. `None` = somebody else's are.
pub(super) async fn settle(
    shared: &JetStreamState,
    entries: &[OutgoingEvent],
    base: u64,
) -> Result<Option<usize>, OperationError> {
    let bounds = shared.bounds().await?;
    let there = bounds.last.saturating_sub(base);
    let Ok(stored) = usize::try_from(there) else {
        return Ok(None);
    };
    if stored > entries.len() {
        return Ok(None);
    }
    let messages = stream::iter(base + 1..=bounds.last).map(|sequence| fetch::message(shared, sequence));
    let mut messages = messages.buffered(READ_CONCURRENCY).zip(stream::iter(entries));
    while let Some((message, entry)) = messages.next().await {
        let (_, payload) = encode(shared, &entry.event)?;
        let same = message?.is_some_and(|message| message.subject == entry.subject && message.payload == payload);
        if !same {
            return Ok(None);
        }
    }
    Ok(Some(stored))
}

/// What a message cannot carry waits for the operator: nothing of it may be lost.
fn encode(shared: &JetStreamState, event: &NewEvent) -> Result<(HeaderMap, Bytes), OperationError> {
    let max_payload = shared.engine.max_payload();
    layout::encode(event, max_payload).ok_or_else(|| {
        let what = match &event.body {
            NewBody::Killmail { id, .. } => format!("killmail {}", id.0),
            NewBody::Gap(_) => "a gap".to_owned(),
        };
        OperationError::Unavailable(format!(
            "{what} does not fit into a NATS message of {max_payload} bytes, even compressed; raise max_payload in the servers' configuration"
        ))
    })
}
