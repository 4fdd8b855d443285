//! # The notifier: killmails to Discord
//!
//! ```text
//! gRPC ⇒ follow → match → outbox → deliver → Discord
//! ```
//!
//! The modules below stand in the order in which a killmail meets them.

pub mod discord;
pub mod shards;
pub mod sink;
