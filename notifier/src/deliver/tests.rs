//! Delivery as a whole, over a sink that records, refuses, forgets to answer, and dies in the middle. Time is paused.

mod battles;
mod counters;
mod edits;
mod faults;
mod limits;
mod webhooks;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
    time::SystemTime,
};

use async_trait::async_trait;
use killfeed::{
    Timestamp,
    v1::{Killmail, Location},
};
use prost::Message as _;
use tokio::time::Instant;

use super::*;
use crate::{
    database::{self, KillOutcome, PostState},
    matching::Match,
    outbox::IncomingKillmail,
    sink::{Edit, LookupOutcome, Post, SendOutcome},
    subscriptions::{SubscriptionId, Subscriptions, file},
};

/// When the tests begin; killmails are as old as each test says.
const START: u64 = 1_785_672_000_000;
const HERE: Destination = Destination::Channel(2);
const THERE: Destination = Destination::Channel(3);

/// What the fake does with a message.
#[derive(Debug, Clone)]
enum Fault {
    /// Answers so, and posts nothing.
    Answer(SendOutcome),
    /// Posts it, and answers that it does not know.
    PostedUnknown,
    /// Never answers, and posts nothing.
    Hang,
    /// Posts it and never answers: the process dies here.
    PostedHang,
}

/// A Discord that knows nonces for a while, as the real one.
#[derive(Default)]
struct FakeSink {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    posted: Vec<(Instant, Post)>,
    tries: Vec<(Instant, Post)>,
    faults: BTreeMap<Destination, VecDeque<Fault>>,
    /// Killmails that Discord refuses the message for.
    poison: Vec<u64>,
    finds: VecDeque<LookupOutcome>,
    looks: usize,
    edits: Vec<Edit>,
    /// What is answered to edits before they are carried out.
    edit_answers: VecDeque<SendOutcome>,
    told: Vec<(u64, String)>,
}

impl FakeSink {
    fn post(state: &mut State, post: &Post) -> u64 {
        let alive = |at: &Instant| at.elapsed() < Duration::from_secs(180);
        let known = state
            .posted
            .iter()
            .position(|(at, other)| alive(at) && other.nonce == post.nonce && other.destination == post.destination);
        let index = known.unwrap_or_else(|| {
            state.posted.push((Instant::now(), post.clone()));
            state.posted.len() - 1
        });
        1_000 + u64::try_from(index).unwrap()
    }

    /// Killmails posted to a destination, in order.
    fn killmails(&self, destination: &Destination) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        let to = state.posted.iter().filter(|(_, post)| post.destination == *destination);
        to.flat_map(|(_, post)| post.killmails.clone()).collect()
    }

    fn fault(&self, destination: Destination, faults: impl IntoIterator<Item = Fault>) {
        self.state
            .lock()
            .unwrap()
            .faults
            .entry(destination)
            .or_default()
            .extend(faults);
    }
}

#[async_trait]
impl Sink for FakeSink {
    async fn send(&self, post: &Post) -> SendOutcome {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let hang = {
            let mut state = self.state.lock().unwrap();
            state.tries.push((Instant::now(), post.clone()));
            let fault = state.faults.get_mut(&post.destination).and_then(VecDeque::pop_front);
            if post.killmails.iter().any(|id| state.poison.contains(id)) {
                return refused(400, 50035);
            }
            match fault {
                None => {
                    return SendOutcome::Sent {
                        message_id: Self::post(&mut state, post),
                    };
                }
                Some(Fault::Answer(outcome)) => return outcome,
                Some(Fault::PostedUnknown) => {
                    Self::post(&mut state, post);
                    return SendOutcome::Unknown { reason: "cut".into() };
                }
                Some(Fault::PostedHang) => drop(Self::post(&mut state, post)),
                Some(Fault::Hang) => {}
            }
            std::future::pending::<SendOutcome>()
        };
        hang.await
    }

    async fn lookup(&self, post: &Post, _since: SystemTime) -> LookupOutcome {
        let mut state = self.state.lock().unwrap();
        state.looks += 1;
        if let Some(found) = state.finds.pop_front() {
            return found;
        }
        let index = state
            .posted
            .iter()
            .position(|(_, other)| other.killmails == post.killmails && other.destination == post.destination);
        index.map_or(LookupOutcome::No, |index| LookupOutcome::Yes {
            message_id: 1_000 + u64::try_from(index).unwrap(),
        })
    }

    async fn edit(&self, edit: &Edit) -> SendOutcome {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut state = self.state.lock().unwrap();
        state.edits.push(edit.clone());
        state.edit_answers.pop_front().unwrap_or(SendOutcome::Sent {
            message_id: edit.message_id,
        })
    }

    async fn send_dm(&self, user: u64, text: &str) -> bool {
        self.state.lock().unwrap().told.push((user, text.to_owned()));
        true
    }
}

/// The one that posts there, as [`DeliveryHarness::restart`] makes them.
fn subscription(destination: &Destination) -> u64 {
    match destination {
        Destination::Channel(2) => 1,
        Destination::Channel(_) => 2,
        Destination::Webhook(_) => 3,
    }
}

fn refused(status: u16, code: u32) -> SendOutcome {
    SendOutcome::Rejected {
        status,
        code,
        message: "no".into(),
    }
}

/// A notifier without a stream, over a data folder that outlives it.
struct DeliveryHarness {
    dir: tempfile::TempDir,
    fake: Arc<FakeSink>,
    clock: Clock,
    running: Option<TestRun>,
    extra: String,
    max_posts: u64,
}

struct TestRun {
    outbox: Arc<Outbox>,
    subscriptions: Arc<Subscriptions>,
    prober: ProbeHandle,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), DeliverError>>,
}

impl DeliveryHarness {
    /// Subscription 1 is for HERE, 2 for THERE. `extra` lines go into the first one's row.
    async fn start(extra: &str) -> Self {
        let mut bench = Self {
            dir: tempfile::tempdir().unwrap(),
            fake: Arc::default(),
            clock: Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_millis(START)),
            running: None,
            extra: extra.to_owned(),
            max_posts: 5_000,
        };
        bench.restart().await;
        bench
    }

    /// Ends what runs, as kill -9 would (what was flushed is there, nothing else is said), and starts anew.
    async fn restart(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
            let _ = running.task.await;
            drop((running.outbox, running.subscriptions));
        }
        // Aborted workers let go of the database when the runtime comes to them.
        let database = loop {
            match database::open(self.dir.path(), SystemTime::now()) {
                Ok(opened) => break Arc::new(opened.database),
                Err(database::StorageError::Locked { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        let subscriptions = Arc::new(Subscriptions::open(database.clone(), Duration::from_secs(6 * 3_600)).unwrap());
        let row = |name: &str, channel: u64, extra: &str| {
            format!("[[subscription]]\nname = \"{name}\"\nguild = 1\nchannel = {channel}\nfilter = \"\"\n{extra}\n")
        };
        let hook = "[[subscription]]\nname = \"c\"\nwebhook = \"http://d/api/webhooks/9/x\"\nfilter = \"\"\n";
        let text = row("a", 2, &self.extra) + &row("b", 3, "") + hook;
        subscriptions
            .take_file(file::parse(&text, "http://d").unwrap(), 0)
            .await
            .unwrap();
        let compiled = crate::matching::tests::subscription(1).compiled;
        for subscription in subscriptions.list() {
            subscriptions
                .set_compiled(&subscription, compiled.clone(), String::new())
                .await
                .unwrap();
        }
        let outbox = Arc::new(Outbox::new(database));
        let limits = Limits {
            max_backlog: 200,
            max_delay: Duration::from_secs(3_600),
            max_posts: self.max_posts,
        };
        let deliver = Deliver::new(
            outbox.clone(),
            subscriptions.clone(),
            self.fake.clone(),
            limits,
            Duration::from_secs(300),
            self.clock.clone(),
            killfeed_service::trace::Traces::default(),
        );
        let (prober, shutdown) = (deliver.prober(), CancellationToken::new());
        self.running = Some(TestRun {
            outbox,
            subscriptions,
            prober,
            task: tokio::spawn(deliver.run(shutdown.clone())),
            shutdown,
        });
    }

    fn running(&self) -> &TestRun {
        self.running.as_ref().unwrap()
    }

    fn outbox(&self) -> &Outbox {
        &self.running().outbox
    }

    /// Killmails of now for the destinations.
    fn arrive(&self, ids: impl IntoIterator<Item = u64>, destinations: &[Destination]) {
        self.arrive_aged(ids, destinations, 0);
    }

    fn arrive_aged(&self, ids: impl IntoIterator<Item = u64>, destinations: &[Destination], age: u64) {
        let time = self.clock.now().unix_ms() - age;
        let stamp = Some(Timestamp {
            seconds: i64::try_from(time / 1_000).unwrap(),
            nanos: 0,
        });
        let arrival = |killmail_id| IncomingKillmail {
            killmail_id,
            revision: 0,
            bytes: Killmail {
                killmail_id,
                kill_time: stamp,
                published_time: stamp,
                location: Some(Location {
                    system_id: 30_002_086,
                    system_name: "Turnur".into(),
                    ..Default::default()
                }),
                ..Default::default()
            }
            .encode_to_vec(),
            kill_time: time,
            published: time,
            system: 30_002_086,
            value: Some(1_000_000_000.0),
            matches: destinations
                .iter()
                .map(|destination| Match {
                    destination: destination.clone(),
                    subscriptions: vec![(SubscriptionId(subscription(destination)), KillOutcome::Neutral)],
                    in_time: true,
                })
                .collect(),
            posted: Vec::new(),
        };
        let arrivals: Vec<_> = ids.into_iter().map(arrival).collect();
        self.outbox()
            .enqueue(&arrivals, None, self.clock.now().unix_ms())
            .unwrap();
    }

    /// Lets paused time run until nothing waits, a day at most.
    async fn drained(&self) {
        for _ in 0..86_400 {
            if self.outbox().waiting() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("something waits for a day");
    }

    fn state(&self, destination: &Destination, killmail: u64) -> PostState {
        self.outbox().post(destination, killmail).unwrap().unwrap().state()
    }
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_when_calm_and_ten_when_not() {
    let bench = DeliveryHarness::start("").await;
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    bench.arrive(2..=26, &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), (1..=26).collect::<Vec<_>>());
    let state = bench.fake.state.lock().unwrap();
    let sizes: Vec<_> = state.posted.iter().map(|(_, post)| post.killmails.len()).collect();
    assert_eq!(sizes, [1, 10, 10, 5]);
    assert_eq!(bench.state(&HERE, 26), PostState::Sent);
}

#[tokio::test(start_paused = true)]
async fn one_destination_never_delays_another() {
    let bench = DeliveryHarness::start("").await;
    bench.fake.fault(HERE, vec![Fault::Hang; 3]);
    bench.arrive(1..=3, &[HERE, THERE]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.fake.killmails(&THERE), [1, 2, 3]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2, 3]);
}
