//! What the journal tells about itself, in its status and through the `metrics` facade.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use docket_persistence::mem::MemDisk;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

use crate::support::{append_and_wait, open_mem, record};

/// Keeps counters and gauges as they are, and counts what histograms are given.
#[derive(Clone, Default)]
struct Kept {
    values: Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>,
    described: Arc<Mutex<Vec<String>>>,
}

impl Kept {
    fn value(&self, name: &str) -> Arc<AtomicU64> {
        self.values.lock().entry(name.to_owned()).or_default().clone()
    }

    fn get(&self, name: &str) -> u64 {
        self.value(name).load(Ordering::Relaxed)
    }

    fn describe(&self, name: KeyName) {
        self.described.lock().push(name.as_str().to_owned());
    }
}

struct Counts(Arc<AtomicU64>);

impl HistogramFn for Counts {
    fn record(&self, _value: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(name);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(name);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.describe(name);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key.name()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key.name()))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Counts(self.value(key.name()))))
    }
}

#[test]
fn status_and_metrics_count_what_was_made_durable() {
    let kept = Kept::default();
    let disk = MemDisk::new();
    disk.set_free_bytes(Some(5_000));
    let (journal, ..) = metrics::with_local_recorder(&kept, || open_mem(&disk)).unwrap();
    for number in 0..3 {
        append_and_wait(&journal, vec![record(number, 5_000), record(number + 10, 3_000)]).unwrap();
    }
    journal.close();
    let status = journal.status();
    assert_eq!(
        (status.syncs, status.frames, status.records, status.payload_bytes),
        (3, 6, 6, 24_000)
    );
    assert_eq!((status.first_seq, status.next_seq), (1, 7));
    let gauge = |name| f64::from_bits(kept.get(name));
    let counted = ["syncs", "frames", "records", "payload_bytes"];
    let counted = counted.map(|name| kept.get(&format!("docket_journal_{name}_total")));
    assert_eq!(counted, [3, 6, 6, 24_000]);
    for histogram in ["sync_seconds", "batch_records", "batch_frames"] {
        assert_eq!(kept.get(&format!("docket_journal_{histogram}")), 3, "{histogram}");
    }
    assert!(gauge("docket_journal_bytes") > 24_000.0);
    assert_eq!(
        (gauge("docket_disk_free_bytes"), gauge("docket_journal_failed")),
        (5_000.0, 0.0)
    );

    metrics::with_local_recorder(&kept, docket_persistence::describe_metrics);
    let registered: Vec<String> = kept.values.lock().keys().cloned().collect();
    let mut described = kept.described.lock().clone();
    described.sort();
    assert_eq!(
        described, registered,
        "every metric is described, and nothing else"
    );
}
