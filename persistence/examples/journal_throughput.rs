//! Measures the journal and the snapshots on a disk, without a key and with one: `cargo run --release -p docket-persistence --example journal_throughput [DIR]`.
//! Without a directory a temporary one is used, and removed.
#![expect(clippy::unwrap_used, reason = "a measurement ends at the first error")]

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_persistence::frame::{FRAGMENT_HEADER_BYTES, PAYLOAD_BYTES_MAX};
use docket_persistence::sealing::Keyring;
use docket_persistence::{Journal, JournalOptions, SnapshotStore};
use secrecy::SecretString;

const RECORD_BYTES: usize = 128;
const SNAPSHOT_RECORDS: u64 = 1_000_000;
const SNAPSHOT_RECORD_BYTES: usize = 200;

fn main() {
    let temporary = tempfile::tempdir_in(".").unwrap();
    let dir = std::env::args()
        .nth(1)
        .map_or_else(|| temporary.path().to_owned(), Into::into);
    let secret = SecretString::from("5a".repeat(32));
    let id = "measured".parse().unwrap();
    let key = Keyring::new(Some(id), [(id, &secret)]).unwrap();
    for (name, keys) in [("plain", Keyring::default()), ("sealed", key)] {
        println!("{name}:");
        for (frames, commits) in [(1, 2_000), (16, 2_000), (64, 500)] {
            journal(
                &dir.join(format!("journal-{name}-{frames}")),
                &keys,
                frames,
                commits,
            );
        }
        snapshot(&dir.join(format!("snapshots-{name}")), keys);
    }
}

fn journal(dir: &Path, keys: &Keyring, frames: usize, commits: u32) {
    let options = || JournalOptions {
        keys: keys.clone(),
        ..JournalOptions::new(dir)
    };
    let (journal, _) = Journal::open(options(), &mut |_, _| {}).unwrap();
    let per_frame = PAYLOAD_BYTES_MAX / (RECORD_BYTES + FRAGMENT_HEADER_BYTES);
    let batch = vec![Bytes::from(vec![7; RECORD_BYTES]); per_frame * frames];
    let mut latencies = Vec::new();
    let began = Instant::now();
    for _ in 0..commits {
        let (sender, receiver) = mpsc::channel();
        let started = Instant::now();
        journal
            .append(
                batch.clone(),
                Box::new(move |result| sender.send(result.is_ok()).unwrap()),
            )
            .unwrap();
        assert!(receiver.recv().unwrap());
        latencies.push(started.elapsed());
    }
    let elapsed = began.elapsed();
    latencies.sort();
    let at = |percent: usize| latencies[latencies.len() * percent / 100];
    let status = journal.status();
    println!(
        "{frames:>3} frames a commit: {:>9.0} records/s, commit p50 {:?} p99 {:?}, {:.2} bytes on disk per byte",
        f64::from(commits) * batch.len() as f64 / elapsed.as_secs_f64(),
        at(50),
        at(99),
        status.disk_bytes as f64 / status.payload_bytes as f64,
    );
    journal.close();
    drop(journal);
    let mut records = 0_u64;
    let (_journal, recovery) = Journal::open(options(), &mut |_, _| records += 1).unwrap();
    println!(
        "    reopened with {records} records ({} MB) in {:?}",
        recovery.payload_bytes / 1_000_000,
        recovery.elapsed
    );
}

fn snapshot(dir: &Path, keys: Keyring) {
    let store = SnapshotStore::open_with(dir, keys).unwrap();
    let record = vec![9; SNAPSHOT_RECORD_BYTES];
    let began = Instant::now();
    let mut writer = store.begin(1, b"meta").unwrap();
    for _ in 0..SNAPSHOT_RECORDS {
        writer.write(&record).unwrap();
    }
    let info = writer.finish().unwrap();
    let written = began.elapsed();
    let began = Instant::now();
    let reader = store.latest(1).unwrap().unwrap();
    let checked = began.elapsed();
    let bytes: usize = reader.map(|chunk| chunk.unwrap().len()).sum();
    let read: Duration = began.elapsed() - checked;
    println!(
        "snapshot of {bytes} bytes ({} on disk): written in {written:?}, checked in {checked:?}, read in {read:?}",
        info.disk_bytes
    );
}
