//! What a snapshot leaves aside, on its way to a node that does not have it: the archive from some number on, each order in a piece of its own
//! (`snapshot/` has its form), so that its bytes are the same however often they are sent.

use std::{io, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use docket_proto::snapshot;

use super::unreadable;
use crate::committed::Committed;

/// About so many bytes are read at a time.
const BYTES_AT_ONCE: usize = 64 << 10;

/// The orders of an archive from some number on.
pub(crate) struct Aside {
    committed: Arc<Committed>,
    next: u64,
    until: u64,
}

impl Aside {
    pub(crate) fn new(committed: Arc<Committed>, from: u64) -> Self {
        let until = committed.archive.count();
        Self::until(committed, from, until)
    }

    /// Only before this number.
    pub(crate) fn until(committed: Arc<Committed>, from: u64, until: u64) -> Self {
        let until = until.min(committed.archive.count());
        Self {
            committed,
            next: from,
            until,
        }
    }
}

impl Iterator for Aside {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut bytes, mut piece) = (BytesMut::new(), Vec::new());
        while self.next < self.until && bytes.len() < BYTES_AT_ONCE {
            let found = match self.committed.archive.numbered(self.next) {
                Ok(Some(order)) => order,
                Ok(None) => {
                    return Some(Err(io::Error::other(
                        unreadable("an order is missing").to_string(),
                    )));
                }
                Err(error) => return Some(Err(io::Error::other(error.to_string()))),
            };
            piece.clear();
            snapshot::put_archived(self.next, &found, &mut piece);
            bytes.put_u32_le(piece.len() as u32);
            bytes.extend_from_slice(&piece);
            self.next += 1;
        }
        (!bytes.is_empty()).then(|| Ok(bytes.freeze()))
    }
}
