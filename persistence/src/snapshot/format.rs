//! The chunks of a snapshot. This is a disk format; fixtures in `tests/fixtures/` must be readable for ever.
//!
//! A snapshot is a sled database whose keys count from 0 (u64, big-endian) and whose values are chunks of at most
//! [`CHUNK_BYTES_MAX`] bytes: first those of the meta bytes, then one end; the data is in a file beside it (see `data`). Integers are
//! little-endian. In version 1, which is still read, the data is in chunks before the end.
//!
//! ```text
//!  0        4      5
//!  +--------+------+-----------+
//!  | crc32c | kind | bytes ... |    kind: 1 meta, 2 data, 3 end
//!  +--------+------+-----------+
//!
//!  end:  | version u8 = 3 | the fields of version 2, sealed (see `sealed`) |
//!        | version u8 = 2 | chunks u64 | meta bytes u64 | data bytes u64 | xxh3-64 over meta and the blocks' hashes u64 | blocks u64 |
//!        | version u8 = 1 | chunks u64 | meta bytes u64 | data bytes u64 | xxh3-64 over meta and data u64 |
//! ```
//!
//! The checksum covers the key and everything behind it, so that a chunk under another's key is found out; the end tells a
//! snapshot that is cut short from a whole one, and one version from another: a program that knows only version 1 says so.

use docket_sealing::SealError;
use xxhash_rust::xxh3::Xxh3;

use super::sealed::{Part, Sealed};
use crate::frame::FRAME_BYTES_MAX;

/// Largest chunk, in bytes: as large as a frame, and for the same reason.
pub(super) const CHUNK_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// Bytes in front of a chunk's own.
pub(super) const HEADER_BYTES: usize = 5;
/// With the data in a file.
const VERSION: u8 = 2;
/// The same, sealed.
pub(crate) const VERSION_SEALED: u8 = 3;
/// With the data in chunks.
const VERSION_CHUNKS: u8 = 1;

/// Why a snapshot is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotDamage {
    /// A chunk is absent.
    #[error("chunk {0} is missing")]
    Missing(u64),
    /// A chunk's bytes are not what was written.
    #[error("the checksum of chunk {0} does not match its bytes")]
    Checksum(u64),
    /// A chunk is whole and in a place where it makes no sense.
    #[error("chunk {0} is out of place")]
    Misplaced(u64),
    /// A format that this program does not know.
    #[error("format version {0} is unknown; use the program that wrote it, or a newer one")]
    Version(u8),
    /// The file with the data is absent.
    #[error("its file `data` is missing")]
    NoData,
    /// A block of the data is cut short or not what was written.
    #[error("block {0} of it is cut short, or its hash does not match its bytes")]
    Block(u64),
    /// It does not open.
    #[error("it {0}")]
    Sealed(SealError),
    /// Counts or hash of the end do not match what is before it.
    #[error("what its end says does not match its {0} chunks")]
    End(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Meta,
    Data,
    End,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Meta => 1,
            Self::Data => 2,
            Self::End => 3,
        }
    }
}

/// Finishes a chunk whose first [`HEADER_BYTES`] bytes were left free.
pub(super) fn seal(key: u64, kind: Kind, chunk: &mut [u8]) {
    chunk[4] = kind.byte();
    let crc = checksum(key, &chunk[4..]);
    chunk[..4].copy_from_slice(&crc.to_le_bytes());
}

/// Checks a chunk and gives its kind; its bytes are behind the header.
pub(super) fn open(key: u64, chunk: &[u8]) -> Result<Kind, SnapshotDamage> {
    if chunk.len() < HEADER_BYTES || chunk[..4] != checksum(key, &chunk[4..]).to_le_bytes() {
        return Err(SnapshotDamage::Checksum(key));
    }
    match chunk[4] {
        1 => Ok(Kind::Meta),
        2 => Ok(Kind::Data),
        3 => Ok(Kind::End),
        _ => Err(SnapshotDamage::Misplaced(key)),
    }
}

fn checksum(key: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&key.to_be_bytes()), bytes)
}

/// What a snapshot adds up to; built alike by the writer and by whoever checks.
#[derive(Clone, Default)]
pub(super) struct Sum {
    pub(super) chunks: u64,
    pub(super) meta_bytes: u64,
    pub(super) data_bytes: u64,
    /// Of the file; 0 in version 1.
    pub(super) blocks: u64,
    hash: Xxh3,
}

/// Where the data is, by the end that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In chunks: all of it was seen, and is right.
    Chunks,
    /// In the file, which is still to be checked.
    File,
}

impl Sum {
    pub(super) fn add(&mut self, kind: Kind, bytes: &[u8]) {
        self.chunks += 1;
        match kind {
            Kind::Meta => self.meta_bytes += bytes.len() as u64,
            Kind::Data | Kind::End => self.data_bytes += bytes.len() as u64,
        }
        self.hash.update(bytes);
    }

    /// A block of the file.
    pub(super) fn add_block(&mut self, hash: u64, bytes: usize) {
        self.blocks += 1;
        self.data_bytes += bytes as u64;
        self.hash.update(&hash.to_le_bytes());
    }

    /// The end's bytes, header left free.
    pub(super) fn encode_end(&self, sealed: Option<&Sealed>) -> Result<Vec<u8>, SealError> {
        let Some(sealed) = sealed else {
            return Ok(self.encode_version(VERSION));
        };
        let mut chunk = self.encode_version(VERSION_SEALED);
        sealed.seal(Part::End, &mut chunk, HEADER_BYTES + 1)?;
        Ok(chunk)
    }

    fn encode_version(&self, version: u8) -> Vec<u8> {
        let mut chunk = vec![0; HEADER_BYTES];
        chunk.push(version);
        for field in [self.chunks, self.meta_bytes, self.data_bytes, self.hash.digest()] {
            chunk.extend_from_slice(&field.to_le_bytes());
        }
        if version != VERSION_CHUNKS {
            chunk.extend_from_slice(&self.blocks.to_le_bytes());
        }
        chunk
    }

    /// Looks at an end that was read, of which `bytes` are those behind the header: where the data is, and the end as it is to be compared.
    pub(super) fn place(
        &self,
        bytes: &[u8],
        sealed: Option<&Sealed>,
    ) -> Result<(Place, Vec<u8>), SnapshotDamage> {
        // Data in chunks as well would be in no version but the first.
        let has_file = self.data_bytes == 0;
        match (bytes.split_first(), sealed) {
            (Some((&VERSION_CHUNKS, _)), None) => self
                .check(VERSION_CHUNKS, bytes)
                .map(|()| (Place::Chunks, bytes.to_vec())),
            (Some((&VERSION, _)), None) if has_file => Ok((Place::File, bytes.to_vec())),
            (Some((&VERSION_SEALED, _)), None) => Err(SnapshotDamage::Sealed(SealError::NoHead)),
            (Some((&VERSION_SEALED, fields)), Some(sealed)) if has_file => {
                let mut end = vec![VERSION_SEALED];
                end.extend(sealed.open(Part::End, fields).map_err(SnapshotDamage::Sealed)?);
                Ok((Place::File, end))
            }
            (Some((&(VERSION_CHUNKS | VERSION | VERSION_SEALED), _)) | None, _) => {
                Err(SnapshotDamage::End(self.chunks))
            }
            (Some((version, _)), _) => Err(SnapshotDamage::Version(*version)),
        }
    }

    /// Compares with an end that was read, and opened, once everything is seen.
    pub(super) fn check_end(&self, bytes: &[u8]) -> Result<(), SnapshotDamage> {
        let version = match bytes.first() {
            Some(&VERSION_SEALED) => VERSION_SEALED,
            _ => VERSION,
        };
        self.check(version, bytes)
    }

    fn check(&self, version: u8, bytes: &[u8]) -> Result<(), SnapshotDamage> {
        match bytes == &self.encode_version(version)[HEADER_BYTES..] {
            true => Ok(()),
            false => Err(SnapshotDamage::End(self.chunks)),
        }
    }
}
