//! The records of this node's own entries, kept until the entries come back to be applied.
//!
//! Who proposes an entry has its records as the engine made them. To read them out of the entry's bytes again, when it is committed a
//! moment later on the same node, would give the same at a tenth of what an order costs. So they wait here, beside the very
//! bytes that they were written to: an entry is known again by where its bytes are, which nobody else's can be as long as they are held
//! here. Whatever is not here is read from its bytes: the entries of other leaders, those that a restart finds in the log, and those
//! that had to wait for so long that others took their place.

use std::collections::VecDeque;

use bytes::Bytes;
use docket_engine::{CustomerEvent, Fact, ItemEvent, Record};
use parking_lot::Mutex;

/// So many entries of a shard are kept, the newest. Two are on their way to the disk at a time, unless what was gathered at once is more
/// than fits one entry.
const ENTRIES_MAX: usize = 32;

/// The records of entries that were proposed here.
#[derive(Default)]
pub(crate) struct Decided(Mutex<VecDeque<(Bytes, Vec<Record>)>>);

impl Decided {
    /// Keeps what was written to these bytes.
    pub(crate) fn keep(&self, payload: Bytes, records: Vec<Record>) {
        let mut kept = self.0.lock();
        let oldest = if kept.len() >= ENTRIES_MAX {
            kept.pop_front()
        } else {
            None
        };
        kept.push_back((payload, records));
        drop(kept);
        drop(oldest);
    }

    /// What was written to these very bytes, if it is still here. Bytes that are only alike are others.
    pub(crate) fn take(&self, payload: &Bytes) -> Option<Vec<Record>> {
        let is_same = |kept: &(Bytes, Vec<Record>)| {
            kept.0.as_ptr() == payload.as_ptr() && kept.0.len() == payload.len()
        };
        let mut kept = self.0.lock();
        let at = kept.iter().position(is_same)?;
        kept.remove(at).map(|(_, records)| records)
    }

    /// The log did not take something: what is on its way may never come back.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

/// Whether a record may be applied as it is. Not so one that brings a new customer or item: its id, which all that is said of
/// it later has in common, is to be the node's one copy of it, and that is made where records are read.
pub(crate) fn may_be_kept(record: &Record) -> bool {
    record.events.iter().all(|event| {
        !matches!(
            event.fact,
            Fact::Customer(_, CustomerEvent::Created { .. }) | Fact::Item(_, ItemEvent::Created { .. })
        )
    })
}

#[cfg(test)]
mod tests {
    use docket_engine::Time;

    use super::*;

    fn records(time: i64) -> Vec<Record> {
        vec![Record {
            time: Time(time),
            events: Vec::new(),
            request: None,
            unchanged: None,
            origin: None,
        }]
    }

    #[test]
    fn what_is_kept_is_found_once_and_by_its_own_bytes_only() {
        let decided = Decided::default();
        let ours = Bytes::copy_from_slice(b"the same");
        let theirs = Bytes::copy_from_slice(b"the same");
        decided.keep(ours.clone(), records(1));
        assert_eq!(decided.take(&theirs), None);
        assert_eq!(decided.take(&ours.slice(..3)), None);
        // A copy of the handle is the same bytes: so they come back from the log.
        assert_eq!(decided.take(&ours.clone()), Some(records(1)));
        assert_eq!(decided.take(&ours), None);
    }

    #[test]
    fn what_is_never_asked_for_makes_way() {
        let decided = Decided::default();
        let entries: Vec<_> = (0..ENTRIES_MAX + 1)
            .map(|n| Bytes::copy_from_slice(&n.to_le_bytes()))
            .collect();
        for (n, entry) in entries.iter().enumerate() {
            decided.keep(entry.clone(), records(n as i64));
        }
        assert_eq!(decided.take(&entries[0]), None);
        for (n, entry) in entries.iter().enumerate().skip(1) {
            assert_eq!(decided.take(entry), Some(records(n as i64)));
        }
        decided.keep(entries[0].clone(), records(0));
        decided.clear();
        assert_eq!(decided.take(&entries[0]), None);
    }
}
