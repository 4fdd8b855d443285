//! Who asks zKillboard: a lease with a time to live, renewed by its holder, taken over by whoever saw it unrenewed for that long.
//!
//! Nobody's wall clock counts, and no server's: the holder counts from before it sent a renewal, the others from after they saw it. So the
//! holder always stops first, whatever the network does, as long as their clocks run equally fast. (A bucket with a maximal age would
//! expire on each server by that server's clock, and a cluster of version 2.9 could then not agree on what is stored.) Pure; `poller.rs`
//! asks and writes.

use std::time::Duration;

use killfeed_service::clock::Uptime;
use serde::{Deserialize, Serialize};

/// How long a lease lasts after its last renewal. With [`CHECK_INTERVAL`] and the time of an election within the 15 s that a fail-over may take.
pub(super) const TTL: Duration = Duration::from_secs(8);
/// The holder stops so long before the others may begin.
pub(super) const MARGIN: Duration = Duration::from_secs(1);
/// How often it is renewed.
pub(super) const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);
/// How often the others look.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    /// A random number of the process, in hexadecimal.
    pub(super) holder: String,
    /// Counts its renewals, so that each value is written once.
    pub(super) renewal: u64,
    /// Its holder gave it up.
    #[serde(default)]
    pub(super) free: bool,
    /// What its holder has to say to the others.
    #[serde(default)]
    pub(super) note: String,
}

/// The lease as the others see it.
#[derive(Debug, Default)]
pub(super) struct LeaseObserver {
    /// The place's sequence, and when it was first seen.
    seen: Option<(u64, Uptime)>,
}

impl LeaseObserver {
    /// What was read at `now`: whether it may be taken over.
    pub(super) fn can_acquire(&mut self, sequence: u64, lease: Option<&Lease>, holder: &str, now: Uptime) -> bool {
        let since = match self.seen {
            Some((seen, since)) if seen == sequence => since,
            _ => {
                self.seen = Some((sequence, now));
                now
            }
        };
        match lease {
            None => true,
            // Ours still: an outage was over before anybody else could take it.
            Some(lease) => lease.free || lease.holder == holder || now - since >= TTL,
        }
    }
}

/// Until when a renewal sent at `sent` holds for its holder.
pub(super) fn holds_until(sent: Uptime) -> Uptime {
    sent + (TTL - MARGIN)
}

#[cfg(test)]
mod tests {
    use killfeed_service::clock::Clock;

    use super::*;

    fn lease(free: bool) -> Lease {
        Lease {
            holder: "a".into(),
            renewal: 1,
            free,
            note: String::new(),
        }
    }

    #[test]
    fn a_lease_is_taken_when_it_was_not_renewed_for_its_time() {
        let start = Clock::system().now().up;
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut watch = LeaseObserver::default();
        let held = lease(false);
        assert!(!watch.can_acquire(5, Some(&held), "b", start));
        assert!(!watch.can_acquire(5, Some(&held), "b", after(7)));
        // Renewed: it counts from there.
        assert!(!watch.can_acquire(6, Some(&held), "b", after(9)));
        assert!(!watch.can_acquire(6, Some(&held), "b", after(16)));
        assert!(watch.can_acquire(6, Some(&held), "b", after(17)));
    }

    #[test]
    fn what_is_free_or_ours_or_nobodys_is_taken_at_once() {
        let now = Clock::system().now().up;
        assert!(LeaseObserver::default().can_acquire(5, Some(&lease(true)), "b", now));
        assert!(LeaseObserver::default().can_acquire(5, Some(&lease(false)), "a", now));
        assert!(LeaseObserver::default().can_acquire(0, None, "a", now));
    }

    #[test]
    fn a_holder_stops_before_another_may_begin() {
        let sent = Clock::system().now().up;
        // Seen the moment it was sent, which is the earliest.
        let mut watch = LeaseObserver::default();
        watch.can_acquire(5, Some(&lease(false)), "b", sent);
        let stops = holds_until(sent);
        assert!(!watch.can_acquire(5, Some(&lease(false)), "b", stops + MARGIN / 2));
    }

    #[test]
    fn it_reads_back_and_older_ones_too() {
        let text = r#"{"holder":"a","renewal":3}"#;
        let read: Lease = serde_json::from_str(text).unwrap();
        assert_eq!((read.renewal, read.free, read.note.as_str()), (3, false, ""));
        let again: Lease = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, read);
    }
}
