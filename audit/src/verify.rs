//! Reads a log from its files alone, and holds every line against the one before. The node may be running.
//!
//! A line that is being written at that moment is waited for; what is cut off a line stays so.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use docket_sealing::Keyring;

use crate::{
    AuditError, Position, Record, actions,
    files::{self, Lines, Segment},
    record::Line,
};

/// So many problems are listed at most; the others are counted.
const PROBLEMS_MAX: usize = 1_000;
/// How often, and how long in between, it is looked whether a line that is not whole becomes so.
const LOOKS_MAX: usize = 20;
const LOOK: Duration = Duration::from_millis(25);

/// What a log must have had: a head that was kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This record, with this number.
    Position(Position),
    /// A record with this hash.
    Hash(String),
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files.
    pub segments: usize,
    /// Records that could be read.
    pub records: u64,
    /// The first one that is there.
    pub first: Option<u64>,
    /// The last one.
    pub last: Option<Position>,
    /// Everything before the first was removed by the node, which says so in a record.
    pub pruned: bool,
    /// What is wrong, as far as there is room to list it.
    pub problems: Vec<Problem>,
    /// So many more are.
    pub problems_unlisted: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; none where it is about the whole of it.
    pub line: Option<u64>,
    /// What.
    pub text: String,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, path: &Path, line: Option<u64>, text: impl Into<String>) {
        if self.problems.len() >= PROBLEMS_MAX {
            self.problems_unlisted += 1;
            return;
        }
        self.problems.push(Problem {
            path: path.to_owned(),
            line,
            text: text.into(),
        });
    }
}

/// Verifies a log, and hands each record that can be read to `each`, with its hash.
///
/// # Errors
/// The folder or a file of it cannot be read.
pub fn read(
    folder: &Path,
    expected: &[Expected],
    each: impl FnMut(&Record, &str),
) -> Result<Report, AuditError> {
    read_with(folder, &Keyring::default(), expected, each)
}

/// The same of a log that is sealed with one of these keys.
///
/// # Errors
/// As [`read`], or a key is missing.
pub fn read_with(
    folder: &Path,
    keys: &Keyring,
    expected: &[Expected],
    mut each: impl FnMut(&Record, &str),
) -> Result<Report, AuditError> {
    // The head first: what is written meanwhile is behind it.
    let head = files::head(folder)?;
    let segments = files::segments(folder)?;
    let mut walk = Walk {
        report: Report {
            segments: segments.len(),
            ..Report::default()
        },
        wanted: Wanted::new(head.clone(), expected),
        ..Walk::default()
    };
    let newest = segments.last().cloned();
    for segment in &segments {
        let is_newest = Some(segment) == newest.as_ref();
        walk.segment(segment, keys, is_newest, &mut each)?;
    }
    walk.begin(folder);
    let Walk {
        mut report,
        wanted,
        last,
        ..
    } = walk;
    if head.is_none() && last.is_some() {
        report.problem(
            &folder.join(files::HEAD),
            None,
            "is not there: whether records were cut off at the end cannot be told from the files",
        );
    }
    wanted.finish(&mut report, folder, last.as_ref());
    report.last = last;
    Ok(report)
}

/// Verifies a log.
///
/// # Errors
/// As [`read`].
pub fn verify(folder: &Path, expected: &[Expected]) -> Result<Report, AuditError> {
    read(folder, expected, |_, _| {})
}

#[derive(Default)]
struct Walk {
    report: Report,
    wanted: Wanted,
    /// The first record, with what it says of the one before, and where it is.
    first: Option<(PathBuf, u64, String)>,
    last: Option<Position>,
    /// Up to where the node says that it removed the log, and the hash there.
    pruned: BTreeMap<u64, String>,
}

impl Walk {
    fn segment(
        &mut self,
        segment: &Segment,
        keys: &Keyring,
        is_newest: bool,
        each: &mut impl FnMut(&Record, &str),
    ) -> Result<(), AuditError> {
        let path = &segment.path;
        let (mut lines, mut bytes, mut number) = (Lines::open(path, keys)?, Vec::new(), 0);
        let mut is_first = true;
        loop {
            if lines.next(&mut bytes)? == 0 {
                break;
            }
            number += 1;
            if !bytes.ends_with(b"\n") && is_newest {
                self.wait(&mut lines, &mut bytes)?;
            }
            let Some(whole) = bytes.strip_suffix(b"\n") else {
                let text = match is_newest {
                    true => {
                        "is not whole: it was cut off, by a crash while it was written (then nobody was answered, and the next start says so) or by \
                         somebody"
                    }
                    false => "is not whole: it was cut off",
                };
                self.report.problem(path, Some(number), text);
                break;
            };
            let Some(line) = Line::of(whole) else {
                self.report
                    .problem(path, Some(number), "is no record of this log");
                self.skipped();
                continue;
            };
            let record = line.record();
            if !line.is_whole() {
                self.report.problem(
                    path,
                    Some(number),
                    "was changed: its hash is not that of what it says",
                );
            }
            let Some(record) = record else {
                self.report
                    .problem(path, Some(number), "is no record of this log");
                self.skipped();
                continue;
            };
            if std::mem::take(&mut is_first) && record.sequence != segment.first {
                let text = format!("begins with record {}, and is called by another", record.sequence);
                self.report.problem(path, Some(number), text);
            }
            self.follows(path, number, &record);
            self.keep(path, &record, line.hash);
            each(&record, line.hash);
        }
        Ok(())
    }

    /// Waits for the rest of a line that may be being written.
    fn wait(&mut self, lines: &mut Lines, bytes: &mut Vec<u8>) -> Result<(), AuditError> {
        let mut more = Vec::new();
        for _ in 0..LOOKS_MAX {
            thread::sleep(LOOK);
            lines.next_stored(&mut more)?;
            bytes.append(&mut more);
            if bytes.ends_with(b"\n") {
                break;
            }
        }
        lines.open_line(bytes)
    }

    /// A line that cannot be read was a record.
    fn skipped(&mut self) {
        if let Some(last) = &mut self.last {
            last.sequence += 1;
            last.hash.clear();
        }
    }

    fn follows(&mut self, path: &Path, number: u64, record: &Record) {
        let Some(last) = &self.last else { return };
        let due = last.sequence + 1;
        let text = match record.sequence {
            sequence if sequence > due => {
                let missing = match sequence - 1 {
                    upto if upto == due => format!("record {due} is"),
                    upto => format!("records {due} to {upto} are"),
                };
                format!("{missing} missing before it (it is record {sequence})")
            }
            sequence if sequence < due => format!("is record {sequence}, where {due} is due"),
            // One that cannot be read has no hash to be held against.
            _ if record.previous != last.hash && !last.hash.is_empty() => {
                "does not follow the line before: that one, or this one, was changed or put there".to_owned()
            }
            _ => return,
        };
        self.report.problem(path, Some(number), text);
    }

    fn keep(&mut self, path: &Path, record: &Record, hash: &str) {
        if self.first.is_none() {
            self.first = Some((path.to_owned(), record.sequence, record.previous.clone()));
            self.report.first = Some(record.sequence);
        }
        self.report.records += 1;
        if record.action == actions::PRUNED
            && let Some(upto) = record.details.get("up_to").and_then(|upto| upto.parse().ok())
        {
            let hash = record.details.get("hash").cloned().unwrap_or_default();
            self.pruned.insert(upto, hash);
        }
        let at = Position {
            sequence: record.sequence,
            hash: hash.to_owned(),
        };
        self.wanted.seen(&at);
        self.last = Some(at);
    }

    /// Whether the log begins where it may.
    fn begin(&mut self, folder: &Path) {
        let Some((path, sequence, previous)) = self.first.take() else {
            return;
        };
        let before = Position {
            sequence: sequence.saturating_sub(1),
            hash: previous,
        };
        self.wanted.seen(&before);
        if before == Position::origin() {
            return;
        }
        match self.pruned.get(&before.sequence) {
            Some(hash) if *hash == before.hash => self.report.pruned = true,
            Some(_) => {
                let text = "does not follow what was removed: the record about that names another hash";
                self.report.problem(&path, Some(1), text);
            }
            None if before.sequence == 0 => {
                let text = "is the first record, and says that there was one before it";
                self.report.problem(&path, Some(1), text);
            }
            None => {
                let text = format!(
                    "records 1 to {} are missing, and no record says that the node removed them",
                    before.sequence
                );
                self.report.problem(folder, None, text);
            }
        }
    }
}

/// What the log must have.
#[derive(Default)]
struct Wanted {
    positions: Vec<(Position, &'static str, Found)>,
    hashes: Vec<(String, bool)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Not,
    Same,
    Another,
}

const HEAD_FILE: &str = "the file `head`";
const KEPT: &str = "the head that was kept";

impl Wanted {
    fn new(head: Option<Position>, expected: &[Expected]) -> Self {
        let mut wanted = Self::default();
        wanted
            .positions
            .extend(head.map(|head| (head, HEAD_FILE, Found::Not)));
        for one in expected {
            match one {
                Expected::Position(position) => wanted.positions.push((position.clone(), KEPT, Found::Not)),
                Expected::Hash(hash) => wanted.hashes.push((hash.clone(), false)),
            }
        }
        wanted
    }

    fn seen(&mut self, at: &Position) {
        for (wanted, _, found) in &mut self.positions {
            if wanted.sequence == at.sequence && *found != Found::Same {
                *found = match wanted.hash == at.hash {
                    true => Found::Same,
                    false => Found::Another,
                };
            }
        }
        for (hash, found) in &mut self.hashes {
            *found |= *hash == at.hash;
        }
    }

    fn finish(self, report: &mut Report, folder: &Path, last: Option<&Position>) {
        let end = last.map_or(0, |last| last.sequence);
        let first = report.first.unwrap_or(1);
        for (wanted, whose, found) in self.positions {
            // That of a log without records.
            if found == Found::Same || wanted == Position::origin() {
                continue;
            }
            let sequence = wanted.sequence;
            let text = match found {
                Found::Another => format!("record {sequence} is not the one that {whose} names"),
                _ if sequence > end => {
                    format!(
                        "it ends with record {end}, and {whose} names {sequence}: what is behind was cut off"
                    )
                }
                _ if sequence < first => {
                    format!("{whose} names record {sequence}, which was removed: nothing can be told from it")
                }
                _ => format!("record {sequence}, which {whose} names, is not there"),
            };
            report.problem(folder, None, text);
        }
        for (hash, _) in self.hashes.into_iter().filter(|(_, found)| !found) {
            report.problem(folder, None, format!("no record has the hash {hash} of {KEPT}"));
        }
    }
}
