//! The journal, segment by segment.

use std::ops::{ControlFlow, Range};

use super::{Damage, PIECE_BYTES, Place, Run, Runs, Scrub};
use crate::error::{JournalError, StoreError};
use crate::frame::{FRAME_BYTES_MAX, Frame, FrameError, Opener};
use crate::journal::Journal;
use crate::store::Store;

/// So often a piece that cannot be read is tried again.
const TRIES: u32 = 3;

/// What went before a frame: the hash that it must carry, where that is known.
type Chain = Option<u64>;

impl Journal {
    /// Reads every frame once more that is durable now, the oldest first, and tells which are not what was written. Blocks.
    ///
    /// # Errors
    /// [`JournalError::Closed`]. What cannot be read is damage.
    pub fn scrub(&self, scrub: &mut dyn Scrub) -> Result<ControlFlow<()>, JournalError> {
        let (store, needed, last) = self.stored()?;
        let mut starts = store.segment_starts();
        drop(store);
        if starts.is_empty() {
            starts.push(needed);
        }
        let mut chain = None;
        for (at, start) in starts.iter().enumerate() {
            let end = starts.get(at + 1).map_or(last + 1, |next| *next).min(last + 1);
            let (mut runs, went_on) = self.scrub_segment(*start..end, &mut chain, scrub)?;
            self.tell(*start, std::mem::take(&mut runs.0), scrub)?;
            if went_on.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Tells what was found of a segment, unless that is needed no more and was let go of: then it was read while it went.
    fn tell(&self, start: u64, runs: Vec<Run>, scrub: &mut dyn Scrub) -> Result<(), JournalError> {
        if runs.is_empty() {
            return Ok(());
        }
        let (store, needed, _) = self.stored()?;
        let kept = Kept::of(&*store, start);
        let counts = |run: &Run| match kept {
            Kept::Whole => true,
            Kept::Gone => false,
            Kept::ByFrames => run.first >= needed,
        };
        for run in runs.into_iter().filter(counts) {
            scrub.found(Damage {
                path: store.path_of(run.first),
                place: Place::Frames {
                    first: run.first,
                    last: run.last,
                },
                why: run.why,
            });
        }
        Ok(())
    }

    fn scrub_segment(
        &self,
        frames: Range<u64>,
        chain: &mut Chain,
        scrub: &mut dyn Scrub,
    ) -> Result<(Runs, ControlFlow<()>), JournalError> {
        let mut pass = Pass {
            frames: frames.clone(),
            next: frames.start,
            chain: *chain,
            runs: Runs::default(),
            failures: 0,
            opener: self.opener(),
        };
        self.stored()?.0.forget_segment(frames.start);
        while pass.next < frames.end {
            // Taken anew for each piece: a journal that is closed meanwhile lets go of its files.
            let (store, needed, _) = self.stored()?;
            if pass.next < needed {
                match Kept::of(&*store, frames.start) {
                    Kept::Whole => {}
                    Kept::Gone => pass.skip(frames.end),
                    Kept::ByFrames => pass.skip(needed.min(frames.end)),
                }
                if pass.next >= frames.end {
                    break;
                }
            }
            let bytes = pass.piece(&*store);
            drop(store);
            if scrub.read(bytes).is_break() {
                return Ok((pass.runs, ControlFlow::Break(())));
            }
        }
        self.stored()?.0.forget_segment(frames.start);
        *chain = pass.chain;
        Ok((pass.runs, ControlFlow::Continue(())))
    }
}

/// What is left of a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Whole,
    Gone,
    /// The engine has no segments: each frame goes by itself.
    ByFrames,
}

impl Kept {
    fn of(store: &dyn Store, start: u64) -> Self {
        match &store.segment_starts()[..] {
            [] => Self::ByFrames,
            starts if starts.contains(&start) => Self::Whole,
            _ => Self::Gone,
        }
    }
}

/// One way through a segment.
struct Pass {
    frames: Range<u64>,
    next: u64,
    chain: Chain,
    runs: Runs,
    /// How often in a row a piece could not be read.
    failures: u32,
    opener: Opener,
}

impl Pass {
    /// Reads the next piece; how many bytes that were.
    fn piece(&mut self, store: &dyn Store) -> u64 {
        let (from, mut bytes) = (self.next, 0);
        let walked = store.replay(from, &mut |sequence, frame| {
            if sequence >= self.frames.end {
                self.missing(self.frames.end);
                return ControlFlow::Break(());
            }
            self.missing(sequence);
            self.take(sequence, frame);
            bytes += frame.len() as u64;
            // The next segment is not opened for nothing.
            match bytes < PIECE_BYTES && self.next < self.frames.end {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        match walked {
            Ok(()) => {
                self.failures = 0;
                // It walks to the end of all segments where nobody breaks it off.
                if bytes < PIECE_BYTES {
                    self.missing(self.frames.end);
                }
            }
            // A segment may be held for a moment by whoever closes it.
            Err(_) if self.failures < TRIES => self.failures += 1,
            // A page of several frames cannot be read: they are told apart one by one, up to the first that can.
            Err(error) => bytes += self.one_by_one(store, &error),
        }
        bytes
    }

    /// What is before this frame was let go of.
    fn skip(&mut self, until: u64) {
        self.next = self.next.max(until);
        self.chain = None;
    }

    fn take(&mut self, sequence: u64, bytes: &[u8]) {
        self.next = sequence + 1;
        let decoded = Frame::decode_with(sequence, bytes, &mut self.opener);
        match decoded.map(|frame| (frame.previous_hash(), frame.hash())) {
            Err(damage) => self.damaged(sequence, &damage),
            Ok((previous, hash)) => {
                if self.chain.is_some_and(|chain| chain != previous) {
                    self.runs
                        .add(sequence, sequence, "it does not continue the frame before it");
                }
                self.chain = Some(hash);
            }
        }
    }

    fn damaged(&mut self, sequence: u64, why: &dyn std::fmt::Display) {
        self.next = sequence + 1;
        self.chain = None;
        self.runs.add(sequence, sequence, why);
    }

    /// All before this one are missing that were not seen.
    fn missing(&mut self, until: u64) {
        if self.next < until {
            self.runs.add(self.next, until - 1, FrameError::Missing);
            self.next = until;
            self.chain = None;
        }
    }

    fn one_by_one(&mut self, store: &dyn Store, error: &StoreError) -> u64 {
        let mut bytes = 0;
        while self.next < self.frames.end && bytes < PIECE_BYTES {
            let sequence = self.next;
            match store.read(sequence) {
                Ok(Some(frame)) => {
                    self.take(sequence, &frame);
                    bytes += frame.len() as u64;
                    if self.chain.is_some() {
                        break;
                    }
                }
                Ok(None) => {
                    self.damaged(sequence, &FrameError::Missing);
                    bytes += FRAME_BYTES_MAX as u64;
                }
                Err(_) => {
                    self.damaged(sequence, &error.cause);
                    bytes += FRAME_BYTES_MAX as u64;
                }
            }
        }
        bytes
    }
}
