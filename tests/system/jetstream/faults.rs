//! Faults of two ingestors over a cluster of three servers, with clients of both.
//!
//! Kills and stops lose and repeat nothing, and zKillboard never sees two pollers.
//!
//! No test compares a takeover with a time bound; the tests print its duration. Measurements beside a load of 19 on two
//! cores, in 22 takeovers from an ingestor that was killed together with a server:
//!
//! - Most take 7 s to 9 s: the lease (8 s), minus the time since its last renewal, plus the next check (1 s).
//! - A quarter take 17 s. If the killed server led the lease's bucket, NATS elects another leader 4 s to 9 s after the
//!   last heartbeat. Nobody can read the lease meanwhile: each request times out after 3 s. The follower sees a renewal
//!   between its last check and the kill only after the election, and counts the 8 s from then on. A quarter of such
//!   kills fall into this time, because the leader renews the lease every 2 s and the follower checks it every 1 s. The
//!   speed of the machine does not matter. A split vote repeats the election and costs another 4 s to 9 s.
//! - Readers may wait longer, 24 s in one of the 22. The servers place the consumer of the new leader on the killed
//!   server until they know that it is gone. The leader reads no record then, releases the lease after 4 s and acquires
//!   it again.

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
/// The contact in an ingestor's requests, which identifies the poller.
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

/// Returns the time and the ingestor of every request to zKillboard.
fn polls(upstream: &FakeUpstream) -> Vec<(Instant, usize)> {
    let of = |agent: &str| {
        CONTACTS
            .iter()
            .position(|contact| agent.contains(contact))
            .expect("the contact belongs to one of the ingestors")
    };
    upstream
        .journal()
        .of(Host::Feed)
        .iter()
        .map(|seen| (seen.at, of(seen.header("user-agent"))))
        .collect()
}

/// Returns the current poller, after one more request.
async fn poller(upstream: &FakeUpstream) -> usize {
    let before = polls(upstream).len();
    eventually("a poll follows", TEST_TIMEOUT, async || polls(upstream).len() > before).await;
    polls(upstream).last().expect("the journal has a new request").1
}

/// Returns the pollers in order, without repeats; terms never overlap, so each term is one entry.
pub(super) fn turns(upstream: &FakeUpstream) -> Vec<usize> {
    let mut turns: Vec<usize> = polls(upstream).into_iter().map(|(_, who)| who).collect();
    turns.dedup();
    turns
}

/// A run under load.
///
/// Clients of both ingestors read while a publisher runs and faults happen; the validator checks the run.
pub(super) struct Run {
    pub(super) upstream: FakeUpstream,
    clients: JoinSet<validator::Client>,
    head: watch::Sender<Option<u64>>,
    documents: Vec<Value>,
}

impl Run {
    /// Starts a run over a new cluster, or prints a note and returns `None` without nats-server.
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

    /// Checks that each killmail was logged once, and that both ingestors and every client have it.
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
            .expect("every client receives every record");
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
async fn follower_takes_over_when_the_leader_is_killed() {
    let Some((_nats, mut both, run)) = Run::over_three_servers(400).await else {
        return;
    };
    let kills = async {
        for _ in 0..2 {
            let leader = poller(&run.upstream).await;
            let killed = Instant::now();
            both[leader].kill_and_begin().await;
            eventually("the other ingestor polls", TEST_TIMEOUT, async || {
                polls(&run.upstream)
                    .iter()
                    .any(|(at, who)| *at > killed && *who != leader)
            })
            .await;
            println!(
                "ingestor {leader} was killed, the other ingestor polls after {:?}",
                killed.elapsed()
            );
            // Kill the follower too, which only serves streams.
            both[leader].kill_and_begin().await;
        }
    };
    run.under_load(Duration::from_millis(60), kills).await;
    println!("leaders: {:?}", turns(&run.upstream));
    assert_eq!(turns(&run.upstream).len(), 3);
    run.end(both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_servers_lose_nothing() {
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
            // Wait until the server holds the same records as the others.
            nats.wait_replicated("killfeed").await;
        }
    };
    run.under_load(Duration::from_millis(60), kills).await;
    println!("leaders: {:?}", turns(&run.upstream));
    run.end(both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_server_upgrade_loses_nothing() {
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
    // A new process finds the same log.
    both[0].kill_and_begin().await;
    run.end(both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_and_server_killed_together_lose_nothing() {
    let Some((mut nats, mut both, run)) = Run::over_three_servers(500).await else {
        return;
    };
    let kills = async {
        // Kill the server that leads the records, then the one that leads the lease: the others must replace it first.
        // The head of this file lists the durations.
        for stream in ["killfeed", "KV_killfeed-poller"] {
            let leader = poller(&run.upstream).await;
            let server = nats.leader(stream).await;
            let killed = Instant::now();
            tokio::join!(nats.kill(server), both[leader].kill());
            eventually("the other ingestor polls", TEST_TIMEOUT, async || {
                polls(&run.upstream)
                    .iter()
                    .any(|(at, who)| *at > killed && *who != leader)
            })
            .await;
            println!(
                "ingestor {leader} and server {server}, which led {stream}, were killed; the other ingestor polls after {:?}",
                killed.elapsed()
            );
            let known = both[1 - leader].status().await.killmails;
            eventually("the new leader logs killmails", TEST_TIMEOUT, async || {
                both[1 - leader].status().await.killmails > known
            })
            .await;
            println!("the new leader logs after {:?}", killed.elapsed());
            nats.launch(server).await;
            nats.wait_replicated("killfeed").await;
            both[leader].launch().await;
        }
    };
    run.under_load(Duration::from_millis(120), kills).await;
    println!("leaders: {:?}", turns(&run.upstream));
    run.end(both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_leader_neither_writes_nor_polls_after_its_lease() {
    let Some((_nats, mut both, run)) = Run::over_three_servers(500).await else {
        return;
    };
    let sleeps = async {
        for _ in 0..2 {
            let leader = poller(&run.upstream).await;
            both[leader].service().signal("STOP").await;
            let stopped = Instant::now();
            eventually("the other ingestor polls", TEST_TIMEOUT, async || {
                polls(&run.upstream)
                    .iter()
                    .any(|(at, who)| *at > stopped && *who != leader)
            })
            .await;
            println!(
                "ingestor {leader} was stopped, the other ingestor polls after {:?}",
                stopped.elapsed()
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
            both[leader].service().signal("CONT").await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    };
    run.under_load(Duration::from_millis(60), sleeps).await;
    println!("leaders: {:?}", turns(&run.upstream));
    // A further request of the old leader would appear between two requests of the new one.
    assert_eq!(turns(&run.upstream).len(), 3);
    run.end(both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn error_names_the_deleted_stream_and_ends_both_ingestors() {
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
    assert!(
        context.get_stream("killfeed").await.is_err(),
        "the ingestors do not recreate the stream"
    );
}
