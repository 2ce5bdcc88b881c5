//! What of a log is in a stretch of the journal.

use std::ops::RangeInclusive;

use docket_persistence::frame::PAYLOAD_BYTES_MAX;

use super::{LogIndex, Slot};

impl LogIndex {
    /// The first and the last entry that have bytes in these frames of the journal, if any has.
    pub(crate) fn entries_in(&self, frames: &RangeInclusive<u64>) -> Option<(u64, u64)> {
        let reaches = |slot: &Slot| {
            let at = slot.place().durable()?;
            // It goes on in the frames behind; what they have in front of it is not counted, so that one frame more may be its last.
            let further = (u64::from(at.offset()) + u64::from(slot.bytes)) / PAYLOAD_BYTES_MAX as u64;
            Some((at.seq(), at.seq() + further))
        };
        let is_in = |slot: &Slot| {
            reaches(slot).is_some_and(|(first, last)| first <= *frames.end() && last >= *frames.start())
        };
        let first = self.slots.iter().position(is_in)?;
        let last = self.slots.iter().rposition(is_in)?;
        Some((self.first + first as u64, self.first + last as u64))
    }
}

#[cfg(test)]
mod tests {
    use docket_persistence::Position;

    use super::super::Place;
    use super::*;
    use crate::raft::{EntryPayload, LogEntry, log_id};

    #[test]
    fn an_entry_is_in_every_frame_that_it_has_bytes_in() {
        let mut log = LogIndex::new(0);
        let long = 2 * PAYLOAD_BYTES_MAX as u32;
        for (index, (at, bytes)) in [(10, 100), (10, 100), (11, long), (14, 100)]
            .into_iter()
            .enumerate()
        {
            let entry = LogEntry {
                log_id: log_id(1, index as u64),
                payload: EntryPayload::Blank,
            };
            let offset = if index == 1 { 103 } else { 0 };
            log.push(entry, bytes, Place::At(Position::new(at, offset)))
                .unwrap();
        }
        let found = |frames| log.entries_in(&frames);
        assert_eq!(found(1..=9), None);
        assert_eq!(found(10..=10), Some((0, 1)));
        assert_eq!(found(11..=11), Some((2, 2)));
        assert_eq!(found(13..=13), Some((2, 2)));
        assert_eq!(found(9..=20), Some((0, 3)));
        assert_eq!(found(14..=14), Some((3, 3)));
        assert_eq!(found(15..=99), None);
    }
}
