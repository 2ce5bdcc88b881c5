//! The one thread that writes: it drains all that queued, packs it into the fewest frames, syncs once, and completes every append
//! in order. The next batch forms while the disk is busy with this one, and for the moment after
//! ([`JournalOptions::gather_us`]) in which those that were completed just now decide what comes next: until none of them
//! has anything to do any more ([`Lull`]).
//!
//! A failed write or sync is final. Everything that waits is completed with the failure, nothing is acknowledged afterwards, and
//! no sync is tried again: a kernel that failed one has forgotten the pages it could not write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_sealing::Cipher;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::disk::Space;
use crate::error::{Failure, JournalError, StoreError};
use crate::frame::{Packer, Position};
use crate::lull::Lull;
use crate::mark::{HighWater, Mark};
use crate::options::{BLIND_GATHER_US_MAX, JournalOptions, MARK_SYNC_COMMITS, QUIET_RECORDS_MAX};
use crate::store::Store;
use crate::telemetry::Telemetry;

/// Called once an append is durable, or can never be.
pub type Done = Box<dyn FnOnce(Result<&[Position], JournalError>) + Send>;
/// Called once the journal has failed.
pub type OnFailure = Box<dyn FnOnce(Failure) + Send>;

/// What handles and committer share.
pub(crate) struct Shared {
    pub(crate) options: JournalOptions,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) wake: Condvar,
    pub(crate) space: Space,
    pub(crate) counters: Counters,
    /// By so many nanoseconds each sync is held up: for whoever tries what a slow disk does.
    pub(crate) slowed_nanos: AtomicU64,
}

/// What waits for the committer, and what it must know.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) appends: Vec<Append>,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    /// Whether anything of it must be made durable now.
    pub(crate) urgent: bool,
    pub(crate) truncate_before: Option<u64>,
    pub(crate) closing: bool,
    pub(crate) failure: Option<Failure>,
    pub(crate) on_failure: Vec<OnFailure>,
}

pub(crate) struct Append {
    pub(crate) records: Vec<Bytes>,
    pub(crate) done: Option<Done>,
}

/// What [`JournalStatus`](crate::JournalStatus) is read from; written by the committer alone.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) first_seq: AtomicU64,
    /// Last durable sequence.
    pub(crate) durable_seq: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) payload_bytes: AtomicU64,
    pub(crate) last_sync_nanos: AtomicU64,
}

impl Queue {
    /// Whether the committer has something to do.
    fn is_due(&self) -> bool {
        self.urgent || self.closing || self.truncate_before.is_some() || self.records >= QUIET_RECORDS_MAX
    }
}

/// What one commit wrote.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    frames: u64,
    payload_bytes: u64,
}

pub(crate) struct Committer {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    mark: Box<dyn Mark>,
    packer: Packer,
    water: HighWater,
    commits_since_mark_sync: u32,
    batch: Vec<Append>,
    positions: Vec<Position>,
    telemetry: Telemetry,
    /// How often the deciding threads had begun to work when they were last told of a commit.
    wakes: u64,
}

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Arc<dyn Store>,
        mark: Box<dyn Mark>,
        water: HighWater,
        seal: Option<Cipher>,
    ) -> Self {
        let next = water.last.max(water.first - 1) + 1;
        Self {
            shared,
            store,
            mark,
            packer: Packer::sealed(next, water.last_hash, seal),
            water,
            commits_since_mark_sync: 0,
            batch: Vec::new(),
            positions: Vec::new(),
            telemetry: Telemetry::new(),
            wakes: 0,
        }
    }

    /// Runs until the journal is closed or fails.
    pub(crate) fn run(mut self) {
        let failure = match catch_unwind(AssertUnwindSafe(|| self.work())) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Failure::from(error),
            Err(panic) => Failure {
                operation: "run the committer of",
                path: self.shared.options.dir.clone(),
                cause: format!("it panicked: {}", panic_text(panic.as_ref())).into(),
            },
        };
        self.fail(failure);
    }

    fn work(&mut self) -> Result<(), StoreError> {
        loop {
            let (truncate_before, closing) = self.drain();
            if !self.batch.is_empty() {
                self.commit()?;
                let queue = self.shared.queue.lock();
                self.telemetry.note_queue(queue.records, queue.bytes);
            }
            self.tidy(truncate_before, closing)?;
            if closing {
                return Ok(());
            }
        }
    }

    /// What follows a commit: the cut that was asked for, and the mark's sync when it is due.
    pub(crate) fn tidy(&mut self, truncate_before: Option<u64>, closing: bool) -> Result<(), StoreError> {
        if let Some(sequence) = truncate_before {
            self.truncate(sequence)?;
        }
        if closing || self.commits_since_mark_sync >= MARK_SYNC_COMMITS {
            self.sync_mark()?;
        }
        Ok(())
    }

    /// Waits for work and takes all of it.
    fn drain(&mut self) -> (Option<u64>, bool) {
        let mut queue = self.shared.queue.lock();
        while !queue.is_due() {
            self.shared.wake.wait(&mut queue);
        }
        if queue.urgent && !queue.closing && self.shared.options.gather_us > 0 {
            MutexGuard::unlocked(&mut queue, || self.gather());
        }
        Self::take(&mut self.batch, &self.telemetry, &mut queue)
    }

    /// Takes all that waits, if anything is due: what [`Self::tidy`] needs to know. For whoever may not wait.
    pub(crate) fn try_drain(&mut self) -> Option<(Option<u64>, bool)> {
        let mut queue = self.shared.queue.lock();
        let due = queue.is_due();
        due.then(|| Self::take(&mut self.batch, &self.telemetry, &mut queue))
    }

    fn take(batch: &mut Vec<Append>, telemetry: &Telemetry, queue: &mut Queue) -> (Option<u64>, bool) {
        std::mem::swap(&mut queue.appends, batch);
        telemetry.note_queue(queue.records, queue.bytes);
        queue.records = 0;
        queue.bytes = 0;
        queue.urgent = false;
        (queue.truncate_before.take(), queue.closing)
    }

    /// Lets come along what is being decided now.
    fn gather(&self) {
        let JournalOptions { gather_us, lull, .. } = &self.shared.options;
        match lull {
            Some(lull) => lull.wait(self.wakes, Duration::from_micros(*gather_us)),
            None => thread::sleep(Duration::from_micros((*gather_us).min(BLIND_GATHER_US_MAX))),
        }
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let written = self.write()?;
        self.finish(written)
    }

    /// Writes what was drained, without a sync.
    pub(crate) fn write(&mut self) -> Result<Written, StoreError> {
        self.positions.clear();
        let (mut frames, mut payload_bytes) = (0_u64, 0_u64);
        let store = &*self.store;
        let mut emit = |sequence, frame: &[u8]| {
            frames += 1;
            store.append(sequence, frame)
        };
        for record in self.batch.iter().flat_map(|append| &append.records) {
            payload_bytes += record.len() as u64;
            self.positions.push(self.packer.push(record, &mut emit)?);
        }
        self.packer.end_commit(&mut emit)?;
        if let Some(error) = self.packer.unsealed() {
            return Err(StoreError::other(
                "seal a frame of",
                &self.shared.options.dir,
                error,
            ));
        }
        if crate::planted!(AckBeforeSync) {
            self.complete();
        }
        Ok(Written {
            frames,
            payload_bytes,
        })
    }

    /// Makes what was written durable, and completes the appends that it came from.
    pub(crate) fn finish(&mut self, written: Written) -> Result<(), StoreError> {
        let Written {
            frames,
            payload_bytes,
        } = written;
        if frames > 0 {
            self.make_durable()?;
            self.account(frames, payload_bytes);
        }
        self.complete();
        Ok(())
    }

    /// The sync that acknowledgements rest on, then the mark that says how far they go.
    fn make_durable(&mut self) -> Result<(), StoreError> {
        let started = Instant::now();
        if !crate::planted!(SkipSync) {
            self.store.sync()?;
        }
        let slowed = self.shared.slowed_nanos.load(Ordering::Relaxed);
        if slowed > 0 {
            thread::sleep(Duration::from_nanos(slowed));
        }
        let ended = Instant::now();
        self.water.last = self.packer.sequence() - 1;
        self.water.last_hash = self.packer.previous_hash();
        self.mark.store(self.water)?;
        self.commits_since_mark_sync += 1;
        let elapsed = ended - started;
        self.telemetry.sync_seconds.record(elapsed.as_secs_f64());
        let counters = &self.shared.counters;
        counters
            .last_sync_nanos
            .store(elapsed.as_nanos() as u64, Ordering::Relaxed);
        counters.durable_seq.store(self.water.last, Ordering::Release);
        self.look_at_disk(ended);
        Ok(())
    }

    /// Notes how full the disk is.
    fn look_at_disk(&self, now: Instant) {
        let free_bytes = self.store.free_bytes();
        if let Some(free_bytes) = free_bytes {
            self.telemetry.free_bytes.set(free_bytes as f64);
        }
        self.shared.space.observe(free_bytes, now);
        let sizes = self.store.sizes();
        self.telemetry.disk_bytes.set(sizes.disk_bytes as f64);
        self.telemetry.segments.set(sizes.segments as f64);
    }

    fn account(&self, frames: u64, payload_bytes: u64) {
        let records = self.positions.len() as u64;
        let counters = &self.shared.counters;
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        counters.frames.fetch_add(frames, Ordering::Relaxed);
        counters.records.fetch_add(records, Ordering::Relaxed);
        counters.payload_bytes.fetch_add(payload_bytes, Ordering::Relaxed);
        self.telemetry.syncs.increment(1);
        self.telemetry.frames.increment(frames);
        self.telemetry.records.increment(records);
        self.telemetry.payload_bytes.increment(payload_bytes);
        self.telemetry.batch_records.record(records as f64);
        self.telemetry.batch_frames.record(frames as f64);
    }

    fn complete(&mut self) {
        self.wakes = self.shared.options.lull.as_ref().map_or(0, Lull::wakes);
        let mut positions = self.positions.as_slice();
        for append in &mut self.batch {
            let (own, rest) = positions.split_at(append.records.len());
            positions = rest;
            if let Some(done) = append.done.take() {
                done(Ok(own));
            }
        }
        self.batch.clear();
    }

    /// Lets go of what is before `sequence`. The mark says so, durably and in both slots, before anything is removed: a slot that
    /// still asked for a removed frame would make the journal refuse to open.
    fn truncate(&mut self, sequence: u64) -> Result<(), StoreError> {
        let sequence = sequence.min(self.water.last);
        if sequence <= self.water.first {
            return Ok(());
        }
        self.water.first = sequence;
        self.shared.counters.first_seq.store(sequence, Ordering::Release);
        for _slot in 0..2 {
            self.mark.store(self.water)?;
            self.sync_mark()?;
        }
        self.store.truncate_before(sequence)
    }

    fn sync_mark(&mut self) -> Result<(), StoreError> {
        self.commits_since_mark_sync = 0;
        self.mark.sync()
    }

    /// Refuses everything from here on, completes all that waits with the failure, and tells whoever asked to be told.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.telemetry.failed.set(1.0);
        self.telemetry.note_queue(0, 0);
        self.store.abandon();
        let (queued, on_failure) = {
            let mut queue = self.shared.queue.lock();
            queue.failure = Some(failure.clone());
            (
                std::mem::take(&mut queue.appends),
                std::mem::take(&mut queue.on_failure),
            )
        };
        for append in self.batch.drain(..).chain(queued) {
            if let Some(done) = append.done {
                // A caller's panic must not keep the others from hearing of it.
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    done(Err(JournalError::Poisoned(failure.clone())))
                }));
            }
        }
        for tell in on_failure {
            let _ = catch_unwind(AssertUnwindSafe(|| tell(failure.clone())));
        }
        // Last, since a disk that is full may be the log's as well, and everybody must hear of it all the same.
        tracing::error!(%failure, "the journal failed for good");
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
