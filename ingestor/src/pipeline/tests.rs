//! The pipeline over a feed made up here, a real log and a stand-in ESI.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use killfeed::cursor::Offset;
use tokio::time::Instant;

use super::*;
use crate::{
    enrich::tests::fake_esi::{Mood, StandIn},
    health,
    log::{EmbeddedLog, FreeSpace, LogRead as _, Options, ReadLimit},
};

/// Hands out what it is given, then nothing.
#[derive(Default)]
struct Given {
    batches: VecDeque<Batch>,
    verdicts: Arc<Mutex<Vec<(u64, DocumentOutcome)>>>,
    settled: Option<tokio::sync::oneshot::Sender<Instant>>,
}

#[async_trait::async_trait]
impl Feed for Given {
    async fn next(&mut self) -> Batch {
        match self.batches.pop_front() {
            Some(batch) => batch,
            None => std::future::pending().await,
        }
    }

    fn ack(&mut self, verdicts: &[(u64, DocumentOutcome)]) -> Bytes {
        self.verdicts.lock().unwrap().extend_from_slice(verdicts);
        if let Some(settled) = self.settled.take() {
            let _ = settled.send(Instant::now());
        }
        Bytes::from_static(b"state")
    }
}

fn document(number: u64, id: u64, value: u64) -> FeedItem {
    let body = serde_json::json!({
        "killmail_id": id, "hash": format!("{id:040x}"), "uploaded_at": 1_787_227_200, "sequence_id": number,
        "esi": {
            "killmail_id": id, "killmail_time": "2026-08-18T00:00:00Z", "solar_system_id": 30_000_001,
            "victim": {"damage_taken": 1, "ship_type_id": 587},
            "attackers": [{"damage_done": 1, "final_blow": true, "security_status": 0.1}]
        },
        "zkb": {"hash": format!("{id:040x}"), "labels": [], "totalValue": value}
    });
    FeedItem::Document {
        sequence: number,
        body: body.to_string().into(),
    }
}

fn without_body(number: u64) -> FeedItem {
    let hash = format!("{number:040x}");
    let body =
        serde_json::json!({"killmail_id": number, "hash": hash, "esi": null, "zkb": {"hash": hash, "labels": []}});
    FeedItem::Document {
        sequence: number,
        body: body.to_string().into(),
    }
}

fn feed(batches: impl IntoIterator<Item = Vec<FeedItem>>) -> Given {
    Given {
        batches: batches.into_iter().map(|items| Batch { items }).collect(),
        ..Given::default()
    }
}

async fn offsets(log: &EmbeddedLog) -> Vec<u64> {
    let all = ReadLimit {
        records: 1_000,
        bytes: usize::MAX,
    };
    let records = log.read(Offset(0), all).await.unwrap();
    records.iter().map(|record| record.offset.0).collect()
}

/// A log whose disk has as much room as the test says.
fn log_with_room(dir: &Path, room: &Arc<AtomicU64>) -> Arc<EmbeddedLog> {
    let room = Arc::clone(room);
    let options = Options {
        reserve_bytes: 1_000,
        free_space: FreeSpace::from(move |_: &Path| Ok(room.load(Ordering::SeqCst))),
        ..Options::new(Duration::from_secs(86_400))
    };
    Arc::new(EmbeddedLog::open(dir, options).unwrap())
}

#[tokio::test]
async fn a_full_disk_is_down_with_the_reason_reads_go_on_and_nothing_is_lost_when_there_is_room_again() {
    let (stand_in, dir) = (StandIn::start().await, tempfile::tempdir().unwrap());
    let room = Arc::new(AtomicU64::new(1_000));
    let log = log_with_room(dir.path(), &room);
    let enrich = stand_in.enrich(dir.path()).await;
    let (report, mut health) = health::channel();
    let fine = FeedReport {
        health: FeedHealth::Ok,
        detail: "reading".into(),
        ..FeedReport::default()
    };
    fine.clone().publish(&report);
    let batches = feed([vec![document(1, 11, 1)], vec![document(2, 12, 1), document(3, 11, 2)]]);
    let verdicts = Arc::clone(&batches.verdicts);
    let head = *log.head().borrow();
    let pipeline = Pipeline::new(Box::new(batches), log.clone(), enrich, Clock::system(), head);
    let stop = CancellationToken::new();
    let mut grew = log.head();
    room.store(1_000, Ordering::SeqCst);
    let full = Arc::clone(&room);
    // Full from the first record on.
    let filler = tokio::spawn(async move {
        grew.wait_for(|head| head.offset.0 > 0).await.unwrap();
        full.store(999, Ordering::SeqCst);
    });
    let running = tokio::spawn(pipeline.reporting(report).run(stop.clone()));
    filler.await.unwrap();
    if offsets(&log).await.len() == 1 {
        let down = health
            .wait_for(|report| report.health == FeedHealth::Down)
            .await
            .unwrap()
            .clone();
        assert_eq!(
            down.detail,
            "killmails cannot be logged: the log's disk is almost full: 999 bytes are free, but 1000 are kept in reserve; free some space, or shorten INGESTOR_RETENTION"
        );
        assert_eq!(offsets(&log).await, [1], "reads go on");
    }
    room.store(1_000, Ordering::SeqCst);
    log.head().wait_for(|head| head.offset.0 == 3).await.unwrap();
    health.wait_for(|report| *report == fine).await.unwrap();
    assert_eq!(offsets(&log).await, [1, 2, 3]);
    assert_eq!(verdicts.lock().unwrap().len(), 3, "each batch was settled once");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn changed_content_is_the_next_revision_and_the_same_is_dropped() {
    let (stand_in, dir) = (StandIn::start().await, tempfile::tempdir().unwrap());
    let room = Arc::new(AtomicU64::new(u64::MAX));
    let log = log_with_room(dir.path(), &room);
    let enrich = stand_in.enrich(dir.path()).await;
    let batches = feed([
        // Twice in one batch: the same, and changed.
        vec![document(1, 11, 1), document(2, 11, 1), document(3, 11, 5)],
        // The same as the newest, under the old number and a new one.
        vec![document(1, 11, 5), document(4, 11, 5)],
        // Back to what it was first: that is a change as well.
        vec![document(5, 11, 1)],
    ]);
    let head = *log.head().borrow();
    let pipeline = Pipeline::new(Box::new(batches), log.clone(), enrich, Clock::system(), head);
    let stop = CancellationToken::new();
    let running = tokio::spawn(pipeline.run(stop.clone()));
    log.head().wait_for(|head| head.offset.0 == 3).await.unwrap();
    let all = ReadLimit {
        records: 10,
        bytes: usize::MAX,
    };
    let records = log.read(Offset(0), all).await.unwrap();
    let told = |record: &Arc<crate::log::Record>| {
        let killmail = record.killmail().unwrap();
        let value = killmail.value.as_ref().unwrap();
        (killmail.revision, killmail.feed_sequence, value.total)
    };
    let told: Vec<_> = records.iter().map(told).collect();
    assert_eq!(told, [(0, 1, Some(1.0)), (1, 3, Some(5.0)), (2, 5, Some(1.0))]);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hanging_esi_holds_up_documents_without_body_for_seconds_only() {
    let (stand_in, dir) = (StandIn::start().await, tempfile::tempdir().unwrap());
    let room = Arc::new(AtomicU64::new(u64::MAX));
    let log = log_with_room(dir.path(), &room);
    let enrich = stand_in.enrich(dir.path()).await;
    stand_in.world(|world| world.mood = Mood::Hanging);
    let mut batches = feed([(1..=50).map(without_body).chain([document(51, 51, 1)]).collect()]);
    let (settled, when) = tokio::sync::oneshot::channel();
    batches.settled = Some(settled);
    let verdicts = Arc::clone(&batches.verdicts);
    let head = *log.head().borrow();
    let pipeline = Pipeline::new(Box::new(batches), log.clone(), enrich, Clock::system(), head);
    let stop = CancellationToken::new();
    let begun = Instant::now();
    let running = tokio::spawn(pipeline.run(stop.clone()));
    let took = when.await.unwrap() - begun;
    assert!(took < Duration::from_secs(9), "{took:?}");
    log.head().wait_for(|head| head.offset.0 == 1).await.unwrap();
    let unreadable = |(_, verdict): &&(u64, DocumentOutcome)| *verdict == DocumentOutcome::Unreadable;
    assert_eq!(verdicts.lock().unwrap().iter().filter(unreadable).count(), 50);
    stop.cancel();
    running.await.unwrap();
}

fn hash(version: u8, content: u8) -> Option<ContentHash> {
    Some(ContentHash {
        version,
        digest: [content; 16],
    })
}

#[test]
fn only_what_says_something_new_is_logged() {
    let mark = |revision, hash| Some(DedupEntry { revision, hash });
    for (known, content, expected, why) in [
        (None, hash(1, 7), Decision::Append(0), "never seen"),
        (None, None, Decision::Append(0), "never seen, from an archive"),
        (
            mark(0, hash(1, 7)),
            hash(1, 7),
            Decision::Drop,
            "the same again under a new number",
        ),
        (
            mark(0, hash(1, 7)),
            hash(1, 8),
            Decision::Append(1),
            "published anew with changes",
        ),
        (
            mark(4, hash(1, 7)),
            hash(1, 8),
            Decision::Append(5),
            "revisions count on",
        ),
        (
            mark(2, None),
            hash(1, 7),
            Decision::Append(3),
            "the first full document after an archive's",
        ),
        (mark(2, None), None, Decision::Drop, "an archive's again"),
        (
            mark(2, hash(1, 7)),
            None,
            Decision::Drop,
            "an archive's after a full one",
        ),
        (
            mark(2, hash(1, 7)),
            hash(2, 9),
            Decision::UpdateEntry(2),
            "hashes of different rules cannot be compared",
        ),
    ] {
        assert_eq!(decide(known, content), expected, "{why}");
    }
}
