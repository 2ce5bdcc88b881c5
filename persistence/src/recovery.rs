//! Opening a journal: walk the frames, prove that everything acknowledged is there, cut what a crash tore, replay the rest.
//!
//! A commit is taken whole or not at all. Where the chain of frames ends or breaks at frame `b`, it is a *torn tail*, cut and
//! reported, if nothing proves that `b` had been acknowledged, and *lost data*, refused, if anything does:
//! a whole frame behind `b` that was written after `b` was synced, the mark, or the name of a later segment.
//!
//! A sealed frame that does not open is neither: it was written whole, and what it needs is its key. Nothing is cut then.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::error::{JournalError, Proof, Refusal, RefusalReason};
use docket_sealing::Keyring;

use crate::frame::{Assembled, Assembler, FragmentKind, Fragments, Frame, FrameError, Opener, Position};
use crate::mark::{HighWater, Mark, MarkFound};
use crate::store::Store;

/// What was found when a journal was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Frames replayed.
    pub frames: u64,
    /// Records replayed.
    pub records: u64,
    /// Bytes of those records.
    pub payload_bytes: u64,
    /// First sequence that was replayed; with no frames, the sequence of the first to come.
    pub first_seq: u64,
    /// The sequence of the next frame to be written.
    pub next_seq: u64,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<Cut>,
    /// Slots of the mark that were damaged; the other one was good.
    pub mark_slots_damaged: u8,
    /// How long it took.
    pub elapsed: Duration,
}

/// A torn tail: frames that were being written when the process or the machine stopped. Nothing in them was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The last frame that stays.
    pub after: u64,
    /// Frames that were found behind it and removed, whole or damaged.
    pub frames: u64,
}

/// What the journal goes on with.
pub(crate) struct Recovered {
    pub(crate) recovery: Recovery,
    pub(crate) mark: HighWater,
}

/// Walks `store`, replays it, cuts its torn tail and brings `mark` up to date.
pub(crate) fn recover(
    store: &dyn Store,
    mark: &dyn Mark,
    keys: &Keyring,
    replay: &mut dyn FnMut(Position, &[u8]),
) -> Result<Recovered, JournalError> {
    let started = Instant::now();
    let found = mark.load()?;
    let mut walk = Walk::new(found, keys, replay);
    store.replay(walk.expected, &mut |sequence, bytes| walk.visit(sequence, bytes))?;
    let end = walk
        .finish(store.newest_segment_start())
        .map_err(|unsound| unsound.into_refusal(store))?;
    if let Some(cut) = &end.cut {
        store.cut_after(cut.after)?;
    }
    // After a crash of the process alone, frames that it never synced are still in the kernel's cache. They are taken for written,
    // so they must be.
    store.sync()?;
    store.end_replay()?;
    // From here on the mark vouches for what was replayed. A new journal's mark is durable before its first frame is written.
    mark.store(end.mark)?;
    mark.sync()?;
    let recovery = Recovery {
        frames: end.frames,
        records: end.records,
        payload_bytes: end.payload_bytes,
        first_seq: end.mark.first,
        next_seq: end.mark.last.max(end.mark.first - 1) + 1,
        cut: end.cut,
        mark_slots_damaged: found.damaged_slots,
        elapsed: started.elapsed(),
    };
    Ok(Recovered {
        recovery,
        mark: end.mark,
    })
}

/// The first frame that cannot be trusted, and why it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsound {
    pub(crate) sequence: u64,
    pub(crate) reason: RefusalReason,
}

impl Unsound {
    pub(crate) fn into_refusal(self, store: &dyn Store) -> Refusal {
        Refusal {
            path: store.path_of(self.sequence),
            sequence: self.sequence,
            reason: self.reason,
        }
    }
}

/// How a walk ended that found nothing unsound.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) frames: u64,
    pub(crate) records: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) mark: HighWater,
    pub(crate) cut: Option<Cut>,
}

/// Judges frames in order of sequence. Knows nothing of files, so that recovery and verification share it.
pub(crate) struct Walk<'a> {
    mark: Option<HighWater>,
    replay: &'a mut dyn FnMut(Position, &[u8]),
    /// The next sequence of an unbroken chain.
    pub(crate) expected: u64,
    /// The hash that frame must carry; `None` for the first one after a truncation, whose predecessor is gone.
    expected_hash: Option<u64>,
    /// Frames of a commit whose end has not been seen yet: the place of the first in its commit, and the fragments of each.
    commit: (u32, Vec<(u64, Vec<u8>)>),
    opener: Option<Opener>,
    /// End of the last whole commit, and its last frame's hash.
    last: u64,
    last_hash: u64,
    broken: Option<Broken>,
    frames_behind: u64,
    unsound: Option<Unsound>,
    assembler: Assembler,
    /// No record has begun yet: continuations of a record that was truncated away are skipped.
    at_front: bool,
    frames: u64,
    records: u64,
    payload_bytes: u64,
}

#[derive(Clone, Copy)]
struct Broken {
    sequence: u64,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    Missing,
    Damaged(FrameError),
    Chain,
}

impl How {
    fn reason(self, proof: Proof) -> RefusalReason {
        match self {
            Self::Missing => RefusalReason::Missing { proof },
            Self::Damaged(damage) => RefusalReason::Damaged { damage, proof },
            Self::Chain => RefusalReason::BrokenChain { proof },
        }
    }
}

impl<'a> Walk<'a> {
    pub(crate) fn new(found: MarkFound, keys: &Keyring, replay: &'a mut dyn FnMut(Position, &[u8])) -> Self {
        let start = found.newest.unwrap_or(HighWater::NEW);
        Self {
            mark: found.newest,
            replay,
            expected: start.first,
            expected_hash: if start.first == HighWater::NEW.first {
                Some(0)
            } else {
                None
            },
            commit: (0, Vec::new()),
            opener: Some(Opener::new(keys.clone())),
            last: start.first - 1,
            last_hash: 0,
            broken: None,
            frames_behind: 0,
            unsound: None,
            assembler: Assembler::default(),
            at_front: start.first != HighWater::NEW.first,
            frames: 0,
            records: 0,
            payload_bytes: 0,
        }
    }

    /// Judges the next frame of the store; breaks off when there is nothing to be saved.
    pub(crate) fn visit(&mut self, sequence: u64, bytes: &[u8]) -> ControlFlow<()> {
        match self.judge(sequence, bytes) {
            Ok(()) => ControlFlow::Continue(()),
            Err(unsound) => {
                self.unsound = Some(unsound);
                ControlFlow::Break(())
            }
        }
    }

    /// Ends the walk after the store's last frame.
    pub(crate) fn finish(self, newest_segment_start: Option<u64>) -> Result<End, Unsound> {
        if let Some(unsound) = self.unsound {
            return Err(unsound);
        }
        let proof = match self.mark {
            Some(mark) if mark.last > self.last => Some(Proof::Mark(mark.last)),
            _ => newest_segment_start
                .filter(|start| *start > self.last + 1)
                .map(Proof::LaterSegment),
        };
        if let Some(proof) = proof {
            let broken = self.broken.unwrap_or(Broken {
                sequence: self.expected,
                how: How::Missing,
            });
            return Err(Unsound {
                sequence: broken.sequence,
                reason: broken.how.reason(proof),
            });
        }
        let behind = self.frames_behind + self.commit.1.len() as u64;
        Ok(End {
            frames: self.frames,
            records: self.records,
            payload_bytes: self.payload_bytes,
            mark: HighWater {
                first: self.mark.unwrap_or(HighWater::NEW).first,
                last: self.last,
                last_hash: self.last_hash,
            },
            cut: (behind > 0).then_some(Cut {
                after: self.last,
                frames: behind,
            }),
        })
    }

    fn judge(&mut self, sequence: u64, bytes: &[u8]) -> Result<(), Unsound> {
        if self.mark.is_none() {
            return Err(Unsound {
                sequence,
                reason: RefusalReason::NoMark,
            });
        }
        // Out of the walk as long as the frame is looked at, which may be in it.
        let mut opener = self.opener.take().unwrap_or_default();
        let judged = self.judge_frame(sequence, Frame::decode_with(sequence, bytes, &mut opener));
        self.opener = Some(opener);
        judged
    }

    fn judge_frame(&mut self, sequence: u64, frame: Result<Frame<'_>, FrameError>) -> Result<(), Unsound> {
        match frame {
            Err(FrameError::Version { version }) => {
                return Err(Unsound {
                    sequence,
                    reason: RefusalReason::UnknownVersion { version },
                });
            }
            // It was written whole: no torn tail, whatever is behind it.
            Err(FrameError::Sealed(why)) => {
                return Err(Unsound {
                    sequence,
                    reason: RefusalReason::Sealed { why },
                });
            }
            _ => {}
        }
        if self.broken.is_none() {
            let how = match &frame {
                _ if sequence != self.expected => Some(How::Missing),
                Err(damage) => Some(How::Damaged(*damage)),
                Ok(frame) if !self.continues(frame) => Some(How::Chain),
                Ok(_) => None,
            };
            self.broken = how.map(|how| Broken {
                sequence: self.expected,
                how,
            });
        }
        match (self.broken, frame) {
            (None, Ok(frame)) => self.take(&frame),
            (Some(broken), Ok(frame)) => {
                self.frames_behind += 1;
                let heads_commit = broken.sequence == sequence && frame.commit_index() == 0;
                if heads_commit {
                    return Err(Unsound {
                        sequence,
                        reason: broken.how.reason(Proof::HeadOfCommit),
                    });
                }
                if frame.synced_before() >= broken.sequence {
                    let reason = broken.how.reason(Proof::LaterFrame(sequence));
                    return Err(Unsound {
                        sequence: broken.sequence,
                        reason,
                    });
                }
                Ok(())
            }
            (_, Err(_)) => {
                self.frames_behind += 1;
                Ok(())
            }
        }
    }

    fn continues(&self, frame: &Frame<'_>) -> bool {
        let chained = self
            .expected_hash
            .is_none_or(|hash| hash == frame.previous_hash());
        // Right behind a truncation the walk may begin inside a commit.
        let in_place = self.expected_hash.is_none() || self.commit_index_expected() == frame.commit_index();
        chained && in_place
    }

    fn commit_index_expected(&self) -> u32 {
        let (first, frames) = &self.commit;
        match frames.len() {
            0 => 0,
            held => first + held as u32,
        }
    }

    fn take(&mut self, frame: &Frame<'_>) -> Result<(), Unsound> {
        self.expected = frame.sequence() + 1;
        let hash = frame.hash();
        self.expected_hash = Some(hash);
        if self
            .mark
            .is_some_and(|mark| mark.last == frame.sequence() && mark.last_hash != hash)
        {
            return Err(Unsound {
                sequence: frame.sequence(),
                reason: RefusalReason::NotTheAcknowledged,
            });
        }
        if !frame.ends_commit() {
            if self.commit.1.is_empty() {
                self.commit.0 = frame.commit_index();
            }
            self.commit.1.push((frame.sequence(), frame.payload().to_vec()));
            return Ok(());
        }
        for (sequence, payload) in std::mem::take(&mut self.commit.1) {
            self.deliver(sequence, &payload)?;
        }
        self.deliver(frame.sequence(), frame.payload())?;
        if self.assembler.is_partial() {
            return Err(Unsound {
                sequence: frame.sequence(),
                reason: RefusalReason::BrokenRecord,
            });
        }
        self.last = frame.sequence();
        self.last_hash = hash;
        Ok(())
    }

    fn deliver(&mut self, sequence: u64, payload: &[u8]) -> Result<(), Unsound> {
        self.frames += 1;
        for fragment in Fragments::of(payload, 0) {
            let continues = matches!(fragment.kind, FragmentKind::Middle | FragmentKind::Last);
            if self.at_front && continues {
                continue;
            }
            self.at_front = false;
            match self.assembler.push(sequence, fragment) {
                Assembled::Record(position, record) => {
                    self.records += 1;
                    self.payload_bytes += record.len() as u64;
                    (self.replay)(position, record);
                }
                Assembled::Partial => {}
                Assembled::Misfit => {
                    return Err(Unsound {
                        sequence,
                        reason: RefusalReason::BrokenRecord,
                    });
                }
            }
        }
        Ok(())
    }
}
