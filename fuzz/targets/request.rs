//! Requests of clients, from bytes to what the engine is asked, or to all that is wrong with them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::request::run(bytes));
