//! What the journal tells about itself, in its status and through the `metrics` facade.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use docket_persistence::mem::MemDisk;
use docket_persistence::{JournalError, Position};
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
fn the_queue_s_gauges_show_a_commit_under_way_and_then_what_waits() {
    let kept = Kept::default();
    let disk = MemDisk::new();
    let (journal, ..) = metrics::with_local_recorder(&kept, || open_mem(&disk)).unwrap();
    let gauges = {
        let kept = kept.clone();
        move || ["records", "bytes"].map(|of| f64::from_bits(kept.get(&format!("docket_journal_queue_{of}"))))
    };
    let becomes = |expected: [f64; 2]| {
        let asked = Instant::now();
        while gauges() != expected {
            assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", gauges());
            std::thread::yield_now();
        }
    };
    let (tell, told) = mpsc::channel();
    let (gate, opens) = mpsc::channel::<()>();
    let (look, records) = (gauges.clone(), vec![record(1, 300), record(2, 500)]);
    let done = Box::new(move |_: Result<&[Position], JournalError>| {
        tell.send(look()).unwrap();
        let _ = opens.recv();
    });
    journal.append(records, done).unwrap();
    assert_eq!(told.recv().unwrap(), [2.0, 800.0]);
    // These wait for others to be committed with.
    journal.append_quietly(vec![record(3, 100); 3]).unwrap();
    drop(gate);
    becomes([3.0, 300.0]);
    append_and_wait(&journal, vec![record(4, 50)]).unwrap();
    becomes([0.0, 0.0]);
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
    metrics::with_local_recorder(&kept, || journal.measure_disk());
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
