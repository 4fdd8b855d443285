//! The feed's metrics, each with what it counts.

/// Documents handed out.
pub const DOCUMENTS: &str = "killfeed_feed_documents_total";
/// Placeholders among them.
pub const PLACEHOLDERS: &str = "killfeed_feed_placeholders_total";
/// Numbers below the head that were missing or unreadable at first.
pub const HOLES: &str = "killfeed_feed_holes_total";
/// Holes that are asked for again now and then.
pub const HOLES_OPEN: &str = "killfeed_feed_holes_open";
/// Gaps reported, by reason.
pub const GAPS: &str = "killfeed_feed_gaps_total";
/// Requests sent to the feed's host, by what came of them.
pub const REQUESTS: &str = "killfeed_feed_requests_total";
/// Refusals (429, 403) that silenced us.
pub const BANS: &str = "killfeed_feed_bans_total";
/// The next number to be asked for.
pub const POSITION: &str = "killfeed_feed_position";
/// How many numbers are known to exist beyond it.
pub const BEHIND: &str = "killfeed_feed_behind_documents";
/// From zKillboard's upload to our having the newest document.
pub const LAG: &str = "killfeed_feed_lag_seconds";

/// Counters and what they count, for the service's table.
pub const COUNTERS: &[(&str, &str)] = &[
    (DOCUMENTS, "Documents read from the feed"),
    (PLACEHOLDERS, "Placeholder documents, skipped"),
    (HOLES, "Sequences below the head that had no usable document at first"),
    (GAPS, "Gaps reported, by reason"),
    (REQUESTS, "Requests to the feed's host, by outcome"),
    (BANS, "Bans by the feed's host (429 or 403 responses)"),
];

/// Gauges and what they show.
pub const GAUGES: &[(&str, &str)] = &[
    (HOLES_OPEN, "Holes that are still re-checked"),
    (POSITION, "Next sequence to fetch"),
    (BEHIND, "Documents known to exist that are not read yet"),
    (
        LAG,
        "Seconds between zKillboard's upload of the newest document and its arrival here",
    ),
];
