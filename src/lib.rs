//! # killfeed: EVE Online killmails as a stream
//!
//! This crate is the contract between the two killfeed services and every other consumer of killmails: the generated types
//! of `proto/killfeed/v1`, the filter language, and a client that resumes. The crate uses no disk and spawns no tasks.
//!
//! The **ingestor** (`killfeed-ingestor`) walks zKillboard's feed, drops duplicates, adds names and locations, keeps a
//! durable log and streams it. A **notifier** (`killfeed-notifier`) follows that stream and posts the killmails that match
//! its guilds' subscriptions to Discord. Other programs follow the same stream with [`client`].
//!
//! Modules, in the order in which a killmail passes through them:
//!
//! - [`id`]: EVE's ids as distinct types
//! - [`v1`]: messages and services, generated from the proto files
//! - [`v1::Killmail::name`]: the name of an id in a killmail
//! - [`cursor`]: a reader's position in a log
//! - [`wire`]: events that are sent and received without being encoded again
//! - [`filter`]: the filter language, from text to a match
//! - [`backoff`]: the delay before the next attempt after a failure
//! - [`client`]: a client that follows the stream across reconnects, restarts and fail-over

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "a test may read the machine's clock")
)]

/// The generated messages, clients and servers of `proto/killfeed/v1`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("killfeed.v1");

    /// The encoded `google.protobuf.FileDescriptorSet` of the proto files, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/killfeed.bin"));
}

pub mod backoff;
pub mod client;
pub mod cursor;
pub mod filter;
pub mod id;
mod killmail;
pub mod wire;

pub use prost_types::Timestamp;
