//! Tests of killfeed as a whole: the real services against the fakes of zKillboard, ESI and Discord.
//!
//! All system tests are one binary, so that the linker runs once. The fake hosts are in `tests/fakes` and
//! `tests/support`.

#![allow(clippy::disallowed_methods, reason = "tests measure by the machine's clock")]
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

/// Provides `crate::v1` for the files of the library's own tests that this binary includes.
use killfeed::v1;
