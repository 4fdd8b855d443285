//! What to do after a failure. Decisions only: no clock, no network, no randomness of its own.

use std::{error::Error as _, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::backoff::Backoff;

/// The delay between two rounds in which no endpoint could serve the stream.
pub(crate) const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
/// What a server may ask for at most: a wait has to end, whatever it says.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Why following ended: trying again would not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The filter, the cursor or something else in the request is wrong.
    #[error("the ingestor at {endpoint} rejected the request: {message}")]
    Invalid {
        /// Which ingestor.
        endpoint: String,
        /// Which field of the request, if it says: `filter`, `after_cursor`, ...
        field: Option<String>,
        /// What is wrong with it.
        message: String,
    },
    /// No token, or one that no ingestor knows: every endpoint said so.
    #[error("the ingestor at {endpoint} rejected the token: {message}")]
    Unauthenticated {
        /// The last ingestor asked.
        endpoint: String,
        /// What it says.
        message: String,
    },
    /// The token is known but does not suffice, at any endpoint.
    #[error("the ingestor at {endpoint} denied permission: {message}")]
    PermissionDenied {
        /// Which ingestor.
        endpoint: String,
        /// What it says.
        message: String,
    },
    /// No endpoint keeps the events after the position any more.
    #[error(
        "the events after the stored position were removed: the ingestor at {endpoint} reports {message}; start at its earliest event, or set `on_expired_continue` to continue after a gap"
    )]
    Expired {
        /// The last ingestor asked.
        endpoint: String,
        /// The oldest place it can start from.
        earliest_cursor: Option<String>,
        /// What it says.
        message: String,
    },
}

/// Why an attempt ended, as far as it matters for what comes next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// `google.rpc.ErrorInfo`.
    pub(crate) reason: Option<String>,
    pub(crate) earliest_cursor: Option<String>,
    pub(crate) field: Option<String>,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// Something that went wrong on this side.
    pub(crate) fn own(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: None,
            earliest_cursor: None,
            field: None,
            retry_after: None,
        }
    }

    /// The token does not open this door; another's it may.
    pub(crate) fn is_refusal(&self) -> bool {
        refuses(self.code)
    }
}

/// What an ingestor says that does not let the caller in.
pub(crate) fn refuses(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::PermissionDenied)
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let violation = details.bad_request().and_then(|bad| bad.field_violations.first());
        let message = match violation {
            Some(violation) => violation.description.clone(),
            None => words(status),
        };
        Self {
            code: status.code(),
            message,
            reason: info.map(|info| info.reason.clone()),
            earliest_cursor: info.and_then(|info| info.metadata.get("earliest_cursor").cloned()),
            field: violation.map(|violation| violation.field.clone()),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }
}

/// A server's own words; what went wrong on the way says "transport error" and no more, but has causes.
fn words(status: &Status) -> String {
    let message = status.message();
    match status.source().map(super::builder::causes) {
        Some(causes) if causes.starts_with(message) => causes,
        Some(causes) => format!("{message}: {causes}"),
        None if message.is_empty() => status.code().to_string(),
        None => message.to_owned(),
    }
}

/// What is known when an attempt has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryContext {
    /// Some endpoint has not been asked since the last event, or since the last wait.
    pub(crate) others_left: bool,
    /// No endpoint lets us in.
    pub(crate) all_refuse: bool,
    /// The attempt started after a cursor.
    pub(crate) at_cursor: bool,
    /// The caller wants to go on behind a gap, and the attempt did not say so yet.
    pub(crate) may_continue: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RetryAction {
    /// Ask another endpoint if one is left, else wait; this one is left alone for so long.
    Retry { leave_alone: Duration },
    /// Ask the same endpoint by time: it has another log.
    ResumeByTime,
    /// Ask again, accepting a gap: the position has expired everywhere.
    AcceptGap,
    /// Give up.
    End(FollowError),
}

/// The one place that knows what a failure means.
pub(crate) fn next(failure: &Failure, endpoint: &str, situation: RetryContext) -> RetryAction {
    let endpoint = endpoint.to_owned();
    let message = failure.message.clone();
    match failure.code {
        Code::InvalidArgument => RetryAction::End(FollowError::Invalid {
            endpoint,
            field: failure.field.clone(),
            message,
        }),
        // One of several may have read another tokens file.
        Code::Unauthenticated if situation.all_refuse => {
            RetryAction::End(FollowError::Unauthenticated { endpoint, message })
        }
        Code::PermissionDenied if situation.all_refuse => {
            RetryAction::End(FollowError::PermissionDenied { endpoint, message })
        }
        // Another one may keep more.
        Code::OutOfRange if situation.others_left => RetryAction::Retry {
            leave_alone: Duration::ZERO,
        },
        Code::OutOfRange if situation.may_continue => RetryAction::AcceptGap,
        Code::OutOfRange => RetryAction::End(FollowError::Expired {
            endpoint,
            earliest_cursor: failure.earliest_cursor.clone(),
            message,
        }),
        Code::FailedPrecondition if failure.reason.as_deref() == Some("LOG_MISMATCH") && situation.at_cursor => {
            RetryAction::ResumeByTime
        }
        // Whatever else it is may pass: a restart, an upgrade, a proxy in between, a full house.
        _ => RetryAction::Retry {
            leave_alone: failure.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: RetryContext = RetryContext {
        others_left: false,
        all_refuse: false,
        at_cursor: true,
        may_continue: false,
    };

    fn failure(code: Code) -> Failure {
        Failure::own(code, "words")
    }

    #[test]
    fn every_failure_has_its_answer() {
        let retry = |seconds| RetryAction::Retry {
            leave_alone: Duration::from_secs(seconds),
        };
        let asked = |seconds| Failure {
            retry_after: Some(Duration::from_secs(seconds)),
            ..failure(Code::Unavailable)
        };
        let mismatch = Failure {
            reason: Some("LOG_MISMATCH".into()),
            ..failure(Code::FailedPrecondition)
        };
        let others = RetryContext {
            others_left: true,
            ..ALONE
        };
        let patient = RetryContext {
            may_continue: true,
            ..ALONE
        };
        let fresh = RetryContext {
            at_cursor: false,
            ..ALONE
        };
        let table = [
            (failure(Code::Unavailable), ALONE, retry(0)),
            (asked(7), ALONE, retry(7)),
            (asked(7), others, retry(7)),
            (asked(86_400), ALONE, retry(300)),
            (failure(Code::Ok), ALONE, retry(0)),
            (failure(Code::Unknown), ALONE, retry(0)),
            (failure(Code::Internal), others, retry(0)),
            (failure(Code::DeadlineExceeded), ALONE, retry(0)),
            (failure(Code::Cancelled), ALONE, retry(0)),
            (failure(Code::ResourceExhausted), ALONE, retry(0)),
            (failure(Code::Unimplemented), ALONE, retry(0)),
            (failure(Code::FailedPrecondition), ALONE, retry(0)),
            (failure(Code::Unauthenticated), ALONE, retry(0)),
            (failure(Code::PermissionDenied), others, retry(0)),
            (mismatch.clone(), ALONE, RetryAction::ResumeByTime),
            (mismatch.clone(), others, RetryAction::ResumeByTime),
            (mismatch, fresh, retry(0)),
            (failure(Code::OutOfRange), others, retry(0)),
            (failure(Code::OutOfRange), patient, RetryAction::AcceptGap),
        ];
        for (failure, situation, expected) in table {
            assert_eq!(next(&failure, "e", situation), expected, "{failure:?} {situation:?}");
        }
    }

    #[test]
    fn what_waiting_does_not_mend_ends_it() {
        for (code, text) in [
            (Code::InvalidArgument, "the ingestor at e rejected the request: words"),
            (Code::Unauthenticated, "the ingestor at e rejected the token: words"),
            (Code::PermissionDenied, "the ingestor at e denied permission: words"),
            (
                Code::OutOfRange,
                "the events after the stored position were removed: the ingestor at e reports words; start at its earliest event, or set `on_expired_continue` to continue after a gap",
            ),
        ] {
            let refused = RetryContext {
                all_refuse: refuses(code),
                ..ALONE
            };
            match next(&failure(code), "e", refused) {
                RetryAction::End(error) => assert_eq!(error.to_string(), text),
                other => panic!("{code:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn details_are_read() {
        use tonic_types::{ErrorDetails, StatusExt as _};
        let mut details = ErrorDetails::with_error_info(
            "CURSOR_EXPIRED",
            "killfeed.v1",
            [("earliest_cursor".to_owned(), "k1-x".to_owned())],
        );
        details.set_retry_info(Some(Duration::from_secs(3)));
        let status = Status::with_error_details(Code::OutOfRange, "gone", details);
        let failure = Failure::from(&status);
        assert_eq!(failure.reason.as_deref(), Some("CURSOR_EXPIRED"));
        assert_eq!(failure.earliest_cursor.as_deref(), Some("k1-x"));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(3)));
        assert_eq!(failure.message, "gone");
        let details = ErrorDetails::with_bad_request_violation("filter", "at 0..3: no such field");
        let failure = Failure::from(&Status::with_error_details(Code::InvalidArgument, "bad", details));
        assert_eq!(failure.field.as_deref(), Some("filter"));
        assert_eq!(failure.message, "at 0..3: no such field");
    }
}
