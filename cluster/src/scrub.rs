//! What a node has stored, read once more while it is used: the journal, then every snapshot; and whose log a stretch of the journal holds.

use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;

use docket_persistence::JournalError;
use docket_persistence::scrub::Scrub;

use crate::{GroupId, Node};

/// Entries of a group's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntriesOf {
    /// Whose.
    pub group: GroupId,
    /// The first.
    pub first: u64,
    /// The last, which may be the same.
    pub last: u64,
}

impl std::fmt::Display for EntriesOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { group, first, last } = self;
        match first == last {
            true => write!(f, "{group} entry {first}"),
            false => write!(f, "{group} entries {first} to {last}"),
        }
    }
}

impl Node {
    /// Reads the journal and the snapshots once more, as far as they are durable now. Blocks for as long as `scrub` lets it take.
    ///
    /// # Errors
    /// The node stops. What is damaged or cannot be read is no error: `scrub` is told.
    pub fn scrub(&self, scrub: &mut dyn Scrub) -> Result<ControlFlow<()>, JournalError> {
        let (journal, snapshots, _) = self.storage();
        if journal.journal.scrub(scrub)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        match snapshots.stored() {
            Some(snapshots) => Ok(snapshots.scrub(scrub)),
            None => Err(JournalError::Closed),
        }
    }

    /// The folder that keeps everything.
    pub fn data_dir(&self) -> &Path {
        self.storage().2
    }

    /// What these frames of the journal hold that a group's log needs still: whoever has lost them has lost that.
    pub fn entries_in(&self, frames: RangeInclusive<u64>) -> Vec<EntriesOf> {
        let of_group = |group: &crate::Group| {
            let (first, last) = group.entries_in(frames.clone())?;
            Some(EntriesOf {
                group: group.id(),
                first,
                last,
            })
        };
        self.groups().iter().filter_map(of_group).collect()
    }
}
