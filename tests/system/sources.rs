//! Killmails from files, and the backfill of the log from zKillboard's history.

use std::{fs, io::Write as _, path::Path, time::Duration};

use bzip2::{Compression, write::BzEncoder};
use killfeed::v1::Killmail;
use killfeed_support::{
    FakeUpstream, corpus,
    fake_upstream::{Fault, Host},
    process::{Binary, Service, eventually},
};
use serde_json::Value;

use crate::harness::{TEST_TIMEOUT, TestIngestor, from_the_beginning, killmails};

fn documents(n: usize) -> Vec<Value> {
    corpus::some(n)
}

fn id(document: &Value) -> u64 {
    document["killmail_id"].as_u64().unwrap()
}

/// Returns killmail ids in the order of their time.
fn as_it_happened(documents: &[Value]) -> Vec<u64> {
    let mut order: Vec<(String, u64)> = documents
        .iter()
        .map(|document| {
            (
                document["esi"]["killmail_time"].as_str().unwrap().to_owned(),
                id(document),
            )
        })
        .collect();
    order.sort();
    order.into_iter().map(|(_, id)| id).collect()
}

async fn logged(ingestor: &TestIngestor, n: usize) -> Vec<Killmail> {
    let mut events = from_the_beginning(&ingestor.client(), "");
    killmails(&mut events, n).await
}

fn ids_of(killmails: &[Killmail]) -> Vec<u64> {
    killmails.iter().map(|killmail| killmail.killmail_id).collect()
}

async fn replaying(upstream: &FakeUpstream, path: &Path) -> TestIngestor {
    let source = format!("replay:{}", path.display());
    TestIngestor::start(upstream, &[("INGESTOR_SOURCE", &source)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_logs_the_real_killmails_from_their_file() {
    let Some(path) = corpus::shared("killmails/r2z2-open.jsonl.gz") else {
        eprintln!("note: no ../shared/data/killmails: not tested");
        return;
    };
    let upstream = FakeUpstream::start().await;
    let documents = corpus::best().documents;
    let mut ingestor = replaying(&upstream, &path).await;
    let seen = logged(&ingestor, documents.len()).await;
    assert_eq!(ids_of(&seen), documents.iter().map(id).collect::<Vec<_>>());
    assert_eq!(seen[0].feed_sequence, documents[0]["sequence_id"].as_u64().unwrap());
    eventually("the replay is complete", TEST_TIMEOUT, async || {
        ingestor
            .status()
            .await
            .feed_detail
            .contains("is complete: 1540 documents")
    })
    .await;
    // A restart resumes at the position of the replay: the end of the file.
    ingestor.kill_and_begin().await;
    ingestor.wait_for_killmails(documents.len() as u64).await;
    assert!(
        upstream.journal().of(Host::Feed).is_empty(),
        "the replay does not call zKillboard"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_logs_archives_of_bodies_in_order_of_time() {
    let documents = documents(30);
    let folder = tempfile::tempdir().unwrap();
    let mut archive = tar::Builder::new(BzEncoder::new(Vec::new(), Compression::fast()));
    for document in &documents[..20] {
        let body = document["esi"].to_string();
        let mut header = tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        let name = format!("killmails/{}.json", id(document));
        archive.append_data(&mut header, name, body.as_bytes()).unwrap();
    }
    let archive = archive.into_inner().unwrap().finish().unwrap();
    fs::write(folder.path().join("killmails-2026-08-01.tar.bz2"), archive).unwrap();
    let day: serde_json::Map<String, Value> = documents[20..]
        .iter()
        .map(|document| (id(document).to_string(), document["esi"].clone()))
        .collect();
    let mut file = fs::File::create(folder.path().join("raw-20260802.json")).unwrap();
    file.write_all(Value::Object(day).to_string().as_bytes()).unwrap();

    let upstream = FakeUpstream::start().await;
    let ingestor = replaying(&upstream, folder.path()).await;
    let seen = logged(&ingestor, 30).await;
    let expected = [as_it_happened(&documents[..20]), as_it_happened(&documents[20..])].concat();
    assert_eq!(ids_of(&seen), expected);
    for killmail in seen {
        assert_eq!(killmail.hash.len(), 40);
        assert!(killmail.value.is_none() && killmail.published_time.is_none());
        assert!(!killmail.location.unwrap().system_name.is_empty());
    }
}

struct Backfill<'a> {
    ingestor: &'a TestIngestor,
    days: (&'a str, &'a str),
}

impl Backfill<'_> {
    async fn start(&self) -> Service {
        let arguments = ["backfill", "--from", self.days.0, "--to", self.days.1];
        Service::start_with_arguments(Binary::Ingestor, &self.ingestor.settings(), &arguments).await
    }

    /// Returns the exit code and the last line of stderr.
    async fn run(&self) -> (Option<i32>, String) {
        let mut service = self.start().await;
        let code = service.end().await.code();
        let said = service.stderr() + &service.stdout();
        (code, said)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backfill_adds_missing_killmails_in_order_despite_a_crash() {
    let upstream = FakeUpstream::start().await;
    let documents = documents(120);
    // The log already holds some live killmails, and some bodies exist only at ESI.
    upstream.publish_all(documents[..10].iter().cloned());
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.wait_for_killmails(10).await;
    let position = ingestor.status().await.upstream_sequence;
    let days = Backfill {
        ingestor: &ingestor,
        days: ("2026-08-01", "2026-08-02"),
    };

    let (code, said) = days.run().await;
    assert_eq!(code, Some(75), "{said}");
    let sentence = said.lines().last().unwrap();
    assert!(
        sentence.contains(&ingestor.data.path().display().to_string()) && sentence.contains("stop that one first"),
        "{said}"
    );

    ingestor.stop().await;
    let days = Backfill {
        ingestor: &ingestor,
        days: ("2026-08-01", "2026-08-02"),
    };
    let (first, second) = (&documents[..60], &documents[60..]);
    upstream.write_history("20260801", first, |_| true);
    upstream.journal().clear();
    // The history does not list the second day yet.
    let (code, said) = days.run().await;
    assert_eq!(code, Some(75), "{said}");
    assert!(
        said.contains("2026-08-02") && said.contains("run the same command again later"),
        "{said}"
    );

    // The process is killed while it waits for the second day, which comes late.
    upstream.write_history("20260802", second, |id| id % 10 != 0);
    upstream.host_fault(Host::Feed, Fault::Late(Duration::from_secs(60)), None);
    upstream.journal().clear();
    let killed = days.start().await;
    eventually("the backfill requests the second day", TEST_TIMEOUT, async || {
        !upstream.journal().of(Host::Feed).is_empty()
    })
    .await;
    killed.kill().await;
    upstream.heal(Host::Feed);
    // One rejection: the backfill sends no request in the second of the ban.
    upstream.host_fault(Host::Feed, Fault::TooManyRequests(Some(1)), Some(1));
    let (code, said) = days.run().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("60 new, 0 already logged"), "{said}");
    let asked: Vec<String> = upstream
        .journal()
        .of(Host::Feed)
        .into_iter()
        .map(|seen| seen.path)
        .collect();
    assert!(
        asked.iter().all(|path| path.contains("20260802")),
        "the backfill does not repeat the first day: {asked:?}"
    );

    ingestor.launch().await;
    ingestor.wait_for_killmails(120).await;
    let seen = ids_of(&logged(&ingestor, 120).await);
    let live_ids: Vec<u64> = documents[..10].iter().map(id).collect();
    assert_eq!(seen[..10], live_ids);
    assert_eq!(seen[10..60], as_it_happened(&documents[10..60]));
    let mut late: Vec<u64> = seen[60..].to_vec();
    let with_body = |id: &u64| !id.is_multiple_of(10);
    let in_order: Vec<u64> = as_it_happened(second).into_iter().filter(with_body).collect();
    assert_eq!(late.iter().copied().filter(with_body).collect::<Vec<_>>(), in_order);
    late.sort_unstable();
    let mut all: Vec<u64> = second.iter().map(id).collect();
    all.sort_unstable();
    assert_eq!(late, all);
    eventually("the walk keeps its position", TEST_TIMEOUT, async || {
        ingestor.status().await.upstream_sequence >= position
    })
    .await;

    // The first full document of a killmail that came without zkb is an update; the second one changes nothing.
    upstream.publish(documents[20].clone());
    upstream.publish(documents[20].clone());
    eventually("the walk reads both documents", TEST_TIMEOUT, async || {
        ingestor.metric("killfeed_logged_total").await + ingestor.metric("killfeed_duplicates_total").await >= 2.0
    })
    .await;
    assert_eq!(ingestor.metric("killfeed_logged_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn backfill_rejects_impossible_days() {
    let upstream = FakeUpstream::start().await;
    let mut ingestor = TestIngestor::start(&upstream, &[]).await;
    ingestor.stop().await;
    for (days, words) in [
        (("2026-08-02", "2026-08-01"), "is after"),
        (("yesterday", "2026-08-01"), "invalid day"),
        (("2026-08-01", "9999-01-01"), "or earlier"),
    ] {
        let backfill = Backfill {
            ingestor: &ingestor,
            days,
        };
        let (code, said) = backfill.run().await;
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{said}");
    }
    assert!(
        upstream
            .journal()
            .of(Host::Feed)
            .iter()
            .all(|seen| !seen.path.contains("history"))
    );
}
