//! What the primary sends of its logs, cut so that it fits together, on its way into the spool.

use std::{fmt, io, path::Path};

use bytes::Bytes;
use docket_actors::{
    GroupId,
    backup::{LoggedEntry, stamped},
    standby::orders_in,
};
use docket_proto::v1::{FollowEntries, FollowPoint};

use super::spool::{Start, Writing};

/// Why what was sent is not taken.
#[derive(Debug)]
pub struct Untaken(String);

impl fmt::Display for Untaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Untaken {
    fn from(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl From<io::Error> for Untaken {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// What one look brings: of each log its longest beginning in which nothing was stamped after the point's time.
pub struct Cut {
    /// The point's time, in microseconds since 1970.
    pub until_us: i64,
    writing: Writing,
    /// The next entry that is expected of each group.
    at: Vec<u64>,
    /// Groups of which something was stamped later.
    is_cut: Vec<bool>,
    /// Entries that are spooled.
    pub entries: u64,
    /// Orders that begin in them.
    pub orders: u64,
    /// The same of what is left for the next look: orders, entries.
    pub late: (u64, u64),
}

impl Cut {
    /// Begins to spool in this folder what the logs have from there on. Blocks.
    ///
    /// # Errors
    /// The point is none of this cluster; or the disk's.
    pub fn begin(dir: &Path, point: &FollowPoint, from: Vec<Start>) -> Result<Self, Untaken> {
        let time = point.time.as_ref().ok_or("the primary's point has no time")?;
        if point.next_index.len() != from.len() {
            return Err("the primary has another number of shards".into());
        }
        let until_us = time
            .seconds
            .checked_mul(1_000_000)
            .and_then(|us| us.checked_add(i64::from(time.nanos) / 1_000))
            .ok_or("the primary's point has a time that there is not")?;
        Ok(Self {
            until_us,
            writing: Writing::begin(dir, until_us, &from)?,
            at: from.iter().map(|from| from.next).collect(),
            is_cut: vec![false; from.len()],
            entries: 0,
            orders: 0,
            late: (0, 0),
        })
    }

    /// Takes the next entries. Blocks.
    ///
    /// # Errors
    /// They are not those that are due, or cannot be read; or the disk's.
    pub fn take(&mut self, piece: FollowEntries) -> Result<(), Untaken> {
        let group = GroupId(piece.group);
        let (Some(at), Some(is_cut)) = (
            self.at.get_mut(piece.group as usize),
            self.is_cut.get_mut(piece.group as usize),
        ) else {
            return Err("the primary sent entries of a group that there is not".into());
        };
        let whole = Bytes::from(piece.data);
        let (mut rest, mut kept) = (whole.clone(), 0);
        while let Some(entry) = LoggedEntry::take(&mut rest).map_err(io::Error::other)? {
            if entry.index != *at {
                let index = entry.index;
                return Err(Untaken(format!(
                    "{group}: entry {index} came where {at} was expected"
                )));
            }
            *at = at.checked_add(1).ok_or("the primary's log ends")?;
            // The accounts' log is cut where the point has it; the others at its time.
            let time = stamped(group, &entry)?.filter(|_| group != GroupId::META);
            *is_cut |= time.is_some_and(|time| time.0 > self.until_us);
            let orders = orders_in(group, &entry)?;
            if *is_cut {
                self.late = (self.late.0 + orders, self.late.1 + 1);
            } else {
                kept = whole.len() - rest.len();
                self.entries += 1;
                self.orders += orders;
            }
        }
        if kept > 0 {
            self.writing.put(piece.group, &whole[..kept])?;
        }
        Ok(())
    }

    /// Whether there is anything to append. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(self) -> io::Result<bool> {
        if self.entries == 0 {
            return Ok(false);
        }
        self.writing.finish().map(|()| true)
    }
}
