use std::time::SystemTime;

use killfeed::{Timestamp, client::Position, v1::Killmail};
use prost::Message as _;

use super::*;
use crate::{
    database::{self, BatchEntryRow, BatchKind, Outcome},
    subscriptions::SubscriptionId,
};

const HERE: Destination = Destination::Channel(2);
const THERE: Destination = Destination::Webhook(9);

fn outbox() -> (tempfile::TempDir, Outbox) {
    let dir = tempfile::tempdir().unwrap();
    let database = database::open(dir.path(), SystemTime::now()).unwrap().database;
    (dir, Outbox::new(Arc::new(database)))
}

fn arrival(killmail_id: u64, revision: u32, destinations: &[&Destination]) -> Arrival {
    let matched = |destination: &&Destination| Match {
        destination: (*destination).clone(),
        subscriptions: vec![(SubscriptionId(1), Outcome::Kill)],
        in_time: true,
    };
    let killmail = Killmail {
        killmail_id,
        revision,
        ..Default::default()
    };
    Arrival {
        killmail_id,
        revision,
        bytes: killmail.encode_to_vec(),
        kill_time: 1,
        published: 2,
        system: 0,
        value: None,
        matches: destinations.iter().map(matched).collect(),
        posted: Vec::new(),
    }
}

fn position(cursor: &str) -> Position {
    Position {
        cursor: cursor.into(),
        time: Timestamp { seconds: 5, nanos: 6 },
    }
}

fn batch_of(head: &Head) -> BatchRow {
    let entry = |(sequence, row): &(u64, QueueRow)| BatchEntryRow {
        sequence: *sequence,
        killmail_id: row.killmail_id,
        ..Default::default()
    };
    BatchRow {
        kind: BatchKind::Post.into(),
        entries: head.rows.iter().map(entry).collect(),
        pings: vec!["here".into()],
        ..Default::default()
    }
}

#[test]
fn what_events_cause_and_the_position_are_written_together() {
    let (_dir, outbox) = outbox();
    assert_eq!(outbox.position().unwrap(), None);
    let arrivals = [arrival(7, 0, &[&HERE, &THERE]), arrival(8, 0, &[])];
    let arrived = outbox.arrive(&arrivals, Some(&position("a")), 10).unwrap();
    assert_eq!(arrived.queued, 2);
    assert_eq!(outbox.position().unwrap(), Some(position("a")));
    assert!(
        outbox.seen(7, 0).unwrap() && outbox.seen(8, 0).unwrap(),
        "also what nobody wanted"
    );
    assert!(!outbox.seen(7, 1).unwrap() && !outbox.seen(9, 0).unwrap());
    assert_eq!(outbox.destinations().unwrap(), [HERE, THERE].into());
    // The same again, as after a lost acknowledgement: nothing is queued twice.
    let arrived = outbox.arrive(&arrivals, Some(&position("b")), 11).unwrap();
    assert_eq!((arrived.queued, arrived.repeated), (0, 2));
    assert_eq!(outbox.waiting(), 2);
    outbox.arrive(&[arrival(9, 0, &[&THERE])], None, 25).unwrap();
    assert_eq!(outbox.oldest(|_| true).unwrap(), Some(10));
    assert_eq!(outbox.oldest(|destination| *destination != HERE).unwrap(), Some(10));
    assert_eq!(
        outbox.oldest(|_| false).unwrap(),
        None,
        "suspended ones wait for others"
    );
    assert_eq!(
        outbox.killmail(8).unwrap(),
        None,
        "bytes that nobody waits for are not kept"
    );
}

#[test]
fn bytes_live_as_long_as_somebody_waits() {
    let (_dir, outbox) = outbox();
    outbox.arrive(&[arrival(7, 0, &[&HERE, &THERE])], None, 10).unwrap();
    for destination in [HERE, THERE] {
        assert!(outbox.killmail(7).unwrap().is_some());
        let head = outbox.head(&destination, 10).unwrap();
        let batch = outbox
            .seal(&destination, &[], Some(&batch_of(&head)), 11)
            .unwrap()
            .unwrap();
        let sealed = outbox.head(&destination, 10).unwrap();
        assert_eq!(sealed.rows[0].1.batch, batch.id);
        assert_eq!(sealed.batch.as_ref(), Some(&batch));
        let end = BatchEnd {
            state: PostState::Sent,
            message_id: 99,
            detail: "",
            cooldown_until: 500,
            embeds: &[],
            guild: None,
        };
        outbox.finish(&destination, &batch, end, 12).unwrap();
        let post = outbox.post(&destination, 7).unwrap().unwrap();
        assert_eq!((post.state(), post.message_id, post.since), (PostState::Sent, 99, 12));
        assert_eq!(outbox.cooldown(&destination, "here").unwrap(), 500);
    }
    assert_eq!(outbox.killmail(7).unwrap(), None);
    assert_eq!(outbox.waiting(), 0);
}

#[test]
fn a_refused_batch_waits_as_before() {
    let (_dir, outbox) = outbox();
    outbox
        .arrive(&[arrival(7, 0, &[&HERE]), arrival(8, 0, &[&HERE])], None, 10)
        .unwrap();
    let before = outbox.head(&HERE, 10).unwrap();
    let batch = outbox.seal(&HERE, &[], Some(&batch_of(&before)), 11).unwrap().unwrap();
    outbox.unseal(&HERE, &batch, 12).unwrap();
    let after = outbox.head(&HERE, 10).unwrap();
    assert_eq!((after.rows, after.batch), (before.rows, None));
}

#[test]
fn a_revision_is_posted_only_where_no_post_is() {
    let (_dir, outbox) = outbox();
    let mut old = arrival(7, 0, &[&HERE, &THERE]);
    old.matches[0].in_time = false;
    outbox.arrive(&[old], None, 10).unwrap();
    assert_eq!(outbox.post(&HERE, 7).unwrap().unwrap().state(), PostState::TooOld);
    // HERE has none yet; THERE still waits and will show what is newest.
    let arrived = outbox.arrive(&[arrival(7, 1, &[&HERE, &THERE])], None, 11).unwrap();
    assert_eq!(arrived.queued, 1);
    assert_eq!(outbox.killmail(7).unwrap().unwrap().revision, 1);
    let head = outbox.head(&THERE, 10).unwrap();
    assert_eq!(head.waiting, 1);
    let end = |sequence| Ended {
        sequence,
        state: PostState::Folded,
    };
    outbox.seal(&THERE, &[end(head.rows[0].0)], None, 12).unwrap();
    let arrived = outbox.arrive(&[arrival(7, 2, &[&THERE])], None, 13).unwrap();
    assert_eq!(arrived.queued, 0, "it was counted in a post");
    assert_eq!(outbox.post(&THERE, 7).unwrap().unwrap().revision, 2);
}

#[tokio::test]
async fn old_ends_go_and_what_waits_stays() {
    let (_dir, outbox) = outbox();
    outbox
        .arrive(&[arrival(7, 0, &[&HERE]), arrival(8, 0, &[&THERE])], None, 10)
        .unwrap();
    outbox.abandon(&THERE, "gone", 20).unwrap();
    let later = 21 + u64::try_from(KEPT.as_millis()).unwrap();
    assert_eq!(outbox.expire(later - 10).await.unwrap(), 2, "two of handled");
    assert_eq!(outbox.post(&THERE, 8).unwrap().unwrap().state(), PostState::Gone);
    assert_eq!(outbox.expire(later).await.unwrap(), 1);
    assert_eq!(outbox.post(&HERE, 7).unwrap().unwrap().state(), PostState::Queued);
}

#[tokio::test]
async fn the_backlog_is_skipped_once() {
    let (_dir, outbox) = outbox();
    let fill = |id| {
        outbox
            .arrive(&[arrival(id, 0, &[&HERE])], Some(&position("a")), 10)
            .unwrap()
    };
    fill(7);
    assert!(outbox.skip_backlog(true).await.unwrap());
    assert_eq!((outbox.waiting(), outbox.position().unwrap()), (0, None));
    assert!(outbox.seen(7, 0).unwrap(), "what was seen stays seen");
    fill(8);
    assert!(
        !outbox.skip_backlog(true).await.unwrap(),
        "a restart with the setting left on"
    );
    assert_eq!(outbox.waiting(), 1);
    assert!(!outbox.skip_backlog(false).await.unwrap());
    assert!(outbox.skip_backlog(true).await.unwrap());
}

#[tokio::test]
async fn touched_destinations_are_handed_over_once() {
    let (_dir, outbox) = outbox();
    outbox.arrive(&[arrival(7, 0, &[&HERE, &THERE])], None, 10).unwrap();
    assert_eq!(outbox.touched().await, [HERE, THERE].into());
    outbox.touch([HERE]);
    outbox.touch([HERE]);
    assert_eq!(outbox.touched().await, [HERE].into());
}

#[tokio::test]
async fn what_is_erased_leaves_nothing_of_the_destination_and_all_of_others() {
    let (_dir, outbox) = outbox();
    outbox
        .arrive(&[arrival(7, 0, &[&HERE, &THERE]), arrival(8, 0, &[&HERE])], None, 10)
        .unwrap();
    let head = outbox.head(&HERE, 1).unwrap();
    let batch = outbox.seal(&HERE, &[], Some(&batch_of(&head)), 11).unwrap().unwrap();
    let end = BatchEnd {
        state: PostState::Sent,
        message_id: 99,
        detail: "",
        cooldown_until: 500,
        guild: None,
        embeds: &[],
    };
    outbox.finish(&HERE, &batch, end, 12).unwrap();
    outbox.forget(&HERE, 13).unwrap();
    assert!(outbox.post(&HERE, 7).unwrap().is_none() && outbox.post(&HERE, 8).unwrap().is_none());
    assert_eq!(outbox.cooldown(&HERE, "here").unwrap(), 0);
    assert_eq!(outbox.head(&HERE, 10).unwrap().waiting, 0);
    assert_eq!(outbox.head(&THERE, 10).unwrap().waiting, 1);
    assert!(outbox.killmail(7).unwrap().is_some() && outbox.killmail(8).unwrap().is_none());
}

#[tokio::test]
async fn the_stream_begins_with_its_first_position_and_anew_after_a_skipped_backlog() {
    let (_dir, outbox) = outbox();
    let at = |seconds| Position {
        cursor: "c".into(),
        time: Timestamp {
            seconds,
            nanos: 250_000_000,
        },
    };
    assert_eq!(outbox.began().unwrap(), None);
    outbox.arrive(&[arrival(7, 0, &[])], None, 10).unwrap();
    assert_eq!(outbox.began().unwrap(), None);
    outbox.arrive(&[], Some(&at(5)), 10).unwrap();
    outbox.arrive(&[], Some(&at(6)), 10).unwrap();
    assert_eq!(outbox.began().unwrap(), Some(5_250));
    assert!(outbox.skip_backlog(true).await.unwrap());
    outbox.arrive(&[], Some(&at(9)), 10).unwrap();
    assert_eq!(outbox.began().unwrap(), Some(9_250));
}

/// A message on its way is not called back; of its end nothing is written about who is forgotten.
#[tokio::test]
async fn what_ends_after_it_was_forgotten_leaves_nothing() {
    let (_dir, outbox) = outbox();
    let end = || BatchEnd {
        state: PostState::Sent,
        message_id: 99,
        detail: "",
        cooldown_until: 500,
        guild: Some(3),
        embeds: &[],
    };
    let seal = |killmail_id| {
        outbox.arrive(&[arrival(killmail_id, 0, &[&HERE])], None, 10).unwrap();
        let head = outbox.head(&HERE, 1).unwrap();
        outbox.seal(&HERE, &[], Some(&batch_of(&head)), 11).unwrap().unwrap()
    };
    outbox.finish(&HERE, &seal(7), end(), 12).unwrap();
    assert_eq!(outbox.posts_today(3, 12).unwrap().posted, 1);
    let on_its_way = seal(8);
    outbox.forget(&HERE, 13).unwrap();
    outbox.forget_guild(3).unwrap();
    // Somebody subscribed anew, and something of that is on its way too.
    let other = seal(9);
    outbox.finish(&HERE, &on_its_way, end(), 14).unwrap();
    assert!(outbox.post(&HERE, 8).unwrap().is_none());
    assert_eq!(outbox.posts_today(3, 14).unwrap().posted, 0);
    assert_eq!(outbox.cooldown(&HERE, "here").unwrap(), 0);
    outbox.finish(&HERE, &other, end(), 15).unwrap();
    assert_eq!(outbox.post(&HERE, 9).unwrap().unwrap().state(), PostState::Sent);
}
