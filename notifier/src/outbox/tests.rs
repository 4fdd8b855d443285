use std::time::SystemTime;

use killfeed::{Timestamp, client::Position, v1::Killmail};
use prost::Message as _;

use super::*;
use crate::{
    database::{self, BatchEntryRow, BatchKind, KillOutcome},
    subscriptions::SubscriptionId,
};

const HERE: Destination = Destination::Channel(2);
const THERE: Destination = Destination::Webhook(9);

fn outbox() -> (tempfile::TempDir, Outbox) {
    let dir = tempfile::tempdir().unwrap();
    let database = database::open(dir.path(), SystemTime::now()).unwrap().database;
    (dir, Outbox::new(Arc::new(database)))
}

fn arrival(killmail_id: u64, revision: u32, destinations: &[&Destination]) -> IncomingKillmail {
    let matched = |destination: &&Destination| Match {
        destination: (*destination).clone(),
        subscriptions: vec![(SubscriptionId(1), KillOutcome::Kill)],
        in_time: true,
    };
    let killmail = Killmail {
        killmail_id,
        revision,
        ..Default::default()
    };
    IncomingKillmail {
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

fn batch_of(head: &QueueHead) -> BatchRow {
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
    let arrived = outbox.enqueue(&arrivals, Some(&position("a")), 10).unwrap();
    assert_eq!(arrived.queued, 2);
    assert_eq!(outbox.position().unwrap(), Some(position("a")));
    assert!(
        outbox.seen(7, 0).unwrap() && outbox.seen(8, 0).unwrap(),
        "also what nobody wanted"
    );
    assert!(!outbox.seen(7, 1).unwrap() && !outbox.seen(9, 0).unwrap());
    assert_eq!(outbox.destinations().unwrap(), [HERE, THERE].into());
    // The same again, as after a lost acknowledgement: nothing is queued twice.
    let arrived = outbox.enqueue(&arrivals, Some(&position("b")), 11).unwrap();
    assert_eq!((arrived.queued, arrived.repeated), (0, 2));
    assert_eq!(outbox.waiting(), 2);
    outbox.enqueue(&[arrival(9, 0, &[&THERE])], None, 25).unwrap();
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
    outbox.enqueue(&[arrival(7, 0, &[&HERE, &THERE])], None, 10).unwrap();
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
        let end = BatchResult {
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
        .enqueue(&[arrival(7, 0, &[&HERE]), arrival(8, 0, &[&HERE])], None, 10)
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
    outbox.enqueue(&[old], None, 10).unwrap();
    assert_eq!(outbox.post(&HERE, 7).unwrap().unwrap().state(), PostState::TooOld);
    // HERE has none yet; THERE still waits and will show what is newest.
    let arrived = outbox.enqueue(&[arrival(7, 1, &[&HERE, &THERE])], None, 11).unwrap();
    assert_eq!(arrived.queued, 1);
    assert_eq!(outbox.killmail(7).unwrap().unwrap().revision, 1);
    let head = outbox.head(&THERE, 10).unwrap();
    assert_eq!(head.waiting, 1);
    let end = |sequence| SkippedRow {
        sequence,
        state: PostState::Folded,
    };
    outbox.seal(&THERE, &[end(head.rows[0].0)], None, 12).unwrap();
    let arrived = outbox.enqueue(&[arrival(7, 2, &[&THERE])], None, 13).unwrap();
    assert_eq!(arrived.queued, 0, "it was counted in a post");
    assert_eq!(outbox.post(&THERE, 7).unwrap().unwrap().revision, 2);
}

#[tokio::test]
async fn old_ends_go_and_what_waits_stays() {
    let (_dir, outbox) = outbox();
    outbox
        .enqueue(&[arrival(7, 0, &[&HERE]), arrival(8, 0, &[&THERE])], None, 10)
        .unwrap();
    outbox.drop_queue(&THERE, "gone", 20).unwrap();
    let later = 21 + u64::try_from(RETENTION.as_millis()).unwrap();
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
            .enqueue(&[arrival(id, 0, &[&HERE])], Some(&position("a")), 10)
            .unwrap()
    };
    fill(7);
    for kind in [database::meta::CATCH_UP, database::meta::BATTLE] {
        let key = [kind.as_bytes(), &[0; 13]].concat();
        outbox.database.meta.insert(key, vec![]).unwrap();
    }
    assert!(outbox.skip_backlog(true).await.unwrap());
    assert_eq!((outbox.waiting(), outbox.position().unwrap()), (0, None));
    assert!(
        outbox.catch_ups().unwrap().is_empty(),
        "moved guilds begin at the head, too"
    );
    assert_eq!(outbox.end_quiet_battles(u64::MAX).unwrap(), 0);
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
    outbox.enqueue(&[arrival(7, 0, &[&HERE, &THERE])], None, 10).unwrap();
    assert_eq!(outbox.touched().await, [HERE, THERE].into());
    outbox.touch([HERE]);
    outbox.touch([HERE]);
    assert_eq!(outbox.touched().await, [HERE].into());
}

#[tokio::test]
async fn what_is_erased_leaves_nothing_of_the_destination_and_all_of_others() {
    let (_dir, outbox) = outbox();
    outbox
        .enqueue(&[arrival(7, 0, &[&HERE, &THERE]), arrival(8, 0, &[&HERE])], None, 10)
        .unwrap();
    let head = outbox.head(&HERE, 1).unwrap();
    let batch = outbox.seal(&HERE, &[], Some(&batch_of(&head)), 11).unwrap().unwrap();
    let end = BatchResult {
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
    outbox.enqueue(&[arrival(7, 0, &[])], None, 10).unwrap();
    assert_eq!(outbox.began().unwrap(), None);
    outbox.enqueue(&[], Some(&at(5)), 10).unwrap();
    outbox.enqueue(&[], Some(&at(6)), 10).unwrap();
    assert_eq!(outbox.began().unwrap(), Some(5_250));
    assert!(outbox.skip_backlog(true).await.unwrap());
    outbox.enqueue(&[], Some(&at(9)), 10).unwrap();
    assert_eq!(outbox.began().unwrap(), Some(9_250));
}

/// A message on its way is not called back; of its end nothing is written about who is forgotten.
#[tokio::test]
async fn what_ends_after_it_was_forgotten_leaves_nothing() {
    let (_dir, outbox) = outbox();
    let end = || BatchResult {
        state: PostState::Sent,
        message_id: 99,
        detail: "",
        cooldown_until: 500,
        guild: Some(3),
        embeds: &[],
    };
    let seal = |killmail_id| {
        outbox.enqueue(&[arrival(killmail_id, 0, &[&HERE])], None, 10).unwrap();
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

/// Between what a worker reads and what it writes, somebody else may forget the guild or withdraw what was chosen.
#[tokio::test]
async fn nothing_is_written_of_what_was_forgotten_or_withdrawn_meanwhile() {
    let (_dir, outbox) = outbox();
    let arrive = |killmail_id| outbox.enqueue(&[arrival(killmail_id, 0, &[&HERE])], None, 10).unwrap();
    let empty = || outbox.destinations().unwrap().is_empty() && outbox.waiting() == 0;
    let chosen = || batch_of(&outbox.head(&HERE, 10).unwrap());
    // Chosen, then forgotten: it is not sealed, so not sent.
    arrive(7);
    let batch = BatchRow {
        tells_limit: 3,
        ..chosen()
    };
    outbox.forget(&HERE, 11).unwrap();
    assert_eq!(outbox.seal(&HERE, &[], Some(&batch), 12).unwrap(), None);
    assert!(empty() && !outbox.posts_today(3, 12).unwrap().limit_announced);
    // Chosen, then one of two withdrawn: what is left is chosen anew.
    arrive(8);
    outbox
        .enqueue(
            &[IncomingKillmail {
                matches: vec![Match {
                    destination: HERE,
                    subscriptions: vec![(SubscriptionId(2), KillOutcome::Kill)],
                    in_time: true,
                }],
                ..arrival(9, 0, &[])
            }],
            None,
            12,
        )
        .unwrap();
    let batch = chosen();
    assert_eq!(outbox.withdraw(&HERE, &BTreeSet::from([1]), 13).unwrap(), 1);
    assert_eq!(outbox.seal(&HERE, &[], Some(&batch), 14).unwrap(), None);
    // Sealed, then forgotten: no try of it is counted, and nothing is opened again.
    let batch = BatchRow {
        tells_limit: 3,
        ..chosen()
    };
    let batch = outbox.seal(&HERE, &[], Some(&batch), 15).unwrap().unwrap();
    outbox.forget(&HERE, 16).unwrap();
    outbox.forget_guild(3).unwrap();
    assert_eq!(outbox.tried(&HERE, &batch, 2, 17).unwrap(), None);
    outbox.unseal(&HERE, &batch, 18).unwrap();
    assert!(empty());
    assert!(
        outbox
            .database
            .meta
            .get(super::transaction::posts_key(3))
            .unwrap()
            .is_none()
    );
    assert!(outbox.database.killmails.is_empty());
}

/// The digest of a battle was edited while the battle was declared over: its bytes were let go, and are others' by now.
#[test]
fn a_battle_that_ended_meanwhile_is_not_begun_again() {
    let (_dir, outbox) = outbox();
    let quiet = 20 + u64::try_from(IDLE_TIMEOUT.as_millis()).unwrap();
    let sent = || BatchResult {
        state: PostState::Sent,
        message_id: 99,
        detail: "",
        cooldown_until: 0,
        guild: Some(3),
        embeds: &[],
    };
    let begin = |id| {
        outbox.enqueue(&[arrival(id, 0, &[&HERE])], None, 10).unwrap();
        let batch = BatchRow {
            battle: 30_002_086,
            ..batch_of(&outbox.head(&HERE, 1).unwrap())
        };
        let batch = outbox.seal(&HERE, &[], Some(&batch), 11).unwrap().unwrap();
        outbox.finish(&HERE, &batch, sent(), 20).unwrap();
        outbox.battle(&HERE, 30_002_086, 21).unwrap().unwrap()
    };
    let join = |battle: &crate::database::BattleRow, id| {
        let head = outbox.head(&HERE, 1).unwrap();
        let sequence = head.rows.first().map_or(u64::MAX, |(sequence, _)| *sequence);
        let row = crate::database::BattleKillmailRow {
            killmail_id: id,
            ..Default::default()
        };
        let joined = BattleUpdate {
            killmails: &[(sequence, row)],
            revisions: &[0],
            guild: Some(3),
        };
        outbox.join_battle(&HERE, 30_002_086, battle, &joined, quiet).unwrap();
    };
    let battle = begin(7);
    outbox.enqueue(&[arrival(8, 0, &[&HERE, &THERE])], None, 22).unwrap();
    assert_eq!(outbox.end_quiet_battles(quiet).unwrap(), 1);
    join(&battle, 8);
    assert_eq!(
        outbox.post(&HERE, 8).unwrap().unwrap().state(),
        PostState::Sent,
        "it is shown"
    );
    assert!(outbox.battle(&HERE, 30_002_086, quiet).unwrap().is_none());
    assert!(outbox.killmail(8).unwrap().is_some(), "it waits for the other channel");
    assert!(outbox.killmail(7).unwrap().is_none());
    assert_eq!(outbox.posts_today(3, quiet).unwrap().posted, 2);
    // And one that was forgotten leaves nothing.
    let battle = begin(9);
    outbox.enqueue(&[arrival(10, 0, &[&HERE])], None, 22).unwrap();
    outbox.forget(&HERE, 23).unwrap();
    outbox.forget_guild(3).unwrap();
    join(&battle, 10);
    assert!(outbox.post(&HERE, 10).unwrap().is_none());
    assert!(outbox.battle(&HERE, 30_002_086, quiet).unwrap().is_none());
    assert_eq!(outbox.posts_today(3, quiet).unwrap().posted, 0);
}

/// A label comes in an update, while the killmail waits for another subscription of the channel, which is then removed.
#[test]
fn who_wants_a_later_revision_wants_what_waits() {
    let (_dir, outbox) = outbox();
    let of = |revision, subscriptions: &[u64]| {
        let mut one = arrival(7, revision, &[&HERE]);
        let wanted = subscriptions.iter().map(|id| (SubscriptionId(*id), KillOutcome::Kill));
        one.matches[0].subscriptions = wanted.collect();
        one
    };
    outbox.enqueue(&[of(0, &[1])], None, 10).unwrap();
    outbox.enqueue(&[of(1, &[1, 2])], None, 11).unwrap();
    let ids = |matches: &[crate::database::MatchRow]| matches.iter().map(|one| one.subscription).collect::<Vec<_>>();
    let head = outbox.head(&HERE, 9).unwrap();
    assert_eq!((head.waiting, ids(&head.rows[0].1.matches)), (1, vec![1, 2]));
    assert_eq!(outbox.counters(SubscriptionId(1)).unwrap().matched, 1, "once");
    assert_eq!(outbox.counters(SubscriptionId(2)).unwrap().matched, 1);
    assert_eq!(outbox.withdraw(&HERE, &BTreeSet::from([1]), 12).unwrap(), 0);
    assert_eq!(ids(&outbox.head(&HERE, 9).unwrap().rows[0].1.matches), [2]);
    assert_eq!(ids(&outbox.post(&HERE, 7).unwrap().unwrap().matches), [2]);
    // What a sealed message carries does not change.
    let batch = batch_of(&outbox.head(&HERE, 1).unwrap());
    outbox.seal(&HERE, &[], Some(&batch), 13).unwrap().unwrap();
    outbox.enqueue(&[of(2, &[2, 3])], None, 14).unwrap();
    assert_eq!(ids(&outbox.head(&HERE, 9).unwrap().rows[0].1.matches), [2]);
}
