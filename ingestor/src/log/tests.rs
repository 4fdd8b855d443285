//! The embedded log as a whole.

mod crash;
mod disk;
mod model;
mod opening;
mod reading;
mod relaying;
mod removing;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use killfeed::{
    cursor::Offset,
    id::{ContentHash, KillmailId},
    v1,
};
use killfeed_service::clock::{Clock, Now, Uptime, from_ms};
use prost::Message as _;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);
/// Some moment in 2026, in milliseconds since 1970.
const T0: i64 = 1_790_000_000_000;

const ALL: ReadLimit = ReadLimit {
    records: 100_000,
    bytes: usize::MAX,
};

/// A clock that stands until a test moves it; both hands together.
#[derive(Clone, Default)]
struct TestClock(Arc<AtomicI64>);

impl TestClock {
    fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let passed = Arc::clone(&self.0);
        Clock::from_fn(move || {
            let passed = passed.load(Ordering::SeqCst);
            Now {
                wall: from_ms(T0 + passed),
                up: Uptime::new(Duration::from_millis(passed as u64)),
            }
        })
    }
}

/// Keeps everything, small caches.
fn options() -> Options {
    Options {
        cache_bytes: 8 << 20,
        clock: TestClock::default().clock(),
        reserve_bytes: 0,
        ..Options::new(DAY)
    }
}

/// With no room in memory: every read goes to the file.
fn from_disk() -> Options {
    Options {
        window_bytes: 0,
        ..options()
    }
}

fn open(dir: &Path) -> EmbeddedLog {
    EmbeddedLog::open(dir, options()).unwrap()
}

fn hash_of(id: u64, revision: u32) -> ContentHash {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&id.to_le_bytes());
    digest[8..12].copy_from_slice(&revision.to_le_bytes());
    ContentHash { version: 1, digest }
}

fn event_bytes(id: u64, revision: u32) -> Bytes {
    let killmail = v1::Killmail {
        killmail_id: id,
        revision,
        ..Default::default()
    };
    killmail.encode_to_vec().into()
}

fn killmail(id: u64, revision: u32, ingested_ms: i64) -> NewEvent {
    NewEvent {
        offset: None,
        ingested_ms,
        body: NewBody::Killmail {
            id: KillmailId(id),
            revision,
            hash: Some(hash_of(id, revision)),
            bytes: event_bytes(id, revision),
        },
    }
}

fn gap(ingested_ms: i64) -> NewEvent {
    NewEvent {
        offset: None,
        ingested_ms,
        body: NewBody::Gap(v1::Gap::default().encode_to_vec().into()),
    }
}

fn at(offset: u64, event: NewEvent) -> NewEvent {
    NewEvent {
        offset: Some(Offset(offset)),
        ..event
    }
}

fn batch(events: impl IntoIterator<Item = NewEvent>) -> AppendBatch {
    AppendBatch {
        events: events.into_iter().collect(),
        ..Default::default()
    }
}

async fn offsets(log: &EmbeddedLog, after: u64) -> Vec<u64> {
    let read = log.read(Offset(after), ALL).await.unwrap();
    read.iter().map(|record| record.offset.0).collect()
}
