//! A snapshot that arrives from a peer: kept in a file without a name until the core has decided whether to install it, so that nothing
//! that is stored is touched before, and nothing is left over after a crash.
//!
//! The file holds the chunks, each behind its length (u32, little-endian).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xxhash_rust::xxh3::Xxh3Default;

use crate::digest::Digest;
use crate::limits::{PEER_CHUNK_BYTES, PEER_SNAPSHOTS_IN_MAX};

/// Where snapshots arrive.
pub(crate) struct Spools {
    dir: PathBuf,
    count: AtomicU64,
    room: Arc<Semaphore>,
}

impl Spools {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            count: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(PEER_SNAPSHOTS_IN_MAX)),
        }
    }

    /// Begins to take one in; `None` while there are as many as may be. Blocks.
    pub(super) fn begin(&self) -> Result<Option<Spool>, io::Error> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            return Ok(None);
        };
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("arriving-{}-{number}", std::process::id()));
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)?;
        fs::remove_file(&path)?;
        Ok(Some(Spool {
            file: BufWriter::new(file),
            sum: Sum::default(),
            permit,
        }))
    }
}

/// One that is arriving.
pub(super) struct Spool {
    file: BufWriter<File>,
    sum: Sum,
    permit: OwnedSemaphorePermit,
}

impl Spool {
    /// Blocks.
    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), io::Error> {
        if chunk.len() > PEER_CHUNK_BYTES {
            return Err(io::Error::other(format!("a chunk of {} bytes", chunk.len())));
        }
        self.sum.add(chunk);
        self.file.write_all(&(chunk.len() as u32).to_le_bytes())?;
        self.file.write_all(chunk)
    }

    /// All of it is there, if it is what was sent. Blocks.
    pub(super) fn finish(self, bytes: u64, checksum: u64) -> Result<Spooled, io::Error> {
        if self.sum.end() != (bytes, checksum) {
            return Err(io::Error::other("a snapshot did not arrive as it was sent"));
        }
        let mut file = self.file.into_inner().map_err(io::Error::from)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Spooled {
            file: BufReader::new(file),
            digest: None,
            _permit: self.permit,
        })
    }
}

/// One that has arrived: its chunks in order. Reading blocks.
pub(crate) struct Spooled {
    file: BufReader<File>,
    /// What its sender says the digest of the state is.
    pub(crate) digest: Option<Digest>,
    _permit: OwnedSemaphorePermit,
}

impl Spooled {
    fn read(&mut self) -> Result<Option<Bytes>, io::Error> {
        let mut length = [0; 4];
        if self.file.read(&mut length[..1])? == 0 {
            return Ok(None);
        }
        self.file.read_exact(&mut length[1..])?;
        let length = u32::from_le_bytes(length) as usize;
        if length > PEER_CHUNK_BYTES {
            return Err(io::Error::other("an arrived snapshot cannot be read back"));
        }
        let mut chunk = vec![0; length];
        self.file.read_exact(&mut chunk)?;
        Ok(Some(Bytes::from(chunk)))
    }
}

impl Iterator for Spooled {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// What both ends count of a snapshot.
#[derive(Default)]
pub(crate) struct Sum {
    bytes: u64,
    hash: Xxh3Default,
}

impl Sum {
    pub(crate) fn add(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        self.hash.update(chunk);
    }

    /// Bytes, and the hash over them.
    pub(crate) fn end(&self) -> (u64, u64) {
        (self.bytes, self.hash.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_is_read_back_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let spools = Spools::new(dir.path());
        let chunks = [vec![1; PEER_CHUNK_BYTES], vec![], vec![2; 7]];
        let mut sum = Sum::default();
        let mut spool = spools.begin().unwrap().unwrap();
        assert!(spools.begin().unwrap().is_none(), "one at a time");
        for chunk in &chunks {
            sum.add(chunk);
            spool.write(chunk).unwrap();
        }
        let (bytes, checksum) = sum.end();
        let read: Vec<_> = spool
            .finish(bytes, checksum)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(read, chunks);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut spool = spools.begin().unwrap().unwrap();
        spool.write(&chunks[2]).unwrap();
        assert!(spool.write(&vec![0; PEER_CHUNK_BYTES + 1]).is_err());
        assert!(spool.finish(bytes, checksum).is_err(), "a part is not the whole");
        assert!(spools.begin().unwrap().is_some());
    }
}
