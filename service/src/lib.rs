//! Code that both killfeed services share, so that each purpose has one mechanism.
//!
//! - [`process`]: logging, signals, drain, exit codes
//! - [`settings`]: parsing of settings, errors of one line
//! - [`clock`]: the wall clock and the time since boot, the only place that reads either
//! - [`rate`]: the rate limiter
//! - [`probes`]: `/metrics`, `/livez` and `/readyz`
//! - [`metrics`]: the recorder of Prometheus metrics
//! - [`trace`]: spans for an OpenTelemetry collector
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "a test may read the machine's clock")
)]

pub mod clock;
pub mod metrics;
pub mod probes;
pub mod process;
pub mod rate;
pub mod settings;
pub mod trace;
