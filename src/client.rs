//! Follows the stream over reconnects, restarts and fail-over.
