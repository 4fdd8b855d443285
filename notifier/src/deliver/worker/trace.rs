//! What the traces of killmails say of a message that was tried.

use std::time::SystemTime;

use killfeed_service::trace::{KeyValue, SpanKind, SpanTimes};

use super::Worker;
use crate::sink::{Destination, SendOutcome};

impl Worker {
    /// Tells the trace of each killmail (id, revision) of a message how its try went.
    pub(super) fn trace(
        &self,
        what: &'static str,
        killmails: impl IntoIterator<Item = (u64, u32)>,
        begun: Option<SystemTime>,
        outcome: &SendOutcome,
    ) {
        let Some(times) = begun.map(SpanTimes::since) else {
            return;
        };
        // Ids only: a webhook's URL is a password.
        let (kind, id) = match self.destination {
            Destination::Channel(id) => ("channel", id),
            Destination::Webhook(id) => ("webhook", id),
        };
        let failed = match outcome {
            SendOutcome::Sent { .. } => None,
            SendOutcome::RateLimited { .. } => Some("rate limited".to_owned()),
            SendOutcome::Unauthorized => Some("the token is not accepted".to_owned()),
            SendOutcome::Rejected { status, message, .. } => Some(format!("{status}: {message}")),
            SendOutcome::Unknown { reason } => Some(reason.clone()),
        };
        for (killmail_id, revision) in killmails {
            let Some(trail) = self.shared.traces.killmail(killmail_id, revision) else {
                return;
            };
            // As text: Discord's ids are too large for many a JSON tool.
            let attributes = vec![
                KeyValue::new("discord.destination", kind),
                KeyValue::new("discord.id", id.to_string()),
            ];
            trail.outcome(what, SpanKind::Client, times, attributes, failed.clone());
        }
    }
}
