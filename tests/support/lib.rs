//! What killfeed's whole-system tests and its demo stand on. Nothing here is part of the services.
//!
//! - [`fake_upstream`]: a stand-in zKillboard (R2Z2), ESI and static data, in this process, on loopback
//! - [`corpus`]: killmails to publish there: the real ones beside the project, or the bundled sample
//! - [`fake_discord`]: a stand-in Discord, REST and gateway, in this process, on loopback
//! - [`nats`]: real nats-server processes, one or a cluster
//! - [`pair`]: the settings of the two services over these, for measurements
//! - [`process`]: the two real binaries as processes, with their output, readiness, signals and exit codes
//! - [`proxy`]: between a client and a server, cutting and freezing connections
//! - [`validator`]: holds what clients saw against the stream's seven guarantees

pub mod corpus;
pub mod fake_discord;
pub mod nats;
pub mod pair;
pub mod process;
pub mod proxy;
pub mod fake_upstream;
pub mod validator;

pub use fake_discord::FakeDiscord;
pub use fake_upstream::FakeUpstream;
