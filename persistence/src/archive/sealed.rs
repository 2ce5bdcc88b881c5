//! Sealing of the archive. It grows for ever, so it has a key of its own, which is kept beside it, in the file `sealed`, sealed with the key of the
//! day: another one takes its place at the next start, and no value is written again.
//!
//! ```text
//!  docket sealed 1          (see `docket_sealing::Head`)
//!  key … check … salt …
//!  inner <the archive's key, sealed>
//!  plain no                 whether there may be values that are not sealed
//! ```
//!
//! - Values are sealed in their places: shelf, key and number. In an index stands a name in place of what values are found by: the same for the same.
//! - Keys, numbers and marks are not sealed: a key tells when an order was placed, and values are found in the order of their keys.

use std::path::Path;

use docket_sealing::{InnerKey, Keyring};

use super::Keyed;
use crate::at_rest;
use crate::error::StoreError;

/// A tree with one entry, in an archive that something is sealed in.
const TREE: &str = "sealed";
const KEY: &[u8] = b"since";
const LABEL: &[u8] = b"docket archive key 1";
const PLAIN: &str = "plain yes\n";
const NOT_PLAIN: &str = "plain no\n";

/// What an archive is sealed with.
#[derive(Debug)]
pub struct ArchiveSeal {
    pub(super) key: InnerKey,
    /// What is put from now on is sealed.
    pub(super) seals: bool,
    /// Some of what is there may not be.
    pub(super) has_plain: bool,
}

/// Has the archive know that something in it is sealed. Durable with the first value that is.
pub(super) fn note(keyed: &dyn Keyed) -> Result<(), StoreError> {
    keyed.put(TREE, KEY, &[1])
}

/// Whether an archive had something before it had a key, by what stands behind its head and key.
pub(crate) fn began_plain(rest: &str) -> bool {
    !rest.ends_with(NOT_PLAIN)
}

impl ArchiveSeal {
    /// Of the archive in this folder; with the text of its head where that goes with a database that is not made yet.
    pub(super) fn open(
        dir: &Path,
        keys: &Keyring,
        keyed: &dyn Keyed,
    ) -> Result<(Option<Self>, Option<String>), StoreError> {
        let failed = |error| StoreError::other("open", dir, error);
        let is_made = dir.join("db").exists();
        let Some((head, rest)) = at_rest::read_head(dir)? else {
            // With another key nothing of it would be found again.
            if keyed.get(TREE, KEY)?.is_some() {
                let gone = "its key is gone: the file `sealed` was in this folder";
                return Err(StoreError::other("open", dir, gone));
            }
            if keys.current().is_none() {
                return Ok((None, None));
            }
            let key = InnerKey::generate().map_err(failed)?;
            let seal = Self {
                key,
                seals: true,
                has_plain: is_made,
            };
            let text = seal.text(keys).map_err(failed)?;
            if is_made {
                at_rest::replace_head(dir, text.as_deref())?;
                return Ok((Some(seal), None));
            }
            return Ok((Some(seal), text));
        };
        let (key, rest) = InnerKey::unwrap(keys, &head, &rest, LABEL)
            .map_err(|error| StoreError::other("open", dir, format!("it {error}")))?;
        let had_plain = began_plain(rest);
        let seals = keys.current().is_some();
        let seal = Self {
            key,
            seals,
            has_plain: had_plain || !seals,
        };
        if keys.current().is_some_and(|current| current != head.key()) {
            let text = seal.text(keys).map_err(failed)?;
            at_rest::replace_head(dir, text.as_deref())?;
        } else if seal.has_plain != had_plain {
            // Before anything that is plain is put.
            at_rest::note_plain(dir, PLAIN, NOT_PLAIN)?;
        }
        Ok((Some(seal), None))
    }

    fn text(&self, keys: &Keyring) -> Result<Option<String>, docket_sealing::SealError> {
        let plain = if self.has_plain { PLAIN } else { NOT_PLAIN };
        let wrapped = self.key.wrapped(keys, LABEL)?;
        Ok(wrapped.map(|text| text + plain))
    }
}
