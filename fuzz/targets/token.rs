//! Tokens of pages, names and etags: what a client gives back, or makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::token::run(bytes));
