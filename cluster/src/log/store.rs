//! openraft's log storage over the node's journal.
//!
//! Every write is queued in the journal under the lock of the group's index, so that the journal holds a group's records in the order in
//! which its index changed. The lock is held for as long as queueing takes and never while anything waits.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use docket_persistence::{Disk, Journal, JournalError, Position, planted};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::index::{LogIndex, OnDisk, Place};
use super::record::{self, EntryRecord, Record};
use crate::GroupId;
use crate::limits::{READ_BYTES_MAX, READ_RECORDS_MAX};
use crate::moments::Moments;
use crate::off_thread::off_thread;
use crate::progress::Progress;
use crate::raft::{EntryPayload, LogEntry, LogId, Payload, TypeConfig, Vote};

/// The journal, as all groups of the node share it.
pub(crate) struct NodeJournal {
    pub(crate) journal: Journal,
    /// Told whenever a commit has made room in the journal's queue.
    room: Notify,
    /// Bytes of entries that were written since the start.
    entry_bytes: AtomicU64,
}

impl NodeJournal {
    pub(crate) fn new(journal: Journal) -> Self {
        Self {
            journal,
            room: Notify::new(),
            entry_bytes: AtomicU64::new(0),
        }
    }

    /// Bytes of entries that all groups have written since the start.
    pub(crate) fn entry_bytes(&self) -> u64 {
        self.entry_bytes.load(Ordering::Relaxed)
    }

    /// Bytes free on the disk, if they are too few.
    pub(crate) fn disk_low(&self) -> Option<u64> {
        match self.journal.disk() {
            Disk::Ok => None,
            Disk::Low { free_bytes } => Some(free_bytes),
        }
    }

    /// There is room again.
    pub(super) fn wake(&self) {
        self.room.notify_waiters();
    }

    /// Queues records as soon as the journal's queue has room for them. `queue` is tried again each time something was committed, and
    /// must change nothing when the journal refuses.
    pub(super) async fn when_there_is_room(
        &self,
        mut queue: impl FnMut() -> Result<(), JournalError> + Send,
    ) -> Result<(), io::Error> {
        loop {
            // Asked for before the attempt, so that room made in between is not missed.
            let room = self.room.notified();
            match queue() {
                Ok(()) => return Ok(()),
                Err(JournalError::Full { .. }) => room.await,
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

/// One group's log. Clones are the same log.
#[derive(Clone)]
pub(crate) struct GroupLog {
    shared: Arc<Shared>,
}

struct Shared {
    group: GroupId,
    journal: Arc<NodeJournal>,
    progress: Arc<Progress>,
    index: Mutex<LogIndex>,
}

impl GroupLog {
    /// The log that this index describes.
    pub(crate) fn new(journal: Arc<NodeJournal>, progress: Arc<Progress>, index: LogIndex) -> Self {
        if let Some(vote) = index.vote() {
            progress.note_vote(&vote);
        }
        let group = progress.group;
        Self {
            shared: Arc::new(Shared {
                group,
                journal,
                progress,
                index: Mutex::new(index),
            }),
        }
    }

    /// Looks at the index, or changes it, while nothing else does.
    pub(super) fn with_index<T>(&self, look: impl FnOnce(GroupId, &mut LogIndex) -> T) -> T {
        look(self.shared.group, &mut self.shared.index.lock())
    }

    pub(super) fn journal(&self) -> &NodeJournal {
        &self.shared.journal
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.shared.index.lock().last()
    }

    /// Whether no entry was ever written here, or what was is dropped.
    pub(crate) fn is_pristine(&self) -> bool {
        self.shared.index.lock().last().is_none()
    }

    /// Where the oldest entry is, if there is one and it is durable.
    pub(crate) fn oldest_durable(&self) -> Option<Position> {
        self.shared.index.lock().oldest_entry()?.durable()
    }

    /// The first and the last entry that have bytes in these frames of the journal, if any has.
    pub(crate) fn entries_in(&self, frames: RangeInclusive<u64>) -> Option<(u64, u64)> {
        self.shared.index.lock().entries_in(&frames)
    }

    /// How far the log has been purged.
    pub(crate) fn purged_index(&self) -> Option<u64> {
        self.shared.index.lock().purged().map(|id| id.index)
    }

    /// Entries from this one on, and before that one, as many as are read at once.
    pub(crate) async fn page(&self, from: u64, before: u64) -> Result<Vec<LogEntry>, io::Error> {
        let range = self.shared.index.lock().clip_bytes(from..before, READ_BYTES_MAX);
        self.entries(range).await
    }

    /// The entries of the range, from memory as far as they are there.
    async fn entries(&self, range: Range<u64>) -> Result<Vec<LogEntry>, io::Error> {
        let found = self.shared.index.lock().look_up(range);
        if found.iter().all(Result::is_ok) {
            return Ok(found.into_iter().filter_map(Result::ok).collect());
        }
        let (group, journal) = (self.shared.group, self.shared.journal.journal.clone());
        off_thread(move || read_back(group, &journal, found)).await?
    }
}

/// Completes a look-up with what must be read back. The journal interleaves the groups, so that a read fetches neighbours too; those that
/// are wanted next are taken from the same read. The last one is read alone: every start asks for the oldest of each group.
fn read_back(
    group: GroupId,
    journal: &Journal,
    found: Vec<Result<LogEntry, OnDisk>>,
) -> Result<Vec<LogEntry>, io::Error> {
    let mut entries = Vec::with_capacity(found.len());
    let mut fetched = Vec::new().into_iter();
    let last = found.len().saturating_sub(1);
    for (at, wanted) in found.into_iter().enumerate() {
        let entry = match wanted {
            Ok(entry) => entry,
            Err(wanted) => match next_match(group, wanted, &mut fetched)? {
                Some(entry) => entry,
                None => {
                    let records_max = if at == last { 1 } else { READ_RECORDS_MAX };
                    let records = journal.read(wanted.position, records_max, READ_BYTES_MAX);
                    fetched = records.map_err(io::Error::other)?.into_iter();
                    next_match(group, wanted, &mut fetched)?.ok_or_else(|| {
                        let place = wanted.position;
                        io::Error::other(format!(
                            "{group}: entry {} is not in the journal at {place}",
                            wanted.index
                        ))
                    })?
                }
            },
        };
        entries.push(entry);
    }
    Ok(entries)
}

/// Skips records up to the wanted entry. An entry is known by its term and index: Raft never has two of the same.
fn next_match(
    group: GroupId,
    wanted: OnDisk,
    records: &mut impl Iterator<Item = Bytes>,
) -> Result<Option<LogEntry>, io::Error> {
    for bytes in records {
        match record::decode(&bytes).map_err(io::Error::other)? {
            (of, Record::Entry(entry @ EntryRecord { term, index, .. }))
                if (of, term, index) == (group, wanted.term, wanted.index) =>
            {
                return entry.to_entry().map(Some).map_err(io::Error::other);
            }
            _ => continue,
        }
    }
    Ok(None)
}

impl RaftLogReader<TypeConfig> for GroupLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, io::Error> {
        self.entries(half_open(&range)).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.index.lock().vote())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<LogEntry>, io::Error> {
        let range = self.shared.index.lock().clip_bytes(start..end, READ_BYTES_MAX);
        self.entries(range).await
    }

    /// The last entry of each leader (whatever openraft's documentation says of the first), from the index: a start-up must not read the
    /// log just to learn its terms.
    async fn get_key_log_ids(&mut self, range: RangeInclusive<LogId>) -> Result<Vec<LogId>, io::Error> {
        Ok(self
            .shared
            .index
            .lock()
            .leader_ends(range.start().index..range.end().index + 1))
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}

impl RaftLogStorage<TypeConfig> for GroupLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let index = self.shared.index.lock();
        Ok(LogState {
            last_purged_log_id: index.purged(),
            last_log_id: index.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let shared = &self.shared;
        if planted!(ForgetVote) {
            shared.progress.note_vote(vote);
            return Ok(());
        }
        let record = record::vote(shared.group, vote);
        let mut durable = None;
        shared
            .journal
            .when_there_is_room(|| {
                let mut index = shared.index.lock();
                let write = index.begin_write();
                let (tell, told) = oneshot::channel();
                let log = self.clone();
                let done = move |result: Result<&[Position], JournalError>| {
                    if let Ok([position]) = result {
                        log.shared.index.lock().settle_vote(write, *position);
                    }
                    log.shared.journal.room.notify_waiters();
                    // The core may have gone meanwhile.
                    let _ = tell.send(result.map(drop));
                };
                shared
                    .journal
                    .journal
                    .append(vec![record.clone()], Box::new(done))?;
                index.set_vote(*vote, Place::Queued(write));
                shared.progress.note_vote(vote);
                durable = Some(told);
                Ok(())
            })
            .await?;
        let Some(durable) = durable else { return Ok(()) };
        durable.await.map_err(io::Error::other)?.map_err(io::Error::other)
    }

    /// Kept in memory; the next entry's record carries it to disk.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.shared.index.lock().set_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.index.lock().committed())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let shared = &self.shared;
        let mut records = Vec::new();
        let mut bytes = 0;
        // Of nearly all entries nobody wants to know.
        let mut watched = Vec::new();
        let (write, first) = {
            let mut index = shared.index.lock();
            let write = index.begin_write();
            let committed_next = index.committed_next();
            let mut first = None;
            for entry in entries {
                first.get_or_insert(entry.log_id.index);
                match &entry.payload {
                    EntryPayload::Membership(members) => shared.progress.note_membership(members),
                    EntryPayload::Normal(Payload(_, Some(moments))) => watched.push(moments.clone()),
                    EntryPayload::Normal(_) | EntryPayload::Blank => {}
                }
                let record = record::entry(shared.group, &entry, committed_next).map_err(io::Error::other)?;
                bytes += record.len() as u64;
                index
                    .push(entry, record.len() as u32, Place::Queued(write))
                    .map_err(io::Error::other)?;
                records.push(record);
            }
            (write, first)
        };
        if planted!(FollowerAcksUnsynced) {
            callback.io_completed(Ok(()));
            return shared
                .journal
                .when_there_is_room(|| {
                    let log = self.clone();
                    let done = move |result: Result<&[Position], JournalError>| {
                        if let (Ok(positions), Some(first)) = (result, first) {
                            log.shared.index.lock().settle_entries(write, first, positions);
                        }
                    };
                    shared.journal.journal.append(records.clone(), Box::new(done))
                })
                .await;
        }
        let Some(first) = first else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        shared.journal.entry_bytes.fetch_add(bytes, Ordering::Relaxed);
        shared.progress.note_appended(bytes);
        watched.iter().for_each(Moments::queue);
        // Taken by the attempt that the journal accepts.
        let callback = Arc::new(Mutex::new(Some(callback)));
        shared
            .journal
            .when_there_is_room(|| {
                let (log, callback, watched) = (self.clone(), Arc::clone(&callback), watched.clone());
                let done = move |result: Result<&[Position], JournalError>| {
                    if result.is_ok() && !watched.is_empty() {
                        // The sync before whose end nobody is told.
                        let took = log.shared.journal.journal.last_sync();
                        watched.iter().for_each(|moments| moments.sync(took));
                    }
                    log.entries_written(write, first, result, &callback);
                };
                shared.journal.journal.append(records.clone(), Box::new(done))
            })
            .await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let shared = &self.shared;
        let from = last_log_id.map_or(0, |id| id.index + 1);
        // Nobody waits for it: whatever is written over the entries comes after it in the journal.
        shared
            .journal
            .when_there_is_room(|| {
                let mut index = shared.index.lock();
                if !planted!(ForgetTruncation) {
                    let record = record::truncation(shared.group, from);
                    shared.journal.journal.append_quietly(vec![record])?;
                }
                index.truncate(from);
                shared.progress.note_truncated();
                Ok(())
            })
            .await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let shared = &self.shared;
        shared
            .journal
            .when_there_is_room(|| {
                let mut index = shared.index.lock();
                let write = index.begin_write();
                let log = self.clone();
                let done = move |result: Result<&[Position], JournalError>| {
                    if let Ok([position]) = result {
                        log.shared.index.lock().settle_purge(write, *position);
                        // Now the journal may be cut.
                        log.shared.progress.chores.notify_one();
                    }
                    log.shared.journal.room.notify_waiters();
                };
                shared
                    .journal
                    .journal
                    .append(vec![record::purge(shared.group, &upto)], Box::new(done))?;
                index.purge(upto, Place::Queued(write));
                Ok(())
            })
            .await
    }
}

impl GroupLog {
    /// On the committer's thread: the entries are durable, or never will be.
    fn entries_written(
        &self,
        write: u64,
        first: u64,
        result: Result<&[Position], JournalError>,
        callback: &Mutex<Option<IOFlushed<TypeConfig>>>,
    ) {
        let shared = &self.shared;
        if let Ok(positions) = result {
            let mut index = shared.index.lock();
            index.settle_entries(write, first, positions);
            index.evict(|entry| shared.progress.has_applied(entry));
        }
        shared.journal.room.notify_waiters();
        if let Some(callback) = callback.lock().take() {
            callback.io_completed(result.map(drop).map_err(io::Error::other));
        }
    }
}
