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
use killfeed::cursor::Offset;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    Shared,
    engine::{Bounds, Engine, Message},
    error::{JetStreamError, Trouble},
    fetch,
    index::Index,
    layout,
};
use crate::log::{Head, ReadLimit, Record};

/// How often the log's bounds are looked at: an outage is told within two of them.
const LOOK: Duration = Duration::from_secs(2);
/// For a consumer to be made.
const ANSWER: Duration = Duration::from_secs(3);
/// Before it is made again: doubled from the first to the last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Records taken at once.
const MOST: usize = 256;
/// So often in a row there may be records, and none that come.
const MOST_SILENT: u32 = 2;
/// So often in a row the stream was not there, or shorter than it had been: a server that starts or takes the lead may say so as well.
const GONE_FOR_GOOD: u32 = 6;

/// The index of all records that are there now, from their headers, and where it ends.
pub(super) async fn index(engine: &Engine, stream: &Stream, bounds: &Bounds) -> Result<(Index, Head), Trouble> {
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
        let next = timeout(ANSWER, messages.next()).await;
        let message = match next {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Err(Trouble::away("reading what the log holds", error)),
            Ok(None) => return Err(Trouble::Away("reading what the log holds: it broke off".into())),
            Err(_) => return Err(Trouble::Away("reading what the log holds: nothing came".into())),
        };
        let info = message
            .info()
            .map_err(|error| Trouble::Away(format!("a message without its place: {error}")))?;
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
                return Err(Trouble::Away(format!(
                    "reading what the log holds: record {} did not come",
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
                if engine.certain(stream, sequence).await?.is_some() {
                    return Err(Trouble::Away(format!(
                        "reading what the log holds: record {sequence} did not come yet"
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
pub(super) async fn follow(shared: Arc<Shared>) {
    let mut wait = AGAIN.0;
    let mut gone = 0;
    loop {
        let before = shared.view.status().head;
        match shared.engine.explain(run(&shared).await) {
            Trouble::Lost(error @ (JetStreamError::Missing { .. } | JetStreamError::LostEnd { .. }))
                if gone + 1 < GONE_FOR_GOOD =>
            {
                gone += 1;
                shared.trouble(Some(error.to_string()));
            }
            Trouble::Lost(error) => {
                shared.trouble(Some(error.to_string()));
                shared.give_up(error);
                return;
            }
            Trouble::Away(reason) => {
                gone = 0;
                shared.trouble(Some(reason));
            }
        }
        wait = if shared.view.status().head == before {
            (wait * 2).min(AGAIN.1)
        } else {
            AGAIN.0
        };
        sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}

/// One consumer, from its making to its end.
async fn run(shared: &Shared) -> Trouble {
    match try_run(shared).await {
        Ok(never) => match never {},
        Err(trouble) => trouble,
    }
}

async fn try_run(shared: &Shared) -> Result<std::convert::Infallible, Trouble> {
    look(shared).await?;
    let mut at = shared.view.status().head.offset.0;
    let mut messages = consume(&shared.stream, at + 1, false).await?;
    shared.trouble(None);
    let mut look_at = Instant::now() + LOOK;
    let mut silent = 0;
    loop {
        if Instant::now() >= look_at {
            let bounds = look(shared).await?;
            look_at = Instant::now() + LOOK;
            silent = if bounds.last > at { silent + 1 } else { 0 };
            if silent > MOST_SILENT {
                return Err(Trouble::Away("records do not come though they are there".into()));
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
                Some(Err(error)) => return Err(Trouble::away("following the log", error)),
                None => return Err(Trouble::Away("following the log: it broke off".into())),
            };
            let info = message
                .info()
                .map_err(|error| Trouble::Away(format!("a message without its place: {error}")))?;
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
            next = if records.len() < MOST {
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
async fn is_hole(shared: &Shared, at: u64, next: u64) -> Result<(), Trouble> {
    shared.bounds().await?;
    let one = ReadLimit {
        records: 1,
        bytes: usize::MAX,
    };
    let between = fetch::range(shared, Offset(at), Offset(next - 1), one).await?;
    match between.first() {
        None => Ok(()),
        Some(record) => Err(Trouble::Away(format!(
            "record {} is there and did not come",
            record.offset.0
        ))),
    }
}

/// A look at the log's bounds, as the leader knows them.
async fn look(shared: &Shared) -> Result<Bounds, Trouble> {
    if !shared.engine.is_connected() {
        return Err(Trouble::Away("NATS is not connected".into()));
    }
    shared.bounds().await
}

/// The messages from a sequence on, in order and each once.
async fn consume(stream: &Stream, from: u64, headers_only: bool) -> Result<Ordered, Trouble> {
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        headers_only,
        ..OrderedConfig::default()
    };
    let made = timeout(ANSWER, stream.create_consumer(config)).await;
    let made = made.map_err(|_| Trouble::Away("no answer to a consumer".into()))?;
    let consumer = made.map_err(|error| Trouble::away("making a consumer", error))?;
    let messages = timeout(ANSWER, consumer.messages()).await;
    let messages = messages.map_err(|_| Trouble::Away("no answer to a consumer".into()))?;
    messages.map_err(|error| Trouble::away("reading from a consumer", error))
}
