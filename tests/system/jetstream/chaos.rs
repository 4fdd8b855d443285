//! Random faults of ingestors and servers, alone and together, under load.
//!
//! A short run with a fixed seed is among the fast tests. The long run prints its seed: `KILLFEED_SEED=n` repeats a
//! run's decisions, `KILLFEED_CHAOS_SECONDS=n` makes a run longer.

use std::time::Duration;

use fastrand::Rng;
use killfeed_support::nats::Nats;
use tokio::time::{Instant, sleep};

use super::faults::{Run, turns};
use crate::{chaos::number, harness::TestIngestor};

/// The time between two killmails.
const PAUSE: Duration = Duration::from_millis(60);

/// A fault. At most one server is down at a time, because a cluster of three needs two.
#[derive(Debug, Clone, Copy)]
enum Disruption {
    KillIngestor(usize),
    KillBoth,
    StopIngestor(usize),
    KillServer(usize),
    StopServer(usize),
    KillIngestorAndServer(usize, usize),
}

impl Disruption {
    /// Draws a random fault; two of three faults of an ingestor hit the leader.
    fn any(rng: &mut Rng, leader: usize) -> Self {
        let other = usize::from(rng.u8(0..3) == 0);
        let (ingestor, server) = ((leader + other) % 2, rng.usize(0..3));
        match rng.u8(0..8) {
            0 | 1 => Self::KillIngestor(ingestor),
            2 => Self::KillBoth,
            3 => Self::StopIngestor(ingestor),
            4 | 5 => Self::KillServer(server),
            6 => Self::StopServer(server),
            _ => Self::KillIngestorAndServer(ingestor, server),
        }
    }

    async fn happen(self, both: &mut [TestIngestor; 2], nats: &mut Nats, rng: &mut Rng) {
        // The time is shorter or longer than the lease.
        let long = Duration::from_millis(rng.u64(0..10_000));
        let short = Duration::from_millis(rng.u64(0..4_000));
        match self {
            Self::KillIngestor(n) => both[n].kill_and_begin().await,
            Self::KillBoth => {
                let [first, second] = both;
                tokio::join!(first.kill_and_begin(), second.kill_and_begin());
            }
            Self::StopIngestor(n) => {
                both[n].service().signal("STOP").await;
                sleep(long).await;
                both[n].service().signal("CONT").await;
            }
            Self::KillServer(n) => {
                nats.kill(n).await;
                sleep(short).await;
                nats.launch(n).await;
                nats.wait_replicated("killfeed").await;
            }
            Self::StopServer(n) => {
                nats.signal(n, "STOP").await;
                sleep(short).await;
                nats.signal(n, "CONT").await;
                nats.wait_replicated("killfeed").await;
            }
            Self::KillIngestorAndServer(n, server) => {
                tokio::join!(both[n].kill(), nats.kill(server));
                sleep(short).await;
                both[n].launch().await;
                nats.launch(server).await;
                nats.wait_replicated("killfeed").await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_guarantees_hold_under_server_faults() {
    run(1, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: .ci/run --long runs it"]
async fn all_guarantees_hold_under_random_server_faults() {
    let seed = number("KILLFEED_SEED").unwrap_or_else(|| fastrand::u64(..));
    run(seed, number("KILLFEED_CHAOS_SECONDS").unwrap_or(60)).await;
}

async fn run(seed: u64, seconds: u64) {
    println!("KILLFEED_SEED={seed} KILLFEED_CHAOS_SECONDS={seconds}");
    let mut rng = Rng::with_seed(seed);
    let killmails = u128::from(seconds) * 1_000 / PAUSE.as_millis();
    let Some((mut nats, mut both, run)) = Run::over_three_servers(killmails as usize).await else {
        return;
    };
    let begun = Instant::now();
    let mut happened = Vec::new();
    let troubles = async {
        while begun.elapsed().as_secs() < seconds {
            sleep(Duration::from_millis(rng.u64(100..2_500))).await;
            let leader = turns(&run.upstream).last().copied().unwrap_or(0);
            let trouble = Disruption::any(&mut rng, leader);
            println!("after {:?}: {trouble:?}", begun.elapsed());
            trouble.happen(&mut both, &mut nats, &mut rng).await;
            happened.push(trouble);
        }
    };
    run.under_load(PAUSE, troubles).await;
    let turns = turns(&run.upstream);
    println!("{} faults, leaders: {turns:?}", happened.len());
    // Each fault may end a term. A fault of a server may also end the term that started meanwhile. Two pollers would
    // alternate with every request.
    assert!(turns.len() <= 2 * happened.len() + 1, "{turns:?} after {happened:?}");
    run.end(both).await;
}
