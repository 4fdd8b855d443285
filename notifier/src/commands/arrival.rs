//! What the stream has to do with a killmail: whether it came, will come, or never will. Pure.

use killfeed::v1::Killmail;

use super::StreamStatus;
use crate::matching;

/// How a killmail stands to this notifier's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrivalStatus {
    /// It came.
    Received,
    /// It is in the log, and the stream is not there yet.
    Pending,
    /// It was in the log before the stream began (milliseconds), and never comes: a new data folder, and a skipped backlog, begin
    /// at the log's head.
    Before(u64),
    /// The stream is past it, and nothing is known of it: it came longer ago than that is kept, or before the stream began, where
    /// it is not known when that was.
    Expired,
    /// The log does not have it, or cannot be asked.
    Unknown,
}

/// How it stands. `received`: it is among those that are known to have come; `killmail`: as the log has it.
pub fn reach(received: bool, killmail: Option<&Killmail>, standing: &StreamStatus) -> ArrivalStatus {
    if received {
        return ArrivalStatus::Received;
    }
    let Some(killmail) = killmail else {
        return ArrivalStatus::Unknown;
    };
    // All three by the ingestor's clock, which never goes back in the log's order.
    let ingested = matching::millis(&killmail.ingested_time);
    if ingested < standing.began {
        return ArrivalStatus::Before(standing.began);
    }
    // What came in the same millisecond as what the stream has reached may stand behind it.
    if ingested < standing.time {
        return ArrivalStatus::Expired;
    }
    ArrivalStatus::Pending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_killmail_stands() {
        let at = |ms: i64| Killmail {
            ingested_time: Some(killfeed::Timestamp {
                seconds: ms / 1_000,
                nanos: i32::try_from(ms % 1_000 * 1_000_000).unwrap(),
            }),
            ..Killmail::default()
        };
        let standing = |began, time| StreamStatus {
            began,
            time,
            ..StreamStatus::default()
        };
        for (received, ingested, standing, expected) in [
            (true, Some(5), standing(9_000, 9_500), ArrivalStatus::Received),
            (true, None, standing(9_000, 9_500), ArrivalStatus::Received),
            (false, None, standing(9_000, 9_500), ArrivalStatus::Unknown),
            (false, Some(8_999), standing(9_000, 9_500), ArrivalStatus::Before(9_000)),
            (false, Some(9_000), standing(9_000, 9_500), ArrivalStatus::Expired),
            (false, Some(9_499), standing(9_000, 9_500), ArrivalStatus::Expired),
            (false, Some(9_500), standing(9_000, 9_500), ArrivalStatus::Pending),
            (false, Some(9_501), standing(9_000, 9_500), ArrivalStatus::Pending),
            // A data folder of before this was written down.
            (false, Some(8_000), standing(0, 9_500), ArrivalStatus::Expired),
            // The stream was never open.
            (false, Some(8_000), standing(0, 0), ArrivalStatus::Pending),
        ] {
            let killmail = ingested.map(at);
            assert_eq!(reach(received, killmail.as_ref(), &standing), expected, "{ingested:?}");
        }
    }
}
