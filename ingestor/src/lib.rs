//! # The ingestor: the one polite consumer of zKillboard
//!
//! ```text
//! R2Z2 → parse → dedup → enrich → log ─(one reader per stream)→ session ⇒ gRPC
//!                  ↑ marks  ↑ ESI, static data
//! ```
//!
//! Data goes one way: a slow client is the log's reader, never the feed's problem. [`start`] wires the modules below, which
//! stand in the order in which a killmail meets them.
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "a test may read the machine's clock")
)]

pub mod settings;

pub mod feed;
pub mod parse;
pub mod enrich;
pub mod log;
pub mod pipeline;
pub mod universe;
pub mod grpc;

pub mod backfill;

pub mod health;
pub mod metrics;
pub mod new_token;

mod reload;
mod run;

pub use reload::Reload;
pub use run::{Running, StartError, run, start};
