//! The journal: appends that are committed together, and reading a million records back.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

mod setting;

use std::{path::Path, sync::mpsc, time::Duration};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use docket_persistence::{Journal, JournalOptions, Recovery};

/// About what the record of an order's first event weighs.
const RECORD_BYTES: usize = 128;
/// Records of one commit.
const BATCHES: [usize; 4] = [1, 16, 256, 4_096];
/// Records that are recovered: usually, and in the short mode.
const RECOVERED: (usize, usize) = (1_000_000, 10_000);
/// Records of an append while the journal to recover is written.
const APPENDED_AT_ONCE: usize = 10_000;

fn main() {
    let mut criterion = setting::criterion();
    commit(&mut criterion);
    recover(&mut criterion);
    criterion.final_summary();
}

fn open(dir: &Path) -> (Journal, Recovery) {
    Journal::open(JournalOptions::new(dir), &mut |_, _| {}).unwrap()
}

/// One append, which says whether it is durable.
fn append(journal: &Journal, records: Vec<Bytes>, durable: mpsc::Sender<bool>) {
    let done = Box::new(move |result: Result<&[_], _>| durable.send(result.is_ok()).unwrap());
    journal.append(records, done).unwrap();
}

/// `records` appends at once, one record each, as many groups make them. Returns when all are durable.
fn append_each(journal: &Journal, records: usize) {
    let (sender, receiver) = mpsc::channel();
    let record = Bytes::from_static(&[7; RECORD_BYTES]);
    for _ in 0..records {
        append(journal, vec![record.clone()], sender.clone());
    }
    drop(sender);
    assert_eq!(receiver.iter().filter(|durable| *durable).count(), records);
}

fn commit(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut group = criterion.benchmark_group("journal_commit");
    group.sampling_mode(SamplingMode::Flat);
    for records in BATCHES {
        group.throughput(Throughput::Elements(records as u64));
        group.bench_function(BenchmarkId::from_parameter(records), |bench| {
            bench.iter(|| append_each(&journal, records));
        });
    }
    group.finish();
    journal.close();
}

fn recover(criterion: &mut Criterion) {
    let records = setting::or_short(RECOVERED.0, RECOVERED.1);
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for _ in 0..records / APPENDED_AT_ONCE {
        let (sender, receiver) = mpsc::channel();
        let batch = vec![Bytes::from_static(&[7; RECORD_BYTES]); APPENDED_AT_ONCE];
        append(&journal, batch, sender);
        assert!(receiver.recv().unwrap());
    }
    journal.close();
    drop(journal);
    let mut group = criterion.benchmark_group("journal_recovery");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.throughput(Throughput::Elements(records as u64));
    group.bench_function(BenchmarkId::from_parameter(records), |bench| {
        bench.iter_custom(|openings| {
            (0..openings)
                .map(|_| {
                    // Closing it is not measured.
                    let (journal, recovery) = open(dir.path());
                    assert_eq!(recovery.records, records as u64);
                    journal.close();
                    recovery.elapsed
                })
                .sum::<Duration>()
        });
    });
    group.finish();
}
