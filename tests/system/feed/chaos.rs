//! Random histories of a faulty zKillboard, during which the ingestor is killed several times.
//!
//! At the end the log has every published killmail exactly once, and a gap for every missing document. One history with
//! a fixed seed is among the fast tests. The long test plays random histories: `KILLFEED_CHAOS_CASES` sets their
//! number, `KILLFEED_CHAOS_SEED` repeats one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fastrand::Rng;
use killfeed::client::{EventKind, FollowOptions, Start};
use killfeed_support::{
    FakeUpstream,
    fake_upstream::{Fault, Host},
    process::eventually,
};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::id;
use crate::harness::{TEST_TIMEOUT, TestIngestor};

const DOCUMENTS: usize = 60;
const KILLS: usize = 3;
const RECHECKS: &str = "300ms,1s,6s";
/// One second before the last re-check, so that the ingestor finds each upload even on a slow machine.
const SOON: Duration = Duration::from_secs(5);
/// The seed of the fast test's history.
const SEED: u64 = 1;

/// The planned behavior of one sequence.
#[derive(Debug, Clone)]
enum DocumentPlan {
    Plain,
    /// Reserved now and uploaded a little later.
    Late,
    /// Reserved and never uploaded.
    Never,
    /// Published twice, the second time under another sequence.
    Twice,
    /// Uploaded again with another label, and announced by a later document.
    ReUploaded,
    Placeholder,
    WithoutEsi,
    /// A 200 whose body is not a document.
    Broken(&'static str),
    /// The document after this number of faulty responses.
    Faulty(Fault, usize),
    /// Only faulty responses.
    Hopeless(Fault),
    /// Removed right after its publication, so that the ingestor may or may not read it.
    Expired,
}

fn fate(random: &mut Rng) -> DocumentPlan {
    let faults = [
        Fault::Status(500),
        Fault::Status(503),
        Fault::NotFound,
        Fault::Cut,
        Fault::TruncatedGzip,
        Fault::Empty,
        Fault::TooManyRequests(Some(1)),
        Fault::Late(Duration::from_millis(300)),
    ];
    let hopeless = [Fault::Status(502), Fault::TruncatedGzip, Fault::Empty, Fault::Cut];
    let broken = [
        "{\"killmail_id\": 1, ",
        "[]",
        "",
        "{\"killmail_id\":\"x\",\"hash\":7,\"esi\":[],\"zkb\":{}}",
    ];
    match random.usize(..40) {
        0 | 1 => DocumentPlan::Late,
        2 => DocumentPlan::Never,
        3 | 4 => DocumentPlan::Twice,
        5 | 6 => DocumentPlan::ReUploaded,
        7 => DocumentPlan::Placeholder,
        8 | 9 => DocumentPlan::WithoutEsi,
        10 => DocumentPlan::Broken(broken[random.usize(..broken.len())]),
        11..=16 => DocumentPlan::Faulty(faults[random.usize(..faults.len())].clone(), random.usize(1..3)),
        17 => DocumentPlan::Hopeless(hopeless[random.usize(..hopeless.len())].clone()),
        18 => DocumentPlan::Expired,
        _ => DocumentPlan::Plain,
    }
}

/// The expected content of the log.
#[derive(Debug, Default)]
struct Expected {
    /// Killmails that are logged exactly once.
    there: BTreeSet<u64>,
    /// Killmails with the label in their newest revision, which is 0 or 1.
    relabelled: BTreeSet<u64>,
    /// Killmails that are logged or reported as missing.
    perhaps: BTreeSet<u64>,
    /// The number of sequences without a killmail.
    missing: u64,
}

/// A document that is uploaded some time after the reservation of its sequence.
struct Late {
    number: u64,
    document: Value,
    reserved: Instant,
}

impl Late {
    /// Uploads the document, which on a slow machine the ingestor may have given up by then.
    fn upload(self, upstream: &FakeUpstream, expected: &mut Expected) {
        let killmail = id(&self.document);
        upstream.deliver(self.number, self.document);
        let in_time = self.reserved.elapsed() < SOON;
        let expected = if in_time {
            &mut expected.there
        } else {
            &mut expected.perhaps
        };
        expected.insert(killmail);
    }
}

/// Publishes one document by its plan, or returns it with its sequence for a late upload.
fn play(upstream: &FakeUpstream, fate: DocumentPlan, mut document: Value, expected: &mut Expected) -> Option<Late> {
    let killmail = id(&document);
    match fate {
        DocumentPlan::Never => {
            upstream.reserve();
            expected.missing += 1;
        }
        DocumentPlan::Broken(text) => {
            upstream.publish_raw(text);
            expected.missing += 1;
        }
        DocumentPlan::Hopeless(fault) => {
            let number = upstream.reserve();
            upstream.fault(number, fault, None);
            upstream.deliver(number, document);
            expected.missing += 1;
        }
        DocumentPlan::Placeholder => {
            upstream.publish_placeholder();
        }
        DocumentPlan::Expired => {
            let number = upstream.publish(document);
            upstream.expire(number);
            expected.perhaps.insert(killmail);
        }
        DocumentPlan::Late => {
            // Take the time before the reservation, after which the ingestor may fetch the sequence.
            let reserved = Instant::now();
            let number = upstream.reserve();
            return Some(Late {
                number,
                document,
                reserved,
            });
        }
        DocumentPlan::Plain => {
            upstream.publish(document);
            expected.there.insert(killmail);
        }
        DocumentPlan::Twice => {
            upstream.publish(document.clone());
            upstream.publish(document);
            expected.there.insert(killmail);
        }
        DocumentPlan::WithoutEsi => {
            upstream.publish_without_esi(document);
            expected.there.insert(killmail);
        }
        DocumentPlan::Faulty(fault, times) => {
            let number = upstream.reserve();
            upstream.fault(number, fault, Some(times));
            upstream.deliver(number, document);
            expected.there.insert(killmail);
        }
        DocumentPlan::ReUploaded => {
            let number = upstream.publish(document.clone());
            document["zkb"]["labels"].as_array_mut().unwrap().push("ganked".into());
            upstream.deliver(number, document.clone());
            // The announcing document is the same killmail with the same content, and so not an update.
            document["sequence_updated"] = number.into();
            upstream.publish(document);
            expected.there.insert(killmail);
            expected.relabelled.insert(killmail);
        }
    }
    None
}

/// Reads the log and returns the revisions of each killmail and the number of missing documents.
///
/// The revisions are in log order. The flag says whether a revision has the label.
async fn logged(ingestor: &TestIngestor, expected: &Expected) -> (BTreeMap<u64, Vec<(u32, bool)>>, u64) {
    let mut follow = FollowOptions::new("", Start::Earliest);
    follow.include_updates = true;
    let mut events = ingestor.client().follow(follow);
    let mut there: BTreeMap<u64, Vec<(u32, bool)>> = BTreeMap::new();
    let mut missing = 0;
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        let settled = {
            let all = expected.there.iter().all(|id| there.contains_key(id));
            let relabelled = |id| {
                there
                    .get(id)
                    .is_some_and(|seen: &Vec<(u32, bool)>| seen.iter().any(|(_, label)| *label))
            };
            let expired = expected.perhaps.iter().filter(|id| !there.contains_key(id)).count() as u64;
            all && expected.relabelled.iter().all(relabelled) && missing >= expected.missing + expired
        };
        // After the last expected event, wait a little longer to detect surplus events.
        let patience = if settled {
            Duration::from_millis(1_500)
        } else {
            deadline - Instant::now()
        };
        let Ok(event) = timeout(patience, events.next()).await else {
            return (there, missing);
        };
        match event.unwrap().kind {
            EventKind::Killmail(killmail) => {
                let label = killmail.labels.iter().any(|label| label == "ganked");
                there
                    .entry(killmail.killmail_id)
                    .or_default()
                    .push((killmail.revision, label));
            }
            EventKind::Gap(gap) => missing += gap.missing,
            EventKind::Progress(_) => {}
        }
    }
}

/// Gives one killmail as many attackers as the largest real killmail has, about 1 MB.
fn enlarge(documents: &mut [Value]) {
    let crowded = |document: &&mut Value| {
        document["esi"]["attackers"]
            .as_array()
            .is_some_and(|all| all.len() >= 100)
    };
    let document = documents.iter_mut().find(crowded).expect("the sample has a battle");
    let attackers = document["esi"]["attackers"].as_array_mut().unwrap();
    *attackers = attackers.iter().cycle().take(3_753).cloned().collect();
}

async fn history(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let mut documents = super::documents(DOCUMENTS);
    enlarge(&mut documents);
    random.shuffle(&mut documents);
    let kills: BTreeSet<usize> = (0..KILLS).map(|_| random.usize(1..documents.len())).collect();
    println!(
        "seed {seed}: {} documents, killed after documents {kills:?}",
        documents.len()
    );

    let upstream = FakeUpstream::start_with_sample().await;
    upstream.host_fault(Host::Esi, Fault::Status(503), Some(random.usize(..4)));
    let mut expected = Expected::default();
    let mut late: Vec<Late> = Vec::new();
    let mut ingestor = TestIngestor::start(&upstream, &[("INGESTOR_FEED_HOLE_RECHECKS", RECHECKS)]).await;
    for (nth, document) in documents.into_iter().enumerate() {
        let fate = fate(&mut random);
        late.extend(play(&upstream, fate, document, &mut expected));
        if random.usize(..3) == 0
            && let Some(late) = late.pop()
        {
            late.upload(&upstream, &mut expected);
        }
        if random.usize(..8) == 0 {
            upstream.rewrite_sequence();
        }
        sleep(Duration::from_millis(random.u64(..30))).await;
        if kills.contains(&nth) {
            ingestor.kill_and_begin().await;
        }
    }
    for late in late {
        late.upload(&upstream, &mut expected);
    }
    // The newest document is a plain one, so that all others are known to be below the head.
    let mut last = super::documents(1).remove(0);
    last["killmail_id"] = 1.into();
    last["esi"]["killmail_id"] = 1.into();
    upstream.publish(last);
    expected.there.insert(1);
    upstream.rewrite_sequence();

    let (there, missing) = logged(&ingestor, &expected).await;
    let ids: BTreeSet<u64> = there.keys().copied().collect();
    let wanted: BTreeSet<u64> = expected.there.union(&expected.perhaps).copied().collect();
    let lost: Vec<_> = expected.there.difference(&ids).collect();
    let made_up: Vec<_> = ids.difference(&wanted).collect();
    let said = ingestor.service().stderr();
    assert!(
        lost.is_empty() && made_up.is_empty(),
        "seed {seed}: missing in the log {lost:?}, not published {made_up:?}\n{said}"
    );
    let expired = expected.perhaps.iter().filter(|id| !ids.contains(id)).count() as u64;
    assert_eq!(
        missing,
        expected.missing + expired,
        "seed {seed}: number of missing documents\n{said}"
    );
    for (id, seen) in &there {
        let revisions: Vec<u32> = seen.iter().map(|(revision, _)| *revision).collect();
        let last = seen.last().is_some_and(|(_, label)| *label);
        if expected.relabelled.contains(id) {
            assert!(
                revisions == [0] || revisions == [0, 1],
                "seed {seed}: {id} has revisions {revisions:?}"
            );
            assert!(last, "seed {seed}: the newest revision of {id} does not have the label");
        } else {
            assert_eq!(revisions, [0], "seed {seed}: revisions of {id}");
        }
    }
    assert_eq!(ingestor.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn log_holds_each_killmail_once_under_faults() {
    history(SEED).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: .ci/run --long runs it"]
async fn log_holds_each_killmail_once_under_random_faults() {
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("KILLFEED_CHAOS_SEED") {
        return history(seed).await;
    }
    for _ in 0..number("KILLFEED_CHAOS_CASES").unwrap_or(10) {
        history(fastrand::u64(..)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_response_loses_no_document() {
    let upstream = FakeUpstream::start_with_sample().await;
    let documents = super::documents(4);
    let numbers: Vec<u64> = documents
        .iter()
        .map(|document| upstream.publish(document.clone()))
        .collect();
    upstream.fault(numbers[1], Fault::StallInBody, Some(1));
    upstream.fault(numbers[2], Fault::Drip(Duration::from_millis(20)), Some(1));
    upstream.rewrite_sequence();
    let ingestor = TestIngestor::start(&upstream, &[]).await;
    eventually("the log contains all four killmails", TEST_TIMEOUT, async || {
        ingestor.status().await.killmails == 4
    })
    .await;
    let mut events = crate::harness::from_the_beginning(&ingestor.client(), "");
    let seen = crate::harness::killmails(&mut events, 4).await;
    let in_order: Vec<u64> = seen.iter().map(|killmail| killmail.feed_sequence).collect();
    assert_eq!(in_order, numbers);
}
