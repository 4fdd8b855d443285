//! The fakes and tools of killfeed's system tests and its demo. The services do not use this crate.
//!
//! - [`fake_upstream`]: a fake zKillboard (R2Z2), ESI and static data host in the test process
//! - [`corpus`]: killmails to publish: the real ones in `../shared/data`, or the bundled sample
//! - [`fake_discord`]: a fake Discord, REST and gateway, in the test process
//! - [`nats`]: real nats-server processes, one server or a cluster
//! - [`pair`]: settings of the two services over the fakes, for measurements
//! - [`process`]: the two services as processes, with their output, readiness, signals and exit codes
//! - [`proxy`]: a TCP proxy that drops and freezes connections
//! - [`validator`]: checks recorded runs against the stream's seven guarantees

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
