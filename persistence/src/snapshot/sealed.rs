//! Sealing of a snapshot. Its key and salt are in the file `sealed` in its folder (`docket_sealing::Head`), and its end has version 3.
//!
//! - Each chunk of meta bytes, each block of data and the end are sealed by themselves, by their kind and number. All of them are sealed
//!   beside the group and the id, so that no snapshot can stand for another.
//! - Checksums and hashes are of the bytes as they are stored: damage is told without a key, and nothing of the state by them.
//! - The end is `version │ counts and hash, sealed`: what is cut off behind is told by what opens alone.

use std::path::Path;

use docket_sealing::{Cipher, Head, Keyring, Nonce, SealError, TAG_BYTES};

use crate::at_rest;
use crate::error::StoreError;

/// What the keys of snapshots are derived for.
const LABEL: &[u8] = b"docket snapshot 3";
const BESIDE_BYTES: usize = 12;

/// What is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Meta(u64),
    Block(u64),
    End,
}

impl Part {
    fn nonce(self) -> Nonce {
        match self {
            Self::Meta(number) => Nonce::new(1, number),
            Self::Block(number) => Nonce::new(2, number),
            Self::End => Nonce::new(3, 0),
        }
    }
}

/// Seals or opens one snapshot.
#[derive(Debug)]
pub(super) struct Sealed {
    cipher: Cipher,
    beside: [u8; BESIDE_BYTES],
}

/// Bytes that sealing adds to each part.
pub(super) const ADDED_BYTES: usize = TAG_BYTES;

impl Sealed {
    /// For a snapshot that is begun in this folder, where it is to be sealed.
    pub(super) fn begin(
        keys: &Keyring,
        (group, id): (u32, u64),
        folder: &Path,
    ) -> Result<Option<Self>, StoreError> {
        let cipher = keys
            .sealer(LABEL)
            .map_err(|error| StoreError::other("begin", folder, error))?;
        let Some(cipher) = cipher else { return Ok(None) };
        at_rest::write_head(folder, &cipher.head().text())?;
        Ok(Some(Self {
            cipher,
            beside: beside(group, id),
        }))
    }

    /// Of the snapshot in this folder; `None` where it is not sealed.
    pub(super) fn of(
        keys: &Keyring,
        (group, id): (u32, u64),
        folder: &Path,
    ) -> Result<Option<Self>, OpenError> {
        let Some((head, _)) = at_rest::read_head(folder)? else {
            return Ok(None);
        };
        Ok(Some(Self::with(keys, &head, (group, id))?))
    }

    /// Of one with this head.
    pub(super) fn with(keys: &Keyring, head: &Head, (group, id): (u32, u64)) -> Result<Self, SealError> {
        Ok(Self {
            cipher: keys.opener(head, LABEL)?,
            beside: beside(group, id),
        })
    }

    /// Seals what is in `bytes` from `from` on. Each part once.
    pub(super) fn seal(&self, part: Part, bytes: &mut Vec<u8>, from: usize) -> Result<(), SealError> {
        self.cipher.seal(part.nonce(), &self.beside, bytes, from)
    }

    pub(super) fn open(&self, part: Part, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut opened = Vec::new();
        self.cipher
            .open(part.nonce(), &self.beside, sealed, &mut opened)?;
        Ok(opened)
    }
}

/// Why a snapshot that is sealed cannot be opened.
pub(super) enum OpenError {
    Store(StoreError),
    Seal(SealError),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SealError> for OpenError {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

fn beside(group: u32, id: u64) -> [u8; BESIDE_BYTES] {
    let mut bytes = [0; BESIDE_BYTES];
    bytes[..4].copy_from_slice(&group.to_le_bytes());
    bytes[4..].copy_from_slice(&id.to_le_bytes());
    bytes
}
