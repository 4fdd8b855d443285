//! The wall clock and the time since boot. Only this module reads a clock.
//!
//! Wall time is for values that are shown, stored, or compared with times from elsewhere: an operator or a time server may
//! change it at any moment. Leases, bans, rates and deadlines use the time since boot ([`Now::up`]). That clock keeps running
//! while the machine sleeps (`CLOCK_BOOTTIME`), which [`std::time::Instant`] does not.

use std::{
    fmt,
    ops::{Add, Sub},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use killfeed::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// The longest sleep before the clock is read again. It bounds how late a resumed process notices that time has passed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The readings of both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, which may jump in either direction.
    pub wall: SystemTime,
    /// The time since boot, which never goes back.
    pub up: Uptime,
}

impl Now {
    /// Returns the wall clock in milliseconds since 1970.
    pub fn wall_ms(self) -> i64 {
        to_ms(self.wall)
    }

    /// Returns the wall clock in milliseconds since 1970, for values that are never negative.
    pub fn unix_ms(self) -> u64 {
        // `wall_ms` is never negative.
        u64::try_from(self.wall_ms()).unwrap_or_default()
    }
}

/// The time since the machine was started, including the time in which it slept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uptime(Duration);

impl Uptime {
    /// Returns the moment that is `since_boot` after the start of the machine.
    pub const fn new(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// Returns the time from the start of the machine to this moment.
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// Returns the moment that is `duration` earlier; the start of the machine if there is none.
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }

    /// Returns the time since `earlier`; zero if `earlier` is later.
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Uptime {
    type Output = Self;

    /// Saturates at the last moment that can be represented.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub for Uptime {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// A source of the current time. Cloning it is cheap.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<dyn Fn() -> Now + Send + Sync>>);

impl Clock {
    /// Returns the machine's clock. Under tokio's paused time, [`Now::up`] follows that time.
    pub const fn system() -> Self {
        Self(None)
    }

    /// Returns a clock for tests, which shows what `now` returns.
    pub fn from_fn(now: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// Returns a clock for tests: its wall clock starts at `wall` and follows the time since boot from there.
    pub fn starting_at(wall: SystemTime) -> Self {
        let start = uptime();
        Self::from_fn(move || {
            let up = uptime();
            Now {
                wall: wall + (up - start),
                up,
            }
        })
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        match &self.0 {
            Some(now) => now(),
            None => Now {
                wall: system_wall(),
                up: uptime(),
            },
        }
    }

    /// Sleeps until the given time since boot.
    ///
    /// Timers stop while the machine sleeps, so the clock is checked every second, and a resumed process is late by at most
    /// a second. Cancel safe.
    pub async fn sleep_until(&self, until: Uptime) {
        loop {
            let left = until - self.now().up;
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(CHECK_INTERVAL)).await;
        }
    }

    /// Sleeps for the given time, which includes the time in which the machine sleeps. Cancel safe.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().up + duration).await;
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn system_wall() -> SystemTime {
    SystemTime::now()
}

/// The reference point of [`uptime`]: the time since boot and the monotonic clock, read together.
static START: LazyLock<(Duration, Instant)> = LazyLock::new(|| (read(ClockId::Boottime), monotonic()));
/// The time that the machine slept since boot, in nanoseconds: the greatest value measured so far.
static SLEPT: AtomicU64 = AtomicU64::new(0);
/// The value of [`SLEPT`] at [`START`].
static SLEPT_AT_START: LazyLock<u64> = LazyLock::new(slept);

/// Reads the time since boot.
///
/// The kernel counts `CLOCK_BOOTTIME` as the monotonic clock plus the time asleep. This function replaces the monotonic
/// clock with tokio's clock. The two are equal unless a test pauses tokio's clock, which then drives both timers and
/// deadlines.
fn uptime() -> Uptime {
    let at_start = *SLEPT_AT_START;
    let (boot, start) = *START;
    let asleep = Duration::from_nanos(slept().saturating_sub(at_start));
    Uptime(boot + Instant::now().saturating_duration_since(start) + asleep)
}

/// Reads the machine's monotonic clock, even if a test pauses tokio's.
///
/// All tests share [`START`], so the paused clock of one test must not affect it.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
fn monotonic() -> Instant {
    std::time::Instant::now().into()
}

/// Returns the time that the machine slept since boot, in nanoseconds. The result never decreases.
fn slept() -> u64 {
    let boot = read(ClockId::Boottime);
    // The monotonic clock is read second, so the difference never exceeds the time asleep. The greatest difference is
    // therefore the most accurate one.
    let monotonic = read(ClockId::Monotonic);
    let asleep = boot.saturating_sub(monotonic).as_nanos();
    let asleep = u64::try_from(asleep).unwrap_or(u64::MAX);
    SLEPT.fetch_max(asleep, Ordering::Relaxed).max(asleep)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    // Neither part is negative for these clocks.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// Returns the milliseconds since 1970, limited to `0..=i64::MAX`.
pub fn to_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the time that is `ms` milliseconds after 1970; 1970 for a negative value.
pub fn from_ms(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or_default())
}

/// Converts milliseconds since 1970 to a protobuf timestamp.
pub fn timestamp(ms: i64) -> Timestamp {
    let nanos = ms.rem_euclid(1_000) * 1_000_000;
    Timestamp {
        seconds: ms.div_euclid(1_000),
        // The value is at most 999,000,000, which fits.
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn uptime_agrees_with_the_kernel() {
        for _ in 0..100 {
            let before = read(ClockId::Boottime);
            let shown = Clock::system().now().up.since_boot();
            let after = read(ClockId::Boottime);
            // The measured time asleep can be too short by the time between the readings of the two clocks.
            assert!(
                shown + Duration::from_millis(50) >= before && shown <= after,
                "{shown:?} {before:?} {after:?}"
            );
        }
    }

    #[test]
    fn uptime_never_goes_back() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    let mut last = uptime();
                    for _ in 0..10_000 {
                        let now = uptime();
                        assert!(now >= last);
                        last = now;
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn uptime_follows_paused_time() {
        let clock = Clock::system();
        let before = clock.now().up;
        tokio::time::advance(SECOND * 3_600).await;
        let passed = clock.now().up - before;
        assert!((SECOND * 3_600..SECOND * 3_601).contains(&passed), "{passed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn wall_follows_uptime_from_a_given_time() {
        let clock = Clock::starting_at(from_ms(1_000_000));
        let first = clock.now();
        tokio::time::advance(SECOND * 60).await;
        let second = clock.now();
        assert_eq!(second.wall.duration_since(first.wall).unwrap(), second.up - first.up);
        assert!((1_060_000..1_061_000).contains(&second.wall_ms()));
    }

    #[tokio::test(start_paused = true)]
    async fn sleep_until_ends_at_its_time() {
        let clock = Clock::system();
        let until = clock.now().up + SECOND * 90;
        clock.sleep_until(until).await;
        let late = clock.now().up - until;
        assert!(clock.now().up >= until && late < SECOND, "{late:?}");
        clock.sleep_until(until).await;
    }

    /// The machine sleeps for an hour during a sleep of two hours. Timers stop meanwhile; the clock does not.
    #[tokio::test(start_paused = true)]
    async fn sleep_until_notices_a_resumed_machine() {
        let asleep = Arc::new(Mutex::new(Duration::ZERO));
        let (shown, system) = (asleep.clone(), Clock::system());
        let clock = Clock::from_fn(move || {
            let now = system.now();
            let up = now.up + *shown.lock().unwrap();
            Now { up, ..now }
        });
        let (begun, start) = (clock.now().up, Instant::now());
        let sleeping = tokio::spawn(async move { clock.sleep_until(begun + SECOND * 7_200).await });
        tokio::time::sleep(SECOND * 60).await;
        *asleep.lock().unwrap() = SECOND * 3_600;
        sleeping.await.unwrap();
        let ran = start.elapsed();
        assert!((SECOND * 3_600..=SECOND * 3_601).contains(&ran), "{ran:?}");
    }

    #[test]
    fn uptime_arithmetic_saturates() {
        let (early, late) = (Uptime::new(SECOND), Uptime::new(SECOND * 3));
        assert_eq!((late - early, early - late), (SECOND * 2, Duration::ZERO));
        assert_eq!(early + SECOND * 2, late);
        assert_eq!((late + Duration::MAX).since_boot(), Duration::MAX);
    }

    #[test]
    fn milliseconds_truncate_and_clamp_to_the_epoch() {
        assert_eq!(to_ms(UNIX_EPOCH - SECOND), 0);
        assert_eq!(to_ms(UNIX_EPOCH + Duration::from_micros(1_999)), 1);
        assert_eq!((from_ms(-5), to_ms(from_ms(1_500))), (UNIX_EPOCH, 1_500));
    }

    #[test]
    fn timestamp_nanos_are_never_negative() {
        for (ms, seconds, nanos) in [(1_500, 1, 500_000_000), (-1, -1, 999_000_000), (0, 0, 0)] {
            assert_eq!(timestamp(ms), Timestamp { seconds, nanos }, "{ms}");
        }
    }
}
