//! What another node says that callers have taken: what is read is written as the same again, and is of no more callers than may be.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::consumption::run(bytes));
