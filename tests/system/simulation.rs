//! Client and session in a simulated network, on tokio's paused clock: partitions, delays, crashes, and hours that take seconds.
//! Everything runs on one thread and is decided from one seed, which is printed: `KILLFEED_SEED=n` repeats a run.

mod log;
mod network;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use killfeed::client::{Client, Follow, Start};
use killfeed_support::validator::{self, History, Seen, validate};
use tokio::task::JoinSet;

use crate::recorder::{Recorder, begun};
use log::MemoryLog;
use network::Network;

const SERVERS: usize = 2;
const CLIENTS: usize = 8;
/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(180);
/// Everything has to be well again within this.
const END: Duration = Duration::from_secs(900);
const TICK: Duration = Duration::from_millis(10);

/// One client: reads, dawdles, sleeps, and in the end has seen everything up to the head that it is told.
async fn follow(
    network: Arc<Network>,
    over: Arc<Mutex<Option<u64>>>,
    recorder: Recorder,
    n: usize,
    mut rng: Rng,
) -> validator::Client {
    let mut builder = Client::builder();
    for server in [n % SERVERS, (n + 1) % SERVERS] {
        builder = builder.channel(format!("http://server-{server}"), network.channel(n, server));
    }
    let filter = if n % 3 == 2 { "npc" } else { "" };
    let mut events = builder.build().unwrap().follow(Follow {
        on_expired_continue: true,
        include_updates: true,
        ..Follow::new(filter, Start::Earliest)
    });
    let wanted = (filter == "npc").then(|| (0..100_000).filter(|id| log::is_npc(*id)).collect::<BTreeSet<u64>>());
    let mut stream = begun(validator::Start::Earliest { trimmed: 0 }, wanted, true);
    loop {
        let event = recorder.event(&events.next().await.unwrap());
        let (at, progress) = (event.offset, event.seen == Seen::Progress);
        stream.events.push(event);
        let head = *over.lock().unwrap();
        if progress && head.is_some_and(|head| at >= head) {
            break;
        }
        if head.is_none() {
            match rng.u16(0..1_000) {
                0..3 => tokio::time::sleep(Duration::from_secs(rng.u64(1..50))).await,
                3..40 => tokio::time::sleep(Duration::from_millis(rng.u64(1..900))).await,
                _ => {}
            }
        }
    }
    stream.to_the_end = true;
    validator::Client {
        name: format!("client {n}"),
        streams: vec![stream],
    }
}

/// Something goes wrong, or is mended.
fn trouble(network: &Arc<Network>, rng: &mut Rng) {
    let (client, server) = (rng.usize(0..CLIENTS), rng.usize(0..SERVERS));
    match rng.u8(0..8) {
        0 | 1 => network.partition(client, server, true),
        2..5 => network.partition(client, server, false),
        5 => network.delay(client, server, Duration::from_millis(rng.u64(1..2_000))),
        // With a reset on every connection, or without a word.
        6 => network.crash(server, rng.bool()),
        _ => network.start(server),
    }
}

/// Runs one world.
async fn simulate(seed: u64) -> History {
    let mut rng = Rng::with_seed(seed);
    let recorder = Recorder::new();
    let logs = [MemoryLog::new(), MemoryLog::new()];
    let network = Network::new(logs.clone(), CLIENTS);
    let over = Arc::new(Mutex::new(None));
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let own = Rng::with_seed(rng.u64(..));
        clients.spawn(follow(network.clone(), over.clone(), recorder, n, own));
    }

    let mut history = History::default();
    let mut published = Vec::new();
    let mut late: Vec<(Duration, log::NewRecord)> = Vec::new();
    let (mut next, mut trimmed) = (1_u64, 0_u64);
    while recorder.now() < TROUBLE || !late.is_empty() {
        tokio::time::sleep(TICK).await;
        let now = recorder.now();
        // One replica has it first; the other one a moment later, as a relay does.
        late.retain(|(due, record)| {
            let waits = *due > now;
            if !waits {
                logs[1].append(record);
            }
            waits
        });
        if now >= TROUBLE {
            continue;
        }
        if rng.u8(0..10) == 0 {
            for _ in 0..rng.u64(1..4) {
                let record = log::killmail(next, now);
                published.push((next, 0));
                history.log.insert(record.offset, record.appended());
                logs[0].append(&record);
                let before: Duration = late.last().map_or(now, |(due, _)| *due);
                late.push((before.max(now + Duration::from_millis(rng.u64(0..1_500))), record));
                next += 1;
            }
        }
        if rng.u16(0..150) == 0 {
            trouble(&network, &mut rng);
        }
        // Retention follows the head at a distance that a sleeping client does not always keep up with.
        let head = logs[1].head_offset();
        if rng.u16(0..300) == 0 && head > 4_000 {
            trimmed = trimmed.max(head - 4_000);
            logs.iter().for_each(|log| log.trim(trimmed));
        }
    }
    network.mend();
    *over.lock().unwrap() = Some(logs[0].head_offset());
    let home = tokio::time::timeout(END, clients.join_all()).await;
    history.clients =
        home.unwrap_or_else(|_| panic!("seed {seed}: somebody is not at the head {END:?} after all was mended"));
    history.clients.sort_by(|a, b| a.name.cmp(&b.name));
    history.published = Some(published);
    history.trimmed = trimmed;
    println!(
        "  {} records, {} connections, {} crashes",
        history.log.len(),
        network.connections(),
        network.crashes()
    );
    history
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn partitions_delays_and_crashes_break_no_guarantee() {
    let seeds: Vec<u64> = match number("KILLFEED_SEED") {
        Some(seed) => vec![seed],
        None => {
            let first = fastrand::u64(..1_000_000_000);
            (first..first + number("KILLFEED_SIMULATIONS").unwrap_or(3)).collect()
        }
    };
    let mut expired = 0;
    for seed in seeds {
        println!("KILLFEED_SEED={seed}");
        // The session's and the client's jitter come from here too: everything is on this thread.
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let history = runtime.block_on(simulate(seed));
        assert_eq!(history.clients.len(), CLIENTS);
        assert!(history.log.len() > 1_000, "{} records", history.log.len());
        let events = || history.clients.iter().flat_map(|client| &client.streams[0].events);
        let gaps = events().filter(|event| event.seen == Seen::Expired).count();
        println!(
            "  {} events, {gaps} times retention was faster than a client",
            events().count()
        );
        expired += gaps;
        validate(&history);
    }
    println!("{expired} expired in all");
}
