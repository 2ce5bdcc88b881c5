//! What a node answers to its peers, one handler a connection.

use std::sync::{Arc, OnceLock};

use docket_proto::peer as pb;
use docket_proto::peer::peer_server::Peer;
use docket_proto::peer::snapshot_part::Part;
use futures::StreamExt;
use openraft::Snapshot;
use rustls_pki_types::CertificateDer;
use tokio::time::{Duration, timeout};
use tonic::{Request, Response, Status, Streaming};

use super::append_server::{self, Replies};
use super::call_server::{self, Answering};
use super::cut::{Cuttable, DROPPED};
use super::presence::{Presence, Present};
use super::spool::{Arriving, Begun, Source, Spooled, Spools};
use super::{NoCommonVersion, Own, Versions, tls, wire};
use crate::apply::SnapshotData;
use crate::limits::PEER_STALL_MS;
use crate::log::NodeJournal;
use crate::members::Members;
use crate::{Group, Leader, NodeId, replicas};

/// How Hello is refused where a node is no part of the cluster for good.
pub(crate) const EXPELLED: tonic::Code = tonic::Code::Unauthenticated;
/// How Hello is refused where another process is the same node.
pub(super) const TWICE: tonic::Code = tonic::Code::AlreadyExists;

/// Every group of this node, by its number. Clones are the same groups.
#[derive(Clone)]
pub(super) struct Groups(Arc<[Group]>);

impl Groups {
    pub(super) fn get(&self, group: u32) -> Result<&Group, Status> {
        self.0
            .get(group as usize)
            .ok_or_else(|| Status::not_found(format!("there is no group {group} here")))
    }

    /// A group for whoever replicates it. While the replica here is dropped there is none.
    pub(super) fn replica(&self, group: u32) -> Result<&Group, Status> {
        let found = self.get(group)?;
        match found.is_leaving() {
            true => Err(Status::unavailable(format!(
                "the replica of group {group} leaves this node"
            ))),
            false => Ok(found),
        }
    }
}

/// What all connections share.
pub(crate) struct Served {
    pub(super) own: Arc<Own>,
    groups: Groups,
    journal: Arc<NodeJournal>,
    spools: Arc<Spools>,
    /// `None` where the cluster keeps no registry of nodes.
    members: Option<Arc<Members>>,
    present: Arc<Presence>,
    answering: Answering,
}

impl Served {
    pub(crate) fn new(
        own: Arc<Own>,
        groups: &[Group],
        journal: Arc<NodeJournal>,
        spools: Arc<Spools>,
        members: Option<Arc<Members>>,
        answering: Answering,
    ) -> Self {
        Self {
            own,
            groups: Groups(groups.into()),
            journal,
            spools,
            members,
            present: Arc::default(),
            answering,
        }
    }
}

/// One connection.
pub(super) struct Handler {
    served: Arc<Served>,
    /// The caller's, with its signature checked; `None` where the network says who calls.
    certificate: Option<CertificateDer<'static>>,
    /// Who calls, once that is known.
    caller: Arc<OnceLock<NodeId>>,
    /// Held as long as the connection lives.
    present: OnceLock<Present>,
}

impl Handler {
    pub(super) fn new(served: Arc<Served>, certificate: Option<CertificateDer<'static>>) -> Self {
        Self {
            served,
            certificate,
            caller: Arc::default(),
            present: OnceLock::new(),
        }
    }

    /// The connection, which breaks where its caller is not to be heard.
    pub(super) fn cuttable<S>(&self, stream: S) -> Cuttable<S> {
        Cuttable::new(stream, Arc::clone(&self.served.own.cut), Arc::clone(&self.caller))
    }

    fn caller(&self) -> Result<NodeId, Status> {
        let caller = self.caller.get().copied();
        let caller = caller.ok_or_else(|| Status::failed_precondition("Hello comes first"))?;
        // A node may have been removed since it said Hello.
        match &self.served.members {
            Some(members) if members.is_removed(caller) => Err(Status::new(
                EXPELLED,
                format!("node {caller} was removed from the cluster"),
            )),
            _ => Ok(caller),
        }
    }

    fn group(&self, group: u32) -> Result<&Group, Status> {
        self.served.groups.get(group)
    }

    fn replica(&self, group: u32) -> Result<&Group, Status> {
        self.served.groups.replica(group)
    }

    /// Whether the caller may go on; the version that is spoken with it.
    pub(super) fn greet(&self, hello: &pb::HelloRequest) -> Result<u32, Status> {
        let own = &self.served.own;
        let speaks = Versions::of(hello);
        let version = speaks.common(own.speaks).ok_or_else(|| {
            let refused = NoCommonVersion {
                node: NodeId(hello.from_node),
                speaks,
                other: own.node_id,
                other_speaks: own.speaks,
            };
            Status::failed_precondition(refused.to_string())
        })?;
        if hello.cluster_id != own.cluster_id {
            return Err(Status::permission_denied(format!(
                "this node belongs to cluster {}, not to {}",
                own.cluster_id, hello.cluster_id
            )));
        }
        if hello.to_node != own.node_id.0 && hello.to_node != ANYBODY {
            return Err(Status::permission_denied(format!(
                "this is node {}, not node {}",
                own.node_id, hello.to_node
            )));
        }
        let from = NodeId(hello.from_node);
        if from == own.node_id {
            return Err(Status::permission_denied(format!(
                "node {from} is here: another may not have its id"
            )));
        }
        if let Some(certificate) = &self.certificate {
            tls::check_node(certificate, &own.cluster_id, from)
                .map_err(|error| Status::permission_denied(error.to_string()))?;
        }
        if own.cut.is(from) {
            return Err(Status::unavailable(DROPPED));
        }
        if let Some(members) = &self.served.members {
            members
                .admit(from, &hello.instance)
                .map_err(|refusal| Status::new(EXPELLED, refusal.to_string()))?;
        }
        if hello.process != 0 && self.present.get().is_none() {
            let present = self.served.present.enter(from, hello.process);
            let present = present.map_err(|twice| Status::new(TWICE, twice.to_string()))?;
            // Somebody else's Hello on the same connection is refused below.
            let _ = self.present.set(present);
        }
        // Said twice is harmless, if it is the same.
        if *self.caller.get_or_init(|| from) != from {
            return Err(Status::permission_denied("a connection is one node's"));
        }
        Ok(version)
    }

    async fn take_snapshot(
        &self,
        parts: &mut Streaming<pb::SnapshotPart>,
        mut arriving: Box<Arriving>,
    ) -> Result<Spooled, Status> {
        // Where this ends early, in whatever way, what has arrived is kept.
        loop {
            match next_part(parts).await? {
                Part::Chunk(chunk) => {
                    arriving = blocking(move || {
                        arriving.write(&chunk)?;
                        Ok(arriving)
                    })
                    .await?;
                }
                Part::End(pb::SnapshotEnd { bytes, checksum }) => {
                    return blocking(move || arriving.finish(bytes, checksum)).await;
                }
                Part::Head(_) => return Err(Status::invalid_argument("a snapshot with two heads")),
            }
        }
    }
}

fn source(from: NodeId, head: &pb::SnapshotHead) -> Source {
    Source {
        from,
        group: head.group,
        id: head.id.clone(),
    }
}

/// Who is called when the caller does not know who is there.
pub(super) const ANYBODY: u64 = 0;

fn invalid(error: wire::WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

async fn next_part(parts: &mut Streaming<pb::SnapshotPart>) -> Result<Part, Status> {
    let limit = Duration::from_millis(PEER_STALL_MS);
    let part = timeout(limit, parts.message())
        .await
        .map_err(|_elapsed| Status::deadline_exceeded("a part of the snapshot did not come in time"))?;
    part?
        .and_then(|part| part.part)
        .ok_or_else(|| Status::invalid_argument("a snapshot without its end"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, std::io::Error> + Send + 'static,
) -> Result<T, Status> {
    crate::apply::blocking(work)
        .await
        .map_err(|error| Status::internal(error.to_string()))
}

#[tonic::async_trait]
impl Peer for Handler {
    type AppendStream = Replies;
    type CallStream = call_server::Replies;

    async fn hello(&self, hello: Request<pb::HelloRequest>) -> Result<Response<pb::HelloReply>, Status> {
        let protocol_version = self.greet(hello.get_ref()).inspect_err(|status| {
            tracing::warn!(
                from = hello.get_ref().from_node,
                "a peer is refused: {}",
                status.message()
            );
        })?;
        Ok(Response::new(pb::HelloReply {
            protocol_version,
            node: self.served.own.node_id.0,
        }))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteReply>, Status> {
        let (from, request) = (self.caller()?, request.into_inner());
        let (group, pre_vote) = (self.replica(request.group)?, request.pre_vote);
        let request = wire::take_vote(request, from).map_err(invalid)?;
        if !group.may_vote_for(request.last_log_id) {
            return Err(Status::failed_precondition(
                "an earlier replica here had more of the log than the candidate",
            ));
        }
        let voted = if pre_vote {
            group.raft().pre_vote(request).await
        } else {
            group.raft().vote(request).await
        };
        voted
            .map(|voted| Response::new(wire::put_voted(&voted)))
            .map_err(stopped)
    }

    async fn heartbeat(
        &self,
        request: Request<pb::AppendRequest>,
    ) -> Result<Response<pb::AppendReply>, Status> {
        let (from, request) = (self.caller()?, request.into_inner());
        let group = self.replica(request.group)?;
        if !request.entries.is_empty() {
            return Err(Status::invalid_argument("a heartbeat with entries"));
        }
        let request = wire::take_append(request, from).map_err(invalid)?;
        let once = futures::stream::iter([request]);
        let raft = group.raft();
        let mut results = std::pin::pin!(raft.stream_append(once));
        let result = results.next().await.ok_or_else(|| stopped("no answer"))?;
        result
            .map(|result| Response::new(wire::put_appended(&result)))
            .map_err(stopped)
    }

    async fn append(&self, frames: Request<Streaming<pb::AppendFrame>>) -> Result<Response<Replies>, Status> {
        let from = self.caller()?;
        let replies = append_server::serve(frames.into_inner(), from, self.served.groups.clone());
        Ok(Response::new(replies))
    }

    async fn snapshot_held(
        &self,
        head: Request<pb::SnapshotHead>,
    ) -> Result<Response<pb::SnapshotHeldReply>, Status> {
        let from = self.caller()?;
        let head = head.get_ref();
        let bytes = self.served.spools.held(&source(from, head));
        let machine = Arc::clone(&self.group(head.group)?.inner().starter.machine);
        // What it is told of is not sent, and once what is sent is stored no log has it any more.
        let aside = blocking(move || machine.sync_aside().map_err(std::io::Error::other)).await?;
        Ok(Response::new(pb::SnapshotHeldReply { bytes, aside }))
    }

    async fn snapshot(
        &self,
        parts: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotReply>, Status> {
        let (from, mut parts) = (self.caller()?, parts.into_inner());
        let Part::Head(head) = next_part(&mut parts).await? else {
            return Err(Status::invalid_argument("a snapshot without its head"));
        };
        self.replica(head.group)?;
        let (vote, meta) = wire::take_snapshot_head(&head, from).map_err(invalid)?;
        if let Some(free_bytes) = self.served.journal.disk_low() {
            self.served.spools.forget_all();
            return Err(Status::resource_exhausted(format!(
                "the disk has only {free_bytes} bytes left"
            )));
        }
        let (spools, source) = (Arc::clone(&self.served.spools), source(from, &head));
        let behind = head.behind;
        let arriving = match blocking(move || spools.begin(source, behind)).await? {
            Begun::Arriving(arriving) => arriving,
            Begun::Full => return Err(Status::resource_exhausted("another snapshot is arriving")),
            Begun::NotHeld => {
                return Err(Status::aborted(format!(
                    "it is not {behind} bytes of the snapshot that are here: ask again"
                )));
            }
        };
        let mut snapshot = self.take_snapshot(&mut parts, arriving).await?;
        snapshot.digest = wire::take_head_digest(&head);
        let snapshot = Snapshot {
            meta,
            snapshot: SnapshotData::Arrived(snapshot),
        };
        // It may have taken long.
        let raft = self.replica(head.group)?.raft();
        let taken = raft.install_full_snapshot(vote, snapshot).await;
        taken
            .map(|taken| Response::new(wire::put_snapshot_taken(&taken)))
            .map_err(stopped)
    }

    async fn compare(
        &self,
        request: Request<pb::CompareRequest>,
    ) -> Result<Response<pb::CompareReply>, Status> {
        self.caller()?;
        let compared = request.into_inner().groups.into_iter().map(|theirs| {
            let group = self.group(theirs.group)?;
            Ok(replicas::answer(group, theirs.marks))
        });
        let groups = compared.collect::<Result<_, Status>>()?;
        Ok(Response::new(pb::CompareReply { groups }))
    }

    async fn condemn(&self, request: Request<pb::CondemnRequest>) -> Result<Response<pb::Blank>, Status> {
        let (by, request) = (self.caller()?, request.into_inner());
        let group = self.group(request.group)?;
        // Only who leads here may say so: one that did and is behind knows no better.
        match group.leader() {
            Leader::Node { node, .. } if node == by => replicas::condemned(group, by, request.index),
            _ => return Err(Status::failed_precondition("the caller does not lead the group")),
        }
        Ok(Response::new(pb::Blank {}))
    }

    async fn call(
        &self,
        frames: Request<Streaming<pb::CallFrame>>,
    ) -> Result<Response<call_server::Replies>, Status> {
        let from = self.caller()?;
        let (groups, answering) = (self.served.groups.clone(), self.served.answering.clone());
        let clock = self.served.own.clock.clone();
        let replies = call_server::serve(frames.into_inner(), from, groups, answering, clock);
        Ok(Response::new(replies))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderReply>, Status> {
        let (from, request) = (self.caller()?, request.into_inner());
        let group = self.replica(request.group)?;
        if !group.may_vote_for(None) {
            return Err(Status::failed_precondition(
                "an earlier replica here had more of the log than there is now",
            ));
        }
        let request = wire::take_transfer(request, from).map_err(invalid)?;
        let response = group.raft().handle_transfer_leader(request).await;
        response
            .map(|response| Response::new(wire::put_transferred(&response)))
            .map_err(stopped)
    }

    async fn ask(&self, request: Request<pb::AskRequest>) -> Result<Response<pb::AskReply>, Status> {
        let (from, request) = (self.caller()?, request.into_inner());
        let members = self
            .served
            .members
            .as_ref()
            .ok_or_else(|| Status::unimplemented("this node's cluster keeps no registry of nodes"))?;
        let ask = super::take_ask(request, from).map_err(invalid)?;
        Ok(Response::new(members.answer(&ask).await))
    }
}
