//! The shared log over real nats-server processes: its engine alone, and whole ingestors under faults.

mod engine;
mod faults;
mod outage;
