//! A frame of the journal, as it is read from a disk that may have anything on it.
#![no_main]

use docket_persistence::frame::{Assembler, Frame};
use libfuzzer_sys::fuzz_target;

/// The header's checksum is made right in every second input: a search would never find one.
fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some((sum, rest)) = bytes.split_at_mut_checked(4) {
        sum.copy_from_slice(&crc(rest).to_le_bytes());
    }
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    // CRC-32C, bit by bit: it is not what is tested.
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 * (crc & 1))
        })
    })
}

fuzz_target!(|input: (bool, u64, &[u8])| {
    let (is_mended, sequence, bytes) = input;
    let bytes = if is_mended { with_checksum(bytes) } else { bytes.to_vec() };
    // The sequence that it says it has, so that what follows is looked at, too.
    let said = bytes
        .get(8..16)
        .and_then(|field| field.try_into().ok())
        .map_or(sequence, u64::from_le_bytes);
    for sequence in [sequence, said, said.swap_bytes()] {
        let Ok(frame) = Frame::decode(sequence, &bytes) else { continue };
        assert_eq!(frame.sequence(), sequence);
        let mut assembler = Assembler::default();
        for fragment in frame.fragments() {
            let _ = assembler.push(sequence, fragment);
        }
        assert_eq!(frame.fragments().count(), usize::from(frame.fragment_count()));
    }
});
