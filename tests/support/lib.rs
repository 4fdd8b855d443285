//! Tools that killfeed's system tests and measurements share. The services do not use this crate.
//!
//! - [`corpus`] and [`fake_upstream`]: the fake zKillboard and its killmails, from the crate that the demo uses too
//! - [`fake_discord`]: a fake Discord, REST and gateway, in this process, on loopback
//! - [`nats`]: real nats-server processes, one or a cluster
//! - [`pair`]: settings of the two services over the fakes, for measurements
//! - [`process`]: the two real binaries as processes, with their output, readiness, signals and exit codes
//! - [`proxy`]: a TCP proxy that drops and freezes connections
//! - [`validator`]: checks recorded runs against the stream's seven guarantees

#![allow(clippy::disallowed_methods, reason = "tests measure by the machine's clock")]

pub mod fake_discord;
pub mod nats;
pub mod pair;
pub mod process;
pub mod proxy;
pub mod validator;

pub use fake_discord::FakeDiscord;
pub use killfeed_fakes::{FakeUpstream, corpus, fake_upstream};
