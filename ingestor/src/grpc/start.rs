//! Where a stream begins: start position → offset, and whether a gap has to be told first.

use killfeed::{
    Timestamp,
    cursor::{Cursor, Offset},
    v1::{Gap, GapReason, OnExpired, Position, stream_killmails_request::Start},
};
use killfeed_service::clock::Clock;
pub(super) use killfeed_service::clock::timestamp;
use tonic::Status;

use super::status;
use crate::log::{CursorStatus, LogError, LogRead, LogStatus};

/// Where a stream begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StartPoint {
    /// Everything up to here lies behind it.
    pub(super) after: Offset,
    /// Nothing ingested before this is delivered, whatever its offset.
    pub(super) not_before_ms: i64,
    /// Told before anything else.
    pub(super) gap: Option<Gap>,
    /// It asked for the oldest event there is, not for a certain one: if that goes before it is read, the next one will do.
    pub(super) at_oldest: bool,
}

/// Finds the place, or says why there is none.
pub(super) async fn start(
    log: &dyn LogRead,
    start: Option<Start>,
    on_expired: OnExpired,
) -> Result<StartPoint, Status> {
    match start {
        None => Ok(latest(log)),
        Some(Start::Position(position)) => match Position::try_from(position) {
            Ok(Position::Earliest) => Ok(StartPoint {
                at_oldest: true,
                ..at(log.status().trimmed)
            }),
            Ok(Position::Latest | Position::Unspecified) => Ok(latest(log)),
            Err(_) => Err(status::bad_field(
                "position",
                "expected POSITION_LATEST or POSITION_EARLIEST",
            )),
        },
        Some(Start::AfterCursor(text)) => {
            let cursor: Cursor = text
                .parse()
                .map_err(|error| status::bad_field("after_cursor", format!("{error}")))?;
            let found = after_cursor(log.locate(cursor), on_expired, &log.status());
            found.map_err(|refusal| refusal.status(log))
        }
        Some(Start::Since(time)) => {
            let since_ms = millis_up(&time)
                .ok_or_else(|| status::bad_field("since", "expected a time with nanos between 0 and 999999999"))?;
            let after = log
                .seek(since_ms)
                .await
                .map_err(|error: LogError| status::log_failed(&error))?;
            Ok(since(after, since_ms, on_expired, &log.status()))
        }
    }
}

/// Why a cursor cannot be gone on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CursorError {
    Expired { trimmed: Offset },
    Ahead,
    Unrelated,
}

impl CursorError {
    fn status(self, log: &dyn LogRead) -> Status {
        let cursor = |offset| Cursor { log: log.id(), offset };
        match self {
            Self::Expired { trimmed } => status::expired(cursor(trimmed)),
            Self::Ahead => status::ahead(),
            Self::Unrelated => status::log_mismatch(cursor(Offset(0))),
        }
    }
}

fn after_cursor(place: CursorStatus, on_expired: OnExpired, log: &LogStatus) -> Result<StartPoint, CursorError> {
    match place {
        CursorStatus::After(offset) => Ok(at(offset)),
        CursorStatus::Expired { trimmed } if on_expired == OnExpired::Continue => Ok(StartPoint {
            gap: Some(expired_gap(None, log)),
            ..at(trimmed)
        }),
        CursorStatus::Expired { trimmed } => Err(CursorError::Expired { trimmed }),
        CursorStatus::Ahead => Err(CursorError::Ahead),
        CursorStatus::Unrelated => Err(CursorError::Unrelated),
    }
}

fn since(after: Offset, since_ms: i64, on_expired: OnExpired, log: &LogStatus) -> StartPoint {
    // A log that was never written has no beginning that something could lie before; one that was emptied begins behind
    // its newest record.
    let begins_ms = log
        .earliest_ms
        .or_else(|| (log.head.offset > Offset(0)).then_some(log.head.ingested_ms.saturating_add(1)));
    let too_early = begins_ms.is_some_and(|begins| since_ms < begins);
    let gap = (too_early && on_expired == OnExpired::Continue).then(|| expired_gap(Some(since_ms), log));
    StartPoint {
        after: after.max(log.trimmed),
        not_before_ms: since_ms,
        gap,
        at_oldest: true,
    }
}

fn latest(log: &dyn LogRead) -> StartPoint {
    at(log.head().borrow().offset)
}

fn at(after: Offset) -> StartPoint {
    StartPoint {
        after,
        not_before_ms: i64::MIN,
        gap: None,
        at_oldest: false,
    }
}

/// What retention took from this reader: from where it was (if that is known) to the oldest record kept.
pub(super) fn expired_gap(from_ms: Option<i64>, log: &LogStatus) -> Gap {
    Gap {
        reason: GapReason::CursorExpired.into(),
        from_time: from_ms.map(timestamp),
        to_time: Some(timestamp(log.earliest_ms.unwrap_or_else(now_ms))),
        missing: 0,
    }
}

/// Message → milliseconds since 1970, rounded up: "at or after" a time between two milliseconds is the later one. `None`: not a
/// valid message.
pub(super) fn millis_up(time: &Timestamp) -> Option<i64> {
    let nanos = (0..1_000_000_000)
        .contains(&time.nanos)
        .then_some(i64::from(time.nanos))?;
    let millis = (nanos + 999_999) / 1_000_000;
    Some(time.seconds.saturating_mul(1_000).saturating_add(millis))
}

/// The wall clock, for people: nothing is decided by it.
pub(super) fn now_ms() -> i64 {
    Clock::system().now().wall_ms()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Head;

    const LOG: LogStatus = LogStatus {
        trimmed: Offset(10),
        earliest_ms: Some(5_000),
        head: Head {
            offset: Offset(20),
            ingested_ms: 9_000,
        },
        killmails: 7,
    };

    #[test]
    fn cursors() {
        let expired = CursorStatus::Expired { trimmed: Offset(10) };
        let gap = StartPoint {
            gap: Some(Gap {
                reason: GapReason::CursorExpired.into(),
                from_time: None,
                to_time: Some(timestamp(5_000)),
                missing: 0,
            }),
            ..at(Offset(10))
        };
        let refused = Err(CursorError::Expired { trimmed: Offset(10) });
        for (place, on_expired, expected) in [
            (CursorStatus::After(Offset(12)), OnExpired::Fail, Ok(at(Offset(12)))),
            (expired, OnExpired::Fail, refused.clone()),
            (expired, OnExpired::Unspecified, refused),
            (expired, OnExpired::Continue, Ok(gap)),
            (CursorStatus::Ahead, OnExpired::Continue, Err(CursorError::Ahead)),
            (
                CursorStatus::Unrelated,
                OnExpired::Continue,
                Err(CursorError::Unrelated),
            ),
        ] {
            assert_eq!(after_cursor(place, on_expired, &LOG), expected, "{place:?}");
        }
    }

    #[test]
    fn times() {
        let emptied = LogStatus {
            trimmed: Offset(20),
            earliest_ms: None,
            ..LOG
        };
        let never_written = LogStatus {
            trimmed: Offset(0),
            earliest_ms: None,
            head: Head::default(),
            killmails: 0,
        };
        for (log, since_ms, on_expired, gap) in [
            (LOG, 4_999, OnExpired::Continue, true),
            (LOG, 4_999, OnExpired::Fail, false),
            (LOG, 5_000, OnExpired::Continue, false),
            (emptied, 9_000, OnExpired::Continue, true),
            (emptied, 9_001, OnExpired::Continue, false),
            (never_written, 0, OnExpired::Continue, false),
        ] {
            let begin = since(Offset(3), since_ms, on_expired, &log);
            assert_eq!(begin.gap.is_some(), gap, "{since_ms} {on_expired:?}");
            assert_eq!(begin.after, log.trimmed.max(Offset(3)));
            assert_eq!(begin.not_before_ms, since_ms);
        }
    }

    #[test]
    fn a_time_between_two_milliseconds_is_the_later_one() {
        let at = |seconds, nanos| Timestamp { seconds, nanos };
        assert_eq!(millis_up(&at(1, 0)), Some(1_000));
        assert_eq!(millis_up(&at(1, 1)), Some(1_001));
        assert_eq!(millis_up(&at(-1, 500_000_000)), Some(-500));
        assert_eq!(millis_up(&at(1, -1)), None);
        assert_eq!(millis_up(&at(1, 1_000_000_000)), None);
        assert_eq!(millis_up(&at(i64::MAX, 0)), Some(i64::MAX));
        assert_eq!(timestamp(-1), at(-1, 999_000_000));
        assert_eq!(timestamp(1_234), at(1, 234_000_000));
    }
}
