use std::{sync::Arc, time::Duration};

use killfeed::{Timestamp, client::Position, v1::Killmail};

use super::*;
use crate::{
    database::{self, BatchEntryRow, BatchKind, KillOutcome, PostState},
    matching::Match,
    outbox::{BatchResult, IncomingKillmail, Outbox},
    sink::Destination,
    subscriptions::{SubscriptionId, Subscriptions, copies, file},
};

/// Guilds of shards 0 and 1 of 2.
const EVEN: u64 = 2 << 22;
const ODD: u64 = 3 << 22;
const OF_EVEN: Destination = Destination::Channel(20);
const OF_ODD: Destination = Destination::Channel(30);

struct Folder {
    outbox: Outbox,
    subscriptions: Subscriptions,
}

async fn folder(dir: &Path, rows: &[(&str, u64, u64)]) -> Folder {
    let folder = opened(dir);
    let text: String = rows
        .iter()
        .map(|(name, guild, channel)| {
            format!("[[subscription]]\nname = \"{name}\"\nguild = {guild}\nchannel = {channel}\nfilter = \"\"\n")
        })
        .collect();
    folder
        .subscriptions
        .take_file(file::parse(&text, "").unwrap(), 1)
        .await
        .unwrap();
    folder
}

/// Repeats `attempt` while the folder is locked: sled's own threads release the lock shortly after the last handle is dropped.
fn when_free<T>(mut attempt: impl FnMut() -> Result<T, TransferError>) -> Result<T, TransferError> {
    for _ in 0..6_000 {
        match attempt() {
            Err(TransferError::Storage(StorageError::Locked { .. })) => std::thread::sleep(Duration::from_millis(10)),
            outcome => return outcome,
        }
    }
    attempt()
}

fn opened(dir: &Path) -> Folder {
    let opened = when_free(|| Ok(database::open(dir, Clock::system().now().wall)?));
    let database = Arc::new(opened.unwrap().database);
    Folder {
        subscriptions: Subscriptions::open(database.clone(), Duration::from_secs(60)).unwrap(),
        outbox: Outbox::new(database),
    }
}

fn position(seconds: i64) -> Position {
    Position {
        cursor: format!("c{seconds}"),
        time: Timestamp { seconds, nanos: 0 },
    }
}

fn arrival(killmail_id: u64, to: &[(Destination, u64)]) -> IncomingKillmail {
    IncomingKillmail {
        killmail_id,
        revision: 0,
        bytes: Killmail {
            killmail_id,
            ..Default::default()
        }
        .encode_to_vec(),
        kill_time: 1,
        published: 2,
        system: 0,
        value: None,
        matches: to
            .iter()
            .map(|(destination, id)| Match {
                destination: destination.clone(),
                subscriptions: vec![(SubscriptionId(*id), KillOutcome::Neutral)],
                in_time: true,
            })
            .collect(),
        posted: Vec::new(),
    }
}

/// Seals what waits first.
fn sealed(outbox: &Outbox, destination: &Destination) -> BatchRow {
    let head = outbox.head(destination, 1).unwrap();
    let entry = BatchEntryRow {
        sequence: head.rows[0].0,
        killmail_id: head.rows[0].1.killmail_id,
        ..Default::default()
    };
    let batch = BatchRow {
        kind: BatchKind::Post.into(),
        entries: vec![entry],
        nonce: "nonce".into(),
        pings: vec!["here".into()],
        ..Default::default()
    };
    outbox.seal(destination, &[], Some(&batch), 5).unwrap().unwrap()
}

fn shards(text: &str) -> Shards {
    match crate::shards::ShardSetting::parse(text) {
        Some(crate::shards::ShardSetting::Given(shards)) => shards,
        _ => panic!("{text}"),
    }
}

fn waiting(outbox: &Outbox, destination: &Destination) -> Vec<u64> {
    let head = outbox.head(destination, 100).unwrap();
    head.rows.iter().map(|(_, row)| row.killmail_id).collect()
}

/// A folder with both guilds: killmail 1 posted in both, 2 sealed for both, 3 waits for both, 4 for nobody.
async fn source(dir: &Path) {
    let folder = folder(dir, &[("even", EVEN, 20), ("odd", ODD, 30)]).await;
    let both = [(OF_EVEN, 1), (OF_ODD, 2)];
    folder.outbox.enqueue(&[arrival(1, &both)], None, 3).unwrap();
    for destination in [OF_EVEN, OF_ODD] {
        let batch = sealed(&folder.outbox, &destination);
        let end = BatchResult {
            state: PostState::Sent,
            message_id: 77,
            detail: "",
            cooldown_until: 900,
            embeds: &[],
            guild: None,
        };
        folder.outbox.finish(&destination, &batch, end, 6).unwrap();
    }
    let arrivals = [arrival(2, &both), arrival(3, &both), arrival(4, &[])];
    folder.outbox.enqueue(&arrivals, Some(&position(100)), 7).unwrap();
    for destination in [OF_EVEN, OF_ODD] {
        sealed(&folder.outbox, &destination);
    }
    copies::write(dir, &folder.subscriptions, 0).unwrap();
    folder.outbox.flush().await.unwrap();
}

#[tokio::test]
async fn everything_of_the_guilds_moves_and_nothing_of_the_others() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    source(from.path()).await;
    // The importer has a guild of its own, and is further in the log.
    {
        let own = folder(to.path(), &[("mine", ODD + (2 << 22), 50)]).await;
        let arrivals = [arrival(3, &[(Destination::Channel(50), 1)])];
        own.outbox.enqueue(&arrivals, Some(&position(200)), 3).unwrap();
        own.outbox.flush().await.unwrap();
    }
    let mut file = Vec::new();
    let moved = when_free(|| export(from.path(), shards("1/2"), &mut file, || Ok(()))).unwrap();
    let expected = Summary {
        guilds: 1,
        subscriptions: 1,
        waiting: 2,
    };
    assert_eq!(moved, expected);
    {
        let left = opened(from.path());
        let names: Vec<_> = left
            .subscriptions
            .list()
            .iter()
            .map(|one| one.spec.name.clone())
            .collect();
        assert_eq!(names, ["even"]);
        assert_eq!(waiting(&left.outbox, &OF_EVEN), [2, 3]);
        assert_eq!(waiting(&left.outbox, &OF_ODD), [0; 0]);
        assert!(left.outbox.post(&OF_ODD, 1).unwrap().is_none());
        assert!(
            left.outbox.killmail(2).unwrap().is_some(),
            "it still waits for the other guild"
        );
        // A damaged database would be filled from here: what moved away may not come back.
        let copy = copies::newest(from.path()).unwrap();
        let again = tempfile::tempdir().unwrap();
        let empty = opened(again.path());
        assert_eq!(empty.subscriptions.restore(&copy).await.unwrap(), 1);
    }
    // A second export finds nothing, and says so instead of writing an empty file.
    let error = when_free(|| export(from.path(), shards("1/2"), &mut Vec::new(), || Ok(()))).unwrap_err();
    assert!(matches!(error, TransferError::Nothing(_)), "{error}");

    assert_eq!(
        when_free(|| import(to.path(), shards("1/2"), &mut &file[..])).unwrap(),
        expected
    );
    let there = opened(to.path());
    let id = |name: &str| {
        let list = there.subscriptions.list();
        list.iter().find(|one| one.spec.name == name).unwrap().id
    };
    assert_ne!(id("odd"), id("mine"));
    assert_eq!(waiting(&there.outbox, &OF_ODD), [2, 3], "in their order");
    assert_eq!(waiting(&there.outbox, &Destination::Channel(50)), [3]);
    let head = there.outbox.head(&OF_ODD, 10).unwrap();
    let batch = head.batch.unwrap();
    assert_eq!(
        (batch.nonce.as_str(), batch.entries[0].sequence),
        ("nonce", head.rows[0].0)
    );
    assert_eq!(head.rows[0].1.batch, batch.id);
    assert_eq!(head.rows[0].1.matches[0].subscription, id("odd").0);
    let post = there.outbox.post(&OF_ODD, 1).unwrap().unwrap();
    assert_eq!((post.state(), post.message_id), (PostState::Sent, 77));
    assert_eq!(there.outbox.cooldown(&OF_ODD, "here").unwrap(), 900);
    let counters = there.outbox.counters(id("odd")).unwrap();
    assert_eq!((counters.matched, counters.posted, counters.last_post), (3, 1, 6));
    assert_eq!(there.outbox.counters(id("mine")).unwrap().matched, 1, "its own");
    assert_eq!(there.outbox.position().unwrap(), Some(position(200)), "its own");
    let pieces = there.outbox.catch_ups().unwrap();
    assert_eq!((pieces.len(), &pieces[0].1.guilds), (1, &vec![ODD]));
    assert_eq!(pieces[0].1.from.as_ref().unwrap().cursor, "c100");
    // What the piece brings: 3 again, which waits already; 5, which everyone else has handled. Each once.
    let late = [
        arrival(3, &[(OF_ODD, id("odd").0)]),
        arrival(5, &[(OF_ODD, id("odd").0)]),
    ];
    there.outbox.arrive_late(&late, &pieces[0].0, None, 9).unwrap();
    there.outbox.enqueue(&late, None, 10).unwrap();
    assert_eq!(waiting(&there.outbox, &OF_ODD), [2, 3, 5]);
    assert!(there.outbox.catch_ups().unwrap().is_empty());
    // Killmail 3 waits twice: its bytes stay until both are done.
    there.outbox.drop_queue(&OF_ODD, "test", 11).unwrap();
    assert!(there.outbox.killmail(3).unwrap().is_some());
    drop(there);
    // The same file again.
    let error = when_free(|| import(to.path(), shards("1/2"), &mut &file[..]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"odd\" of guild"), "{error}");
}

#[tokio::test]
async fn a_new_folder_goes_on_where_the_old_one_was() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    source(from.path()).await;
    let mut file = Vec::new();
    when_free(|| export(from.path(), shards("0-1/2"), &mut file, || Ok(()))).unwrap();
    // Half of it only: the other half waits in the file.
    when_free(|| import(to.path(), shards("0/2"), &mut &file[..])).unwrap();
    let there = opened(to.path());
    assert_eq!(there.subscriptions.list().len(), 1);
    assert_eq!(there.outbox.position().unwrap(), Some(position(100)));
    assert!(there.outbox.seen(4, 0).unwrap() && there.outbox.catch_ups().unwrap().is_empty());
    drop(there);
    // The importer is where the exporter was: nothing is to be read again.
    when_free(|| import(to.path(), shards("1/2"), &mut &file[..])).unwrap();
    assert!(opened(to.path()).outbox.catch_ups().unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_moved_is_said_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = export(&dir.path().join("x"), shards("0/1"), &mut Vec::new(), || Ok(()));
    assert!(matches!(nowhere, Err(TransferError::NoFolder(_))));
    assert!(!dir.path().join("x").exists(), "a mistyped folder is not made");
    source(dir.path()).await;
    let full = || Err(io::Error::other("disk full"));
    let error = when_free(|| export(dir.path(), shards("1/2"), &mut Vec::new(), full)).unwrap_err();
    assert!(error.to_string().contains("disk full"), "{error}");
    assert_eq!(waiting(&opened(dir.path()).outbox, &OF_ODD), [2, 3]);
    for (bytes, expected) in [
        (&b"hello"[..], "its header is missing"),
        (&b"killfeed-moved-1\xff"[..], "was not made by"),
    ] {
        let error = when_free(|| import(dir.path(), shards("0/1"), &mut &bytes[..]))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    let running = opened(dir.path());
    let error = export(dir.path(), shards("1/2"), &mut Vec::new(), || Ok(()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("in use by another"), "{error}");
    drop(running);
}
