//! The shared log over real nats-server processes: its engine alone, and whole ingestors under faults.

mod access;
mod engine;
mod faults;
mod outage;
