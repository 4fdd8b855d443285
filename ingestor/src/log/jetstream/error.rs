//! Why a shared log cannot be used: for good, or now.

use std::path::PathBuf;

use super::super::LogError;

/// Why a shared log cannot be used: named, and nothing of it changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JetStreamError {
    /// No connection within the time that a start may take.
    #[error(
        "cannot connect to NATS at {servers}: {reason}; check INGESTOR_LOG, INGESTOR_NATS_CREDS_FILE and INGESTOR_NATS_CA, and that the servers run with JetStream"
    )]
    Unavailable {
        /// As set.
        servers: String,
        /// What was tried last.
        reason: String,
    },
    /// They are there, and refuse the user.
    #[error(
        "NATS at {servers} rejected this ingestor's credentials: {reason}; set INGESTOR_NATS_CREDS_FILE to the credentials of a user that these servers know and that is neither expired nor revoked"
    )]
    Unauthorized {
        /// As set.
        servers: String,
        /// The server's words.
        reason: String,
    },
    /// The user is let in, and may not do what has to be done.
    #[error(
        "NATS at {servers} denied a permission that this ingestor needs: {said}; give its user the permissions listed in docs/operations.md (A shared log, Access)"
    )]
    Forbidden {
        /// As set.
        servers: String,
        /// The server's words.
        said: String,
    },
    /// A file that the settings name.
    #[error("{variable}={}: {reason}", path.display())]
    File {
        /// The setting.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
    /// The servers do not want it so.
    #[error(
        "NATS rejected {what}: {reason}; INGESTOR_NATS_REPLICAS must not exceed the number of servers, and JetStream needs enough storage"
    )]
    Rejected {
        /// A stream or bucket.
        what: String,
        /// The server's words.
        reason: String,
    },
    /// The stream is gone, what is remembered of it is not.
    #[error(
        "the JetStream stream {stream} is gone, but the bucket {marks} still has an entry for log {log_id}; restore the stream from a backup, or also delete the buckets {marks}, {position} and {poller} to start an empty log; nothing was changed"
    )]
    Missing {
        /// The stream.
        stream: String,
        /// The bucket of marks.
        marks: String,
        /// That of the position.
        position: String,
        /// That of the lease.
        poller: String,
        /// As its clients know it.
        log_id: String,
    },
    /// Another stream of that name.
    #[error(
        "the JetStream stream {stream} is not the stream of log {log_id}: it was deleted and recreated (created {found}, expected {expected}), so it would assign offsets a second time; restore it from a backup, or delete it and the buckets {stream}-marks, {stream}-position and {stream}-poller to start an empty log; nothing was changed"
    )]
    Replaced {
        /// The stream.
        stream: String,
        /// As its clients know it.
        log_id: String,
        /// In nanoseconds since 1970.
        found: String,
        /// In nanoseconds since 1970.
        expected: String,
    },
    /// A stream with records, and nothing that says whose.
    #[error(
        "the JetStream stream {stream} contains records, but the bucket {marks} has no entry for it, so every killmail would be logged twice; restore the bucket from a backup, or delete the stream to start an empty log; nothing was changed"
    )]
    MissingDedup {
        /// The stream.
        stream: String,
        /// The bucket of marks.
        marks: String,
    },
    /// Records that were acknowledged are not there.
    #[error(
        "the JetStream stream {stream} ends at {found}, but it had reached {expected}: it lost acknowledged records (a restored backup, or a server that lost its disk), so it would assign offsets a second time; restore the newest copy, or start an empty log under another INGESTOR_NATS_STREAM; nothing was changed"
    )]
    Truncated {
        /// The stream.
        stream: String,
        /// Its last sequence.
        found: u64,
        /// The last one known.
        expected: u64,
    },
    /// Written by a newer version.
    #[error(
        "log {log_id} was written by a newer killfeed-ingestor (schema {found}, this version supports schemas up to {known}); start that version again; nothing was changed"
    )]
    NewerSchema {
        /// As its clients know it.
        log_id: String,
        /// Its schema.
        found: u32,
        /// The newest schema this version knows.
        known: u32,
    },
    /// What is stored is not what this program writes.
    #[error(
        "{place} is corrupt: {reason}; restore it from a backup, or choose another INGESTOR_NATS_STREAM; nothing was changed"
    )]
    Damaged {
        /// Bucket and key.
        place: String,
        /// Why.
        reason: String,
    },
}

impl JetStreamError {
    /// Whether trying again without a change is pointless (exit code 78).
    pub fn is_configuration(&self) -> bool {
        !matches!(self, Self::Unavailable { .. } | Self::Unauthorized { .. })
    }
}

/// Why something did not work.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum OperationError {
    /// It may work the next time.
    #[error("{0}")]
    Unavailable(String),
    /// It never will.
    #[error("{0}")]
    Fatal(JetStreamError),
}

impl OperationError {
    /// While doing this, that went wrong.
    pub(super) fn unavailable(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Unavailable(format!("{what}: {error}"))
    }
}

impl From<JetStreamError> for OperationError {
    fn from(error: JetStreamError) -> Self {
        Self::Fatal(error)
    }
}

impl From<OperationError> for LogError {
    fn from(trouble: OperationError) -> Self {
        Self::Unavailable(trouble.to_string())
    }
}
