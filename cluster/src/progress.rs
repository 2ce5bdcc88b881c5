//! What the parts of a group tell one another without asking the Raft core: how far it has applied, what it has voted, why it stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::GroupId;
use crate::digest::Marks;
use crate::metrics::GroupMetrics;
use crate::raft::{LogId, Membership, Vote, term_of};
use crate::snapshots::Taken;

/// The shared progress of one group. Each field has one writer; all are read from anywhere.
pub(crate) struct Progress {
    pub(crate) group: GroupId,
    pub(crate) metrics: GroupMetrics,
    pub(crate) marks: Marks,
    node: u64,
    /// Index after the last applied entry; 0 before the first.
    applied_next: AtomicU64,
    /// Term of the last applied entry; 0 before the first.
    applied_term: watch::Sender<u64>,
    /// Term of the newest vote if it went to this node, else 0. Set before anyone is told of the vote.
    own_vote_term: AtomicU64,
    /// Whether this node is the only voter of the newest membership in the log, committed or not.
    alone: AtomicBool,
    /// Who votes by the newest membership in the log.
    voters: Mutex<BTreeSet<u64>>,
    /// Bytes in the log that no snapshot holds.
    bytes_since_snapshot: AtomicU64,
    snapshot: Mutex<SnapshotProgress>,
    /// Members that are sent no snapshots by this node, and why.
    held_back: Mutex<BTreeMap<u64, Arc<str>>>,
    /// How many appliers of the group there are: one, but while one core follows another.
    appliers: watch::Sender<usize>,
    /// Wakes whoever takes snapshots and cuts the journal.
    pub(crate) chores: Arc<Notify>,
    /// Bytes since the last snapshot from which on one may be due.
    pub(crate) snapshot_bytes_min: u64,
}

#[derive(Default)]
struct SnapshotProgress {
    /// When the newest was taken, where that is known.
    taken: Option<Taken>,
    /// A snapshot that is stored and that the core has not been told of.
    news: bool,
}

impl Progress {
    pub(crate) fn new(group: GroupId, node: u64, chores: Arc<Notify>, snapshot_bytes_min: u64) -> Self {
        Self {
            group,
            metrics: GroupMetrics::new(group),
            marks: Marks::default(),
            node,
            applied_next: AtomicU64::new(0),
            applied_term: watch::Sender::new(0),
            own_vote_term: AtomicU64::new(0),
            alone: AtomicBool::new(false),
            voters: Mutex::default(),
            bytes_since_snapshot: AtomicU64::new(0),
            snapshot: Mutex::default(),
            held_back: Mutex::default(),
            appliers: watch::Sender::new(0),
            chores,
            snapshot_bytes_min,
        }
    }

    /// Forgets how far the group was: its replica here was dropped. What it voted stays.
    pub(crate) fn restart(&self) {
        self.marks.restart(None);
        self.alone.store(false, Ordering::SeqCst);
        self.voters.lock().clear();
        self.held_back.lock().clear();
        self.bytes_since_snapshot.store(0, Ordering::Relaxed);
        *self.snapshot.lock() = SnapshotProgress::default();
        self.applied_next.store(0, Ordering::Release);
        self.applied_term.send_replace(0);
        self.metrics.restart();
    }

    /// Notes that there is an applier more, for as long as what comes back lives.
    pub(crate) fn note_applier(&self) -> Alive {
        self.appliers.send_modify(|appliers| *appliers += 1);
        Alive(self.appliers.clone())
    }

    /// Waits until no applier is left. A core that has ended does not wait for its own, which may still be applying.
    pub(crate) async fn no_applier(&self) {
        let mut appliers = self.appliers.subscribe();
        // The sender is this one's own.
        let _ = appliers.wait_for(|appliers| *appliers == 0).await;
    }

    /// Whether this node leads, has applied an entry of its own term, and can lose the lead to nobody, because it votes alone: its state
    /// then holds every write that was ever answered.
    ///
    /// No clock and no message is needed: another node can lead only after this one has voted for it or has written a membership with
    /// another voter, and both are noted here before anybody is told.
    pub(crate) fn leads_alone(&self) -> bool {
        let term = self.own_vote_term.load(Ordering::SeqCst);
        term != 0 && self.alone.load(Ordering::SeqCst) && *self.applied_term.borrow() == term
    }

    /// This node's id.
    pub(crate) fn node(&self) -> u64 {
        self.node
    }

    /// Whether this node is the only voter.
    pub(crate) fn votes_alone(&self) -> bool {
        self.alone.load(Ordering::SeqCst)
    }

    pub(crate) fn note_vote(&self, vote: &Vote) {
        let own = vote.leader_id.voted_for == self.node;
        self.own_vote_term
            .store(if own { vote.leader_id.term } else { 0 }, Ordering::SeqCst);
    }

    pub(crate) fn note_membership(&self, membership: &Membership) {
        let mut voters = membership.voter_ids();
        let alone = voters.next() == Some(self.node) && voters.all(|voter| voter == self.node);
        self.alone.store(alone, Ordering::SeqCst);
        *self.voters.lock() = membership.voter_ids().collect();
    }

    /// Whether a node votes, by the newest membership in the log.
    pub(crate) fn votes(&self, node: u64) -> bool {
        self.voters.lock().contains(&node)
    }

    /// Notes why a member is sent no snapshots; whether that is news.
    pub(crate) fn hold_back(&self, node: u64, why: &str) -> bool {
        let before = self.held_back.lock().insert(node, why.into());
        before.as_deref() != Some(why)
    }

    /// Notes that it is sent them.
    pub(crate) fn send_again(&self, node: u64) {
        self.held_back.lock().remove(&node);
    }

    /// Notes that another leads, or this node anew: what it knew of others is of no worth.
    pub(crate) fn hold_nobody_back(&self) {
        self.held_back.lock().clear();
    }

    /// Why a member is sent no snapshots.
    pub(crate) fn held_back(&self, node: u64) -> Option<Arc<str>> {
        self.held_back.lock().get(&node).cloned()
    }

    /// Notes that entries were taken back, a membership among them perhaps: whoever takes entries back follows another voter.
    pub(crate) fn note_truncated(&self) {
        self.alone.store(false, Ordering::SeqCst);
    }

    pub(crate) fn note_applied(&self, last: &LogId) {
        self.applied_next.store(last.index + 1, Ordering::Release);
        self.metrics.applied_index.set(last.index as f64);
        let term = term_of(last);
        self.applied_term
            .send_if_modified(|seen| std::mem::replace(seen, term) != term);
    }

    pub(crate) fn applied_index(&self) -> Option<u64> {
        self.applied_next.load(Ordering::Acquire).checked_sub(1)
    }

    /// Whether the entry of this index has been applied.
    pub(crate) fn has_applied(&self, index: u64) -> bool {
        index < self.applied_next.load(Ordering::Acquire)
    }

    /// The term of the last applied entry.
    pub(crate) fn last_applied_term(&self) -> u64 {
        *self.applied_term.borrow()
    }

    /// The term of the last applied entry, now and from now on.
    pub(crate) fn applied_term(&self) -> watch::Receiver<u64> {
        self.applied_term.subscribe()
    }

    /// Notes bytes appended to the log, and calls for a look when a snapshot may be due.
    pub(crate) fn note_appended(&self, bytes: u64) {
        let before = self.bytes_since_snapshot.fetch_add(bytes, Ordering::Relaxed);
        let worth_a_look = |total: u64| total / self.snapshot_bytes_min;
        if worth_a_look(before) != worth_a_look(before + bytes) {
            self.chores.notify_one();
        }
    }

    pub(crate) fn bytes_since_snapshot(&self) -> u64 {
        self.bytes_since_snapshot.load(Ordering::Relaxed)
    }

    /// Notes a stored snapshot that makes this many bytes of the log superfluous.
    pub(crate) fn note_snapshot(&self, log_bytes: u64, taken: Option<Taken>) {
        // Two snapshots at a time may count the same bytes.
        let less = |total: u64| Some(total.saturating_sub(log_bytes));
        let _ = self
            .bytes_since_snapshot
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        *self.snapshot.lock() = SnapshotProgress { taken, news: true };
    }

    /// Notes a snapshot that was stored before, or that came from elsewhere.
    pub(crate) fn note_newest_snapshot(&self, taken: Option<Taken>) {
        self.snapshot.lock().taken = taken;
    }

    /// Whether there is a stored snapshot that the core has not been told of; says so once.
    pub(crate) fn take_snapshot_news(&self) -> bool {
        std::mem::take(&mut self.snapshot.lock().news)
    }

    pub(crate) fn snapshot_age(&self) -> Option<Duration> {
        self.snapshot.lock().taken.map(Taken::age)
    }
}

/// That an applier lives.
pub(crate) struct Alive(watch::Sender<usize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0
            .send_modify(|appliers| *appliers = appliers.saturating_sub(1));
    }
}

/// Why a group no longer runs: set once, by whoever notices first.
#[derive(Clone)]
pub(crate) struct Stop {
    reason: Arc<OnceLock<Arc<str>>>,
    failed: watch::Sender<Option<Arc<str>>>,
}

impl Stop {
    pub(crate) fn new(failed: watch::Sender<Option<Arc<str>>>) -> Self {
        Self {
            reason: Arc::default(),
            failed,
        }
    }

    /// The group stops because it was asked to.
    pub(crate) fn close(&self) {
        let _ = self.reason.set("the node is shutting down".into());
    }

    /// The group cannot go on, and the node with it; unless it was stopping anyway.
    pub(crate) fn fail(&self, reason: Arc<str>) {
        if self.reason.set(Arc::clone(&reason)).is_ok() {
            self.failed.send_if_modified(|failed| {
                let first = failed.is_none();
                if first {
                    *failed = Some(reason);
                }
                first
            });
        }
    }

    pub(crate) fn get(&self) -> Option<Arc<str>> {
        self.reason.get().cloned()
    }

    /// The reason, or that there is none yet to be told.
    pub(crate) fn reason(&self) -> Arc<str> {
        self.get()
            .unwrap_or_else(|| "it no longer takes proposals".into())
    }
}
