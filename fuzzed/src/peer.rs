//! What another node asks and answers: what is read is written as the same again.

use std::fmt::Debug;

use bytes::Bytes;
use docket_proto::peer_call::{
    BadCall, Changes, ChangesAsk, Forward, Page, PageAsk, Step, StepAnswer, decode_forwarded, decode_look,
    decode_orphaned, decode_status, decode_status_ask, decode_wanted, encode_orphaned, encode_wanted,
};

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some((which, asked, bytes)) = crate::input::<(u8, u16, &[u8])>(bytes) else {
        return;
    };
    let body = Bytes::copy_from_slice(bytes);
    match which % 13 {
        0 => drop(decode_forwarded(body)),
        1 => again(body, decode_wanted, |wanted| encode_wanted(&wanted)),
        2 => again(
            body,
            |body| decode_orphaned(body, usize::from(asked)),
            encode_orphaned,
        ),
        3 => drop(decode_status(body)),
        4 => drop(decode_status_ask(body)),
        5 => drop(decode_look(body)),
        6 => again(body, Step::decode, |step| step.encode()),
        7 => again(body, StepAnswer::decode, |answer| answer.encode()),
        8 => again(body, PageAsk::decode, |ask| ask.encode()),
        9 => again(body, Page::decode, |page| page.encode()),
        10 => again(body, ChangesAsk::decode, |ask| ask.encode()),
        11 => again(body, Changes::decode, |changes| changes.encode()),
        _ => {
            if let Ok(forward) = Forward::decode(body.clone())
                && let Some(principal) = forward.principal
            {
                let _ = principal.decode();
            }
            again(body, Forward::decode, Forward::encode);
        }
    }
}

fn again<T: Clone + Debug + PartialEq>(
    body: Bytes,
    decode: impl Fn(Bytes) -> Result<T, BadCall>,
    encode: impl Fn(T) -> Bytes,
) {
    if let Ok(read) = decode(body) {
        assert_eq!(decode(encode(read.clone())), Ok(read));
    }
}
