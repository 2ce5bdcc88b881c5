//! A frame of the journal, as it is read from a disk that may have anything on it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::frame::run(bytes));
