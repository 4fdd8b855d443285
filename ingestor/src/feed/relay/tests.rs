use bytes::Bytes;
use killfeed::{
    Timestamp,
    cursor::{Cursor, LogId, Offset},
    v1::{FeedHealth, Gap, GapReason, Killmail, Progress, Valuation},
    wire::{Received, ReceivedEvent},
};
use prost::Message as _;

use super::lineage::{LineageMatch, LogPosition, RelayEvent, RelayReader, evaluate};
use crate::feed::{RelayedBody, UpstreamLineage};

const T0: i64 = 1_790_000_000_000;

fn place(id: u64, head: u64) -> LogPosition {
    LogPosition {
        id: LogId(id),
        ancestors: vec![],
        head: Offset(head),
        head_ms: if head > 0 { T0 } else { 0 },
    }
}

fn history(id: u64, ancestors: &[(u64, u64)], trimmed: u64) -> UpstreamLineage {
    UpstreamLineage {
        id: LogId(id),
        ancestors: ancestors.iter().map(|(id, last)| (LogId(*id), Offset(*last))).collect(),
        trimmed: Offset(trimmed),
    }
}

fn event(log: u64, offset: u64, event: Received) -> ReceivedEvent {
    let cursor = Cursor {
        log: LogId(log),
        offset: Offset(offset),
    };
    ReceivedEvent {
        cursor: cursor.to_string(),
        event,
    }
}

fn killmail(id: u64, ms: i64) -> Bytes {
    let killmail = Killmail {
        killmail_id: id,
        revision: 2,
        ingested_time: Some(Timestamp {
            seconds: ms / 1_000,
            nanos: (ms % 1_000) as i32 * 1_000_000,
        }),
        value: Some(Valuation::default()),
        feed_sequence: 900 + id,
        ..Default::default()
    };
    killmail.encode_to_vec().into()
}

fn gap(reason: GapReason) -> Received {
    let gap = Gap {
        reason: reason.into(),
        to_time: Some(Timestamp {
            seconds: T0 / 1_000 + 60,
            nanos: 0,
        }),
        missing: 3,
        ..Default::default()
    };
    Received::Gap(gap.encode_to_vec().into())
}

#[test]
fn which_log_may_be_followed() {
    let other = history(9, &[(7, 50)], 20);
    assert_eq!(evaluate(&place(0, 0), &other), LineageMatch::Continuation);
    assert_eq!(evaluate(&place(5, 0), &other), LineageMatch::Continuation);
    assert_eq!(evaluate(&place(7, 50), &other), LineageMatch::Continuation);
    assert_eq!(evaluate(&place(9, 400), &history(9, &[], 20)), LineageMatch::Same);
    // An upstream may have learnt of ancestors of its own.
    assert_eq!(evaluate(&place(9, 400), &other), LineageMatch::Continuation);
    for (own, words) in [
        (
            place(7, 51),
            "branched off from the local log 0000000000000007 after offset 50, but the local log continues to offset 51",
        ),
        (
            place(5, 1),
            "does not continue the local log 0000000000000005 (up to offset 1)",
        ),
    ] {
        match evaluate(&own, &other) {
            LineageMatch::Unrelated(reason) => assert!(reason.contains(words), "{reason}"),
            judgement => panic!("{judgement:?}"),
        }
    }
    assert_eq!(place(0, 0).cursor_in(&other).offset, Offset(20));
    assert_eq!(place(7, 50).cursor_in(&other).to_string(), "k1-0000000000000009-32");
}

#[test]
fn records_are_kept_byte_for_byte_at_their_offsets() {
    let mut follower = RelayReader::new(place(0, 0));
    follower.take_over(&history(9, &[], 20));
    follower.start(Some(T0));
    let first = gap(GapReason::UpstreamMissing);
    let Received::Gap(bytes) = first.clone() else {
        unreachable!()
    };
    let RelayEvent::Record { record, sequence } = follower.take(event(9, 21, first)).unwrap() else {
        panic!("a record")
    };
    assert_eq!((record.offset, sequence), (Offset(21), 0));
    assert_eq!(record.ingested_ms, T0, "the oldest record is this gap");
    assert_eq!(record.body, RelayedBody::Gap(bytes));

    let bytes = killmail(5, T0 + 1_234);
    let taken = follower.take(event(9, 40, Received::Killmail(bytes.clone()))).unwrap();
    let RelayEvent::Record { record, sequence } = taken else {
        panic!("a record")
    };
    assert_eq!(
        (record.offset, record.ingested_ms, sequence),
        (Offset(40), T0 + 1_234, 905)
    );
    let RelayedBody::Killmail {
        id,
        revision,
        judged,
        bytes: kept,
        ..
    } = record.body
    else {
        panic!("a killmail")
    };
    assert_eq!((id.0, revision, judged, kept), (5, 2, true, bytes));

    let progress = |caught_up| {
        Received::Progress(Progress {
            caught_up,
            feed_health: FeedHealth::Delayed.into(),
            ..Default::default()
        })
    };
    assert_eq!(follower.take(event(9, 40, progress(false))), Ok(RelayEvent::Behind));
    assert_eq!(
        follower.take(event(9, 40, progress(true))),
        Ok(RelayEvent::CaughtUp(FeedHealth::Delayed))
    );
    assert_eq!(follower.take(event(9, 40, Received::Unknown)), Ok(RelayEvent::Nothing));
    assert_eq!(follower.place().head, Offset(40));
}

#[test]
fn what_the_upstream_lost_before_it_was_relayed_is_a_gap_of_our_own() {
    let mut follower = RelayReader::new(place(9, 40));
    let taken = follower.take(event(9, 300, gap(GapReason::CursorExpired))).unwrap();
    let RelayEvent::Record { record, .. } = taken else {
        panic!("a record")
    };
    assert_eq!((record.offset, record.ingested_ms), (Offset(300), T0));
    let RelayedBody::Gap(bytes) = record.body else {
        panic!("a gap")
    };
    let gap = Gap::decode(bytes).unwrap();
    assert_eq!((gap.reason(), gap.missing), (GapReason::UpstreamExpired, 0));
    assert_eq!(gap.from_time.unwrap().seconds, T0 / 1_000);
    assert_eq!(gap.to_time.unwrap().seconds, T0 / 1_000 + 60);
}

#[test]
fn what_cannot_be_stored_is_named_and_changes_nothing() {
    let mut follower = RelayReader::new(place(9, 40));
    let good = || Received::Killmail(killmail(5, T0));
    let nameless = Killmail {
        killmail_id: 5,
        ..Default::default()
    };
    for (bad, words) in [
        (event(8, 41, good()), "now has the id 0000000000000008"),
        (event(9, 40, good()), "offset 40 after 40"),
        (
            event(9, 41, Received::Killmail(killmail(5, T0 - 1))),
            "before that of offset 40",
        ),
        (event(9, 41, Received::Killmail(killmail(0, T0))), "has no id"),
        (
            event(9, 41, Received::Killmail(nameless.encode_to_vec().into())),
            "no ingested_time",
        ),
        (
            event(9, 41, Received::Killmail(Bytes::from_static(&[0xff]))),
            "cannot decode the",
        ),
        (
            event(9, 41, Received::Gap(Bytes::from_static(&[0xff]))),
            "cannot decode the",
        ),
        (
            ReceivedEvent {
                cursor: "here".into(),
                event: good(),
            },
            r#"cursor "here""#,
        ),
    ] {
        let reason = follower.take(bad).unwrap_err();
        assert!(reason.contains(words), "{reason}");
    }
    assert_eq!(follower.place(), &place(9, 40));
    assert!(follower.take(event(9, 41, good())).is_ok());
}
