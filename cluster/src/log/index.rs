//! One group's log in memory: where in the journal each entry is, and the recent entries themselves.
//!
//! ```text
//!   purged │ first                 cached_from                              next
//!          │   ├── on disk only ──────┼── on disk, or on the way, and cached ──┤
//! ```

mod stretch;

use std::collections::VecDeque;
use std::ops::Range;

use docket_persistence::Position;

use super::record::EntryRecord;
use crate::raft::{EntryPayload, LogEntry, LogId, Vote, log_id, term_of};

/// What a group's log holds and where.
pub(crate) struct LogIndex {
    vote: Option<Vote>,
    vote_at: Place,
    purged: Option<LogId>,
    purged_at: Place,
    dropped: Option<Dropped>,
    dropped_at: Place,
    committed: Option<LogId>,
    /// Index of `slots[0]`.
    first: u64,
    slots: VecDeque<Slot>,
    /// Index of `payloads[0]`; entries before it are not in memory.
    cached_from: u64,
    /// The rest of the log's payloads, apart from the slots: there are millions of those, and few have one.
    payloads: VecDeque<EntryPayload>,
    cached_bytes: usize,
    cache_bytes_max: usize,
    writes: u64,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: it was never written.
    Nowhere,
    /// On its way: the journal has yet to tell. Only the write of this number may.
    Queued(u64),
    /// Durable.
    At(Position),
}

impl Place {
    /// Where it is if it is durable.
    pub(crate) fn durable(self) -> Option<Position> {
        match self {
            Self::At(position) => Some(position),
            Self::Nowhere | Self::Queued(_) => None,
        }
    }

    fn settle(&mut self, write: u64, position: Position) {
        if *self == Self::Queued(write) {
            *self = Self::At(position);
        }
    }
}

/// What is left of a replica that was moved away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// The last entry of the greatest log that was dropped.
    pub(crate) floor: LogId,
    /// Whether its snapshots are gone as well.
    pub(crate) whole: bool,
}

/// An entry. Its place is taken apart, since a log may have a million of them.
struct Slot {
    term: u64,
    /// The frame that it begins in, or the number of the write that it is part of.
    at: u64,
    /// Bytes of its record.
    bytes: u32,
    offset: u16,
    kind: PlaceKind,
}

const _: () = assert!(
    size_of::<Slot>() == 24,
    "a slot has grown, of which there are millions"
);

#[derive(Clone, Copy)]
enum PlaceKind {
    Nowhere,
    Queued,
    At,
}

impl Slot {
    fn new(term: u64, bytes: u32, place: Place) -> Self {
        let mut slot = Self {
            term,
            at: 0,
            bytes,
            offset: 0,
            kind: PlaceKind::Nowhere,
        };
        slot.put_at(place);
        slot
    }

    fn place(&self) -> Place {
        match self.kind {
            PlaceKind::Nowhere => Place::Nowhere,
            PlaceKind::Queued => Place::Queued(self.at),
            PlaceKind::At => Place::At(Position::new(self.at, self.offset)),
        }
    }

    fn put_at(&mut self, place: Place) {
        (self.kind, self.at, self.offset) = match place {
            Place::Nowhere => (PlaceKind::Nowhere, 0, 0),
            Place::Queued(write) => (PlaceKind::Queued, write, 0),
            Place::At(position) => (PlaceKind::At, position.seq(), position.offset()),
        };
    }
}

/// The journal or the caller contradicts the log that is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("entry {index} follows entry {last}: the entries between are missing")]
    Hole { index: u64, last: u64 },
    #[error("entry {index} was written again although entry {last} was not taken back")]
    Overwrite { index: u64, last: u64 },
}

/// An entry that must be read back from the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnDisk {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) position: Position,
}

impl LogIndex {
    pub(crate) fn new(cache_bytes_max: usize) -> Self {
        Self {
            vote: None,
            vote_at: Place::Nowhere,
            purged: None,
            purged_at: Place::Nowhere,
            dropped: None,
            dropped_at: Place::Nowhere,
            committed: None,
            first: 0,
            slots: VecDeque::new(),
            cached_from: 0,
            payloads: VecDeque::new(),
            cached_bytes: 0,
            cache_bytes_max,
            writes: 0,
        }
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.vote
    }

    pub(crate) fn set_vote(&mut self, vote: Vote, place: Place) {
        self.vote = Some(vote);
        self.vote_at = place;
    }

    pub(crate) fn vote_at(&self) -> Place {
        self.vote_at
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(crate) fn purged_at(&self) -> Place {
        self.purged_at
    }

    /// What is left of a replica that was here before this one.
    pub(crate) fn dropped(&self) -> Option<Dropped> {
        self.dropped
    }

    pub(crate) fn dropped_at(&self) -> Place {
        self.dropped_at
    }

    /// The last entry of a log that was dropped here, as long as this log does not reach so far. Until then this node must neither stand
    /// for election nor vote for who has less than that: the entries which it helped to commit with the old log would be outvoted.
    pub(crate) fn floor(&self) -> Option<LogId> {
        let floor = self.dropped.map(|dropped| dropped.floor);
        floor.filter(|floor| self.last().is_none_or(|last| last < *floor))
    }

    /// Forgets all but the vote, and keeps in mind where the log ended. The numbers of writes go on: what is still on its way is none of
    /// the new log's.
    pub(crate) fn drop_all(&mut self, floor: LogId, place: Place) {
        let dropped = self.dropped.map(|dropped| dropped.floor);
        *self = Self {
            vote: self.vote,
            vote_at: self.vote_at,
            dropped: Some(Dropped {
                floor: dropped.max(Some(floor)).unwrap_or(floor),
                whole: false,
            }),
            dropped_at: place,
            writes: self.writes,
            ..Self::new(self.cache_bytes_max)
        };
    }

    /// Notes that the snapshots of what was dropped are gone, too.
    pub(crate) fn set_dropped(&mut self, floor: LogId, place: Place) {
        let floor = self.dropped.map_or(floor, |dropped| dropped.floor.max(floor));
        self.dropped = Some(Dropped { floor, whole: true });
        self.dropped_at = place;
    }

    pub(crate) fn committed(&self) -> Option<LogId> {
        self.committed
    }

    pub(crate) fn set_committed(&mut self, committed: Option<LogId>) {
        self.committed = committed;
    }

    /// The index after the last committed entry that is known.
    pub(crate) fn committed_next(&self) -> u64 {
        self.committed.map_or(0, |id| id.index + 1)
    }

    /// The index after the last entry.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// Id of the last entry, or of the last purged one.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.id_at(self.next().wrapping_sub(1)).or(self.purged)
    }

    /// Id of the entry of this index, if it is in the log.
    pub(crate) fn id_at(&self, index: u64) -> Option<LogId> {
        self.slot(index).map(|slot| log_id(slot.term, index))
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots
            .get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// What the entry holds, if that is in memory.
    fn payload(&self, index: u64) -> Option<&EntryPayload> {
        self.payloads
            .get(usize::try_from(index.checked_sub(self.cached_from)?).ok()?)
    }

    /// How many slots have no payload.
    fn uncached(&self) -> usize {
        (self.cached_from - self.first) as usize
    }

    /// Bytes of the records of these slots.
    fn bytes_of(&self, slots: Range<usize>) -> usize {
        self.slots.range(slots).map(|slot| slot.bytes as usize).sum()
    }

    /// The number of a new write, for [`Place::Queued`].
    pub(crate) fn begin_write(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    /// Adds an entry behind the last one. An empty log takes any entry that continues what was purged.
    pub(crate) fn push(&mut self, entry: LogEntry, bytes: u32, place: Place) -> Result<(), IndexError> {
        self.make_room_for(entry.log_id.index)?;
        self.cached_bytes += bytes as usize;
        self.slots
            .push_back(Slot::new(term_of(&entry.log_id), bytes, place));
        self.payloads.push_back(entry.payload);
        Ok(())
    }

    /// As [`push`](Self::push), while the journal is replayed: the payload stays in the journal.
    pub(crate) fn push_replayed(
        &mut self,
        entry: &EntryRecord<'_>,
        position: Position,
    ) -> Result<(), IndexError> {
        self.make_room_for(entry.index)?;
        let place = Place::At(position);
        self.slots
            .push_back(Slot::new(entry.term, entry.record_bytes(), place));
        debug_assert!(
            self.payloads.is_empty(),
            "the journal is replayed before anything is pushed"
        );
        self.cached_from = self.next();
        Ok(())
    }

    /// Begins at this entry, while the journal is replayed: the state holds those before it, and the record that says that
    /// they were purged comes later (an older one may have been written again in between).
    pub(crate) fn begin_at(&mut self, index: u64) {
        if self.slots.is_empty() && self.purged.is_some_and(|purged| purged.index + 1 < index) {
            self.purged = None;
            self.first = index;
            self.cached_from = index;
        }
    }

    fn make_room_for(&mut self, index: u64) -> Result<(), IndexError> {
        if self.slots.is_empty() && self.purged.is_none_or(|purged| purged.index < index) {
            if let Some(purged) = self.purged.filter(|purged| purged.index + 1 < index) {
                return Err(IndexError::Hole {
                    index,
                    last: purged.index,
                });
            }
            self.first = index;
            self.cached_from = index;
        }
        let next = self.next();
        match index {
            _ if index == next => Ok(()),
            _ if index > next => Err(IndexError::Hole {
                index,
                last: next.wrapping_sub(1),
            }),
            _ => Err(IndexError::Overwrite {
                index,
                last: next.wrapping_sub(1),
            }),
        }
    }

    /// Takes back the entries from this index on.
    pub(crate) fn truncate(&mut self, from: u64) {
        let keep = from.saturating_sub(self.first).min(self.slots.len() as u64) as usize;
        let cached = from
            .saturating_sub(self.cached_from)
            .min(self.payloads.len() as u64) as usize;
        self.cached_bytes -= self.bytes_of(keep.max(self.uncached())..self.slots.len());
        self.slots.truncate(keep);
        self.payloads.truncate(cached);
        self.cached_from = self.cached_from.min(self.next());
    }

    /// Forgets the entries up to this one; a snapshot holds them. The log may lack some of them, or all.
    pub(crate) fn purge(&mut self, upto: LogId, place: Place) {
        if self.purged.is_some_and(|purged| purged.index > upto.index) {
            return;
        }
        self.purged = Some(upto);
        self.purged_at = place;
        let gone = (upto.index + 1)
            .saturating_sub(self.first)
            .min(self.slots.len() as u64) as usize;
        let uncached = self.uncached();
        if uncached < gone {
            self.cached_bytes -= self.bytes_of(uncached..gone);
            self.payloads.drain(..gone - uncached);
        }
        self.slots.drain(..gone);
        if self.slots.is_empty() {
            (self.first, self.cached_from) = (upto.index + 1, upto.index + 1);
        } else {
            self.first += gone as u64;
            self.cached_from = self.cached_from.max(self.first);
        }
    }

    /// Notes where a write of entries ended up. Entries that were taken back meanwhile are passed over.
    pub(crate) fn settle_entries(&mut self, write: u64, first: u64, positions: &[Position]) {
        for (index, position) in (first..).zip(positions) {
            let Some(offset) = index.checked_sub(self.first) else {
                continue;
            };
            if let Some(slot) = self.slots.get_mut(offset as usize) {
                let mut place = slot.place();
                place.settle(write, *position);
                slot.put_at(place);
            }
        }
    }

    pub(crate) fn settle_vote(&mut self, write: u64, position: Position) {
        self.vote_at.settle(write, position);
    }

    pub(crate) fn settle_purge(&mut self, write: u64, position: Position) {
        self.purged_at.settle(write, position);
    }

    pub(crate) fn settle_dropped(&mut self, write: u64, position: Position) {
        self.dropped_at.settle(write, position);
    }

    /// Marks what was dropped as written once more.
    pub(crate) fn requeue_dropped(&mut self, write: u64) {
        self.dropped_at = Place::Queued(write);
    }

    /// Marks the newest vote as written once more.
    pub(crate) fn requeue_vote(&mut self, write: u64) {
        self.vote_at = Place::Queued(write);
    }

    /// Marks the newest purge as written once more.
    pub(crate) fn requeue_purge(&mut self, write: u64) {
        self.purged_at = Place::Queued(write);
    }

    /// Lets go of the oldest cached entries while there are too many, as far as they are durable and `may_go`.
    pub(crate) fn evict(&mut self, may_go: impl Fn(u64) -> bool) {
        while self.cached_bytes > self.cache_bytes_max
            && self.cached_from < self.next()
            && may_go(self.cached_from)
        {
            let Some(slot) = self.slots.get(self.uncached()) else {
                return;
            };
            if slot.place().durable().is_none() {
                return;
            }
            if self.payloads.pop_front().is_some() {
                self.cached_bytes -= slot.bytes as usize;
            }
            self.cached_from += 1;
        }
    }

    /// Where the oldest entry is. `None` without entries; an entry that is not durable yet is behind everything that is.
    pub(crate) fn oldest_entry(&self) -> Option<Place> {
        self.slots.front().map(Slot::place)
    }

    /// Bytes of the records of the entries from this index on.
    pub(crate) fn bytes_from(&self, index: u64) -> u64 {
        let skip = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.slots
            .iter()
            .skip(skip)
            .map(|slot| u64::from(slot.bytes))
            .sum()
    }

    /// The part of the range that the log holds.
    pub(crate) fn clip(&self, range: Range<u64>) -> Range<u64> {
        let start = range.start.max(self.first);
        start..range.end.min(self.next()).max(start)
    }

    /// The first part of the range whose records weigh no more than this, and one entry at least.
    pub(crate) fn clip_bytes(&self, range: Range<u64>, bytes_max: usize) -> Range<u64> {
        let range = self.clip(range);
        let mut bytes = 0;
        let mut end = range.start;
        while end < range.end {
            bytes += self.slot(end).map_or(0, |slot| slot.bytes as usize);
            if bytes > bytes_max && end > range.start {
                break;
            }
            end += 1;
        }
        range.start..end
    }

    /// The entries of the range in order, each from memory or with its place in the journal.
    pub(crate) fn look_up(&self, range: Range<u64>) -> Vec<Result<LogEntry, OnDisk>> {
        let range = self.clip(range);
        let mut found = Vec::with_capacity((range.end - range.start) as usize);
        for index in range {
            let Some(slot) = self.slot(index) else { continue };
            let (term, id) = (slot.term, log_id(slot.term, index));
            match (self.payload(index), slot.place()) {
                (Some(payload), _) => found.push(Ok(LogEntry {
                    log_id: id,
                    payload: payload.clone(),
                })),
                (None, Place::At(position)) => found.push(Err(OnDisk {
                    index,
                    term,
                    position,
                })),
                // Only durable entries leave the cache.
                (None, Place::Nowhere | Place::Queued(_)) => continue,
            }
        }
        found
    }

    /// The last entry of each leader in the range.
    pub(crate) fn leader_ends(&self, range: Range<u64>) -> Vec<LogId> {
        let mut ends: Vec<LogId> = Vec::new();
        for id in self.clip(range).filter_map(|index| self.id_at(index)) {
            match ends.last_mut().filter(|last| term_of(last) == term_of(&id)) {
                Some(last) => *last = id,
                None => ends.push(id),
            }
        }
        ends
    }

    #[cfg(test)]
    pub(crate) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank(term: u64, index: u64) -> LogEntry {
        LogEntry {
            log_id: log_id(term, index),
            payload: EntryPayload::Blank,
        }
    }

    fn at(seq: u64) -> Place {
        Place::At(Position::new(seq, 0))
    }

    fn index_of(terms: &[u64], cache_bytes_max: usize) -> LogIndex {
        let mut log = LogIndex::new(cache_bytes_max);
        for (index, term) in (0..).zip(terms) {
            log.push(blank(*term, index), 10, at(index + 1)).unwrap();
        }
        log
    }

    #[test]
    fn entries_follow_one_another_without_holes() {
        let mut log = index_of(&[1, 1], 1000);
        assert_eq!(
            log.push(blank(1, 3), 10, at(9)),
            Err(IndexError::Hole { index: 3, last: 1 })
        );
        assert_eq!(
            log.push(blank(1, 1), 10, at(9)),
            Err(IndexError::Overwrite { index: 1, last: 1 })
        );
        log.purge(log_id(1, 1), at(10));
        assert_eq!(
            log.push(blank(1, 3), 10, at(9)),
            Err(IndexError::Hole { index: 3, last: 1 })
        );
        assert_eq!(
            log.push(blank(1, 1), 10, at(9)),
            Err(IndexError::Overwrite { index: 1, last: 1 })
        );
        log.push(blank(2, 2), 10, at(11)).unwrap();
        assert_eq!(
            (log.last(), log.purged()),
            (Some(log_id(2, 2)), Some(log_id(1, 1)))
        );
    }

    #[test]
    fn a_purge_beyond_the_last_entry_leaves_an_empty_log_that_goes_on_behind_it() {
        let mut log = index_of(&[1, 1], 1000);
        log.purge(log_id(3, 20), at(3));
        assert_eq!(
            (log.last(), log.next(), log.cached_bytes()),
            (Some(log_id(3, 20)), 21, 0)
        );
        log.push(blank(3, 21), 10, at(4)).unwrap();
        assert_eq!(log.last(), Some(log_id(3, 21)));
    }

    #[test]
    fn only_durable_entries_that_may_go_leave_the_cache_oldest_first() {
        let mut log = index_of(&[1, 1, 1], 25);
        let write = log.begin_write();
        log.push(blank(1, 3), 10, Place::Queued(write)).unwrap();
        log.evict(|index| index < 1);
        assert_eq!(log.cached_bytes(), 30);
        log.evict(|_| true);
        assert_eq!(log.cached_bytes(), 20);
        let found = log.look_up(0..9);
        assert_eq!(
            found[0],
            Err(OnDisk {
                index: 0,
                term: 1,
                position: Position::new(1, 0)
            })
        );
        assert_eq!(found[2], Ok(blank(1, 2)));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn what_is_cut_at_either_end_is_cut_of_the_cache_as_well() {
        let cached = |log: &LogIndex| -> Vec<Option<u64>> {
            let found = log.look_up(0..99);
            let index =
                |found: &Result<LogEntry, OnDisk>| found.as_ref().ok().map(|entry| entry.log_id.index);
            found.iter().map(index).collect()
        };
        for (first_behind, last, left) in [
            (0, 5, vec![None, None, Some(2), Some(3), Some(4)]),
            (1, 5, vec![None, Some(2), Some(3), Some(4)]),
            (2, 4, vec![Some(2), Some(3)]),
            (4, 5, vec![Some(4)]),
            (0, 3, vec![None, None, Some(2)]),
            (0, 1, vec![None]),
            (3, 3, vec![]),
            (0, 0, vec![]),
        ] {
            let mut log = index_of(&[1; 5], 30);
            log.evict(|_| true);
            log.truncate(last);
            if first_behind > 0 {
                log.purge(log_id(1, first_behind - 1), at(20));
            }
            assert_eq!(cached(&log), left);
            assert_eq!(log.cached_bytes(), 10 * left.iter().flatten().count());
            // It goes on behind what is left.
            let next = log.next();
            log.push(blank(2, next), 7, at(30)).unwrap();
            assert_eq!(cached(&log).last(), Some(&Some(next)));
            assert_eq!(log.cached_bytes(), 7 + 10 * left.iter().flatten().count());
            log.purge(log_id(2, next), at(31));
            assert_eq!((log.cached_bytes(), cached(&log)), (0, vec![]));
        }
    }

    #[test]
    fn a_position_is_noted_only_for_the_write_that_it_belongs_to() {
        let mut log = LogIndex::new(0);
        let first = log.begin_write();
        log.push(blank(1, 0), 10, Place::Queued(first)).unwrap();
        log.truncate(0);
        let second = log.begin_write();
        log.push(blank(2, 0), 10, Place::Queued(second)).unwrap();
        log.settle_entries(first, 0, &[Position::new(1, 0)]);
        assert_eq!(log.oldest_entry(), Some(Place::Queued(second)));
        log.settle_entries(second, 0, &[Position::new(2, 0)]);
        assert_eq!(log.oldest_entry(), Some(at(2)));
    }

    #[test]
    fn a_log_that_was_dropped_leaves_its_vote_and_the_length_that_it_had() {
        let mut log = index_of(&[1, 2, 2], 1000);
        log.set_vote(Vote::new(7, 3), at(4));
        log.purge(log_id(1, 0), at(5));
        let writes = log.begin_write();
        log.drop_all(log_id(2, 2), at(6));
        assert_eq!((log.last(), log.purged(), log.next()), (None, None, 0));
        assert_eq!(
            (log.vote(), log.floor()),
            (Some(Vote::new(7, 3)), Some(log_id(2, 2)))
        );
        assert_eq!((log.cached_bytes(), log.oldest_entry()), (0, None));
        assert!(log.begin_write() > writes);
        log.set_dropped(log_id(2, 2), at(7));
        // It counts until the new log is as long, and comes back with what is taken back.
        for (index, term, floor) in [(0, 1, true), (1, 2, true), (2, 2, false)] {
            log.push(blank(term, index), 10, at(8 + index)).unwrap();
            assert_eq!(log.floor().is_some(), floor, "entry {index}");
        }
        log.truncate(1);
        assert_eq!(log.floor(), Some(log_id(2, 2)));
        // A shorter one that is dropped later asks for no less.
        log.drop_all(log_id(1, 0), at(20));
        assert_eq!(log.floor(), Some(log_id(2, 2)));
        log.purge(log_id(3, 9), at(21));
        assert_eq!(log.floor(), None);
    }

    #[test]
    fn leader_ends_are_each_leaders_last_entry() {
        let log = index_of(&[2, 2, 5, 5, 5], 1000);
        let ids = |range| {
            log.leader_ends(range)
                .iter()
                .map(|id| (term_of(id), id.index))
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(0..5), [(2, 1), (5, 4)]);
        assert_eq!(ids(1..3), [(2, 1), (5, 2)]);
        assert_eq!(ids(4..5), [(5, 4)]);
        assert_eq!(ids(5..9), []);
    }

    #[test]
    fn a_batch_is_cut_by_bytes_and_has_one_entry_at_least() {
        let log = index_of(&[1, 1, 1, 1], 1000);
        assert_eq!(log.clip_bytes(0..9, 20), 0..2);
        assert_eq!(log.clip_bytes(1..9, 1), 1..2);
        assert_eq!(log.clip_bytes(4..9, 1), 4..4);
    }
}
