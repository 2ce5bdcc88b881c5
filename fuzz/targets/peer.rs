//! What another node asks and answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::peer::run(bytes));
