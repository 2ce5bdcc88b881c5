//! A batch of the journal: what is read is written as the same record again.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::record::run(bytes));
