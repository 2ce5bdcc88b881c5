//! Sealing of what a node keeps on its disk: keys by their ids, and from each of them as many further ones as there are files.
//!
//! ```text
//!  key (32 bytes, under an id) ──HKDF-SHA-256, salt of 16 random bytes, label of what it is for──▶ the key of one file, or of a part of it
//!                                                                                                   │
//!                        nonce: the number of the frame, chunk or block in that file ──AES-256-GCM──┴──▶ sealed bytes, and a tag of 16
//! ```
//!
//! What it guarantees:
//! - **No nonce twice under one key.** A salt is drawn anew for each file (or part of one, or life of a writer), and whoever seals under it
//!   numbers what it seals and seals each number once. With 2³² salts drawn under one key the chance that two of them are the same is below 2⁻⁶⁴.
//!   (NIST SP 800-38D, 8.2.1: nonces by a deterministic construction; the derivation is RFC 5869.)
//! - **What is sealed is bound to its place**: whoever seals hands in what else has to be the same when it is opened (the name of the group, the
//!   number of the frame, the header in front of it).
//! - **A wrong key is told from damage**: beside the id stands a check of the key, four bytes of an HMAC of it. They tell nothing of a key of 32
//!   random bytes.
//! - **Keys are nowhere else**: they are overwritten when they are let go of, and no `Debug`, error or log has one. An id is no secret.
//!
//! The label in each derivation is that of a format: what was sealed for the journal opens as nothing else.

#![forbid(unsafe_code)]

mod cipher;
mod head;
mod inner;
mod keyring;

pub use cipher::{Cipher, Nonce, TAG_BYTES};
pub use head::{Head, HeadError, SALT_BYTES};
pub use inner::{INNER_ADDED_BYTES, InnerKey, NAME_BYTES};
pub use keyring::{KEY_IDS_MAX, KeyId, Keyring, KeyringError};

/// Why something cannot be sealed or opened. Whoever shows it says what, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Its key is not there.
    #[error("is sealed with the key `{id}`, which is not configured (encryption.keys)")]
    NoKey {
        /// Which.
        id: KeyId,
    },
    /// There is a key of that id, and it is another one.
    #[error(
        "is sealed with another key than the one that is configured as `{id}` (encryption.keys); put the right one there"
    )]
    WrongKey {
        /// Which.
        id: KeyId,
    },
    /// It was changed, or is in another's place.
    #[error("is not what was sealed there with the key `{id}`: it was changed, or belongs elsewhere")]
    Changed {
        /// With which key it says that it was sealed.
        id: KeyId,
    },
    /// What says with which key it is sealed cannot be read.
    #[error("does not say with which key it is sealed")]
    NoHead,
    /// The system gives no random bytes.
    #[error("cannot be sealed: the system gives no random bytes")]
    NoRandomness,
    /// It is more than can be sealed at once.
    #[error("cannot be sealed: it is too long")]
    TooLong,
}

impl SealError {
    /// Whether the right key, put where it is looked for, is all that it needs.
    pub fn is_of_keys(&self) -> bool {
        matches!(self, Self::NoKey { .. } | Self::WrongKey { .. })
    }
}
