//! The node's stored snapshots, with what Raft must know of each in its meta data.
//!
//! ```text
//!  0         1          2          10          18          26          34          42
//! ┌─────────┬──────────┬──────────┬───────────┬───────────┬───────────┬───────────┬─────────────────────────┐
//! │ version │ has last │ term u64 │ index u64 │ taken u64 │ since u64 │ value u64 │ last membership, JSON … │   numbers little-endian
//! │ u8 = 3  │ u8       │          │           │           │           │           │                         │
//! └─────────┴──────────┴──────────┴───────────┴───────────┴───────────┴───────────┴─────────────────────────┘
//! ```
//!
//! `taken` is when the state was frozen, in microseconds of wall time since 1970, 0 where that is not known. `since` and `value` are
//! the state's digest (`digest.rs`); where it is not known, `since` is 2⁶⁴ − 1. Older versions are still read: 2 has no digest, 1 also
//! does not say when it was taken.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::{BufMut, Bytes};
use docket_persistence::sealing::Keyring;
use docket_persistence::{SnapshotError, SnapshotReader, SnapshotSizes, SnapshotStore, SnapshotWriter};
use parking_lot::{Mutex, RwLock};

use crate::clock::wall_clock;
use crate::digest::Digest;
use crate::machine::{Capture, CaptureError};
use crate::raft::{SnapshotMeta, log_id, term_of};
use crate::{ClusterError, GroupId};

pub(crate) const VERSION: u8 = 3;
/// Bytes of version 1 in front of the membership.
const HEAD_BYTES: usize = 18;
const TAKEN_BYTES: usize = 8;
const DIGEST_BYTES: usize = 16;
/// Where no digest is known.
const SINCE_NEVER: u64 = u64::MAX;

/// What a snapshot stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredMeta {
    pub(crate) raft: SnapshotMeta,
    pub(crate) taken: Option<Taken>,
    /// Of the state inside it.
    pub(crate) digest: Option<Digest>,
}

impl StoredMeta {
    /// By which this node knows the snapshot again: no other of the same group of this node has this one's end and was taken in the
    /// same microsecond. Empty where it is not known when it was taken.
    pub(crate) fn id(&self) -> Bytes {
        let Some(taken) = self.taken else {
            return Bytes::new();
        };
        let mut id = Vec::with_capacity(3 * size_of::<u64>());
        id.put_u64(self.raft.last_log_id.as_ref().map_or(0, term_of));
        id.put_u64(self.raft.last_log_id.map_or(0, |id| id.index));
        id.put_u64(taken.0);
        id.into()
    }
}

/// When a state was frozen for a snapshot: microseconds of wall time since 1970. For people only: nothing is decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken(u64);

impl Taken {
    pub(crate) fn now() -> Self {
        let since = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_micros() as u64)
    }

    /// How long ago; nothing where the clock was set back meanwhile.
    pub(crate) fn age(self) -> Duration {
        Duration::from_micros(Self::now().0.saturating_sub(self.0))
    }
}

/// The snapshots of all groups of a node.
pub(crate) struct Snapshots {
    /// `None` once closed, so that the directory is released though handles may linger.
    store: RwLock<Option<SnapshotStore>>,
    /// What the newest good snapshot of each group stands for, as far as it is known without reading it again.
    newest: Mutex<HashMap<GroupId, StoredMeta>>,
    /// Which snapshot of each group is read, where that is not to be the newest; `None`: none of them.
    chosen: HashMap<GroupId, Option<u64>>,
    /// Held while one is made the newest. How often the snapshots of a group were removed: one that was begun before is not finished after.
    removals: Mutex<HashMap<GroupId, u64>>,
}

/// A snapshot that is being written.
struct Begun {
    writer: SnapshotWriter,
    removals: u64,
}

impl Snapshots {
    pub(crate) fn open(dir: &Path, keys: &Keyring) -> Result<Arc<Self>, ClusterError> {
        Self::open_chosen(dir, keys, HashMap::new())
    }

    /// The same for a replay that does not begin with the newest: of each group in `chosen` this snapshot is read, or none.
    pub(crate) fn open_chosen(
        dir: &Path,
        keys: &Keyring,
        chosen: HashMap<GroupId, Option<u64>>,
    ) -> Result<Arc<Self>, ClusterError> {
        Ok(Arc::new(Self {
            store: RwLock::new(Some(SnapshotStore::open_with(dir, keys.clone())?)),
            newest: Mutex::default(),
            chosen,
            removals: Mutex::default(),
        }))
    }

    /// Reads the group's newest good snapshot, or the one that was chosen, checked from end to end. Blocks.
    pub(crate) fn load(self: &Arc<Self>, group: GroupId) -> Result<Option<StoredSnapshot>, io::Error> {
        let store = self.store()?;
        let read = match self.chosen.get(&group) {
            None => store.latest(group.0),
            Some(None) => Ok(None),
            Some(Some(id)) => store.read(group.0, *id).map(Some),
        };
        let Some(reader) = read.map_err(io::Error::other)? else {
            return Ok(None);
        };
        let meta = decode(reader.meta())?;
        self.newest.lock().insert(group, meta.clone());
        Ok(Some(StoredSnapshot {
            snapshots: Arc::clone(self),
            group,
            meta,
            reader: Some(Box::new(reader)),
        }))
    }

    /// The group's newest snapshot, which is opened when it is first read from.
    pub(crate) fn newest(self: &Arc<Self>, group: GroupId) -> Option<StoredSnapshot> {
        let meta = self.newest.lock().get(&group).cloned()?;
        Some(StoredSnapshot {
            snapshots: Arc::clone(self),
            group,
            meta,
            reader: None,
        })
    }

    /// Stores what a capture writes. Blocks. Asks before each piece, and gives up as soon as it `may_go_on` no longer.
    pub(crate) fn write(
        &self,
        group: GroupId,
        meta: &StoredMeta,
        capture: Box<dyn Capture>,
        may_go_on: &dyn Fn() -> Result<(), CaptureError>,
    ) -> Result<(), CaptureError> {
        let mut begun = self.begin(group, meta).map_err(CaptureError::new)?;
        capture.write(&mut |piece| {
            may_go_on()?;
            begun.writer.write(piece).map_err(CaptureError::new)
        })?;
        self.finish(group, meta, begun).map_err(CaptureError::new)
    }

    /// Stores a snapshot that comes from elsewhere, as one that was taken now. Blocks.
    pub(crate) fn copy(
        &self,
        group: GroupId,
        raft: &SnapshotMeta,
        digest: Option<Digest>,
        chunks: &mut dyn Iterator<Item = io::Result<Bytes>>,
    ) -> Result<(), io::Error> {
        let meta = &StoredMeta {
            raft: raft.clone(),
            taken: Some(Taken::now()),
            digest,
        };
        let mut begun = self.begin(group, meta)?;
        for chunk in chunks {
            begun.writer.write(&chunk?).map_err(io::Error::other)?;
        }
        self.finish(group, meta, begun)
    }

    /// Removes all of a group's snapshots, those too that are being written. Blocks.
    pub(crate) fn remove(&self, group: GroupId) -> Result<(), io::Error> {
        let mut removals = self.removals.lock();
        *removals.entry(group).or_default() += 1;
        self.newest.lock().remove(&group);
        self.store()?.remove_group(group.0).map_err(io::Error::other)
    }

    fn begin(&self, group: GroupId, meta: &StoredMeta) -> Result<Begun, io::Error> {
        let removals = removals_of(&self.removals.lock(), group);
        let writer = self.store()?.begin(group.0, &encode(meta)?);
        Ok(Begun {
            writer: writer.map_err(io::Error::other)?,
            removals,
        })
    }

    fn finish(&self, group: GroupId, meta: &StoredMeta, begun: Begun) -> Result<(), io::Error> {
        // One of the group's own may be ready only after a newer one has come from a peer, and the log is purged up to that.
        let removals = self.removals.lock();
        if removals_of(&removals, group) != begun.removals {
            return Err(io::Error::other(format!(
                "{group}: its replica was dropped meanwhile"
            )));
        }
        let last_index = |meta: &StoredMeta| meta.raft.last_log_id.map(|id| id.index);
        let newest = self.newest.lock().get(&group).and_then(last_index);
        if newest > last_index(meta) {
            return Err(io::Error::other(format!(
                "{group}: a newer snapshot came meanwhile"
            )));
        }
        begun.writer.finish().map_err(io::Error::other)?;
        self.newest.lock().insert(group, meta.clone());
        Ok(())
    }

    pub(crate) fn sizes(&self) -> SnapshotSizes {
        self.store
            .read()
            .as_ref()
            .map(SnapshotStore::sizes)
            .unwrap_or_default()
    }

    /// The snapshots as they are on the disk; `None` once closed.
    pub(crate) fn stored(&self) -> Option<SnapshotStore> {
        self.store.read().clone()
    }

    /// Lets go of the directory, once a snapshot that is being written is finished.
    pub(crate) fn close(&self) {
        self.store.write().take();
    }

    fn store(&self) -> Result<SnapshotStore, io::Error> {
        self.store
            .read()
            .clone()
            .ok_or_else(|| io::Error::other("the snapshots are closed"))
    }
}

fn removals_of(removals: &HashMap<GroupId, u64>, group: GroupId) -> u64 {
    removals.get(&group).copied().unwrap_or(0)
}

/// A snapshot in the store: what it stands for, and its bytes in order. Reading blocks.
pub(crate) struct StoredSnapshot {
    snapshots: Arc<Snapshots>,
    group: GroupId,
    pub(crate) meta: StoredMeta,
    reader: Option<Box<SnapshotReader>>,
}

impl StoredSnapshot {
    fn opened(&mut self) -> Result<&mut SnapshotReader, io::Error> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => Box::new(self.open()?),
        };
        Ok(self.reader.insert(reader).as_mut())
    }

    fn open(&self) -> Result<SnapshotReader, io::Error> {
        let reader = self
            .snapshots
            .store()?
            .latest(self.group.0)
            .map_err(io::Error::other)?;
        match reader {
            Some(reader) if decode(reader.meta())? == self.meta => Ok(reader),
            _ => Err(io::Error::other(format!(
                "{}: the snapshot has been replaced by another one",
                self.group
            ))),
        }
    }
}

impl Iterator for StoredSnapshot {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.opened() {
            Ok(reader) => reader
                .next()
                .map(|chunk| chunk.map_err(|error: SnapshotError| io::Error::other(error))),
            Err(error) => Some(Err(error)),
        }
    }
}

fn encode(meta: &StoredMeta) -> Result<Vec<u8>, io::Error> {
    let StoredMeta { raft, taken, digest } = meta;
    let mut bytes = Vec::with_capacity(256);
    bytes.put_u8(VERSION);
    bytes.put_u8(u8::from(raft.last_log_id.is_some()));
    bytes.put_u64_le(raft.last_log_id.as_ref().map_or(0, term_of));
    bytes.put_u64_le(raft.last_log_id.map_or(0, |id| id.index));
    bytes.put_u64_le(taken.map_or(0, |taken| taken.0));
    bytes.put_u64_le(digest.map_or(SINCE_NEVER, |digest| digest.since));
    bytes.put_u64_le(digest.map_or(0, |digest| digest.value));
    serde_json::to_writer(&mut bytes, &raft.last_membership)?;
    Ok(bytes)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<StoredMeta, io::Error> {
    let broken = || io::Error::other("a snapshot's meta data cannot be read");
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(broken)?;
    let (taken, digest, membership) = match head[0] {
        1 => (None, None, rest),
        2 | VERSION => {
            let (taken, rest) = rest.split_first_chunk::<TAKEN_BYTES>().ok_or_else(broken)?;
            let taken = Some(u64::from_le_bytes(*taken)).filter(|taken| *taken > 0);
            let (digest, rest) = match head[0] {
                2 => (None, rest),
                _ => decode_digest(rest).ok_or_else(broken)?,
            };
            (taken.map(Taken), digest, rest)
        }
        version => {
            return Err(io::Error::other(format!(
                "a snapshot has meta data of version {version}; use the program that wrote it, or a newer one"
            )));
        }
    };
    let (numbers, _) = head[2..].as_chunks::<8>();
    let [term, index] = numbers else {
        return Err(broken());
    };
    let raft = SnapshotMeta {
        last_log_id: (head[1] != 0).then(|| log_id(u64::from_le_bytes(*term), u64::from_le_bytes(*index))),
        last_membership: serde_json::from_slice(membership)?,
    };
    Ok(StoredMeta { raft, taken, digest })
}

fn decode_digest(bytes: &[u8]) -> Option<(Option<Digest>, &[u8])> {
    let (digest, rest) = bytes.split_first_chunk::<DIGEST_BYTES>()?;
    let ([since, value], _) = digest.as_chunks::<8>() else {
        return None;
    };
    let digest = Digest {
        since: u64::from_le_bytes(*since),
        value: u64::from_le_bytes(*value),
    };
    Some((Some(digest).filter(|digest| digest.since != SINCE_NEVER), rest))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::raft::{Membership, StoredMembership};

    /// The membership of [`full`], in every version.
    const MEMBERSHIP: &str = r#"{"log_id":{"leader_id":1,"index":0},"membership":{"configs":[[1,2]],"nodes":{"1":{},"2":{},"3":{}}}}"#;
    /// The rest of it, as version 1 wrote it.
    const VERSION_1: &[u8] = &[1, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0x84, 3, 0, 0, 0, 0, 0, 0];
    /// The rest of it, taken at 0x0605_0403_0201.
    const VERSION_2: &[u8] = &[
        2, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0x84, 3, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0,
    ];

    /// As version 3 writes it, with a digest that was begun at 5.
    const VERSION_3: &[u8] = &[
        3, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0x84, 3, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 5, 0, 0, 0, 0, 0, 0,
        0, 9, 8, 7, 6, 5, 4, 3, 2,
    ];
    const DIGEST: Digest = Digest {
        since: 5,
        value: 0x0203_0405_0607_0809,
    };

    fn full() -> SnapshotMeta {
        let members = Membership::new_with_defaults(vec![BTreeSet::from([1, 2])], [3]);
        SnapshotMeta {
            last_log_id: Some(log_id(3, 900)),
            last_membership: StoredMembership::new(Some(log_id(1, 0)), members),
        }
    }

    fn empty() -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: None,
            last_membership: StoredMembership::default(),
        }
    }

    #[test]
    fn meta_data_reads_back_as_written() {
        for raft in [empty(), full()] {
            for taken in [None, Some(Taken(1)), Some(Taken::now())] {
                for digest in [None, Some(DIGEST)] {
                    let meta = StoredMeta {
                        raft: raft.clone(),
                        taken,
                        digest,
                    };
                    assert_eq!(decode(&encode(&meta).unwrap()).unwrap(), meta);
                }
            }
        }
    }

    #[test]
    fn every_version_is_read_for_ever_though_the_first_ones_say_less() {
        let full = |taken, digest| StoredMeta {
            raft: full(),
            taken,
            digest,
        };
        let taken = Some(Taken(0x0605_0403_0201));
        let versions = [
            (VERSION_1, full(None, None)),
            (VERSION_2, full(taken, None)),
            (VERSION_3, full(taken, Some(DIGEST))),
        ];
        for (head, expected) in &versions {
            let bytes = [*head, MEMBERSHIP.as_bytes()].concat();
            assert_eq!(decode(&bytes).unwrap(), *expected);
        }
        let bytes = [VERSION_3, MEMBERSHIP.as_bytes()].concat();
        assert_eq!(encode(&versions[2].1).unwrap(), bytes);
    }

    #[test]
    fn other_meta_data_is_refused() {
        let meta = StoredMeta {
            raft: full(),
            taken: Some(Taken(7)),
            digest: Some(DIGEST),
        };
        let good = encode(&meta).unwrap();
        for end in [
            0,
            HEAD_BYTES - 1,
            HEAD_BYTES,
            HEAD_BYTES + TAKEN_BYTES,
            HEAD_BYTES + TAKEN_BYTES + DIGEST_BYTES,
            good.len() - 1,
        ] {
            assert!(decode(&good[..end]).is_err(), "{end} bytes");
        }
        let newer = [&[4], &good[1..]].concat();
        assert!(decode(&newer).unwrap_err().to_string().contains("version 4"));
    }
}
