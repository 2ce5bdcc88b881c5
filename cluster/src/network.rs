//! How a group reaches its replicas on other nodes: openraft's network over the peer protocol.
//!
//! What a node cannot reach is *unreachable*, whatever the reason: openraft then waits before it tries again. A node that stands alone
//! has no peers, and every other is unreachable to it.

mod sending;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use docket_proto::peer as pb;
use docket_proto::peer::snapshot_part::Part;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use openraft::base::BoxFuture;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use openraft::{EmptyNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::apply::SnapshotData;
use crate::limits::{
    PEER_BACK_OFF_MAX_MS, PEER_BACK_OFF_MIN_MS, PEER_CHUNKS_MAX, PEER_SNAPSHOT_MS, PEER_STALL_MS,
};
use crate::metrics::Traffic;
use crate::peer::{self, Connection, Link, PeerError, PeerLinks, Peers, Session};
use crate::placement::CATCH_UP_ENTRIES_MAX;
use crate::progress::Progress;
use crate::raft::{TypeConfig, Vote};
use crate::{GroupId, NodeId, StateMachine};

use sending::{kept_alive, read_snapshot};

type Reply<T> = Result<T, RPCError<TypeConfig>>;

/// Makes the ways of one group to its peers.
pub(crate) struct Network {
    pub(crate) progress: Arc<Progress>,
    /// `None` on a node that stands alone.
    pub(crate) peers: Option<Arc<Peers>>,
    /// Says who cannot read the group's snapshots, and has what they leave aside.
    pub(crate) machine: Arc<dyn StateMachine>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _: &EmptyNode) -> Peer {
        Peer {
            group: self.progress.group,
            node: NodeId(target),
            progress: Arc::clone(&self.progress),
            peers: self.peers.clone(),
            machine: Arc::clone(&self.machine),
            traffic: Traffic::to(NodeId(target)),
        }
    }
}

/// One group's way to one peer.
pub(crate) struct Peer {
    group: GroupId,
    node: NodeId,
    progress: Arc<Progress>,
    peers: Option<Arc<Peers>>,
    machine: Arc<dyn StateMachine>,
    traffic: Traffic,
}

impl Peer {
    fn links(&self) -> Result<Arc<PeerLinks>, PeerError> {
        let node = self.node;
        let peers = self.peers.as_ref().ok_or(PeerError::NoAddress { node })?;
        peers.links(node)
    }

    fn unreachable(&self, cause: impl std::fmt::Display) -> Unreachable<TypeConfig> {
        Unreachable::from_string(format!("{}: {cause}", self.group))
    }

    /// The way for what is urgent.
    async fn urgent(&self) -> Reply<(Link, Arc<Connection>)> {
        let link = self
            .links()
            .map_err(|error| self.unreachable(error))?
            .urgent
            .clone();
        let connection = link.connection().await.map_err(|error| self.unreachable(error))?;
        Ok((link, connection))
    }

    /// What a failed call means; a connection that broke is let go.
    fn failed(
        &self,
        link: &Link,
        connection: &Arc<Connection>,
        status: &tonic::Status,
    ) -> Unreachable<TypeConfig> {
        use tonic::Code;
        let broken = [
            Code::Unavailable,
            Code::Unknown,
            Code::Internal,
            Code::Cancelled,
            Code::FailedPrecondition,
        ];
        if broken.contains(&status.code()) {
            link.discard(connection);
        }
        self.unreachable(format_args!("node {}: {}", self.node, status.message()))
    }

    fn late(&self, limit: Duration) -> Unreachable<TypeConfig> {
        self.unreachable(format_args!("node {} did not answer within {limit:?}", self.node))
    }

    async fn ask(
        &self,
        request: VoteRequest<TypeConfig>,
        pre_vote: bool,
        limit: Duration,
    ) -> Reply<VoteResponse<TypeConfig>> {
        let asked = async {
            let (link, connection) = self.urgent().await?;
            let request = peer::put_vote(self.group.0, &request, pre_vote);
            let reply = connection.client().vote(request).await;
            let reply = reply.map_err(|status| self.failed(&link, &connection, &status))?;
            peer::take_voted(reply.into_inner()).map_err(|error| self.unreachable(error).into())
        };
        timeout(limit, asked)
            .await
            .unwrap_or_else(|_elapsed| Err(self.late(limit).into()))
    }

    /// An append by itself, on the way for what is urgent.
    async fn append_alone(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
        limit: Duration,
    ) -> Reply<StreamAppendResult<TypeConfig>> {
        let sent = async {
            let (link, connection) = self.urgent().await?;
            let request = peer::put_append(self.group.0, request).map_err(|error| self.unreachable(error))?;
            self.traffic.heartbeats.increment(1);
            let reply = connection.client().heartbeat(request).await;
            let reply = reply.map_err(|status| self.failed(&link, &connection, &status))?;
            peer::take_appended(reply.into_inner()).map_err(|cause| self.unreachable(cause).into())
        };
        timeout(limit, sent)
            .await
            .unwrap_or_else(|_elapsed| Err(self.late(limit).into()))
    }

    /// Begins a session on the stream of appends.
    async fn begin(&self) -> Reply<Session> {
        let links = self.links().map_err(|error| self.unreachable(error))?;
        let connection = links.log.connection().await;
        let connection = connection.map_err(|error| self.unreachable(error))?;
        let appends = connection
            .appends()
            .await
            .map_err(|status| self.failed(&links.log, &connection, &status))?;
        appends.session().map_err(|error| {
            links.log.discard(&connection);
            self.unreachable(error).into()
        })
    }

    /// What the peer has of a snapshot from a transfer which broke off, and of what is kept aside of it.
    async fn held(
        &self,
        links: &PeerLinks,
        connection: &Arc<Connection>,
        head: &pb::SnapshotHead,
    ) -> Result<pb::SnapshotHeldReply, Unreachable<TypeConfig>> {
        let mut client = connection.client();
        let held = timeout(STALL, client.snapshot_held(head.clone())).await;
        match held.map_err(|_elapsed| self.late(STALL))? {
            Ok(reply) => Ok(reply.into_inner()),
            // A program that keeps none.
            Err(status) if status.code() == tonic::Code::Unimplemented => {
                Ok(pb::SnapshotHeldReply::default())
            }
            Err(status) => Err(self.failed(&links.snapshot, connection, &status)),
        }
    }

    /// Whether an append is for a replica that does not vote yet, and is far behind: it is in no hurry, and there may be a lot of it.
    fn only_catches_up(&self, request: &AppendEntriesRequest<TypeConfig>) -> bool {
        let first = request.entries.first().map(|entry| entry.log_id.index);
        let committed = request.leader_commit.map(|id| id.index);
        let is_behind = first.zip(committed);
        is_behind.is_some_and(|(first, committed)| first + CATCH_UP_ENTRIES_MAX < committed)
            && !self.progress.votes(self.node.0)
    }

    /// Whether the peer can read the group's snapshots. Where it cannot it is sent none: that is told once, and shown while it is so.
    fn is_read_by(&self, connection: &Connection) -> Result<(), Unreachable<TypeConfig>> {
        let speaks = connection.version();
        let since = self.machine.snapshots_since();
        if speaks >= since {
            self.progress.send_again(self.node.0);
            return Ok(());
        }
        let why = format!(
            "it is sent no snapshot: it speaks version {speaks} of the peer protocol, and reads none of this format, which needs version {since}: \
             start it with the newer program"
        );
        if self.progress.hold_back(self.node.0, &why) {
            tracing::warn!(group = %self.group, to = %self.node, "a replica waits: {why}");
        }
        Err(self.unreachable(format_args!("node {}: {why}", self.node)))
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let links = self.links().map_err(|error| self.unreachable(error))?;
        let connection = links.snapshot.connection().await;
        let connection = connection.map_err(|error| self.unreachable(error))?;
        self.is_read_by(&connection).inspect_err(|_| {
            // The next attempt says Hello again: to a newer program, perhaps, of which nothing would be heard on this connection.
            links.snapshot.discard(&connection);
        })?;
        let (digest, id) = (snapshot.snapshot.digest(), snapshot.snapshot.id());
        let mut head = peer::put_snapshot_head(self.group.0, &vote, &snapshot.meta, digest, id)
            .map_err(|error| self.unreachable(error))?;
        let mut aside = None;
        if self.machine.kept_aside() > 0 {
            let from = self.held(&links, &connection, &head).await?.aside;
            if !head.id.is_empty() {
                // What goes on is of the same snapshot, and of as much beside it.
                head.id = [&head.id[..], &from.to_be_bytes()].concat().into();
            }
            aside = Some(from);
        }
        if !head.id.is_empty() {
            head.behind = self.held(&links, &connection, &head).await?.bytes;
        }
        if head.behind > 0 {
            let bytes = head.behind;
            tracing::info!(group = %self.group, to = %self.node, bytes, "a snapshot that broke off goes on");
        }
        let (parts, queue) = mpsc::channel(PEER_CHUNKS_MAX);
        let machine = Arc::clone(&self.machine);
        let aside = aside.into_iter().flat_map(move |from| machine.read_aside(from));
        let reading = read_snapshot(
            head,
            snapshot.snapshot.chain(aside),
            parts,
            self.traffic.snapshot_bytes.clone(),
        );
        let mut client = connection.client();
        let limit = Duration::from_millis(PEER_SNAPSHOT_MS);
        let peers = self.peers.clone();
        let paced = ReceiverStream::new(queue).then(move |part: pb::SnapshotPart| {
            let peers = peers.clone();
            async move {
                if let (Some(peers), Some(Part::Chunk(chunk))) = (peers, &part.part) {
                    peers.pace().turn(chunk.len()).await;
                }
                part
            }
        });
        let sending = timeout(limit, client.snapshot(kept_alive(paced)));
        // Both at once: the call takes what is read, and ends early if the peer refuses.
        let (read, reply) = tokio::join!(reading, sending);
        let reply = reply
            .map_err(|_elapsed| self.late(limit))?
            .map_err(|status| self.failed(&links.snapshot, &connection, &status))?;
        read.map_err(|error| self.unreachable(error))?;
        peer::take_snapshot_taken(reply.into_inner()).map_err(|error| self.unreachable(error).into())
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Reply<AppendEntriesResponse<TypeConfig>> {
        let once = Box::pin(stream::iter([request]));
        let mut results = self.stream_append(once, option).await?;
        let result = results.next().await;
        drop(results);
        match result {
            Some(Ok(Ok(upto))) => Ok(AppendEntriesResponse::PartialSuccess(upto)),
            Some(Ok(Err(StreamAppendError::Conflict(_)))) => Ok(AppendEntriesResponse::Conflict),
            Some(Ok(Err(StreamAppendError::HigherVote(vote)))) => Ok(AppendEntriesResponse::HigherVote(vote)),
            Some(Err(error)) => Err(error),
            None => Err(self.unreachable("an append was not answered").into()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<'s, Reply<BoxStream<'s, Reply<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let run = Run {
            peer: self,
            input: Some(input),
            session: None,
            waiting: None,
        };
        // No task of its own: when openraft drops the stream, nothing goes on to take from its input.
        let results = stream::unfold(Some(run), |run| async {
            let mut run = run?;
            let result = run.next().await?;
            let goes_on = matches!(result, Ok(Ok(_)));
            Some((result, goes_on.then_some(run)))
        });
        let results: BoxStream<'s, _> = Box::pin(results);
        Box::pin(async move { Ok(results) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Reply<VoteResponse<TypeConfig>> {
        self.ask(request, false, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Reply<VoteResponse<TypeConfig>> {
        self.ask(request, true, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            sent = self.send_snapshot(vote, snapshot) => sent,
            closed = cancel => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Reply<TransferLeaderResponse<TypeConfig>> {
        let limit = option.soft_ttl();
        let asked = async {
            let (link, connection) = self.urgent().await?;
            let request = peer::put_transfer(self.group.0, &request);
            let reply = connection.client().transfer_leader(request).await;
            let reply = reply.map_err(|status| self.failed(&link, &connection, &status))?;
            peer::take_transferred(reply.into_inner()).map_err(|error| self.unreachable(error).into())
        };
        timeout(limit, asked)
            .await
            .unwrap_or_else(|_elapsed| Err(self.late(limit).into()))
    }

    fn backoff(&self) -> Option<Backoff> {
        let waits = std::iter::successors(Some(PEER_BACK_OFF_MIN_MS), |wait| {
            Some((wait * 2).min(PEER_BACK_OFF_MAX_MS))
        });
        Some(Backoff::new(waits.map(Duration::from_millis)))
    }
}

/// One run of appends to a peer: what openraft gives goes out as long as there is room, and answers come back in order.
struct Run<'s, S> {
    peer: &'s Peer,
    /// `None` once it has ended.
    input: Option<S>,
    session: Option<Session>,
    /// What waits for its turn, because it is in no hurry. Answers to what is on its way are taken meanwhile, and give back their share of
    /// what may be: others want to use it.
    waiting: Option<Waiting>,
}

/// An append that waits for its turn: ready with it.
type Waiting = BoxFuture<'static, pb::AppendRequest>;

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Run<'_, S> {
    /// The next answer; `None` when everything was sent and answered.
    async fn next(&mut self) -> Option<Reply<StreamAppendResult<TypeConfig>>> {
        loop {
            let idle = self.session.as_ref().is_none_or(Session::is_idle);
            let room = self.session.as_ref().is_none_or(Session::has_room) && self.waiting.is_none();
            if idle && self.input.is_none() && self.waiting.is_none() {
                return None;
            }
            let (input, session, waiting) = (&mut self.input, &mut self.session, &mut self.waiting);
            tokio::select! {
                biased;
                answer = answer(session) => return Some(match answer {
                    Ok(reply) => peer::take_appended(reply).map_err(|cause| self.peer.unreachable(cause).into()),
                    Err(error) => Err(self.peer.unreachable(error).into()),
                }),
                request = turn(waiting) => {
                    self.waiting = None;
                    if let Err(error) = self.send(request).await {
                        return Some(Err(error));
                    }
                }
                request = next(input), if room => match request {
                    None => self.input = None,
                    // A heartbeat, or news of what is committed: it need not wait for other groups' entries. With nothing in
                    // front of it, it overtakes nothing.
                    Some(request) if idle && request.entries.is_empty() => {
                        return Some(self.peer.append_alone(request, STALL).await);
                    }
                    Some(request) => {
                        let last = request.entries.last().map(|entry| entry.log_id);
                        if let Err(error) = self.take(request).await {
                            return Some(Err(error));
                        }
                        if docket_persistence::planted!(AckBeforeQuorum) && last.is_some() {
                            return Some(Ok(Ok(last)));
                        }
                    }
                },
            }
        }
    }

    /// Sends an append, or has it wait for its turn.
    async fn take(&mut self, request: AppendEntriesRequest<TypeConfig>) -> Reply<()> {
        let is_paced = self.peer.only_catches_up(&request);
        let request =
            peer::put_append(self.peer.group.0, request).map_err(|error| self.peer.unreachable(error))?;
        match self.peer.peers.clone().filter(|_| is_paced) {
            None => self.send(request).await,
            Some(peers) => {
                self.waiting = Some(Box::pin(async move {
                    peers.pace().turn(request.encoded_len()).await;
                    request
                }));
                Ok(())
            }
        }
    }

    async fn send(&mut self, request: pb::AppendRequest) -> Reply<()> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(self.peer.begin().await?),
        };
        let sent = session.send(request).await;
        let bytes = sent.map_err(|error| self.peer.unreachable(error))?;
        self.peer.traffic.appends.increment(1);
        self.peer.traffic.append_bytes.increment(bytes as u64);
        Ok(())
    }
}

async fn answer(session: &mut Option<Session>) -> Result<pb::AppendReply, peer::SessionError> {
    match session {
        Some(session) => session.answer().await,
        None => std::future::pending().await,
    }
}

async fn turn(waiting: &mut Option<Waiting>) -> pb::AppendRequest {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}

async fn next<S: Stream + Unpin>(input: &mut Option<S>) -> Option<S::Item> {
    match input {
        Some(input) => input.next().await,
        None => std::future::pending().await,
    }
}

const STALL: Duration = Duration::from_millis(PEER_STALL_MS);
