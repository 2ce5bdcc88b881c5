//! A copy of a data directory, as much of it as a replay needs. The original is read, and nothing in it is made, changed or removed.

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

use docket_persistence::{JOURNAL_DIR, JournalError, SNAPSHOTS_DIR, archive::ARCHIVE_DIR, hold};
use tempfile::TempDir;

use crate::failure::Failure;

/// What a state is made of. Keys, certificates and the audit log stay where they are.
const FOLDERS: [&str; 3] = [JOURNAL_DIR, SNAPSHOTS_DIR, ARCHIVE_DIR];
const FILES: [&str; 2] = ["identity.json", "digests.json"];

/// Copies it into a new folder below `scratch`, which is removed when it is dropped.
///
/// # Errors
/// A node uses it, or it cannot be copied.
pub fn copied(data_dir: &Path, scratch: &Path) -> Result<TempDir, Failure> {
    // Held as long as it is read: a copy of what is written meanwhile is none.
    let mut held = Vec::new();
    for folder in [JOURNAL_DIR, SNAPSHOTS_DIR] {
        let lock = hold(&data_dir.join(folder)).map_err(|error| match error {
            JournalError::Locked { holder, .. } => Failure::Other(format!(
                "{} is in use by {holder}\n      do: stop the node, or check a snapshot of its file system",
                data_dir.display()
            )),
            other => Failure::Other(other.to_string()),
        })?;
        held.push(lock);
    }
    let failed = |cause: io::Error| {
        Failure::Other(format!(
            "cannot copy {} to a folder in {}: {cause}",
            data_dir.display(),
            scratch.display()
        ))
    };
    let copy = tempfile::Builder::new()
        .prefix("docket-check-")
        .tempdir_in(scratch);
    let copy = copy.map_err(failed)?;
    for folder in FOLDERS {
        copy_tree(&data_dir.join(folder), &copy.path().join(folder)).map_err(failed)?;
    }
    for file in FILES {
        match fs::copy(data_dir.join(file), copy.path().join(file)) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(failed(cause)),
            _ => {}
        }
    }
    Ok(copy)
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    fs::create_dir(to)?;
    for entry in entries {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &to)?;
        } else if kind.is_file() {
            // Shares the blocks where the file system can.
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
