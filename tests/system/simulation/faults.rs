//! Random faults of the simulated network, and their repair.

use std::time::Duration;

use fastrand::Rng;
use turmoil::Sim;

use super::{
    CLIENTS, SERVERS,
    network::{self, client, server},
};

/// The latency of a link without faults.
pub(crate) const LATENCY: Duration = Duration::from_millis(5);

/// Injects random faults.
pub(crate) struct Faults {
    rng: Rng,
    /// The number of server crashes.
    pub(crate) crashes: usize,
    /// The number of client kills.
    pub(crate) kills: usize,
}

impl Faults {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            rng,
            crashes: 0,
            kills: 0,
        }
    }

    /// Injects or repairs one random fault.
    pub(crate) fn one(&mut self, sim: &mut Sim<'_>) {
        let rng = &mut self.rng;
        let (client, server) = (client(rng.usize(0..CLIENTS)), server(rng.usize(0..SERVERS)));
        match rng.u8(0..16) {
            // A partition drops all segments, including TCP's retransmissions, and the repair does not restore
            // them.
            0 => sim.partition(client, server),
            1 if rng.bool() => sim.partition_oneway(client, server),
            1 => sim.partition_oneway(server, client),
            // A held link delays all segments but loses none.
            2 => sim.hold(client, server),
            3..8 => (0..SERVERS).for_each(|n| sim.release(client.as_str(), network::server(n))),
            8 => sim.set_link_latency(client, server, Duration::from_millis(rng.u64(1..2_000))),
            // The process is killed while its machine runs: connections are closed, and refused until the server
            // listens again.
            9 => {
                self.crashes += usize::from(sim.is_host_running(server.as_str()));
                links_of(sim, &server, |sim, client, server| sim.release(client, server));
                sim.bounce(server);
            }
            // The machine vanishes with the process, and no peer is notified.
            10 => {
                self.crashes += usize::from(sim.is_host_running(server.as_str()));
                links_of(sim, &server, |sim, client, server| sim.partition(client, server));
                sim.crash(server);
            }
            11 | 12 => start(sim, &server),
            13 => {
                self.kills += 1;
                sim.crash(client);
            }
            14 => {
                self.kills += 1;
                sim.bounce(client);
            }
            _ => wake(sim),
        }
    }

    /// Repairs all faults.
    pub(crate) fn mend(sim: &mut Sim<'_>) {
        for n in 0..SERVERS {
            start(sim, &server(n));
            links_of(sim, &server(n), |sim, client, server| {
                sim.release(client, server);
                sim.set_link_latency(client, server, LATENCY);
            });
        }
        wake(sim);
    }
}

/// Starts a server that does not run. Its log is unchanged.
fn start(sim: &mut Sim<'_>, server: &str) {
    if !sim.is_host_running(server) {
        links_of(sim, server, |sim, client, server| sim.release(client, server));
        sim.bounce(server);
    }
}

/// Starts all killed clients.
fn wake(sim: &mut Sim<'_>) {
    for n in 0..CLIENTS {
        if !sim.is_host_running(client(n)) {
            sim.bounce(client(n));
        }
    }
}

fn links_of(sim: &mut Sim<'_>, server: &str, change: impl Fn(&mut Sim<'_>, &str, &str)) {
    for n in 0..CLIENTS {
        change(sim, &client(n), server);
    }
}
