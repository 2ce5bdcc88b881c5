//! What was found.

use std::{collections::BTreeMap, path::PathBuf};

/// Damages that are listed; those beyond are counted.
pub const DAMAGES_MAX: usize = 200;
/// What there is to be damaged.
pub(super) const KINDS: [&str; 3] = ["journal", "snapshot", "archive"];

/// Something that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// `journal`, `snapshot` or `archive`.
    pub kind: &'static str,
    /// The file or folder that it is in.
    pub file: PathBuf,
    /// Where in it: frames of the journal, a snapshot, an order of the archive.
    pub place: String,
    /// Whose it is: groups, and of the journal the entries of their logs. Empty where nobody needs it any more.
    pub of: Vec<String>,
    /// What is wrong with it.
    pub why: String,
}

/// What came of reading all that is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// So much was read.
    pub bytes: u64,
    /// What is damaged, as it was found; the first of it.
    pub damages: Vec<Damaged>,
    /// How many places of each kind are damaged.
    pub by_kind: BTreeMap<&'static str, u64>,
}

impl ScrubReport {
    /// How many places are damaged.
    pub fn damaged(&self) -> u64 {
        self.by_kind.values().sum()
    }

    pub(super) fn add(&mut self, damaged: Damaged) {
        *self.by_kind.entry(damaged.kind).or_default() += 1;
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(damaged);
        }
    }
}
