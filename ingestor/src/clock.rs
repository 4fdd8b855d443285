//! The wall clock, as an argument: tests turn it by hand.

use std::time::{SystemTime, UNIX_EPOCH};

use killfeed::Timestamp;

/// Says what time it is.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970, UTC.
    fn now_ms(&self) -> i64;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        to_ms(SystemTime::now())
    }
}

/// Milliseconds since 1970; a time before it counts as 0 and one too far ahead as the last that fits.
pub fn to_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// As a protobuf timestamp.
pub fn timestamp(ms: i64) -> Timestamp {
    let nanos = ms.rem_euclid(1_000) * 1_000_000;
    // 0..=999_000_000 always fits.
    Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos: i32::try_from(nanos).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_as_timestamps() {
        assert_eq!(
            timestamp(1_500),
            Timestamp {
                seconds: 1,
                nanos: 500_000_000
            }
        );
        assert_eq!(
            timestamp(-1),
            Timestamp {
                seconds: -1,
                nanos: 999_000_000
            }
        );
    }
}
