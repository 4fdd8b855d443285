//! Records that an operator deleted: all readers skip them, and no reader waits for them.

use async_nats::jetstream;
use killfeed::{
    cursor::{Cursor, Offset},
    id::KillmailId,
};
use killfeed_ingestor::log::{CursorStatus, JetStreamLog, JetStreamOptions, LogRead as _};
use killfeed_support::{
    nats::Nats,
    proxy::{Cut, Proxy},
};
use tokio::time::timeout;

use super::engine::{LogInstance, T0, batch, killmail, lead, open, options, reaches, records, try_open};
use crate::harness::TEST_TIMEOUT;

async fn is_as_expected(end: &LogInstance, expected: &[(u64, u32)]) {
    assert_eq!(records(end, 0).await, expected);
    let head = end.log.status().head;
    let at = |offset| {
        end.log.locate(Cursor {
            log: end.log.id(),
            offset,
        })
    };
    assert_eq!(at(head.offset), CursorStatus::After(head.offset));
    assert_eq!(end.log.newest(KillmailId(3)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_skip_deleted_records_also_at_the_end() {
    let Some(nats) = Nats::single().await else { return };
    let (before, bare) = (open(&nats).await, try_open(&nats, 0).await.unwrap());
    let leadership = lead(&before).await;
    let log = leadership.writer();
    let head = log
        .append(batch((1..=5).map(|id| killmail(id, 0, T0)), "one"))
        .await
        .unwrap();
    reaches(&bare, head).await;
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = context.get_stream("killfeed").await.unwrap();
    for deleted in [3, 5] {
        assert!(stream.delete_message(deleted).await.unwrap());
    }
    is_as_expected(&bare, &[(1, 0), (2, 0), (4, 0)]).await;
    for window_bytes in [0, 1 << 20] {
        let after = try_open(&nats, window_bytes).await.unwrap();
        assert_eq!((after.log.status().head, after.log.status().killmails), (head, 3));
        is_as_expected(&after, &[(1, 0), (2, 0), (4, 0)]).await;
    }
    // The next record follows the end of the log, and so does the next leader.
    let head = log.append(batch([killmail(6, 0, T0)], "two")).await.unwrap();
    assert_eq!(head.offset, Offset(6));
    leadership.release().await;
    let after = open(&nats).await;
    let leadership = lead(&after).await;
    let head = leadership
        .writer()
        .append(batch([killmail(7, 0, T0)], "three"))
        .await
        .unwrap();
    for end in [&bare, &after] {
        reaches(end, head).await;
        is_as_expected(end, &[(1, 0), (2, 0), (4, 0), (6, 0), (7, 0)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn returning_reader_skips_records_deleted_meanwhile() {
    let Some(nats) = Nats::single().await else { return };
    let proxy = Proxy::start(nats.url().strip_prefix("nats://").unwrap()).await;
    let data = tempfile::tempdir().unwrap();
    let slow = JetStreamOptions {
        servers: vec![proxy.url().replace("http", "nats")],
        ..options(&nats, &data, 1 << 20)
    };
    let (writer, slow) = (open(&nats).await, JetStreamLog::open(slow).await.unwrap());
    let leadership = lead(&writer).await;
    let log = leadership.writer();
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = context.get_stream("killfeed").await.unwrap();
    for round in 0..3_u64 {
        proxy.cut_next(Cut::AfterBytes(0));
        proxy.cut_all();
        timeout(TEST_TIMEOUT, slow.trouble().wait_for(Option::is_some))
            .await
            .unwrap()
            .unwrap();
        let ids = round * 10 + 1..=round * 10 + 9;
        let head = log
            .append(batch(ids.map(|id| killmail(id, 0, T0)), "next"))
            .await
            .unwrap();
        for deleted in [2, 5, 6] {
            assert!(stream.delete_message(round * 9 + deleted).await.unwrap());
        }
        proxy.cut_next(Cut::Never);
        let mut heads = slow.head();
        let reached = heads.wait_for(|now| now.offset == head.offset);
        timeout(TEST_TIMEOUT, reached)
            .await
            .expect("the instance reaches the head in time")
            .unwrap();
    }
    timeout(TEST_TIMEOUT, slow.trouble().wait_for(Option::is_none))
        .await
        .unwrap()
        .unwrap();
    let slow = slow.read(Offset(0), super::engine::ALL).await.unwrap();
    let there: Vec<u64> = (1..=27)
        .filter(|offset| ![2, 5, 6].contains(&((offset - 1) % 9 + 1)))
        .collect();
    assert_eq!(slow.iter().map(|record| record.offset.0).collect::<Vec<_>>(), there);
}
