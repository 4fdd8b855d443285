//! A log that follows another one: its id, its offsets, its lineage, and what becomes of them when it goes on by itself.

use killfeed::cursor::{Cursor, LogId};

use super::*;

fn relay() -> Options {
    Options {
        source: LogMode::Relay,
        ..options()
    }
}

fn ancestry(id: u64, ancestors: &[(u64, u64)], trimmed: u64) -> Lineage {
    Lineage {
        id: LogId(id),
        ancestors: ancestors.iter().map(|(id, last)| (LogId(*id), Offset(*last))).collect(),
        trimmed: Offset(trimmed),
    }
}

fn place(log: &EmbeddedLog, id: u64, offset: u64) -> CursorStatus {
    log.locate(Cursor {
        log: LogId(id),
        offset: Offset(offset),
    })
}

#[tokio::test]
async fn a_new_relay_knows_nothing_until_it_has_met_its_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), relay()).unwrap();
    // Not foreign: the client would give its place up. It may come back.
    assert_eq!(place(&log, 9, 40), CursorStatus::Ahead);
    let mut head = log.head();
    head.mark_unchanged();

    let began = log.adopt(ancestry(9, &[(7, 30)], 40)).await.unwrap();
    assert_eq!((began.offset, log.id()), (Offset(40), LogId(9)));
    assert!(head.has_changed().unwrap());
    assert_eq!(log.ancestors(), [(LogId(7), Offset(30))]);
    // What its upstream lost is lost here too.
    assert_eq!(place(&log, 9, 39), CursorStatus::Expired { trimmed: Offset(40) });
    assert_eq!(place(&log, 7, 20), CursorStatus::Expired { trimmed: Offset(40) });
    assert_eq!(place(&log, 9, 40), CursorStatus::After(Offset(40)));
    assert_eq!(place(&log, 9, 41), CursorStatus::Ahead);
    assert_eq!(place(&log, 7, 41), CursorStatus::Unrelated);

    log.append(batch([at(43, killmail(1, 0, T0)), at(45, gap(T0))]))
        .await
        .unwrap();
    assert_eq!(offsets(&log, 40).await, [43, 45]);
    drop(log);
    let log = EmbeddedLog::open(dir.path(), relay()).unwrap();
    assert_eq!((log.id(), log.head().borrow().offset), (LogId(9), Offset(45)));
    assert_eq!(offsets(&log, 40).await, [43, 45]);
}

#[tokio::test]
async fn promoted_it_goes_on_under_a_new_id_and_its_ancestors_cursors_stay_valid() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), relay()).unwrap();
    log.adopt(ancestry(9, &[(7, 30)], 0)).await.unwrap();
    log.append(batch([at(20, killmail(1, 0, T0)), at(50, killmail(2, 0, T0))]))
        .await
        .unwrap();
    drop(log);

    // A command never does that by the way.
    let command = Options {
        source: LogMode::Command,
        ..options()
    };
    let refused = EmbeddedLog::open(dir.path(), command).unwrap_err().to_string();
    assert!(
        refused.contains("is the log of a relay (log id 0000000000000009)"),
        "{refused}"
    );

    // Nor is a restored backup of it another history.
    assert!(matches!(new_log_id(dir.path()), Err(LogOpenError::Relayed { .. })));

    let log = open(dir.path());
    let id = log.id();
    assert!(id != LogId(9) && id != LogId(0));
    assert_eq!(log.ancestors(), [(LogId(7), Offset(30)), (LogId(9), Offset(50))]);
    let next = log.append(batch([killmail(3, 0, T0)])).await.unwrap();
    assert_eq!(next.offset, Offset(51), "offsets go on");
    assert_eq!(place(&log, 9, 50), CursorStatus::After(Offset(50)));
    assert_eq!(
        place(&log, 9, 51),
        CursorStatus::Unrelated,
        "what the other wrote later was never seen"
    );
    assert_eq!(place(&log, 7, 30), CursorStatus::After(Offset(30)));
    assert_eq!(place(&log, id.0, 51), CursorStatus::After(Offset(51)));
    drop(log);
    assert_eq!(open(dir.path()).id(), id, "only once");
}

#[tokio::test]
async fn a_relay_that_never_met_anyone_leaves_no_ancestor() {
    let dir = tempfile::tempdir().unwrap();
    drop(EmbeddedLog::open(dir.path(), relay()).unwrap());
    let log = open(dir.path());
    assert_ne!(log.id(), LogId(0));
    assert_eq!(log.ancestors(), []);
}

#[tokio::test]
async fn the_one_that_failed_comes_back_as_the_others_relay() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let own = log.id();
    log.append(batch([killmail(1, 0, T0), killmail(2, 0, T0)]))
        .await
        .unwrap();
    drop(log);
    let log = EmbeddedLog::open(dir.path(), relay()).unwrap();
    assert_eq!(log.id(), own, "until it has met the other");

    let refused = log.adopt(ancestry(77, &[(own.0, 1)], 0)).await.unwrap_err();
    assert!(matches!(refused, LogError::Rejected(_)), "{refused}");
    let refused = log.adopt(ancestry(77, &[(5, 9)], 0)).await.unwrap_err();
    assert!(matches!(refused, LogError::Rejected(_)), "{refused}");
    assert_eq!(log.id(), own);

    let head = log.adopt(ancestry(77, &[(own.0, 2)], 1)).await.unwrap();
    assert_eq!((head.offset, log.id()), (Offset(2), LogId(77)));
    assert_eq!(offsets(&log, 0).await, [1, 2], "what it holds stays");
    assert_eq!(place(&log, own.0, 1), CursorStatus::After(Offset(1)));
    // Whatever it remembers, the history that it follows decides what is news.
    log.append(batch([at(3, killmail(2, 0, T0 + 1)), at(4, killmail(2, 1, T0 + 1))]))
        .await
        .unwrap();
    assert_eq!(
        log.dedup_entries(&[KillmailId(2)]).await.unwrap()[0].unwrap().revision,
        1
    );
    assert_eq!(log.newest(KillmailId(2)).await.unwrap().unwrap().offset, Offset(4));
}
