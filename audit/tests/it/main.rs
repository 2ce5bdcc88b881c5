//! The audit log as its users see it: files, and what is found of them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chain;
mod crash;
mod rotation;
mod sealed;
mod writing;

use std::{
    fs,
    path::{Path, PathBuf},
};

use docket_audit::{
    Audit, AuditOptions, Entry, Who,
    verify::{Report, verify},
};
use tempfile::TempDir;

/// Small files, so that there are several.
pub const SMALL: AuditOptions = AuditOptions {
    segment_bytes: 4_096,
    segments_max: 1_000,
    age_max_days: 0,
    denials_per_minute: 60,
};

/// Something to be recorded.
pub fn entry(n: usize) -> Entry {
    let who = Who {
        account: "admin".to_owned(),
        role: "admin".to_owned(),
        ..Who::default()
    };
    Entry::new(who, "role.assign", format!("accounts/shop-{n}")).detail("role", "ROLE_SERVICE")
}

/// Waits for what comes of it.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

/// A log with so many records.
pub fn log(records: usize, options: AuditOptions) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    more(folder.path(), 0..records, options);
    folder
}

/// Opens a log, records these, and closes it.
pub fn more(folder: &Path, records: std::ops::Range<usize>, options: AuditOptions) {
    let audit = Audit::open(folder, 1, options).unwrap();
    wait(async {
        for n in records {
            audit.record(entry(n)).await.unwrap();
        }
        audit.close().await;
    });
}

/// The files, oldest first.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
        .collect();
    files.sort();
    files
}

/// What is found of it.
#[track_caller]
pub fn report(folder: &Path) -> Report {
    verify(folder, &[]).unwrap()
}

/// The same of one of which nothing is wrong.
#[track_caller]
pub fn whole(folder: &Path) -> Report {
    let report = report(folder);
    assert!(report.is_whole(), "{:#?}", report.problems);
    report
}
