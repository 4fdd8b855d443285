//! What goes wrong in the simulated network, one thing after the other, and how it is mended.

use std::time::Duration;

use fastrand::Rng;
use turmoil::Sim;

use super::{
    CLIENTS, SERVERS,
    network::{self, client, server},
};

/// As long as a link takes while nothing is wrong.
pub(crate) const LATENCY: Duration = Duration::from_millis(5);

/// Decides what goes wrong.
pub(crate) struct Faults {
    rng: Rng,
    /// Servers that were killed.
    pub(crate) crashes: usize,
    /// Clients that were killed.
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

    /// Something goes wrong, or is mended.
    pub(crate) fn one(&mut self, sim: &mut Sim<'_>) {
        let rng = &mut self.rng;
        let (client, server) = (client(rng.usize(0..CLIENTS)), server(rng.usize(0..SERVERS)));
        match rng.u8(0..16) {
            // What is sent is lost, and TCP's repetitions too: a hole that stays after the link is mended.
            0 => sim.partition(client, server),
            1 if rng.bool() => sim.partition_oneway(client, server),
            1 => sim.partition_oneway(server, client),
            // What is sent comes late, but it comes.
            2 => sim.hold(client, server),
            3..8 => (0..SERVERS).for_each(|n| sim.release(client.as_str(), network::server(n))),
            8 => sim.set_link_latency(client, server, Duration::from_millis(rng.u64(1..2_000))),
            // kill -9; its machine is still there, and says so: connections are closed, and refused until it listens again.
            9 => {
                self.crashes += usize::from(sim.is_host_running(server.as_str()));
                links_of(sim, &server, |sim, client, server| sim.release(client, server));
                sim.bounce(server);
            }
            // It vanishes with its machine, and nobody is told.
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

    /// Everything is well again.
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

/// Starts a server unless it runs. Its log is as it was.
fn start(sim: &mut Sim<'_>, server: &str) {
    if !sim.is_host_running(server) {
        links_of(sim, server, |sim, client, server| sim.release(client, server));
        sim.bounce(server);
    }
}

/// Starts the clients that were killed.
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
