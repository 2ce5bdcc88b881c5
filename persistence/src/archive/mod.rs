//! The archive: values that never change any more, kept on disk and out of memory, each under a number, a key and what it is to be found by.
//!
//! Each *shelf* is an append-only sequence of its own: the value of number n is put behind those of all lower numbers. Whoever puts may
//! put the same again (after a crash it does), and says itself how many are valid: what has a higher number is of a future that was
//! not reached yet. A shelf has five kinds of trees, whose names begin with its number:
//!
//! ```text
//!   7/values    key                    ▶ head │ first part of the value      (at most one page's worth: see below)
//!   7/more      key │ part u16         ▶ the next part
//!   7/numbers   number u64             ▶ key
//!   7/by-3      found by … │ key       ▶ nothing                             index 3; empty where a value is not in it
//!   7/since     mark u8                ▶ number u64                          the first value that has the mark; empty where none has
//!
//!   head:  version u8 = 1 │ parts u16 │ number u64 │ length u32 │ crc32c of number and value u32            numbers big-endian
//! ```
//!
//! Values are cut at [`PART_BYTES_MAX`], since sled puts what makes a page large into files that it never syncs. sled skips a page that it
//! cannot read: the checksum tells of a value that was damaged, and the numbers of one that is missing.
//!
//! Where the archive is sealed (see `sealed`) the version is 2, length and checksum are of the sealed value, and in the indexes stand names in place of
//! what values are found by.
//!
//! Nothing is durable before [`Archive::sync`].

mod keyed;
mod sealed;
mod shelf;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use docket_sealing::Keyring;

use crate::at_rest;
use crate::error::StoreError;

pub use keyed::{Keyed, SledKeyed};
pub use sealed::ArchiveSeal;
pub(crate) use sealed::began_plain;
pub(crate) use shelf::SEALED_VERSION as PAGES_VERSION;
pub use shelf::{ArchiveError, Found, Put, Shelf};

/// The folder of the archive under the data directory.
pub const ARCHIVE_DIR: &str = "archive";
/// sled's cache for the archive, in bytes: what was read lately.
pub const ARCHIVE_CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// The longest part of a value.
pub const PART_BYTES_MAX: usize = 3 * 1024;
/// The longest value: as many parts as there can be.
pub const VALUE_BYTES_MAX: usize = PART_BYTES_MAX * u16::MAX as usize;
/// How long every key is.
pub const KEY_BYTES: usize = 16;

/// A key.
pub type Key = [u8; KEY_BYTES];

/// The archive of a node; clones are the same.
#[derive(Clone)]
pub struct Archive {
    keyed: Arc<dyn Keyed>,
    seal: Option<Arc<ArchiveSeal>>,
    /// Why nothing can be made durable any more.
    failed: Arc<OnceLock<StoreError>>,
}

impl Archive {
    /// The archive on this engine, not sealed.
    pub fn new(keyed: Arc<dyn Keyed>) -> Self {
        Self {
            keyed,
            seal: None,
            failed: Arc::default(),
        }
    }

    /// The archive in this folder, sealed where there is a key to seal with.
    ///
    /// # Errors
    /// It cannot be opened, or is sealed with a key that is not there.
    pub fn open(dir: &Path, keys: &Keyring) -> Result<Self, StoreError> {
        let keyed = SledKeyed::open(dir)?;
        let (seal, head) = ArchiveSeal::open(dir, keys, &keyed)?;
        let keyed = keyed.made_with(head);
        if seal.as_ref().is_some_and(|seal| seal.seals) {
            sealed::note(&keyed)?;
        }
        Ok(Self {
            seal: seal.map(Arc::new),
            ..Self::new(Arc::new(keyed))
        })
    }

    /// The archive on this engine, sealed as the head in this folder says, where one is there: to see what becomes of what a disk gives back.
    ///
    /// # Errors
    /// The head cannot be read, or its key is not there.
    pub fn on(keyed: Arc<dyn Keyed>, dir: &Path, keys: &Keyring) -> Result<Self, StoreError> {
        let (seal, head) = ArchiveSeal::open(dir, keys, &*keyed)?;
        if let Some(head) = head {
            at_rest::write_head(dir, &head)?;
        }
        Ok(Self {
            seal: seal.map(Arc::new),
            ..Self::new(keyed)
        })
    }

    /// A shelf, which is there from the first value on.
    pub fn shelf(&self, number: u16) -> Shelf {
        Shelf::new(self.keyed.clone(), self.seal.clone(), number)
    }

    /// Makes all that was put durable.
    ///
    /// # Errors
    /// The disk's, now or ever before: a second try would say nothing of what the first one left.
    pub fn sync(&self) -> Result<(), StoreError> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        self.keyed.sync().inspect_err(|error| {
            let _ = self.failed.set(error.clone());
        })
    }

    /// Lets go of the directory, though handles may linger: from here on everything is refused.
    pub fn close(&self) {
        self.keyed.close();
    }
}

/// An entry of a tree.
pub type Entry = (Bytes, Bytes);
