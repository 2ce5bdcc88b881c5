//! The engine on sled: frames in *segments*, each a sled database of its own, because sled gives the space of removed keys back late
//! or never.
//!
//! ```text
//! journal/
//!   lock                             held by the process that has the journal open; holds its number
//!   mark                             the high-water mark (see `mark`)
//!   00000000000000000001/            a segment: a sled database, named after its first frame
//!     sealed                         with which key its frames are sealed, where they are (see `frame`)
//!   00000000000000043712/            the newest, which alone is written
//!   00000000000000087423.new/        being made when the process stopped: removed at the next start
//!   00000000000000000001.dropped/    let go of, being removed
//! ```
//!
//! A new segment is begun between two commits, so that its name proves that every frame before it had been synced. It is made
//! under another name and renamed, with every file and directory synced, before the first frame goes into it. All frames of a segment are
//! sealed with one key, or none is: with another key another one is begun. Old segments go by rename, oldest first, and are removed by a thread of their own, so that no commit waits for it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use docket_sealing::KeyId;
use parking_lot::Mutex;

use crate::at_rest;
use crate::durable_db::{DurableDb, NEW_SUFFIX, with_suffix};
use crate::error::{JournalError, StoreError};
use crate::files::{self, DirLock};
use crate::frame;
use crate::options::JournalOptions;
use crate::store::{Store, StoreSizes};

/// Older segments that stay open for reading, the last used ones.
const READ_SEGMENTS_MAX: usize = 2;
/// Digits of a segment's name: those of the largest sequence.
const NAME_DIGITS: usize = 20;
const DROPPED_SUFFIX: &str = ".dropped";

/// Frames in sled databases below one directory.
pub struct SledStore {
    dir: PathBuf,
    segment_bytes: u64,
    cache_bytes: u64,
    segments: Mutex<Segments>,
    readers: Mutex<Vec<Arc<Segment>>>,
    abandoned: AtomicBool,
    /// Declared last: released after the databases are closed.
    _lock: Option<DirLock>,
}

/// Locked behind [`SledStore::readers`] where both are.
struct Segments {
    /// Those that are no longer written, oldest first.
    older: Vec<Older>,
    newest: Option<Arc<Segment>>,
    /// With which key the frames of the newest are sealed.
    newest_key: Option<KeyId>,
    /// Bytes of frames in the newest, as far as they were seen.
    newest_frame_bytes: u64,
    /// Whether anything was written since the last sync.
    unsynced: bool,
}

#[derive(Clone, Debug)]
struct Older {
    first: u64,
    disk_bytes: u64,
}

struct Segment {
    first: u64,
    db: DurableDb,
}

impl SledStore {
    /// Opens the segments below `options.dir`, which is created when there is none, and locks it.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another process has it; [`JournalError::Store`] when it cannot be read.
    pub fn open(options: &JournalOptions) -> Result<Self, JournalError> {
        files::create_dir_durably(&options.dir)?;
        let lock = DirLock::acquire(&options.dir)?;
        remove_leftovers(&options.dir)?;
        Self::of(options, Some(lock))
    }

    /// Opens the segments below `dir` to be looked at: neither makes, removes nor repairs anything.
    pub(crate) fn inspect(dir: &Path) -> Result<Self, JournalError> {
        Self::of(&JournalOptions::new(dir), DirLock::borrow(dir)?)
    }

    fn of(options: &JournalOptions, lock: Option<DirLock>) -> Result<Self, JournalError> {
        let mut older = list_segments(&options.dir)?;
        // Every open segment has a cache of its own: the option bounds their sum.
        let cache_bytes = options.cache_bytes / (1 + READ_SEGMENTS_MAX as u64);
        let mut newest_key = None;
        let newest = match older.pop() {
            Some(Older { first, .. }) => {
                let path = segment_path(&options.dir, first);
                newest_key = at_rest::read_head(&path)?.map(|(head, _)| head.key());
                let db = DurableDb::open(&path, cache_bytes)?;
                Some(Arc::new(Segment { first, db }))
            }
            None => None,
        };
        Ok(Self {
            dir: options.dir.clone(),
            segment_bytes: options.segment_bytes,
            cache_bytes,
            segments: Mutex::new(Segments {
                older,
                newest,
                newest_key,
                newest_frame_bytes: 0,
                unsynced: false,
            }),
            readers: Mutex::default(),
            abandoned: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// The first sequences of all segments, oldest first.
    pub(crate) fn segment_starts(&self) -> Vec<u64> {
        let segments = self.segments.lock();
        let older = segments.older.iter().map(|older| older.first);
        older
            .chain(segments.newest.iter().map(|newest| newest.first))
            .collect()
    }

    /// Visits the frames of the one segment that begins at `start`.
    pub(crate) fn walk_segment(
        &self,
        start: u64,
        visit: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.walk_segment_from(start, 0, visit).map(|_walked| ())
    }

    fn walk_segment_from(
        &self,
        start: u64,
        from: u64,
        visit: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        match self.readable(start)? {
            Some(segment) => segment.db.walk(from, visit),
            None => Ok(ControlFlow::Continue(())),
        }
    }

    /// The segment to append to: a new one behind one that is full, or of another key, between two commits.
    fn writable(&self, sequence: u64, frame: &[u8]) -> Result<Arc<Segment>, StoreError> {
        let key = frame::key_of(frame);
        let is_over = {
            let segments = self.segments.lock();
            let is_full = segments.newest_frame_bytes >= self.segment_bytes;
            let is_of_key = segments.newest_key == key;
            segments.newest.is_none() || (!segments.unsynced && (is_full || !is_of_key))
        };
        if is_over {
            self.begin_segment(sequence, key, frame)?;
        }
        let mut segments = self.segments.lock();
        segments.unsynced = true;
        segments.newest_frame_bytes += frame.len() as u64;
        self.newest_of(&segments)
    }

    fn begin_segment(&self, first: u64, key: Option<KeyId>, frame: &[u8]) -> Result<(), StoreError> {
        let head = frame::head_of(frame).map(|head| head.text());
        let path = segment_path(&self.dir, first);
        // The one that is there has no frame: what was in it was cut.
        let is_there = self
            .segments
            .lock()
            .newest
            .as_ref()
            .is_some_and(|newest| newest.first == first);
        if is_there {
            at_rest::replace_head(&path, head.as_deref())?;
            self.segments.lock().newest_key = key;
            return Ok(());
        }
        let db = DurableDb::create(&path, self.cache_bytes, head.as_deref())?;
        let mut readers = self.readers.lock();
        let mut segments = self.segments.lock();
        segments.newest_frame_bytes = 0;
        segments.newest_key = key;
        if let Some(old) = segments.newest.replace(Arc::new(Segment { first, db })) {
            segments.older.push(Older {
                first: old.first,
                disk_bytes: old.db.file_bytes(),
            });
            keep_for_reading(&mut readers, old);
        }
        Ok(())
    }

    fn newest_of(&self, segments: &Segments) -> Result<Arc<Segment>, StoreError> {
        segments
            .newest
            .clone()
            .ok_or_else(|| StoreError::other("use", &self.dir, "there is no segment"))
    }

    /// The segment that holds `sequence`, opened if need be; `None` when it is older than all.
    fn readable(&self, sequence: u64) -> Result<Option<Arc<Segment>>, StoreError> {
        if let Some(newest) = self
            .segments
            .lock()
            .newest
            .as_ref()
            .filter(|newest| newest.first <= sequence)
        {
            return Ok(Some(newest.clone()));
        }
        // With the readers locked no segment is dropped while it is looked up and opened.
        let mut readers = self.readers.lock();
        let first = {
            let segments = self.segments.lock();
            if let Some(newest) = segments.newest.as_ref().filter(|newest| newest.first <= sequence) {
                return Ok(Some(newest.clone()));
            }
            let behind = segments.older.partition_point(|older| older.first <= sequence);
            match behind.checked_sub(1) {
                Some(index) => segments.older[index].first,
                None => return Ok(None),
            }
        };
        self.open_for_reading(&mut readers, first).map(Some)
    }

    fn open_for_reading(
        &self,
        readers: &mut Vec<Arc<Segment>>,
        first: u64,
    ) -> Result<Arc<Segment>, StoreError> {
        if let Some(index) = readers.iter().position(|reader| reader.first == first) {
            let reader = readers.remove(index);
            readers.push(reader.clone());
            return Ok(reader);
        }
        let db = DurableDb::open(&segment_path(&self.dir, first), self.cache_bytes)?;
        let reader = Arc::new(Segment { first, db });
        keep_for_reading(readers, reader.clone());
        Ok(reader)
    }
}

impl Store for SledStore {
    fn append(&self, sequence: u64, frame: &[u8]) -> Result<(), StoreError> {
        self.writable(sequence, frame)?.db.insert(sequence, frame)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let newest = self.segments.lock().newest.clone();
        let Some(newest) = newest else { return Ok(()) };
        newest.db.sync()?;
        self.segments.lock().unsynced = false;
        Ok(())
    }

    fn replay(
        &self,
        from: u64,
        visit: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let starts = self.segment_starts();
        // Segments that end before `from` need not be opened.
        let behind = starts.partition_point(|start| *start <= from).saturating_sub(1);
        let mut frame_bytes = 0;
        let open: Vec<u64> = self.readers.lock().iter().map(|reader| reader.first).collect();
        for (index, start) in starts.iter().enumerate().skip(behind) {
            let end = starts.get(index + 1).copied().unwrap_or(u64::MAX);
            let mut foreign = None;
            frame_bytes = 0;
            let walked = self.walk_segment_from(*start, from, &mut |sequence, frame| {
                frame_bytes += frame.len() as u64;
                if (*start..end).contains(&sequence) {
                    return visit(sequence, frame);
                }
                foreign = Some(sequence);
                ControlFlow::Break(())
            })?;
            if !open.contains(start) {
                // What it was opened for is done, and its cache would stay.
                self.readers.lock().retain(|reader| reader.first != *start);
            }
            if let Some(foreign) = foreign {
                let cause = format!(
                    "frame {foreign} is in the segment of frames {start} to {}",
                    end - 1
                );
                return Err(StoreError::other("read", &self.path_of(*start), cause));
            }
            if walked.is_break() {
                return Ok(());
            }
        }
        let mut segments = self.segments.lock();
        segments.newest_frame_bytes = segments.newest_frame_bytes.max(frame_bytes);
        Ok(())
    }

    /// Opens the newest segment once more. sled keeps its cache within its bounds a part of 256 at a time, and looks at one when it was used 64
    /// times: of pages that are walked over once several times the cache's size stays, until others are used as often.
    fn end_replay(&self) -> Result<(), StoreError> {
        let mut segments = self.segments.lock();
        if segments.newest_frame_bytes < self.cache_bytes {
            return Ok(());
        }
        let Some(newest) = segments.newest.take() else {
            return Ok(());
        };
        match Arc::try_unwrap(newest) {
            Ok(newest) => {
                let first = newest.first;
                // Closed first: two cannot have it.
                drop(newest);
                let db = DurableDb::open(&segment_path(&self.dir, first), self.cache_bytes)?;
                segments.newest = Some(Arc::new(Segment { first, db }));
            }
            Err(in_use) => segments.newest = Some(in_use),
        }
        Ok(())
    }

    fn read(&self, sequence: u64) -> Result<Option<Bytes>, StoreError> {
        match self.readable(sequence)? {
            Some(segment) => segment.db.get(sequence),
            None => Ok(None),
        }
    }

    fn cut_after(&self, sequence: u64) -> Result<(), StoreError> {
        let newest = self.segments.lock().newest.clone();
        let Some(newest) = newest else { return Ok(()) };
        if newest.first > sequence + 1 {
            let cause = format!("cannot cut behind frame {sequence}: that is before this segment");
            return Err(StoreError::other("cut", newest.db.file_path(), cause));
        }
        newest.db.remove_after(sequence)?;
        self.sync()
    }

    fn truncate_before(&self, sequence: u64) -> Result<(), StoreError> {
        let mut readers = self.readers.lock();
        let dropped: Vec<Older> = {
            let mut segments = self.segments.lock();
            let Some(newest) = segments.newest.as_ref().map(|newest| newest.first) else {
                return Ok(());
            };
            let ends: Vec<u64> = segments
                .older
                .iter()
                .skip(1)
                .map(|older| older.first)
                .chain([newest])
                .collect();
            // A segment goes when the next one begins at or before what is needed.
            let gone = ends
                .iter()
                .take_while(|end| **end <= sequence)
                .count()
                .min(segments.older.len());
            segments.older.drain(..gone).collect()
        };
        if dropped.is_empty() {
            return Ok(());
        }
        let mut gone = Vec::new();
        for segment in &dropped {
            let path = segment_path(&self.dir, segment.first);
            let away = with_suffix(&path, DROPPED_SUFFIX);
            files::rename_durably(&path, &away)?;
            gone.push(away);
        }
        let (open, kept) = readers
            .drain(..)
            .partition(|reader| dropped.iter().any(|segment| segment.first == reader.first));
        *readers = kept;
        drop(readers);
        remove_in_background(open, gone);
        Ok(())
    }

    fn sizes(&self) -> StoreSizes {
        let segments = self.segments.lock();
        let older = segments.older.iter().map(|older| older.disk_bytes).sum::<u64>();
        let newest = segments
            .newest
            .as_ref()
            .map_or(0, |newest| newest.db.file_bytes());
        StoreSizes {
            disk_bytes: older + newest,
            segments: segments.older.len() as u64 + u64::from(segments.newest.is_some()),
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        files::free_bytes(&self.dir)
    }

    fn size_bytes(&self) -> Option<u64> {
        files::size_bytes(&self.dir)
    }

    fn path_of(&self, sequence: u64) -> PathBuf {
        let starts = self.segment_starts();
        let holder = starts
            .iter()
            .rev()
            .find(|start| **start <= sequence)
            .or_else(|| starts.first());
        holder.map_or_else(
            || self.dir.clone(),
            |start| segment_path(&self.dir, *start).join("db"),
        )
    }

    fn newest_segment_start(&self) -> Option<u64> {
        self.segments.lock().newest.as_ref().map(|newest| newest.first)
    }

    fn segment_starts(&self) -> Vec<u64> {
        Self::segment_starts(self)
    }

    fn forget_segment(&self, start: u64) {
        let mut readers = self.readers.lock();
        if self.newest_segment_start() != Some(start) {
            // Closed before the kernel is asked: what is open and was not written back stays.
            readers.retain(|reader| reader.first != start);
            files::forget(&segment_path(&self.dir, start));
        }
    }

    fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        if let Some(newest) = &self.segments.lock().newest {
            newest.db.abandon();
        }
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        if self.abandoned.load(Ordering::Acquire) {
            self.readers.lock().iter().for_each(|reader| reader.db.abandon());
        }
    }
}

fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:0NAME_DIGITS$}"))
}

fn keep_for_reading(readers: &mut Vec<Arc<Segment>>, segment: Arc<Segment>) {
    readers.push(segment);
    if readers.len() > READ_SEGMENTS_MAX {
        drop(readers.remove(0));
    }
}

/// Segments below `dir`, oldest first.
fn list_segments(dir: &Path) -> Result<Vec<Older>, StoreError> {
    let mut segments = Vec::new();
    for path in files::entries(dir)? {
        let first = path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|name| name.len() == NAME_DIGITS);
        if let Some(first) = first.and_then(|name| name.parse().ok()) {
            let disk_bytes = std::fs::metadata(path.join("db")).map_or(0, |metadata| metadata.len());
            segments.push(Older { first, disk_bytes });
        }
    }
    Ok(segments)
}

/// Removes what a crash left of a segment that was being made or removed.
fn remove_leftovers(dir: &Path) -> Result<(), StoreError> {
    for path in files::entries(dir)? {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let digits = name
            .strip_suffix(NEW_SUFFIX)
            .or_else(|| name.strip_suffix(DROPPED_SUFFIX));
        if digits.is_some_and(|digits| digits.len() == NAME_DIGITS) {
            files::remove_tree(&path)?;
        }
    }
    Ok(())
}

fn remove_in_background(open: Vec<Arc<Segment>>, gone: Vec<PathBuf>) {
    let remove = move || {
        drop(open);
        for path in gone {
            if let Err(error) = files::remove_tree(&path) {
                tracing::warn!(%error, "an old segment stays until the next start");
            }
        }
    };
    // Without a thread the removal waits for the next start, as after a crash.
    if let Err(error) = thread::Builder::new()
        .name("docket-journal-drop".to_owned())
        .spawn(remove)
    {
        tracing::warn!(%error, "old segments stay until the next start");
    }
}
