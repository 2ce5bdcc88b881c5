//! The registry: every node that the cluster ever had, and where the replicas of its groups are and should be.
//!
//! It is part of the meta group's state. A record is decided by the meta group's leader on the committed registry, carries that
//! registry's version, and changes nothing where it meets another one; so that two leaders cannot both be right.
//!
//! ```text
//!   Ask ─▶ decide (on the leader) ─▶ Record { version, changes } ─▶ the meta group's log ─▶ apply, on every node
//! ```
//!
//! An id stays in the registry for ever, with the random name of the data directory that it was given to: another directory never gets
//! it, because the votes of the first one count.

mod decide;
mod leads;
mod machine;
mod plan;
mod record;
mod standby;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub(crate) use decide::{Ask, Refusal};
pub(crate) use machine::{Applied, MetaMachine, STANDBY_SINCE, SharedRegistry};
pub use plan::MOVES_MAX;
pub(crate) use record::{FORMAT, encode_record, is_record};
pub use standby::{FIRST_EPOCH, Fence, RegisteredStandby};

use crate::{GroupId, NodeId};

/// Replicas of a group, where there are nodes enough.
pub const REPLICAS: usize = 3;

/// Nodes that a cluster may ever have had. Each leaves some hundred bytes in the registry.
pub const NODES_EVER_MAX: usize = 65_536;

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Registered, and not caught up with the meta group yet: it gets no replicas.
    Joining,
    /// It holds replicas.
    Active,
    /// It gives its replicas away, and gets no new ones.
    Draining,
    /// It is not part of the cluster any more, and nobody talks to it.
    Removed,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Removed => "removed",
        })
    }
}

/// A node in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredNode {
    /// The random name of its data directory.
    pub instance: String,
    /// Where other nodes reach it, `HOST:PORT`.
    pub peer_address: String,
    /// Where clients reach it, `HOST:PORT`.
    pub client_address: String,
    /// Where it is in its life.
    pub state: NodeState,
    /// Why it was removed by force; empty otherwise.
    pub reason: String,
}

/// Where a group's replicas are, and where they should be. A move is under way where the two differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The nodes that should vote.
    pub wanted: BTreeSet<NodeId>,
    /// The nodes that vote, as the group's leader reported it last.
    pub placed: BTreeSet<NodeId>,
    /// Who should lead, where the leaders were balanced.
    pub preferred: Option<NodeId>,
    /// Whether somebody has said where its replicas should be: they are not moved for the sake of evenness then.
    pub pinned: bool,
}

impl Placement {
    /// Whether a replica is on its way.
    pub fn is_moving(&self) -> bool {
        self.wanted != self.placed
    }
}

/// The cluster's nodes and the placement of its groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    version: u64,
    /// The version of the peer protocol at which the cluster is finalised; `None` where that was never said.
    finalised: Option<u32>,
    nodes: BTreeMap<NodeId, RegisteredNode>,
    groups: BTreeMap<GroupId, Placement>,
    /// Its epoch; `None` for the first.
    epoch: Option<u64>,
    /// Who follows it.
    standby: Option<RegisteredStandby>,
    /// Who has taken its place.
    fenced: Option<Fence>,
}

/// One decision, as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The version of the registry that it was decided on.
    pub(crate) version: u64,
    pub(crate) changes: Vec<Change>,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A node that was never there before.
    Registered {
        id: NodeId,
        node: RegisteredNode,
    },
    Addressed {
        id: NodeId,
        peer_address: String,
        client_address: String,
    },
    State {
        id: NodeId,
        state: NodeState,
        /// Empty unless it was removed by force.
        reason: String,
    },
    Wanted {
        group: GroupId,
        nodes: BTreeSet<NodeId>,
        pinned: bool,
    },
    Placed {
        group: GroupId,
        nodes: BTreeSet<NodeId>,
    },
    Preferred {
        group: GroupId,
        node: Option<NodeId>,
    },
    /// From here on logs and snapshots may have whatever nodes read that speak this version of the peer protocol.
    Finalised {
        version: u32,
    },
    /// Another cluster follows this one.
    StandbyRegistered {
        standby: RegisteredStandby,
    },
    /// It does so no more, as far as this one is concerned.
    StandbyForgotten {
        id: String,
    },
    /// It has taken this one's place.
    Fenced {
        fence: Fence,
    },
    /// This one has taken another's.
    Promoted {
        epoch: u64,
    },
}

impl Registry {
    /// How many records made it; 0 where the node stands alone and always did.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The version of the peer protocol at which the cluster is finalised; `None` where that was never said.
    pub fn finalised(&self) -> Option<u32> {
        self.finalised
    }

    /// Every node that there ever was, in the order of their ids.
    pub fn nodes(&self) -> &BTreeMap<NodeId, RegisteredNode> {
        &self.nodes
    }

    /// A node, if there ever was one of this id.
    pub fn node(&self, id: NodeId) -> Option<&RegisteredNode> {
        self.nodes.get(&id)
    }

    /// The groups' placement, as far as their leaders have reported.
    pub fn groups(&self) -> &BTreeMap<GroupId, Placement> {
        &self.groups
    }

    /// The nodes that were not removed.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &RegisteredNode)> {
        let there = |(_, node): &(&NodeId, &RegisteredNode)| node.state != NodeState::Removed;
        self.nodes.iter().filter(there).map(|(id, node)| (*id, node))
    }

    /// The nodes that may hold replicas.
    pub fn active(&self) -> BTreeSet<NodeId> {
        let active = |(_, node): &(NodeId, &RegisteredNode)| node.state == NodeState::Active;
        self.members().filter(active).map(|(id, _)| id).collect()
    }

    /// Groups that have a replica on a node, or should have.
    pub fn replicas_of(&self, id: NodeId) -> usize {
        let on = |placement: &&Placement| placement.wanted.contains(&id) || placement.placed.contains(&id);
        self.groups.values().filter(on).count()
    }

    /// Makes a record's changes; false, and nothing is changed, where it was decided on another version.
    pub(crate) fn apply(&mut self, record: &Record) -> bool {
        if record.version != self.version {
            return false;
        }
        self.version += 1;
        for change in &record.changes {
            self.make(change);
        }
        true
    }

    /// What is said of a node that is not known changes nothing: a record is applied whole on every replica, or fails on all.
    fn make(&mut self, change: &Change) {
        match change {
            Change::Registered { id, node } => {
                self.nodes.entry(*id).or_insert_with(|| node.clone());
            }
            Change::Addressed {
                id,
                peer_address,
                client_address,
            } => {
                if let Some(node) = self.nodes.get_mut(id) {
                    node.peer_address.clone_from(peer_address);
                    node.client_address.clone_from(client_address);
                }
            }
            Change::State { id, state, reason } => {
                if let Some(node) = self.nodes.get_mut(id) {
                    node.state = *state;
                    node.reason.clone_from(reason);
                }
            }
            Change::Wanted { group, nodes, pinned } => {
                let placement = self.groups.entry(*group).or_default();
                placement.wanted.clone_from(nodes);
                placement.pinned = *pinned;
                placement.preferred = placement.preferred.filter(|node| nodes.contains(node));
            }
            Change::Placed { group, nodes } => {
                self.groups.entry(*group).or_default().placed.clone_from(nodes);
            }
            Change::Preferred { group, node } => {
                self.groups.entry(*group).or_default().preferred = *node;
            }
            Change::Finalised { version } => self.finalised = self.finalised.max(Some(*version)),
            Change::StandbyRegistered { standby } => self.standby = Some(standby.clone()),
            Change::StandbyForgotten { id } => {
                self.standby = self.standby.take().filter(|standby| standby.id != *id)
            }
            Change::Fenced { fence } => {
                if self
                    .fenced
                    .as_ref()
                    .is_none_or(|before| before.epoch < fence.epoch)
                {
                    self.fenced = Some(fence.clone());
                }
            }
            Change::Promoted { epoch } => self.epoch = self.epoch.max(Some(*epoch)),
        }
    }
}
