//! Asking for a change of the cluster: decided where the meta group is led, and brought there from anywhere else.

use docket_proto::peer as pb;
use docket_proto::peer::ask_reply::Reply;
use docket_proto::peer::peer_client::PeerClient;
use tokio::time::{Duration, timeout};
use tonic::transport::Channel;

use super::Members;
use crate::finalizing::{behind, refused};
use crate::limits::PEER_STALL_MS;
use crate::peer::{self, EXPELLED, put_ask};
use crate::registry::{Applied, Ask, Record, encode_record};
use crate::{Leadership, NodeId};

/// How often an ask is decided again, because its record met another registry than it was decided on. That takes a change of leader in
/// between.
const ATTEMPTS_MAX: usize = 4;

/// How often an ask is sent on, because who was asked leads no more.
const HOPS_MAX: usize = 3;

/// Why a change of the cluster was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManageError {
    /// It was refused; asked again it would be refused again, as long as the cluster is as it is.
    #[error("{reason}")]
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// It could not be decided or is not known to have been. Asking again is harmless.
    #[error("the cluster cannot be changed now: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

impl ManageError {
    fn unavailable(reason: impl std::fmt::Display) -> Self {
        Self::Unavailable {
            reason: reason.to_string(),
        }
    }
}

/// What a peer says to an ask.
pub(super) enum Answer {
    /// It is done.
    Done(pb::AskDone),
    /// This node leads the meta group, at this address if it is known.
    Elsewhere(NodeId, Option<String>),
    Refused(String),
    Later(String),
}

/// Asks a peer.
pub(super) async fn ask_at(client: &mut PeerClient<Channel>, ask: pb::AskRequest) -> Answer {
    let limit = Duration::from_millis(PEER_STALL_MS);
    let reply = match timeout(limit, client.ask(ask)).await {
        Ok(Ok(reply)) => reply.into_inner().reply,
        Ok(Err(status)) if status.code() == EXPELLED => return Answer::Refused(status.message().to_owned()),
        Ok(Err(status)) => return Answer::Later(status.message().to_owned()),
        Err(_elapsed) => return Answer::Later(format!("no answer within {limit:?}")),
    };
    match reply {
        Some(Reply::Done(done)) => Answer::Done(done),
        Some(Reply::Elsewhere(pb::AskElsewhere { leader: Some(leader) })) => {
            let address = (!leader.peer_address.is_empty()).then_some(leader.peer_address);
            Answer::Elsewhere(NodeId(leader.node), address)
        }
        Some(Reply::Refused(reason)) => Answer::Refused(reason),
        Some(Reply::Later(reason)) => Answer::Later(reason),
        Some(Reply::Elsewhere(_)) | None => Answer::Later("an answer that says nothing".to_owned()),
    }
}

/// Where the meta group is led.
enum Lead {
    Here,
    At(NodeId),
    Unknown,
}

impl Members {
    fn lead(&self) -> Lead {
        match *self.meta.leadership().borrow() {
            Leadership::Leader { .. } => Lead::Here,
            Leadership::Follower { leader: Some(node) } => Lead::At(node),
            // Who leads nothing by his posture keeps the registry all the same.
            Leadership::Follower { leader: None } if self.meta.hush().is_closed() => {
                match self.meta.leads_beneath() {
                    Some(node) if node == self.me() => Lead::Here,
                    Some(node) => Lead::At(node),
                    None => Lead::Unknown,
                }
            }
            Leadership::Follower { leader: None } => Lead::Unknown,
        }
    }

    /// What a peer that asks is answered: the ask is carried out here or nowhere, so that it never runs in a circle.
    pub(crate) async fn answer(&self, ask: &Ask) -> pb::AskReply {
        let reply = match self.lead() {
            Lead::Here if self.is_early(ask) => Reply::Later("the cluster is being founded".to_owned()),
            Lead::Here => match self.execute(ask).await {
                Ok(()) => Reply::Done(self.done()),
                Err(ManageError::Refused { reason }) => Reply::Refused(reason),
                Err(ManageError::Unavailable { reason }) => Reply::Later(reason),
            },
            Lead::At(node) => {
                let registry = self.registry.now();
                let leader = pb::PeerNode {
                    node: node.0,
                    peer_address: registry
                        .node(node)
                        .map(|node| node.peer_address.clone())
                        .unwrap_or_default(),
                };
                Reply::Elsewhere(pb::AskElsewhere { leader: Some(leader) })
            }
            Lead::Unknown => Reply::Later("the meta group has no leader".to_owned()),
        };
        pb::AskReply { reply: Some(reply) }
    }

    fn done(&self) -> pb::AskDone {
        let registry = self.registry.now();
        let nodes = registry.members().map(|(id, node)| pb::PeerNode {
            node: id.0,
            peer_address: node.peer_address.clone(),
        });
        pb::AskDone {
            shards: self.shards.into(),
            nodes: nodes.collect(),
        }
    }

    /// Decides and logs, where this node leads the meta group. What was asked is then durable, agreed and applied here.
    pub(crate) async fn execute(&self, ask: &Ask) -> Result<(), ManageError> {
        let _turn = self.deciding.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            // A refusal, too, must not come from a registry that is out of date.
            self.meta.read_barrier().await.map_err(ManageError::unavailable)?;
            let registry = self.registry.now();
            let changes = registry.decide(ask).map_err(|refusal| ManageError::Refused {
                reason: refusal.to_string(),
            })?;
            if changes.is_empty() {
                return Ok(());
            }
            if let Ask::Finalize { version } = ask {
                // Who was asked has looked before it was known who the nodes are now.
                let blockers = behind(&self.peers, Some(self), *version);
                if !blockers.is_empty() {
                    return Err(refused(*version, &blockers));
                }
            }
            for change in &changes {
                tracing::info!(?change, "the cluster changes");
            }
            let record = Record {
                version: registry.version(),
                changes,
            };
            let answer = self.meta.propose(encode_record(&record).into()).await;
            match Applied::of(&answer.map_err(ManageError::unavailable)?) {
                Some(Applied::Done) => return Ok(()),
                Some(Applied::Conflict) => {}
                None => return Err(ManageError::unavailable("the registry gave no answer")),
            }
        }
        Err(ManageError::unavailable(
            "the registry changed while it was decided",
        ))
    }

    /// Asks whoever leads the meta group.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<(), ManageError> {
        match self.lead() {
            Lead::Here => self.execute(ask).await,
            Lead::At(node) => self.ask_from(node, ask).await,
            Lead::Unknown => Err(ManageError::unavailable("the meta group has no leader")),
        }
    }

    /// The same, and where nobody knows who leads, asks every node that is known, and then the seeds.
    pub(super) async fn ask_anybody(&self, ask: &Ask) -> Result<(), ManageError> {
        let mut last = match self.ask(ask).await {
            Err(later @ ManageError::Unavailable { .. }) => later,
            known => return known,
        };
        for node in self.peers.known() {
            match self.ask_from(node, ask).await {
                Err(later @ ManageError::Unavailable { .. }) => last = later,
                known => return known,
            }
        }
        for seed in &self.options.seeds {
            match self.ask_seed(seed, ask).await {
                Err(later @ ManageError::Unavailable { .. }) => last = later,
                known => return known,
            }
        }
        Err(last)
    }

    async fn ask_seed(&self, seed: &str, ask: &Ask) -> Result<(), ManageError> {
        let met = peer::meet(&self.own, seed)
            .await
            .map_err(ManageError::unavailable)?;
        self.peers.set_address(met.node, met.address);
        self.ask_from(met.node, ask).await
    }

    /// Asks a node, and then whomever it names.
    async fn ask_from(&self, mut node: NodeId, ask: &Ask) -> Result<(), ManageError> {
        let Some(request) = put_ask(ask) else {
            return Err(ManageError::unavailable(
                "only the meta group's leader decides that",
            ));
        };
        for _ in 0..HOPS_MAX {
            if node == self.me() {
                return self.execute(ask).await;
            }
            let links = self.peers.links(node).map_err(ManageError::unavailable)?;
            let connection = links.urgent.connection().await;
            let connection = connection.map_err(ManageError::unavailable)?;
            match ask_at(&mut connection.client(), request.clone()).await {
                Answer::Done(_) => return Ok(()),
                Answer::Refused(reason) => return Err(ManageError::Refused { reason }),
                Answer::Later(reason) => {
                    // It may be that the connection has ended without anybody noticing.
                    links.urgent.discard(&connection);
                    return Err(ManageError::unavailable(format!("node {node}: {reason}")));
                }
                Answer::Elsewhere(leader, address) => {
                    if let Some(address) = address.filter(|_| leader != self.me()) {
                        self.peers.set_address(leader, address);
                    }
                    node = leader;
                }
            }
        }
        Err(ManageError::unavailable("the meta group's leader changes"))
    }
}
