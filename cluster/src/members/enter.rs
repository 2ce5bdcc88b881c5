//! The first start of a node that joins: nothing is opened before the cluster has let it in, because the number of its shards is the
//! cluster's to say.

use std::path::Path;
use std::time::Duration;

use docket_proto::peer as pb;
use docket_proto::peer::ask_request::Ask as Asked;
use tokio::time::sleep;

use super::MemberOptions;
use super::ask::{Answer, ask_at};
use super::remembered::Remembered;
use crate::limits::SHARDS_MAX;
use crate::peer::{self, Own, PeerError, PeerOptions};
use crate::{ClusterError, Identity, NodeId};

/// How long a node waits before it knocks again, in milliseconds.
const KNOCK_AGAIN_MS: u64 = 500;

/// What a data directory is to its cluster.
pub(crate) enum Standing {
    /// It is a member.
    Member(Identity),
    /// It is new, and asks under this random name.
    New {
        /// The name.
        instance: String,
    },
}

impl Standing {
    /// Reads what the directory of a node among others is, and refuses one that is another's or stands alone.
    pub(crate) fn read(
        dir: &Path,
        shards: Option<u16>,
        peers: &PeerOptions,
        member: &MemberOptions,
    ) -> Result<Self, ClusterError> {
        match Identity::read(dir)? {
            Some(found) if found.membership.is_none() => {
                Err(ClusterError::StoodAlone { path: dir.to_owned() })
            }
            Some(_) => {
                let asked = Some((peers.cluster_id.as_str(), peers.node_id));
                Identity::open(dir, shards, crate::SHARDS_DEFAULT, asked, None).map(Self::Member)
            }
            None if member.seeds.is_empty() => Err(ClusterError::NobodyToJoin { path: dir.to_owned() }),
            None => {
                let instance = Identity::instance_to_join(dir, &peers.cluster_id, peers.node_id)?;
                Ok(Self::New { instance })
            }
        }
    }

    /// The directory's random name.
    pub(crate) fn instance(&self) -> String {
        match self {
            Self::Member(identity) => identity
                .membership
                .as_ref()
                .map(|member| member.instance.clone())
                .unwrap_or_default(),
            Self::New { instance } => instance.clone(),
        }
    }
}

/// Asks the cluster to let this node in, for as long as that takes, and makes its data directory a member's.
///
/// # Errors
/// The cluster refuses it for good, or has another number of shards than is asked for, or the directory cannot be written.
pub(crate) async fn enter(
    dir: &Path,
    shards: Option<u16>,
    own: &Own,
    member: &MemberOptions,
    peer_address: &str,
) -> Result<Identity, ClusterError> {
    let request = pb::AskRequest {
        ask: Some(Asked::Join(pb::AskJoin {
            node: own.node_id.0,
            instance: own.instance.clone(),
            peer_address: peer_address.to_owned(),
            client_address: member.client_address.clone(),
        })),
    };
    let done = knock(own, &request, &member.seeds).await?;
    let found = u16::try_from(done.shards)
        .ok()
        .filter(|shards| (1..=SHARDS_MAX).contains(shards));
    let found = found.ok_or_else(|| ClusterError::NotAdmitted {
        cause: format!("it has {} shards, and this program knows none such", done.shards),
    })?;
    if let Some(asked) = shards.filter(|asked| *asked != found) {
        return Err(ClusterError::ShardsDiffer {
            path: dir.to_owned(),
            created: found,
            asked,
        });
    }
    let others = done.nodes.into_iter().filter(|node| node.node != own.node_id.0);
    let others: Vec<_> = others
        .map(|node| (NodeId(node.node), node.peer_address))
        .collect();
    // Before the identity: who has one is not told again.
    Remembered::new(dir).write(&others)?;
    Identity::join(dir, &own.cluster_id, own.node_id, found, own.instance.clone())
}

async fn knock(own: &Own, request: &pb::AskRequest, seeds: &[String]) -> Result<pb::AskDone, ClusterError> {
    let mut told = String::new();
    loop {
        let mut now = String::new();
        for seed in seeds {
            match knock_at(own, request, seed).await {
                Ok(done) => return Ok(done),
                Err(Closed::ForGood(cause)) => return Err(ClusterError::NotAdmitted { cause }),
                Err(Closed::Now(cause)) => now = cause,
            }
        }
        if told != now {
            tracing::warn!("no node of the cluster has let this one in yet: {now}");
            told = now;
        }
        sleep(Duration::from_millis(KNOCK_AGAIN_MS)).await;
    }
}

/// Why a node is not let in.
enum Closed {
    ForGood(String),
    Now(String),
}

impl From<PeerError> for Closed {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Expelled { cause } => Self::ForGood(cause),
            // Another process may be gone soon, a certificate be replaced, a name lead elsewhere.
            other => Self::Now(other.to_string()),
        }
    }
}

/// Asks whoever is at an address, and then the leader that he names.
async fn knock_at(own: &Own, request: &pb::AskRequest, seed: &str) -> Result<pb::AskDone, Closed> {
    let mut met = peer::meet(own, seed).await?;
    match ask_at(&mut met.client, request.clone()).await {
        Answer::Done(done) => Ok(done),
        Answer::Refused(reason) => Err(Closed::ForGood(reason)),
        Answer::Later(reason) => Err(Closed::Now(format!("node {}: {reason}", met.node))),
        Answer::Elsewhere(leader, None) => Err(Closed::Now(format!(
            "node {leader} leads, and its address is not known"
        ))),
        Answer::Elsewhere(_, Some(address)) => {
            let mut leader = peer::meet(own, &address).await?;
            match ask_at(&mut leader.client, request.clone()).await {
                Answer::Done(done) => Ok(done),
                Answer::Refused(reason) => Err(Closed::ForGood(reason)),
                Answer::Later(reason) => Err(Closed::Now(format!("node {}: {reason}", leader.node))),
                Answer::Elsewhere(..) => Err(Closed::Now("the meta group's leader changes".to_owned())),
            }
        }
    }
}
