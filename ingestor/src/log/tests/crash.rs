//! kill -9 at any moment: whatever was acknowledged is there, and everything of one append or nothing.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use super::*;

/// Names the folder in which the child appends.
const CHILD_DIR: &str = "KILLFEED_LOG_TEST_CHILD_DIR";

/// Batch n: three killmails, one of them known before, a gap; the feed's state says n.
fn nth(n: u64) -> AppendBatch {
    let ms = T0 + n as i64;
    let filler = Bytes::from(vec![n as u8; (n as usize * 977) % 20_000]);
    let mut events: Vec<_> = (0..3).map(|k| killmail(n * 10 + k, 0, ms)).collect();
    if let NewBody::Killmail { bytes, .. } = &mut events[1].body {
        *bytes = filler;
    }
    if n > 1 {
        events.push(killmail((n - 1) * 10, 1, ms));
    }
    events.push(gap(ms));
    AppendBatch {
        feed_state: Some(n.to_string().into()),
        ..batch(events)
    }
}

async fn appended(log: &EmbeddedLog) -> u64 {
    let state = log.feed_state().await.unwrap();
    state.map_or(0, |state| std::str::from_utf8(&state).unwrap().parse().unwrap())
}

/// Not a test of its own: what the killed processes run.
#[tokio::test]
async fn child_appends_until_it_is_killed() {
    let Some(dir) = env::var_os(CHILD_DIR) else {
        return;
    };
    let options = Options {
        // Removal competes with the appends: the first record is soon too old by this clock.
        retention: Duration::from_millis(40),
        clock: Clock::system(),
        ..options()
    };
    let log = EmbeddedLog::open(Path::new(&dir), options).unwrap();
    let mut n = appended(&log).await;
    loop {
        n += 1;
        let head = log.append(nth(n)).await.unwrap();
        // One write, so that a kill cannot cut it in a way that reads as another number.
        std::io::stdout()
            .write_all(format!("ack {n} {}\n", head.offset).as_bytes())
            .unwrap();
        std::io::stdout().flush().unwrap();
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines_before = 0;
    for round in 0..10 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "log::tests::crash::child_appends_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        // At some moment after so many acknowledgements, a moment that no step of the append marks.
        let wanted = fastrand::u64(1..25);
        let mut seen = 0;
        let parse = |line: &str| {
            line.strip_prefix("ack ")
                .map(|rest| rest.split_once(' ').unwrap().0.parse::<u64>().unwrap())
        };
        while seen < wanted {
            let line = lines.next().expect("the child ended by itself").unwrap();
            if let Some(n) = parse(&line) {
                acknowledged = n;
                seen += 1;
            }
        }
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..4000))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            acknowledged = parse(&line).unwrap_or(acknowledged);
        }

        let log = EmbeddedLog::open(dir.path(), options()).unwrap();
        let n = appended(&log).await;
        assert!(
            n >= acknowledged,
            "round {round}: {acknowledged} acknowledged, {n} there"
        );
        assert!(
            n <= acknowledged + 1,
            "round {round}: {n} there, only {acknowledged} acknowledged"
        );
        assert!(n > lines_before);
        lines_before = n;

        // What is there is exactly the batches up to n, from the oldest record kept on.
        let expected = (1..=n).flat_map(|n| nth(n).events);
        let status = log.status();
        let read = log.read(Offset(0), ALL).await.unwrap();
        let expected: Vec<_> = expected.skip(status.trimmed.0 as usize).collect();
        assert_eq!(read.len(), expected.len());
        for (record, event) in read.iter().zip(&expected) {
            let (NewBody::Killmail { bytes, .. } | NewBody::Gap(bytes)) = &event.body;
            assert_eq!((&record.bytes, record.ingested_ms), (bytes, event.ingested_ms));
        }
        assert_eq!(status.earliest_ms, read.first().map(|record| record.ingested_ms));
        let distinct: std::collections::HashSet<_> = read
            .iter()
            .filter_map(|record| match record.kind {
                RecordKind::Killmail { id, .. } => Some(id),
                RecordKind::Gap => None,
            })
            .collect();
        assert_eq!(status.killmails, distinct.len() as u64);
        // Marks outlive their records.
        let ids: Vec<_> = (1..=n)
            .flat_map(|n| (0..3).map(move |k| KillmailId(n * 10 + k)))
            .collect();
        for (id, mark) in ids.iter().zip(log.dedup_entries(&ids).await.unwrap()) {
            let revision = u32::from(id.0 % 10 == 0 && id.0 / 10 < n);
            let hash = Some(hash_of(id.0, revision));
            assert_eq!(mark, Some(DedupEntry { revision, hash }), "{id}");
        }
    }
}
