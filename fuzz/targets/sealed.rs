//! Frames of a journal that is sealed, heads, and the archive's key in its file. What is behind a tag is reached by sealing it here.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::sealed::run(bytes));
