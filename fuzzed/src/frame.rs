//! A frame of the journal, as it is read from a disk that may have anything on it.

use docket_persistence::frame::{Assembler, Frame, Opener};

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

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some((is_mended, sequence, bytes)) = crate::input::<(bool, u64, &[u8])>(bytes) else {
        return;
    };
    let bytes = if is_mended {
        with_checksum(bytes)
    } else {
        bytes.to_vec()
    };
    // The sequence that it says it has, so that what follows is looked at, too.
    let said = bytes
        .get(8..16)
        .and_then(|field| field.try_into().ok())
        .map_or(sequence, u64::from_le_bytes);
    for sequence in [sequence, said, said.swap_bytes()] {
        // Without a key: of a frame that is sealed what says so is read.
        let mut opener = Opener::default();
        let Ok(frame) = Frame::decode_with(sequence, &bytes, &mut opener) else {
            continue;
        };
        assert_eq!(frame.sequence(), sequence);
        let mut assembler = Assembler::default();
        for fragment in frame.fragments() {
            let _ = assembler.push(sequence, fragment);
        }
        assert_eq!(frame.fragments().count(), usize::from(frame.fragment_count()));
    }
}
