//! # The notifier: killmails to Discord
//!
//! ```text
//! gRPC ⇒ follow → match → outbox → deliver → Discord
//! ```
//!
//! The modules below stand in the order in which a killmail meets them; what all of them stand on comes last. [`run()`] puts
//! them together.
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "a test may read the machine's clock")
)]

pub mod follow;
pub mod matching;
pub mod subscriptions;

pub mod outbox;

pub mod deliver;
pub mod render;

pub mod admin;
pub mod commands;
pub mod discord;
pub mod guilds;
pub mod sink;

pub mod database;
pub mod ingestor;
pub mod metrics;
pub mod run;
pub mod settings;
pub mod shards;

pub use run::{Hooks, run, run_with};
