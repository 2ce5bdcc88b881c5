//! Start-up: one pass over the journal rebuilds every group's log and state.
//!
//! ```text
//!  snapshots ──restore──▶ one lane a core: groups 0, n, 2n …; 1, n+1 …        first all snapshots,
//!
//!  journal ──replay, in order──▶ each group's index ──known to be committed──▶ the lanes: apply, in log order
//! ```
//!
//! Payloads pass through and are not kept: what is not yet known to be committed waits, and what stays uncommitted to the end (at most
//! what was in flight) is read back from the journal when it is.
//!
//! Where the journal says that a replica was dropped, what came before counts no more, nor does what was wrong with it: its state is
//! forgotten and begun anew, with the snapshot that came after the drop, if one did. What is kept aside stays: it may be of what came after, too.
//! A drop that was interrupted is finished.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use docket_persistence::{Journal, JournalError, Position, Recovery};

use crate::apply::Applier;
use crate::limits::REPLAY_QUEUE_MAX;
use crate::log::{IndexError, LogIndex, Place, Record, RecordError, decode};
use crate::raft::{EntryPayload, LogEntry, LogId, Vote};
use crate::snapshots::Snapshots;
use crate::{ClusterError, GroupId};

/// A group as it stands after recovery.
pub(crate) struct Recovered {
    pub(crate) index: LogIndex,
    pub(crate) applier: Applier,
}

/// How a journal is opened, with what it must be told while it is read.
pub type OpenJournal =
    Box<dyn FnOnce(&mut dyn FnMut(Position, &[u8])) -> Result<(Journal, Recovery), JournalError> + Send>;

/// Restores snapshots, then reads the journal and applies what is committed. Blocks. Groups come back in the order of `appliers`, which
/// is that of their ids from 0; so are `known_committed`, of each group the index before which its entries are known to be committed by
/// somebody beside the journal: by nobody where there is none.
pub(crate) fn recover(
    appliers: Vec<Applier>,
    cache_bytes_max: usize,
    snapshots: &Snapshots,
    open_journal: OpenJournal,
    known_committed: &[u64],
) -> Result<(Journal, Recovery, Vec<Recovered>), ClusterError> {
    let lanes = Lane::deal(appliers);
    let lanes = in_parallel(lanes, Lane::restore)?;
    let mut groups: Vec<_> = lanes
        .iter()
        .flat_map(|lane| lane.own.iter().map(Lane::replay_behind))
        .collect();
    groups.sort_by_key(|(number, _)| *number);
    let groups = groups
        .into_iter()
        .map(|(_, next)| GroupReplay::new(cache_bytes_max, next))
        .collect();
    thread::scope(|scope| {
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for lane in lanes {
            let (queue, entries) = sync_channel(REPLAY_QUEUE_MAX);
            queues.push(queue);
            threads.push(scope.spawn(move || lane.apply_all(&entries)));
        }
        let mut replay = Replay {
            groups,
            queues,
            error: None,
        };
        let opened = open_journal(&mut |position, record| replay.take(position, record));
        for (number, committed_next) in known_committed.iter().enumerate() {
            replay.commit_to(number, *committed_next);
        }
        let Replay {
            groups,
            queues,
            error,
        } = replay;
        // Ends the lanes once they have applied what they were given.
        drop(queues);
        let lanes = join_all(threads);
        let (journal, recovery) = opened?;
        let mut appliers: Vec<_> = lanes?.into_iter().flat_map(|lane| lane.own).collect();
        appliers.sort_by_key(|(number, _)| *number);
        match error {
            Some(error) => Err(error),
            None => {
                let recovered = groups.into_iter().zip(appliers);
                let recovered: Result<_, _> = recovered
                    .map(|(replay, (number, applier))| {
                        let id = group_id(number);
                        if replay.is_half_dropped() {
                            snapshots.remove(id).map_err(|error| group_error(id, error))?;
                        }
                        if replay.index.dropped().is_some() && applier.applied().is_none() {
                            // Nothing has come after the drop: what was there before it has just been put aside again.
                            applier.forget_aside().map_err(|error| group_error(id, error))?;
                        }
                        replay.finish(applier).map_err(|error| group_error(id, error))
                    })
                    .collect();
                Ok((journal, recovery, recovered?))
            }
        }
    })
}

/// Does the work for each lane on a thread of its own.
fn in_parallel(
    lanes: Vec<Lane>,
    work: fn(Lane) -> Result<Lane, ClusterError>,
) -> Result<Vec<Lane>, ClusterError> {
    thread::scope(|scope| {
        join_all(
            lanes
                .into_iter()
                .map(|lane| scope.spawn(move || work(lane)))
                .collect(),
        )
    })
}

/// Waits for all, then tells of the first that failed.
fn join_all(
    threads: Vec<ScopedJoinHandle<'_, Result<Lane, ClusterError>>>,
) -> Result<Vec<Lane>, ClusterError> {
    let panicked = |_| Err(group_error(GroupId::META, "its recovery panicked"));
    let results: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap_or_else(panicked))
        .collect();
    results.into_iter().collect()
}

fn group_error(group: GroupId, cause: impl std::fmt::Display) -> ClusterError {
    ClusterError::Group {
        group,
        cause: cause.to_string(),
    }
}

/// What a lane is told of one of its groups.
enum Told {
    /// This entry is committed.
    Entry(LogEntry),
    /// What was told before is void.
    Dropped,
    /// The stored snapshot was not there before, and is the state now.
    Restore,
}

/// The reading side: sorts records by group.
struct Replay {
    groups: Vec<GroupReplay>,
    queues: Vec<SyncSender<(usize, Told)>>,
    error: Option<ClusterError>,
}

impl Replay {
    fn take(&mut self, position: Position, record: &[u8]) {
        if self.error.is_none()
            && let Err(error) = self.try_take(position, record)
        {
            self.error = Some(error);
        }
    }

    fn try_take(&mut self, position: Position, record: &[u8]) -> Result<(), ClusterError> {
        let at = |group, cause: &dyn std::fmt::Display| {
            group_error(group, format!("the journal's record at {position}: {cause}"))
        };
        let (group, record) = decode(record).map_err(|error| at(GroupId::META, &error))?;
        let number = group.0 as usize;
        let Some(replay) = self.groups.get_mut(number) else {
            return Err(at(group, &"this node has no such group"));
        };
        let queue = &self.queues[number % self.queues.len()];
        // A lane that is gone takes nothing more and tells why when it is joined.
        let tell = |told| queue.send((number, told)).is_ok();
        let was_half_dropped = replay.is_half_dropped();
        let is_drop = matches!(record, Record::Drop(_));
        replay.take_or_fail(position, record);
        if is_drop {
            let _ = tell(Told::Dropped);
        } else if was_half_dropped && !replay.is_half_dropped() {
            let _ = tell(Told::Restore);
        }
        while let Some(entry) = replay.next_committed() {
            if !tell(Told::Entry(entry)) {
                break;
            }
        }
        Ok(())
    }

    /// Behind the whole journal: the group's entries before this index were committed, too.
    fn commit_to(&mut self, number: usize, committed_next: u64) {
        let queue = &self.queues[number % self.queues.len()];
        let Some(replay) = self.groups.get_mut(number) else {
            return;
        };
        replay.committed_next = replay.committed_next.max(committed_next);
        while let Some(entry) = replay.next_committed() {
            if queue.send((number, Told::Entry(entry))).is_err() {
                break;
            }
        }
    }
}

/// What the journal has told of one group so far.
struct GroupReplay {
    index: LogIndex,
    /// Entries before this index are known to be committed.
    committed_next: u64,
    /// Entries before this index are in the snapshot.
    snapshot_next: u64,
    /// Entries behind the snapshot that are not known to be committed, in log order.
    waiting: VecDeque<LogEntry>,
    /// What is wrong, unless it turns out to have been dropped.
    error: Option<String>,
}

/// The journal contradicts itself or the snapshot.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("vote {new} follows the greater vote {old}")]
    VoteWentBack { old: Vote, new: Vote },
    #[error("entry {from} is taken back, although entries before {committed_next} are committed")]
    CommittedTakenBack { from: u64, committed_next: u64 },
    #[error(
        "its log is purged up to entry {purged}, and {}: the snapshot that holds the rest is missing. Restore the data directory \
         from a backup, or move it away and let the node fetch its state from its peers",
        state_next.checked_sub(1).map_or_else(|| "there is no state".to_owned(), |last| format!("the state ends with entry {last}"))
    )]
    SnapshotMissing { purged: u64, state_next: u64 },
    #[error("{0}")]
    Before(String),
    #[error("entry {found} is the next in the journal, and the state lacks those from {expected} on")]
    Gap { expected: u64, found: u64 },
}

impl GroupReplay {
    fn new(cache_bytes_max: usize, snapshot_next: u64) -> Self {
        let (index, waiting) = (LogIndex::new(cache_bytes_max), VecDeque::new());
        Self {
            index,
            committed_next: 0,
            snapshot_next,
            waiting,
            error: None,
        }
    }

    /// Whether the replica was dropped, and its snapshots may still be there.
    fn is_half_dropped(&self) -> bool {
        self.index.dropped().is_some_and(|dropped| !dropped.whole)
    }

    /// As [`take`](Self::take). What is wrong is kept, since it may be of a replica that was dropped.
    fn take_or_fail(&mut self, position: Position, record: Record<'_>) {
        let voids = matches!(record, Record::Drop(_));
        if self.error.is_some() && !voids && !matches!(record, Record::Vote(_)) {
            return;
        }
        match self.take(position, record) {
            Ok(()) if voids => self.error = None,
            Ok(()) => {}
            Err(error) => {
                let error = format!("the journal's record at {position}: {error}");
                self.error.get_or_insert(error);
            }
        }
    }

    fn take(&mut self, position: Position, record: Record<'_>) -> Result<(), ReplayError> {
        match record {
            Record::Vote(new) => {
                if let Some(old) = self.index.vote().filter(|old| new < *old) {
                    return Err(ReplayError::VoteWentBack { old, new });
                }
                self.index.set_vote(new, Place::At(position));
            }
            Record::Entry(entry) => {
                if entry.index <= self.snapshot_next {
                    self.index.begin_at(entry.index);
                }
                self.index.push_replayed(&entry, position)?;
                self.committed_next = self.committed_next.max(entry.committed_next);
                if entry.index >= self.snapshot_next {
                    self.waiting.push_back(entry.to_entry()?);
                }
            }
            Record::Truncation(from) => {
                let committed_next = self.committed_next;
                if from < committed_next {
                    return Err(ReplayError::CommittedTakenBack { from, committed_next });
                }
                self.index.truncate(from);
                while self
                    .waiting
                    .back()
                    .is_some_and(|entry| entry.log_id.index >= from)
                {
                    self.waiting.pop_back();
                }
            }
            Record::Purge(upto) => {
                self.index.purge(upto, Place::At(position));
                self.committed_next = self.committed_next.max(upto.index + 1);
            }
            Record::Drop(floor) => {
                self.index.drop_all(floor, Place::At(position));
                self.committed_next = 0;
                self.waiting.clear();
            }
            Record::Dropped(floor) => self.index.set_dropped(floor, Place::At(position)),
        }
        Ok(())
    }

    fn next_committed(&mut self) -> Option<LogEntry> {
        let is_committed = self.waiting.front()?.log_id.index < self.committed_next;
        if is_committed {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    fn finish(mut self, applier: Applier) -> Result<Recovered, ReplayError> {
        if let Some(error) = self.error.take() {
            return Err(ReplayError::Before(error));
        }
        self.check_state(applier.applied().map_or(0, |id| id.index + 1))?;
        let newest_membership = self.waiting.iter().rev().find_map(|entry| match &entry.payload {
            EntryPayload::Membership(members) => Some(members),
            EntryPayload::Blank | EntryPayload::Normal(_) => None,
        });
        applier.note_log(newest_membership, &self.index);
        // Everything that was known to be committed has been applied.
        self.index.set_committed(applier.applied());
        Ok(Recovered {
            index: self.index,
            applier,
        })
    }

    /// A state that lacks what the log was purged of is no state: nothing could ever bring it up to date, and a snapshot of it would be
    /// taken for a whole one.
    fn check_state(&self, state_next: u64) -> Result<(), ReplayError> {
        match self.index.purged() {
            Some(LogId { index: purged, .. }) if purged >= state_next => {
                Err(ReplayError::SnapshotMissing { purged, state_next })
            }
            _ => Ok(()),
        }
    }
}

/// The applying side: owns some of the groups, by their numbers.
struct Lane {
    own: Vec<(usize, Applier)>,
    lanes: usize,
}

impl Lane {
    /// One lane for each core, as long as there are groups: group `n` of `l` lanes is in lane `n % l`, at place `n / l`.
    fn deal(appliers: Vec<Applier>) -> Vec<Self> {
        let lanes = thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(appliers.len())
            .max(1);
        let mut dealt: Vec<_> = (0..lanes)
            .map(|_| Self {
                own: Vec::new(),
                lanes,
            })
            .collect();
        for (number, applier) in appliers.into_iter().enumerate() {
            dealt[number % lanes].own.push((number, applier));
        }
        dealt
    }

    fn restore(mut self) -> Result<Self, ClusterError> {
        for (number, applier) in &mut self.own {
            applier
                .restore_stored()
                .map_err(|error| group_error(group_id(*number), error))?;
        }
        Ok(self)
    }

    /// A group's number, and the index from which on the journal's entries are still to be applied.
    fn replay_behind((number, applier): &(usize, Applier)) -> (usize, u64) {
        (*number, applier.snapshot_next())
    }

    fn apply_all(mut self, told: &Receiver<(usize, Told)>) -> Result<Self, ClusterError> {
        // What is wrong with a group, unless it turns out to have been dropped.
        let mut errors = BTreeMap::<usize, io::Error>::new();
        for (number, told) in told {
            let Some((_, applier)) = self.own.get_mut(number / self.lanes) else {
                continue;
            };
            let done = match told {
                Told::Entry(_) | Told::Restore if errors.contains_key(&number) => continue,
                Told::Entry(entry) => apply(applier, &entry),
                Told::Restore => applier.restore_stored(),
                Told::Dropped => {
                    errors.remove(&number);
                    applier.clear()
                }
            };
            if let Err(error) = done {
                errors.insert(number, error);
            }
        }
        if let Some((number, error)) = errors.into_iter().next() {
            return Err(group_error(group_id(number), error));
        }
        for (_, applier) in &self.own {
            applier.publish_applied();
        }
        Ok(self)
    }
}

fn apply(applier: &mut Applier, entry: &LogEntry) -> Result<(), io::Error> {
    let (expected, found) = (applier.applied().map_or(0, |id| id.index + 1), entry.log_id.index);
    if found != expected {
        return Err(io::Error::other(ReplayError::Gap { expected, found }));
    }
    applier.apply_entry(entry).map(drop)
}

fn group_id(number: usize) -> GroupId {
    GroupId(number as u32)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::log::record;
    use crate::raft::{Payload, log_id};

    const GROUP: GroupId = GroupId(1);

    /// Feeds records to a replay; each is (what it is, the bytes).
    fn replay(snapshot_next: u64, records: &[Bytes]) -> (GroupReplay, Result<Vec<u64>, String>) {
        let mut replay = GroupReplay::new(0, snapshot_next);
        let mut applied = Vec::new();
        for (seq, bytes) in (1..).zip(records) {
            let (_, record) = decode(bytes).unwrap();
            if let Err(error) = replay.take(Position::new(seq, 0), record) {
                return (replay, Err(error.to_string()));
            }
            while let Some(entry) = replay.next_committed() {
                applied.push(entry.log_id.index);
            }
        }
        (replay, Ok(applied))
    }

    fn entry(term: u64, index: u64, committed_next: u64) -> Bytes {
        let payload = EntryPayload::Normal(Payload(Bytes::from_static(b"x"), None));
        record::entry(
            GROUP,
            &LogEntry {
                log_id: log_id(term, index),
                payload,
            },
            committed_next,
        )
        .unwrap()
    }

    fn vote(term: u64) -> Bytes {
        record::vote(GROUP, &Vote::new(term, 1))
    }

    #[test]
    fn entries_are_applied_as_far_as_a_later_record_says_that_they_are_committed() {
        let (replay, applied) = replay(
            0,
            &[entry(1, 0, 0), entry(1, 1, 0), entry(1, 2, 2), entry(1, 3, 2)],
        );
        assert_eq!(applied.unwrap(), [0, 1]);
        assert_eq!(replay.waiting.len(), 2);
        assert_eq!(replay.index.last(), Some(log_id(1, 3)));
    }

    #[test]
    fn what_was_taken_back_is_neither_kept_nor_applied() {
        let records = [
            entry(1, 0, 0),
            entry(1, 1, 1),
            entry(1, 2, 1),
            record::truncation(GROUP, 1),
            entry(2, 1, 1),
            entry(2, 2, 2),
        ];
        let (replay, applied) = replay(0, &records);
        assert_eq!(applied.unwrap(), [0, 1]);
        assert_eq!(replay.index.id_at(1), Some(log_id(2, 1)));
        assert_eq!(replay.waiting.front().unwrap().log_id, log_id(2, 2));
    }

    #[test]
    fn a_journal_that_was_cut_begins_anywhere_and_what_the_snapshot_holds_is_passed_over() {
        let records = [
            entry(1, 5, 4),
            record::truncation(GROUP, 5),
            entry(2, 5, 5),
            entry(2, 6, 6),
            vote(2),
            record::purge(GROUP, &log_id(1, 4)),
            entry(2, 7, 7),
        ];
        let (replay, applied) = replay(6, &records);
        assert_eq!(applied.unwrap(), [6]);
        assert_eq!(replay.index.purged(), Some(log_id(1, 4)));
        assert_eq!(replay.index.last(), Some(log_id(2, 7)));
        assert_eq!(replay.index.vote(), Some(Vote::new(2, 1)));
    }

    #[test]
    fn a_purge_beyond_the_log_leaves_nothing_to_apply() {
        let (replay, applied) = replay(
            21,
            &[
                entry(1, 5, 5),
                record::purge(GROUP, &log_id(3, 20)),
                entry(3, 21, 21),
                entry(3, 22, 22),
            ],
        );
        assert_eq!(applied.unwrap(), [21]);
        assert_eq!(replay.index.last(), Some(log_id(3, 22)));
    }

    #[test]
    fn a_log_that_is_purged_beyond_its_state_is_refused() {
        let records = [entry(1, 5, 5), vote(2), record::purge(GROUP, &log_id(1, 5))];
        // Without a snapshot nothing of it is applied, and the log is empty behind the purge.
        let (replayed, applied) = replay(0, &records[1..]);
        assert!(applied.unwrap().is_empty());
        let refused = replayed.check_state(0).unwrap_err().to_string();
        assert!(
            refused.contains("purged up to entry 5") && refused.contains("there is no state"),
            "{refused}"
        );
        let refused = replayed.check_state(5).unwrap_err().to_string();
        assert!(refused.contains("the state ends with entry 4"), "{refused}");
        for state_next in [6, 7] {
            replayed.check_state(state_next).unwrap();
        }
        let (unpurged, _) = replay(0, &[entry(1, 0, 0), vote(1)]);
        unpurged.check_state(0).unwrap();
    }

    #[test]
    fn what_stands_before_a_drop_counts_no_more_but_the_vote() {
        let records = [
            // Of a log whose snapshot is gone: it does not even fit what is there now.
            record::purge(GROUP, &log_id(1, 599)),
            entry(1, 600, 600),
            vote(7),
            entry(1, 700, 600),
            record::drop(GROUP, &log_id(1, 601)),
            record::dropped(GROUP, &log_id(1, 601)),
            entry(1, 0, 0),
            entry(1, 1, 1),
            // Written again behind the new log, when the journal was cut.
            record::dropped(GROUP, &log_id(1, 601)),
            entry(1, 2, 2),
        ];
        let mut replay = GroupReplay::new(0, 0);
        let mut told = Vec::new();
        for (seq, bytes) in (1..).zip(&records) {
            let (_, record) = decode(bytes).unwrap();
            replay.take_or_fail(Position::new(seq, 0), record);
            told.extend(std::iter::from_fn(|| replay.next_committed()).map(|entry| entry.log_id.index));
            assert_eq!(replay.is_half_dropped(), seq == 5);
            assert_eq!(replay.error.is_some(), seq == 4, "{:?} at {seq}", replay.error);
        }
        assert_eq!(told, [0, 1]);
        let index = &replay.index;
        assert_eq!((index.vote(), index.purged()), (Some(Vote::new(7, 1)), None));
        assert_eq!(
            (index.last(), index.floor()),
            (Some(log_id(1, 2)), Some(log_id(1, 601)))
        );
        replay.check_state(0).unwrap();
    }

    #[test]
    fn a_journal_that_contradicts_itself_is_refused() {
        let cases: [(&str, &[Bytes]); 4] = [
            ("follows the greater vote", &[vote(3), vote(2)]),
            ("are missing", &[entry(1, 0, 0), entry(1, 2, 0)]),
            ("written again", &[entry(1, 0, 0), entry(1, 0, 0)]),
            (
                "is taken back",
                &[entry(1, 0, 0), entry(1, 1, 1), record::truncation(GROUP, 0)],
            ),
        ];
        for (message, records) in cases {
            let error = replay(0, records).1.unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
