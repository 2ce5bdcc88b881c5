//! The journal: records in, durable records out, one sequence for the whole node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};

use crate::committer::{Append, Committer, Counters, Done, OnFailure, Queue, Shared};
use crate::disk::{Disk, Space};
use crate::error::{Failure, JournalError, StoreError};
use crate::files;
use crate::frame::{FragmentKind, Fragments, Frame, FrameError, HEADER_BYTES, Opener, Position, SEAL_LABEL};
use crate::mark::{FileMark, Mark};
use crate::options::JournalOptions;
use crate::recovery::{Recovery, recover};
use crate::sled_store::SledStore;
use crate::stepper::Stepper;
use crate::store::{Store, StoreSizes};
use crate::telemetry;

/// A handle on the journal; clones are the same journal.
///
/// - An append is acknowledged (its `done` called with `Ok`) only after its records are on the disk's platter.
/// - Appends are written and acknowledged in the order in which they were made. One append is recovered whole or not at all.
/// - After a failed write or sync nothing is acknowledged any more: see [`Journal::failure`].
///
/// Dropping the last handle closes the journal.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    /// `None` once closed, so that the files are released though handles may linger.
    store: RwLock<Option<Arc<dyn Store>>>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// The journal's figures. Counters start at 0 when the journal is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStatus {
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Free bytes of the file system; `None` where the store cannot tell, or is closed.
    pub free_bytes: Option<u64>,
    /// Segments on disk.
    pub segments: u64,
    /// First sequence that is still needed.
    pub first_seq: u64,
    /// The sequence of the next frame that is not durable yet.
    pub next_seq: u64,
    /// Commits, one sync each.
    pub syncs: u64,
    /// Frames made durable.
    pub frames: u64,
    /// Records made durable.
    pub records: u64,
    /// Bytes of those records.
    pub payload_bytes: u64,
    /// How long the last sync took.
    pub last_sync: Duration,
    /// Records that wait for the committer.
    pub queue_records: u64,
    /// Bytes that wait for the committer.
    pub queue_bytes: u64,
}

/// The mark's file in the journal's directory.
pub(crate) const MARK_FILE: &str = "mark";

impl Journal {
    /// Opens the journal in `options.dir` on sled: locks the directory, recovers, calls `replay` for every whole record in order
    /// (older ones than were truncated away may be among them), starts the committer.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another process has it, else as [`open_with`](Self::open_with).
    pub fn open(
        options: JournalOptions,
        replay: &mut dyn FnMut(Position, &[u8]),
    ) -> Result<(Self, Recovery), JournalError> {
        options.validate()?;
        let store = SledStore::open(&options)?;
        let mark = FileMark::open(&options.dir.join(MARK_FILE))?;
        files::sync_dir(&options.dir)?;
        Self::open_with(Box::new(store), Box::new(mark), options, replay)
    }

    /// Opens the journal over any engine: recovers, calls `replay` for every whole record in order, starts the committer.
    ///
    /// # Errors
    /// An option is out of range, the store or the mark cannot be read, or what is on disk is not what was acknowledged
    /// ([`JournalError::Refused`]).
    pub fn open_with(
        store: Box<dyn Store>,
        mark: Box<dyn Mark>,
        options: JournalOptions,
        replay: &mut dyn FnMut(Position, &[u8]),
    ) -> Result<(Self, Recovery), JournalError> {
        let parts = Parts::recover(store, mark, options, replay)?;
        let (shared, committer) = (parts.shared.clone(), parts.committer);
        let thread = thread::Builder::new()
            .name("docket-journal".to_owned())
            .spawn(move || committer.run())
            .map_err(|error| StoreError::io("start the committer of", &shared.options.dir, &error))?;
        let journal = Self::of(parts.shared, parts.store, Some(thread));
        Ok((journal, parts.recovery))
    }

    /// As [`open_with`](Self::open_with), without a thread: nothing is written or acknowledged but by the [`Stepper`], so that who
    /// simulates time says when. Closing such a journal waits for nothing: the stepper's next steps write what was queued, unless it
    /// is dropped, as a crash does.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open_stepped(
        store: Box<dyn Store>,
        mark: Box<dyn Mark>,
        options: JournalOptions,
        replay: &mut dyn FnMut(Position, &[u8]),
    ) -> Result<(Self, Recovery, Stepper), JournalError> {
        let parts = Parts::recover(store, mark, options, replay)?;
        let journal = Self::of(parts.shared, parts.store, None);
        Ok((journal, parts.recovery, Stepper::new(parts.committer)))
    }

    fn of(shared: Arc<Shared>, store: Arc<dyn Store>, committer: Option<JoinHandle<()>>) -> Self {
        let handle = Handle {
            shared,
            store: RwLock::new(Some(store)),
            committer: Mutex::new(committer),
        };
        Self {
            handle: Arc::new(handle),
        }
    }

    /// Queues records, each of any length, and returns at once. `done` is called on the committer's thread, in the order of the
    /// appends, with the position of each record once all of them are durable, or with [`JournalError::Poisoned`] when they never
    /// will be. It must be quick: the next commit waits for it.
    ///
    /// # Errors
    /// [`JournalError::Full`] when too much waits: nothing was queued and the journal is sound. [`JournalError::TooLarge`] when the
    /// append exceeds the whole queue. [`JournalError::Poisoned`] or [`JournalError::Closed`] when the journal takes nothing any more.
    /// `done` is not called when this returns an error.
    pub fn append(&self, records: Vec<Bytes>, done: Done) -> Result<(), JournalError> {
        self.enqueue(Append {
            records,
            done: Some(done),
        })
    }

    /// Queues records that nobody waits for: they become durable with the next commit that somebody does wait for, when many of
    /// them have gathered, or when the journal is closed. A crash before that loses them.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_quietly(&self, records: Vec<Bytes>) -> Result<(), JournalError> {
        self.enqueue(Append { records, done: None })
    }

    fn enqueue(&self, append: Append) -> Result<(), JournalError> {
        let shared = &self.handle.shared;
        let (records_max, bytes_max) = (shared.options.queue_records_max, shared.options.queue_bytes_max);
        let records = append.records.len();
        let bytes = append.records.iter().map(Bytes::len).sum::<usize>();
        if records > records_max || bytes > bytes_max {
            return Err(JournalError::TooLarge {
                records,
                bytes,
                records_max,
                bytes_max,
            });
        }
        let mut queue = shared.queue.lock();
        queue.check_open()?;
        if queue.records + records > records_max || queue.bytes + bytes > bytes_max {
            let (records, bytes) = (queue.records, queue.bytes);
            // Quiet records alone may have filled it: whoever comes again must find room.
            queue.urgent = true;
            drop(queue);
            shared.wake.notify_one();
            return Err(JournalError::Full { records, bytes });
        }
        queue.records += records;
        queue.bytes += bytes;
        queue.urgent |= append.done.is_some();
        queue.appends.push(append);
        drop(queue);
        shared.wake.notify_one();
        Ok(())
    }

    /// Opens this journal's frames where they are sealed.
    pub(crate) fn opener(&self) -> Opener {
        Opener::new(self.handle.shared.options.keys.clone())
    }

    /// Reads whole records back: those from `from` on, at most `count`, and no further once `bytes_max` bytes are exceeded (the
    /// first record is returned whatever its length). Fewer come back only at the durable end. The bytes share the frames they
    /// were read from (6 KiB each), so copy what is kept for long. Blocks on the disk, for long where an old segment must be opened.
    ///
    /// # Errors
    /// [`JournalError::NoRecord`] when no record begins at `from`; [`JournalError::Unreadable`] or [`JournalError::Store`] when it
    /// cannot be read back; [`JournalError::Closed`].
    pub fn read(&self, from: Position, count: usize, bytes_max: usize) -> Result<Vec<Bytes>, JournalError> {
        let store = self.handle.store.read().clone().ok_or(JournalError::Closed)?;
        let counters = &self.handle.shared.counters;
        let (first, last) = (
            counters.first_seq.load(Ordering::Acquire),
            counters.durable_seq.load(Ordering::Acquire),
        );
        if from.seq() < first || from.seq() > last {
            return Err(JournalError::NoRecord {
                position: from,
                first,
                last,
            });
        }
        let mut records = Vec::with_capacity(count.min(64));
        let mut bytes = 0;
        let mut partial: Option<BytesMut> = None;
        let mut offset = from.offset();
        let mut opener = self.opener();
        for sequence in from.seq()..=last {
            let unreadable = |damage| JournalError::Unreadable { sequence, damage };
            let Some(frame_bytes) = store.read(sequence)? else {
                let first = counters.first_seq.load(Ordering::Acquire);
                // It may have been truncated away meanwhile.
                let gone = JournalError::NoRecord {
                    position: from,
                    first,
                    last,
                };
                return Err(if sequence < first {
                    gone
                } else {
                    unreadable(FrameError::Missing)
                });
            };
            let frame = Frame::decode_with(sequence, &frame_bytes, &mut opener).map_err(unreadable)?;
            let payload = match frame.is_sealed() {
                true => Bytes::copy_from_slice(frame.payload()),
                false => frame_bytes.slice(HEADER_BYTES..),
            };
            if offset > 0 && !Fragments::of(&payload, 0).any(|fragment| fragment.offset == offset) {
                return Err(JournalError::NoRecord {
                    position: from,
                    first,
                    last,
                });
            }
            for fragment in Fragments::of(&payload, offset) {
                let record = match (fragment.kind, &mut partial) {
                    (FragmentKind::Whole, None) => payload.slice_ref(fragment.bytes),
                    (FragmentKind::First, None) => {
                        partial = Some(BytesMut::from(fragment.bytes));
                        continue;
                    }
                    (FragmentKind::Middle, Some(partial)) => {
                        partial.extend_from_slice(fragment.bytes);
                        continue;
                    }
                    (FragmentKind::Last, whole @ Some(_)) => {
                        let mut whole = whole.take().unwrap_or_default();
                        whole.extend_from_slice(fragment.bytes);
                        whole.freeze()
                    }
                    _ if records.is_empty() && sequence == from.seq() => {
                        return Err(JournalError::NoRecord {
                            position: from,
                            first,
                            last,
                        });
                    }
                    _ => return Err(unreadable(FrameError::Fragments)),
                };
                if records.len() >= count || (!records.is_empty() && bytes + record.len() > bytes_max) {
                    return Ok(records);
                }
                bytes += record.len();
                records.push(record);
            }
            if records.len() >= count {
                break;
            }
            offset = 0;
        }
        Ok(records)
    }

    /// The store, the first sequence that is needed, and the last that is durable: for who reads all of it once more.
    pub(crate) fn stored(&self) -> Result<(Arc<dyn Store>, u64, u64), JournalError> {
        let store = self.handle.store.read().clone().ok_or(JournalError::Closed)?;
        let counters = &self.handle.shared.counters;
        let last = counters.durable_seq.load(Ordering::Acquire);
        Ok((store, counters.first_seq.load(Ordering::Acquire), last))
    }

    /// Says that nothing before `position` is needed any more. Whole old segments are dropped, soon and in the background; after a
    /// restart replay begins at or somewhat before `position`.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`] or [`JournalError::Closed`].
    pub fn truncate_before(&self, position: Position) -> Result<(), JournalError> {
        let shared = &self.handle.shared;
        let mut queue = shared.queue.lock();
        queue.check_open()?;
        queue.truncate_before = queue.truncate_before.max(Some(position.seq()));
        drop(queue);
        shared.wake.notify_one();
        Ok(())
    }

    /// The journal's figures now.
    pub fn status(&self) -> JournalStatus {
        let shared = &self.handle.shared;
        let (sizes, free_bytes) = match self.handle.store.read().as_ref() {
            Some(store) => (store.sizes(), store.free_bytes()),
            None => (StoreSizes::default(), None),
        };
        let (queue_records, queue_bytes) = {
            let queue = shared.queue.lock();
            (queue.records as u64, queue.bytes as u64)
        };
        let counters = &shared.counters;
        JournalStatus {
            disk_bytes: sizes.disk_bytes,
            free_bytes,
            segments: sizes.segments,
            first_seq: counters.first_seq.load(Ordering::Acquire),
            next_seq: counters.durable_seq.load(Ordering::Acquire) + 1,
            syncs: counters.syncs.load(Ordering::Relaxed),
            frames: counters.frames.load(Ordering::Relaxed),
            records: counters.records.load(Ordering::Relaxed),
            payload_bytes: counters.payload_bytes.load(Ordering::Relaxed),
            last_sync: self.last_sync(),
            queue_records,
            queue_bytes,
        }
    }

    /// From now on each sync takes so much longer, as on a slow disk. Zero for no longer than it takes.
    pub fn slow_syncs(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.handle.shared.slowed_nanos.store(nanos, Ordering::Relaxed);
    }

    /// How long the last sync took.
    pub fn last_sync(&self) -> Duration {
        let nanos = &self.handle.shared.counters.last_sync_nanos;
        Duration::from_nanos(nanos.load(Ordering::Relaxed))
    }

    /// Why the journal failed, if it did.
    pub fn failure(&self) -> Option<Failure> {
        self.handle.shared.queue.lock().failure.clone()
    }

    /// Has `tell` called once the journal fails, after everything that waited was completed; at once if it has failed already.
    pub fn on_failure(&self, tell: OnFailure) {
        let mut queue = self.handle.shared.queue.lock();
        match queue.failure.clone() {
            None => queue.on_failure.push(tell),
            Some(failure) => {
                drop(queue);
                tell(failure);
            }
        }
    }

    /// Whether the disk has room for new client writes. Reads the file system at most once a second.
    pub fn disk(&self) -> Disk {
        let free_bytes = || self.free_bytes();
        self.handle.shared.space.current(free_bytes, Instant::now())
    }

    /// Sets the gauges of the disk, read now: a journal that has nothing to write would not hear of a disk that others fill.
    pub fn measure_disk(&self) {
        let read = match self.handle.store.read().as_ref() {
            Some(store) => (store.free_bytes(), store.size_bytes()),
            None => return,
        };
        telemetry::disk(read, self.handle.shared.options.disk_reserve_bytes);
    }

    /// Free bytes of the file system, read now; `None` where the store cannot tell, or is closed.
    pub fn free_bytes(&self) -> Option<u64> {
        let store = self.handle.store.read();
        store.as_ref().and_then(|store| store.free_bytes())
    }

    /// Makes everything that was queued durable, completes it, stops the committer and lets go of the files. Appends and reads fail
    /// from here on. Closing twice is harmless.
    pub fn close(&self) {
        self.handle.close();
    }
}

/// A journal that was recovered, and whose committer does not run yet.
struct Parts {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    committer: Committer,
    recovery: Recovery,
}

impl Parts {
    fn recover(
        store: Box<dyn Store>,
        mark: Box<dyn Mark>,
        options: JournalOptions,
        replay: &mut dyn FnMut(Position, &[u8]),
    ) -> Result<Self, JournalError> {
        options.validate()?;
        let store: Arc<dyn Store> = Arc::from(store);
        let seal = options.keys.sealer(SEAL_LABEL);
        let seal = seal.map_err(|error| StoreError::other("open", &options.dir, error))?;
        let recovered = recover(&*store, &*mark, &options.keys, replay).inspect_err(|error| {
            // After a failed sync nothing is synced again, not by closing either. A refusal wrote nothing.
            if matches!(error, JournalError::Store(_)) {
                store.abandon();
            }
        })?;
        let shared = Arc::new(Shared {
            space: Space::new(options.disk_reserve_bytes),
            options,
            queue: Mutex::new(Queue::default()),
            wake: parking_lot::Condvar::new(),
            counters: Counters::default(),
            slowed_nanos: AtomicU64::new(0),
        });
        shared
            .counters
            .first_seq
            .store(recovered.mark.first, Ordering::Relaxed);
        shared
            .counters
            .durable_seq
            .store(recovered.recovery.next_seq - 1, Ordering::Relaxed);
        let committer = Committer::new(shared.clone(), store.clone(), mark, recovered.mark, seal);
        Ok(Self {
            shared,
            store,
            committer,
            recovery: recovered.recovery,
        })
    }
}

impl Queue {
    fn check_open(&self) -> Result<(), JournalError> {
        match &self.failure {
            Some(failure) => Err(JournalError::Poisoned(failure.clone())),
            None if self.closing => Err(JournalError::Closed),
            None => Ok(()),
        }
    }
}

impl Handle {
    fn close(&self) {
        self.shared.queue.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(committer) = self.committer.lock().take() {
            // The last handle may be dropped by a `done`, on the committer's own thread: it ends by itself.
            if committer.thread().id() != thread::current().id() && committer.join().is_err() {
                tracing::error!("the journal's committer panicked while it failed");
            }
        }
        self.store.write().take();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.handle.shared.options.dir)
            .finish_non_exhaustive()
    }
}
