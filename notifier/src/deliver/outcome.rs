//! What to do with a batch after a try to send it, or after a look for it. Pure.

use std::time::Duration;

use killfeed::backoff::Backoff;

use crate::sink::{LookupOutcome, SendOutcome};

/// How long the same body and nonce may be sent again: Discord remembers a nonce for a few minutes.
pub(super) const NONCE_LIFE: Duration = Duration::from_secs(120);
/// The delay after an unknown outcome.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// An outcome that is unknown for this long stays unknown.
const GIVE_UP_AFTER: Duration = Duration::from_secs(86_400);
/// Whatever Discord asks for, a channel is tried again within this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// The batch, as far as it matters for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Its killmails could be sent in several messages.
    pub(super) divisible: bool,
    /// Tries and looks in vain so far, this one included.
    pub(super) failures: u32,
    /// How long ago it was sealed.
    pub(super) age: Duration,
    /// An earlier try of this very batch got no answer, or a dead process made it: it may be there whatever this try says.
    pub(super) again: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Done.
    Sent(u64),
    /// Not posted for sure: unseal, wait this long, choose anew.
    Wait(Duration),
    /// Refused for the moment, but an earlier try may have come through: keep it sealed, wait this long. Unsealed, it could be
    /// chosen anew with others, whose nonce Discord has not seen.
    Hold(Duration),
    /// Not posted for sure: unseal and go on.
    Unseal,
    /// It may be there: keep it sealed, wait for the next delay, then send the same again, or look, by its age.
    RetryUnknown(Backoff),
    /// Discord refuses the message as such: unseal, then each killmail alone.
    Split,
    /// Discord refuses this one killmail: never again.
    Dead(String),
    /// Nothing can tell whether it was posted: not again. In words.
    GiveUp(&'static str),
    /// The channel takes no posts now: suspend, probe.
    Suspend {
        /// It may be there from an earlier try: it stays sealed, and is looked for when the channel is back.
        keep: bool,
        /// Discord's error code.
        code: u32,
        /// In words.
        reason: String,
    },
    /// The channel is gone for good.
    Retire(String),
    /// The token is dead: end the process.
    Stop,
}

/// After a try to send.
pub(super) fn sent(outcome: &SendOutcome, attempt: Attempt) -> NextStep {
    match outcome {
        SendOutcome::Sent { message_id } => NextStep::Sent(*message_id),
        SendOutcome::RateLimited { retry_after } => {
            let wait = (*retry_after).min(MAX_RETRY_AFTER);
            if attempt.again {
                NextStep::Hold(wait)
            } else {
                NextStep::Wait(wait)
            }
        }
        SendOutcome::Unauthorized => NextStep::Stop,
        SendOutcome::Unknown { .. } => unsure(attempt),
        SendOutcome::Rejected { status, code, message } => refused(*status, *code, message, attempt),
    }
}

/// After a look for a batch whose outcome is unknown and whose nonce may be forgotten.
pub(super) fn after_lookup(found: &LookupOutcome, attempt: Attempt) -> NextStep {
    match found {
        LookupOutcome::Yes { message_id } => NextStep::Sent(*message_id),
        LookupOutcome::No => NextStep::Unseal,
        LookupOutcome::Inconclusive => NextStep::GiveUp(CANNOT_LOOK),
        LookupOutcome::Failed { .. } => unsure(attempt),
    }
}

/// After a try to edit: the same, but that a message is let go that somebody has deleted, or that another bot has posted.
pub(super) fn edited(outcome: &SendOutcome, attempt: Attempt) -> NextStep {
    match outcome {
        // Unknown message.
        SendOutcome::Rejected { code: 10008, .. } => NextStep::Dead("the message was deleted".into()),
        // Says nothing about the channel: it came from the application that the token was of before.
        SendOutcome::Rejected { code: 50005, .. } => NextStep::Dead("the message belongs to another bot".into()),
        outcome => sent(outcome, attempt),
    }
}

/// Why nothing can tell whether a message of a bot was posted.
const CANNOT_LOOK: &str = "unknown whether it was posted: the bot does not have Read Message History";
/// The same of a webhook, which has neither a nonce nor a history.
pub(super) const SENT_TWICE: &str = "unknown whether it was posted: the webhook did not answer twice";

fn unsure(attempt: Attempt) -> NextStep {
    if attempt.age >= GIVE_UP_AFTER {
        NextStep::GiveUp("unknown whether it was posted: Discord did not answer for a day")
    } else {
        NextStep::RetryUnknown(BACKOFF.with_failures(attempt.failures.saturating_sub(1)))
    }
}

fn refused(status: u16, code: u32, message: &str, attempt: Attempt) -> NextStep {
    let reason = if message.is_empty() {
        format!("status {status}")
    } else {
        message.to_owned()
    };
    match (status, code) {
        // Unknown channel, unknown webhook.
        (_, 10003 | 10015) => NextStep::Retire(reason),
        // What is wrong is the message: bad request, too large, not processable.
        (400 | 413 | 422, code) if !is_about_the_channel(code) => {
            if attempt.divisible {
                NextStep::Split
            } else {
                NextStep::Dead(reason)
            }
        }
        // Everything else is about the place or the moment, never about the killmail: it is kept.
        _ => NextStep::Suspend {
            keep: attempt.again,
            code,
            reason,
        },
    }
}

/// Codes that come with status 400 and pass: thread archived, no text channel, verification level.
fn is_about_the_channel(code: u32) -> bool {
    matches!(code, 50008 | 50009 | 50024 | 50083 | 160_005)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Attempt = Attempt {
        divisible: false,
        failures: 1,
        age: Duration::ZERO,
        again: false,
    };
    const SEVERAL: Attempt = Attempt { divisible: true, ..ONE };

    #[test]
    fn every_outcome_has_its_consequence() {
        let refused = |status, code| SendOutcome::Rejected {
            status,
            code,
            message: "words".into(),
        };
        let suspend = |code| NextStep::Suspend {
            keep: false,
            code,
            reason: "words".into(),
        };
        let limited = |seconds| SendOutcome::RateLimited {
            retry_after: Duration::from_secs(seconds),
        };
        let unknown = || SendOutcome::Unknown { reason: "cut".into() };
        for (outcome, attempt, expected) in [
            (SendOutcome::Sent { message_id: 5 }, ONE, NextStep::Sent(5)),
            (limited(3), ONE, NextStep::Wait(Duration::from_secs(3))),
            (limited(90_000), ONE, NextStep::Wait(MAX_RETRY_AFTER)),
            (refused(404, 10003), ONE, NextStep::Retire("words".into())),
            (refused(404, 10015), ONE, NextStep::Retire("words".into())),
            (refused(404, 0), ONE, suspend(0)),
            (refused(403, 50001), ONE, suspend(50001)),
            (refused(403, 50013), SEVERAL, suspend(50013)),
            (refused(403, 0), ONE, suspend(0)),
            (refused(400, 50083), SEVERAL, suspend(50083)),
            (refused(400, 50035), SEVERAL, NextStep::Split),
            (refused(400, 50035), ONE, NextStep::Dead("words".into())),
            (refused(413, 0), SEVERAL, NextStep::Split),
            (refused(405, 0), ONE, suspend(0)),
            (SendOutcome::Unauthorized, ONE, NextStep::Stop),
            (unknown(), ONE, NextStep::RetryUnknown(BACKOFF)),
            (
                unknown(),
                Attempt { failures: 4, ..ONE },
                NextStep::RetryUnknown(BACKOFF.with_failures(3)),
            ),
        ] {
            assert_eq!(sent(&outcome, attempt), expected, "{outcome:?}");
        }
    }

    /// The first try was posted and its answer lost; the second meets a limit. Chosen anew together with the next killmail it
    /// would have another nonce, and be there twice.
    #[test]
    fn a_refusal_says_nothing_of_an_earlier_try() {
        let again = Attempt { again: true, ..SEVERAL };
        let limited = SendOutcome::RateLimited {
            retry_after: Duration::from_secs(3),
        };
        assert_eq!(sent(&limited, again), NextStep::Hold(Duration::from_secs(3)));
        let forbidden = SendOutcome::Rejected {
            status: 403,
            code: 50013,
            message: String::new(),
        };
        assert!(matches!(sent(&forbidden, again), NextStep::Suspend { keep: true, .. }));
    }

    #[test]
    fn a_day_without_an_answer_is_enough() {
        let old = |age| Attempt { age, ..ONE };
        let unknown = SendOutcome::Unknown { reason: "502".into() };
        let failed = LookupOutcome::Failed { reason: "cut".into() };
        for after in [
            sent(&unknown, old(GIVE_UP_AFTER)),
            after_lookup(&failed, old(GIVE_UP_AFTER)),
        ] {
            assert!(matches!(after, NextStep::GiveUp(_)), "{after:?}");
        }
        let almost = GIVE_UP_AFTER - Duration::from_millis(1);
        assert!(matches!(sent(&unknown, old(almost)), NextStep::RetryUnknown(_)));
    }

    #[test]
    fn a_message_that_is_gone_or_another_bots_is_not_edited_and_suspends_nothing() {
        for (status, code) in [(404, 10008), (403, 50005)] {
            let refused = SendOutcome::Rejected {
                status,
                code,
                message: "words".into(),
            };
            assert!(matches!(edited(&refused, ONE), NextStep::Dead(_)), "{code}");
        }
        assert_eq!(edited(&SendOutcome::Sent { message_id: 5 }, ONE), NextStep::Sent(5));
    }

    #[test]
    fn what_a_look_proves() {
        for (found, expected) in [
            (LookupOutcome::Yes { message_id: 5 }, NextStep::Sent(5)),
            (LookupOutcome::No, NextStep::Unseal),
            (LookupOutcome::Inconclusive, NextStep::GiveUp(CANNOT_LOOK)),
            (
                LookupOutcome::Failed { reason: "cut".into() },
                NextStep::RetryUnknown(BACKOFF),
            ),
        ] {
            assert_eq!(after_lookup(&found, ONE), expected);
        }
    }
}
