//! Fuzzes the parser with any bytes as a killmail body from ESI: `cargo +nightly fuzz run esi_body`.
#![no_main]

#[path = "../check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::esi_body(bytes));
