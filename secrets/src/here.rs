//! Secrets that are on this machine: in files and variables.

use std::{
    collections::BTreeSet,
    env, fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use secrecy::SecretString;

use crate::ReadError;

/// The most bytes of a secret, wherever it is: what is longer is something else.
pub const SECRET_BYTES_MAX: u64 = 64 * 1_024;
/// The right to read of those that are neither the owner nor of the group.
const OTHERS_READ: u32 = 0o004;

/// Which file there is: another one where it was written or exchanged.
pub type Stamp = (u64, u64, i64, i64);

/// Whether anybody on the machine may read this file.
pub fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & OTHERS_READ != 0)
}

/// Which file there is; none where there is none, or nothing in it yet.
pub async fn stamp(path: &Path) -> Option<Stamp> {
    let found = tokio::fs::metadata(path).await.ok()?;
    (found.len() > 0).then(|| (found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

/// What a file holds, without the end of its last line.
pub fn read_file(path: &Path) -> Result<SecretString, ReadError> {
    let unusable = |why: String| ReadError::Unusable(why);
    let found = fs::metadata(path).map_err(|cause| unusable(cause.to_string()))?;
    // What is read from a pipe or a device may never end, or never begin.
    if !found.is_file() {
        return Err(unusable("it is no file".to_owned()));
    }
    let file = fs::File::open(path).map_err(|cause| unusable(cause.to_string()))?;
    // Whole from the start, so that nothing of it is left behind where it would have grown.
    let mut bytes = Vec::with_capacity(SECRET_BYTES_MAX as usize + 1);
    let read = file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|cause| unusable(cause.to_string()))?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(unusable(format!("it has more than {SECRET_BYTES_MAX} bytes")));
    }
    tell_of_open(path);
    let text = String::from_utf8(bytes).map_err(|_| unusable("it is not text".to_owned()))?;
    whole(text)
}

/// What a variable has.
pub fn read_variable(name: &str) -> Result<SecretString, ReadError> {
    match env::var(name) {
        Ok(text) => whole(text),
        Err(env::VarError::NotPresent) => Err(ReadError::Unusable("the variable is not set".to_owned())),
        Err(env::VarError::NotUnicode(_)) => Err(ReadError::Unusable("it is not text".to_owned())),
    }
}

/// A secret without the end of its last line.
fn whole(text: String) -> Result<SecretString, ReadError> {
    let secret: SecretString = text.into();
    let text = secrecy::ExposeSecret::expose_secret(&secret);
    let trimmed = text.trim_end_matches(['\n', '\r']);
    if trimmed.is_empty() {
        return Err(ReadError::Unusable("there is nothing in it".to_owned()));
    }
    Ok(trimmed.into())
}

/// Once for each file: it is read again and again.
fn tell_of_open(path: &Path) {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if is_open_to_others(path) && TOLD.lock().insert(path.to_owned()) {
        tracing::warn!(
            file = %path.display(),
            "everybody on this machine may read the secret in this file; do: chmod o-r"
        );
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_file_is_read_without_the_end_of_its_line_and_within_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (text, expected) in [
            ("hunter2", Some("hunter2")),
            ("hunter2\n", Some("hunter2")),
            ("hunter2\r\n", Some("hunter2")),
            (" hunter2 ", Some(" hunter2 ")),
            ("one\ntwo\n", Some("one\ntwo")),
            ("", None),
            ("\n", None),
        ] {
            fs::write(&path, text).unwrap();
            let read = read_file(&path);
            assert_eq!(read.ok().as_ref().map(|it| it.expose_secret()), expected);
        }
        fs::write(&path, vec![b'x'; SECRET_BYTES_MAX as usize]).unwrap();
        assert!(read_file(&path).is_ok());
        fs::write(&path, vec![b'x'; SECRET_BYTES_MAX as usize + 1]).unwrap();
        let refused = read_file(&path).unwrap_err().to_string();
        assert!(refused.contains("more than 65536 bytes"), "{refused}");
        fs::write(&path, [b'h', 0xff]).unwrap();
        assert_eq!(
            read_file(&path).unwrap_err(),
            ReadError::Unusable("it is not text".into())
        );
        let refused = read_file(folder.path()).unwrap_err().to_string();
        assert_eq!(refused, "it is no file");
        assert!(read_file(&folder.path().join("gone")).is_err());
    }

    #[test]
    fn who_may_read_a_file_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "hunter2").unwrap();
        for (mode, open) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_open_to_others(&path), open, "{mode:o}");
        }
        assert!(!is_open_to_others(&folder.path().join("gone")));
    }

    #[test]
    fn a_variable_that_is_not_set_is_told() {
        let refused = read_variable("DOCKET_TEST_NOBODY_SETS_THIS").unwrap_err();
        assert_eq!(refused.to_string(), "the variable is not set");
        assert!(!read_variable("PATH").unwrap().expose_secret().is_empty());
    }
}
