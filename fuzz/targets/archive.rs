//! An archive as a disk gives it back, with its key: entries of its trees, and whatever is asked of a shelf then.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::archive::run(bytes));
