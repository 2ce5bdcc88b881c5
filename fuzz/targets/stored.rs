//! A snapshot as a disk gives it back, sealed or not: chunks of its database, and blocks of its file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::stored::run(bytes));
