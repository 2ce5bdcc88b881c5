//! Frames of a journal that is sealed, heads, and the archive's key in its file. What is behind a tag is reached by sealing it here.

use docket_persistence::frame::{Assembler, Frame, FrameError, HEADER_BYTES, Opener, SEALED_VERSION};
use docket_sealing::{Head, InnerKey, Nonce};

use crate::{
    Taken,
    keys::{cipher, head, keys},
};

/// What the keys of frames, and of the archive's key, are derived for.
const FRAME_LABEL: &[u8] = b"docket journal frame 2";
const ARCHIVE_LABEL: &[u8] = b"docket archive key 1";

/// How an input is taken: its first byte.
pub mod kind {
    /// A frame as a disk gives it back.
    pub const FRAME: u8 = 0;
    /// The fields of a frame's header and what is to be sealed in it.
    pub const SEALED: u8 = 1;
    /// The text of a head, and what is behind it.
    pub const TEXT: u8 = 2;
    /// The bytes of a head.
    pub const BYTES: u8 = 3;
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let mut input = Taken(bytes);
    match input.byte().map(|kind| kind % 4) {
        Some(kind::FRAME) => frame(input.0.to_vec()),
        Some(kind::SEALED) => sealed(input),
        Some(kind::TEXT) => text(input.0),
        Some(_) => head_bytes(input.0),
        None => {}
    }
}

fn said(bytes: &[u8]) -> u64 {
    let field = bytes.get(8..16).and_then(|field| field.try_into().ok());
    field.map_or(0, u64::from_le_bytes)
}

fn mend(bytes: &mut [u8]) {
    if let Some((sum, rest)) = bytes.split_at_mut_checked(4) {
        sum.copy_from_slice(&crc32c::crc32c(rest).to_le_bytes());
    }
}

fn frame(mut bytes: Vec<u8>) {
    let sequence = said(&bytes);
    let mut opener = Opener::new(keys().clone());
    for is_mended in [false, true] {
        if is_mended {
            mend(&mut bytes);
        }
        match Frame::decode_with(sequence, &bytes, &mut opener) {
            Ok(frame) => read(&frame, sequence),
            // Whatever it is, it is no other frame's.
            Err(error) => assert!(!matches!(error, FrameError::Sequence { .. })),
        }
    }
    // In another's place none opens.
    if let Ok(frame) = Frame::decode_with(sequence.wrapping_add(1), &bytes, &mut opener) {
        panic!("frame {} was opened as another", frame.sequence());
    }
}

fn read(frame: &Frame<'_>, sequence: u64) {
    assert_eq!(frame.sequence(), sequence);
    assert!(frame.synced_before() < sequence);
    let mut assembler = Assembler::default();
    for fragment in frame.fragments() {
        let _ = assembler.push(sequence, fragment);
    }
    assert_eq!(frame.fragments().count(), usize::from(frame.fragment_count()));
}

fn sealed(mut input: Taken<'_>) {
    // Flags, fragments, sequence, hash and index, as they stand in the header.
    let Some(fields) = input.number::<{ HEADER_BYTES - 5 }>() else {
        return;
    };
    let payload = input.0;
    let mut bytes = vec![0; 4];
    bytes.push(SEALED_VERSION);
    bytes.extend_from_slice(&fields);
    head().put(&mut bytes);
    let from = bytes.len();
    bytes.extend_from_slice(payload);
    let sequence = said(&bytes);
    let cipher = cipher(FRAME_LABEL);
    if cipher
        .seal_behind(Nonce::new(0, sequence), &mut bytes, 4, from)
        .is_err()
    {
        return;
    }
    mend(&mut bytes);
    let mut opener = Opener::new(keys().clone());
    match Frame::decode_with(sequence, &bytes, &mut opener) {
        Ok(frame) => {
            assert_eq!(frame.payload(), payload);
            read(&frame, sequence);
        }
        Err(error) => assert!(
            matches!(error, FrameError::Fragments | FrameError::Length { .. }),
            "what was sealed does not open: {error}"
        ),
    }
    // One bit of what is sealed is another, and the checksum is right.
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    mend(&mut bytes);
    assert!(Frame::decode_with(sequence, &bytes, &mut opener).is_err());
}

fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok((head, rest)) = Head::of_text(text) else {
        return;
    };
    assert_eq!(Head::of_text(&head.text()), Ok((head, "")));
    let _ = InnerKey::unwrap(keys(), &head, rest, ARCHIVE_LABEL);
}

fn head_bytes(bytes: &[u8]) {
    let Some((head, rest)) = Head::take(bytes) else {
        return;
    };
    let mut again = Vec::new();
    head.put(&mut again);
    assert_eq!(again, bytes[..bytes.len() - rest.len()]);
    assert_eq!(again.len(), head.len());
    let _ = keys().opener(&head, FRAME_LABEL).map(|cipher| {
        let mut opened = Vec::new();
        cipher.open(Nonce::ONE, &[], rest, &mut opened)
    });
}
