//! Fuzzes the parser with any bytes as a filter text: `cargo +nightly fuzz run filter`.
#![no_main]

#[path = "../filter_check.rs"]
mod filter_check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| filter_check::filter(bytes));
