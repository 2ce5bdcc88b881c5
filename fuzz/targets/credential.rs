//! Credentials in headers, of a node that has one administrator: nobody is let in who does not have its key.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docket_fuzzed::credential::run(bytes));
