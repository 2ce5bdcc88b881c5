//! Requests of HTTP, from path, query, headers and JSON to what the engine is asked; and what it answers, as JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::rest::run(bytes));
