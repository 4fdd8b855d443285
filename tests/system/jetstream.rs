//! The shared log over real nats-server processes: the log alone, and whole ingestors under faults.

mod access;
mod chaos;
mod compose;
mod credentials;
mod engine;
mod events;
mod faults;
mod holes;
mod outage;
mod retention;
