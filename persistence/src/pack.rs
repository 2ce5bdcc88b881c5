//! From records to frames and back: packing one commit into the fewest frames, and putting fragments together again.

use docket_sealing::{Cipher, SealError, TAG_BYTES};
use xxhash_rust::xxh3::xxh3_64;

use crate::frame::{
    FLAG_COMMIT_END, FORMAT_VERSION, FRAGMENT_HEADER_BYTES, FRAME_BYTES_MAX, Fragment, FragmentKind,
    HEADER_BYTES, Position, SEALED_FROM, SEALED_VERSION, nonce_of,
};

/// A record is not split to use less room than this at a frame's end, in bytes: the rest of it needs another frame anyway.
const SPLIT_ROOM_MIN: usize = 64;

const _: () = assert!(
    SPLIT_ROOM_MIN > FRAGMENT_HEADER_BYTES,
    "a split must make progress"
);

/// Packs the records of one commit after another into the fewest frames. It owns one buffer and allocates nothing per record.
#[derive(Debug)]
pub struct Packer {
    buffer: Vec<u8>,
    fragments: u16,
    sequence: u64,
    previous_hash: u64,
    commit_index: u32,
    /// Where fragments begin in a frame, and where they have to end.
    room: (usize, usize),
    seal: Option<Cipher>,
    /// Why nothing is emitted any more.
    unsealed: Option<SealError>,
}

impl Packer {
    /// Goes on with frame `sequence` behind a frame of hash `previous_hash` (0 for the journal's first).
    pub fn new(sequence: u64, previous_hash: u64) -> Self {
        Self::sealed(sequence, previous_hash, None)
    }

    /// The same, with frames that are sealed by this, if by anything. It must never have sealed a frame before.
    pub fn sealed(sequence: u64, previous_hash: u64, seal: Option<Cipher>) -> Self {
        let mut buffer = Vec::with_capacity(FRAME_BYTES_MAX);
        buffer.resize(HEADER_BYTES, 0);
        let mut end = FRAME_BYTES_MAX;
        if let Some(seal) = &seal {
            seal.head().put(&mut buffer);
            end -= TAG_BYTES;
        }
        Self {
            room: (buffer.len(), end),
            buffer,
            fragments: 0,
            sequence,
            previous_hash,
            commit_index: 0,
            seal,
            unsealed: None,
        }
    }

    /// Why a frame could not be sealed: it and those behind it were not emitted.
    pub fn unsealed(&self) -> Option<SealError> {
        self.unsealed
    }

    /// The sequence of the frame that is being filled.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The hash of the last frame that was emitted.
    pub fn previous_hash(&self) -> u64 {
        self.previous_hash
    }

    /// Adds a record and says where it begins; frames that fill up go to `emit` as (sequence, bytes).
    ///
    /// # Errors
    /// Those of `emit`; the packer is of no use afterwards.
    pub fn push<E>(
        &mut self,
        record: &[u8],
        emit: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Position, E> {
        let whole = FRAGMENT_HEADER_BYTES + record.len();
        if whole > self.room() && self.room() < SPLIT_ROOM_MIN {
            self.emit(false, emit)?;
        }
        let offset = self.buffer.len() - self.room.0;
        let position = Position::new(self.sequence, offset as u16);
        if whole <= self.room() {
            self.fragment(FragmentKind::Whole, record);
            return Ok(position);
        }
        let (mut part, mut rest) = record.split_at(self.room() - FRAGMENT_HEADER_BYTES);
        self.fragment(FragmentKind::First, part);
        let part_bytes_max = self.room.1 - self.room.0 - FRAGMENT_HEADER_BYTES;
        while rest.len() > part_bytes_max {
            self.emit(false, emit)?;
            (part, rest) = rest.split_at(part_bytes_max);
            self.fragment(FragmentKind::Middle, part);
        }
        self.emit(false, emit)?;
        self.fragment(FragmentKind::Last, rest);
        Ok(position)
    }

    /// Emits the last frame of the commit, marked as such. The next record begins a new commit.
    ///
    /// # Errors
    /// Those of `emit`; the packer is of no use afterwards.
    pub fn end_commit<E>(&mut self, emit: &mut impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.fragments > 0 {
            self.emit(true, emit)?;
        }
        self.commit_index = 0;
        Ok(())
    }

    fn room(&self) -> usize {
        self.room.1 - self.buffer.len()
    }

    fn fragment(&mut self, kind: FragmentKind, bytes: &[u8]) {
        debug_assert!(
            FRAGMENT_HEADER_BYTES + bytes.len() <= self.room(),
            "the caller made room"
        );
        self.buffer.push(kind.to_byte());
        self.buffer.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        self.buffer.extend_from_slice(bytes);
        self.fragments += 1;
    }

    fn emit<E>(
        &mut self,
        ends_commit: bool,
        emit: &mut impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let frame = &mut self.buffer;
        frame[4] = match self.seal {
            None => FORMAT_VERSION,
            Some(_) => SEALED_VERSION,
        };
        frame[5] = if ends_commit { FLAG_COMMIT_END } else { 0 };
        frame[6..8].copy_from_slice(&self.fragments.to_le_bytes());
        frame[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        frame[16..24].copy_from_slice(&self.previous_hash.to_le_bytes());
        frame[24..28].copy_from_slice(&self.commit_index.to_le_bytes());
        if let Some(seal) = &self.seal {
            let sealed = seal.seal_behind(nonce_of(self.sequence), frame, SEALED_FROM, self.room.0);
            self.unsealed = self.unsealed.or(sealed.err());
            if self.unsealed.is_some() {
                self.fragments = 0;
                self.buffer.truncate(self.room.0);
                return Ok(());
            }
        }
        let crc = crc32c::crc32c(&frame[4..]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
        emit(self.sequence, frame)?;
        self.previous_hash = xxh3_64(frame);
        self.sequence += 1;
        self.commit_index += 1;
        self.fragments = 0;
        self.buffer.truncate(self.room.0);
        Ok(())
    }
}

/// Puts fragments together to records again.
#[derive(Debug, Default)]
pub struct Assembler {
    partial: Vec<u8>,
    began: Option<Position>,
}

/// What a fragment completed.
#[derive(Debug, PartialEq, Eq)]
pub enum Assembled<'a> {
    /// A whole record and where it begins.
    Record(Position, &'a [u8]),
    /// Nothing yet.
    Partial,
    /// The fragment does not fit what came before it.
    Misfit,
}

impl Assembler {
    /// Takes the next fragment, of frame `sequence`.
    pub fn push<'a>(&'a mut self, sequence: u64, fragment: Fragment<'a>) -> Assembled<'a> {
        let position = Position::new(sequence, fragment.offset);
        match (fragment.kind, self.began) {
            (FragmentKind::Whole, None) => Assembled::Record(position, fragment.bytes),
            (FragmentKind::First, None) => {
                self.began = Some(position);
                self.partial.clear();
                self.partial.extend_from_slice(fragment.bytes);
                Assembled::Partial
            }
            (FragmentKind::Middle, Some(_)) => {
                self.partial.extend_from_slice(fragment.bytes);
                Assembled::Partial
            }
            (FragmentKind::Last, Some(began)) => {
                self.began = None;
                self.partial.extend_from_slice(fragment.bytes);
                Assembled::Record(began, &self.partial)
            }
            _ => Assembled::Misfit,
        }
    }

    /// Whether a record has begun and not ended.
    pub fn is_partial(&self) -> bool {
        self.began.is_some()
    }
}
