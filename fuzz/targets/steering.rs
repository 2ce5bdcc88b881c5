//! Flags and callers' own limits, as the meta group's log and its snapshots have them: what is read is written as the same, and a state that was
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::steering::run(bytes));
