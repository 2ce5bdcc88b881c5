//! What a node does on the side: takes snapshots of the groups, one at a time, cuts the journal behind them, and drops replicas that were
//! moved away. All of it in turns, so that none need think of another.
//!
//! A group's snapshot is due for one of two reasons: its own log since the last one outweighs its state, so that a snapshot costs no more
//! than the writes that led to it; or it writes so little that the oldest entry it still needs keeps the one journal of all groups from
//! being cut. Groups that grow alike would all be due at the same time, and the node would do nothing else for seconds; so each has a
//! smallest log of its own ([`bytes_min_of`]), and they come one after the other.
//!
//! A snapshot is written at its leisure (`snapshot_pace.rs`), and the more log there is, the faster.
//!
//! A snapshot keeps away from the disk's reserve: it is not begun where it would eat into the half of it that the journal needs to finish
//! what was admitted, and given up when the disk runs low under it. The journal then keeps what the snapshot would have held.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use docket_persistence::Position;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Notify, mpsc, watch};

use crate::apply::{Frozen, blocking};
use crate::leftovers::Leave;
use crate::log::{GroupLog, NodeJournal, cut_journal};
use crate::machine::{CaptureError, StateMachine};
use crate::snapshot_pace::{SnapshotPace, Watched};
use crate::snapshots::Snapshots;
use crate::{Group, GroupId};

/// How often to look even if nobody calls, in milliseconds.
const LOOK_EVERY_MS: u64 = 15_000;

/// Bytes that a snapshot may take on disk, for each byte of state: the engine rewrites some of what it was given, and keeps room.
const SNAPSHOT_DISK_FACTOR: u64 = 2;

/// How long a group whose snapshot failed waits for the next attempt, in milliseconds. The others have their turn meanwhile.
const RETRY_AFTER_MS: u64 = 15_000;

/// How often it is looked, while a snapshot is written, whether anything else waits for these chores, in milliseconds.
const LOOK_WHILE_WRITING_MS: u64 = 100;

/// The log that makes a group's snapshot due at least, for all groups at least `bytes_min`'s half and at most itself.
///
/// They are spread evenly over that octave of sizes (multiples of the golden ratio, of which any first few are), because a state that
/// outweighs this minimum doubles from one snapshot to the next: whoever begins spread stays so.
pub(crate) fn bytes_min_of(group: GroupId, bytes_min: u64) -> u64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let phase = (f64::from(group.0) * GOLDEN).fract();
    (bytes_min as f64 * (-phase).exp2()) as u64
}

/// A group that is taken care of.
pub(crate) struct Ward {
    pub(crate) group: Group,
    pub(crate) log: GroupLog,
    pub(crate) machine: Arc<dyn StateMachine>,
    /// Index of the last entry inside the newest snapshot.
    newest_snapshot: Option<u64>,
    /// No attempt before then: the last one failed.
    retry_at: Option<Instant>,
    /// The core was told to purge up to this entry.
    purge_to: Option<u64>,
    /// Where the oldest entry is that the group needs, and how many bytes the node had written when that was first seen.
    oldest: Option<(Position, u64)>,
}

impl Ward {
    pub(crate) fn new(
        group: Group,
        log: GroupLog,
        machine: Arc<dyn StateMachine>,
        newest_snapshot: Option<u64>,
    ) -> Self {
        Self {
            group,
            log,
            machine,
            newest_snapshot,
            retry_at: None,
            purge_to: None,
            oldest: None,
        }
    }

    /// As after the start of an empty replica.
    fn restart(&mut self) {
        (self.newest_snapshot, self.retry_at) = (None, None);
        (self.purge_to, self.oldest) = (None, None);
    }

    /// Bytes of its log that make a snapshot due.
    fn due_at(&self) -> u64 {
        self.group
            .progress()
            .snapshot_bytes_min
            .max(self.machine.state_bytes())
    }

    fn may_try(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|retry_at| now >= retry_at)
    }

    /// By how many bytes the log since the last snapshot outweighs the state, if it does.
    fn overdue(&self) -> Option<u64> {
        let bytes = self.group.progress().bytes_since_snapshot();
        bytes.checked_sub(self.due_at())
    }

    /// Bytes that the node has written since the group's oldest entry, as far as was seen; `None` if the group holds nothing back, or
    /// will let go of it as soon as the core has purged.
    fn holds_back(&mut self, written: u64) -> Option<u64> {
        let position = self.log.oldest_durable()?;
        let since = match self.oldest {
            Some((seen, since)) if seen == position => since,
            _ => written,
        };
        self.oldest = Some((position, since));
        let purging = self.purge_to.is_some() && self.log.purged_index() < self.purge_to;
        (!purging).then(|| written - since)
    }
}

/// What the chores need of the node.
pub(crate) struct Chores {
    pub(crate) groups: Vec<Ward>,
    pub(crate) journal: Arc<NodeJournal>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) space: Space,
    pub(crate) call: Arc<Notify>,
    pub(crate) leaves: mpsc::Receiver<Leave>,
    pub(crate) closing: watch::Receiver<bool>,
}

/// What snapshots must leave of the disk.
pub(crate) struct Space {
    reserve_bytes: u64,
    /// It was said that there is too little.
    told: bool,
}

impl Space {
    pub(crate) fn new(reserve_bytes: u64) -> Self {
        Self {
            reserve_bytes,
            told: false,
        }
    }

    /// Free bytes that a snapshot of this much state needs to be begun.
    fn needed(&self, state_bytes: u64) -> u64 {
        let snapshot = state_bytes.saturating_mul(SNAPSHOT_DISK_FACTOR);
        snapshot.saturating_add(self.reserve_bytes / 2)
    }

    /// Free bytes below which one that was begun is not paused any more: the journal behind it is to be cut.
    fn short(&self) -> u64 {
        self.reserve_bytes
    }

    /// Free bytes below which one that was begun is given up.
    fn floor(&self) -> u64 {
        self.reserve_bytes / 4
    }
}

impl Chores {
    /// Runs until the node closes.
    pub(crate) async fn run(mut self) {
        let mut cut_for = Vec::new();
        let mut closing = self.closing.clone();
        loop {
            let due = self.next_due().filter(|_| !*closing.borrow());
            if let Some(due) = due {
                self.take_snapshot(due).await;
            }
            // Behind each snapshot: where one is always due the journal is cut all the same, and who leaves is not kept waiting for all.
            self.cut(&mut cut_for).await;
            if due.is_some() && self.leaves.is_empty() {
                continue;
            }
            let leave = tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => return,
                Some(leave) = self.leaves.recv() => Some(leave),
                () = self.call.notified() => None,
                () = tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)) => None,
            };
            if let Some(leave) = leave {
                self.drop_replica(leave).await;
                cut_for.clear();
            }
        }
    }

    /// The group whose snapshot is most due, if any is.
    fn next_due(&mut self) -> Option<usize> {
        let now = Instant::now();
        let written = self.journal.entry_bytes();
        let free_bytes = self.journal.journal.free_bytes();
        // What all groups may keep when each keeps what it is entitled to: the log behind the snapshot before the newest.
        let may_be_kept = self.groups.iter().fold(0, |sum: u64, ward| {
            sum.saturating_add(ward.due_at().saturating_mul(2))
        });
        let wards = self.groups.iter_mut().enumerate();
        let (space, mut kept_out) = (&self.space, None);
        let due: Vec<_> = wards
            .filter(|(_, ward)| ward.may_try(now))
            .filter_map(|(number, ward)| {
                let held_back = ward
                    .holds_back(written)
                    .and_then(|held| held.checked_sub(may_be_kept));
                ward.overdue()
                    .max(held_back)
                    .map(|excess| (excess, number, ward.machine.state_bytes()))
            })
            .collect();
        let has_room = |(_, number, state_bytes): &(u64, usize, u64)| {
            let needed = space.needed(*state_bytes);
            let short = free_bytes.filter(|free_bytes| *free_bytes < needed);
            if let Some(free_bytes) = short {
                kept_out = Some((*number, needed, free_bytes));
            }
            short.is_none()
        };
        let next = due.into_iter().filter(has_room).max();
        if let Some((number, needed, free_bytes)) = kept_out.filter(|_| !self.space.told) {
            self.space.told = true;
            let group = self.groups[number].group.id();
            tracing::warn!(
                %group, needed, free_bytes,
                "no snapshot is begun until the disk has more room; the journal keeps what it would hold, and grows"
            );
        }
        next.map(|(_, number, _)| number)
    }

    /// Stores a snapshot of the group. A failure costs nothing but the attempt.
    async fn take_snapshot(&mut self, number: usize) {
        let started = Instant::now();
        let result = self.try_take_snapshot(&self.groups[number]).await;
        let ward = &mut self.groups[number];
        let (group, metrics) = (ward.group.id(), &ward.group.progress().metrics);
        match result {
            Ok(last_index) => {
                let elapsed = started.elapsed();
                metrics.snapshot_seconds.record(elapsed);
                tracing::info!(%group, ?elapsed, "stored a snapshot");
                (ward.purge_to, ward.newest_snapshot, ward.retry_at) =
                    (ward.newest_snapshot, last_index, None);
                self.space.told = false;
            }
            Err(error) => {
                metrics.snapshot_failures.increment(1);
                if ward.retry_at.is_none() {
                    tracing::warn!(
                        %group, %error,
                        "no snapshot could be stored; the journal keeps what it would hold, and it is tried again"
                    );
                } else {
                    tracing::debug!(%group, %error, "again no snapshot could be stored");
                }
                ward.retry_at = Some(Instant::now() + Duration::from_millis(RETRY_AFTER_MS));
            }
        }
    }

    /// Stores a snapshot, tells the core, and has it purge the log behind the snapshot before: should the newest turn out damaged, the
    /// one before and the log from there on are still whole.
    async fn try_take_snapshot(&self, ward: &Ward) -> Result<Option<u64>, io::Error> {
        let raft = ward.group.raft();
        let frozen = raft.with_state_machine(|applier| {
            let frozen = applier.freeze();
            Box::pin(async move { frozen })
        });
        let Frozen {
            meta,
            capture,
            log_bytes,
        } = frozen.await.map_err(io::Error::other)??;
        let (last_index, taken) = (meta.raft.last_log_id.map(|id| id.index), meta.taken);
        let (snapshots, group, closing) =
            (Arc::clone(&self.snapshots), ward.group.id(), self.closing.clone());
        let (journal, floor, short) = (Arc::clone(&self.journal), self.space.floor(), self.space.short());
        let urgent = Arc::new(AtomicBool::new(false));
        let groups = self.groups.iter().map(|ward| Watched {
            progress: Arc::clone(ward.group.progress()),
            due_at: ward.due_at(),
        });
        let (groups, urgently) = (groups.collect(), Arc::clone(&urgent));
        // On a runtime of one thread it is written in place, and a pause would keep everybody waiting.
        let is_paced = Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread;
        let mut writing = pin!(blocking(move || {
            let pace = SnapshotPace::begin(groups, urgently);
            let may_go_on = || {
                if *closing.borrow() {
                    return Err(CaptureError::new("the node is shutting down"));
                }
                let free_bytes = journal.journal.free_bytes();
                if let Some(free) = free_bytes.filter(|free| *free < floor) {
                    return Err(CaptureError::new(format_args!(
                        "it is given up, since the disk has only {free} bytes left"
                    )));
                }
                if is_paced {
                    pace.pause(free_bytes.is_some_and(|free| free < short));
                }
                Ok(())
            };
            snapshots
                .write(group, &meta, capture, &may_go_on)
                .map_err(io::Error::other)
        }));
        loop {
            tokio::select! {
                written = &mut writing => break written?,
                () = tokio::time::sleep(Duration::from_millis(LOOK_WHILE_WRITING_MS)) => {
                    urgent.fetch_or(!self.leaves.is_empty(), Ordering::Relaxed);
                }
            }
        }
        ward.group.progress().note_snapshot(log_bytes, taken);
        raft.trigger().snapshot().await.map_err(io::Error::other)?;
        if let Some(before) = ward.newest_snapshot {
            raft.trigger().purge_log(before).await.map_err(io::Error::other)?;
        }
        Ok(last_index)
    }

    async fn drop_replica(&mut self, leave: Leave) {
        let ward = self.groups.get_mut(leave.group.0 as usize);
        let Some(ward) = ward else { return };
        ward.restart();
        if let Err(error) = ward.group.drop_replica().await {
            let group = leave.group;
            ward.group.fail(
                format!("{group}: the replica that was moved away could not be dropped: {error}").into(),
            );
        }
    }

    /// Cuts the journal if a group was purged since the last cut.
    async fn cut(&self, cut_for: &mut Vec<Option<u64>>) {
        let purged: Vec<_> = self.groups.iter().map(|ward| ward.log.purged_index()).collect();
        if purged == *cut_for {
            return;
        }
        let logs: Vec<_> = self.groups.iter().map(|ward| ward.log.clone()).collect();
        match cut_journal(&self.journal, &logs).await {
            Ok(_) => *cut_for = purged,
            Err(error) => tracing::warn!(%error, "the journal could not be cut; it will be tried again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_grow_alike_are_not_due_together() {
        const MIN: u64 = 64 << 20;
        for shards in [2_u32, 4, 8, 16, 64] {
            let mut due: Vec<u64> = (1..=shards).map(|id| bytes_min_of(GroupId(id), MIN)).collect();
            due.sort_unstable();
            assert!(due[0] >= MIN / 2 && due[due.len() - 1] <= MIN, "{due:?}");
            // Evenly spread they would be this part of the octave from one another.
            let apart = (f64::from(shards)).recip().exp2();
            for two in due.windows(2) {
                let ratio = two[1] as f64 / two[0] as f64;
                assert!(
                    ratio > apart.powf(0.3) && ratio < apart.powf(2.7),
                    "{shards}: {due:?}"
                );
            }
        }
    }
}
