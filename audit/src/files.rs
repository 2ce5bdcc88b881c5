//! The files of the log: what they are called, and reading them.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use crate::{AuditError, Position, record::LINE_BYTES_MAX};

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
    reader: BufReader<File>,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, AuditError> {
        let file = File::open(path).map_err(|source| AuditError::file("open", path, source))?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(256 * 1_024, file),
        })
    }

    /// The next one, into `line`, with its end where it has one; how many bytes it is, 0 at the end. Of a line that is longer than one may be
    /// nothing but the end is there.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> Result<usize, AuditError> {
        line.clear();
        let told = |source| AuditError::file("read", &self.path, source);
        let most = LINE_BYTES_MAX as u64;
        let mut read = self
            .reader
            .by_ref()
            .take(most)
            .read_until(b'\n', line)
            .map_err(told)?;
        // The rest of one that is too long.
        let mut rest = Vec::new();
        while read >= LINE_BYTES_MAX && !line.ends_with(b"\n") && !rest.ends_with(b"\n") {
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
