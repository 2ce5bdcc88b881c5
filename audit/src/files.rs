//! The files of the log: what they are called, and reading them.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use docket_sealing::{KeyId, Keyring};

use crate::{
    AuditError, Position,
    record::LINE_BYTES_MAX,
    sealed::{self, STORED_LINE_BYTES_MAX},
};

/// The folder of the log in a data directory.
pub const AUDIT_DIR: &str = "audit";
/// Beside the files: what was synced last.
pub(crate) const HEAD: &str = "head";
const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
/// Digits of a sequence in a name, so that the order of the names is that of the records.
const DIGITS: usize = 20;
/// Bytes of a head: all in one place of the disk, so that it is written as a whole.
const HEAD_BYTES: u64 = 128;

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The sequence of its first record.
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
}

impl Segment {
    pub(crate) fn new(folder: &Path, first: u64) -> Self {
        Self {
            first,
            path: folder.join(format!("{PREFIX}{first:0DIGITS$}{SUFFIX}")),
        }
    }

    fn of(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let first = digits.parse().ok().filter(|_| digits.len() == DIGITS)?;
        Some(Self { first, path })
    }
}

/// All files of a log, oldest first.
pub(crate) fn segments(folder: &Path) -> Result<Vec<Segment>, AuditError> {
    let told = |source| AuditError::file("read", folder, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(told)? {
        found.extend(Segment::of(entry.map_err(told)?.path()));
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

/// What the head says; `None` where there is none, or it says nothing.
pub(crate) fn head(folder: &Path) -> Result<Option<Position>, AuditError> {
    let path = folder.join(HEAD);
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(HEAD_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text.parse().ok()),
        Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
            Ok(None)
        }
        Err(cause) => Err(AuditError::file("read", path, cause)),
    }
}

/// A head as it is written: always as long.
pub(crate) fn head_text(position: &Position) -> String {
    format!("{:0DIGITS$}:{}\n", position.sequence, position.hash)
}

/// The lines of a file, each with its end, and what is behind the last end.
pub(crate) struct Lines {
    path: PathBuf,
    keys: Keyring,
    /// With which key the last line was sealed.
    key: Option<KeyId>,
    reader: BufReader<File>,
}

impl Lines {
    pub(crate) fn open(path: &Path, keys: &Keyring) -> Result<Self, AuditError> {
        let file = File::open(path).map_err(|source| AuditError::file("open", path, source))?;
        Ok(Self {
            path: path.to_owned(),
            keys: keys.clone(),
            key: None,
            reader: BufReader::with_capacity(256 * 1_024, file),
        })
    }

    /// The next one, into `line`, with its end where it has one, opened where it is sealed; how many bytes it has in the file, 0 at the end. Of a line
    /// that is longer than one may be nothing but the end is there.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> Result<usize, AuditError> {
        let read = self.next_stored(line)?;
        self.open_line(line)?;
        Ok(read)
    }

    /// Opens a line that is sealed, once all of it is there.
    pub(crate) fn open_line(&mut self, line: &mut Vec<u8>) -> Result<(), AuditError> {
        let opened = sealed::open(&self.keys, line).map_err(|why| AuditError::Sealed {
            path: self.path.clone(),
            why,
        })?;
        if line.ends_with(b"\n") {
            self.key = opened;
            if line.len() > LINE_BYTES_MAX {
                line.clear();
                line.push(b'\n');
            }
        }
        Ok(())
    }

    /// With which key the last line that ended was sealed.
    pub(crate) fn key(&self) -> Option<KeyId> {
        self.key
    }

    /// The next one as it is in the file.
    pub(crate) fn next_stored(&mut self, line: &mut Vec<u8>) -> Result<usize, AuditError> {
        line.clear();
        let told = |source| AuditError::file("read", &self.path, source);
        let most = STORED_LINE_BYTES_MAX as u64;
        let mut read = self
            .reader
            .by_ref()
            .take(most)
            .read_until(b'\n', line)
            .map_err(told)?;
        // The rest of one that is too long.
        let mut rest = Vec::new();
        while read >= STORED_LINE_BYTES_MAX && !line.ends_with(b"\n") && !rest.ends_with(b"\n") {
            rest.clear();
            let more = self
                .reader
                .by_ref()
                .take(most)
                .read_until(b'\n', &mut rest)
                .map_err(told)?;
            if more == 0 {
                break;
            }
            read += more;
        }
        // It is no record, whatever it begins with, and it is not torn.
        if rest.ends_with(b"\n") {
            line.clear();
            line.push(b'\n');
        }
        Ok(read)
    }
}
