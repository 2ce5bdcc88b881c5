//! A node's calls of others: questions of the layer above, and reads of groups that are led elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_proto::peer::call_frame_reply::Result as Outcome;
use futures::future::{try_join, try_join_all};
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::time::timeout_at;

use crate::call::{AnswerCalls, Lane, Leader, PeerCallError};
use crate::following::PRIMARY;
use crate::limits::{ALIVE_MS, CALL_WAIT_MAX_MS};
use crate::node::Node;
use crate::peer::{Called, READ, StreamError, put_read, put_who_leads, take_leader, take_read};
use crate::sampling::others;
use crate::{Group, GroupId, Leadership, NodeId, ReadError};

/// How often a call is begun anew on another connection, because the one at hand was over before the call was in it.
const CONNECTIONS_MAX: usize = 2;

/// How long one node may take to say who leads a group, in milliseconds.
const FIND_MS: u64 = 500;

/// How long that is believed, in milliseconds.
const FOUND_MS: u64 = 1_000;

/// How long a replica may take to apply what its leader had applied, in milliseconds.
const CATCH_UP_MS: u64 = 5_000;

/// What a node knows of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The other.
    pub node: NodeId,
    /// Whether this node is connected to it, as far as it knows.
    pub connected: bool,
    /// How long it has not been heard of, which is asked every second; `None` where it never was.
    pub silence: Option<Duration>,
}

impl PeerStatus {
    /// Whether it was heard of within [`ALIVE_MS`](crate::limits::ALIVE_MS).
    pub fn is_alive(&self) -> bool {
        let lately = |silence: Duration| silence < Duration::from_millis(ALIVE_MS);
        self.silence.is_some_and(lately)
    }
}

/// A call that was sent. Dropped, it is forgotten here, and may be done there all the same.
#[must_use = "nobody is told what comes of the call"]
pub struct Calling {
    node: NodeId,
    called: Called,
}

impl Calling {
    /// The node that is asked.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What comes of it by then.
    async fn until(self, deadline: Instant) -> Result<Bytes, PeerCallError> {
        let Self { node, called } = self;
        outcome(node, called.until(deadline).await)
    }
}

impl Future for Calling {
    type Output = Result<Bytes, PeerCallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(Pin::new(&mut self.called).poll(cx));
        Poll::Ready(outcome(self.node, ended))
    }
}

/// What a call that was sent has come to.
fn outcome(node: NodeId, ended: Result<Outcome, StreamError>) -> Result<Bytes, PeerCallError> {
    let cause = match ended {
        Ok(Outcome::Answered(answer)) => return Ok(answer),
        Ok(Outcome::Declined(cause)) => return Err(PeerCallError::Declined { node, cause }),
        Ok(Outcome::Failed(cause)) => cause,
        Err(error) => error.to_string(),
    };
    Err(PeerCallError::Unknown { node, cause })
}

impl Node {
    /// What is known of every other node of the cluster that was not removed, in the order of their ids. Empty on a node that stands
    /// alone.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let Some(peering) = self.peering() else {
            return Vec::new();
        };
        let others = others(&peering.peers, self.members().map(|members| &**members));
        let status = |node| {
            let links = peering.peers.links(node).ok();
            PeerStatus {
                node,
                connected: links.as_ref().is_some_and(|links| links.is_connected()),
                silence: links.and_then(|links| links.silence()),
            }
        };
        others.into_iter().map(status).collect()
    }

    /// The oldest version of the peer protocol that is spoken with another node, or was when this one was last connected to it, and the one at
    /// which the cluster is finalised where that is older; that alone where there is no other node. Of who was never connected to since this node's start nothing is known. What another node could not read in its log is not to be put into one.
    pub fn oldest_version_spoken(&self) -> u32 {
        let finalised = self.finalised();
        let Some(peering) = self.peering() else {
            return finalised;
        };
        let others = others(&peering.peers, self.members().map(|members| &**members));
        let spoken = others
            .into_iter()
            .filter_map(|node| peering.peers.links(node).ok()?.version());
        spoken.min().unwrap_or(finalised).min(finalised)
    }

    /// The version of the peer protocol that is spoken with another node, or was when this one was last connected to it; `None` where it never
    /// was since this node's start.
    pub fn version_spoken(&self, node: NodeId) -> Option<u32> {
        self.peering()?.peers.links(node).ok()?.version()
    }

    /// Whether the cluster is finalised at this version of the peer protocol, or a newer one, and such a one is spoken with every other node,
    /// or was when this one was last connected to it. Not, as long as there is one to which it never was.
    pub fn is_spoken_by_all(&self, version: u32) -> bool {
        if version > self.finalised() {
            return false;
        }
        let Some(peering) = self.peering() else {
            return true;
        };
        let others = others(&peering.peers, self.members().map(|members| &**members));
        let spoken = |node| peering.peers.links(node).ok()?.version();
        others
            .into_iter()
            .all(|node| spoken(node).is_some_and(|spoken| spoken >= version))
    }

    /// Whether this node has peers, so that groups may be led elsewhere.
    pub fn has_peers(&self) -> bool {
        self.peering().is_some()
    }

    /// Who answers the calls of other nodes, from now on. Until it is set they are declined.
    ///
    /// True if it was not set before, and on a node that stands alone, which nobody calls.
    pub fn answer_calls(&self, answers: Arc<dyn AnswerCalls>) -> bool {
        self.peering()
            .is_none_or(|peering| peering.answering.set(answers))
    }

    /// Asks another node, and waits for its answer until `deadline`. `kind` is 1 or more.
    ///
    /// # Errors
    /// Why there is no answer, and whether the other node may have done what it was asked.
    pub async fn call(
        &self,
        node: NodeId,
        (lane, kind): (Lane, u32),
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, PeerCallError> {
        let not_sent = |cause: &dyn std::fmt::Display| PeerCallError::NotSent {
            node,
            cause: cause.to_string(),
        };
        let latest = Instant::now() + Duration::from_millis(CALL_WAIT_MAX_MS);
        let deadline = deadline.min(latest);
        if let Some(calling) = self.begin_call(node, (lane, kind), body.clone(), deadline) {
            return calling.until(deadline).await;
        }
        let peering = self.peering();
        let peering = peering.ok_or_else(|| not_sent(&"this node stands alone"))?;
        let links = peering.peers.links(node).map_err(|error| not_sent(&error))?;
        let (link, bounds) = links.calls.of(lane);
        let mut ended = StreamError::Ended;
        for _ in 0..CONNECTIONS_MAX {
            let connecting = timeout_at(deadline.into(), link.connection()).await;
            let connection = connecting
                .map_err(|_elapsed| not_sent(&"it was not reached in time"))?
                .map_err(|error| not_sent(&error))?;
            let opening = timeout_at(deadline.into(), connection.calls()).await;
            let opening = opening.map_err(|_elapsed| not_sent(&"it was not reached in time"))?;
            let stream = match opening {
                Ok(stream) => stream,
                Err(status) => {
                    link.discard(&connection);
                    return Err(not_sent(&status.message()));
                }
            };
            match stream.call(bounds, (lane, kind), body.clone(), deadline).await {
                // A connection that ends with it is noticed by whoever needs one next.
                Ok(called) => return Calling { node, called }.until(deadline).await,
                Err(error @ StreamError::Ended) => {
                    link.discard(&connection);
                    ended = error;
                }
                Err(error) => return Err(not_sent(&error)),
            }
        }
        Err(not_sent(&ended))
    }

    /// Asks another node at once; `None` where nothing was sent, since that would have to wait: for a connection, or for room. Who gets
    /// no answer by `deadline` is told so by nobody: whoever makes many calls has one timer for them, and drops those that are late.
    pub fn begin_call(
        &self,
        node: NodeId,
        (lane, kind): (Lane, u32),
        body: Bytes,
        deadline: Instant,
    ) -> Option<Calling> {
        let links = self.peering()?.peers.links(node).ok()?;
        let (link, bounds) = links.calls.of(lane);
        let connection = link.open()?;
        let stream = connection.open_calls()?;
        let called = stream.try_call(bounds, (lane, kind), body, deadline).ok()?;
        Some(Calling { node, called })
    }

    /// Where a group is led, as far as this node knows: of a group that it has no replica of, what [`Node::find_leader`] has found lately.
    pub fn leader_of(&self, group: GroupId) -> Leader {
        let known = self.group(group).map_or(Leader::Unknown, |group| group.leader());
        match (known, self.peering()) {
            (Leader::Unknown, Some(peering)) => peering.found.get(group),
            // Who has no replica any more hears from no leader: what its old one knows was so once.
            (Leader::Node { .. }, Some(peering)) if !self.has_replica(group) => peering.found.get(group),
            (known, _) => known,
        }
    }

    /// Whether this node has a replica of a group, one that votes or one that catches up.
    pub fn has_replica(&self, group: GroupId) -> bool {
        self.group(group).is_some_and(|group| group.is_replica()) && !self.has_given_away(group)
    }

    /// Whether the replica here was moved away, as the registry says. Its own log need not say so: its leader stops sending to it when the
    /// members without it are in the leader's log.
    pub(crate) fn has_given_away(&self, group: GroupId) -> bool {
        // Every node hears the meta group, also without a vote.
        let registry = match group {
            GroupId::META => None,
            _ => self.registry(),
        };
        let placement = registry
            .as_ref()
            .and_then(|registry| registry.groups().get(&group));
        let me = self.identity().node_id;
        // A move that is taken back may have made this one the leader already.
        let leads = || {
            let group = self.group(group);
            group.is_some_and(|group| matches!(*group.leadership().borrow(), Leadership::Leader { .. }))
        };
        !leads()
            && placement
                .is_some_and(|placement| !placement.wanted.contains(&me) && !placement.placed.contains(&me))
    }

    /// Where a group is led. A node that has no replica of it hears from no leader, and asks those that have one.
    pub async fn find_leader(&self, group: GroupId, deadline: Instant) -> Leader {
        let known = self.leader_of(group);
        let Some(peering) = self.peering() else {
            return known;
        };
        if known != Leader::Unknown || self.has_replica(group) {
            return known;
        }
        let registry = self.registry();
        let placement = registry
            .as_ref()
            .and_then(|registry| registry.groups().get(&group));
        // Whoever has a replica knows. Others may have had one, and know what was.
        let asked: Vec<NodeId> = match placement {
            Some(placement) => placement.placed.union(&placement.wanted).copied().collect(),
            None => peering.peers.known(),
        };
        for node in asked.into_iter().filter(|node| *node != self.identity().node_id) {
            let deadline = deadline.min(Instant::now() + Duration::from_millis(FIND_MS));
            let answer = self
                .call(node, (Lane::Step, READ), put_who_leads(group.0), deadline)
                .await;
            let leader = answer.ok().and_then(take_leader);
            if let Some((leader, term)) = leader.filter(|(leader, _)| *leader != self.identity().node_id) {
                peering.found.note(group, leader, term);
                return Leader::Node { node: leader, term };
            }
        }
        Leader::Unknown
    }

    /// Passes when reads of the local state of all these groups are linearizable, wherever they are led: each sees every write that was
    /// answered, anywhere, before this call. A group that is led elsewhere costs a question to its leader, one for all groups of a leader.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] where a leader is not known, does not answer or has changed, or what it knows does not arrive here;
    /// [`ReadError::Stopped`]. Trying again later is harmless.
    pub async fn read_barrier(
        &self,
        groups: impl IntoIterator<Item = GroupId>,
        deadline: Instant,
    ) -> Result<(), ReadError> {
        let led = self.led(groups)?;
        self.pass_barriers(led, deadline).await?;
        Ok(())
    }

    /// The same, and what time it is then where these groups are led, but for here: the earliest, in microseconds since 1970. 0 where one of
    /// the leaders does not say; [`i64::MAX`] where all are led here.
    ///
    /// # Errors
    /// As [`Node::read_barrier`]'s.
    pub async fn read_barrier_by_clock(
        &self,
        groups: impl IntoIterator<Item = GroupId>,
        deadline: Instant,
    ) -> Result<i64, ReadError> {
        let led = self.led(groups)?;
        self.pass_barriers(led, deadline).await
    }

    /// Where groups are led.
    fn led(&self, groups: impl IntoIterator<Item = GroupId>) -> Result<Led, ReadError> {
        let mut here = Vec::new();
        let mut elsewhere = BTreeMap::<NodeId, Vec<Group>>::new();
        for id in groups {
            // What is not replicated here cannot be read here.
            let group = self
                .group(id)
                .filter(|group| !self.has_peers() || self.has_replica(group.id()));
            let group = group.ok_or(ReadError::NotLeader { leader: None })?;
            match group.leader() {
                Leader::Node { node, .. } if self.has_peers() => {
                    elsewhere.entry(node).or_default().push(group);
                }
                // Where it is not known the check itself says so.
                _ => here.push(group),
            }
        }
        Ok(Led { here, elsewhere })
    }

    async fn pass_barriers(&self, led: Led, deadline: Instant) -> Result<i64, ReadError> {
        let Led { here, elsewhere } = led;
        let here = try_join_all(here.iter().map(Group::read_barrier));
        if elsewhere.is_empty() || docket_persistence::planted!(ReadBehind) {
            here.await?;
            return Ok(i64::MAX);
        }
        let elsewhere = elsewhere
            .into_iter()
            .map(|(node, groups)| self.read_behind(node, groups, deadline));
        let (_, clocks) = try_join(here, try_join_all(elsewhere)).await?;
        Ok(clocks.into_iter().min().unwrap_or(i64::MAX))
    }

    /// The same for groups that this node leads.
    async fn read_behind(
        &self,
        node: NodeId,
        groups: Vec<Group>,
        deadline: Instant,
    ) -> Result<i64, ReadError> {
        let not_led = ReadError::NotLeader { leader: Some(node) };
        let asked = put_read(groups.iter().map(|group| group.id().0).collect());
        let answer = self.call(node, (Lane::Step, READ), asked, deadline).await;
        let answer = answer.map_err(|error| {
            tracing::debug!(%error, "a leader was not asked what is committed");
            not_led.clone()
        })?;
        let read = take_read(answer, groups.len()).ok_or_else(|| not_led.clone())?;
        let latest = Instant::now() + Duration::from_millis(CATCH_UP_MS);
        let deadline = deadline.min(latest);
        let waits = groups.iter().zip(read.indexes).map(|(group, next)| {
            let not_led = not_led.clone();
            async move {
                let applied = group.wait_applied(next?);
                timeout_at(deadline.into(), applied)
                    .await
                    .map_err(|_elapsed| not_led)?
            }
        });
        try_join_all(waits).await?;
        Ok(read.clock_us)
    }
}

/// Groups by where they are led, as far as this node knows.
struct Led {
    /// Here, or where it is not known: the check itself says so.
    here: Vec<Group>,
    elsewhere: BTreeMap<NodeId, Vec<Group>>,
}

/// Who leads the groups that this node has no replica of, as others have said lately.
#[derive(Default)]
pub(crate) struct Found(Mutex<HashMap<GroupId, (NodeId, u64, Instant)>>);

impl Found {
    fn get(&self, group: GroupId) -> Leader {
        let found = self.0.lock();
        match found.get(&group) {
            Some((node, term, since)) if since.elapsed() < Duration::from_millis(FOUND_MS) => Leader::Node {
                node: *node,
                term: *term,
            },
            _ => Leader::Unknown,
        }
    }

    fn note(&self, group: GroupId, node: NodeId, term: u64) {
        self.0.lock().insert(group, (node, term, Instant::now()));
    }
}

impl Group {
    /// Whether this node has a replica of the group, one that votes or one that catches up.
    fn is_replica(&self) -> bool {
        let metrics = self.raft().server_metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership();
        members.get_node(&metrics.id).is_some()
    }

    /// Where the group is led, as far as this node knows.
    pub fn leader(&self) -> Leader {
        if let Leadership::Leader { .. } = *self.leadership().borrow() {
            return Leader::Here;
        }
        // One look, so that node and term belong together.
        let metrics = self.raft().server_metrics();
        let metrics = metrics.borrow_watched();
        match metrics.current_leader {
            Some(PRIMARY) => Leader::Unknown,
            Some(node) if node != metrics.id => Leader::Node {
                node: NodeId(node),
                term: metrics.vote.leader_id.term,
            },
            _ => Leader::Unknown,
        }
    }

    /// Asks another voter to take the lead of this group over, if this node has it: at once, without waiting for an election's time. What
    /// comes of it shows in [`Group::leadership`]; nothing does where the other is behind, or this node does not lead.
    ///
    /// # Errors
    /// [`ReadError::Stopped`].
    pub async fn transfer_lead(&self, to: NodeId) -> Result<(), ReadError> {
        let asked = self.raft().trigger().transfer_leader(to.0).await;
        asked.map_err(|_fatal| ReadError::Stopped {
            reason: self.stop_reason(),
        })
    }

    /// Waits until every entry below this index has been applied here.
    async fn wait_applied(&self, next: u64) -> Result<(), ReadError> {
        let Some(last) = next.checked_sub(1) else {
            return Ok(());
        };
        if self.progress().has_applied(last) {
            return Ok(());
        }
        let life = self.life();
        let waiting = life.raft.wait(None);
        let applied = waiting.applied_index_at_least(Some(last), "a read").await;
        applied.map(drop).map_err(|_stopped| match life.has_ended() {
            true => ReadError::NotLeader { leader: None },
            false => ReadError::Stopped {
                reason: self.stop_reason(),
            },
        })
    }
}
