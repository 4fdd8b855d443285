//! Each check finds the fault that a test plants, and nothing in a history without faults.

use std::time::Duration;

use super::*;

/// Returns a log with killmails 101, 102, ... at offsets 10, 20, ...
///
/// Revision 1 of 103 is at 60, a gap at 70, and 107 at 80.
fn log() -> Vec<(u64, Appended)> {
    let record = |n: u64, killmail| {
        let appended = Appended {
            ingested_ms: 1_000 + n as i64,
            killmail,
            digest: n * 7,
        };
        (n * 10, appended)
    };
    let mut log: Vec<_> = (1..=5).map(|n| record(n, Some((100 + n, 0)))).collect();
    log.extend([record(6, Some((103, 1))), record(7, None), record(8, Some((107, 0)))]);
    log
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn record(n: u64) -> Received {
    let (offset, appended) = log()[n as usize - 1].clone();
    Received {
        at: at(n),
        offset,
        seen: Observed::Record(appended),
    }
}

fn progress(offset: u64) -> Received {
    Received {
        at: at(offset / 10),
        offset,
        seen: Observed::Progress,
    }
}

fn expired(offset: u64) -> Received {
    Received {
        at: at(offset / 10),
        offset,
        seen: Observed::Expired,
    }
}

fn stream(start: Start, events: impl IntoIterator<Item = Received>) -> Stream {
    Stream {
        start,
        wanted: None,
        updates: true,
        events: events.into_iter().collect(),
        to_the_end: false,
    }
}

/// Returns a valid history of four clients.
///
/// One has no filter, one is interrupted, one has a filter, and the position of one was trimmed.
fn sound() -> RunHistory {
    let everything = Stream {
        to_the_end: true,
        ..stream(
            Start::Earliest { trimmed: 0 },
            (1..=8).map(record).chain([progress(80)]),
        )
    };
    let interrupted = vec![
        stream(Start::Latest, [progress(0), record(1), record(2)]),
        stream(Start::After(20), []),
        stream(Start::After(20), [record(3), record(4), progress(40)]),
        stream(Start::Since(1_004), [record(4), record(5)]),
    ];
    let filtered = Stream {
        wanted: Some([102, 103].into()),
        updates: false,
        to_the_end: true,
        ..stream(
            Start::After(0),
            [record(2), progress(25), record(3), record(7), progress(80)],
        )
    };
    let overtaken = stream(Start::After(10), [expired(30), record(4), record(5), progress(50)]);
    let client = |name: &str, streams| Client {
        name: name.into(),
        streams,
    };
    RunHistory {
        published: Some(log().into_iter().filter_map(|(_, record)| record.killmail).collect()),
        log: log().into_iter().collect(),
        trimmed: 30,
        unseen: 0,
        clients: vec![
            client("everything", vec![everything]),
            client("interrupted", interrupted),
            client("filtered", vec![filtered]),
            client("overtaken", vec![overtaken]),
        ],
        crashes: vec![Crash {
            at: at(5),
            head_after: 50,
        }],
        memory: Memory {
            before: 1_000,
            stalled: vec![(2, 1_250), (2, 1_300)],
            slack: 100,
            per_client: 100,
        },
        latency: Latency {
            waits: vec![(107, at(40))],
            limit: at(100),
        },
    }
}

/// Plants a fault and returns the violated guarantees.
fn broken_by(fault: impl FnOnce(&mut RunHistory)) -> Vec<Guarantee> {
    let mut history = sound();
    fault(&mut history);
    let mut found: Vec<_> = violations(&history)
        .iter()
        .map(|violation| violation.guarantee)
        .collect();
    found.dedup();
    found
}

fn events(history: &mut RunHistory, client: usize, stream: usize) -> &mut Vec<Received> {
    &mut history.clients[client].streams[stream].events
}

fn remove_first(history: &mut RunHistory, client: usize, stream: usize) {
    events(history, client, stream).remove(0);
}

#[test]
fn valid_history_has_no_violations() {
    validate(&sound());
    validate(&RunHistory::default());
}

#[test]
fn reordering_violates_ordered() {
    assert_eq!(
        broken_by(|history| events(history, 0, 0).swap(3, 4)),
        [Guarantee::Ordered]
    );
    let back = |history: &mut RunHistory| events(history, 0, 0).push(progress(70));
    assert_eq!(broken_by(back), [Guarantee::Ordered]);
    let feed = |history: &mut RunHistory| history.published.as_mut().unwrap().swap(0, 1);
    assert_eq!(
        broken_by(feed),
        [Guarantee::Ordered],
        "the log differs from the feed's order"
    );
}

#[test]
fn repeat_violates_unique() {
    let twice = |history: &mut RunHistory| {
        let again = Received {
            offset: 85,
            ..record(5)
        };
        events(history, 0, 0).insert(8, again.clone());
        let Observed::Record(record) = again.seen else {
            unreachable!()
        };
        history.log.insert(85, record);
    };
    assert!(broken_by(twice).contains(&Guarantee::Unique));
    let over_a_resume = |history: &mut RunHistory| events(history, 1, 2).insert(0, record(2));
    assert!(broken_by(over_a_resume).contains(&Guarantee::Unique));
}

#[test]
fn missing_record_violates_reliable() {
    assert_eq!(
        broken_by(|history| remove_first(history, 1, 3)),
        [Guarantee::Reliable],
        "the first record of a stream that starts at a time"
    );
    let at_the_end = |history: &mut RunHistory| events(history, 0, 0).truncate(7);
    assert_eq!(broken_by(at_the_end), [Guarantee::Reliable]);
    let unwarranted = |history: &mut RunHistory| history.trimmed = 20;
    assert_eq!(
        broken_by(unwarranted),
        [Guarantee::Reliable],
        "a gap covers records that retention has not removed"
    );
    let feed = |history: &mut RunHistory| history.published.as_mut().unwrap().push((999, 0));
    assert_eq!(
        broken_by(feed),
        [Guarantee::Reliable],
        "a published killmail is missing in the log"
    );
    let unseen = |records, lost: u64| {
        broken_by(|history| {
            history.unseen = records;
            let lost = (0..lost).map(|n| (999 + n, 0));
            history.published.as_mut().unwrap().extend(lost);
        })
    };
    assert_eq!(unseen(2, 2), [], "both can be unseen records");
    assert_eq!(unseen(2, 3), [Guarantee::Reliable], "one more than the unseen records");
    let in_silence = |history: &mut RunHistory| remove_first(history, 3, 0);
    assert!(
        broken_by(in_silence).contains(&Guarantee::Reliable),
        "trimmed without a Gap CURSOR_EXPIRED"
    );
}

#[test]
fn wrong_resume_position_violates_resumable() {
    let again = |history: &mut RunHistory| events(history, 3, 0).insert(0, record(1));
    assert_eq!(broken_by(again), [Guarantee::Resumable]);
    let skipped = |history: &mut RunHistory| remove_first(history, 1, 2);
    assert!(broken_by(skipped).contains(&Guarantee::Resumable));
}

#[test]
fn early_progress_violates_bookmarkable() {
    let in_time = |history: &mut RunHistory| events(history, 2, 0)[1] = progress(29);
    assert_eq!(broken_by(in_time), [], "a Progress at 29 covers no due record");
    let covers = |history: &mut RunHistory| {
        let events = events(history, 2, 0);
        events.remove(2);
        events.insert(2, progress(35));
    };
    assert!(broken_by(covers).contains(&Guarantee::Bookmarkable));
    let only = |history: &mut RunHistory| events(history, 1, 2).insert(1, progress(45));
    let found = broken_by(only);
    assert!(found.contains(&Guarantee::Bookmarkable), "{found:?}");
}

#[test]
fn undurable_record_violates_durable_first() {
    let lost = |history: &mut RunHistory| history.crashes[0].head_after = 40;
    assert_eq!(broken_by(lost), [Guarantee::DurableFirst]);
    let changed = |history: &mut RunHistory| {
        let Observed::Record(record) = &mut events(history, 1, 3)[0].seen else {
            unreachable!()
        };
        record.digest += 1;
    };
    assert_eq!(
        broken_by(changed),
        [Guarantee::DurableFirst],
        "two clients received different records at one offset"
    );
}

#[test]
fn memory_or_latency_over_limit_violates_bounded() {
    let grows = |history: &mut RunHistory| history.memory.stalled.push((2, 1_301));
    assert_eq!(broken_by(grows), [Guarantee::Bounded]);
    let delays = |history: &mut RunHistory| history.latency.waits.push((108, at(101)));
    assert_eq!(broken_by(delays), [Guarantee::Bounded]);
}
