//! What clients are told when something does not go: every status of the contract, with its `google.rpc` details.

use std::{collections::HashMap, time::Duration};

use killfeed::{
    cursor::Cursor,
    v1::{Diagnostic, EntityKind},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::log::LogError;

/// Domain of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "killfeed.v1";
/// Details travel in a header, and many clients take 8 KiB of headers in all.
const MAX_VIOLATIONS: usize = 8;
const MAX_DESCRIPTION_CHARS: usize = 400;
/// A cursor ahead: the replica that is behind has usually caught up by then.
const AHEAD_RETRY: Duration = Duration::from_secs(2);
/// A restart takes about this long.
const DRAIN_RETRY: Duration = Duration::from_secs(2);
/// ESI's short outages last longer than this, but somebody waits for the answer.
const NAMES_RETRY: Duration = Duration::from_secs(5);
const LOG_RETRY: Duration = Duration::from_secs(5);

/// A field of the request cannot be used.
pub(super) fn bad_field(field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    let message = format!("{field}: {description}");
    let details = ErrorDetails::with_bad_request_violation(field, description);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// The filter's text has errors. At least one diagnostic.
pub(super) fn bad_filter(diagnostics: &[Diagnostic]) -> Status {
    let violations: Vec<FieldViolation> = diagnostics
        .iter()
        .take(MAX_VIOLATIONS)
        .map(|diagnostic| FieldViolation::new("filter", describe(diagnostic)))
        .collect();
    let first = violations
        .first()
        .map_or("invalid filter", |first| first.description.as_str());
    let message = format!("filter: {first}");
    Status::with_error_details(
        Code::InvalidArgument,
        message,
        ErrorDetails::with_bad_request(violations),
    )
}

fn describe(diagnostic: &Diagnostic) -> String {
    let Diagnostic {
        message,
        start,
        end,
        suggestions,
    } = diagnostic;
    let text = match suggestions.as_slice() {
        [] => format!("at {start}..{end}: {message}"),
        suggestions => format!(
            "at {start}..{end}: {message}; did you mean {}?",
            suggestions.join(" or ")
        ),
    };
    shortened(text)
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(MAX_DESCRIPTION_CHARS) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}

/// The events after the cursor are gone.
pub(super) fn expired(earliest: Cursor) -> Status {
    let text =
        format!("the events after this cursor are past retention and were removed; the earliest cursor is {earliest}");
    let metadata = HashMap::from([("earliest_cursor".to_owned(), earliest.to_string())]);
    let details = ErrorDetails::with_error_info("CURSOR_EXPIRED", DOMAIN, metadata);
    Status::with_error_details(Code::OutOfRange, text, details)
}

/// The cursor belongs to another log.
pub(super) fn log_mismatch(own: Cursor) -> Status {
    let text = format!(
        "this cursor belongs to a log other than {}: resume with `since`, and skip the events that you already have",
        own.log
    );
    let details = ErrorDetails::with_error_info("LOG_MISMATCH", DOMAIN, HashMap::new());
    Status::with_error_details(Code::FailedPrecondition, text, details)
}

/// The cursor is ahead of the head.
pub(super) fn ahead() -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(AHEAD_RETRY));
    details.set_error_info("CURSOR_AHEAD", DOMAIN, HashMap::new());
    let text = "this cursor is ahead of this log, which may be catching up: try again, or use another ingestor";
    Status::with_error_details(Code::Unavailable, text, details)
}

/// A relay that does not hold yet what its upstream holds.
pub(super) fn catching_up() -> Status {
    retry(
        Code::Unavailable,
        "this ingestor is a relay that has not caught up with its upstream yet: try again, or use another ingestor",
        AHEAD_RETRY,
    )
}

/// The server is about to stop.
pub(super) fn draining() -> Status {
    retry(
        Code::Unavailable,
        "the ingestor is shutting down: reconnect",
        DRAIN_RETRY,
    )
}

/// The stream has run for as long as one may.
pub(super) fn too_old() -> Status {
    let text = "this stream has reached its maximum age: reconnect and resume from the last cursor";
    retry(Code::Unavailable, text, Duration::from_millis(100))
}

/// These names cannot be looked up now.
pub(super) fn names_unavailable(names: &[(EntityKind, String)]) -> Status {
    let listed: Vec<String> = names
        .iter()
        .take(MAX_VIOLATIONS)
        .map(|(_, name)| format!("{name:?}"))
        .collect();
    let text = match listed.as_slice() {
        [] => "name lookup is unavailable: try again".to_owned(),
        listed => format!(
            "name lookup is unavailable, and these names are not cached: {}; try again",
            shortened(listed.join(", "))
        ),
    };
    retry(Code::Unavailable, text, NAMES_RETRY)
}

/// No room for one more stream. `subject`: whose limit it is.
pub(super) fn too_many_streams(subject: &str, limit: usize) -> Status {
    let text = format!("{subject} has reached its limit of {limit} open streams: close one first");
    let details = ErrorDetails::with_quota_failure_violation(subject, text.clone());
    Status::with_error_details(Code::ResourceExhausted, text, details)
}

/// Too many calls in too short a time.
pub(super) fn too_many_calls(wait: Duration) -> Status {
    retry(
        Code::ResourceExhausted,
        "too many calls: wait for the retry delay, then try again",
        wait,
    )
}

/// No token, or a wrong one.
pub(super) fn unauthenticated(what: &str) -> Status {
    Status::unauthenticated(format!("{what}: expected metadata `authorization: Bearer <token>`"))
}

/// Too many names that have to be asked of ESI, which is shared by all.
pub(super) fn too_many_names(wait: Duration) -> Status {
    let text = "too many name lookups: wait for the retry delay, then try again, or use ids instead of names";
    retry(Code::ResourceExhausted, text, wait)
}

/// The log does not hold this killmail.
pub(super) fn unknown_killmail(id: u64) -> Status {
    Status::not_found(format!(
        "killmail {id} is not in the log: it was never received, or it is past retention"
    ))
}

/// The log cannot answer now.
pub(super) fn log_failed(error: &LogError) -> Status {
    match error {
        LogError::Closed => draining(),
        other => retry(
            Code::Unavailable,
            format!("cannot read the log: {other}; try again later"),
            LOG_RETRY,
        ),
    }
}

fn retry(code: Code, text: impl Into<String>, wait: Duration) -> Status {
    Status::with_error_details(code, text, ErrorDetails::with_retry_info(Some(wait)))
}

#[cfg(test)]
mod tests {
    use killfeed::cursor::{LogId, Offset};

    use super::*;

    #[test]
    fn a_bad_filter_says_where_and_what_instead() {
        let diagnostic = |message: &str, suggestions: &[&str]| Diagnostic {
            message: message.into(),
            start: 7,
            end: 13,
            suggestions: suggestions.iter().map(|text| (*text).to_owned()).collect(),
        };
        let status = bad_filter(&[
            diagnostic("no region is called \"Devoidd\"", &["Devoid", "Deklein"]),
            diagnostic("an operator is missing", &[]),
        ]);
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert!(violations.iter().all(|violation| violation.field == "filter"));
        assert_eq!(
            violations[0].description,
            "at 7..13: no region is called \"Devoidd\"; did you mean Devoid or Deklein?"
        );
        assert_eq!(violations[1].description, "at 7..13: an operator is missing");
        assert_eq!(status.message(), format!("filter: {}", violations[0].description));
    }

    #[test]
    fn a_bad_filter_fits_into_the_headers_however_bad_it_is() {
        let diagnostic = Diagnostic {
            message: "é".repeat(2_000),
            ..Default::default()
        };
        let status = bad_filter(&vec![diagnostic; 1_000]);
        assert!(status.details().len() < 8_000, "{}", status.details().len());
        let names = vec![(EntityKind::Character, "é".repeat(2_000)); 8];
        let status = names_unavailable(&names);
        assert!(status.message().len() < 1_000, "{}", status.message().len());
    }

    #[test]
    fn an_expired_cursor_comes_with_the_earliest_one() {
        let earliest = Cursor {
            log: LogId(1),
            offset: Offset(16),
        };
        let status = expired(earliest);
        assert_eq!(status.code(), Code::OutOfRange);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("CURSOR_EXPIRED", "killfeed.v1")
        );
        assert_eq!(info.metadata["earliest_cursor"], "k1-0000000000000001-10");
        let status = log_mismatch(earliest);
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.get_error_details().error_info().unwrap().reason, "LOG_MISMATCH");
    }

    #[test]
    fn what_may_pass_says_when_to_come_back() {
        for status in [
            ahead(),
            catching_up(),
            draining(),
            too_old(),
            names_unavailable(&[]),
            log_failed(&LogError::Io("disk".into())),
            log_failed(&LogError::Closed),
        ] {
            assert_eq!(status.code(), Code::Unavailable);
            assert!(
                status.get_error_details().retry_info().unwrap().retry_delay.is_some(),
                "{status}"
            );
        }
        let status = too_many_calls(Duration::from_millis(50));
        let delay = status.get_error_details().retry_info().unwrap().retry_delay;
        assert_eq!(
            (status.code(), delay),
            (Code::ResourceExhausted, Some(Duration::from_millis(50)))
        );
        let status = too_many_streams("token ops", 16);
        let details = status.get_error_details();
        assert_eq!(details.quota_failure().unwrap().violations[0].subject, "token ops");
    }
}
