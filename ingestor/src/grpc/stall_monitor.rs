//! Clients that do not read. A stream whose client does not take what was handed to it is not asked for more, so it cannot even
//! be told that it ends: its connection has to be closed.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{connections::Ended, socket::Peer};

/// Looked for so many times in the time that a client has.
const CHECKS_PER_TIMEOUT: u32 = 6;

/// All streams, and since when each of them waits for its client.
#[derive(Debug)]
pub(super) struct StallMonitor {
    begun: Instant,
    streams: Mutex<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    next: u64,
    pulses: HashMap<u64, Arc<StreamActivity>>,
}

#[derive(Debug)]
struct StreamActivity {
    /// Milliseconds after the beginning, plus one; 0 = the client took all there was, and the stream has nothing for it.
    waiting_since: AtomicU64,
    /// `None` on a transport that is not ours: its connections are not ours to cut.
    peer: Option<Peer>,
}

impl StallMonitor {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            streams: Mutex::default(),
        })
    }

    /// A stream begins on this connection.
    pub(super) fn watch(self: &Arc<Self>, peer: Option<Peer>) -> MonitoredStream {
        let pulse = Arc::new(StreamActivity {
            waiting_since: AtomicU64::new(0),
            peer,
        });
        let mut streams = self.locked();
        let number = streams.next;
        streams.next += 1;
        streams.pulses.insert(number, pulse.clone());
        MonitoredStream {
            stalls: self.clone(),
            number,
            pulse,
        }
    }

    /// Cuts connections of streams whose client has read nothing for `patience` while data waits. Never ends by itself: to be
    /// dropped.
    pub(super) async fn cut(&self, patience: Duration) -> Infallible {
        let mut looks = interval((patience / CHECKS_PER_TIMEOUT).max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let now = self.now();
            let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
            for pulse in self.locked().pulses.values() {
                let since = pulse.waiting_since.load(Ordering::Relaxed);
                let Some(peer) = &pulse.peer else { continue };
                if since > 0 && now.saturating_sub(since) >= patience && !peer.is_cut() {
                    Ended::Stalled.count();
                    tracing::info!(peer = %peer.address(), patience_ms = patience, "client stopped reading, closing its connection");
                    peer.cut();
                }
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// A plain mutex: held for a look-up, never across an await.
    fn locked(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream, until it is dropped.
#[derive(Debug)]
pub(super) struct MonitoredStream {
    stalls: Arc<StallMonitor>,
    number: u64,
    pulse: Arc<StreamActivity>,
}

impl MonitoredStream {
    /// The connection asks for more: its client has taken what it was given.
    pub(super) fn on_poll(&self) {
        self.pulse.waiting_since.store(0, Ordering::Relaxed);
    }

    /// Something was handed to the connection.
    pub(super) fn on_data(&self) {
        self.pulse.waiting_since.store(self.stalls.now(), Ordering::Relaxed);
    }
}

impl Drop for MonitoredStream {
    fn drop(&mut self) {
        self.stalls.locked().pulses.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_who_is_given_something_and_takes_nothing_is_cut() {
        let stalls = StallMonitor::new();
        let patience = Duration::from_secs(60);
        let peers = [Peer::nobody(), Peer::nobody(), Peer::nobody()];
        let [idle, reads, stuck] = peers.clone().map(|peer| stalls.watch(Some(peer)));
        let looking = stalls.clone();
        let looks = tokio::spawn(async move { looking.cut(patience).await });
        idle.on_data();
        idle.on_poll();
        stuck.on_data();
        for _ in 0..59 {
            reads.on_poll();
            reads.on_data();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(peers.iter().all(|peer| !peer.is_cut()), "a minute is not over");
        for _ in 0..12 {
            reads.on_poll();
            reads.on_data();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(peers.each_ref().map(Peer::is_cut), [false, false, true]);
        drop((idle, reads, stuck));
        assert!(stalls.locked().pulses.is_empty());
        looks.abort();
    }
}
