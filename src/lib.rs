//! # killfeed: EVE Online killmails as a stream
//!
//! This crate is the contract between the two killfeed services and everybody else who wants killmails: the generated
//! types of `proto/killfeed/v1`, the filter language, and a client that resumes. It has no clock, no disk and no task of
//! its own.
//!
//! The **ingestor** (`killfeed-ingestor`) walks zKillboard's feed, drops duplicates, adds names and places, keeps a
//! durable log and streams it. A **notifier** (`killfeed-notifier`) follows that stream and posts what matches its guilds'
//! subscriptions to Discord. Anyone else can follow the same stream with [`client`].
//!
//! Modules in the order in which a killmail meets them:
//!
//! - [`id`]: EVE's ids as types that cannot be mixed up
//! - [`v1`]: messages and services, generated from the proto files
//! - [`v1::Killmail::name`]: the name of an id in a killmail
//! - [`cursor`]: where in which log a reader is
//! - [`wire`]: sending events that are encoded already
//! - [`filter`]: the filter language: text → tree → does this killmail match
//! - [`setting`]: how both services read their settings
//! - [`client`]: follow the stream over reconnects, restarts and fail-over

/// Generated from `proto/killfeed/v1`: every message, and clients and servers of every service.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("killfeed.v1");

    /// The encoded `google.protobuf.FileDescriptorSet` of the proto files, for server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/killfeed.bin"));
}

pub mod client;
pub mod cursor;
pub mod filter;
pub mod id;
mod killmail;
pub mod setting;
pub mod wire;

pub use prost_types::Timestamp;
