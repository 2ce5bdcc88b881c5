//! A snapshot that arrives from a peer: kept in a file without a name until the core has decided whether to install it, so that nothing
//! that is stored is touched before, and nothing is left over after a crash.
//!
//! The file holds the chunks, each behind its length (u32, little-endian). Where a key is configured each is sealed, under a salt that is nowhere but
//! in memory: once the process has ended nobody can open what the disk still has of the file.
//!
//! A transfer that breaks off leaves its file here. Whoever sent it may ask how much of the same snapshot is held, and go on behind that.
//! Only a few are kept, for a while: they use the disk.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_persistence::sealing::{Cipher, Keyring, Nonce, TAG_BYTES};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::Xxh3Default;

use crate::NodeId;
use crate::digest::Digest;
use crate::limits::{
    PEER_CHUNK_BYTES, PEER_SNAPSHOTS_IN_MAX, PEER_SNAPSHOTS_KEPT_MAX, PEER_SNAPSHOTS_KEPT_MS,
};

/// How often to look whether what is held may stay, in milliseconds.
const TIDY_EVERY_MS: u64 = 1_000;
/// What the keys of these files are derived for.
const SEAL_LABEL: &[u8] = b"docket arriving 1";

/// Where snapshots arrive.
pub(crate) struct Spools {
    dir: PathBuf,
    keys: Keyring,
    count: AtomicU64,
    room: Arc<Semaphore>,
    /// What broke off, the oldest first.
    kept: Mutex<VecDeque<Kept>>,
}

/// Which snapshot of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) from: NodeId,
    pub(super) group: u32,
    /// By which the sender knows its snapshot again. Empty where it does not: then nothing is kept.
    pub(super) id: Bytes,
}

struct Kept {
    source: Source,
    spool: Spool,
    since: Instant,
}

/// What has come of beginning to take a snapshot in.
pub(super) enum Begun {
    /// It may come.
    Arriving(Box<Arriving>),
    /// As many arrive as may.
    Full,
    /// There is more or less of it here than the sender believes.
    NotHeld,
}

impl Spools {
    pub(crate) fn new(dir: &Path, keys: Keyring) -> Self {
        Self {
            dir: dir.to_owned(),
            keys,
            count: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(PEER_SNAPSHOTS_IN_MAX)),
            kept: Mutex::default(),
        }
    }

    /// How many bytes of a snapshot that broke off are here.
    pub(super) fn held(&self, source: &Source) -> u64 {
        let kept = self.kept.lock();
        let found = kept.iter().find(|kept| kept.source == *source);
        found.map_or(0, |kept| kept.spool.sum.bytes)
    }

    /// Begins to take one in, or goes on behind so many bytes that are here. Blocks.
    pub(super) fn begin(self: &Arc<Self>, source: Source, behind: u64) -> Result<Begun, io::Error> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            return Ok(Begun::Full);
        };
        // A sender that asked while its last transfer was about to be given up here does not know of what that has left.
        let taken = {
            let mut kept = self.kept.lock();
            match kept.iter().position(|kept| kept.source == source) {
                Some(at) if kept[at].spool.sum.bytes == behind => kept.remove(at).map(|kept| kept.spool),
                None if behind == 0 => None,
                _ => return Ok(Begun::NotHeld),
            }
        };
        let spool = match taken {
            Some(spool) => spool,
            None => self.create()?,
        };
        Ok(Begun::Arriving(Box::new(Arriving {
            spools: Arc::clone(self),
            source,
            behind,
            spool: Some(spool),
            permit: Some(permit),
        })))
    }

    fn create(&self) -> Result<Spool, io::Error> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("arriving-{}-{number}", std::process::id()));
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)?;
        fs::remove_file(&path)?;
        Ok(Spool {
            file: BufWriter::new(file),
            sum: Sum::default(),
            seal: self.keys.sealer(SEAL_LABEL).map_err(io::Error::other)?,
            chunks: 0,
            sealed: Vec::new(),
        })
    }

    fn keep(&self, source: &Source, spool: Spool) {
        let mut kept = self.kept.lock();
        kept.retain(|one| (one.source.from, one.source.group) != (source.from, source.group));
        kept.push_back(Kept {
            source: source.clone(),
            spool,
            since: Instant::now(),
        });
        while kept.len() > PEER_SNAPSHOTS_KEPT_MAX {
            kept.pop_front();
        }
    }

    /// Lets go of what broke off of a group: it has another snapshot now.
    fn forget(&self, group: u32) {
        self.kept.lock().retain(|kept| kept.source.group != group);
    }

    /// Lets go of everything that broke off: the disk runs low.
    pub(super) fn forget_all(&self) {
        self.kept.lock().clear();
    }

    /// Lets go of what broke off long ago, and of everything that did while the disk is low; until `closing`.
    pub(crate) async fn tidy(self: Arc<Self>, is_low: impl Fn() -> bool, closing: CancellationToken) {
        let age = Duration::from_millis(PEER_SNAPSHOTS_KEPT_MS);
        let held = crate::metrics::snapshots_held();
        let tidying = async {
            loop {
                tokio::time::sleep(Duration::from_millis(TIDY_EVERY_MS)).await;
                if is_low() {
                    self.forget_all();
                }
                self.forget_older(age);
                held.set(self.bytes_held() as f64);
            }
        };
        tokio::select! {
            () = closing.cancelled() => {}
            () = tidying => {}
        }
    }

    /// Bytes of all that broke off and may be gone on with.
    fn bytes_held(&self) -> u64 {
        self.kept.lock().iter().map(|kept| kept.spool.sum.bytes).sum()
    }

    fn forget_older(&self, age: Duration) {
        self.kept.lock().retain(|kept| kept.since.elapsed() < age);
    }
}

/// One that is arriving. Dropped before its end it is kept, so that the sender may go on.
pub(super) struct Arriving {
    spools: Arc<Spools>,
    source: Source,
    /// How many bytes of it were here when it began.
    behind: u64,
    /// `None` where it cannot be gone on with.
    spool: Option<Spool>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Arriving {
    /// Blocks. What could not be written whole is of no use.
    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), io::Error> {
        let mut spool = self.spool.take().ok_or_else(broken)?;
        spool.write(chunk)?;
        self.spool = Some(spool);
        Ok(())
    }

    /// All of it is there, if it is what was sent. Blocks.
    pub(super) fn finish(mut self, bytes: u64, checksum: u64) -> Result<Spooled, io::Error> {
        let spool = self.spool.take().ok_or_else(broken)?;
        let (file, seal) = spool.finish(bytes, checksum)?;
        self.spools.forget(self.source.group);
        Ok(Spooled {
            file,
            seal,
            chunks: 0,
            digest: None,
            _permit: self.permit.take(),
        })
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // One that has got nothing more would only be tried like this again.
        if let Some(spool) = self.spool.take()
            && spool.sum.bytes > self.behind
            && !self.source.id.is_empty()
        {
            self.spools.keep(&self.source, spool);
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("the file of an arriving snapshot is broken")
}

/// The file, and what is in it.
struct Spool {
    file: BufWriter<File>,
    sum: Sum,
    seal: Option<Cipher>,
    chunks: u64,
    /// Room to seal a chunk in.
    sealed: Vec<u8>,
}

impl Spool {
    fn write(&mut self, chunk: &[u8]) -> Result<(), io::Error> {
        if chunk.len() > PEER_CHUNK_BYTES {
            return Err(io::Error::other(format!("a chunk of {} bytes", chunk.len())));
        }
        self.sum.add(chunk);
        let stored = match &self.seal {
            None => chunk,
            Some(seal) => {
                self.sealed.clear();
                self.sealed.extend_from_slice(chunk);
                let done = seal.seal(nonce_of(self.chunks), &[], &mut self.sealed, 0);
                done.map_err(io::Error::other)?;
                &self.sealed
            }
        };
        self.chunks += 1;
        self.file.write_all(&(stored.len() as u32).to_le_bytes())?;
        self.file.write_all(stored)
    }

    fn finish(self, bytes: u64, checksum: u64) -> Result<(BufReader<File>, Option<Cipher>), io::Error> {
        if self.sum.end() != (bytes, checksum) {
            return Err(io::Error::other("a snapshot did not arrive as it was sent"));
        }
        let mut file = self.file.into_inner().map_err(io::Error::from)?;
        file.seek(SeekFrom::Start(0))?;
        Ok((BufReader::new(file), self.seal))
    }
}

/// A chunk is sealed once: what could not be written whole is of no use, and is not written again.
fn nonce_of(chunk: u64) -> Nonce {
    Nonce::new(0, chunk)
}

/// One that has arrived: its chunks in order. Reading blocks.
pub(crate) struct Spooled {
    file: BufReader<File>,
    seal: Option<Cipher>,
    chunks: u64,
    /// What its sender says the digest of the state is.
    pub(crate) digest: Option<Digest>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Spooled {
    fn read(&mut self) -> Result<Option<Bytes>, io::Error> {
        let mut length = [0; 4];
        if self.file.read(&mut length[..1])? == 0 {
            return Ok(None);
        }
        self.file.read_exact(&mut length[1..])?;
        let length = u32::from_le_bytes(length) as usize;
        let most = PEER_CHUNK_BYTES + self.seal.as_ref().map_or(0, |_| TAG_BYTES);
        if length > most {
            return Err(io::Error::other("an arrived snapshot cannot be read back"));
        }
        let mut chunk = vec![0; length];
        self.file.read_exact(&mut chunk)?;
        if let Some(seal) = &self.seal {
            let mut opened = Vec::new();
            let done = seal.open(nonce_of(self.chunks), &[], &chunk, &mut opened);
            done.map_err(io::Error::other)?;
            chunk = opened;
        }
        self.chunks += 1;
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
    use secrecy::SecretString;

    use super::*;

    fn source(id: &'static str) -> Source {
        Source {
            from: NodeId(2),
            group: 1,
            id: Bytes::from_static(id.as_bytes()),
        }
    }

    fn begin(spools: &Arc<Spools>, id: &'static str, behind: u64) -> Option<Box<Arriving>> {
        match spools.begin(source(id), behind).unwrap() {
            Begun::Arriving(arriving) => Some(arriving),
            Begun::Full | Begun::NotHeld => None,
        }
    }

    fn sum(chunks: &[Vec<u8>]) -> (u64, u64) {
        let mut sum = Sum::default();
        chunks.iter().for_each(|chunk| sum.add(chunk));
        sum.end()
    }

    #[test]
    fn what_arrives_is_read_back_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let spools = Arc::new(Spools::new(dir.path(), Keyring::default()));
        let chunks = [vec![1; PEER_CHUNK_BYTES], vec![], vec![2; 7]];
        let (bytes, checksum) = sum(&chunks);
        let mut arriving = begin(&spools, "a", 0).unwrap();
        assert!(begin(&spools, "b", 0).is_none(), "one at a time");
        for chunk in &chunks {
            arriving.write(chunk).unwrap();
        }
        let read: Vec<_> = arriving
            .finish(bytes, checksum)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(read, chunks);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut arriving = begin(&spools, "a", 0).unwrap();
        arriving.write(&chunks[2]).unwrap();
        assert!(arriving.write(&vec![0; PEER_CHUNK_BYTES + 1]).is_err());
        assert!(
            arriving.finish(bytes, checksum).is_err(),
            "a part is not the whole"
        );
        assert!(begin(&spools, "a", 0).is_some());
        assert_eq!(spools.held(&source("a")), 0, "what failed is not gone on with");
    }

    /// What is on the disk of a snapshot that arrives, and what is read back of it.
    fn on_disk(keys: Keyring) -> (Vec<u8>, Vec<Bytes>) {
        let dir = tempfile::tempdir().unwrap();
        let spools = Arc::new(Spools::new(dir.path(), keys));
        let chunks = [b"a customer's order".repeat(100), b"another's".to_vec()];
        let (bytes, checksum) = sum(&chunks);
        let mut arriving = begin(&spools, "a", 0).unwrap();
        arriving.write(&chunks[0]).unwrap();
        drop(arriving);
        let mut arriving = begin(&spools, "a", chunks[0].len() as u64).unwrap();
        arriving.write(&chunks[1]).unwrap();
        let spool = arriving.spool.as_mut().unwrap();
        spool.file.flush().unwrap();
        let mut file = spool.file.get_ref().try_clone().unwrap();
        let mut written = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut written).unwrap();
        let arrived = arriving.finish(bytes, checksum).unwrap();
        (written, arrived.map(Result::unwrap).collect())
    }

    #[test]
    fn what_arrives_is_sealed_where_there_is_a_key() {
        let has = |(written, _): &(Vec<u8>, Vec<Bytes>)| written.windows(8).any(|part| part == b"customer");
        let plain = on_disk(Keyring::default());
        assert!(has(&plain), "the search finds it");
        let id = "a".parse().unwrap();
        let secret = SecretString::from("5a".repeat(32));
        let sealed = on_disk(Keyring::new(Some(id), [(id, &secret)]).unwrap());
        assert!(!has(&sealed));
        assert_eq!(sealed.1, plain.1);
    }

    #[test]
    fn a_transfer_that_breaks_off_goes_on_behind_what_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let spools = Arc::new(Spools::new(dir.path(), Keyring::default()));
        let chunks = [vec![1; 1_000], vec![2; 500], vec![3; 7]];
        let (bytes, checksum) = sum(&chunks);
        let mut arriving = begin(&spools, "a", 0).unwrap();
        arriving.write(&chunks[0]).unwrap();
        drop(arriving);
        assert_eq!(spools.held(&source("a")), 1_000);
        assert_eq!(spools.held(&source("b")), 0, "another snapshot");
        assert!(begin(&spools, "a", 999).is_none() && begin(&spools, "b", 1_000).is_none());
        // Broken off once more.
        let mut arriving = begin(&spools, "a", 1_000).unwrap();
        assert_eq!(spools.held(&source("a")), 0, "it is arriving again");
        arriving.write(&chunks[1]).unwrap();
        drop(arriving);
        let mut arriving = begin(&spools, "a", 1_500).unwrap();
        arriving.write(&chunks[2]).unwrap();
        let read: Vec<_> = arriving
            .finish(bytes, checksum)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(read, chunks);
        assert_eq!(spools.held(&source("a")), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_goes_when_the_disk_runs_low() {
        let dir = tempfile::tempdir().unwrap();
        let spools = Arc::new(Spools::new(dir.path(), Keyring::default()));
        let mut arriving = begin(&spools, "a", 0).unwrap();
        arriving.write(&[1; 10]).unwrap();
        drop(arriving);
        let (low, closing) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let of_disk = Arc::clone(&low);
        let is_low = move || of_disk.load(Ordering::Relaxed) != 0;
        let tidying = tokio::spawn(Arc::clone(&spools).tidy(is_low, closing.clone()));
        let look = Duration::from_millis(2 * TIDY_EVERY_MS);
        tokio::time::sleep(look).await;
        assert_eq!((spools.held(&source("a")), spools.bytes_held()), (10, 10));
        low.store(1, Ordering::Relaxed);
        tokio::time::sleep(look).await;
        assert_eq!((spools.held(&source("a")), spools.bytes_held()), (0, 0));
        closing.cancel();
        tidying.await.unwrap();
    }

    #[test]
    fn few_are_kept_and_not_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let spools = Arc::new(Spools::new(dir.path(), Keyring::default()));
        let break_off = |group| {
            let source = Source { group, ..source("a") };
            let Begun::Arriving(mut arriving) = spools.begin(source.clone(), 0).unwrap() else {
                panic!("there is room");
            };
            arriving.write(&[1; 10]).unwrap();
            source
        };
        let sources: Vec<_> = (0..=PEER_SNAPSHOTS_KEPT_MAX as u32).map(break_off).collect();
        assert_eq!(spools.held(&sources[0]), 0, "the oldest made room");
        assert!(sources[1..].iter().all(|source| spools.held(source) == 10));
        spools.forget_older(Duration::from_secs(3_600));
        assert_eq!(spools.held(&sources[1]), 10);
        spools.forget_older(Duration::ZERO);
        assert!(sources.iter().all(|source| spools.held(source) == 0));
        let unknown = Source {
            id: Bytes::new(),
            ..source("")
        };
        let Begun::Arriving(mut arriving) = spools.begin(unknown.clone(), 0).unwrap() else {
            panic!("there is room");
        };
        arriving.write(&[1; 10]).unwrap();
        drop(arriving);
        assert_eq!(spools.held(&unknown), 0, "nobody could ask for it");
    }
}
