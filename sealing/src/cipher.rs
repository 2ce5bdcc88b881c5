//! What seals and opens: one key of AES-256-GCM that nothing else has.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce as AeadNonce};

use crate::{Head, SealError};

/// Bytes that sealing adds.
pub const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;

/// Numbers what is sealed under one salt: what it is (a kind of the caller's), and which of them. Each is used to seal once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce {
    kind: u32,
    number: u64,
}

impl Nonce {
    /// The only thing that is sealed under its salt.
    pub const ONE: Self = Self::new(0, 0);

    /// The `number`th of this kind.
    pub const fn new(kind: u32, number: u64) -> Self {
        Self { kind, number }
    }

    fn aead(self) -> AeadNonce {
        let mut bytes = [0; NONCE_BYTES];
        bytes[..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..].copy_from_slice(&self.number.to_le_bytes());
        AeadNonce::assume_unique_for_key(bytes)
    }
}

/// Seals and opens what is under one salt.
pub struct Cipher {
    key: LessSafeKey,
    head: Head,
}

impl Cipher {
    pub(crate) fn new(key: LessSafeKey, head: Head) -> Self {
        Self { key, head }
    }

    /// What has to be known to open what this seals.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Seals what is in `bytes` from `from` on, in its place, and puts the tag behind it. Opened only with the same `beside`.
    ///
    /// # Errors
    /// It is too long: it is as it was.
    pub fn seal(
        &self,
        nonce: Nonce,
        beside: &[u8],
        bytes: &mut Vec<u8>,
        from: usize,
    ) -> Result<(), SealError> {
        seal(&self.key, nonce, beside, bytes, from)
    }

    /// The same, where what it is opened beside stands in front of it, from `beside` on.
    ///
    /// # Errors
    /// As [`seal`](Self::seal).
    pub fn seal_behind(
        &self,
        nonce: Nonce,
        bytes: &mut Vec<u8>,
        beside: usize,
        from: usize,
    ) -> Result<(), SealError> {
        let (front, part) = bytes.split_at_mut_checked(from).ok_or(SealError::TooLong)?;
        let beside = front.get(beside..).ok_or(SealError::TooLong)?;
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce.aead(), Aad::from(beside), part)
            .map_err(|_| SealError::TooLong)?;
        bytes.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens what was sealed, tag included, into `into`, in place of what was there.
    ///
    /// # Errors
    /// [`SealError::Changed`]; then nothing is in `into`.
    pub fn open(
        &self,
        nonce: Nonce,
        beside: &[u8],
        sealed: &[u8],
        into: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let changed = SealError::Changed { id: self.head.key() };
        open(&self.key, nonce, beside, sealed, into).ok_or(changed)
    }
}

pub(crate) fn seal(
    key: &LessSafeKey,
    nonce: Nonce,
    beside: &[u8],
    bytes: &mut Vec<u8>,
    from: usize,
) -> Result<(), SealError> {
    let part = bytes.get_mut(from..).ok_or(SealError::TooLong)?;
    let tag = key
        .seal_in_place_separate_tag(nonce.aead(), Aad::from(beside), part)
        .map_err(|_| SealError::TooLong)?;
    bytes.extend_from_slice(tag.as_ref());
    Ok(())
}

/// `None`, and nothing in `into`, where it is not what was sealed.
pub(crate) fn open(
    key: &LessSafeKey,
    nonce: Nonce,
    beside: &[u8],
    sealed: &[u8],
    into: &mut Vec<u8>,
) -> Option<()> {
    into.clear();
    let length = sealed.len().checked_sub(TAG_BYTES)?;
    let (sealed, tag) = sealed.split_at_checked(length)?;
    into.resize(sealed.len(), 0);
    let opened = key.open_separate_gather(nonce.aead(), Aad::from(beside), sealed, tag, into);
    if opened.is_err() {
        into.clear();
        return None;
    }
    Some(())
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

const _: () = assert!(TAG_BYTES == 16, "files that are there have tags of 16 bytes");

/// The algorithm.
pub(crate) static ALGORITHM: &aws_lc_rs::aead::Algorithm = &AES_256_GCM;
