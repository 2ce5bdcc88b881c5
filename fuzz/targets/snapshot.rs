//! A chunk of a snapshot: what is read is written as the same again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::snapshot::run(bytes));
