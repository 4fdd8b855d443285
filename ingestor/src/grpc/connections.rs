//! How many connections there may be: in all, and from one address. Counted here, and given back by a guard.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use metrics::{counter, gauge};

use super::auth;

/// Connections open now.
pub const CONNECTIONS: &str = "killfeed_connections";
/// Connections that were closed as soon as they came, or cut later, labelled by why.
pub const CONNECTIONS_ENDED: &str = "killfeed_connections_ended_total";

/// The connections that are open.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    max: usize,
    max_per_address: usize,
    /// A plain mutex: held for a look-up, never across an await.
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection is closed by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// There are as many as there may be.
    TooMany,
    /// There are as many from this address as there may be.
    TooManyFromAddress,
    /// No TLS handshake came about.
    NoTls,
    /// It did not begin to speak HTTP/2 in time.
    Silent,
    /// It did not read what waited for it.
    Stalled,
}

impl Ended {
    pub(super) fn count(self) {
        let reason = match self {
            Self::TooMany => "too many",
            Self::TooManyFromAddress => "too many from address",
            Self::NoTls => "no TLS",
            Self::Silent => "silent",
            Self::Stalled => "stalled",
        };
        counter!(CONNECTIONS_ENDED, "reason" => reason).increment(1);
    }
}

impl ConnectionLimiter {
    pub(super) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            open: Mutex::default(),
        })
    }

    /// Counts one more in, until the place is dropped.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionPermit, Ended> {
        let network = auth::network(address);
        let mut open = self.locked();
        if open.all >= self.max {
            return Err(Ended::TooMany);
        }
        let from_there = open.by_address.entry(network).or_default();
        if *from_there >= self.max_per_address {
            return Err(Ended::TooManyFromAddress);
        }
        *from_there += 1;
        open.all += 1;
        gauge!(CONNECTIONS).set(open.all as f64);
        Ok(ConnectionPermit {
            connections: self.clone(),
            network,
        })
    }

    /// A panic elsewhere does not make counters wrong.
    fn locked(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among the limits.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    connections: Arc<ConnectionLimiter>,
    network: IpAddr,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.connections.locked();
        open.all -= 1;
        gauge!(CONNECTIONS).set(open.all as f64);
        if let Some(from_there) = open.by_address.get_mut(&self.network) {
            *from_there -= 1;
            if *from_there == 0 {
                open.by_address.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_address_and_in_all() {
        let connections = ConnectionLimiter::new(3, 2);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = connections.enter(address("192.0.2.1")).unwrap();
        // The same host over a socket that takes both.
        let second = connections.enter(address("::ffff:192.0.2.1")).unwrap();
        let refused = connections.enter(address("192.0.2.1"));
        assert_eq!(refused.unwrap_err(), Ended::TooManyFromAddress);
        let third = connections.enter(address("2001:db8::1")).unwrap();
        assert_eq!(connections.enter(address("2001:db8:1::1")).unwrap_err(), Ended::TooMany);
        drop(first);
        let fourth = connections.enter(address("2001:db8::2")).unwrap();
        drop(second);
        // One IPv6 host has a whole /64.
        assert_eq!(
            connections.enter(address("2001:db8::3")).unwrap_err(),
            Ended::TooManyFromAddress
        );
        drop((third, fourth));
        let open = connections.locked();
        assert_eq!((open.all, open.by_address.len()), (0, 0));
    }
}
