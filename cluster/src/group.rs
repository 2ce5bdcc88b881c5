//! The handle of a Raft group: propose, check a read, watch who leads.

use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::ClientWriteError;
use parking_lot::RwLock;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::apply::Applier;
use crate::following::PRIMARY;
use crate::life::{Life, Starter};
use crate::limits::{PAYLOAD_BYTES_MAX, PROPOSAL_BYTES_IN_FLIGHT_MAX, PROPOSALS_IN_FLIGHT_MAX};
use crate::log::GroupLog;
use crate::moments::Moments;
use crate::posture::Hush;
use crate::progress::{Progress, Stop};
use crate::raft::{LogId, Payload, Permits, TypeConfig, Waiter, WriteResult};
use crate::registry::is_record;
use crate::{GroupId, NodeId, ProposeError, ReadError};

/// A Raft group of this node. Cloning it is cheap, and every clone is the same group.
#[derive(Clone)]
pub struct Group {
    inner: Arc<GroupInner>,
}

pub(crate) struct GroupInner {
    pub(crate) log: GroupLog,
    /// The core that runs now.
    life: RwLock<Life>,
    pub(crate) starter: Starter,
    /// Set while the replica here is dropped, or it is found out whether it may be: peers are refused.
    leaving: AtomicBool,
    proposals: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// Who leads a group, as far as this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Another node leads, or none that is known.
    Follower {
        /// The leader, where it is known.
        leader: Option<NodeId>,
    },
    /// This node leads in this term, and everything that earlier terms committed has been applied here.
    Leader {
        /// The term; no other node leads in it.
        term: u64,
    },
}

/// What a group is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Which group.
    pub id: GroupId,
    /// Whether this node leads it.
    pub leadership: Leadership,
    /// The leader, where it is known.
    pub leader: Option<NodeId>,
    /// The newest term this node has voted in.
    pub term: u64,
    /// Index of the last entry of the log here; `None` before the first.
    pub last_log_index: Option<u64>,
    /// Index of the last entry known here to be committed.
    pub committed_index: Option<u64>,
    /// Index of the last entry applied here.
    pub applied_index: Option<u64>,
    /// Entries of the log here that are not applied yet.
    pub lag: u64,
    /// Index of the last entry inside the newest snapshot.
    pub snapshot_index: Option<u64>,
    /// How old the state in the newest snapshot is, by the wall clock; `None` without one, or if a program wrote it that did not note
    /// the time.
    pub snapshot_age: Option<Duration>,
    /// Payload bytes in the log that no snapshot holds yet.
    pub bytes_since_snapshot: u64,
    /// Proposals that wait for their reply.
    pub proposals_in_flight: usize,
    /// The nodes that vote.
    pub voters: Vec<NodeId>,
    /// The nodes that hear the log and do not vote.
    pub learners: Vec<NodeId>,
    /// How far the other members are, where this node leads; empty elsewhere.
    pub replicas: Vec<ReplicaStatus>,
    /// Why the group has stopped; `None` while it runs.
    pub stopped: Option<Arc<str>>,
}

/// How far a member of a group is, as its leader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The node that it is on.
    pub node: NodeId,
    /// Whether it votes; else it only hears the log.
    pub votes: bool,
    /// Index of the last entry that it is known to have as the leader has it; `None` where nothing is known yet.
    pub match_index: Option<u64>,
    /// Entries of the leader's log behind that.
    pub lag: u64,
    /// Why its leader sends it nothing that it lacks; `None` where it does.
    pub held_back: Option<Arc<str>>,
}

/// A proposal that has entered the log's queue and waits until it is durable, agreed and applied.
///
/// Dropping it takes nothing back: the entry may still be applied.
#[must_use = "a proposal's fate is known only by awaiting it"]
pub struct Pending {
    answer: oneshot::Receiver<WriteResult>,
    stop: Stop,
}

impl Group {
    /// Starts the group with this log and this state.
    ///
    /// # Errors
    /// [`ClusterError::Group`](crate::ClusterError::Group).
    pub(crate) async fn start(
        starter: Starter,
        log: GroupLog,
        applier: Applier,
    ) -> Result<Self, crate::ClusterError> {
        let life = RwLock::new(starter.start(&log, applier).await?);
        let inner = GroupInner {
            log,
            life,
            starter,
            leaving: AtomicBool::new(false),
            proposals: Arc::new(Semaphore::new(PROPOSALS_IN_FLIGHT_MAX)),
            bytes: Arc::new(Semaphore::new(PROPOSAL_BYTES_IN_FLIGHT_MAX)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    pub(crate) fn inner(&self) -> &GroupInner {
        &self.inner
    }

    /// The core that runs now.
    pub(crate) fn life(&self) -> Life {
        self.inner.life.read().clone()
    }

    /// As [`life`](Self::life), once another one has ended.
    pub(crate) fn set_life(&self, life: Life) {
        *self.inner.life.write() = life;
    }

    pub(crate) fn raft(&self) -> Raft<TypeConfig, Applier> {
        self.inner.life.read().raft.clone()
    }

    pub(crate) fn stop_reason(&self) -> Arc<str> {
        self.inner.starter.stop.reason()
    }

    /// Whether a candidate whose log ends with this entry may have this node's vote, and this node be a candidate with its own: not with
    /// less than an earlier replica here had.
    pub(crate) fn may_vote_for(&self, last: Option<LogId>) -> bool {
        self.inner.log.floor().is_none_or(|floor| last >= Some(floor))
    }

    /// Whether peers are refused, since the replica here may be on its way out.
    pub(crate) fn is_leaving(&self) -> bool {
        self.inner.leaving.load(Ordering::SeqCst)
    }

    /// Refuses peers from now on, until the gate is dropped. `None` where they are refused already.
    pub(crate) fn close_gate(&self) -> Option<Gate> {
        let was_leaving = self.inner.leaving.swap(true, Ordering::SeqCst);
        (!was_leaving).then(|| Gate(self.clone()))
    }

    /// The group cannot go on, and its node with it.
    pub(crate) fn fail(&self, reason: Arc<str>) {
        tracing::error!("{reason}");
        self.inner.starter.stop.fail(reason);
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.inner.starter.progress
    }

    /// Who leads it to Raft, whatever the node's posture.
    pub(crate) fn leads_beneath(&self) -> Option<NodeId> {
        let metrics = self.raft().server_metrics();
        let leader = metrics.borrow_watched().current_leader;
        leader.filter(|leader| *leader != PRIMARY).map(NodeId)
    }

    pub(crate) fn hush(&self) -> &Hush {
        &self.inner.starter.hush
    }

    /// Waits until none of the proposals that were let in before is on its way: whoever leads nothing any more lets in no further ones.
    pub(crate) async fn drained(&self) {
        // Closed means that there will be none.
        let _ = self
            .inner
            .proposals
            .acquire_many(PROPOSALS_IN_FLIGHT_MAX as u32)
            .await;
    }

    /// The first and the last entry that have bytes in these frames of the journal, if any has.
    pub(crate) fn entries_in(&self, frames: RangeInclusive<u64>) -> Option<(u64, u64)> {
        self.inner.log.entries_in(frames)
    }

    /// Which group this is.
    pub fn id(&self) -> GroupId {
        self.inner.starter.progress.group
    }

    /// Puts a payload into the log's queue. Calls that follow one another, each awaited, enter the log in that order, and a call need
    /// not wait for the [`Pending`] of the one before.
    ///
    /// What is in flight is bounded ([`PROPOSALS_IN_FLIGHT_MAX`], [`PROPOSAL_BYTES_IN_FLIGHT_MAX`]): the call waits, in the order of
    /// arrival, until there is room. Dropping the future before it is ready submits nothing.
    ///
    /// # Errors
    /// [`ProposeError::TooLarge`] or [`ProposeError::Stopped`]; that this node does not lead is told by the
    /// [`Pending`].
    pub async fn submit(&self, payload: Bytes) -> Result<Pending, ProposeError> {
        self.submit_watched(payload, None).await
    }

    /// The same, where somebody wants to know when the entry was where.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_watched(
        &self,
        payload: Bytes,
        moments: Option<Moments>,
    ) -> Result<Pending, ProposeError> {
        let inner = &*self.inner;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(ProposeError::TooLarge {
                bytes: payload.len(),
                bytes_max: PAYLOAD_BYTES_MAX,
            });
        }
        let stopped = || ProposeError::Stopped {
            reason: inner.starter.stop.reason(),
        };
        // Bytes first, then the place: a small proposal never overtakes a large one that waits for room.
        let bytes = Arc::clone(&inner.bytes)
            .acquire_many_owned(payload.len() as u32)
            .await
            .map_err(|_| stopped())?;
        let proposal = Arc::clone(&inner.proposals)
            .acquire_owned()
            .await
            .map_err(|_| stopped())?;
        // Behind the place, so that whoever has all places knows that nothing is on its way.
        if inner.starter.hush.is_closed() && !is_record(&payload) {
            return Err(ProposeError::NotLeader { leader: None });
        }
        let (waiter, answer) = Waiter::new(Permits::new(
            proposal,
            bytes,
            self.progress().metrics.in_flight.clone(),
        ));
        let life = self.life();
        let payload = Payload(payload, moments);
        match life.raft.client_write_ff(payload, Some(waiter)).await {
            Ok(()) => Ok(Pending {
                answer,
                stop: inner.starter.stop.clone(),
            }),
            Err(_) if life.has_ended() => Err(ProposeError::NotLeader { leader: None }),
            Err(_) => Err(stopped()),
        }
    }

    /// Submits a payload and waits for the state machine's reply: the entry is then durable, agreed and applied here.
    ///
    /// # Errors
    /// Any [`ProposeError`].
    pub async fn propose(&self, payload: Bytes) -> Result<Bytes, ProposeError> {
        self.submit(payload).await?.await
    }

    /// Passes when a read of the local state is linearizable: it sees every write that was answered, anywhere, before this call.
    ///
    /// Concurrent callers share one check. A group whose only voter is this node answers from memory.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] or [`ReadError::Stopped`].
    pub async fn read_barrier(&self) -> Result<(), ReadError> {
        if let Some(reason) = self.inner.starter.stop.get() {
            return Err(ReadError::Stopped { reason });
        }
        if self.progress().leads_alone() || docket_persistence::planted!(ReadWithoutCheck) {
            return Ok(());
        }
        // What a standby has is all that it can know.
        if self.hush().is_standby() {
            return Ok(());
        }
        let life = self.life();
        match life.reads.check().await {
            Err(ReadError::Stopped { .. }) if life.has_ended() => Err(ReadError::NotLeader { leader: None }),
            checked => checked,
        }
    }

    /// Whether this node leads, and can lose the lead to nobody since it votes alone: its state then has every write that was answered.
    /// Cheap.
    pub fn leads_alone(&self) -> bool {
        self.progress().leads_alone()
    }

    /// Tells who leads, now and from now on. [`Leadership::Leader`] appears only when everything that earlier terms committed has been
    /// applied here, so that what is rebuilt from the state then is up to date.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.starter.leadership.subscribe()
    }

    /// Whether this node follows another one in it. False also where nothing is heard here of who leads, since there is no replica here.
    pub fn follows(&self, node: NodeId) -> bool {
        *self.inner.starter.leadership.borrow() == Leadership::Follower { leader: Some(node) }
    }

    /// What the group is doing now.
    pub fn status(&self) -> GroupStatus {
        let inner = &*self.inner;
        let raft = self.raft().metrics();
        let raft = raft.borrow_watched();
        let last_log_index = raft.last_log_index;
        let applied_index = self.progress().applied_index();
        let next = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let membership = raft.membership_config.membership();
        // Once it has all that the log says, it needs no snapshot any more.
        let held_back = |node: u64, lag: u64| self.progress().held_back(node).filter(|_| lag > 0);
        let voters: Vec<_> = membership.voter_ids().map(NodeId).collect();
        let replicas = raft.replication.iter().flatten();
        let replicas = replicas
            .filter(|(node, _)| **node != raft.id)
            .map(|(node, matched)| {
                let match_index = matched.as_ref().map(|id| id.index);
                let lag = next(last_log_index).saturating_sub(next(match_index));
                ReplicaStatus {
                    node: NodeId(*node),
                    votes: voters.contains(&NodeId(*node)),
                    match_index,
                    lag,
                    held_back: held_back(*node, lag),
                }
            });
        GroupStatus {
            id: self.id(),
            leadership: *inner.starter.leadership.borrow(),
            leader: raft
                .current_leader
                .filter(|leader| *leader != PRIMARY)
                .map(NodeId),
            term: raft.current_term,
            last_log_index,
            committed_index: raft.local_committed.map(|id| id.index),
            applied_index,
            lag: next(last_log_index).saturating_sub(next(applied_index)),
            snapshot_index: raft.snapshot.map(|id| id.index),
            snapshot_age: self.progress().snapshot_age(),
            bytes_since_snapshot: self.progress().bytes_since_snapshot(),
            proposals_in_flight: self.proposals_in_flight(),
            learners: membership.learner_ids().map(NodeId).collect(),
            replicas: replicas.collect(),
            voters,
            stopped: inner.starter.stop.get(),
        }
    }

    /// Proposals that wait for their reply.
    pub fn proposals_in_flight(&self) -> usize {
        PROPOSALS_IN_FLIGHT_MAX - self.inner.proposals.available_permits()
    }

    /// Ends its core, and waits for that.
    pub(crate) async fn shutdown(&self) {
        // It answers no error.
        let _ = self.raft().shutdown().await;
    }

    /// Stops taking proposals, and lets nobody wait for room any more: they are answered [`ProposeError::Stopped`].
    pub(crate) fn close(&self) {
        self.inner.starter.stop.close();
        self.inner.proposals.close();
        self.inner.bytes.close();
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({})", self.id())
    }
}

/// Peers are refused while it lives.
pub(crate) struct Gate(Group);

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.inner.leaving.store(false, Ordering::SeqCst);
    }
}

impl Future for Pending {
    type Output = Result<Bytes, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx).map(|answer| match answer {
            Ok(Ok(response)) => Ok(response.data.0),
            Ok(Err(ClientWriteError::ForwardToLeader(to))) => Err(ProposeError::NotLeader {
                leader: to.leader_id.map(NodeId),
            }),
            // The entry was in the log; what became of it elsewhere is not known. The other errors are not a write's.
            Ok(Err(_)) => Err(ProposeError::Unknown),
            // The core dropped the waiter: it has stopped, or it lost the leadership in between.
            Err(_) => Err(match self.stop.get() {
                Some(reason) => ProposeError::Stopped { reason },
                None => ProposeError::Unknown,
            }),
        })
    }
}
