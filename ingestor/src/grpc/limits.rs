//! How much a caller may ask for: streams at once, calls a second, names a minute. Counted here, and given back by a guard.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use killfeed_service::{clock::Uptime, rate::RateLimiter};
use metrics::gauge;
use moka::{policy::EvictionPolicy, sync::Cache};
use tonic::Status;

use super::{
    auth::Caller,
    lag::{LagTracker, StreamPosition},
    status,
};

/// Streams open now, labelled by the token's name.
pub const STREAMS: &str = "killfeed_streams";

/// More callers than this are not remembered: the one whose last call is the oldest is forgotten.
const MAX_CALLERS: u64 = 10_000;

/// Streams at once.
#[derive(Debug)]
pub(super) struct StreamLimiter {
    max: usize,
    max_per_token: usize,
    all: AtomicUsize,
    /// A plain mutex: held for a look-up, never across an await.
    by_token: Mutex<HashMap<Arc<str>, usize>>,
    lags: LagTracker,
}

impl StreamLimiter {
    pub(super) fn new(max: usize, max_per_token: usize, lags: LagTracker) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_token,
            all: AtomicUsize::new(0),
            by_token: Mutex::default(),
            lags,
        })
    }

    /// Open now.
    pub(super) fn open(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// Counts one more stream in, until the seat is dropped.
    pub(super) fn enter(self: &Arc<Self>, caller: &Caller) -> Result<StreamPermit, Status> {
        let more = |open: usize| (open < self.max).then_some(open + 1);
        if self
            .all
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_err()
        {
            return Err(status::too_many_streams("this ingestor", self.max));
        }
        // From here on the seat gives back what was taken, also on the way out below.
        let mut seat = StreamPermit {
            streams: self.clone(),
            token: None,
            standing: self.lags.enter(caller.label()),
            label: caller.label(),
        };
        gauge!(STREAMS, "token" => seat.label.to_string()).increment(1.0);
        if let Caller::Token(name) = caller {
            let mut by_token = lock(&self.by_token);
            let open = by_token.entry(name.clone()).or_default();
            if *open >= self.max_per_token {
                drop(by_token);
                let subject = format!("token {name}");
                return Err(status::too_many_streams(&subject, self.max_per_token));
            }
            *open += 1;
            seat.token = Some(name.clone());
        }
        Ok(seat)
    }
}

/// A stream's place among the limits.
#[derive(Debug)]
pub(super) struct StreamPermit {
    streams: Arc<StreamLimiter>,
    /// Counted under this name.
    token: Option<Arc<str>>,
    label: Arc<str>,
    standing: Arc<StreamPosition>,
}

impl StreamPermit {
    /// Whose stream it is, for logs.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Where the stream says how far it is.
    pub(super) fn standing(&self) -> &StreamPosition {
        &self.standing
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.streams.all.fetch_sub(1, Ordering::Relaxed);
        gauge!(STREAMS, "token" => self.label.to_string()).decrement(1.0);
        if let Some(name) = &self.token {
            let mut by_token = lock(&self.streams.by_token);
            if let Some(open) = by_token.get_mut(name) {
                *open -= 1;
                if *open == 0 {
                    by_token.remove(name);
                }
            }
        }
    }
}

/// A rate limit of its own for each caller.
#[derive(Debug)]
pub(super) struct CallerRateLimiter {
    per_second: f64,
    burst: f64,
    callers: Cache<Caller, Arc<Mutex<RateLimiter>>>,
}

impl CallerRateLimiter {
    /// `burst`: how many at once after a pause.
    pub(super) fn new(per_second: f64, burst: f64) -> Self {
        Self {
            per_second,
            burst,
            // A forgotten caller starts with a burst, as a new one does.
            callers: Cache::builder()
                .max_capacity(MAX_CALLERS)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
        }
    }

    /// Takes so many, or says how long to wait for them.
    pub(super) fn take(&self, caller: &Caller, count: f64, now: Uptime) -> Result<(), Duration> {
        let full = || Arc::new(Mutex::new(RateLimiter::full(self.per_second, self.burst, now)));
        let limiter = self.callers.entry_by_ref(caller).or_insert_with(full).into_value();
        lock(&limiter).take(count, now)
    }
}

/// A panic elsewhere does not make counters wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    fn token(name: &str) -> Caller {
        Caller::Token(name.into())
    }

    #[test]
    fn streams_are_counted_in_and_out() {
        let streams = StreamLimiter::new(3, 2, LagTracker::default());
        let first = streams.enter(&token("a")).unwrap();
        let _second = streams.enter(&token("a")).unwrap();
        let refused = streams.enter(&token("a")).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(
            refused.message(),
            "token a has reached its limit of 2 open streams: close one first"
        );
        assert!(refused.get_error_details().quota_failure().is_some());
        assert_eq!(streams.open(), 2, "a refused stream is counted out again");
        let third = streams.enter(&Caller::Address(None)).unwrap();
        let full = streams.enter(&token("b")).unwrap_err();
        assert_eq!(
            full.message(),
            "this ingestor has reached its limit of 3 open streams: close one first"
        );
        drop((first, third));
        assert!(streams.enter(&token("a")).is_ok());
        assert_eq!(streams.open(), 1);
    }

    #[test]
    fn callers_without_a_token_have_only_the_limit_of_all() {
        let streams = StreamLimiter::new(5, 1, LagTracker::default());
        let seats: Vec<_> = (0..5).map(|_| streams.enter(&Caller::Address(None)).unwrap()).collect();
        assert!(streams.enter(&Caller::Address(None)).is_err());
        drop(seats);
        assert_eq!(streams.open(), 0);
        assert!(lock(&streams.by_token).is_empty());
    }

    #[test]
    fn calls_come_back_with_time_up_to_a_burst() {
        let calls = CallerRateLimiter::new(20.0, 40.0);
        let begun = Uptime::default();
        let after = |millis| begun + Duration::from_millis(millis);
        let take = |name: &str, millis| calls.take(&token(name), 1.0, after(millis)).is_ok();
        assert_eq!((0..50).filter(|_| take("a", 0)).count(), 40);
        assert_eq!(calls.take(&token("a"), 1.0, after(0)), Err(Duration::from_millis(50)));
        assert!(take("b", 0), "another caller has its own bucket");
        assert!(take("a", 50));
        assert!(!take("a", 50));
        assert_eq!((0..50).filter(|_| take("a", 60_000)).count(), 40);
    }

    #[test]
    fn more_than_a_bucket_holds_is_had_from_a_full_one_and_paid_for_later() {
        let names = CallerRateLimiter::new(1.0, 60.0);
        let begun = Uptime::default();
        let take = |count, seconds| names.take(&token("a"), count, begun + Duration::from_secs(seconds));
        assert_eq!(take(100.0, 0), Ok(()));
        assert_eq!(take(1.0, 0), Err(Duration::from_secs(41)));
        assert_eq!(take(1.0, 41), Ok(()));
        assert_eq!(take(100.0, 42), Err(Duration::from_secs(59)));
    }

    #[test]
    fn callers_are_forgotten_once_there_are_too_many() {
        let calls = CallerRateLimiter::new(20.0, 40.0);
        let begun = Uptime::default();
        for n in 0..2 * u32::try_from(MAX_CALLERS).unwrap() {
            let address = std::net::Ipv4Addr::from_bits(n).into();
            calls.take(&Caller::Address(Some(address)), 1.0, begun).unwrap();
        }
        calls.callers.run_pending_tasks();
        assert!(calls.callers.entry_count() <= MAX_CALLERS);
    }
}
