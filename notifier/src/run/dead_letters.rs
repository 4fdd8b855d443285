//! The page `/dead-letters`.

use std::sync::Arc;

use killfeed_service::probes::Page;

use crate::outbox::{DeadLetter, Outbox};

/// How many killmails that were given up the page lists.
const MAX_DEAD_LETTERS: usize = 1_000;

/// Lists the killmails that were given up, newest first, as one JSON object a line.
pub(super) fn page(outbox: Arc<Outbox>) -> Page {
    Page {
        path: "/dead-letters",
        lines: Arc::new(move || match outbox.dead_letters(MAX_DEAD_LETTERS) {
            Ok(letters) => Ok(letters.iter().map(line).collect()),
            Err(error) => Err(format!("{error}\n")),
        }),
    }
}

fn line(letter: &DeadLetter) -> String {
    let mut row = serde_json::json!({
        "destination": letter.destination, "killmail": letter.killmail_id, "state": format!("{:?}", letter.state),
        "since_ms": letter.since, "why": letter.detail,
    });
    // An operator finds the fault in the body that Discord refused.
    if !letter.refused.is_empty() {
        let body = String::from_utf8_lossy(&letter.refused);
        row["body"] = serde_json::from_str(&body).unwrap_or_else(|_| body.into());
    }
    format!("{row}\n")
}
