//! The handle, and the thread that writes.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use docket_sealing::Keyring;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{AuditError, AuditOptions, Denial, Entry, Position, denials::Denials, store::Store};

/// So many records wait to be written at most; whoever comes then is told so.
pub const QUEUE_MAX: usize = 1_024;
/// So many are written and synced together.
const BATCH_MAX: usize = 256;
/// Of those that nobody waits for so many are kept while nothing can be written. What is more is counted.
const KEPT_MAX: usize = 1_024;
/// How often it is looked what was denied, and what is to be removed.
const TICK: Duration = Duration::from_millis(500);

/// The audit log of a node. Clones are the same one.
#[derive(Clone, Default)]
pub struct Audit {
    shared: Option<Arc<Shared>>,
}

struct Shared {
    queue: SyncSender<Ask>,
    denials: Arc<Denials>,
    /// What could not even wait.
    missed: Arc<AtomicU64>,
    at: Arc<Mutex<Position>>,
    is_failing: Arc<AtomicBool>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Ask {
    Record(Box<Entry>, Option<oneshot::Sender<Result<(), AuditError>>>),
    Options(AuditOptions),
    Close,
}

impl Audit {
    /// One that records nothing: of a server in a test.
    pub fn off() -> Self {
        Self::default()
    }

    /// Opens the log in `folder`, which is made where it is not there, and begins to write.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(folder: &Path, node: u64, options: AuditOptions) -> Result<Self, AuditError> {
        Self::open_with(folder, node, options, Keyring::default())
    }

    /// The same, with lines that are sealed, if there is a key to seal with.
    ///
    /// # Errors
    /// As [`open`](Self::open), or the key of what is there is missing.
    pub fn open_with(
        folder: &Path,
        node: u64,
        options: AuditOptions,
        keys: Keyring,
    ) -> Result<Self, AuditError> {
        let (store, entries) = Store::open(folder, node, options, keys)?;
        for entry in &entries {
            tracing::warn!(action = entry.action, file = entry.target, details = ?entry.details, "the audit log was not as it was left");
        }
        Self::start(folder, store, entries, options)
    }

    /// Begins to write, these first of all. Where that cannot be done now the node starts all the same: orders go on, and they wait.
    fn start(
        folder: &Path,
        mut store: Store,
        entries: Vec<Entry>,
        options: AuditOptions,
    ) -> Result<Self, AuditError> {
        let written = store.append(&entries.iter().collect::<Vec<_>>());
        let kept = match &written {
            Ok(()) => VecDeque::new(),
            Err(error) => {
                cannot_be_written(error);
                entries.into()
            }
        };
        let (queue, asks) = sync_channel(QUEUE_MAX);
        let (denials, missed) = (Arc::<Denials>::default(), Arc::<AtomicU64>::default());
        let at = Arc::new(Mutex::new(store.position().clone()));
        let is_failing = Arc::new(AtomicBool::new(written.is_err()));
        let writer = Writer {
            store,
            asks,
            options,
            denials: Arc::clone(&denials),
            missed: Arc::clone(&missed),
            at: Arc::clone(&at),
            kept,
            is_failing: Arc::clone(&is_failing),
            ticked: None,
        };
        let spawned = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run());
        let thread = spawned.map_err(|source| AuditError::file("start the thread of", folder, source))?;
        Ok(Self {
            shared: Some(Arc::new(Shared {
                queue,
                denials,
                missed,
                at,
                is_failing,
                writer: Mutex::new(Some(thread)),
            })),
        })
    }

    /// Records this, and returns when it is synced.
    ///
    /// # Errors
    /// It is not recorded.
    pub async fn record(&self, entry: Entry) -> Result<(), AuditError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let (done, recorded) = oneshot::channel();
        let asked = shared.queue.try_send(Ask::Record(Box::new(entry), Some(done)));
        asked.map_err(|error| match error {
            TrySendError::Full(_) => AuditError::Full,
            TrySendError::Disconnected(_) => AuditError::Closed,
        })?;
        recorded.await.unwrap_or(Err(AuditError::Closed))
    }

    /// Whether something could be recorded when it was last tried.
    ///
    /// # Errors
    /// It could not. (It is tried again, as long as something waits to be recorded.)
    pub fn check(&self) -> Result<(), AuditError> {
        match &self.shared {
            Some(shared) if shared.is_failing.load(Relaxed) => Err(AuditError::Failing),
            _ => Ok(()),
        }
    }

    /// Records this soon. What cannot be is counted, and the number recorded.
    pub fn note(&self, entry: Entry) {
        let Some(shared) = &self.shared else { return };
        if shared.queue.try_send(Ask::Record(Box::new(entry), None)).is_err() {
            shared.missed.fetch_add(1, Relaxed);
        }
    }

    /// Counts this, and records it within a second, or within a minute where the same was recorded a moment ago. Costs nobody a wait.
    pub fn denied(&self, denial: Denial) {
        if let Some(shared) = &self.shared {
            shared.denials.add(denial);
        }
    }

    /// Goes on by these.
    pub fn set_options(&self, options: AuditOptions) {
        if let Some(shared) = &self.shared
            && shared.queue.try_send(Ask::Options(options)).is_err()
        {
            tracing::warn!("the audit log goes on by the options that it had");
        }
    }

    /// The last record that is synced; `None` of one that records nothing.
    pub fn position(&self) -> Option<Position> {
        self.shared.as_ref().map(|shared| shared.at.lock().clone())
    }

    /// Writes what waits, and ends. Nothing is recorded behind it.
    pub async fn close(&self) {
        let audit = self.clone();
        // Where it panics the log has said so.
        let _ = tokio::task::spawn_blocking(move || audit.close_blocking()).await;
    }

    /// The same where nobody can wait otherwise.
    pub fn close_blocking(&self) {
        let Some(shared) = &self.shared else { return };
        let Some(writer) = shared.writer.lock().take() else {
            return;
        };
        // It waits until there is room.
        let _ = shared.queue.send(Ask::Close);
        if writer.join().is_err() {
            tracing::error!("the audit log ended badly");
        }
    }
}

/// A record that somebody may wait for.
type Waiting = (Entry, Option<oneshot::Sender<Result<(), AuditError>>>);

struct Writer {
    store: Store,
    asks: Receiver<Ask>,
    options: AuditOptions,
    denials: Arc<Denials>,
    missed: Arc<AtomicU64>,
    at: Arc<Mutex<Position>>,
    /// What nobody waits for, and was not written yet.
    kept: VecDeque<Entry>,
    is_failing: Arc<AtomicBool>,
    ticked: Option<Instant>,
}

impl Writer {
    fn run(mut self) {
        self.show();
        let mut is_over = false;
        while !is_over {
            let mut batch = Vec::new();
            let mut next = match self.asks.recv_timeout(TICK) {
                Ok(ask) => Some(ask),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Ask::Close),
            };
            while let Some(ask) = next {
                match ask {
                    Ask::Record(entry, waits) => batch.push((*entry, waits)),
                    Ask::Options(options) => {
                        self.options = options;
                        self.store.set_options(options);
                    }
                    Ask::Close => {
                        is_over = true;
                        break;
                    }
                }
                next = match batch.len() < BATCH_MAX {
                    true => self.asks.try_recv().ok(),
                    false => None,
                };
            }
            let now = Instant::now();
            let is_time = self.ticked.is_none_or(|at| now - at >= TICK) || is_over;
            let denied = match is_time {
                true if is_over => self.denials.take_all(),
                true => self.denials.take(now, self.options.denials_per_minute),
                false => Vec::new(),
            };
            self.write(batch, denied);
            if is_time {
                self.ticked = Some(now);
                self.prune(now);
            }
        }
    }

    fn write(&mut self, mut batch: Vec<Waiting>, denied: Vec<(Denial, Entry)>) {
        let missed = self.missed.swap(0, Relaxed);
        if missed > 0 {
            self.kept.push_back(Entry::missed(missed));
        }
        let denials = denied.iter().map(|(_, entry)| entry);
        let entries: Vec<&Entry> = self
            .kept
            .iter()
            .chain(batch.iter().map(|(entry, _)| entry))
            .chain(denials)
            .collect();
        if entries.is_empty() {
            return;
        }
        let count = entries.len();
        match self.store.append(&entries) {
            Ok(()) => {
                if self.is_failing.swap(false, Relaxed) {
                    tracing::info!("the audit log is written again");
                }
                self.kept.clear();
                *self.at.lock() = self.store.position().clone();
                metrics::counter!("docket_audit_records_total").increment(count as u64);
                for (_, waits) in batch {
                    answer(waits, Ok(()));
                }
            }
            Err(error) => {
                if !self.is_failing.swap(true, Relaxed) {
                    cannot_be_written(&error);
                }
                self.denials.give_back(denied);
                for (entry, waits) in batch.drain(..) {
                    match waits {
                        Some(_) => answer(waits, Err(error.clone())),
                        None if self.kept.len() < KEPT_MAX => self.kept.push_back(entry),
                        None => {
                            self.missed.fetch_add(entry.times, Relaxed);
                        }
                    }
                }
            }
        }
        self.show();
    }

    fn prune(&mut self, now: Instant) {
        // While nothing can be written nothing is removed.
        if self.is_failing.load(Relaxed) {
            return;
        }
        let before = self.store.position().sequence;
        match self.store.prune(now) {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "the oldest of the audit log was removed"),
            Err(error) => {
                self.is_failing.store(true, Relaxed);
                cannot_be_written(&error);
                self.show();
            }
        }
        // A file that did not go has its record, too.
        if self.store.position().sequence != before {
            *self.at.lock() = self.store.position().clone();
            self.show();
        }
    }

    fn show(&self) {
        metrics::gauge!("docket_audit_sequence").set(self.store.position().sequence as f64);
        metrics::gauge!("docket_audit_failing").set(if self.is_failing.load(Relaxed) { 1.0 } else { 0.0 });
    }
}

fn cannot_be_written(error: &AuditError) {
    tracing::error!(%error, "the audit log cannot be written: what administrators ask for is refused meanwhile");
}

fn answer(waits: Option<oneshot::Sender<Result<(), AuditError>>>, result: Result<(), AuditError>) {
    if let Some(waits) = waits {
        // Whoever waited may have gone.
        let _ = waits.send(result);
    }
}

/// Says what the log's metrics are.
pub fn describe_metrics() {
    metrics::describe_counter!(
        "docket_audit_records_total",
        "Records of the audit log that were written."
    );
    metrics::describe_gauge!(
        "docket_audit_sequence",
        "The number of the audit log's last record: it never falls, so that a log that was cut is seen."
    );
    metrics::describe_gauge!(
        "docket_audit_failing",
        "1 while the audit log cannot be written, and what administrators ask for is refused."
    );
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        Who,
        files::{self, Segment},
        verify,
    };

    /// Each batch has a file of its own.
    const TINY: AuditOptions = AuditOptions {
        segment_bytes: 1,
        segments_max: 1_000,
        age_max_days: 0,
        denials_per_minute: 60,
    };

    fn wait<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(work)
    }

    /// Records so many, each in a file of its own.
    fn write(folder: &Path, records: usize) {
        let audit = Audit::open(folder, 1, TINY).unwrap();
        wait(async {
            for _ in 0..records {
                audit.record(Entry::new(Who::node(), "a.test", "")).await.unwrap();
            }
            audit.close().await;
        });
    }

    /// Where the next file of this one is to be there is a folder: nothing can be recorded until it goes.
    fn blocked(folder: &Path, store: &Store) -> Segment {
        let next = Segment::new(folder, store.position().sequence + 1);
        fs::create_dir(&next.path).unwrap();
        next
    }

    #[track_caller]
    fn until(what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(20), "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_log_that_cannot_say_what_it_mended_starts_and_says_so_later() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 2);
        let newest = files::segments(folder.path()).unwrap().pop().unwrap();
        let text = fs::read_to_string(&newest.path).unwrap();
        fs::write(&newest.path, text + "{\"sequence\":3").unwrap();
        let (store, entries) = Store::open(folder.path(), 1, TINY, Keyring::default()).unwrap();
        let next = blocked(folder.path(), &store);
        let audit = Audit::start(folder.path(), store, entries, TINY).unwrap();
        assert!(matches!(audit.check(), Err(AuditError::Failing)));
        fs::remove_dir(&next.path).unwrap();
        until("it is written again", || audit.check().is_ok());
        wait(audit.close());
        let mut actions = Vec::new();
        let report = verify::read(folder.path(), &[], |record, _| {
            actions.push(record.action.clone())
        });
        assert!(report.unwrap().is_whole());
        assert_eq!(actions, ["a.test", "a.test", "audit.mended"]);
    }

    #[test]
    fn where_it_cannot_be_recorded_what_is_removed_nothing_is_changed_either() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 3);
        let options = AuditOptions {
            segments_max: 1,
            ..TINY
        };
        let (store, entries) = Store::open(folder.path(), 1, options, Keyring::default()).unwrap();
        let next = blocked(folder.path(), &store);
        let audit = Audit::start(folder.path(), store, entries, options).unwrap();
        until("it is failing", || audit.check().is_err());
        // Else what is said of a file that goes has another file, which is one too many again.
        audit.set_options(AuditOptions::default());
        fs::remove_dir(&next.path).unwrap();
        wait(audit.record(Entry::new(Who::node(), "a.test", ""))).unwrap();
        assert!(audit.check().is_ok());
        wait(audit.close());
    }
}
