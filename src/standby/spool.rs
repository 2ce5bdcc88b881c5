//! What one look at the primary's logs has brought, durable before any of it is appended: so that what a standby holds is always a cut through all of its logs that fits together,
//! also where it stops in the middle of appending.
//!
//! ```text
//!  head     magic "dkspool1", 8 bytes | until: microseconds since 1970, i64 | groups, u32 | of each group: next index u64, term of the entry before u64
//!  frame    group, u32 | length, u32 | crc32c of these and of the bytes, u32 | entries, as backups have them
//!  end      u32::MAX | frames, u32 | crc32c of the head, u32                                        numbers little-endian
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;

const FILE: &str = "standby.spool";
const UNFINISHED: &str = "standby.spool.new";
const MAGIC: &[u8; 8] = b"dkspool1";
const END: u32 = u32::MAX;
/// No frame is longer: an entry has at most a few MiB.
const FRAME_BYTES_MAX: u32 = 64 << 20;
/// More groups than a cluster may have.
const GROUPS_MAX: u32 = 4_096;
const MODE: u32 = 0o600;

/// From where each group is appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The next entry's index.
    pub next: u64,
    /// The term of the one before; 0 before the first.
    pub term: u64,
}

/// One that is being written.
pub struct Writing {
    dir: PathBuf,
    file: BufWriter<File>,
    head_crc: u32,
    frames: u32,
}

impl Writing {
    /// Begins. What was unfinished there is gone.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(dir: &Path, until_us: i64, from: &[Start]) -> io::Result<Self> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&until_us.to_le_bytes());
        head.extend_from_slice(&(from.len() as u32).to_le_bytes());
        for Start { next, term } in from {
            head.extend_from_slice(&next.to_le_bytes());
            head.extend_from_slice(&term.to_le_bytes());
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(MODE);
        let mut file = BufWriter::new(options.open(dir.join(UNFINISHED))?);
        file.write_all(&head)?;
        Ok(Self {
            dir: dir.to_owned(),
            file,
            head_crc: crc32c::crc32c(&head),
            frames: 0,
        })
    }

    /// Entries of a group, behind those that were put before.
    ///
    /// # Errors
    /// The disk's.
    pub fn put(&mut self, group: u32, entries: &[u8]) -> io::Result<()> {
        self.frames += 1;
        let length = entries.len() as u32;
        for number in [group, length, frame_crc(group, length, entries)] {
            self.file.write_all(&number.to_le_bytes())?;
        }
        self.file.write_all(entries)
    }

    /// All is in it: it is durable when this returns.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(mut self) -> io::Result<()> {
        for number in [END, self.frames, self.head_crc] {
            self.file.write_all(&number.to_le_bytes())?;
        }
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(self.dir.join(UNFINISHED), self.dir.join(FILE))?;
        File::open(&self.dir)?.sync_all()
    }
}

/// One that is whole.
pub struct Reading {
    /// What was acknowledged before is here once it is appended.
    pub until_us: i64,
    /// From where each group is appended to.
    pub from: Vec<Start>,
    file: BufReader<File>,
    head_crc: u32,
    frames: u32,
}

impl Reading {
    /// The one that is there, if there is one.
    ///
    /// # Errors
    /// The disk's, or it is not what was written.
    pub fn open(dir: &Path) -> io::Result<Option<Self>> {
        let mut file = match File::open(dir.join(FILE)) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut head = vec![0; MAGIC.len() + 12];
        file.read_exact(&mut head)?;
        let groups = number(&head, MAGIC.len() + 8);
        if !head.starts_with(MAGIC) || groups > GROUPS_MAX {
            return Err(damaged());
        }
        let mut of_groups = vec![0; groups as usize * 16];
        file.read_exact(&mut of_groups)?;
        let until_us = long(&head, MAGIC.len()) as i64;
        let from = of_groups.chunks_exact(16).map(|bytes| Start {
            next: long(bytes, 0),
            term: long(bytes, 8),
        });
        let from = from.collect();
        head.extend_from_slice(&of_groups);
        Ok(Some(Self {
            until_us,
            from,
            file,
            head_crc: crc32c::crc32c(&head),
            frames: 0,
        }))
    }

    /// The next entries, and whose they are; `None` at the end.
    ///
    /// # Errors
    /// The disk's, or they are not what was written.
    pub fn next(&mut self) -> io::Result<Option<(u32, Bytes)>> {
        let mut head = [0; 12];
        self.file.read_exact(&mut head)?;
        let [group, length, crc] = [0, 4, 8].map(|at| number(&head, at));
        if group == END {
            return match (length, crc) == (self.frames, self.head_crc) {
                true => Ok(None),
                false => Err(damaged()),
            };
        }
        if length > FRAME_BYTES_MAX {
            return Err(damaged());
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact(&mut bytes)?;
        if frame_crc(group, length, &bytes) != crc {
            return Err(damaged());
        }
        self.frames += 1;
        Ok(Some((group, bytes.into())))
    }
}

/// All of it was appended.
///
/// # Errors
/// The disk's.
pub fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn frame_crc(group: u32, length: u32, entries: &[u8]) -> u32 {
    let of_head = crc32c::crc32c_append(crc32c::crc32c(&group.to_le_bytes()), &length.to_le_bytes());
    crc32c::crc32c_append(of_head, entries)
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{FILE} is not what was written: remove the folder, and let it be seeded anew"),
    )
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spooled_is_read_and_a_flipped_bit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let from = [Start { next: 7, term: 2 }, Start { next: 0, term: 0 }];
        let mut writing = Writing::begin(dir.path(), 42, &from).unwrap();
        writing.put(0, b"one").unwrap();
        assert!(Reading::open(dir.path()).unwrap().is_none(), "not finished");
        writing.put(1, b"two").unwrap();
        writing.finish().unwrap();
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        let read = || -> io::Result<Vec<(u32, Bytes)>> {
            let mut reading = Reading::open(dir.path())?.unwrap();
            assert_eq!((reading.until_us, &*reading.from), (42, &from[..]));
            let mut frames = Vec::new();
            while let Some(frame) = reading.next()? {
                frames.push(frame);
            }
            Ok(frames)
        };
        let expected = [(0, Bytes::from_static(b"one")), (1, Bytes::from_static(b"two"))];
        assert_eq!(read().unwrap(), expected);
        for at in 52..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(dir.path().join(FILE), &flipped).unwrap();
            assert!(read().is_err(), "byte {at}");
        }
        for length in 0..whole.len() {
            fs::write(dir.path().join(FILE), &whole[..length]).unwrap();
            assert!(
                Reading::open(dir.path()).is_err() || read().is_err(),
                "{length} bytes"
            );
        }
        remove(dir.path()).unwrap();
        assert!(Reading::open(dir.path()).unwrap().is_none());
    }
}
