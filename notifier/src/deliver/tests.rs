//! Delivery as a whole, over a sink that records, refuses, forgets to answer, and dies in the middle. Time is paused.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
    time::SystemTime,
};

use async_trait::async_trait;
use killfeed::{Timestamp, v1::Killmail};
use prost::Message as _;
use tokio::time::Instant;

use super::*;
use crate::{
    database::{self, Outcome, PostState},
    matching::Match,
    outbox::Arrival,
    render,
    sink::{Found, Post, SendOutcome},
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
struct Fake {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    posted: Vec<(Instant, Post)>,
    tries: Vec<(Instant, Post)>,
    faults: BTreeMap<Destination, VecDeque<Fault>>,
    /// Killmails that Discord refuses the message for.
    poison: Vec<u64>,
    finds: VecDeque<Found>,
    looks: usize,
}

impl Fake {
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
impl Sink for Fake {
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

    async fn find(&self, post: &Post, _since: SystemTime) -> Found {
        let mut state = self.state.lock().unwrap();
        state.looks += 1;
        if let Some(found) = state.finds.pop_front() {
            return found;
        }
        let index = state
            .posted
            .iter()
            .position(|(_, other)| other.killmails == post.killmails && other.destination == post.destination);
        index.map_or(Found::No, |index| Found::Yes {
            message_id: 1_000 + u64::try_from(index).unwrap(),
        })
    }
}

fn refused(status: u16, code: u32) -> SendOutcome {
    SendOutcome::Refused {
        status,
        code,
        message: "no".into(),
    }
}

/// A notifier without a stream, over a data folder that outlives it.
struct Bench {
    dir: tempfile::TempDir,
    fake: Arc<Fake>,
    clock: Clock,
    running: Option<Running>,
    extra: String,
}

struct Running {
    outbox: Arc<Outbox>,
    subscriptions: Arc<Subscriptions>,
    prober: Prober,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), DeliverError>>,
}

impl Bench {
    /// Subscription 1 is for HERE, 2 for THERE. `extra` lines go into the first one's row.
    async fn start(extra: &str) -> Self {
        let begin = Instant::now();
        let elapsed = move || u64::try_from(begin.elapsed().as_millis()).unwrap();
        let mut bench = Self {
            dir: tempfile::tempdir().unwrap(),
            fake: Arc::default(),
            clock: Clock::new(move || START + elapsed()),
            running: None,
            extra: extra.to_owned(),
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
        let text = row("a", 2, &self.extra) + &row("b", 3, "");
        subscriptions
            .take_file(file::parse(&text, "").unwrap(), 0)
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
        };
        let deliver = Deliver::new(
            outbox.clone(),
            subscriptions.clone(),
            self.fake.clone(),
            limits,
            Duration::from_secs(300),
            self.clock.clone(),
        );
        let (prober, shutdown) = (deliver.prober(), CancellationToken::new());
        self.running = Some(Running {
            outbox,
            subscriptions,
            prober,
            task: tokio::spawn(deliver.run(shutdown.clone())),
            shutdown,
        });
    }

    fn running(&self) -> &Running {
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
        let time = self.clock.now() - age;
        let stamp = Some(Timestamp {
            seconds: i64::try_from(time / 1_000).unwrap(),
            nanos: 0,
        });
        let arrival = |killmail_id| Arrival {
            killmail_id,
            revision: 0,
            bytes: Killmail {
                killmail_id,
                kill_time: stamp,
                published_time: stamp,
                ..Default::default()
            }
            .encode_to_vec(),
            kill_time: time,
            published: time,
            matches: destinations
                .iter()
                .map(|destination| Match {
                    destination: destination.clone(),
                    subscriptions: vec![(
                        SubscriptionId(if *destination == HERE { 1 } else { 2 }),
                        Outcome::Neutral,
                    )],
                    in_time: true,
                })
                .collect(),
        };
        let arrivals: Vec<_> = ids.into_iter().map(arrival).collect();
        self.outbox().arrive(&arrivals, None, self.clock.now()).unwrap();
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
    let bench = Bench::start("").await;
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
    let bench = Bench::start("").await;
    bench.fake.fault(HERE, vec![Fault::Hang; 3]);
    bench.arrive(1..=3, &[HERE, THERE]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.fake.killmails(&THERE), [1, 2, 3]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_waited_for() {
    let bench = Bench::start("").await;
    let limited = SendOutcome::RateLimited {
        retry_after: Duration::from_secs(30),
    };
    bench.fake.fault(HERE, [Fault::Answer(limited)]);
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    let state = bench.fake.state.lock().unwrap();
    assert_eq!(state.tries.len(), 2);
    let waited = state.tries[1].0 - state.tries[0].0;
    assert!(
        waited >= Duration::from_secs(30) && waited < Duration::from_secs(31),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_the_same_body_and_nonce_and_then_a_look() {
    let bench = Bench::start("").await;
    bench.fake.fault(HERE, [Fault::PostedUnknown]);
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    {
        let state = bench.fake.state.lock().unwrap();
        assert_eq!((state.posted.len(), state.tries.len(), state.looks), (1, 2, 0));
        assert_eq!(state.tries[0].1, state.tries[1].1);
    }
    // Unknown for longer than a nonce lives: it is looked for, found, and not posted again.
    let unknown = || Fault::Answer(SendOutcome::Unknown { reason: "502".into() });
    bench.fake.fault(HERE, [Fault::PostedUnknown]);
    bench.fake.fault(HERE, (0..200).map(|_| unknown()));
    bench.arrive([2], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2]);
    assert_eq!(bench.fake.state.lock().unwrap().looks, 1);
    assert_eq!(bench.state(&HERE, 2), PostState::Sent);
    // The same, but it never got there: sent again.
    bench.fake.state.lock().unwrap().faults.clear();
    bench.fake.fault(HERE, vec![Fault::Hang; 3]);
    bench.arrive([3], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_is_not_posted_again() {
    let bench = Bench::start("").await;
    bench.fake.state.lock().unwrap().finds = [Found::Failed { reason: "cut".into() }, Found::CannotTell].into();
    bench.fake.fault(HERE, [Fault::PostedUnknown, Fault::Hang, Fault::Hang]);
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.state(&HERE, 1), PostState::Unknown);
    let state = bench.fake.state.lock().unwrap();
    assert_eq!((state.posted.len(), state.looks), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_poisonous_killmail_is_the_only_one_lost() {
    let bench = Bench::start("").await;
    bench.fake.state.lock().unwrap().poison = vec![4];
    bench.arrive(1..=7, &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2, 3, 5, 6, 7]);
    assert_eq!(bench.state(&HERE, 4), PostState::Dead);
    bench.arrive(8..=10, &[HERE]);
    bench.drained().await;
    let state = bench.fake.state.lock().unwrap();
    assert_eq!(state.posted.last().unwrap().1.killmails, [8, 9, 10], "together again");
}

#[tokio::test(start_paused = true)]
async fn a_channel_without_permissions_is_suspended_probed_and_resumes() {
    let bench = Bench::start("").await;
    bench.fake.fault(HERE, vec![Fault::Answer(refused(403, 50013)); 3]);
    bench.arrive([1, 2], &[HERE]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let snapshot = bench.running().subscriptions.snapshot();
    assert_eq!(snapshot.suspension(&HERE).map(|row| row.code), Some(50013));
    assert_eq!(snapshot.suspension(&THERE), None);
    // What comes meanwhile does not hasten it.
    bench.arrive([3], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2, 3]);
    {
        let state = bench.fake.state.lock().unwrap();
        let times: Vec<_> = state
            .tries
            .windows(2)
            .map(|two| (two[1].0 - two[0].0).as_secs())
            .collect();
        assert_eq!(times, [300, 600, 1200]);
    }
    assert_eq!(bench.running().subscriptions.snapshot().suspension(&HERE), None);
    // A hint that the permissions are back is tried at once.
    bench.fake.fault(HERE, [Fault::Answer(refused(403, 50001))]);
    bench.arrive([4], &[HERE]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    bench.running().prober.try_now(HERE);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.fake.killmails(&HERE), [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_gone_is_never_tried_again() {
    let bench = Bench::start("").await;
    bench.fake.fault(HERE, [Fault::Answer(refused(404, 10003))]);
    bench.arrive([1, 2], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.state(&HERE, 1), PostState::Gone);
    let retired = bench
        .running()
        .subscriptions
        .snapshot()
        .suspension(&HERE)
        .is_some_and(|row| row.retired);
    assert!(
        retired && bench.running().subscriptions.list().len() == 2,
        "listed as such, not deleted"
    );
    bench.arrive([3], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.state.lock().unwrap().tries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_ends_the_process_and_loses_nothing() {
    let mut bench = Bench::start("").await;
    bench.fake.fault(HERE, [Fault::Answer(SendOutcome::Unauthorized)]);
    bench.arrive([1], &[HERE]);
    let error = (&mut bench.running.as_mut().unwrap().task).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("NOTIFIER_DISCORD_TOKEN"), "{error}");
    let running = bench.running.take().unwrap();
    drop((running.outbox, running.subscriptions));
    bench.restart().await;
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [1]);
}

#[tokio::test(start_paused = true)]
async fn late_ones_and_too_many_become_one_post_that_links_nothing() {
    let bench = Bench::start("").await;
    bench.arrive_aged(1..=30, &[HERE], 2 * 3_600_000);
    bench.arrive([31], &[HERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&HERE), [31]);
    assert_eq!(bench.state(&HERE, 7), PostState::Folded);
    {
        let state = bench.fake.state.lock().unwrap();
        assert_eq!(state.posted[0].1.message, render::folded(30));
    }
    // 210 wait and 200 may: the oldest ten are folded.
    bench.arrive(101..=310, &[THERE]);
    bench.drained().await;
    assert_eq!(bench.fake.killmails(&THERE), (111..=310).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn pings_have_an_age_and_a_cooldown_that_survives() {
    let mut bench = Bench::start("ping = \"here\"\nping_max_age = \"1m\"").await;
    let pings = |bench: &Bench| {
        let state = bench.fake.state.lock().unwrap();
        state
            .posted
            .iter()
            .map(|(_, post)| post.message.content.contains("@here"))
            .collect::<Vec<_>>()
    };
    bench.arrive([1], &[HERE]);
    bench.drained().await;
    bench.arrive([2], &[HERE]);
    bench.drained().await;
    assert!(bench.outbox().post(&HERE, 2).unwrap().unwrap().ping_held_back);
    bench.restart().await;
    bench.arrive([3], &[HERE]);
    bench.drained().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    bench.arrive_aged([4], &[HERE], 61_000);
    bench.drained().await;
    bench.arrive([5], &[HERE]);
    bench.drained().await;
    assert_eq!(pings(&bench), [true, false, false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn deaths_at_any_point_lose_nothing_and_post_nothing_twice() {
    for seed in 0..25 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bench = Bench::start("").await;
        let mut next = 1;
        for _ in 0..8 {
            let more = random.u64(0..15);
            bench.arrive(next..next + more, &[HERE, THERE]);
            bench.outbox().flush().await.unwrap();
            next += more;
            for destination in [HERE, THERE] {
                let fault = match random.u8(0..6) {
                    0 => Fault::PostedHang,
                    1 => Fault::Hang,
                    2 => Fault::PostedUnknown,
                    3 => Fault::Answer(SendOutcome::Unknown { reason: "502".into() }),
                    _ => continue,
                };
                bench.fake.fault(destination, [fault]);
            }
            tokio::time::sleep(Duration::from_millis(random.u64(0..400))).await;
            if random.bool() {
                bench.restart().await;
            }
            if random.u8(0..8) == 0 {
                // Down for longer than a nonce lives.
                tokio::time::sleep(Duration::from_secs(400)).await;
            }
        }
        bench.fake.state.lock().unwrap().faults.clear();
        bench.drained().await;
        for destination in [HERE, THERE] {
            assert_eq!(
                bench.fake.killmails(&destination),
                (1..next).collect::<Vec<_>>(),
                "seed {seed}"
            );
        }
        bench.running().shutdown.cancel();
        (&mut bench.running.as_mut().unwrap().task).await.unwrap().unwrap();
    }
}
