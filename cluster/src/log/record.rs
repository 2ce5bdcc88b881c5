//! What a group writes into the node's journal.
//!
//! One journal carries the records of all groups, in the order in which they were made. All numbers are little-endian.
//!
//! ```text
//!  0         1       2            6
//! ┌─────────┬───────┬────────────┬──────────────────────────────────────────────────────────────┐
//! │ version │ kind  │ group      │ body                                                         │
//! │ u8 = 1  │ u8    │ u32        │                                                              │
//! └─────────┴───────┴────────────┴──────────────────────────────────────────────────────────────┘
//!  kind 1, vote        term u64 │ node u64 │ committed u8
//!  kind 2, entry       term u64 │ index u64 │ committed_next u64 │ payload kind u8 │ payload …
//!                      payload kind 0: blank, no bytes; 1: normal, the proposed bytes; 2: membership, JSON
//!  kind 3, truncation  from u64        entries of this index and after are void
//!  kind 4, purge       term u64 │ index u64        entries up to this one are in a snapshot
//!  kind 5, drop        term u64 │ index u64        the replica was moved away: its entries, which ended with this one, its purges
//!                                                  and its snapshots are void
//!  kind 6, dropped     term u64 │ index u64        the snapshots are gone, too
//! ```
//!
//! `committed_next` is how far the group knew its log to be committed when it wrote the entry: the index after the last committed one.
//! It costs eight bytes and saves a record, and a sync, of its own; recovery applies that far while it reads.
//!
//! The newest vote and the newest purge of a group count, wherever they stand; both are written again before the journal is cut behind
//! them. So does what says that a replica was dropped, for ever: its vote counts on, and must not be given to who has less than the log
//! that it voted with (`floor` in `index.rs`). While the snapshots of a drop are not gone, snapshots are older than it; afterwards, younger.

use bytes::{BufMut, Bytes, BytesMut};

use crate::GroupId;
use crate::raft::{EntryPayload, LogEntry, LogId, Payload, Vote, log_id, term_of};

pub(crate) const VERSION: u8 = 1;
const HEAD_BYTES: usize = 6;
const ENTRY_HEAD_BYTES: usize = HEAD_BYTES + 25;

const VOTE: u8 = 1;
const ENTRY: u8 = 2;
const TRUNCATION: u8 = 3;
const PURGE: u8 = 4;
const DROP: u8 = 5;
const DROPPED: u8 = 6;

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// A record, read back.
#[derive(Debug, PartialEq)]
pub(crate) enum Record<'a> {
    Vote(Vote),
    Entry(EntryRecord<'a>),
    /// Entries from this index on are void.
    Truncation(u64),
    Purge(LogId),
    /// All of the replica here is void; its log ended with this entry.
    Drop(LogId),
    /// Its snapshots are gone, too.
    Dropped(LogId),
}

/// An entry whose payload is still in the journal's bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EntryRecord<'a> {
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) committed_next: u64,
    kind: u8,
    payload: &'a [u8],
}

/// Why bytes of the journal are not a record of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(
        "a record of version {0}, which this program does not know; use the program that wrote it, or a newer one"
    )]
    Version(u8),
    #[error("a record of the unknown kind {0}")]
    Kind(u8),
    #[error("a record of {0} bytes, too short for its kind")]
    Short(usize),
    #[error("an entry of the unknown payload kind {0}")]
    PayloadKind(u8),
    #[error("a membership that cannot be read: {0}")]
    Membership(String),
}

pub(crate) fn vote(group: GroupId, vote: &Vote) -> Bytes {
    let mut record = head(group, VOTE, 17);
    record.put_u64_le(vote.leader_id.term);
    record.put_u64_le(vote.leader_id.voted_for);
    record.put_u8(u8::from(vote.committed));
    record.freeze()
}

pub(crate) fn truncation(group: GroupId, from: u64) -> Bytes {
    let mut record = head(group, TRUNCATION, 8);
    record.put_u64_le(from);
    record.freeze()
}

pub(crate) fn purge(group: GroupId, upto: &LogId) -> Bytes {
    about(group, PURGE, upto)
}

/// `floor` is the last entry of the log that is dropped.
pub(crate) fn drop(group: GroupId, floor: &LogId) -> Bytes {
    about(group, DROP, floor)
}

/// `floor` is the last entry of the log that was dropped.
pub(crate) fn dropped(group: GroupId, floor: &LogId) -> Bytes {
    about(group, DROPPED, floor)
}

fn about(group: GroupId, kind: u8, id: &LogId) -> Bytes {
    let mut record = head(group, kind, 16);
    record.put_u64_le(term_of(id));
    record.put_u64_le(id.index);
    record.freeze()
}

pub(crate) fn entry(group: GroupId, entry: &LogEntry, committed_next: u64) -> Result<Bytes, RecordError> {
    let membership;
    let (kind, payload): (u8, &[u8]) = match &entry.payload {
        EntryPayload::Blank => (BLANK, &[]),
        EntryPayload::Normal(payload) => (NORMAL, &payload.0),
        EntryPayload::Membership(members) => {
            membership =
                serde_json::to_vec(members).map_err(|error| RecordError::Membership(error.to_string()))?;
            (MEMBERSHIP, &membership)
        }
    };
    let mut record = head(group, ENTRY, ENTRY_HEAD_BYTES - HEAD_BYTES + payload.len());
    record.put_u64_le(term_of(&entry.log_id));
    record.put_u64_le(entry.log_id.index);
    record.put_u64_le(committed_next);
    record.put_u8(kind);
    record.put_slice(payload);
    Ok(record.freeze())
}

fn head(group: GroupId, kind: u8, body_bytes: usize) -> BytesMut {
    let mut record = BytesMut::with_capacity(HEAD_BYTES + body_bytes);
    record.put_u8(VERSION);
    record.put_u8(kind);
    record.put_u32_le(group.0);
    record
}

/// Reads a record and tells whose it is.
pub(crate) fn decode(record: &[u8]) -> Result<(GroupId, Record<'_>), RecordError> {
    let mut fields = Fields {
        whole: record.len(),
        rest: record,
    };
    let version = fields.u8()?;
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    let kind = fields.u8()?;
    let group = GroupId(fields.u32()?);
    let record = match kind {
        VOTE => {
            let (term, node, committed) = (fields.u64()?, fields.u64()?, fields.u8()? != 0);
            Record::Vote(if committed {
                Vote::new_committed(term, node)
            } else {
                Vote::new(term, node)
            })
        }
        ENTRY => Record::Entry(EntryRecord {
            term: fields.u64()?,
            index: fields.u64()?,
            committed_next: fields.u64()?,
            kind: fields.u8()?,
            payload: fields.rest,
        }),
        TRUNCATION => Record::Truncation(fields.u64()?),
        PURGE => Record::Purge(fields.log_id()?),
        DROP => Record::Drop(fields.log_id()?),
        DROPPED => Record::Dropped(fields.log_id()?),
        unknown => return Err(RecordError::Kind(unknown)),
    };
    Ok((group, record))
}

impl EntryRecord<'_> {
    /// Bytes of the whole record.
    pub(crate) fn record_bytes(&self) -> u32 {
        (ENTRY_HEAD_BYTES + self.payload.len()) as u32
    }

    /// The entry, with a payload of its own: the journal's bytes are not kept alive by it.
    pub(crate) fn to_entry(self) -> Result<LogEntry, RecordError> {
        let payload = match self.kind {
            BLANK => EntryPayload::Blank,
            NORMAL => EntryPayload::Normal(Payload(Bytes::copy_from_slice(self.payload), None)),
            MEMBERSHIP => {
                let members = serde_json::from_slice(self.payload);
                EntryPayload::Membership(members.map_err(|error| RecordError::Membership(error.to_string()))?)
            }
            unknown => return Err(RecordError::PayloadKind(unknown)),
        };
        Ok(LogEntry {
            log_id: log_id(self.term, self.index),
            payload,
        })
    }
}

/// Takes numbers off the front of a record.
struct Fields<'a> {
    whole: usize,
    rest: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (field, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(RecordError::Short(self.whole))?;
        self.rest = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        self.take().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, RecordError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        self.take().map(u64::from_le_bytes)
    }

    fn log_id(&mut self) -> Result<LogId, RecordError> {
        let term = self.u64()?;
        Ok(log_id(term, self.u64()?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::raft::Membership;

    const GROUP: GroupId = GroupId(7);

    fn normal(term: u64, index: u64, payload: &'static [u8]) -> LogEntry {
        LogEntry {
            log_id: log_id(term, index),
            payload: EntryPayload::Normal(Payload(Bytes::from_static(payload), None)),
        }
    }

    /// Journals of version 1 hold these bytes and must open for ever.
    #[test]
    fn the_bytes_of_version_1_never_change() {
        let hex = |bytes: Bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(vote(GROUP, &Vote::new_committed(3, 9))),
            "01010700000003000000000000000900000000000000\
             01"
        );
        assert_eq!(
            hex(entry(GROUP, &normal(3, 5, b"hi"), 4).unwrap()),
            "010207000000030000000000000005000000000000000400000000000000\
             016869"
        );
        assert_eq!(hex(truncation(GROUP, 5)), "0103070000000500000000000000");
        assert_eq!(
            hex(purge(GROUP, &log_id(2, 4))),
            "01040700000002000000000000000400000000000000"
        );
        assert_eq!(
            hex(drop(GROUP, &log_id(2, 4))),
            "01050700000002000000000000000400000000000000"
        );
        assert_eq!(
            hex(dropped(GROUP, &log_id(2, 4))),
            "01060700000002000000000000000400000000000000"
        );
    }

    #[test]
    fn records_read_back_as_written() {
        let membership = Membership::new_with_defaults(vec![BTreeSet::from([1, 2])], [3]);
        let entries = [
            normal(3, 5, b"payload"),
            normal(1, 0, b""),
            LogEntry {
                log_id: log_id(2, 9),
                payload: EntryPayload::Blank,
            },
            LogEntry {
                log_id: log_id(2, 9),
                payload: EntryPayload::Membership(membership),
            },
        ];
        for original in entries {
            let record = entry(GROUP, &original, 4).unwrap();
            let (group, Record::Entry(read)) = decode(&record).unwrap() else {
                panic!("not an entry")
            };
            assert_eq!(
                (group, read.committed_next, read.record_bytes() as usize),
                (GROUP, 4, record.len())
            );
            assert_eq!(read.to_entry().unwrap(), original);
        }
        for original in [Vote::new(1, 2), Vote::new_committed(u64::MAX, 0)] {
            assert_eq!(
                decode(&vote(GROUP, &original)).unwrap(),
                (GROUP, Record::Vote(original))
            );
        }
        assert_eq!(
            decode(&truncation(GROUP, 0)).unwrap(),
            (GROUP, Record::Truncation(0))
        );
        assert_eq!(
            decode(&purge(GROUP, &log_id(2, 4))).unwrap(),
            (GROUP, Record::Purge(log_id(2, 4)))
        );
        assert_eq!(
            decode(&drop(GROUP, &log_id(2, 4))).unwrap(),
            (GROUP, Record::Drop(log_id(2, 4)))
        );
        assert_eq!(
            decode(&dropped(GROUP, &log_id(2, 4))).unwrap(),
            (GROUP, Record::Dropped(log_id(2, 4)))
        );
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        let good = vote(GROUP, &Vote::new(1, 2));
        for length in 0..good.len() {
            assert_eq!(decode(&good[..length]), Err(RecordError::Short(length)));
        }
        assert_eq!(decode(&[2, 1, 0, 0, 0, 0]), Err(RecordError::Version(2)));
        assert_eq!(decode(&[1, 9, 0, 0, 0, 0]), Err(RecordError::Kind(9)));
        let mut bad = entry(GROUP, &normal(1, 1, b"x"), 0).unwrap().to_vec();
        bad[ENTRY_HEAD_BYTES - 1] = 9;
        let (_, Record::Entry(read)) = decode(&bad).unwrap() else {
            panic!("not an entry")
        };
        assert_eq!(read.to_entry(), Err(RecordError::PayloadKind(9)));
    }
}
