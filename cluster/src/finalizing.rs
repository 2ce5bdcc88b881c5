//! At which version of the peer protocol a cluster is *finalised*: what may be put into its logs and snapshots, and so which programs can still
//! read them.
//!
//! ```text
//!  every node speaks 8        finalised at 8
//!  some speak 9 ◀──────────▶  finalised at 8    a node may go back to the program before: nothing has been written that it does not read
//!  every node speaks 9        finalised at 8    … and still may
//!  Finalize ─▶ the registry ─▶ finalised at 9   from that entry on what is new may be written; a program that speaks 8 stops there, by name
//! ```
//!
//! It is part of the registry, in the log of the meta group, also where a node stands alone. A cluster that never said so is at
//! [`FINALISED_IMPLIED`]; a new one is at the newest version that its founder speaks. Where the voters are given for ever
//! ([`PeerOptions::founders`](crate::PeerOptions::founders)) there is no registry, and nothing is held back.

use std::time::Duration;

use tokio::time::sleep;

use crate::limits::ALIVE_MS;
use crate::members::Members;
use crate::node::WeakNode;
use crate::peer::Peers;
use crate::registry::{Applied, Ask, Record, SharedRegistry, encode_record};
use crate::sampling::others;
use crate::{FINALISED_IMPLIED, Identity, Leadership, ManageError, Node, NodeId, NodeOptions, Versions};

/// How often it is looked whether the cluster can be finalised, where it is to be by itself.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often a record is decided again that met another registry than it was decided on.
const ATTEMPTS_MAX: usize = 4;

/// At which version of the peer protocol a cluster is finalised, and at which it could be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterVersion {
    /// Where it is: nothing newer is written.
    pub finalised: u32,
    /// The oldest that this node's program speaks.
    pub oldest: u32,
    /// The newest.
    pub newest: u32,
    /// Why it cannot be finalised at that now, as this node knows; empty where it can be, or is.
    pub blockers: Vec<String>,
}

/// What a node goes by.
pub(crate) struct Agreed {
    registry: SharedRegistry,
    /// Where the registry does not say it.
    implied: u32,
    oldest: u32,
    newest: u32,
}

impl Agreed {
    pub(crate) fn new(options: &NodeOptions, identity: &Identity, registry: &SharedRegistry) -> Self {
        let Versions { oldest, newest } = options.peer_versions;
        let keeps_none = options.peers.is_some() && options.member.is_none();
        let implied = match keeps_none {
            true => newest,
            false => identity.founded_at.unwrap_or(FINALISED_IMPLIED),
        };
        Self {
            registry: registry.clone(),
            implied: implied.min(newest),
            oldest,
            newest,
        }
    }

    fn finalised(&self) -> u32 {
        self.registry.finalised().unwrap_or(self.implied).min(self.newest)
    }
}

impl Node {
    pub(crate) fn shared_registry(&self) -> &SharedRegistry {
        &self.agreed().registry
    }

    /// At which version of the peer protocol the cluster is finalised, as far as this node knows. Cheap.
    pub fn finalised(&self) -> u32 {
        self.agreed().finalised()
    }

    /// The same, and what keeps it from being finalised at the newest.
    pub fn cluster_version(&self) -> ClusterVersion {
        let (finalised, newest) = (self.finalised(), self.agreed().newest);
        let blockers = match finalised < newest {
            true => self.behind(newest),
            false => Vec::new(),
        };
        ClusterVersion {
            finalised,
            oldest: self.agreed().oldest,
            newest,
            blockers,
        }
    }

    /// Why not all nodes of the cluster are known to speak a version.
    fn behind(&self, version: u32) -> Vec<String> {
        let Some(peering) = self.peering() else {
            return Vec::new();
        };
        behind(&peering.peers, self.members().map(|members| &**members), version)
    }

    /// Has the cluster be finalised at the newest version that this program speaks: from here on no node can go back to a program that does not
    /// speak it. The version at which it is then; asked again it changes nothing. To be asked where the meta group is led.
    ///
    /// # Errors
    /// A node does not speak it, was not heard of lately, or is not known to speak it; or nobody can decide now.
    pub async fn finalize(&self) -> Result<u32, ManageError> {
        let ClusterVersion {
            finalised,
            newest,
            blockers,
            ..
        } = self.cluster_version();
        if finalised == newest {
            return Ok(finalised);
        }
        if !blockers.is_empty() {
            return Err(refused(newest, &blockers));
        }
        let ask = Ask::Finalize { version: newest };
        match self.members() {
            Some(members) => members.ask(&ask).await?,
            None => self.decide_alone(&ask).await?,
        }
        tracing::info!(
            version = newest,
            "the cluster is finalised: no node can go back to an older program"
        );
        Ok(self.finalised())
    }

    /// Decides and logs on a node that stands alone.
    pub(crate) async fn decide_alone(&self, ask: &Ask) -> Result<(), ManageError> {
        let unavailable = |reason: &dyn std::fmt::Display| ManageError::Unavailable {
            reason: reason.to_string(),
        };
        let meta = self.meta();
        for _ in 0..ATTEMPTS_MAX {
            meta.read_barrier().await.map_err(|error| unavailable(&error))?;
            let registry = self.agreed().registry.now();
            let changes = registry.decide(ask).map_err(|refusal| ManageError::Refused {
                reason: refusal.to_string(),
            })?;
            if changes.is_empty() {
                return Ok(());
            }
            let record = Record {
                version: registry.version(),
                changes,
            };
            let answer = meta.propose(encode_record(&record).into()).await;
            if Applied::of(&answer.map_err(|error| unavailable(&error))?) == Some(Applied::Done) {
                return Ok(());
            }
        }
        Err(unavailable(&"the registry changed while it was decided"))
    }
}

/// Why not all other nodes are known to speak a version: one that is silent may have another program by now.
pub(crate) fn behind(peers: &Peers, members: Option<&Members>, version: u32) -> Vec<String> {
    let known = |node| {
        let links = peers.links(node).ok();
        let spoken = links.as_ref().and_then(|links| links.version());
        (spoken, links.and_then(|links| links.silence()))
    };
    let behind = others(peers, members)
        .into_iter()
        .filter_map(|node| blocker(node, known(node), version));
    behind.collect()
}

/// Why a node keeps the cluster from being finalised at a version, by what it speaks and how long it has been silent.
fn blocker(node: NodeId, (spoken, silence): (Option<u32>, Option<Duration>), version: u32) -> Option<String> {
    let (Some(spoken), Some(silence)) = (spoken, silence) else {
        return Some(format!("node {node} was not heard of since this node started"));
    };
    if spoken < version {
        return Some(format!(
            "node {node} speaks version {spoken} of the peer protocol, and not {version}"
        ));
    }
    let is_silent = silence >= Duration::from_millis(ALIVE_MS);
    is_silent.then(|| format!("node {node} has not been heard of for {} s", silence.as_secs()))
}

/// What somebody is told who asks for it all the same.
pub(crate) fn refused(version: u32, blockers: &[String]) -> ManageError {
    ManageError::Refused {
        reason: format!(
            "the cluster cannot be finalised at version {version}: {}: upgrade or remove the nodes that are named",
            blockers.join("; ")
        ),
    }
}

/// Finalises the cluster where that is to happen by itself, as soon as it can be. Ends with the node.
pub(crate) async fn by_itself(node: WeakNode) {
    loop {
        {
            let Some(node) = node.upgrade() else { return };
            let version = node.cluster_version();
            let leads = matches!(*node.meta().leadership().borrow(), Leadership::Leader { .. });
            if leads
                && version.finalised < version.newest
                && version.blockers.is_empty()
                && let Err(error) = node.finalize().await
            {
                tracing::info!(%error, "the cluster is not finalised yet");
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spoken: Option<u32>, silence_ms: Option<u64>, expected: Option<&str>) {
        let silence = silence_ms.map(Duration::from_millis);
        let found = blocker(NodeId(2), (spoken, silence), 9);
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some(words)) => assert!(found.contains(words), "{found}"),
            _ => panic!("{found:?} where {expected:?} was expected"),
        }
    }

    #[test]
    fn a_node_that_speaks_less_or_is_silent_keeps_the_cluster_from_being_finalised() {
        check(Some(9), Some(0), None);
        check(Some(10), Some(ALIVE_MS - 1), None);
        check(Some(9), Some(ALIVE_MS), Some("has not been heard of for 3 s"));
        check(Some(8), Some(0), Some("speaks version 8"));
        check(None, Some(0), Some("since this node started"));
        check(Some(9), None, Some("since this node started"));
    }
}
