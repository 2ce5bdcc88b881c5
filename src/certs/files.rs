//! Certificates and keys as files: read, and written only where nothing is.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Only the owner looks into a folder with keys in it.
const FOLDER_MODE: u32 = 0o700;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// It would write over a file.
    #[error(
        "{} exists already, and nothing is written over: move it away, or give another folder with --out",
        found.display()
    )]
    Exists {
        /// The file.
        found: PathBuf,
        /// What it would write, all of it.
        others: Vec<PathBuf>,
    },
    /// There is no authority to sign with.
    #[error(
        "there is no {}: make an authority with `docket certs ca --out DIR`, or name its folder with --ca",
        .0.display()
    )]
    NoAuthority(PathBuf),
    /// The authority cannot be used.
    #[error("{} cannot be used: {cause}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A certificate or key cannot be made.
    #[error("the certificate cannot be made: {0}")]
    Make(String),
    /// A file or folder cannot be read or written.
    #[error("{operation} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

impl CertsError {
    pub(super) fn make(cause: impl fmt::Display) -> Self {
        Self::Make(cause.to_string())
    }

    pub(super) fn unusable(path: &Path, cause: impl fmt::Display) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            cause: cause.to_string(),
        }
    }

    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io {
            operation,
            path,
            cause,
        }
    }
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// Its owner.
    Secret,
    /// Everybody.
    Public,
}

impl Secrecy {
    fn mode(self) -> u32 {
        match self {
            Self::Secret => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// A file of the authority.
pub(super) fn read(path: &Path) -> Result<String, CertsError> {
    fs::read_to_string(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => CertsError::NoAuthority(path.to_owned()),
        _ => CertsError::io("read", path)(cause),
    })
}

/// Whether a file holds just this text.
pub(super) fn holds(path: &Path, text: &str) -> Result<bool, CertsError> {
    match fs::read(path) {
        Ok(found) => Ok(found == text.as_bytes()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(CertsError::io("read", path)(cause)),
    }
}

/// Writes these files into a folder, all or none of them, and none over another.
pub(super) fn write_new(folder: &Path, files: &[(&PathBuf, String, Secrecy)]) -> Result<(), CertsError> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(CertsError::io("make the folder", folder))?;
    for (at, (path, text, secrecy)) in files.iter().enumerate() {
        let written = write_one(path, text, *secrecy);
        if let Err(mut error) = written {
            // Half a pair would stand in the way of the next attempt. What cannot be removed is named by that.
            for (path, _, _) in &files[..at] {
                let _ = fs::remove_file(path);
            }
            if let CertsError::Exists { others, .. } = &mut error {
                *others = files.iter().map(|(path, ..)| path.to_path_buf()).collect();
            }
            return Err(error);
        }
    }
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(CertsError::io("sync", folder))
}

fn write_one(path: &Path, text: &str, secrecy: Secrecy) -> Result<(), CertsError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(secrecy.mode())
        .open(path);
    let mut file = file.map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => CertsError::Exists {
            found: path.to_owned(),
            others: Vec::new(),
        },
        _ => CertsError::io("write", path)(cause),
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|cause| {
        let _ = fs::remove_file(path);
        CertsError::io("write", path)(cause)
    })
}
