//! The changes of a shard's orders that are kept: the newest ones, in the order of the log.
//!
//! It is made by `apply`, so that what is in it is committed, and its positions are those of the log, so that they are the same on
//! every replica and after every restart, however much each of them keeps. A change has 40 bytes; its order is looked up
//! when it is read.
//!
//! ```text
//!   floor                                                    end
//!     ▼                                                       ▼
//!     │ chunk (full) │ chunk (full) │ … │ tail, being filled  │
//!     └─ forgotten whole, the oldest first
//! ```
//!
//! What is forgotten because of its age alone goes one by one: the floor moves over it, and its chunk goes when it lies behind.

use std::{collections::VecDeque, sync::Arc};

use docket_engine::{Change, ChangeKind, Event, Fact, OrderId, Time, Version};
use docket_proto::{
    feed::FeedPosition,
    snapshot::{FeedStart, KeptChange},
};

/// Changes are kept, and forgotten, so many at a time; fewer where only few are kept.
const CHUNK_MAX: usize = 1_024;
/// What is kept is forgotten in so many parts at least.
const CHUNKS_MIN: usize = 8;
/// Where a change's kind is in what it shares a number with.
const KIND_SHIFT: u32 = 24;
/// A change in an entry of the log beyond this number would not be told apart; no entry has so many bytes.
const ORDINAL_MAX: u32 = (1 << KIND_SHIFT) - 1;

/// A change as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    order: (u64, u64),
    index: u64,
    at: i64,
    version: u32,
    /// The kind's number above the change's number in its entry.
    kind_and_ordinal: u32,
}

const _: () = assert!(size_of::<Kept>() == 40, "a change is 40 bytes");

impl Kept {
    fn new(kept: &KeptChange) -> Self {
        let KeptChange {
            position,
            order,
            change,
        } = kept;
        let kind = u32::from(change.kind.number()) << KIND_SHIFT;
        Self {
            order: order.halves(),
            index: position.index,
            at: change.at.0,
            version: u32::try_from(change.version.0).unwrap_or(u32::MAX),
            kind_and_ordinal: kind | position.ordinal.min(ORDINAL_MAX),
        }
    }

    pub(super) fn position(&self) -> FeedPosition {
        FeedPosition {
            index: self.index,
            ordinal: self.kind_and_ordinal & ORDINAL_MAX,
        }
    }

    pub(super) fn order(&self) -> OrderId {
        OrderId::from_halves(self.order.0, self.order.1)
    }

    /// Whether it happened at this time or later.
    pub(super) fn is_since(&self, time: Time) -> bool {
        self.at >= time.0
    }

    pub(super) fn change(&self) -> Option<Change> {
        Some(Change {
            kind: ChangeKind::from_number((self.kind_and_ordinal >> KIND_SHIFT).into())?,
            version: Version(self.version.into()),
            at: Time(self.at),
        })
    }

    fn kept(&self) -> Option<KeptChange> {
        Some(KeptChange {
            position: self.position(),
            order: self.order(),
            change: self.change()?,
        })
    }
}

/// What was asked for is not kept any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooOld;

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    full: VecDeque<Arc<Vec<Kept>>>,
    tail: Vec<Kept>,
    /// In all of them.
    len: usize,
    retained_max: usize,
    /// All changes from here on are kept; `None` until that is known.
    floor: Option<FeedPosition>,
    /// Where the next change comes.
    next: FeedPosition,
}

impl Ring {
    /// Of a log that begins here.
    pub(super) fn new(retained_max: usize) -> Self {
        Self {
            full: VecDeque::new(),
            tail: Vec::new(),
            len: 0,
            retained_max: retained_max.max(1),
            floor: Some(FeedPosition::default()),
            next: FeedPosition::default(),
        }
    }

    /// What comes next is of this entry.
    pub(super) fn begin(&mut self, index: u64) {
        self.next = FeedPosition::of_entry(index);
        // A snapshot that knew nothing of changes has them from now on.
        self.floor.get_or_insert(self.next);
    }

    /// Keeps what these events changed of orders.
    pub(super) fn note(&mut self, events: &[Event], at: Time) {
        for event in events {
            let Fact::Order(order, fact) = &event.fact else {
                continue;
            };
            self.push(&KeptChange {
                position: self.next,
                order: *order,
                change: Change {
                    kind: ChangeKind::of(fact),
                    version: event.version,
                    at,
                },
            });
        }
    }

    /// Keeps a change, and forgets the oldest ones for it.
    pub(super) fn push(&mut self, change: &KeptChange) {
        let chunk = self.chunk();
        if self.tail.capacity() == 0 {
            self.tail.reserve_exact(chunk);
        }
        let kept = Kept::new(change);
        self.next = kept.position().next();
        self.tail.push(kept);
        self.len += 1;
        if self.tail.len() < chunk {
            return;
        }
        self.full.push_back(Arc::new(std::mem::take(&mut self.tail)));
        while self.len > self.retained_max
            && let Some(oldest) = self.full.pop_front()
        {
            self.len -= oldest.len();
            let behind = oldest.last().map(|last| last.position().next());
            self.floor = self.floor.max(behind);
        }
    }

    /// Forgets, oldest first, changes from before this time, up to the first that is not: times of two orders need not be in order.
    /// At most so many; true where there may be more.
    pub(super) fn forget_before(&mut self, time: Time, most: usize) -> bool {
        let is_old = |kept: &&Kept| kept.at < time.0;
        let chunks = self.full.iter().map(|chunk| &chunk[..]).chain([&self.tail[..]]);
        let oldest = chunks.flatten().skip_while(|kept| !self.has(kept.position()));
        let (count, last) = oldest
            .take(most)
            .take_while(is_old)
            .fold((0, None), |(count, _), kept| (count + 1, Some(kept.position())));
        let Some(last) = last else { return false };
        self.floor = Some(last.next());
        let is_behind = |chunk: &[Kept]| chunk.last().is_some_and(|newest| newest.position() <= last);
        let whole = self.full.iter().take_while(|chunk| is_behind(chunk)).count();
        let is_all = whole == self.full.len() && is_behind(&self.tail);
        self.len -= self.full.drain(..whole).map(|chunk| chunk.len()).sum::<usize>();
        if is_all {
            self.len -= self.tail.len();
            self.tail = Vec::new();
        }
        count == most
    }

    fn chunk(&self) -> usize {
        (self.retained_max / CHUNKS_MIN).clamp(1, CHUNK_MAX)
    }

    /// What comes next comes here, or behind it.
    pub(super) fn end(&self) -> FeedPosition {
        self.next
    }

    /// Whether what comes from here on is all kept.
    pub(super) fn has(&self, from: FeedPosition) -> bool {
        self.floor.is_some_and(|floor| from >= floor)
    }

    /// The oldest position that is kept.
    pub(super) fn floor(&self) -> Option<FeedPosition> {
        self.floor
    }

    /// Shows the changes from a position on, oldest first, until there are no more or `show` has had enough.
    ///
    /// # Errors
    /// They are not all kept any more.
    pub(super) fn read(&self, from: FeedPosition, mut show: impl FnMut(&Kept) -> bool) -> Result<(), TooOld> {
        if !self.has(from) {
            return Err(TooOld);
        }
        let is_before = |kept: &Kept| kept.position() < from;
        let first = self
            .full
            .partition_point(|chunk| chunk.last().is_none_or(is_before));
        let chunks = self
            .full
            .range(first..)
            .map(|chunk| &chunk[..])
            .chain([&self.tail[..]]);
        for chunk in chunks {
            let begin = chunk.partition_point(is_before);
            for kept in &chunk[begin..] {
                if !show(kept) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Forgets everything, and no longer knows what it keeps.
    pub(super) fn clear(&mut self) {
        self.full.clear();
        self.tail = Vec::new();
        self.len = 0;
        self.floor = None;
    }

    /// As of a log that begins here.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::new(self.retained_max);
    }

    /// All changes from here on will be put in.
    pub(super) fn restore(&mut self, floor: FeedPosition) {
        self.floor = Some(floor);
    }

    /// What is kept, unmoved by what comes: what is full is shared, and the rest is small.
    pub(super) fn capture(&self, next: u64) -> Captured {
        Captured {
            start: self.floor.map(|floor| FeedStart { next, floor }),
            full: self.full.iter().cloned().collect(),
            tail: self.tail.clone(),
        }
    }

    /// How many changes are kept.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// What a ring kept at one point of the log.
pub(crate) struct Captured {
    /// Where it begins; `None` where that is not known, and nothing is kept.
    pub(crate) start: Option<FeedStart>,
    full: Vec<Arc<Vec<Kept>>>,
    tail: Vec<Kept>,
}

impl Captured {
    /// The changes, oldest first, some at a time.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = impl Iterator<Item = KeptChange> + '_> + '_ {
        let floor = self.start.map_or(FeedPosition::default(), |start| start.floor);
        let chunks = self.full.iter().map(|chunk| &chunk[..]).chain([&self.tail[..]]);
        let chunks = chunks.map(move |chunk| {
            let begin = chunk.partition_point(|kept| kept.position() < floor);
            &chunk[begin..]
        });
        let chunks = chunks.filter(|chunk| !chunk.is_empty());
        chunks.map(|chunk| chunk.iter().filter_map(Kept::kept))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn change(order: u64, position: FeedPosition) -> KeptChange {
        KeptChange {
            position,
            order: OrderId::from_halves(order, 7),
            change: Change {
                kind: ChangeKind::ALL[order as usize % ChangeKind::ALL.len()],
                version: Version(order + 1),
                at: Time(order as i64),
            },
        }
    }

    /// A ring of a log whose entries have so many changes each, and all of these.
    fn of(entries: &[u32], retained_max: usize) -> (Ring, Vec<KeptChange>) {
        let (mut ring, mut all) = (Ring::new(retained_max), Vec::new());
        for (index, changes) in entries.iter().enumerate() {
            ring.begin(index as u64);
            for _ in 0..*changes {
                let change = change(all.len() as u64, ring.next);
                ring.push(&change);
                all.push(change);
            }
        }
        (ring, all)
    }

    /// What is read from there on, so many at a time, and where it ends.
    fn read(
        ring: &Ring,
        mut from: FeedPosition,
        batch: usize,
    ) -> Result<(Vec<KeptChange>, FeedPosition), TooOld> {
        let mut found = Vec::new();
        loop {
            let before = found.len();
            ring.read(from, |kept| {
                if found.len() - before == batch {
                    return false;
                }
                found.push(kept.kept().unwrap());
                from = kept.position().next();
                true
            })?;
            if found.len() == before {
                return Ok((found, from));
            }
        }
    }

    proptest! {
        /// However often somebody stops and goes on from where he was, and wherever the ring is replaced by what was captured
        /// of it, the changes are those of somebody who never stopped.
        #[test]
        fn any_interleaving_of_resume_points_is_the_uninterrupted_sequence(
            entries in vec(0u32..6, 0..60),
            stops in vec((0usize..60, 1usize..9, any::<bool>()), 0..12),
        ) {
            let mut stops = stops;
            stops.sort_unstable();
            let (mut ring, mut all) = (Ring::new(10_000), Vec::new());
            let (mut from, mut seen) = (FeedPosition::default(), Vec::new());
            for (index, changes) in entries.iter().enumerate() {
                ring.begin(index as u64);
                for _ in 0..*changes {
                    let change = change(all.len() as u64, ring.next);
                    ring.push(&change);
                    all.push(change);
                }
                for (_, batch, restored) in stops.iter().filter(|(at, ..)| *at == index) {
                    if *restored {
                        ring = restored_of(&ring, index as u64 + 1, 10_000);
                    }
                    let (found, next) = read(&ring, from, *batch).unwrap();
                    seen.extend(found);
                    from = next;
                }
            }
            seen.extend(read(&ring, from, 3).unwrap().0);
            prop_assert_eq!(seen, all);
        }

        /// What is kept is the end of it all, and whoever asks for more is told.
        #[test]
        fn the_newest_are_kept_and_what_is_older_is_told_to_be_gone(
            entries in vec(0u32..6, 1..200),
            retained_max in 1usize..100,
        ) {
            let (ring, all) = of(&entries, retained_max);
            let chunk = (retained_max / CHUNKS_MIN).clamp(1, CHUNK_MAX);
            prop_assert!(ring.len() <= retained_max.max(1) + chunk);
            prop_assert!(ring.len() >= all.len().min(retained_max.saturating_sub(chunk)));
            let kept = &all[all.len() - ring.len()..];
            let floor = ring.floor().unwrap();
            prop_assert_eq!(read(&ring, floor, 7).unwrap().0, kept);
            for (i, change) in all.iter().enumerate() {
                let found = read(&ring, change.position, 50);
                if change.position < floor {
                    prop_assert_eq!(found, Err(TooOld));
                } else {
                    prop_assert_eq!(&found.unwrap().0, &all[i..]);
                }
            }
        }
    }

    #[test]
    fn what_is_older_than_a_time_is_forgotten_one_by_one_and_nothing_else() {
        // Changes have the times 0, 1, 2 and so on, in chunks of five.
        let (mut ring, all) = of(&[3; 10], 40);
        assert!(!ring.forget_before(Time(0), 99));
        assert_eq!(read(&ring, FeedPosition::default(), 7).unwrap().0, all);
        for before in [1, 4, 5, 6, 17, 17, 3, 29] {
            while ring.forget_before(Time(before), 3) {}
            let first = usize::try_from(before.max(if before == 3 { 17 } else { 0 })).unwrap();
            let floor = ring.floor().unwrap();
            assert_eq!(read(&ring, floor, 7).unwrap().0, all[first..], "{before}");
            assert_eq!(read(&ring, all[first - 1].position, 7), Err(TooOld), "{before}");
            assert!((30 - first..30 - first + 5).contains(&ring.len()), "{before}");
            // Neither has a snapshot what was forgotten.
            let restored = restored_of(&ring, 10, 40);
            assert_eq!((restored.floor(), restored.len()), (Some(floor), 30 - first));
        }
        // Who has seen all of it goes on, also when all of it is forgotten.
        let (_, behind_all) = read(&ring, ring.floor().unwrap(), 7).unwrap();
        assert!(!ring.forget_before(Time(i64::MAX), 99));
        assert_eq!((ring.len(), ring.floor()), (0, Some(behind_all)));
        assert_eq!(read(&ring, behind_all, 7).unwrap().0, []);
        ring.begin(10);
        let newest = change(99, ring.next);
        ring.push(&newest);
        assert_eq!(read(&ring, behind_all, 7).unwrap().0, [newest]);
    }

    #[test]
    fn a_change_that_is_younger_keeps_those_behind_it() {
        let mut ring = Ring::new(40);
        ring.begin(1);
        for at in [1, 9, 2, 3] {
            ring.push(&KeptChange {
                change: Change {
                    at: Time(at),
                    ..change(1, ring.next).change
                },
                ..change(1, ring.next)
            });
        }
        ring.forget_before(Time(5), 99);
        let kept = read(&ring, ring.floor().unwrap(), 7).unwrap().0;
        let times: Vec<i64> = kept.iter().map(|kept| kept.change.at.0).collect();
        assert_eq!(times, [9, 2, 3]);
    }

    fn restored_of(ring: &Ring, next: u64, retained_max: usize) -> Ring {
        let captured = ring.capture(next);
        let mut restored = Ring::new(retained_max);
        restored.clear();
        restored.restore(captured.start.unwrap().floor);
        captured
            .chunks()
            .flatten()
            .for_each(|change| restored.push(&change));
        restored
    }

    #[test]
    fn a_replica_that_keeps_less_is_restored_with_the_newest() {
        let (ring, all) = of(&[3; 100], 200);
        let restored = restored_of(&ring, 100, 40);
        let floor = restored.floor().unwrap();
        let found = read(&restored, floor, 100).unwrap().0;
        assert!((35..=45).contains(&found.len()), "{}", found.len());
        assert_eq!(found, all[300 - found.len()..]);
        assert_eq!(read(&restored, all[200].position, 9), Err(TooOld));
    }

    #[test]
    fn a_state_that_knew_no_changes_has_them_from_its_next_entry_on() {
        let mut ring = Ring::new(100);
        ring.clear();
        assert!(!ring.has(FeedPosition::of_entry(90)) && ring.capture(0).start.is_none());
        ring.begin(90);
        ring.push(&change(1, ring.next));
        assert!(ring.has(FeedPosition::of_entry(90)) && !ring.has(FeedPosition::of_entry(89)));
    }
}
