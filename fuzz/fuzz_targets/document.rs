//! Fuzzes the parser with any bytes as a feed document: `cargo +nightly fuzz run document`.
#![no_main]

#[path = "../check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::document(bytes));
