//! The archive, shelf by shelf.

use std::ops::ControlFlow;
use std::path::Path;

use super::{Damage, PIECE_BYTES, Place, Runs, Scrub};
use crate::archive::{ArchiveError, KEY_BYTES, Key, Shelf};

/// Values that are read at a time: of most a piece has many more bytes than that.
const AT_A_TIME: usize = 64;
/// What a value counts for that cannot be read, in bytes.
const UNREADABLE_BYTES: u64 = 4 * 1024;

/// What is on a shelf, for who scrubs it.
#[derive(Clone, Copy, Debug)]
pub struct Shelved<'a> {
    /// Its number.
    pub shelf: u16,
    /// How many values count.
    pub count: u64,
    /// Where it is kept.
    pub path: &'a Path,
}

impl Shelf {
    /// Reads every value once more that counts, and tells which are not what was put. `is_still` says behind that whether all of them count
    /// still: a shelf that was cleared meanwhile had no damage. Blocks.
    pub fn scrub(
        &self,
        shelved: Shelved<'_>,
        is_still: &dyn Fn() -> bool,
        scrub: &mut dyn Scrub,
    ) -> ControlFlow<()> {
        if shelved.count == 0 {
            return ControlFlow::Continue(());
        }
        // In the order of their keys, as they are on the disk; where one is amiss, by their numbers, which tell which it is.
        let Some(is_whole) = self.by_keys(shelved.count, scrub) else {
            return ControlFlow::Break(());
        };
        if is_whole {
            return ControlFlow::Continue(());
        }
        let mut runs = Runs::default();
        let went_on = self.by_numbers(shelved.count, &mut runs, scrub);
        if is_still() {
            for run in runs.0 {
                scrub.found(Damage {
                    path: shelved.path.to_owned(),
                    place: Place::Values {
                        shelf: shelved.shelf,
                        first: run.first,
                        last: run.last,
                    },
                    why: run.why,
                });
            }
        }
        went_on
    }

    /// Whether all are there and whole; nothing where it was broken off.
    fn by_keys(&self, count: u64, scrub: &mut dyn Scrub) -> Option<bool> {
        let mut below: Vec<u8> = vec![u8::MAX; KEY_BYTES + 1];
        let (mut seen, mut bytes) = (0, 0);
        loop {
            let Ok((found, last)) = self.piece(&below, AT_A_TIME) else {
                return Some(false);
            };
            seen += found.iter().filter(|value| value.number < count).count() as u64;
            bytes += found.iter().map(|value| value.value.len() as u64).sum::<u64>();
            let Some(last) = last else { break };
            below = last.to_vec();
            if bytes >= PIECE_BYTES && scrub.read(std::mem::take(&mut bytes)).is_break() {
                return None;
            }
        }
        match scrub.read(bytes) {
            ControlFlow::Continue(()) => Some(seen == count),
            ControlFlow::Break(()) => None,
        }
    }

    fn by_numbers(&self, count: u64, runs: &mut Runs, scrub: &mut dyn Scrub) -> ControlFlow<()> {
        let mut bytes = 0;
        for number in 0..count {
            match self.numbered(number) {
                Ok(length) => bytes += length,
                Err(error) => {
                    bytes += UNREADABLE_BYTES;
                    runs.add(number, number, error);
                }
            }
            if bytes >= PIECE_BYTES {
                scrub.read(std::mem::take(&mut bytes))?;
            }
        }
        scrub.read(bytes)
    }

    /// How many bytes the value of a number has.
    fn numbered(&self, number: u64) -> Result<u64, ArchiveError> {
        let missing = ArchiveError::Damaged("a value is missing");
        let key: Key = self.key_of(number)?.ok_or(missing.clone())?;
        let found = self.get(&key)?.filter(|found| found.number == number);
        Ok(found.ok_or(missing)?.value.len() as u64)
    }
}
