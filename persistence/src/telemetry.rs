//! What the journal reports through the `metrics` facade. The handles are taken when a journal opens, so that a recorder must be
//! installed before.

use metrics::{Counter, Gauge, Histogram, Unit};

const DISK_FREE: &str = "docket_disk_free_bytes";
const DISK_SIZE: &str = "docket_disk_size_bytes";
const DISK_RESERVE: &str = "docket_disk_reserve_bytes";

/// Describes every metric of this crate to the recorder that is installed.
pub fn describe() {
    metrics::describe_histogram!(
        "docket_journal_sync_seconds",
        Unit::Seconds,
        "How long each sync of the journal took."
    );
    metrics::describe_histogram!(
        "docket_journal_batch_records",
        Unit::Count,
        "Records in one commit."
    );
    metrics::describe_histogram!(
        "docket_journal_batch_frames",
        Unit::Count,
        "Frames in one commit."
    );
    metrics::describe_counter!(
        "docket_journal_syncs_total",
        Unit::Count,
        "Commits of the journal, one sync each."
    );
    metrics::describe_counter!("docket_journal_frames_total", Unit::Count, "Frames written.");
    metrics::describe_counter!(
        "docket_journal_records_total",
        Unit::Count,
        "Records made durable."
    );
    metrics::describe_counter!(
        "docket_journal_payload_bytes_total",
        Unit::Bytes,
        "Bytes of records made durable."
    );
    metrics::describe_gauge!(
        "docket_journal_bytes",
        Unit::Bytes,
        "Bytes of the journal on disk."
    );
    metrics::describe_gauge!(
        "docket_journal_segments",
        Unit::Count,
        "Segments of the journal on disk."
    );
    metrics::describe_gauge!(
        "docket_journal_queue_records",
        Unit::Count,
        "Records that the commit under way has taken; between two commits, those that wait for the next."
    );
    metrics::describe_gauge!(
        "docket_journal_queue_bytes",
        Unit::Bytes,
        "Bytes that the commit under way has taken; between two commits, those that wait for the next."
    );
    metrics::describe_gauge!(
        DISK_FREE,
        Unit::Bytes,
        "Bytes that the data directory's disk has left."
    );
    metrics::describe_gauge!(
        DISK_SIZE,
        Unit::Bytes,
        "Bytes that the data directory's disk has, used ones among them."
    );
    metrics::describe_gauge!(
        DISK_RESERVE,
        Unit::Bytes,
        "Bytes of the disk that are kept for what was begun: with fewer left, writes are refused."
    );
    metrics::describe_gauge!(
        "docket_journal_failed",
        Unit::Count,
        "1 once the journal has failed for good."
    );
}

/// Shows how much the disk has left and has altogether, as far as that can be told, and how much of it is reserved.
pub(crate) fn disk((free, size): (Option<u64>, Option<u64>), reserve_bytes: u64) {
    for (name, bytes) in [(DISK_FREE, free), (DISK_SIZE, size)] {
        let gauge = metrics::gauge!(name);
        if let Some(bytes) = bytes {
            gauge.set(bytes as f64);
        }
    }
    metrics::gauge!(DISK_RESERVE).set(reserve_bytes as f64);
}

pub(crate) struct Telemetry {
    pub(crate) sync_seconds: Histogram,
    pub(crate) batch_records: Histogram,
    pub(crate) batch_frames: Histogram,
    pub(crate) syncs: Counter,
    pub(crate) frames: Counter,
    pub(crate) records: Counter,
    pub(crate) payload_bytes: Counter,
    pub(crate) disk_bytes: Gauge,
    pub(crate) segments: Gauge,
    pub(crate) queue_records: Gauge,
    pub(crate) queue_bytes: Gauge,
    pub(crate) free_bytes: Gauge,
    pub(crate) failed: Gauge,
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        Self {
            sync_seconds: metrics::histogram!("docket_journal_sync_seconds"),
            batch_records: metrics::histogram!("docket_journal_batch_records"),
            batch_frames: metrics::histogram!("docket_journal_batch_frames"),
            syncs: metrics::counter!("docket_journal_syncs_total"),
            frames: metrics::counter!("docket_journal_frames_total"),
            records: metrics::counter!("docket_journal_records_total"),
            payload_bytes: metrics::counter!("docket_journal_payload_bytes_total"),
            disk_bytes: metrics::gauge!("docket_journal_bytes"),
            segments: metrics::gauge!("docket_journal_segments"),
            queue_records: metrics::gauge!("docket_journal_queue_records"),
            queue_bytes: metrics::gauge!("docket_journal_queue_bytes"),
            free_bytes: metrics::gauge!(DISK_FREE),
            failed: metrics::gauge!("docket_journal_failed"),
        }
    }

    pub(crate) fn note_queue(&self, records: usize, bytes: usize) {
        self.queue_records.set(records as f64);
        self.queue_bytes.set(bytes as f64);
    }
}
