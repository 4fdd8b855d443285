//! The client and the service in a simulated network (turmoil).
//!
//! The simulation has partitions in one or both directions, delays, servers that vanish or restart, and clients that
//! are killed and resume. Minutes of simulated time take a second. Everything runs on one thread and depends on one
//! seed, which the test prints: `KILLFEED_SEED=n` repeats a run, and `KILLFEED_SIMULATIONS=n` sets the number of runs.
//!
//! The seed does not decide the order in which tokio wakes the waiters of one `watch`, nor the branch that an unbiased
//! `select!` polls first (seeding it requires `tokio_unstable`). The simulation avoids shared `watch` channels, and
//! `rng.rs` gives each stream its own random numbers, so that this order does not matter. Nor does the seed decide the
//! machine's clock: h2 forgets a reset stream after one real second, and a Progress contains the real time, which no
//! history records.

mod rng;
mod faults;
mod log;
mod network;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use killfeed::client::{Client, ClientEvent, FollowOptions, Position, Start};
use killfeed_support::validator::{self, Observed, RunHistory, validate};
use turmoil::Sim;

use crate::recorder::{Recorder, begun};
use faults::Faults;
use log::MemoryLog;
use rng::{Own, drawn};

/// The seed of the fast test.
const SEED: u64 = 1;
const SERVERS: usize = 2;
const CLIENTS: usize = 8;
/// The time in which faults occur.
const DISRUPTION_DURATION: Duration = Duration::from_secs(180);
/// The time in which all clients must reach the head after the last fault.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(900);
const TICK_INTERVAL: Duration = Duration::from_millis(10);
/// The maximum number of queued segments per connection, and of connections that wait to be accepted.
const TCP_CAPACITY: usize = 1_024;

/// The state of a client that survives a kill.
#[derive(Default)]
struct ClientState {
    lives: u64,
    position: Option<Position>,
    /// One stream per life of the client.
    streams: Vec<validator::Stream>,
    opened: usize,
    home: bool,
}

type Shared<T> = Arc<Mutex<T>>;

fn with<T, R>(shared: &Shared<T>, inside: impl FnOnce(&mut T) -> R) -> R {
    inside(&mut shared.lock().unwrap())
}

/// Runs one life of a client, until the client has read up to the final head.
///
/// The client sometimes pauses between two events.
async fn follow(n: usize, seed: u64, disk: Shared<ClientState>, over: Shared<Option<u64>>) -> turmoil::Result {
    let recorder = Recorder::under_way(turmoil::sim_elapsed().unwrap());
    let (start, asked) = with(&disk, |disk| match &disk.position {
        Some(position) => {
            let after = validator::offset(&position.cursor);
            (Start::After(position.clone()), validator::Start::After(after))
        }
        None => (Start::Earliest, validator::Start::Earliest { trimmed: 0 }),
    });
    let filter = if n % 3 == 2 { "npc" } else { "" };
    let wanted = (filter == "npc").then(|| (0..100_000).filter(|id| log::is_npc(*id)).collect::<BTreeSet<u64>>());
    with(&disk, |disk| disk.streams.push(begun(asked, wanted, true)));
    let counted = disk.clone();
    let mut builder = Client::builder().observe(move |moment| {
        if matches!(moment, ClientEvent::Connected { .. }) {
            with(&counted, |disk| disk.opened += 1);
        }
    });
    for server in [n % SERVERS, (n + 1) % SERVERS] {
        builder = builder.channel(format!("http://server-{server}"), network::channel(server));
    }
    let mut events = builder.build()?.follow(FollowOptions {
        on_expired_continue: true,
        include_updates: true,
        ..FollowOptions::new(filter, start)
    });
    let mut rng = Rng::with_seed(seed);
    loop {
        let next = events.next().await?;
        let event = recorder.event(&next);
        let head = with(&over, |over| *over);
        let home = event.seen == Observed::Progress && head.is_some_and(|head| event.offset >= head);
        with(&disk, |disk| {
            let stream = disk.streams.last_mut().unwrap();
            stream.events.push(event);
            stream.to_the_end = home;
            disk.position = Some(next.position);
            disk.home = home;
        });
        if home {
            return Ok(());
        }
        if head.is_none() {
            match rng.u16(0..1_000) {
                0..3 => tokio::time::sleep(Duration::from_secs(rng.u64(1..50))).await,
                3..40 => tokio::time::sleep(Duration::from_millis(rng.u64(1..900))).await,
                _ => {}
            }
        }
    }
}

/// The simulated network with its servers and clients.
struct Simulation {
    sim: Sim<'static>,
    logs: [Arc<MemoryLog>; SERVERS],
    disks: Vec<Shared<ClientState>>,
    /// The final head, which every client has to reach after the last fault.
    over: Shared<Option<u64>>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK_INTERVAL)
            .simulation_duration(DISRUPTION_DURATION + RECOVERY_TIMEOUT)
            .min_message_latency(faults::LATENCY)
            .max_message_latency(faults::LATENCY)
            .tcp_capacity(TCP_CAPACITY)
            .build();
        let logs = [MemoryLog::new(drawn((seed, 0))), MemoryLog::new(drawn((seed, 1)))];
        for (n, log) in logs.iter().enumerate() {
            let (log, lives) = (log.clone(), Shared::<u64>::default());
            sim.host(network::server(n), move || {
                let life = with(&lives, |lives| {
                    *lives += 1;
                    *lives
                });
                let seed = drawn((seed, "server", n, life));
                let pause = if life > 1 { seed % 8_000 } else { 0 };
                network::serve(log.clone(), seed, Duration::from_millis(pause))
            });
        }
        let over = Shared::default();
        let disks: Vec<Shared<ClientState>> = (0..CLIENTS).map(|_| Shared::default()).collect();
        for (n, disk) in disks.iter().enumerate() {
            let (disk, over) = (disk.clone(), Arc::clone(&over));
            sim.host(network::client(n), move || {
                let life = with(&disk, |disk| {
                    disk.lives += 1;
                    disk.lives
                });
                let seed = drawn((seed, "client", n, life));
                Own::new(seed, follow(n, seed, disk.clone(), over.clone()))
            });
        }
        Self { sim, logs, disks, over }
    }

    fn step(&mut self) -> Duration {
        self.sim.step().unwrap();
        self.sim.elapsed()
    }

    fn everybody_is_home(&self) -> bool {
        self.disks.iter().all(|disk| with(disk, |disk| disk.home))
    }
}

/// Runs one simulation and returns its history.
fn simulate(seed: u64) -> RunHistory {
    let mut rng = Rng::with_seed(seed);
    let mut world = Simulation::new(seed);
    let mut faults = Faults::new(rng.fork());
    let mut history = RunHistory::default();
    let mut published = Vec::new();
    let mut late: Vec<(Duration, log::NewRecord)> = Vec::new();
    let (mut next, mut trimmed, mut now) = (1_u64, 0_u64, Duration::ZERO);
    while now < DISRUPTION_DURATION || !late.is_empty() {
        now = world.step();
        // One replica appends each record first; the other one follows a moment later, like a relay.
        late.retain(|(due, record)| {
            let waits = *due > now;
            if !waits {
                world.logs[1].append(record);
            }
            waits
        });
        if now >= DISRUPTION_DURATION {
            continue;
        }
        if rng.u8(0..10) == 0 {
            for _ in 0..rng.u64(1..4) {
                let record = log::killmail(next, now);
                published.push((next, 0));
                history.log.insert(record.offset, record.appended());
                world.logs[0].append(&record);
                let before: Duration = late.last().map_or(now, |(due, _)| *due);
                late.push((before.max(now + Duration::from_millis(rng.u64(0..1_500))), record));
                next += 1;
            }
        }
        if rng.u16(0..150) == 0 {
            faults.one(&mut world.sim);
        }
        // A sleeping client sometimes falls behind retention, which follows the head at a fixed distance.
        let head = world.logs[1].head_offset();
        if rng.u16(0..300) == 0 && head > 4_000 {
            trimmed = trimmed.max(head - 4_000);
            world.logs.iter().for_each(|log| log.trim(trimmed));
        }
    }
    Faults::mend(&mut world.sim);
    with(&world.over, |over| *over = Some(world.logs[0].head_offset()));
    while !world.everybody_is_home() {
        now = world.step();
        assert!(
            now < DISRUPTION_DURATION + RECOVERY_TIMEOUT,
            "seed {seed}: a client is not at the head {RECOVERY_TIMEOUT:?} after the last fault"
        );
    }
    let mut opened = 0;
    for (n, disk) in world.disks.iter().enumerate() {
        let disk = with(disk, std::mem::take);
        opened += disk.opened;
        history.clients.push(validator::Client {
            name: network::client(n),
            streams: disk.streams,
        });
    }
    history.published = Some(published);
    history.trimmed = trimmed;
    println!(
        "  {} records, {opened} streams opened, {} server and {} client crashes",
        history.log.len(),
        faults.crashes,
        faults.kills,
    );
    history
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Returns `count` new seeds, or the seed in `KILLFEED_SEED`.
fn seeds(count: u64) -> Vec<u64> {
    match number("KILLFEED_SEED") {
        Some(seed) => vec![seed],
        None => {
            let first = fastrand::u64(..1_000_000_000);
            (first..first + number("KILLFEED_SIMULATIONS").unwrap_or(count)).collect()
        }
    }
}

fn events(history: &RunHistory) -> impl Iterator<Item = &validator::Received> {
    let streams = history.clients.iter().flat_map(|client| &client.streams);
    streams.flat_map(|stream| &stream.events)
}

#[test]
#[ignore = "long: .ci/run --long runs it"]
fn all_guarantees_hold_in_random_simulations() {
    let mut expired = 0;
    for seed in seeds(10) {
        println!("KILLFEED_SEED={seed}");
        let history = simulate(seed);
        assert_eq!(history.clients.len(), CLIENTS);
        assert!(history.log.len() > 1_000, "{} records", history.log.len());
        let gaps = events(&history).filter(|event| event.seen == Observed::Expired).count();
        println!("  {} events, {gaps} trimmed positions", events(&history).count());
        expired += gaps;
        validate(&history);
    }
    println!("{expired} trimmed positions in total");
}

#[test]
fn all_guarantees_hold_in_a_simulation() {
    let history = simulate(SEED);
    assert_eq!(history.clients.len(), CLIENTS);
    assert!(history.log.len() > 1_000, "{} records", history.log.len());
    validate(&history);
}

#[test]
#[ignore = "long: .ci/run --long runs it"]
fn same_seed_gives_the_same_history() {
    for seed in seeds(1) {
        println!("KILLFEED_SEED={seed}");
        let (first, second) = (simulate(seed), simulate(seed));
        assert_eq!(first.log, second.log);
        let differs = by_time(&first).zip(by_time(&second)).find(|(one, other)| one != other);
        assert!(differs.is_none(), "the first difference is {differs:?}");
        assert!(
            first.clients == second.clients,
            "one history has more events than the other"
        );
    }
}

/// Returns all events by time, each with its client's name.
fn by_time(history: &RunHistory) -> impl Iterator<Item = (&str, &validator::Received)> {
    let mut all = Vec::new();
    for client in &history.clients {
        let events = client.streams.iter().flat_map(|stream| &stream.events);
        all.extend(events.map(|event| (client.name.as_str(), event)));
    }
    // The sort is stable: events at the same time stay in the order of the clients.
    all.sort_by_key(|(_, event)| event.at);
    all.into_iter()
}
