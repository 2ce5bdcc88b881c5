//! What a standby takes in from its primary, and finds in its folder: pieces of logs, and the spool. And what the two ask of one another.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::standby::run(bytes));
