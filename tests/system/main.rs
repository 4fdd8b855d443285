//! killfeed as a whole: the real services against a stand-in zKillboard, ESI and Discord.
//!
//! One binary, so that everything here is linked once. The fake hosts live in `tests/fakes` and `tests/support`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code: a panic is how a test fails"
)]

mod backup;
mod bad_input;
mod cancellation;
mod chaos;
mod clients;
mod commands;
mod delivery;
mod deploy;
mod discord;
mod feed;
mod filters;
mod fixtures;
mod fuzz;
mod guarantees;
mod jetstream;
mod metrics;
mod notifier;
mod posts;
mod python;
mod readme;
mod recorder;
mod relay;
mod reload;
mod replicas;
mod simulation;
mod sources;
mod fakes;
mod stream;
mod architecture;
mod traces;
mod harness;

/// `crate::v1` as the library's own tests know it, for those of their files that are used here.
use killfeed::v1;
