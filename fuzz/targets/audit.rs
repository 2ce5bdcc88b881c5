//! The files of an audit log, sealed or not, as somebody left them: whoever verifies it says what is wrong, and a node that opens it goes on behind it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::audit::run(bytes));
