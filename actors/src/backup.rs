//! What of a node goes into a backup, and a node's state made of one.
//!
//! The unit is a group's log: a snapshot, what that leaves aside (the archive), and the entries behind it. How the logs of all groups are cut so that
//! they fit together is in `docs/backup.md`; it rests on one thing, that times are causal ([`CausalClock`]): what comes of something is never stamped
//! earlier than that, on whatever shard and node. So a [point](Docket::backup_point) is a time, with how far each log has to be read so that
//! nothing that was stamped until then is missing which something else that was could rest on.
//!
//! [`CausalClock`]: docket_cluster::clock::CausalClock

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
pub use docket_cluster::LoggedEntry;
use docket_cluster::{ExportError, GroupId, NodeId, ReadError, SavedState, StateMachine};
use docket_engine::Time;
use docket_persistence::{
    StoreError,
    archive::{ARCHIVE_DIR, Archive},
    mem::MemKeyed,
    sealing::Keyring,
};
use docket_proto::{
    NoIntern,
    access::decode_access_record,
    record::decode_newest_time,
    snapshot::{self, SnapshotRecord},
    steering::{decode_steering_record, is_steering_record},
    webhook::{decode_webhook_record, is_webhook_record},
};

use crate::{
    access::AccessMachine,
    archive::{Aside, OrderArchive},
    committed::Committed,
    docket::Docket,
    feed::FeedLimits,
    machine::{Ids, ShardMachine},
};

/// How long a point may take: three questions to each leader.
const POINT_WITHIN: Duration = Duration::from_secs(10);

/// A point in the logs of all groups, as this node has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupPoint {
    /// The cluster's id.
    pub cluster_id: String,
    /// Which node this is.
    pub node: NodeId,
    /// How many shards the cluster has.
    pub shards: u16,
    /// What was stamped up to this time is in it.
    pub time: Time,
    /// The meta group, then the shards in order.
    pub groups: Vec<BackupGroup>,
}

/// Up to where a group's log is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupGroup {
    /// Which group.
    pub group: GroupId,
    /// Its entries before this one.
    pub next: u64,
}

/// Why there is no point, or nothing of a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// This node has no replica of it.
    #[error("this node has no replica of {0}: ask one that has")]
    NotHere(GroupId),
    /// There is no such group.
    #[error("the cluster has no group {0}")]
    NoGroup(GroupId),
    /// A leader is not known, or does not answer.
    #[error("not all groups can be read now: {0}")]
    Unread(#[from] ReadError),
    /// No order of times can be trusted.
    #[error(
        "a node's clock is more than five minutes ahead of this one's, or was, so that times do not tell what came first: set the clocks, \
         and try again when the time is past that. Or a node has an older version, and follows no other clock: finish the upgrade first"
    )]
    ClocksApart,
    /// The first entry that was asked for is gone.
    #[error("{0}")]
    Purged(String),
    /// The disk's.
    #[error("{0}")]
    Io(String),
}

impl From<ExportError> for BackupError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Purged { .. } => Self::Purged(error.to_string()),
            ExportError::Io { .. } => Self::Io(error.to_string()),
        }
    }
}

/// A snapshot on its way into a backup. Reading blocks.
pub struct BackupState {
    /// Index after that of the last entry inside it.
    pub next: u64,
    /// The term of that entry.
    pub term: u64,
    /// The newest time in it.
    pub time: Time,
    /// How many orders of the archive it counts.
    pub archived: u64,
    first: Option<Bytes>,
    rest: SavedState,
}

impl Iterator for BackupState {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.first.take().map(Ok).or_else(|| self.rest.next())
    }
}

impl Docket {
    /// A point behind everything that was answered before this call.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn backup_point(&self) -> Result<BackupPoint, BackupError> {
        let node = &self.inner.node;
        let clock = &self.inner.clock;
        let groups: Vec<_> = node.groups().iter().map(|group| group.id()).collect();
        if let Some(missing) = groups
            .iter()
            .find(|id| node.has_peers() && !node.has_replica(**id))
        {
            return Err(BackupError::NotHere(*missing));
        }
        let deadline = Instant::now() + POINT_WITHIN;
        let refused = clock.refused();
        // What accounts and webhooks say rests on shards, and no shard on them: so the meta group is read before there is a time.
        node.read_barrier(groups.iter().copied(), deadline).await?;
        let of_meta = node.meta().applied_next();
        // Each leader tells what time it is there: what it has answered, and what that rests on, was stamped before.
        node.read_barrier(groups.iter().copied(), deadline).await?;
        let newest = self.newest();
        let time = clock.now_us();
        // A stamp that was too far ahead to be followed is not followed later either: the time that it says may be near by now, and not yet there.
        if newest > time {
            return Err(BackupError::ClocksApart);
        }
        clock.observe(time.saturating_add(1));
        // Each leader hears that it is later by now: what is stamped there from here on is not in the point. What it has told anybody of before that it had
        // committed, and it is here behind this.
        let led = node
            .read_barrier_by_clock(groups.iter().copied(), deadline)
            .await?;
        // One of an older version does not say what time it is, and follows no other clock.
        if led <= time || clock.refused() != refused || self.is_ahead(time) {
            return Err(BackupError::ClocksApart);
        }
        let group = |group: &docket_cluster::Group| BackupGroup {
            group: group.id(),
            next: match group.id() {
                GroupId::META => of_meta,
                _ => group.applied_next(),
            },
        };
        let identity = node.identity();
        Ok(BackupPoint {
            cluster_id: identity.cluster_id.clone(),
            node: identity.node_id,
            shards: identity.shards,
            time: Time(time),
            groups: node.groups().iter().map(group).collect(),
        })
    }

    /// Whether a shard has gone further ahead than this node's clock follows.
    fn is_ahead(&self, time: i64) -> bool {
        self.newest() > time.saturating_add(docket_cluster::clock::AHEAD_MAX_US)
    }

    /// When the newest of what the shards have was stamped.
    fn newest(&self) -> i64 {
        let shards = self.inner.router.shards.iter();
        let newest = shards.map(|shard| shard.committed().last_time().0).max();
        newest.unwrap_or_default()
    }

    /// The newest snapshot of a group here; `None` where there is none yet. Blocks.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn backup_state(&self, group: GroupId) -> Result<Option<BackupState>, BackupError> {
        let Some(mut rest) = self.backed_up(group)?.saved_state() else {
            return Ok(None);
        };
        let unreadable = |error: &dyn std::fmt::Display| BackupError::Io(format!("{group}: {error}"));
        let first = rest.next().transpose().map_err(|error| unreadable(&error))?;
        let first = first.ok_or_else(|| unreadable(&"its snapshot is empty"))?;
        let (time, archived) = match group {
            // What of it there is at what time does not matter to anything else.
            GroupId::META => (Time(0), 0),
            _ => head_of(&first).ok_or_else(|| unreadable(&"its snapshot does not begin with its head"))?,
        };
        Ok(Some(BackupState {
            next: rest.index.saturating_add(1),
            term: rest.term,
            time,
            archived,
            first: Some(first),
            rest,
        }))
    }

    /// What the snapshots of a group leave aside, from a number on, and before another one. Reading it blocks.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn backup_archive(
        &self,
        group: GroupId,
        from: u64,
        before: u64,
    ) -> Result<impl Iterator<Item = io::Result<Bytes>> + Send + use<>, BackupError> {
        self.backed_up(group)?;
        let mut shards = self.inner.router.shards.iter();
        let shard = shards.find(|shard| shard.id().group() == group);
        let aside = shard.map(|shard| Aside::until(Arc::clone(shard.committed()), from, before));
        Ok(aside.into_iter().flatten())
    }

    /// Some entries of a group's log from one on, and before another; none at the end.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn backup_log(
        &self,
        group: GroupId,
        from: u64,
        before: u64,
    ) -> Result<Vec<LoggedEntry>, BackupError> {
        let logged = self.backed_up(group)?.logged(from, before).await?;
        Ok(logged)
    }

    fn backed_up(&self, id: GroupId) -> Result<docket_cluster::Group, BackupError> {
        let node = &self.inner.node;
        let group = node.group(id).ok_or(BackupError::NoGroup(id))?;
        match node.has_peers() && !node.has_replica(id) {
            true => Err(BackupError::NotHere(id)),
            false => Ok(group),
        }
    }
}

/// The newest time of a shard's snapshot, and how much of the archive it counts, by its first bytes.
fn head_of(first: &[u8]) -> Option<(Time, u64)> {
    let (length, rest) = first.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    // The head is the first record of the first piece, which may go on in the next bytes.
    let piece = &rest[..length.min(rest.len())];
    match snapshot::records(piece, &NoIntern).next()?.ok()? {
        SnapshotRecord::Head(head) => Some((head.last_time, head.archived)),
        _ => None,
    }
}

/// When the newest of what an entry says was stamped; `None` where it says nothing that is stamped.
///
/// # Errors
/// It cannot be read.
pub fn stamped(group: GroupId, entry: &LoggedEntry) -> io::Result<Option<Time>> {
    let Some(payload) = entry.payload.as_deref().filter(|_| entry.is_of_the_layer_above()) else {
        return Ok(None);
    };
    let unreadable = |error: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{group}: entry {} cannot be read: {error}", entry.index),
        )
    };
    if group != GroupId::META {
        return decode_newest_time(payload).map_err(|error| unreadable(&error));
    }
    let time = if is_steering_record(payload) {
        decode_steering_record(payload).map(|record| record.time)
    } else if is_webhook_record(payload) {
        decode_webhook_record(payload).map(|record| record.time)
    } else {
        decode_access_record(payload).map(|record| record.time)
    };
    time.map(Some).map_err(|error| unreadable(&error))
}

/// The empty states that a backup is read into.
pub struct Blanks {
    archive: Archive,
}

impl Blanks {
    /// With an archive on the disk, in this data directory, sealed as `keys` say. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn in_directory(data_dir: &Path, keys: &Keyring) -> Result<Self, StoreError> {
        Ok(Self {
            archive: Archive::open(&data_dir.join(ARCHIVE_DIR), keys)?,
        })
    }

    /// With one in memory, to see whether a backup can be read.
    pub fn in_memory() -> Self {
        Self {
            archive: Archive::new(Arc::new(MemKeyed::new())),
        }
    }

    /// An empty state of a group. What was in the archive for it is gone.
    pub fn of(&self, group: GroupId) -> Blank {
        let Some(shard) = group.shard() else {
            return Blank {
                machine: Arc::new(AccessMachine::new()),
                committed: None,
            };
        };
        let ids = Arc::new(Ids::default());
        let archive = OrderArchive::of(&self.archive, shard.number(), &ids);
        // What is kept for the feed is what was kept.
        let committed = Arc::new(Committed::new(FeedLimits::default(), archive));
        let machine = Arc::new(ShardMachine::new(Arc::clone(&committed), ids, Arc::default()));
        machine.forget_aside();
        Blank {
            machine,
            committed: Some(committed),
        }
    }

    /// Lets go of the archive.
    pub fn close(self) {
        self.archive.close();
    }
}

/// A state that a group of a backup is read into.
pub struct Blank {
    /// What reads it.
    pub machine: Arc<dyn StateMachine>,
    committed: Option<Arc<Committed>>,
}

impl Blank {
    /// The newest time that was read.
    pub fn last_time(&self) -> Time {
        let committed = self.committed.as_ref();
        committed.map_or(Time(0), |committed| committed.last_time())
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{Amount, CustomerEvent, CustomerId, Decider, Event, Fact, Record, Version};

    use super::*;
    use crate::machine::{begin, encode};

    fn entry(times: &[i64]) -> LoggedEntry {
        let mut payload = Vec::new();
        begin(3, &mut payload);
        for time in times {
            let event = Event {
                version: Version(1),
                decider: Decider(1),
                fact: Fact::Customer(
                    CustomerId::new("ada").unwrap(),
                    CustomerEvent::Credited { amount: Amount(1) },
                ),
            };
            let record = Record {
                time: Time(*time),
                events: vec![event],
                request: None,
                unchanged: None,
                origin: None,
            };
            encode(&record, &mut payload);
        }
        LoggedEntry {
            index: 1,
            term: 3,
            payload: Some(payload.into()),
        }
    }

    #[test]
    fn an_entry_is_as_new_as_the_newest_of_its_records() {
        let shard = GroupId(1);
        for (times, expected) in [
            (&[][..], None),
            (&[0], Some(0)),
            (&[7, 9, 8], Some(9)),
            (&[-5], Some(-5)),
        ] {
            let found = stamped(shard, &entry(times)).unwrap();
            assert_eq!(found, expected.map(Time), "{times:?}");
        }
        let mut blank = entry(&[7]);
        blank.payload = None;
        assert_eq!(stamped(shard, &blank).unwrap(), None);
        let mut broken = entry(&[7]);
        broken.payload = Some(Bytes::from_static(b"\xff"));
        assert!(stamped(shard, &broken).is_err());
    }
}
