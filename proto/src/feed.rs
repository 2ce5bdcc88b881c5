//! Where changes of orders are: positions in a shard's log, which are the same on every replica and after every restart.

/// A change of an order: the entry of its shard's log that has it, and its number in there, from 0. Also of a change that is
/// not there yet: "from here on".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FeedPosition {
    /// The entry's index.
    pub index: u64,
    /// The change's number in the entry.
    pub ordinal: u32,
}

impl FeedPosition {
    /// The first of an entry.
    pub fn of_entry(index: u64) -> Self {
        Self { index, ordinal: 0 }
    }

    /// Behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        match self.ordinal.checked_add(1) {
            Some(ordinal) => Self { ordinal, ..self },
            None => Self::of_entry(self.index.saturating_add(1)),
        }
    }
}

/// Where a shard's changes are asked from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedFrom {
    /// From this one on.
    At(FeedPosition),
    /// Behind all that is committed.
    Now,
    /// From the oldest that is kept.
    Oldest,
}
