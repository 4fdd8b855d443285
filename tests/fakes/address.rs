//! Loopback addresses for the programs that a test or the demo starts.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::TcpListener,
    ops::Range,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// The ports that [`free_address`] gives.
///
/// The kernel gives ports above these to connections and to programs that ask for any port, so none of these is taken
/// between the moment that it is found free and the moment that a program listens there.
const PORTS: Range<u16> = 20_000..32_000;

/// Returns a loopback address on which nothing listens now; each call in a process returns another one.
///
/// # Panics
/// If all ports are taken.
pub fn free_address() -> String {
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    // A random start keeps test processes that run at the same time apart.
    let next = NEXT.get_or_init(|| AtomicU64::new(RandomState::new().build_hasher().finish() >> 1));
    let ports = PORTS.end - PORTS.start;
    PORTS
        .map(|_| {
            let index = next.fetch_add(1, Ordering::Relaxed) % u64::from(ports);
            format!("127.0.0.1:{}", u64::from(PORTS.start) + index)
        })
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free loopback port")
}
