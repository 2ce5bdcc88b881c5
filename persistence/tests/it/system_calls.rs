//! The journal on sled under strace: proof that every acknowledgement follows an fdatasync of its data, and what happens when the
//! kernel refuses a write or a sync, or the process dies at one. Each test runs a child: this test binary, with
//! [`CHILD_DIR`] set. Where strace is not installed (or may not trace) a line says so and the tests end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use docket_persistence::{Journal, JournalError};

use crate::support::{append_and_wait, number, options, record};
use crate::trace::{self, Call, calls};

const CHILD_DIR: &str = "DOCKET_JOURNAL_CHILD_DIR";
const CHILD_TEST: &str = "system_calls::child";
const CHILD_APPENDS: u64 = 25;
/// Exit code of a child whose journal failed.
const FAILED: i32 = 3;
const CALLS: &str = "pwrite64,write,fdatasync,fsync,sync_file_range,rename,ftruncate";

/// Not a test of its own: what the children run. Appends, and writes "ack N" to a file for each acknowledgement.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else {
        return;
    };
    let mut acks = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("acks"))
        .unwrap();
    let stop = |error: JournalError| -> ! {
        println!("journal: {error}");
        std::process::exit(FAILED)
    };
    let mut next = 0;
    let opened = Journal::open(options(dir.join("journal")), &mut |_, record| {
        next = number(record) + 1
    });
    let (journal, _) = opened.unwrap_or_else(|error| stop(error));
    for number in next..next + CHILD_APPENDS {
        let records = vec![record(number, 500 + (number as usize * 1_900) % 14_000)];
        match append_and_wait(&journal, records) {
            Ok(_) => acks.write_all(format!("ack {number}\n").as_bytes()).unwrap(),
            Err(error) => stop(error),
        }
    }
    journal.close();
}

fn traced(dir: &Path, arguments: &[&str]) -> Option<(Output, String)> {
    trace::traced(CHILD_TEST, (CHILD_DIR, dir), arguments)
}

#[test]
fn every_acknowledgement_follows_an_fdatasync_of_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let Some((output, trace)) = traced(dir.path(), &["-e", &format!("trace={CALLS}")]) else {
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let calls = calls(&trace);
    let (mut acknowledged, mut synced_before) = (0, 0);
    let mut files = BTreeSet::new();
    for ack in calls
        .iter()
        .filter(|call| call.name == "write" && call.arguments.contains("\"ack "))
    {
        let before = || calls.iter().filter(|call| call.ended < ack.began);
        let is_data = |call: &&Call| call.path.contains("/journal/0") && call.path.ends_with("/db");
        // Per file: the last write must have ended before a successful fdatasync of the same file began.
        let mut written: BTreeMap<&str, usize> = BTreeMap::new();
        for write in before().filter(|call| call.name == "pwrite64").filter(is_data) {
            written.insert(&write.path, write.ended);
        }
        assert!(!written.is_empty(), "data is written before {}", ack.arguments);
        for (file, write) in &written {
            let synced = before().any(|call| {
                matches!(call.name.as_str(), "fdatasync" | "fsync")
                    && call.path == *file
                    && call.ok
                    && call.began > *write
            });
            assert!(
                synced,
                "{file} was written at line {write} and not synced before {}",
                ack.arguments
            );
            files.insert((*file).to_owned());
        }
        let syncs = before()
            .filter(|call| call.name == "fdatasync")
            .filter(is_data)
            .count();
        assert!(syncs > synced_before, "{} has a sync of its own", ack.arguments);
        synced_before = syncs;
        let marked = before()
            .filter(|call| call.name == "pwrite64" && call.path.ends_with("/journal/mark"))
            .count();
        assert!(
            marked > acknowledged,
            "the mark is written before {}",
            ack.arguments
        );
        acknowledged += 1;
    }
    assert_eq!(acknowledged as u64, CHILD_APPENDS, "every append is acknowledged");
    assert!(files.len() > 1, "the run goes over several segments: {files:?}");
    println!(
        "{acknowledged} acknowledgements, each behind its own fdatasync, over {} segments",
        files.len()
    );
}

/// What the child acknowledged on `dir` is there, in order; returns how much.
fn check(dir: &Path, told: &str) -> u64 {
    let acks = std::fs::read_to_string(dir.join("acks")).unwrap_or_default();
    let acknowledged: Vec<u64> = acks
        .lines()
        .map(|line| line.trim_start_matches("ack ").parse().unwrap())
        .collect();
    let mut recovered = Vec::new();
    let opened = Journal::open(options(dir.join("journal")), &mut |_, bytes| {
        let number = number(bytes);
        assert_eq!(
            bytes,
            record(number, 500 + (number as usize * 1_900) % 14_000),
            "{told}"
        );
        recovered.push(number);
    });
    opened.unwrap_or_else(|error| panic!("{told}: {error}"));
    assert_eq!(
        recovered,
        (0..recovered.len() as u64).collect::<Vec<_>>(),
        "{told}: no holes"
    );
    assert!(
        recovered.len() >= acknowledged.len(),
        "{told}: {} acknowledged, {recovered:?}",
        acknowledged.len()
    );
    acknowledged.len() as u64
}

/// Injects `how` at the nth `call`, for rising n until a child no longer meets it; returns how often it struck.
fn inject(
    call: &str,
    how: &str,
    steps: impl Iterator<Item = u64>,
    expected: impl Fn(&Output, &str, &str),
) -> Option<u64> {
    let mut struck = 0;
    for nth in steps {
        let dir = tempfile::tempdir().unwrap();
        let injection = format!("inject={call}:{how}:when={nth}");
        let (output, trace) = traced(dir.path(), &["-e", &format!("trace={CALLS}"), "-e", &injection])?;
        if output.status.success() && !trace.contains("INJECTED") {
            break;
        }
        struck += 1;
        expected(&output, &trace, &injection);
        let acknowledged = check(dir.path(), &injection);
        assert!(acknowledged <= CHILD_APPENDS);
    }
    Some(struck)
}

/// After a sync of a file failed, nothing is synced again: the kernel has forgotten what it could not write.
fn never_synced_again(trace: &str, injection: &str) {
    let calls = calls(trace);
    let sync = |call: &&Call| matches!(call.name.as_str(), "fdatasync" | "fsync");
    if let Some(failed) = calls.iter().filter(sync).find(|call| !call.ok) {
        let again = calls
            .iter()
            .filter(sync)
            .find(|call| call.began > failed.ended && call.path == failed.path);
        assert!(
            again.is_none(),
            "{injection}: synced again after {failed:?}: {again:?}"
        );
    }
}

#[test]
fn a_failed_sync_or_write_ends_the_journal_with_the_file_and_the_cause() {
    let failed = |cause: &'static str| {
        move |output: &Output, trace: &str, injection: &str| {
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(FAILED), "{injection}: {output:?}");
            never_synced_again(trace, injection);
            assert!(
                said.contains(cause) && said.contains("/journal/"),
                "{injection}: {said}"
            );
        }
    };
    let syncs = inject(
        "fdatasync",
        "error=EIO",
        (1..200).step_by(3),
        failed("Input/output error"),
    );
    let full = inject(
        "pwrite64",
        "error=ENOSPC",
        (1..400).step_by(9),
        failed("No space left on device"),
    );
    let (Some(syncs), Some(full)) = (syncs, full) else {
        return;
    };
    println!("{syncs} failed syncs, {full} full disks");
    assert!(
        syncs >= CHILD_APPENDS / 3 && full >= CHILD_APPENDS / 9,
        "{syncs} failed syncs, {full} full disks"
    );
}

#[test]
fn a_process_killed_at_any_write_sync_or_rename_loses_nothing_acknowledged() {
    let mut total = 0;
    for (call, step) in [("fdatasync", 4), ("pwrite64", 4), ("fsync", 5), ("rename", 1)] {
        let killed = inject(
            call,
            "signal=KILL",
            (1..400).step_by(step),
            |output, _trace, injection| {
                assert!(!output.status.success(), "{injection}: {output:?}");
            },
        );
        let Some(killed) = killed else { return };
        assert!(killed > 2, "{call} was met {killed} times");
        total += killed;
    }
    println!("{total} kills");
}
