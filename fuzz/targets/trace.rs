//! The trace that a client says its call belongs to: what is taken as one is carried on as it was.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::trace::run(bytes));
