//! Two ingestors over a cluster of three servers, and clients of both: whatever is killed or stopped, nobody loses or repeats anything,
//! and zKillboard never sees two pollers.
//!
//! No test here holds a fail-over against a time. How long one takes is printed. Measured beside a load of 19 on two cores, in 22
//! fail-overs from an ingestor that dies together with a server:
//!
//! - Most take 7 s to 9 s: the lease (8 s), less the time since its last renewal, and the next look (1 s).
//! - Some take 17 s. When the dead server led the lease's bucket, NATS elects another leader 4 s to 9 s after its last heartbeat.
//!   Nobody can read the lease meanwhile: each question waits for its 3 s. A renewal that came between the follower's last look and
//!   the kill is seen for the first time after the election, and the 8 s count from then on. That is a quarter of such kills, for a
//!   lease is renewed every 2 s and looked at every 1 s. The machine has no part in it. An election whose votes are split is held
//!   again and costs another 4 s to 9 s.
//! - Readers may wait for longer, 24 s in one of the 22. The servers make the consumer that the new leader reads with on the dead server, until they
//!   know that it is gone. The leader sees no record then, gives its turn back after 4 s, and takes it again.

use std::time::{Duration, Instant};

use killfeed_support::{
    FakeUpstream, corpus,
    fake_upstream::Host,
    nats::{self, Nats},
    process::eventually,
    validator::{self, offset, validate},
};
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{
    harness::{TEST_TIMEOUT, TestIngestor},
    recorder::{Recorder, whole_log},
    replicas::follow,
};

const CLIENTS: usize = 6;
/// Who polls, by the contact in its requests.
const CONTACTS: [&str; 2] = ["a@example.com", "b@example.com"];

async fn start(upstream: &FakeUpstream, nats: &Nats, n: usize) -> TestIngestor {
    let replicas = nats.all().len().to_string();
    let settings = [
        ("INGESTOR_LOG", nats.url()),
        ("INGESTOR_NATS_REPLICAS", replicas),
        ("INGESTOR_CONTACT", CONTACTS[n].to_owned()),
    ];
    let settings = settings.each_ref().map(|(variable, value)| (*variable, value.as_str()));
    TestIngestor::start(upstream, &settings).await
}

/// (when, which ingestor) of every request to zKillboard.
fn polls(upstream: &FakeUpstream) -> Vec<(Instant, usize)> {
    let of = |agent: &str| {
        CONTACTS
            .iter()
            .position(|contact| agent.contains(contact))
            .expect("one of ours")
    };
    upstream
        .journal()
        .of(Host::Feed)
        .iter()
        .map(|seen| (seen.at, of(seen.header("user-agent"))))
        .collect()
}

/// Who polls now: asked for again after it has been seen.
async fn poller(upstream: &FakeUpstream) -> usize {
    let before = polls(upstream).len();
    eventually("somebody polls", TEST_TIMEOUT, async || polls(upstream).len() > before).await;
    polls(upstream).last().expect("one more than before").1
}

/// Once one has begun to poll, the one before is silent: turns never overlap.
pub(super) fn turns(upstream: &FakeUpstream) -> Vec<usize> {
    let mut turns: Vec<usize> = polls(upstream).into_iter().map(|(_, who)| who).collect();
    turns.dedup();
    turns
}

/// A run under load: clients of both, killmails published as time goes on while `faults` happen, and then the validator's word.
pub(super) struct Run {
    pub(super) upstream: FakeUpstream,
    clients: JoinSet<validator::Client>,
    head: watch::Sender<Option<u64>>,
    documents: Vec<Value>,
}

impl Run {
    /// Over a new cluster; `None`, said loudly, where nats-server is not installed.
    pub(super) async fn over_three_servers(killmails: usize) -> Option<(Nats, [TestIngestor; 2], Self)> {
        let nats = Nats::cluster().await?;
        let upstream = FakeUpstream::start().await;
        let both = [start(&upstream, &nats, 0).await, start(&upstream, &nats, 1).await];
        let run = Self::start(upstream, &both, killmails);
        Some((nats, both, run))
    }

    fn start(upstream: FakeUpstream, ingestors: &[TestIngestor; 2], killmails: usize) -> Self {
        let (head, told) = watch::channel(None);
        let recorder = Recorder::new();
        let mut clients = JoinSet::new();
        for n in 0..CLIENTS {
            let mut endpoints: Vec<String> = ingestors.iter().map(|ingestor| ingestor.url()).collect();
            endpoints.rotate_left(n % 2);
            clients.spawn(follow(endpoints, recorder, told.clone(), n));
        }
        Self {
            upstream,
            clients,
            head,
            documents: corpus::some(killmails),
        }
    }

    /// Publishes while faults happen.
    pub(super) async fn under_load(&self, pause: Duration, faults: impl Future<Output = ()>) {
        let load = async {
            for document in &self.documents {
                self.upstream.publish(document.clone());
                tokio::time::sleep(pause).await;
            }
        };
        tokio::join!(load, faults);
    }

    /// Everything was logged once, both have it, and every client saw it.
    pub(super) async fn end(self, mut ingestors: [TestIngestor; 2]) {
        let [first, second] = &mut ingestors;
        first.wait_for_killmails(self.documents.len() as u64).await;
        second.wait_for_killmails(self.documents.len() as u64).await;
        eventually("both are at the head", TEST_TIMEOUT, async || {
            second.status().await.head_cursor == first.status().await.head_cursor
        })
        .await;
        let mut history = whole_log(first).await;
        assert_eq!(history.log, whole_log(second).await.log);
        self.head.send_replace(Some(offset(&first.status().await.head_cursor)));
        history.clients = timeout(2 * TEST_TIMEOUT, self.clients.join_all())
            .await
            .expect("all have everything");
        let published = self
            .documents
            .iter()
            .map(|document| (document["killmail_id"].as_u64().unwrap(), 0));
        history.published = Some(published.collect());
        validate(&history);
        for ingestor in [first, second] {
            assert_eq!(ingestor.stop().await, Some(0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_ingestor_is_killed_the_other_one_takes_over() {
    let Some((_nats, mut both, run)) = Run::over_three_servers(400).await else {
        return;
    };
    let kills = async {
        for _ in 0..2 {
            let leader = poller(&run.upstream).await;
            let killed = Instant::now();
            both[leader].kill_and_begin().await;
            eventually("the other one polls", TEST_TIMEOUT, async || {
                polls(&run.upstream)
                    .iter()
                    .any(|(at, who)| *at > killed && *who != leader)
            })
            .await;
            println!(
                "ingestor {leader} was killed, the other one polls after {:?}",
                killed.elapsed()
            );
            // And one that only serves streams.
            both[leader].kill_and_begin().await;
        }
    };
    run.under_load(Duration::from_millis(60), kills).await;
    println!("turns: {:?}", turns(&run.upstream));
    assert_eq!(turns(&run.upstream).len(), 3);
    run.end(both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_server_is_killed_nothing_is_lost() {
    let Some((mut nats, both, run)) = Run::over_three_servers(400).await else {
        return;
    };
    let servers = nats.all();
    let kills = async {
        for n in servers {
            tokio::time::sleep(Duration::from_secs(1)).await;
            nats.kill(n).await;
            tokio::time::sleep(Duration::from_secs(6)).await;
            nats.launch(n).await;
            // Until it holds again what the others hold.
            nats.wait_replicated("killfeed").await;
        }
    };
    run.under_load(Duration::from_millis(60), kills).await;
    println!("turns: {:?}", turns(&run.upstream));
    run.end(both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_upgraded_one_by_one_and_nothing_is_lost() {
    let Some(newer) = nats::newer().await else { return };
    let Some((mut nats, mut both, run)) = Run::over_three_servers(400).await else {
        return;
    };
    let servers = nats.all();
    let upgrades = async {
        for n in servers {
            tokio::time::sleep(Duration::from_secs(1)).await;
            nats.kill(n).await;
            nats.replace(n, &newer);
            nats.launch(n).await;
            nats.wait_replicated("killfeed").await;
        }
    };
    run.under_load(Duration::from_millis(80), upgrades).await;
    // The log is the same one to those who come later.
    both[0].kill_and_begin().await;
    run.end(both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_and_server_killed_together_lose_nothing() {
    let Some((mut nats, mut both, run)) = Run::over_three_servers(500).await else {
        return;
    };
    let kills = async {
        // The servers that the others have to replace first: of the records, of the lease. The head of this file says how long it takes.
        for stream in ["killfeed", "KV_killfeed-poller"] {
            let leader = poller(&run.upstream).await;
            let server = nats.leader(stream).await;
            let killed = Instant::now();
            tokio::join!(nats.kill(server), both[leader].kill());
            eventually("the other one polls", TEST_TIMEOUT, async || {
                polls(&run.upstream)
                    .iter()
                    .any(|(at, who)| *at > killed && *who != leader)
            })
            .await;
            println!(
                "ingestor {leader} and server {server}, which led {stream}, were killed; the other one polls after {:?}",
                killed.elapsed()
            );
            let known = both[1 - leader].status().await.killmails;
            eventually("it logs as well", TEST_TIMEOUT, async || {
                both[1 - leader].status().await.killmails > known
            })
            .await;
            println!("and logs after {:?}", killed.elapsed());
            nats.launch(server).await;
            nats.wait_replicated("killfeed").await;
            both[leader].launch().await;
        }
    };
    run.under_load(Duration::from_millis(120), kills).await;
    println!("turns: {:?}", turns(&run.upstream));
    run.end(both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_sleeps_past_its_lease_writes_and_asks_nothing_more() {
    let Some((_nats, mut both, run)) = Run::over_three_servers(500).await else {
        return;
    };
    let sleeps = async {
        for _ in 0..2 {
            let leader = poller(&run.upstream).await;
            both[leader].service().signal("STOP").await;
            let stopped = Instant::now();
            eventually("the other one polls", TEST_TIMEOUT, async || {
                polls(&run.upstream)
                    .iter()
                    .any(|(at, who)| *at > stopped && *who != leader)
            })
            .await;
            println!(
                "ingestor {leader} was stopped, the other one polls after {:?}",
                stopped.elapsed()
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
            both[leader].service().signal("CONT").await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    };
    run.under_load(Duration::from_millis(60), sleeps).await;
    println!("turns: {:?}", turns(&run.upstream));
    // Had the old one asked once more, its turn would stand between two of the other's.
    assert_eq!(turns(&run.upstream).len(), 3);
    run.end(both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_deleted_ends_both_with_its_name() {
    let Some(nats) = Nats::cluster().await else { return };
    let upstream = FakeUpstream::start().await;
    upstream.publish_all(corpus::some(20));
    let mut both = [start(&upstream, &nats, 0).await, start(&upstream, &nats, 1).await];
    both[1].wait_for_killmails(20).await;
    let client = async_nats::connect(nats.urls()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    context.delete_stream("killfeed").await.unwrap();
    for ingestor in &mut both {
        let status = ingestor.service().end().await;
        let said = ingestor.service().stderr();
        assert_eq!(status.code(), Some(78), "{said}");
        assert!(
            said.contains(
                "the JetStream stream killfeed is gone, but the bucket killfeed-marks still has an entry for log"
            ),
            "{said}"
        );
    }
    assert!(context.get_stream("killfeed").await.is_err(), "it was not made anew");
}
