use futures::future::join_all;
use killfeed::filter::Program;

use super::*;
use crate::grpc::{
    selection::{Filtered, Selections},
    tests::{FakeLog, npc},
};

async fn run(chunks: &ChunkCache, log: &FakeLog, selection: &Arc<Selection>, after: u64) -> Arc<Chunk> {
    let head = log.status().head.offset;
    chunks.get(log, selection, Offset(after), head).await.unwrap()
}

fn everything() -> Arc<Selection> {
    Selections::default().get(None, false)
}

#[tokio::test]
async fn a_run_is_made_once_for_all_who_want_it() {
    let log = FakeLog::of(5);
    let chunks = ChunkCache::new();
    let everything = everything();
    log.delay(std::time::Duration::from_millis(20));
    let runs = join_all((0..10).map(|_| run(&chunks, &log, &everything, 0))).await;
    assert_eq!((log.reads(), runs[0].events), (1, 5));
    assert!(runs.iter().all(|other| Arc::ptr_eq(other, &runs[0])));
    let head = log.status().head.offset;
    assert!(chunks.peek(&everything, Offset(0), head).await.is_some());
    // Another selection wants other bytes.
    let filter = Filtered::new(Program::new(&npc()).unwrap(), &npc());
    let selections = Selections::default();
    selections.get(None, true);
    let npcs = selections.get(Some(filter), false);
    let filtered = run(&chunks, &log, &npcs, 0).await;
    assert_eq!((filtered.events, filtered.through), (2, Offset(50)));
}

#[tokio::test]
async fn what_many_filters_are_asked_about_is_read_once() {
    let log = FakeLog::of(60);
    let chunks = ChunkCache::new();
    let selections = Selections::default();
    let with = |updates| {
        let filter = Filtered::new(Program::new(&npc()).unwrap(), &npc());
        selections.get(Some(filter), updates)
    };
    let (one, other) = (with(false), with(true));
    // Offsets 10, 20, ..., 600; cells end at 256, 512.
    let first = run(&chunks, &log, &one, 0).await;
    assert_eq!((log.reads(), first.through), (1, Offset(250)));
    let second = run(&chunks, &log, &other, 0).await;
    assert_eq!(
        (log.reads(), second.through, second.events),
        (1, Offset(250), first.events)
    );
    // So is what a stream makes for itself alone.
    let alone = chunks.make(&*log, &other, (Offset(0), log.status().head.offset), i64::MIN);
    assert_eq!((alone.await.unwrap().through, log.reads()), (Offset(250), 1));
    // What can grow is read by each.
    run(&chunks, &log, &one, 512).await;
    run(&chunks, &log, &other, 512).await;
    assert_eq!(log.reads(), 3);
}

#[tokio::test]
async fn runs_end_where_cells_end_wherever_they_begin() {
    let log = FakeLog::of(40);
    let chunks = ChunkCache::new();
    let everything = everything();
    // Offsets 10, 20, ..., 400; cells end at 64, 128, ...
    for (after, through, events) in [(0, 60, 6), (35, 60, 3), (60, 120, 6), (62, 120, 6), (380, 400, 2)] {
        let run = run(&chunks, &log, &everything, after).await;
        assert_eq!((run.through, run.events), (Offset(through), events), "after {after}");
    }
}

#[tokio::test]
async fn a_run_that_ended_at_the_head_is_made_anew_when_the_log_grew() {
    let log = FakeLog::of(2);
    let chunks = ChunkCache::new();
    let everything = everything();
    assert_eq!(run(&chunks, &log, &everything, 0).await.events, 2);
    let nothing = chunks.get(&*log, &everything, Offset(20), Offset(20)).await;
    assert!(matches!(nothing, Err(ChunkError::Nothing)), "{nothing:?}");
    log.more(2);
    assert_eq!(run(&chunks, &log, &everything, 0).await.events, 4);
    assert_eq!(run(&chunks, &log, &everything, 20).await.events, 2);
}

#[tokio::test]
async fn memory_is_bounded() {
    let log = FakeLog::of(1_000);
    let one = OVERHEAD as u64 + 6 * 40;
    let chunks = ChunkCache::with_budget(one * 3);
    let everything = everything();
    for cell in 0..50 {
        run(&chunks, &log, &everything, cell * 64).await;
        chunks.made.run_pending_tasks().await;
        assert!(chunks.made.weighted_size() <= one * 3);
    }
    // The newest is kept, however new it is.
    let newest = chunks
        .peek(&everything, Offset(49 * 64), log.status().head.offset)
        .await;
    assert!(newest.is_some());
    let held = chunks.made.entry_count();
    assert!((1..=4).contains(&held), "{held}");
}

#[tokio::test]
async fn nothing_that_retention_took_is_left_out_in_silence() {
    let log = FakeLog::of(20);
    let chunks = ChunkCache::new();
    let everything = everything();
    log.trim(100);
    let head = log.status().head.offset;
    let overtaken = chunks.get(&*log, &everything, Offset(50), head).await;
    assert!(matches!(overtaken, Err(ChunkError::Trimmed)), "{overtaken:?}");
    log.fail(true);
    let failed = chunks.get(&*log, &everything, Offset(100), head).await;
    assert!(matches!(failed, Err(ChunkError::Log(_))), "{failed:?}");
    // A failure is not remembered.
    log.fail(false);
    assert_eq!(run(&chunks, &log, &everything, 100).await.events, 2);
}
