//! Has a message be decoded when all of it has arrived.
//!
//! Whoever decodes makes room for as many bytes as a message says that it has, when it has seen no more of it than that. A client that says so and
//! sends nothing would have a node keep a megabyte for each of its calls (`docket-soak hostile`, `slow-bodies`: 16 connections, half a gigabyte). So
//! what has arrived is kept here, in as much room as it needs, and counted by whoever calls.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::encoding::{DecodeContext, decode_key, skip_field};

/// A flag and a length stand before each message.
const HEAD_BYTES: usize = 5;

/// The fields of a longer message are counted before it is decoded.
const COUNTED_BYTES: usize = 16 * 1_024;
/// The most fields, or elements of lists, that a message has: no request has use for more, and whoever decodes makes something of each. A megabyte can be a
/// third of a million of them.
pub(super) const FIELDS_MAX: usize = 10_000;

/// Whether one of these whole messages has too many fields.
pub(super) fn has_too_many_fields(mut messages: &[u8]) -> bool {
    while let Some((&[_, a, b, c, d], rest)) = messages.split_first_chunk::<HEAD_BYTES>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some((mut message, next)) = rest.split_at_checked(length) else {
            // It is not whole: whoever decodes refuses it.
            return false;
        };
        if length > COUNTED_BYTES {
            let mut fields = 0;
            while message.has_remaining() {
                let skipped = decode_key(&mut message)
                    .and_then(|(tag, kind)| skip_field(kind, tag, &mut message, DecodeContext::default()));
                if skipped.is_err() {
                    return false;
                }
                fields += 1;
                if fields > FIELDS_MAX {
                    return true;
                }
            }
        }
        messages = next;
    }
    false
}

/// What has arrived of the message that is not whole yet.
pub(super) struct Whole {
    waiting: BytesMut,
    /// Longer messages are refused by who decodes, and so are compressed ones: those are not waited for. 0 to wait for none.
    message_bytes_max: usize,
    /// Nothing is waited for any more.
    is_open: bool,
}

impl Whole {
    /// Of messages of so many bytes at most.
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self {
            waiting: BytesMut::new(),
            message_bytes_max,
            is_open: message_bytes_max == 0,
        }
    }

    /// Takes what has arrived, and gives what can be decoded now.
    pub(super) fn arrived(&mut self, mut data: Bytes) -> Option<Bytes> {
        if self.waiting.is_empty() {
            let ready = self.whole_bytes(&data);
            if ready == data.len() {
                return Some(data);
            }
            let ready = data.split_to(ready);
            self.waiting.extend_from_slice(&data);
            return (!ready.is_empty()).then_some(ready);
        }
        self.waiting.extend_from_slice(&data);
        let waiting = std::mem::take(&mut self.waiting);
        let ready = self.whole_bytes(&waiting);
        self.waiting = waiting;
        (ready > 0).then(|| self.waiting.split_to(ready).freeze())
    }

    /// What is left when nothing more comes.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        (!self.waiting.is_empty()).then(|| std::mem::take(&mut self.waiting).freeze())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many bytes from the first on are of whole messages, or of some that nobody waits for.
    fn whole_bytes(&mut self, bytes: &[u8]) -> usize {
        let mut whole = 0;
        while !self.is_open {
            let Some((&[flag, a, b, c, d], _)) = bytes[whole..].split_first_chunk::<HEAD_BYTES>() else {
                return whole;
            };
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if flag != 0 || length > self.message_bytes_max {
                self.is_open = true;
            } else if bytes.len() - whole < HEAD_BYTES + length {
                return whole;
            } else {
                whole += HEAD_BYTES + length;
            }
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(HEAD_BYTES + length, 7);
        bytes
    }

    #[test]
    fn however_messages_are_cut_they_come_whole() {
        let all = [message(3), message(0), message(100)].concat();
        for step in 1..=all.len() {
            let mut whole = Whole::new(100);
            let mut came = Vec::new();
            for piece in all.chunks(step) {
                let ready = whole.arrived(Bytes::copy_from_slice(piece));
                came.extend_from_slice(&ready.unwrap_or_default());
                assert!([0, 8, 13, 118].contains(&came.len()), "{step}: {}", came.len());
            }
            assert_eq!(came, all);
            assert!(whole.is_empty() && whole.rest().is_none());
        }
    }

    #[test]
    fn a_message_with_too_many_fields_is_found_behind_others() {
        let of = |field: &[u8], times: usize| {
            let mut bytes = vec![0];
            bytes.extend_from_slice(&u32::try_from(field.len() * times).unwrap().to_be_bytes());
            bytes.extend_from_slice(&field.repeat(times));
            bytes
        };
        // A field of no bytes, and one of two.
        let (empty, number) = ([0x1a, 0], [0x08, 0x80, 0x01]);
        let few = of(&number, FIELDS_MAX);
        assert!(few.len() > COUNTED_BYTES && !has_too_many_fields(&few));
        assert!(has_too_many_fields(&of(&number, FIELDS_MAX + 1)));
        let many = [few.clone(), of(&empty, 500_000)].concat();
        assert!(has_too_many_fields(&many));
        // What is no message is for whoever decodes to refuse.
        assert!(!has_too_many_fields(&of(&[0xff], 20_000)));
        assert!(!has_too_many_fields(&many[..many.len() - 1]));
        assert!(!has_too_many_fields(&[]));
    }

    #[test]
    fn what_is_not_waited_for_goes_through_and_what_is_left_at_the_end_comes_then() {
        for head in [[0, 0, 0, 0, 101], [1, 0, 0, 0, 3]] {
            let mut whole = Whole::new(100);
            assert_eq!(whole.arrived(Bytes::copy_from_slice(&head[..2])), None);
            assert_eq!(
                whole.arrived(Bytes::copy_from_slice(&head[2..])),
                Some(Bytes::copy_from_slice(&head))
            );
            assert_eq!(
                whole.arrived(Bytes::from_static(b"x")),
                Some(Bytes::from_static(b"x"))
            );
        }
        let mut whole = Whole::new(100);
        assert_eq!(whole.arrived(Bytes::from_static(&[0, 0, 0, 0, 9, 1])), None);
        assert!(!whole.is_empty());
        assert_eq!(whole.rest(), Some(Bytes::from_static(&[0, 0, 0, 0, 9, 1])));
        let mut open = Whole::new(0);
        assert_eq!(
            open.arrived(Bytes::from_static(&[0])),
            Some(Bytes::from_static(&[0]))
        );
    }
}
