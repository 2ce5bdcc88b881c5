//! The first administrator's key: `admin.key` in the data directory.
//!
//! It is written before the account is made, so that a crash in between loses nothing: the next start finds the file and
//! makes the account with the key in it. The file has mode 0600 from its first byte on, and appears whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use docket_edge::auth::ApiKeyText;
use secrecy::ExposeSecret as _;

use crate::failure::Failure;

/// The file's name.
pub const FILE: &str = "admin.key";
/// The file while it is written.
const FILE_NEW: &str = "admin.key.new";
/// Only the owner reads and writes.
const MODE: u32 = 0o600;

/// The key in the file of `data_dir`; a new one, kept there, where there is no file yet.
///
/// # Errors
/// The file cannot be read or written, or holds no key.
pub fn read_or_create(data_dir: &Path) -> Result<ApiKeyText, Failure> {
    let path = data_dir.join(FILE);
    guard(data_dir)?;
    if let Some(text) = read(&path)? {
        return ApiKeyText::parse(text.trim()).ok_or_else(|| {
            Failure::Other(format!(
                "{} holds no API key: move it away, and the next start makes a new one",
                path.display()
            ))
        });
    }
    let key = ApiKeyText::generate().map_err(|cause| Failure::Other(cause.to_string()))?;
    write(data_dir, &path, key.text().expose_secret())
        .map_err(|cause| Failure::Other(format!("cannot write {}: {cause}", path.display())))?;
    Ok(key)
}

/// The file of `data_dir`, if it is there.
pub fn path(data_dir: &Path) -> Option<PathBuf> {
    Some(data_dir.join(FILE)).filter(|path| path.exists())
}

/// Closes the file of `data_dir` to others, where somebody opened it to them.
///
/// # Errors
/// Its mode cannot be read or changed.
pub fn guard(data_dir: &Path) -> Result<(), Failure> {
    let path = data_dir.join(FILE);
    let closed = match fs::metadata(&path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            tracing::warn!(file = %path.display(), "others could read the admin's API key; now they cannot");
            fs::set_permissions(&path, fs::Permissions::from_mode(MODE))
        }
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    };
    closed.map_err(|cause| Failure::Other(format!("cannot close {} to others: {cause}", path.display())))
}

/// The text of the file; none where there is no file.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Failure::Other(format!("cannot read {}: {cause}", path.display()))),
    }
}

fn write(data_dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    let new = data_dir.join(FILE_NEW);
    // A crash may have left one behind. Its mode could be anything, so that it is not written over.
    match fs::remove_file(&new) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&new)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(path(folder.path()), None);
        fs::write(folder.path().join(FILE_NEW), "left behind by a crash").unwrap();
        let made = read_or_create(folder.path()).unwrap();
        let path = path(folder.path()).unwrap();
        assert_eq!(mode(&path), MODE);
        let again = read_or_create(folder.path()).unwrap();
        assert_eq!(made.text().expose_secret(), again.text().expose_secret());
        assert_eq!(
            fs::read_to_string(&path).unwrap().trim(),
            made.text().expose_secret()
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_read_is_closed_to_them() {
        let folder = tempfile::tempdir().unwrap();
        read_or_create(folder.path()).unwrap();
        let path = path(folder.path()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        read_or_create(folder.path()).unwrap();
        assert_eq!(mode(&path), MODE);
    }

    #[test]
    fn a_file_without_a_key_is_left_alone_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, "precious").unwrap();
        let error = read_or_create(folder.path()).map(|_| ()).unwrap_err();
        assert!(
            error.to_string().contains("admin.key holds no API key"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
