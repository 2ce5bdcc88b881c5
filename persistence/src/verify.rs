//! Offline verification: walks every segment, frame, the chain, the mark and every snapshot of a data directory, and names every
//! problem rather than stopping at the first. It makes, removes and repairs nothing. (Whenever sled opens a database it renews its
//! own bookkeeping, in `snap.*` and at the end of `db`, and leaves what is stored as it is.)
//!
//! What the bytes mean is not known here: [`verify_with`] shows records and snapshots to whoever knows more.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use docket_sealing::Keyring;

use crate::error::{JournalError, Refusal, StoreError};
use crate::frame::{FragmentKind, Frame, FrameError, Opener, Position};
use crate::journal::MARK_FILE;
use crate::mark::{FileMark, HighWater, MarkFound};
use crate::recovery::{Cut, Walk};
use crate::sled_store::SledStore;
use crate::snapshot::{SnapshotInfo, SnapshotStore};
use crate::store::Store;

/// The journal's folder in a data directory.
pub const JOURNAL_DIR: &str = "journal";
/// The snapshots' folder in a data directory.
pub const SNAPSHOTS_DIR: &str = "snapshots";
/// Problems that are listed; those beyond are counted.
pub const PROBLEMS_MAX: usize = 1_000;

/// What a data directory holds, and everything that is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// The journal's segments, oldest first.
    pub segments: Vec<SegmentReport>,
    /// Good frames in all segments.
    pub frames: u64,
    /// Records that begin in them.
    pub records: u64,
    /// Bytes of records in them.
    pub payload_bytes: u64,
    /// First sequence that is there.
    pub first_seq: Option<u64>,
    /// Last sequence that is there.
    pub last_seq: Option<u64>,
    /// The high-water mark.
    pub mark: Option<HighWater>,
    /// A torn tail that the next start will cut: no problem, nothing in it was acknowledged.
    pub torn_tail: Option<Cut>,
    /// The snapshots that are good.
    pub snapshots: Vec<SnapshotInfo>,
    /// What is not as it should be and costs nothing: the next start copes with it.
    pub warnings: Vec<Problem>,
    /// Everything that is wrong, at most [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub problems_unlisted: u64,
}

/// One segment of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its file.
    pub path: PathBuf,
    /// First sequence found in it.
    pub first_seq: u64,
    /// Last sequence found in it.
    pub last_seq: u64,
    /// Good frames found in it.
    pub frames: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", path.display())]
pub struct Problem {
    /// The file concerned.
    pub path: PathBuf,
    /// What is wrong with it.
    pub text: String,
}

impl VerifyReport {
    /// Whether a node would start on this directory and lose nothing.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// Notes something that is wrong.
    pub fn problem(&mut self, path: PathBuf, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { path, text });
        } else {
            self.problems_unlisted += 1;
        }
    }
}

/// Verifies the journal and the snapshots of `data_dir`, which no node may be using.
///
/// # Errors
/// The directory is in use or cannot be read at all. What is wrong inside is in the report.
pub fn verify(data_dir: &Path) -> Result<VerifyReport, JournalError> {
    verify_with(data_dir, &Keyring::default(), &mut Nobody)
}

/// Is shown what a data directory holds.
pub trait Inspect {
    /// A record that the next start would replay, in the order of the journal.
    fn record(&mut self, position: Position, record: &[u8]);

    /// A good snapshot, with what whoever wrote it noted beside it.
    fn snapshot(&mut self, info: &SnapshotInfo, meta: &[u8]);
}

struct Nobody;

impl Inspect for Nobody {
    fn record(&mut self, _position: Position, _record: &[u8]) {}

    fn snapshot(&mut self, _info: &SnapshotInfo, _meta: &[u8]) {}
}

/// As [`verify`], of what is sealed with these keys as well, and shows `inspect` what is there.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(
    data_dir: &Path,
    keys: &Keyring,
    inspect: &mut dyn Inspect,
) -> Result<VerifyReport, JournalError> {
    let mut report = VerifyReport::default();
    let (journal, snapshots) = (data_dir.join(JOURNAL_DIR), data_dir.join(SNAPSHOTS_DIR));
    if journal.is_dir() {
        verify_journal(&journal, keys, &mut report, inspect)?;
    } else {
        report.problem(journal, "there is no journal".to_owned());
    }
    if snapshots.is_dir() {
        verify_snapshots(&snapshots, keys, &mut report, inspect)?;
    }
    Ok(report)
}

fn verify_journal(
    dir: &Path,
    keys: &Keyring,
    report: &mut VerifyReport,
    inspect: &mut dyn Inspect,
) -> Result<(), JournalError> {
    let store = match SledStore::inspect(dir) {
        Ok(store) => store,
        Err(JournalError::Store(error)) => {
            report.problem(error.path.clone(), error.to_string());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mark_path = dir.join(MARK_FILE);
    let found = FileMark::inspect(&mark_path)?;
    report.mark = found.newest;
    if found.damaged_slots > 0 {
        let text = format!("{} of the mark's 2 slots are damaged", found.damaged_slots);
        if found.newest.is_none() {
            report.problem(mark_path, text);
        } else {
            let text = format!("{text}; the other one is good, and the next start renews both");
            report.warnings.push(Problem {
                path: mark_path,
                text,
            });
        }
    }
    let refused = judge(&store, found, keys, report, inspect)?;
    let before = report.problems.len();
    tally(&store, found, keys, report);
    // What recovery will refuse comes first, unless the tally has said the same already.
    if let Some(refusal) = refused {
        report.problems.insert(
            before,
            Problem {
                path: refusal.path.clone(),
                text: refusal.to_string(),
            },
        );
    }
    Ok(())
}

/// What recovery would say.
fn judge(
    store: &SledStore,
    found: MarkFound,
    keys: &Keyring,
    report: &mut VerifyReport,
    inspect: &mut dyn Inspect,
) -> Result<Option<Refusal>, StoreError> {
    let mut replay = |position, record: &[u8]| inspect.record(position, record);
    let mut walk = Walk::new(found, keys, &mut replay);
    if let Err(error) = store.replay(walk.expected, &mut |sequence, bytes| walk.visit(sequence, bytes)) {
        // The tally names the segment that cannot be read.
        tracing::debug!(%error, "recovery's walk ended early");
        return Ok(None);
    }
    Ok(match walk.finish(store.newest_segment_start()) {
        Ok(end) => {
            report.torn_tail = end.cut;
            None
        }
        Err(unsound) => Some(unsound.into_refusal(store)),
    })
}

/// Every frame of every segment, whatever the others look like.
fn tally(store: &SledStore, found: MarkFound, keys: &Keyring, report: &mut VerifyReport) {
    let mut opener = Opener::new(keys.clone());
    let torn_behind = report.torn_tail.as_ref().map_or(u64::MAX, |cut| cut.after);
    // Frames before what is needed may be gone in part, as segments are dropped.
    let needed = found.newest.map_or(0, |mark| mark.first);
    let mut previous: Option<(u64, u64)> = None;
    let starts = store.segment_starts();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(u64::MAX);
        let path = store.path_of(*start);
        let mut keyless = false;
        let mut segment = SegmentReport {
            path: path.clone(),
            first_seq: 0,
            last_seq: 0,
            frames: 0,
        };
        let walked = store.walk_segment(*start, &mut |sequence, bytes| {
            report.first_seq = report.first_seq.or(Some(sequence));
            report.last_seq = Some(sequence);
            segment.first_seq = if segment.first_seq == 0 {
                sequence
            } else {
                segment.first_seq
            };
            segment.last_seq = sequence;
            let torn = sequence > torn_behind;
            if let Some((last, _)) =
                previous.filter(|(last, _)| last + 1 < sequence && sequence > needed && !torn)
            {
                report.problem(
                    path.clone(),
                    format!("frames {} to {} are missing", last + 1, sequence - 1),
                );
            }
            if !(*start..end).contains(&sequence) {
                report.problem(
                    path.clone(),
                    format!("frame {sequence} does not belong into this segment"),
                );
            }
            match Frame::decode_with(sequence, bytes, &mut opener) {
                Ok(frame) => {
                    segment.frames += 1;
                    let chained = previous.is_none_or(|(last, hash)| {
                        last + 1 != sequence || hash == 0 || hash == frame.previous_hash()
                    });
                    if !chained && !torn {
                        report.problem(
                            path.clone(),
                            format!("frame {sequence} does not continue the frame before it"),
                        );
                    }
                    for fragment in frame.fragments() {
                        let begins = matches!(fragment.kind, FragmentKind::Whole | FragmentKind::First);
                        report.records += u64::from(begins);
                        report.payload_bytes += fragment.bytes.len() as u64;
                    }
                    previous = Some((sequence, frame.hash()));
                }
                // Each of them says the same: once is enough.
                Err(FrameError::Sealed(why)) if why.is_of_keys() => {
                    if !keyless {
                        report.problem(path.clone(), format!("frame {sequence} {why}"));
                    }
                    (keyless, previous) = (true, Some((sequence, 0)));
                }
                Err(damage) => {
                    if !torn {
                        report.problem(path.clone(), format!("frame {sequence} is damaged: {damage}"));
                    }
                    previous = Some((sequence, 0));
                }
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = walked {
            report.problem(error.path.clone(), error.to_string());
            previous = None;
        }
        report.frames += segment.frames;
        report.segments.push(segment);
    }
}

fn verify_snapshots(
    dir: &Path,
    keys: &Keyring,
    report: &mut VerifyReport,
    inspect: &mut dyn Inspect,
) -> Result<(), JournalError> {
    let store = SnapshotStore::inspect(dir, keys.clone())?;
    for group in store.groups() {
        for id in store.ids(group) {
            match store.read(group, id) {
                Ok(reader) => {
                    inspect.snapshot(&reader.info(), reader.meta());
                    report.snapshots.push(reader.info());
                }
                Err(error) => report.problem(store.path(group, id), error.to_string()),
            }
        }
    }
    Ok(())
}
