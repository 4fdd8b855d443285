//! Follows the shared log: what is in it at the start, then every record as it comes. One ordered consumer for the whole process, made
//! anew wherever it breaks off; and now and then a look at the log's bounds, which notices a stream that is not the same any more.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    consumer::{
        DeliverPolicy,
        pull::{Ordered, OrderedConfig},
    },
    stream::Stream,
};
use futures::{FutureExt as _, StreamExt as _};
use killfeed::{backoff::Backoff, cursor::Offset};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    JetStreamState,
    client::{Bounds, JetStreamClient, Message},
    error::{JetStreamError, OperationError},
    fetch,
    index::Index,
    layout,
};
use crate::log::{Head, ReadLimit, Record};

/// How often the log's bounds are looked at: an outage is told within two of them.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// For a consumer to be made.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(3);
/// The delay before the next consumer, after one that delivered records.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// Records taken at once.
const MAX_BATCH: usize = 256;
/// So often in a row there may be records, and none that come.
const MAX_SILENT_CHECKS: u32 = 2;
/// So often in a row the stream was not there, or shorter than it had been: a server that starts or takes the lead may say so as well.
const MISSING_THRESHOLD: u32 = 6;

/// The index of all records that are there now, from their headers, and where it ends.
pub(super) async fn index(
    engine: &JetStreamClient,
    stream: &Stream,
    bounds: &Bounds,
) -> Result<(Index, Head), OperationError> {
    let mut index = Index::default();
    let mut head = Head {
        offset: Offset(bounds.last),
        ingested_ms: 0,
    };
    if bounds.trimmed().0 >= bounds.last {
        return Ok((index, head));
    }
    let mut at = bounds.trimmed().0;
    let mut messages = consume(stream, bounds.first, true).await?;
    loop {
        let next = timeout(CONSUMER_TIMEOUT, messages.next()).await;
        let message = match next {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Err(OperationError::unavailable("reading the log", error)),
            Ok(None) => {
                return Err(OperationError::Unavailable(
                    "reading the log: the consumer ended early".into(),
                ));
            }
            Err(_) => {
                return Err(OperationError::Unavailable(
                    "reading the log: no message arrived".into(),
                ));
            }
        };
        let info = message
            .info()
            .map_err(|error| OperationError::Unavailable(format!("a message has no sequence: {error}")))?;
        let sequence = info.stream_sequence;
        let headers = message.headers.clone().unwrap_or_default();
        // What cannot be understood is a gap for readers, too.
        let ingested_ms = layout::time(&headers).unwrap_or(head.ingested_ms);
        let kind = engine
            .names
            .kind(&message.subject)
            .unwrap_or(crate::log::RecordKind::Gap);
        if sequence > at + 1 && bounds.deleted == 0 {
            let now = engine.bounds(stream).await?;
            if now.is_none_or(|now| now.trimmed().0 < sequence - 1) {
                return Err(OperationError::Unavailable(format!(
                    "reading the log: record {} did not arrive",
                    sequence - 1
                )));
            }
        }
        index.push(sequence, ingested_ms, kind);
        head.ingested_ms = ingested_ms;
        at = sequence;
        if at < bounds.last && info.pending == 0 {
            // Deleted by an operator, if the leader says the same: the server that was read from may be behind.
            for sequence in at + 1..=bounds.last {
                if engine.get_from_leader(stream, sequence).await?.is_some() {
                    return Err(OperationError::Unavailable(format!(
                        "reading the log: record {sequence} did not arrive yet"
                    )));
                }
            }
            at = bounds.last;
        }
        if at >= bounds.last {
            head.offset = Offset(at);
            return Ok((index, head));
        }
    }
}

/// Follows until the log is given up for good.
pub(super) async fn follow(shared: Arc<JetStreamState>) {
    let mut backoff = BACKOFF.with_failures(1);
    let mut gone = 0;
    loop {
        let before = shared.view.status().head;
        match shared.engine.explain(run(&shared).await) {
            OperationError::Fatal(error @ (JetStreamError::Missing { .. } | JetStreamError::Truncated { .. }))
                if gone + 1 < MISSING_THRESHOLD =>
            {
                gone += 1;
                shared.trouble(Some(error.to_string()));
            }
            OperationError::Fatal(error) => {
                shared.trouble(Some(error.to_string()));
                shared.give_up(error);
                return;
            }
            OperationError::Unavailable(reason) => {
                gone = 0;
                shared.trouble(Some(reason));
            }
        }
        if shared.view.status().head != before {
            backoff.reset();
        }
        // At least half of the ceiling: servers that elect a leader need the time before the log counts as gone.
        let least = backoff.ceiling() / 2;
        sleep(backoff.next_delay_after(Some(least))).await;
    }
}

/// One consumer, from its making to its end.
async fn run(shared: &JetStreamState) -> OperationError {
    match try_run(shared).await {
        Ok(never) => match never {},
        Err(trouble) => trouble,
    }
}

async fn try_run(shared: &JetStreamState) -> Result<std::convert::Infallible, OperationError> {
    check(shared).await?;
    let mut at = shared.view.status().head.offset.0;
    let mut messages = consume(&shared.stream, at + 1, false).await?;
    shared.trouble(None);
    let mut look_at = Instant::now() + CHECK_INTERVAL;
    let mut silent = 0;
    loop {
        if Instant::now() >= look_at {
            let bounds = check(shared).await?;
            look_at = Instant::now() + CHECK_INTERVAL;
            silent = if bounds.last > at { silent + 1 } else { 0 };
            if silent > MAX_SILENT_CHECKS {
                return Err(OperationError::Unavailable(
                    "the consumer does not deliver records that the stream has".into(),
                ));
            }
        }
        let Ok(next) = timeout_at(look_at, messages.next()).await else {
            continue;
        };
        silent = 0;
        let mut records: Vec<Arc<Record>> = Vec::new();
        let mut next = Some(next);
        while let Some(came) = next {
            let message = match came {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(OperationError::unavailable("following the log", error)),
                None => {
                    return Err(OperationError::Unavailable(
                        "following the log: the consumer ended early".into(),
                    ));
                }
            };
            let info = message
                .info()
                .map_err(|error| OperationError::Unavailable(format!("a message has no sequence: {error}")))?;
            let sequence = info.stream_sequence;
            if sequence > at {
                if sequence > at + 1 {
                    shared.view.grew(std::mem::take(&mut records));
                    is_hole(shared, at, sequence).await?;
                }
                let message = Message {
                    sequence,
                    subject: message.subject.to_string(),
                    headers: message.headers.clone().unwrap_or_default(),
                    payload: message.payload.clone(),
                };
                records.push(Arc::new(fetch::decode(&message)));
                at = sequence;
            }
            next = if records.len() < MAX_BATCH {
                messages.next().now_or_never()
            } else {
                None
            };
        }
        shared.view.grew(records);
    }
}

/// Nothing lies between these two: retention took it, or an operator did. Otherwise the consumer left a record out, and is given up
/// before anybody reads past it.
async fn is_hole(shared: &JetStreamState, at: u64, next: u64) -> Result<(), OperationError> {
    shared.bounds().await?;
    let one = ReadLimit {
        records: 1,
        bytes: usize::MAX,
    };
    let between = fetch::range(shared, Offset(at), Offset(next - 1), one).await?;
    match between.first() {
        None => Ok(()),
        Some(record) => Err(OperationError::Unavailable(format!(
            "the consumer skipped the record {}",
            record.offset.0
        ))),
    }
}

/// A look at the log's bounds, as the leader knows them.
async fn check(shared: &JetStreamState) -> Result<Bounds, OperationError> {
    if !shared.engine.is_connected() {
        return Err(OperationError::Unavailable("NATS is not connected".into()));
    }
    shared.bounds().await
}

/// The messages from a sequence on, in order and each once.
async fn consume(stream: &Stream, from: u64, headers_only: bool) -> Result<Ordered, OperationError> {
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        headers_only,
        ..OrderedConfig::default()
    };
    let made = timeout(CONSUMER_TIMEOUT, stream.create_consumer(config)).await;
    let made = made.map_err(|_| OperationError::Unavailable("no response to a consumer request".into()))?;
    let consumer = made.map_err(|error| OperationError::unavailable("creating a consumer", error))?;
    let messages = timeout(CONSUMER_TIMEOUT, consumer.messages()).await;
    let messages = messages.map_err(|_| OperationError::Unavailable("no response to a consumer request".into()))?;
    messages.map_err(|error| OperationError::unavailable("reading from a consumer", error))
}
