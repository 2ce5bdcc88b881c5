//! What another node asks and answers.
#![no_main]

use bytes::Bytes;
use docket_proto::peer_call::{
    decode_forwarded, decode_look, decode_orphaned, decode_status, decode_status_ask, decode_wanted,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (which, asked, bytes) = input;
    let body = Bytes::copy_from_slice(bytes);
    match which % 6 {
        0 => drop(decode_forwarded(body)),
        1 => drop(decode_wanted(body)),
        2 => drop(decode_orphaned(body, usize::from(asked))),
        3 => drop(decode_status(body)),
        4 => drop(decode_status_ask(body)),
        _ => drop(decode_look(body)),
    }
});
