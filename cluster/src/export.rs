//! What a node hands out of a group for a backup: a snapshot that it has stored, and the entries of the log behind that. Nothing is kept for
//! whoever asks: what is purged between two questions is told by name.

use std::io;

use bytes::{BufMut, Bytes};

use crate::raft::{EntryPayload, LogEntry, Payload, term_of};
use crate::registry::is_record;
use crate::snapshots::StoredSnapshot;
use crate::{Group, GroupId};

/// An entry of a group's log, as it goes into a backup.
///
/// ```text
///  0           8          16       17            21
/// ┌───────────┬──────────┬────────┬─────────────┬───────────┐
/// │ index u64 │ term u64 │ kind   │ length u32  │ payload … │   numbers little-endian
/// └───────────┴──────────┴────────┴─────────────┴───────────┘
///  kind 0: nothing was proposed (a leader's first entry, members); 1: what was proposed
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEntry {
    /// Its place in the log.
    pub index: u64,
    /// Of the leader that wrote it.
    pub term: u64,
    /// What was proposed; `None` where the entry is Raft's own. Who the members were is no matter of a backup.
    pub payload: Option<Bytes>,
}

/// Bytes in front of the payload.
const HEAD_BYTES: usize = 21;
const BLANK: u8 = 0;
const NORMAL: u8 = 1;

/// What a group's log has not got for a backup.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The oldest entries are gone; a newer snapshot holds them.
    #[error("{group}: its log begins behind entry {from} here: a snapshot holds what comes before")]
    Purged {
        /// Which group.
        group: GroupId,
        /// The first entry that was asked for.
        from: u64,
    },
    /// The disk's, or the snapshot was replaced meanwhile.
    #[error("{group}: {source}")]
    Io {
        /// Which group.
        group: GroupId,
        /// What went wrong.
        source: io::Error,
    },
}

/// Bytes that are no entries of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entries of a log end in the middle of one, or have an unknown kind")]
pub struct NoEntry;

impl LoggedEntry {
    fn of(entry: LogEntry) -> Self {
        let (index, term) = (entry.log_id.index, term_of(&entry.log_id));
        let payload = match entry.payload {
            EntryPayload::Normal(Payload(bytes, _)) => Some(bytes),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        };
        Self { index, term, payload }
    }

    /// Whether it is of the layer above, and not Raft's or the registry's.
    pub fn is_of_the_layer_above(&self) -> bool {
        self.payload.as_deref().is_some_and(|payload| !is_record(payload))
    }

    /// Appends it to the bytes of a backup.
    pub fn put(&self, out: &mut Vec<u8>) {
        let payload = self.payload.as_deref().unwrap_or_default();
        out.put_u64_le(self.index);
        out.put_u64_le(self.term);
        out.put_u8(if self.payload.is_some() { NORMAL } else { BLANK });
        out.put_u32_le(payload.len() as u32);
        out.extend_from_slice(payload);
    }

    /// Takes the next one off the front; `None` at the end.
    ///
    /// # Errors
    /// The bytes are none of [`put`](Self::put).
    pub fn take(bytes: &mut Bytes) -> Result<Option<Self>, NoEntry> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let (head, _) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(NoEntry)?;
        let number = |at: usize| {
            head[at..]
                .first_chunk()
                .map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let length = head[17..]
            .first_chunk()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
        let (index, term, kind) = (number(0), number(8), head[16]);
        if bytes.len() - HEAD_BYTES < length || kind > NORMAL {
            return Err(NoEntry);
        }
        let _head = bytes.split_to(HEAD_BYTES);
        let payload = bytes.split_to(length);
        Ok(Some(Self {
            index,
            term,
            payload: (kind == NORMAL).then_some(payload),
        }))
    }
}

/// A snapshot that the node has stored: the state up to an entry, and its bytes in order. Reading blocks, and checks them.
pub struct SavedState {
    /// Index of the last entry inside it.
    pub index: u64,
    /// The term of that entry's leader.
    pub term: u64,
    stored: StoredSnapshot,
}

impl Iterator for SavedState {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.stored.next()
    }
}

impl Group {
    /// The group's newest snapshot here, if there is one.
    pub fn saved_state(&self) -> Option<SavedState> {
        let stored = self.inner().starter.snapshots.newest(self.id())?;
        let last = stored.meta.raft.last_log_id?;
        Some(SavedState {
            index: last.index,
            term: term_of(&last),
            stored,
        })
    }

    /// The index after that of the last entry that is applied here.
    pub fn applied_next(&self) -> u64 {
        self.progress().applied_index().map_or(0, |applied| applied + 1)
    }

    /// Entries of the log from this one on, and before that one: as many as come to a few MiB, and one at least. Only what is applied is
    /// asked for, so that none of it is ever taken back.
    ///
    /// # Errors
    /// [`ExportError`].
    pub async fn logged(&self, from: u64, before: u64) -> Result<Vec<LoggedEntry>, ExportError> {
        let group = self.id();
        let before = before.min(self.applied_next());
        if from >= before {
            return Ok(Vec::new());
        }
        let read = self.inner().log.page(from, before).await;
        let entries = read.map_err(|source| ExportError::Io { group, source })?;
        match entries.first() {
            Some(first) if first.log_id.index == from => {
                Ok(entries.into_iter().map(LoggedEntry::of).collect())
            }
            _ => Err(ExportError::Purged { group, from }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_as_written_and_a_part_of_one_is_none() {
        let entries = [
            LoggedEntry {
                index: 7,
                term: 2,
                payload: None,
            },
            LoggedEntry {
                index: 8,
                term: u64::MAX,
                payload: Some(Bytes::from_static(b"proposed")),
            },
            LoggedEntry {
                index: 9,
                term: 3,
                payload: Some(Bytes::new()),
            },
        ];
        let mut out = Vec::new();
        entries.iter().for_each(|entry| entry.put(&mut out));
        let whole = Bytes::from(out);
        let mut rest = whole.clone();
        for entry in &entries {
            assert_eq!(LoggedEntry::take(&mut rest).unwrap().as_ref(), Some(entry));
        }
        assert_eq!(LoggedEntry::take(&mut rest), Ok(None));

        for end in 1..HEAD_BYTES {
            assert_eq!(LoggedEntry::take(&mut whole.slice(..end)), Err(NoEntry));
        }
        let mut cut = whole.slice(HEAD_BYTES..whole.len() - HEAD_BYTES - 1);
        assert_eq!(LoggedEntry::take(&mut cut), Err(NoEntry), "its payload is cut");
    }

    /// Backups have these bytes and must be read for ever.
    #[test]
    fn the_bytes_of_an_entry_never_change() {
        let mut out = Vec::new();
        let entry = LoggedEntry {
            index: 5,
            term: 3,
            payload: Some(Bytes::from_static(b"hi")),
        };
        entry.put(&mut out);
        let expected = [
            5, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, b'h', b'i',
        ];
        assert_eq!(out, expected);
    }
}
