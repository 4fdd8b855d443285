//! Names of the log's metrics, to be described in the service's `metrics.rs`.

/// Records appended.
pub const APPENDED: &str = "killfeed_log_appended_total";
/// Seconds from an append's start to its durability.
pub const APPEND_SECONDS: &str = "killfeed_log_append_seconds";
/// Records removed after the retention.
pub const REMOVED: &str = "killfeed_log_removed_total";
/// 1 while the clock is not trusted and nothing is removed.
pub const RETENTION_PAUSED: &str = "killfeed_log_retention_paused";
/// Appends put off because the disk's reserve was reached.
pub const DISK_FULL: &str = "killfeed_log_disk_full_total";
/// Times the database was opened again after the disk failed.
pub const REOPENED: &str = "killfeed_log_reopened_total";
/// The newest record's offset.
pub const HEAD: &str = "killfeed_log_head_offset";
/// Seconds since it was appended.
pub const HEAD_AGE: &str = "killfeed_log_head_age_seconds";
/// Seconds since the oldest record kept was appended.
pub const OLDEST_AGE: &str = "killfeed_log_oldest_age_seconds";
/// Distinct killmails in the log.
pub const KILLMAILS: &str = "killfeed_log_killmails";
/// Bytes of memory that the newest records are counted with.
pub const WINDOW_BYTES: &str = "killfeed_log_window_bytes";
/// 1 while it is this ingestor's turn to ask zKillboard and to write; only with a shared log.
pub const TURN: &str = "killfeed_log_turn";
