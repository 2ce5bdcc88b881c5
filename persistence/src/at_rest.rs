//! With which keys the files of a data directory are sealed: read from the heads beside them, without a key, also while a node runs.
//!
//! ```text
//!  journal/00000000000000000001/sealed      with which key all frames of the segment are; a plain segment has no such file
//!  snapshots/7/00000000000000000012/sealed  key and salt of the snapshot
//!  archive/sealed                           the archive's own key, sealed
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use docket_sealing::{Head, HeadError, KeyId};

use crate::archive::ARCHIVE_DIR;
use crate::error::StoreError;
use crate::files;
use crate::verify::{JOURNAL_DIR, SNAPSHOTS_DIR};

/// The file with the head, in the folder of what is sealed.
pub(crate) const SEALED_FILE: &str = "sealed";
/// Bytes of it that are read: more than any has.
const SEALED_FILE_BYTES_MAX: u64 = 4 * 1024;
/// A head that is written anew, beside the one that counts.
const SEALED_FILE_NEW: &str = "sealed.new";

/// How many files are sealed with which key, and how many are plain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Segments, snapshots and the archive, by the key that they are sealed with.
    pub sealed: BTreeMap<KeyId, u64>,
    /// Those that are not sealed; an archive that holds something from before it had a key counts as well.
    pub plain: u64,
    /// Those whose heads cannot be read.
    pub unreadable: Vec<PathBuf>,
}

impl Usage {
    /// One more.
    pub fn add(&mut self, key: Option<KeyId>) {
        match key {
            Some(key) => *self.sealed.entry(key).or_default() += 1,
            None => self.plain += 1,
        }
    }
}

/// Looks at the journal, the snapshots and the archive of `data_dir`. What is being made or removed meanwhile may be missed.
pub fn usage(data_dir: &Path) -> Usage {
    let mut usage = Usage::default();
    let mut folders = Vec::new();
    let is_numbered = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        path.is_dir() && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
    };
    let within = |folder: &Path| files::entries(folder).unwrap_or_default();
    folders.extend(
        within(&data_dir.join(JOURNAL_DIR))
            .into_iter()
            .filter(is_numbered),
    );
    for group in within(&data_dir.join(SNAPSHOTS_DIR))
        .into_iter()
        .filter(is_numbered)
    {
        folders.extend(within(&group).into_iter().filter(is_numbered));
    }
    for folder in folders {
        match read_head(&folder) {
            Ok(head) => usage.add(head.map(|(head, _)| head.key())),
            // It has just gone.
            Err(_) if !folder.exists() => {}
            Err(_) => usage.unreadable.push(folder),
        }
    }
    let archive = data_dir.join(ARCHIVE_DIR);
    match read_head(&archive) {
        Ok(Some((head, rest))) => {
            usage.add(Some(head.key()));
            usage.plain += u64::from(crate::archive::began_plain(&rest));
        }
        Ok(None) => usage.plain += u64::from(archive.join("db").exists()),
        Err(_) => usage.unreadable.push(archive),
    }
    usage
}

/// The head in a folder, with what is behind it in its file; `None` where there is none.
pub(crate) fn read_head(folder: &Path) -> Result<Option<(Head, String)>, StoreError> {
    let path = folder.join(SEALED_FILE);
    let length = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", &path, &error)),
    };
    if length > SEALED_FILE_BYTES_MAX {
        return Err(StoreError::other("read", &path, HeadError::Broken));
    }
    let text = fs::read_to_string(&path).map_err(|error| StoreError::io("read", &path, &error))?;
    let read = Head::of_text(&text).map(|(head, rest)| (head, rest.to_owned()));
    read.map(Some)
        .map_err(|error| StoreError::other("read", &path, error))
}

/// Puts a head into a folder that nobody reads yet, not durably.
pub(crate) fn write_head(folder: &Path, text: &str) -> Result<(), StoreError> {
    let path = folder.join(SEALED_FILE);
    fs::write(&path, text).map_err(|error| StoreError::io("write", &path, &error))
}

/// Puts a head in place of the one that is there, or takes that away: durably, and the old or the new one after a crash.
pub(crate) fn replace_head(folder: &Path, text: Option<&str>) -> Result<(), StoreError> {
    let (path, new) = (folder.join(SEALED_FILE), folder.join(SEALED_FILE_NEW));
    let Some(text) = text else {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io("remove", &path, &error)),
            _ => files::sync_dir(folder),
        };
    };
    let written = fs::File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| StoreError::io("write", &new, &error))?;
    files::rename_durably(&new, &path)
}

/// Replaces the last line of a head's file.
pub(crate) fn note_plain(folder: &Path, plain: &str, not_plain: &str) -> Result<(), StoreError> {
    let path = folder.join(SEALED_FILE);
    let text = fs::read_to_string(&path).map_err(|error| StoreError::io("read", &path, &error))?;
    match text.strip_suffix(not_plain) {
        Some(before) => replace_head(folder, Some(&format!("{before}{plain}"))),
        None => Ok(()),
    }
}
