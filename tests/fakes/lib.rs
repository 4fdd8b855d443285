//! The fake hosts of the demo and of the system tests. The services do not use this crate.
//!
//! - [`fake_upstream`]: a fake zKillboard (R2Z2), ESI and static data host in this process, on loopback
//! - [`corpus`]: the killmails that it publishes: the real ones beside the project, or the bundled sample
//! - [`address`]: free loopback addresses

#![allow(clippy::disallowed_methods, reason = "tests measure by the machine's clock")]

pub mod address;
pub mod corpus;
pub mod fake_upstream;

pub use fake_upstream::FakeUpstream;
