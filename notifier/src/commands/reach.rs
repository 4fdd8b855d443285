//! What the stream has to do with a killmail: whether it came, will come, or never will. Pure.

use killfeed::v1::Killmail;

use super::Standing;
use crate::matching;

/// How a killmail stands to this notifier's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It came.
    Came,
    /// It is in the log, and the stream is not there yet.
    Ahead,
    /// It was in the log before the stream began (milliseconds), and never comes: a new data folder, and a skipped backlog, begin
    /// at the log's head.
    Before(u64),
    /// The stream is past it, and nothing is known of it: it came longer ago than that is kept, or before the stream began, where
    /// it is not known when that was.
    Past,
    /// The log does not have it, or cannot be asked.
    Unknown,
}

/// How it stands. `received`: it is among those that are known to have come; `killmail`: as the log has it.
pub fn reach(received: bool, killmail: Option<&Killmail>, standing: &Standing) -> Reach {
    if received {
        return Reach::Came;
    }
    let Some(killmail) = killmail else {
        return Reach::Unknown;
    };
    // All three by the ingestor's clock, which never goes back in the log's order.
    let ingested = matching::millis(&killmail.ingested_time);
    if ingested < standing.began {
        return Reach::Before(standing.began);
    }
    // What came in the same millisecond as what the stream has reached may stand behind it.
    if ingested < standing.time {
        return Reach::Past;
    }
    Reach::Ahead
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
        let standing = |began, time| Standing {
            began,
            time,
            ..Standing::default()
        };
        for (received, ingested, standing, expected) in [
            (true, Some(5), standing(9_000, 9_500), Reach::Came),
            (true, None, standing(9_000, 9_500), Reach::Came),
            (false, None, standing(9_000, 9_500), Reach::Unknown),
            (false, Some(8_999), standing(9_000, 9_500), Reach::Before(9_000)),
            (false, Some(9_000), standing(9_000, 9_500), Reach::Past),
            (false, Some(9_499), standing(9_000, 9_500), Reach::Past),
            (false, Some(9_500), standing(9_000, 9_500), Reach::Ahead),
            (false, Some(9_501), standing(9_000, 9_500), Reach::Ahead),
            // A data folder of before this was written down.
            (false, Some(8_000), standing(0, 9_500), Reach::Past),
            // The stream was never open.
            (false, Some(8_000), standing(0, 0), Reach::Ahead),
        ] {
            let killmail = ingested.map(at);
            assert_eq!(reach(received, killmail.as_ref(), &standing), expected, "{ingested:?}");
        }
    }
}
