//! The frame: the unit that the journal stores. This is a disk format; `tests/fixtures/` holds frames that must decode for ever.
//!
//! One frame is at most [`FRAME_BYTES_MAX`] bytes (sled moves large nodes into files that it never syncs; FACTS of sled 0.34).
//! Integers are little-endian.
//!
//! ```text
//!  0        4         5       6           8          16              24             28
//!  +--------+---------+-------+-----------+----------+---------------+--------------+-----------------+
//!  | crc32c | version | flags | fragments | sequence | previous hash | commit index | fragments ...   |
//!  +--------+---------+-------+-----------+----------+---------------+--------------+-----------------+
//!    u32      u8 = 1    u8      u16         u64        u64 (xxh3-64)   u32
//!
//!  fragment:  | kind u8 | length u16 | bytes |      kind: 1 whole, 2 first, 3 middle, 4 last
//! ```
//!
//! - **crc32c** covers everything behind it.
//! - **sequence** repeats the key, so that a frame under a foreign key is found out.
//! - **previous hash** is xxh3-64 over all bytes of the frame before this one: the chain. The journal's very first frame has 0.
//! - **commit index** counts the frames of the same commit before this one. A commit is what one sync makes durable, and no frame
//!   of a commit is written before the commit ahead of it was synced. So a frame proves that every frame up to
//!   `sequence - commit index - 1` had been synced: that is how recovery tells a torn tail from lost data.
//! - **flags** bit 0: last frame of its commit. Recovery takes a commit whole or not at all.
//!
//! Where a key is configured the fragments are sealed, and the version is 2 (see `docket_sealing`):
//!
//! ```text
//!  0                            28                 28+h                                  -16
//!  +----------------------------+------------------+-------------------------------------+-----+
//!  | as above, with version 2   | key, check, salt | fragments, sealed ...               | tag |
//!  +----------------------------+------------------+-------------------------------------+-----+
//! ```
//!
//! - What is in front of the fragments is sealed with them, but for the checksum: a frame opens in its own place alone, behind the frame that
//!   was before it.
//! - The checksum and the chain are over the bytes as they are stored: what is torn or lost is told by them, without a key. A frame whose
//!   checksum is right and that does not open was written whole, and is never taken for a torn tail.
//! - The nonce is the sequence. The salt is drawn whenever a journal is opened to be written: a tail that was cut is written again under
//!   another one.

use docket_sealing::{Cipher, Head, KeyId, Keyring, Nonce, SealError, TAG_BYTES};
use xxhash_rust::xxh3::xxh3_64;

pub use crate::pack::{Assembled, Assembler, Packer};

/// Largest frame, header included, in bytes.
pub const FRAME_BYTES_MAX: usize = 6 * 1024;
/// Bytes in front of a frame's payload.
pub const HEADER_BYTES: usize = 28;
/// Bytes in front of a fragment's own.
pub const FRAGMENT_HEADER_BYTES: usize = 3;
/// The format version that this program writes without a key.
pub const FORMAT_VERSION: u8 = 1;
/// The format version of a frame that is sealed.
pub const SEALED_VERSION: u8 = 2;
/// What the keys of frames are derived for.
pub(crate) const SEAL_LABEL: &[u8] = b"docket journal frame 2";
/// Room for fragments in one frame, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES;
pub(crate) const FLAG_COMMIT_END: u8 = 1;

const _: () = assert!(FRAME_BYTES_MAX <= u16::MAX as usize, "offsets in a frame are u16");
const _: () = assert!(TAG_BYTES < PAYLOAD_BYTES_MAX, "what is sealed fits into a frame");

/// Where a record's first byte lives. Ordered as the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    seq: u64,
    offset: u16,
}

impl Position {
    /// The position of the record whose first fragment is at `offset` bytes into the payload of frame `seq`.
    pub fn new(seq: u64, offset: u16) -> Self {
        Self { seq, offset }
    }

    /// The sequence of the frame that the record begins in.
    pub fn seq(self) -> u64 {
        self.seq
    }

    /// Where in that frame's payload it begins, in bytes.
    pub fn offset(self) -> u16 {
        self.offset
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.seq, self.offset)
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a header, or longer than a frame may be.
    #[error("{bytes} bytes are not a frame's length")]
    Length {
        /// Bytes found.
        bytes: usize,
    },
    /// The checksum does not match the bytes.
    #[error("its checksum does not match its bytes")]
    Checksum,
    /// Whole, but of a format that this program does not know.
    #[error("format version {version} is unknown")]
    Version {
        /// The version found.
        version: u8,
    },
    /// Whole, but stored under another frame's key.
    #[error("it is frame {found} under another frame's key")]
    Sequence {
        /// The sequence inside the frame.
        found: u64,
    },
    /// The fragments do not fill the frame as its header says.
    #[error("its fragments do not add up")]
    Fragments,
    /// The frame is not there.
    #[error("it is not there")]
    Missing,
    /// Whole, and does not open.
    #[error("it {0}")]
    Sealed(SealError),
}

/// What part of a record a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentKind {
    /// The whole record.
    Whole,
    /// Its beginning; more follows.
    First,
    /// A part with more before and behind.
    Middle,
    /// Its end.
    Last,
}

impl FragmentKind {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Whole => 1,
            Self::First => 2,
            Self::Middle => 3,
            Self::Last => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Whole),
            2 => Some(Self::First),
            3 => Some(Self::Middle),
            4 => Some(Self::Last),
            _ => None,
        }
    }
}

/// A part of a record inside a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Which part.
    pub kind: FragmentKind,
    /// Where the fragment begins in the frame's payload, in bytes.
    pub offset: u16,
    /// The part's bytes.
    pub bytes: &'a [u8],
}

/// Opens sealed frames, one at a time. Remembers the last key that it derived: frames of one run have the same.
#[derive(Debug, Default)]
pub struct Opener {
    keys: Keyring,
    last: Option<Cipher>,
    opened: Vec<u8>,
}

impl Opener {
    /// With these keys.
    pub fn new(keys: Keyring) -> Self {
        Self {
            keys,
            last: None,
            opened: Vec::new(),
        }
    }

    /// Opens the fragments of a sealed frame.
    fn open(&mut self, sequence: u64, bytes: &[u8]) -> Result<(), SealError> {
        let behind = bytes.get(HEADER_BYTES..).unwrap_or_default();
        let (head, sealed) = Head::take(behind).ok_or(SealError::NoHead)?;
        if self.last.as_ref().is_none_or(|last| *last.head() != head) {
            self.last = Some(self.keys.opener(&head, SEAL_LABEL)?);
        }
        let Some(cipher) = &self.last else {
            return Err(SealError::NoKey { id: head.key() });
        };
        let beside = &bytes[SEALED_FROM..bytes.len() - sealed.len()];
        cipher.open(nonce_of(sequence), beside, sealed, &mut self.opened)
    }
}

/// Bytes in front of what is sealed with the fragments: the checksum, which is over all of it.
pub(crate) const SEALED_FROM: usize = 4;

/// By which a frame is sealed.
pub(crate) fn nonce_of(sequence: u64) -> Nonce {
    Nonce::new(0, sequence)
}

/// With which key a frame is sealed, as it says itself; `None` where it is not.
pub(crate) fn key_of(bytes: &[u8]) -> Option<KeyId> {
    head_of(bytes).map(|head| head.key())
}

/// The same, with all that has to be known to open it.
pub(crate) fn head_of(bytes: &[u8]) -> Option<Head> {
    match bytes.get(4) {
        Some(&SEALED_VERSION) => Head::take(bytes.get(HEADER_BYTES..)?).map(|(head, _)| head),
        _ => None,
    }
}

/// A frame whose length, checksum, version, sequence and fragments were checked.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    /// The fragments, opened where they are sealed.
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks `bytes` to be the frame `sequence`, which is not sealed.
    ///
    /// # Errors
    /// What is wrong with them, the most telling first.
    pub fn decode(sequence: u64, bytes: &'a [u8]) -> Result<Self, FrameError> {
        if let Some(id) = check(sequence, bytes)? {
            return Err(FrameError::Sealed(
                id.map_or(SealError::NoHead, |id| SealError::NoKey { id }),
            ));
        }
        Self::of(bytes, &bytes[HEADER_BYTES..])
    }

    /// The same, opened where it is sealed.
    ///
    /// # Errors
    /// What is wrong with them, the most telling first.
    pub fn decode_with(sequence: u64, bytes: &'a [u8], opener: &'a mut Opener) -> Result<Self, FrameError> {
        match check(sequence, bytes)? {
            None => Self::of(bytes, &bytes[HEADER_BYTES..]),
            Some(_) => {
                opener.open(sequence, bytes).map_err(FrameError::Sealed)?;
                Self::of(bytes, &opener.opened)
            }
        }
    }

    fn of(bytes: &'a [u8], payload: &'a [u8]) -> Result<Self, FrameError> {
        let frame = Self { bytes, payload };
        let mut fragments = frame.fragments();
        let found = fragments.by_ref().count();
        if fragments.broken
            || found != usize::from(frame.fragment_count())
            || u64::from(frame.commit_index()) >= frame.sequence()
        {
            return Err(FrameError::Fragments);
        }
        Ok(frame)
    }

    /// The frame's place in the journal.
    pub fn sequence(&self) -> u64 {
        u64_at(self.bytes, 8)
    }

    /// The hash of the frame before.
    pub fn previous_hash(&self) -> u64 {
        u64_at(self.bytes, 16)
    }

    /// How many frames of the same commit come before this one.
    pub fn commit_index(&self) -> u32 {
        u32_at(self.bytes, 24)
    }

    /// The last sequence that had been synced when this frame was written; 0: none.
    pub fn synced_before(&self) -> u64 {
        // `decode` made sure that the index is below the sequence.
        self.sequence() - u64::from(self.commit_index()) - 1
    }

    /// Whether the commit ends with this frame.
    pub fn ends_commit(&self) -> bool {
        self.bytes[5] & FLAG_COMMIT_END != 0
    }

    /// Fragments in the frame.
    pub fn fragment_count(&self) -> u16 {
        u16_at(self.bytes, 6)
    }

    /// Whether its fragments are sealed where it is stored.
    pub fn is_sealed(&self) -> bool {
        self.bytes[4] == SEALED_VERSION
    }

    /// The frame's own hash, which its successor carries.
    pub fn hash(&self) -> u64 {
        xxh3_64(self.bytes)
    }

    /// The fragments' bytes.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Length of the payload, in bytes.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// The fragments in order.
    pub fn fragments(&self) -> Fragments<'a> {
        Fragments::of(self.payload, 0)
    }

    /// The fragments from `offset` bytes into the payload on.
    pub fn fragments_from(&self, offset: u16) -> Fragments<'a> {
        Fragments::of(self.payload, offset)
    }
}

/// Checks all but the fragments; of a frame that is sealed, with which key it says that it is.
fn check(sequence: u64, bytes: &[u8]) -> Result<Option<Option<KeyId>>, FrameError> {
    if bytes.len() < HEADER_BYTES || bytes.len() > FRAME_BYTES_MAX {
        return Err(FrameError::Length { bytes: bytes.len() });
    }
    if u32_at(bytes, 0) != crc32c::crc32c(&bytes[4..]) {
        return Err(FrameError::Checksum);
    }
    let found = u64_at(bytes, 8);
    match bytes[4] {
        FORMAT_VERSION | SEALED_VERSION if found != sequence => Err(FrameError::Sequence { found }),
        FORMAT_VERSION => Ok(None),
        SEALED_VERSION => Ok(Some(key_of(bytes))),
        version => Err(FrameError::Version { version }),
    }
}

/// Walks a payload's fragments; see [`Frame::fragments`].
#[derive(Clone, Debug)]
pub struct Fragments<'a> {
    payload: &'a [u8],
    at: usize,
    broken: bool,
}

impl<'a> Fragments<'a> {
    /// Those in a payload, from `offset` bytes into it on.
    pub(crate) fn of(payload: &'a [u8], offset: u16) -> Self {
        Self {
            payload,
            at: usize::from(offset),
            broken: false,
        }
    }
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Fragment<'a>;

    fn next(&mut self) -> Option<Fragment<'a>> {
        let rest = self.payload.get(self.at..)?;
        if rest.is_empty() || self.broken {
            return None;
        }
        let parsed = rest.get(..FRAGMENT_HEADER_BYTES).and_then(|header| {
            let kind = FragmentKind::from_byte(header[0])?;
            let len = usize::from(u16_at(header, 1));
            let bytes = rest.get(FRAGMENT_HEADER_BYTES..FRAGMENT_HEADER_BYTES + len)?;
            Some(Fragment {
                kind,
                offset: u16::try_from(self.at).ok()?,
                bytes,
            })
        });
        match parsed {
            Some(fragment) => self.at += FRAGMENT_HEADER_BYTES + fragment.bytes.len(),
            None => self.broken = true,
        }
        parsed
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
