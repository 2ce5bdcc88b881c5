//! openraft's state machine over Docket's: applies committed entries, answers proposers, hands out and takes in snapshots.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::alias::SnapshotOf;
use openraft::{OptionalSend, RaftSnapshotBuilder, Snapshot};
use parking_lot::Mutex;

use crate::GroupId;
use crate::digest::{Digest, Mark, Noted};
use crate::faults::{self, Fault};
use crate::log::LogIndex;
use crate::machine::{Capture, Entry, StateMachine};
use crate::off_thread::off_thread;
use crate::peer::Spooled;
use crate::progress::{Alive, Progress, Stop};
use crate::raft::{
    EntryPayload, LogEntry, LogId, Membership, Reply, SnapshotMeta, StoredMembership, TypeConfig, term_of,
};
use crate::snapshots::{Snapshots, StoredMeta, StoredSnapshot, Taken};

/// How often it is looked whether entries are to be applied again, where a test has them wait.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A snapshot as openraft passes it around: its chunks in order. Reading blocks.
pub(crate) enum SnapshotData {
    /// One of this node's.
    Stored(StoredSnapshot),
    /// One that has come from a peer and is not stored yet.
    Arrived(Spooled),
}

impl SnapshotData {
    /// The digest of the state inside; `None` where it is not known.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Stored(snapshot) => snapshot.meta.digest,
            Self::Arrived(snapshot) => snapshot.digest,
        }
    }
}

impl SnapshotData {
    /// By which this node knows the snapshot again; empty where it would not.
    pub(crate) fn id(&self) -> Bytes {
        match self {
            Self::Stored(snapshot) => snapshot.meta.id(),
            Self::Arrived(_) => Bytes::new(),
        }
    }
}

impl Iterator for SnapshotData {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Stored(snapshot) => snapshot.next(),
            Self::Arrived(snapshot) => snapshot.next(),
        }
    }
}

/// One group's state machine with what Raft must know of it: how far it has applied, and the last membership.
pub(crate) struct Applier {
    machine: Arc<dyn StateMachine>,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Of all that was applied.
    digest: Digest,
    /// What another program has noted of the same log, where a replay is held against that.
    noted: Option<Box<Noted>>,
    /// Index after the last entry inside the snapshot that was restored.
    snapshot_next: u64,
    progress: Arc<Progress>,
    snapshots: Arc<Snapshots>,
    stop: Stop,
    /// Held as long as this one lives: see [`Progress::no_applier`].
    _alive: Alive,
}

impl Applier {
    /// A machine that holds nothing yet.
    pub(crate) fn new(
        machine: Arc<dyn StateMachine>,
        progress: Arc<Progress>,
        snapshots: Arc<Snapshots>,
        stop: Stop,
    ) -> Self {
        let (membership, alive) = (StoredMembership::default(), progress.note_applier());
        Self {
            machine,
            applied: None,
            membership,
            digest: Digest::default(),
            noted: None,
            snapshot_next: 0,
            progress,
            snapshots,
            stop,
            _alive: alive,
        }
    }

    /// Has what it applies held against what another program has noted.
    pub(crate) fn hold_against(&mut self, noted: Noted) {
        self.noted = Some(Box::new(noted));
    }

    /// What came of that.
    pub(crate) fn noted(&self) -> Option<&Noted> {
        self.noted.as_deref()
    }

    /// Forgets the state, and what Raft must know of it. Blocks where the state is large.
    pub(crate) fn clear(&mut self) -> Result<(), io::Error> {
        // First: whoever waits for an entry to be applied must not find that it was, and nothing there.
        self.progress.restart();
        let machine = &self.machine;
        guard(&self.stop, self.progress.group, "forgetting its state", || {
            machine.clear()
        })?;
        self.applied = None;
        self.membership = StoredMembership::default();
        self.digest = Digest::default();
        self.snapshot_next = 0;
        Ok(())
    }

    /// Removes what the state keeps aside, of a replica that is dropped and was cleared. Blocks.
    pub(crate) fn forget_aside(&self) -> Result<(), io::Error> {
        guard(
            &self.stop,
            self.progress.group,
            "forgetting what it keeps aside",
            || self.machine.forget_aside(),
        )
    }

    pub(crate) fn applied(&self) -> Option<LogId> {
        self.applied
    }

    /// Replaces the state by the newest stored snapshot, if there is one. Blocks.
    pub(crate) fn restore_stored(&mut self) -> Result<(), io::Error> {
        if let Some(stored) = self.snapshots.load(self.progress.group)? {
            let meta = stored.meta.clone();
            restore(&*self.machine, stored, self.progress.group, &self.stop)?;
            self.note_restored(&meta);
        }
        Ok(())
    }

    fn note_restored(&mut self, meta: &StoredMeta) {
        let raft = &meta.raft;
        self.progress.note_newest_snapshot(meta.taken);
        self.snapshot_next = raft.last_log_id.map_or(0, |id| id.index + 1);
        let carried = meta.digest.filter(Digest::is_of_values);
        self.digest = carried.unwrap_or(Digest::begin(self.snapshot_next));
        let mark = raft.last_log_id.map(|id| Mark {
            index: id.index,
            digest: self.digest,
        });
        self.progress.marks.restart(mark);
        self.applied = raft.last_log_id;
        self.membership = raft.last_membership.clone();
        self.publish_applied();
    }

    /// Index after the last entry inside the snapshot that was restored; 0 without one.
    pub(crate) fn snapshot_next(&self) -> u64 {
        self.snapshot_next
    }

    /// Notes what recovery found in the log: its newest membership, if any is not applied yet, and what the snapshot does not hold.
    pub(crate) fn note_log(&self, newest_membership: Option<&Membership>, log: &LogIndex) {
        self.progress
            .note_membership(newest_membership.unwrap_or(self.membership.membership()));
        self.progress.note_appended(log.bytes_from(self.snapshot_next));
    }

    /// Applies one entry and returns what to answer.
    pub(crate) fn apply_entry(&mut self, entry: &LogEntry) -> Result<Bytes, io::Error> {
        let (index, machine) = (entry.log_id.index, &self.machine);
        let reply = guard(
            &self.stop,
            self.progress.group,
            "applying a committed entry",
            || match &entry.payload {
                EntryPayload::Normal(payload) => {
                    let reply = machine.apply(Entry {
                        index,
                        term: term_of(&entry.log_id),
                        payload: &payload.0,
                    });
                    (reply, machine.effects())
                }
                EntryPayload::Blank | EntryPayload::Membership(_) => {
                    machine.skip(index);
                    (Bytes::new(), 0)
                }
            },
        )?;
        let (reply, effects) = reply;
        let payload: &[u8] = match &entry.payload {
            EntryPayload::Normal(payload) => &payload.0,
            EntryPayload::Blank | EntryPayload::Membership(_) => &[],
        };
        self.digest.add(index, payload, &reply, effects);
        self.progress.marks.note(index, self.digest);
        if let Some(noted) = &mut self.noted {
            noted.hold(index, self.digest);
        }
        if let EntryPayload::Membership(members) = &entry.payload {
            self.membership = StoredMembership::new(Some(entry.log_id), members.clone());
        }
        self.applied = Some(entry.log_id);
        self.progress.metrics.applied_entries.increment(1);
        Ok(reply)
    }

    /// Tells the world how far the machine has applied.
    pub(crate) fn publish_applied(&self) {
        if let Some(applied) = &self.applied {
            self.progress.note_applied(applied);
        }
    }

    /// Freezes the state as of the last applied entry.
    pub(crate) fn freeze(&self) -> Result<Frozen, io::Error> {
        let capture = guard(&self.stop, self.progress.group, "capturing a snapshot", || {
            self.machine.capture()
        })?;
        let raft = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        Ok(Frozen {
            meta: StoredMeta {
                raft,
                taken: Some(Taken::now()),
                digest: Some(self.digest),
            },
            capture,
            log_bytes: self.progress.bytes_since_snapshot(),
        })
    }
}

/// A state frozen for a snapshot.
pub(crate) struct Frozen {
    pub(crate) meta: StoredMeta,
    pub(crate) capture: Box<dyn Capture>,
    /// Bytes of the log that this snapshot makes superfluous.
    pub(crate) log_bytes: u64,
}

/// Replaces a machine's state by a stored snapshot. Blocks.
fn restore(
    machine: &dyn StateMachine,
    mut snapshot: StoredSnapshot,
    group: GroupId,
    stop: &Stop,
) -> Result<(), io::Error> {
    guard(stop, group, "restoring a snapshot", || {
        machine.restore(&mut snapshot)
    })?
    .map_err(|error| io::Error::other(format!("{group}: {error}")))
}

/// Runs code of the layer above. If it panics, its state can no longer be trusted: the group stops and says so.
fn guard<T>(stop: &Stop, group: GroupId, doing: &str, code: impl FnOnce() -> T) -> Result<T, io::Error> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let reason = format!("{group}: the state machine panicked while {doing}: {text}");
        tracing::error!("{reason}");
        stop.fail(reason.as_str().into());
        io::Error::other(reason)
    })
}

impl RaftStateMachine<TypeConfig> for Applier {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Entries>(&mut self, mut entries: Entries) -> Result<(), io::Error>
    where
        Entries: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            while faults::is(Fault::ApplyWaits) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let reply = self.apply_entry(&entry)?;
            // Before the answer: who is answered must see his entry applied.
            self.publish_applied();
            if let Some(responder) = responder {
                responder.send(Reply(reply));
            }
            // A long run of entries must not keep a runtime thread from the other groups.
            tokio::task::coop::consume_budget().await;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _: bool) -> Option<SnapshotBuilder> {
        let task = if self.progress.take_snapshot_news() {
            Task::Announce
        } else {
            self.build()
        };
        Some(self.builder(task))
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.builder(self.build())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        mut snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let (snapshots, machine) = (Arc::clone(&self.snapshots), Arc::clone(&self.machine));
        let (group, stop, arrived) = (self.progress.group, self.stop.clone(), meta.clone());
        let installed = blocking(move || {
            let stored = |newest: &StoredSnapshot| newest.meta.raft.last_log_id == arrived.last_log_id;
            if !snapshots.newest(group).as_ref().is_some_and(stored) {
                // It comes from elsewhere: stored first, so that a restart finds what is about to be applied.
                let digest = snapshot.digest();
                snapshots.copy(group, &arrived, digest, &mut snapshot)?;
            }
            let own = snapshots.newest(group).ok_or_else(|| is_gone(group))?;
            let installed = own.meta.clone();
            restore(&*machine, own, group, &stop).map(|()| installed)
        })
        .await?;
        self.note_restored(&installed);
        // What the log said of the members before is gone.
        self.progress.note_membership(self.membership.membership());
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, SnapshotData>>, io::Error> {
        Ok(self
            .snapshots
            .newest(self.progress.group)
            .map(StoredSnapshot::into_raft))
    }
}

impl Applier {
    fn build(&self) -> Task {
        Task::Build(Mutex::new(Some(self.freeze())))
    }

    fn builder(&self, task: Task) -> SnapshotBuilder {
        let (snapshots, progress) = (Arc::clone(&self.snapshots), Arc::clone(&self.progress));
        SnapshotBuilder {
            snapshots,
            progress,
            task,
        }
    }
}

impl StoredSnapshot {
    fn into_raft(self) -> SnapshotOf<TypeConfig, SnapshotData> {
        Snapshot {
            meta: self.meta.raft.clone(),
            snapshot: SnapshotData::Stored(self),
        }
    }
}

fn is_gone(group: GroupId) -> io::Error {
    io::Error::other(format!("{group}: the snapshot that was just stored is gone"))
}

/// Gives openraft a snapshot: one that is stored already, or a new one of the state as it was when the builder was made.
pub(crate) struct SnapshotBuilder {
    snapshots: Arc<Snapshots>,
    progress: Arc<Progress>,
    task: Task,
}

enum Task {
    Announce,
    /// Behind a mutex because a capture need not be shareable and openraft asks it of a builder.
    Build(Mutex<Option<Result<Frozen, io::Error>>>),
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotData>, io::Error> {
        let group = self.progress.group;
        let to_build = match &mut self.task {
            Task::Announce => None,
            Task::Build(frozen) => frozen.get_mut().take(),
        };
        if let Some(frozen) = to_build {
            let Frozen {
                meta,
                capture,
                log_bytes,
            } = frozen?;
            let (snapshots, taken) = (Arc::clone(&self.snapshots), meta.taken);
            blocking(move || {
                snapshots
                    .write(group, &meta, capture, &|| Ok(()))
                    .map_err(io::Error::other)
            })
            .await?;
            self.progress.note_snapshot(log_bytes, taken);
            // openraft learns of it by this very call.
            self.progress.take_snapshot_news();
        }
        self.snapshots
            .newest(group)
            .map(StoredSnapshot::into_raft)
            .ok_or_else(|| is_gone(group))
    }
}

/// Runs what blocks where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, io::Error> + Send + 'static,
) -> Result<T, io::Error> {
    off_thread(work).await?
}
