//! # The ingestor: the one polite consumer of zKillboard
//!
//! ```text
//! R2Z2 → parse → dedup → enrich → log ─(one reader per stream)→ session ⇒ gRPC
//! ```
//!
//! The modules below stand in the order in which a killmail meets them.

pub mod feed;
pub mod health;
pub mod log;
pub mod settings;
