//! When a node reads by itself what it has stored, and what it knows of that.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use docket_cluster::clock::wall_clock;
use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::{ScrubError, ScrubReport, report::KINDS};
use crate::{Docket, docket::Inner};

/// A node that was just started begins within so long, also where it reads less often: else one that is started anew every day never would.
const FIRST_WITHIN: Duration = Duration::from_secs(60 * 60);
/// What cannot begin now is tried again after so long.
const AGAIN: Duration = Duration::from_secs(60);

const BYTES: &str = "docket_scrub_bytes_total";
const LAST: &str = "docket_scrub_last_success_timestamp_seconds";
const SECONDS: &str = "docket_scrub_seconds";
const EVERY: &str = "docket_scrub_every_seconds";
const DAMAGED: &str = "docket_scrub_damaged";

/// How a node reads by itself what it has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubOptions {
    /// How often; `None` for never. Default once a day.
    pub every: Option<Duration>,
    /// So fast at most; 0 for as fast as it goes. Default 8 MiB.
    pub bytes_per_second: u64,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self {
            every: Some(Duration::from_secs(24 * 60 * 60)),
            bytes_per_second: 8 * 1024 * 1024,
        }
    }
}

/// One that goes on, or was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrubbing {
    /// When it began.
    pub begun: SystemTime,
    /// How long it took, or takes so far.
    pub took: Duration,
    /// The node began it by itself.
    pub by_itself: bool,
    /// What was found, or is so far.
    pub report: Arc<ScrubReport>,
}

/// What a node knows of what it has read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubStatus {
    /// The one that goes on.
    pub now: Option<Scrubbing>,
    /// The last that was carried out.
    pub last: Option<Scrubbing>,
    /// How many were carried out since the start.
    pub ended: u64,
}

/// The readings of a node.
pub(crate) struct Scrubs {
    pub(super) options: watch::Sender<ScrubOptions>,
    /// The one turn that there is.
    pub(super) turn: Arc<Semaphore>,
    /// How much was read by the one that goes on.
    bytes: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    status: ScrubStatus,
    since: Option<Instant>,
}

impl Scrubs {
    pub(crate) fn new(options: ScrubOptions) -> Self {
        Self {
            options: watch::Sender::new(options),
            turn: Arc::new(Semaphore::new(1)),
            bytes: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// As this says from now on. What goes on keeps the new pace.
    pub(crate) fn set(&self, options: ScrubOptions) {
        self.options.send_replace(options);
    }

    /// Waits until nothing is read any more, so long at most.
    pub(crate) async fn ended(&self, most: Duration) {
        let _ = tokio::time::timeout(most, self.turn.acquire()).await;
    }

    pub(super) fn status(&self) -> ScrubStatus {
        let state = self.state.lock();
        let mut status = state.status.clone();
        if let Some(now) = &mut status.now {
            now.took = state.since.map(|since| since.elapsed()).unwrap_or_default();
            Arc::make_mut(&mut now.report).bytes = self.bytes.load(Ordering::Relaxed);
        }
        status
    }

    pub(super) fn begin(&self, by_itself: bool) {
        self.bytes.store(0, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.since = Some(Instant::now());
        state.status.now = Some(Scrubbing {
            begun: wall_clock(),
            took: Duration::ZERO,
            by_itself,
            report: Arc::default(),
        });
    }

    pub(super) fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        counter!(BYTES).increment(bytes);
    }

    /// Something is damaged: that is told at once. What was found before, and may not have been come to again yet, stands.
    pub(super) fn found(&self, report: &ScrubReport) {
        let mut state = self.state.lock();
        if let Some(now) = &mut state.status.now {
            now.report = Arc::new(report.clone());
        }
        let before = state.status.last.as_ref().map(|last| &last.report.by_kind);
        let count = |of: &BTreeMap<&'static str, u64>, kind| of.get(kind).copied().unwrap_or_default();
        for kind in KINDS {
            let stands = before.map_or(0, |before| count(before, kind));
            gauge!(DAMAGED, "kind" => kind).set(stands.max(count(&report.by_kind, kind)) as f64);
        }
    }

    /// It has ended: with a report, where all was read.
    pub(super) fn end(&self, report: Option<Arc<ScrubReport>>) {
        let mut state = self.state.lock();
        let took = state.since.take().map(|since| since.elapsed());
        let (Some(now), Some(report)) = (state.status.now.take(), report) else {
            return;
        };
        let took = took.unwrap_or_default();
        gauge!(SECONDS).set(took.as_secs_f64());
        let ended = wall_clock().duration_since(SystemTime::UNIX_EPOCH);
        gauge!(LAST).set(ended.unwrap_or_default().as_secs_f64());
        for kind in KINDS {
            let count = report.by_kind.get(kind).copied().unwrap_or_default();
            gauge!(DAMAGED, "kind" => kind).set(count as f64);
        }
        state.status.ended += 1;
        state.status.last = Some(Scrubbing { took, report, ..now });
    }
}

/// Reads as often as is configured, until the node closes.
pub(crate) async fn run(inner: Arc<Inner>) {
    let docket = Docket { inner };
    let closing = docket.inner.closing.clone();
    let reading = async {
        let mut settings = docket.inner.scrubs.options.subscribe();
        let (mut since, mut most) = (tokio::time::Instant::now(), FIRST_WITHIN);
        loop {
            let every = settings.borrow_and_update().every;
            gauge!(EVERY).set(every.unwrap_or_default().as_secs_f64());
            let due = async {
                match every {
                    Some(every) => tokio::time::sleep(every.min(most).saturating_sub(since.elapsed())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                // What has been waited counts.
                Ok(()) = settings.changed() => continue,
            }
            most = match docket.scrub_turn() {
                Ok(turn) => {
                    docket.inner.scrubs.begin(true);
                    match docket.scrub_in(turn).await {
                        Ok(_) => Duration::MAX,
                        Err(_) => AGAIN,
                    }
                }
                // Somebody has asked for one.
                Err(ScrubError::Busy) => AGAIN,
                Err(ScrubError::Stopping) => return,
            };
            since = tokio::time::Instant::now();
        }
    };
    tokio::select! {
        () = reading => {}
        () = closing.cancelled() => {}
    }
}

/// Describes what is measured of it.
pub(crate) fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!(
        BYTES,
        Unit::Bytes,
        "Bytes of the journal, of snapshots and of the archive that were read once more, their checksums compared."
    );
    describe_gauge!(
        LAST,
        Unit::Seconds,
        "When all that is stored was last read to its end, whatever was found, in seconds since 1970."
    );
    describe_gauge!(SECONDS, Unit::Seconds, "How long that took the last time.");
    describe_gauge!(
        EVERY,
        Unit::Seconds,
        "How often it is read (`scrub.every_s`); 0 for never."
    );
    describe_gauge!(
        DAMAGED,
        Unit::Count,
        "Places that are not what was written, by kind, as of the last time that all was read."
    );
}
