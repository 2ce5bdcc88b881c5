//! What can be asked of the registry, and what the leader of the meta group decides. Pure: the registry in, changes or a refusal out.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::MOVES_MAX;
use super::{Change, Fence, NODES_EVER_MAX, NodeState, RegisteredNode, RegisteredStandby, Registry};
use crate::{GroupId, NodeId};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A node says that it is there, and where: at its first start, and at every other.
    Join {
        id: NodeId,
        instance: String,
        peer_address: String,
        client_address: String,
        /// At which version its directory was founded, where it is the one that founds the cluster.
        founded_at: Option<u32>,
    },
    /// The cluster is to be finalised at a version of the peer protocol. Of the leader of the meta group itself, which knows of all others
    /// that they speak it.
    Finalize { version: u32 },
    /// The leader of the meta group sees that a node has caught up.
    Activate { id: NodeId },
    /// A group's leader says who votes in it.
    Report {
        group: GroupId,
        voters: BTreeSet<NodeId>,
    },
    /// The replicas of a node are to go elsewhere.
    Drain { id: NodeId },
    /// A node that was to be drained stays.
    Undrain { id: NodeId },
    /// A node that was drained leaves; by force, with a reason, one that was not.
    Remove { id: NodeId, force: Option<String> },
    /// A replica of a group is to go from one node to another.
    Move {
        group: GroupId,
        from: NodeId,
        to: NodeId,
    },
    /// Leaders are to be spread evenly.
    Balance,
    /// The next step towards the placement that there should be. Of the leader of the meta group itself.
    Plan { groups: u32 },
    /// A cluster says that it follows this one, and where it is.
    RegisterStandby { standby: RegisteredStandby },
    /// Who follows need not be asked any more.
    ForgetStandby,
    /// Who follows has taken this cluster's place.
    Fence { fence: Fence },
    /// This cluster has taken another's place.
    Promote { epoch: u64 },
    /// The next lead that should be another node's, with those that are known. Of the leader of the meta group itself.
    EvenLeads {
        groups: u32,
        leaders: BTreeMap<GroupId, NodeId>,
    },
}

/// Why something that was asked is not done. Final: the same would be refused again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The id was given to another data directory.
    #[error(
        "node {id} is another data directory (instance {theirs}; this is {ours}), and an id is never used again: give the new \
         node an id of its own, or restore the old directory"
    )]
    IdTaken {
        /// The node.
        id: NodeId,
        /// The directory that has the id.
        theirs: String,
        /// The directory that asks.
        ours: String,
    },
    /// The node was removed.
    #[error(
        "node {id} was removed from the cluster{}: start it again with an empty data directory and a new id",
        if reason.is_empty() { String::new() } else { format!(" ({reason})") }
    )]
    Removed {
        /// The node.
        id: NodeId,
        /// Why, if it was by force.
        reason: String,
    },
    /// There is no such node.
    #[error("there is no node {id} in this cluster: `docket cluster status` lists them")]
    NoNode {
        /// The node.
        id: NodeId,
    },
    /// There is no such group, or nothing is known of it yet.
    #[error("there is no {group}, or its leader has not reported yet")]
    NoGroup {
        /// The group.
        group: GroupId,
    },
    /// Nobody would be left.
    #[error("node {id} is the last active one: add another before")]
    LastNode {
        /// The node.
        id: NodeId,
    },
    /// The node has replicas.
    #[error(
        "node {id} is {state} and holds {replicas} replicas: drain it and wait until it holds none, or remove it by force, with \
         a reason, if it will not come back"
    )]
    NotDrained {
        /// The node.
        id: NodeId,
        /// Its state.
        state: NodeState,
        /// Its replicas.
        replicas: usize,
    },
    /// A forced removal without a reason.
    #[error("a removal by force needs a reason, which is kept")]
    NoReason,
    /// The nodes or their states do not allow the move.
    #[error("a replica of {group} cannot go from node {from} to node {to}: {cause}")]
    NoMove {
        /// The group.
        group: GroupId,
        /// From where.
        from: NodeId,
        /// Where to.
        to: NodeId,
        /// Why not.
        cause: &'static str,
    },
    /// As many replicas are on their way as may be.
    #[error("a replica of {group} is on its way already: wait until it has arrived, or move it back")]
    Moving {
        /// The group.
        group: GroupId,
    },
    /// Another standby is registered.
    #[error(
        "the cluster has a standby already (at {address}), and of two only one could take its place: `docket standby forget` lets it \
         have another"
    )]
    StandbyTaken {
        /// Where the other is.
        address: String,
    },
    /// It is not the standby that is registered.
    #[error("this is not the standby that is registered: it was forgotten, or another was registered since")]
    StandbyUnknown,
    /// The standby took its place.
    #[error("the cluster was fenced: its standby at {by} has taken its place, in epoch {epoch}")]
    Fenced {
        /// The epoch that began with that.
        epoch: u64,
        /// Where the new primary is.
        by: String,
    },
    /// The cluster is as far.
    #[error("epoch {asked} is not after epoch {ours}, which this cluster is in")]
    StaleEpoch {
        /// What was asked.
        asked: u64,
        /// What it is in.
        ours: u64,
    },
    /// There were too many nodes.
    #[error("the cluster has had {NODES_EVER_MAX} nodes, and can have no more")]
    TooMany,
}

impl Registry {
    /// What is to be changed; nothing where it is so already.
    pub(crate) fn decide(&self, ask: &Ask) -> Result<Vec<Change>, Refusal> {
        match ask {
            Ask::Join {
                id,
                instance,
                peer_address,
                client_address,
                founded_at,
            } => {
                let founded_at = founded_at.filter(|_| self.nodes.is_empty() && self.finalised.is_none());
                let mut changes = self.join(*id, instance, peer_address, client_address)?;
                changes.extend(founded_at.map(|version| Change::Finalised { version }));
                Ok(changes)
            }
            Ask::Finalize { version } => {
                let is_new = self.finalised.is_none_or(|finalised| finalised < *version);
                let change = Change::Finalised { version: *version };
                Ok(is_new.then_some(change).into_iter().collect())
            }
            Ask::Activate { id } => {
                let joining = self.member(*id)?.state == NodeState::Joining;
                Ok(joining
                    .then(|| state(*id, NodeState::Active))
                    .into_iter()
                    .collect())
            }
            Ask::Report { group, voters } => Ok(self.report(*group, voters)),
            Ask::Drain { id } => self.drain(*id),
            Ask::Undrain { id } => {
                let draining = self.member(*id)?.state == NodeState::Draining;
                Ok(draining
                    .then(|| state(*id, NodeState::Active))
                    .into_iter()
                    .collect())
            }
            Ask::Remove { id, force } => self.remove(*id, force.as_deref()),
            Ask::Move { group, from, to } => self.relocate(*group, *from, *to),
            Ask::Balance => Ok(self.balance()),
            Ask::EvenLeads { groups, leaders } => Ok(self.even_leads(*groups, leaders).into_iter().collect()),
            Ask::RegisterStandby { standby } => self.register_standby(standby),
            Ask::ForgetStandby => self.forget_standby(),
            Ask::Fence { fence } => self.fence(fence),
            Ask::Promote { epoch } => self.promote(*epoch),
            Ask::Plan { groups } => Ok(self
                .plan(*groups)
                .map_or_else(Vec::new, |change| self.with_doubt(change))),
        }
    }

    /// Whether a data directory may speak as a node: the node's own, and not after its removal. A node that is not known may, so that
    /// it can join.
    pub(crate) fn admit(&self, id: NodeId, instance: &str) -> Result<(), Refusal> {
        match self.node(id) {
            Some(node) if node.instance != instance => Err(Refusal::IdTaken {
                id,
                theirs: node.instance.clone(),
                ours: instance.to_owned(),
            }),
            Some(node) if node.state == NodeState::Removed => Err(Refusal::Removed {
                id,
                reason: node.reason.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn join(
        &self,
        id: NodeId,
        instance: &str,
        peer_address: &str,
        client_address: &str,
    ) -> Result<Vec<Change>, Refusal> {
        self.admit(id, instance)?;
        let change = match self.node(id) {
            None if self.nodes.len() >= NODES_EVER_MAX => return Err(Refusal::TooMany),
            None => Change::Registered {
                id,
                node: RegisteredNode {
                    instance: instance.to_owned(),
                    peer_address: peer_address.to_owned(),
                    client_address: client_address.to_owned(),
                    state: NodeState::Joining,
                    reason: String::new(),
                },
            },
            Some(node) if node.peer_address == peer_address && node.client_address == client_address => {
                return Ok(Vec::new());
            }
            Some(_) => Change::Addressed {
                id,
                peer_address: peer_address.to_owned(),
                client_address: client_address.to_owned(),
            },
        };
        Ok(vec![change])
    }

    /// A group's first report is what is wanted, too: it is placed as it is.
    fn report(&self, group: GroupId, voters: &BTreeSet<NodeId>) -> Vec<Change> {
        let nodes = voters.clone();
        match self.groups.get(&group) {
            Some(placement) if placement.placed == *voters => Vec::new(),
            Some(_) => vec![Change::Placed { group, nodes }],
            None => vec![
                Change::Wanted {
                    group,
                    nodes: nodes.clone(),
                    pinned: false,
                },
                Change::Placed { group, nodes },
            ],
        }
    }

    fn drain(&self, id: NodeId) -> Result<Vec<Change>, Refusal> {
        if self.member(id)?.state == NodeState::Draining {
            return Ok(Vec::new());
        }
        let others = self.active().iter().any(|active| *active != id);
        if !others {
            return Err(Refusal::LastNode { id });
        }
        Ok(vec![state(id, NodeState::Draining)])
    }

    fn remove(&self, id: NodeId, force: Option<&str>) -> Result<Vec<Change>, Refusal> {
        let node = self.node(id).ok_or(Refusal::NoNode { id })?;
        let replicas = self.replicas_of(id);
        match force {
            _ if node.state == NodeState::Removed => return Ok(Vec::new()),
            Some("") => return Err(Refusal::NoReason),
            None if node.state == NodeState::Active || replicas > 0 => {
                return Err(Refusal::NotDrained {
                    id,
                    state: node.state,
                    replicas,
                });
            }
            _ => {}
        }
        if !self.active().iter().any(|active| *active != id) {
            return Err(Refusal::LastNode { id });
        }
        Ok(vec![Change::State {
            id,
            state: NodeState::Removed,
            reason: force.unwrap_or_default().to_owned(),
        }])
    }

    fn relocate(&self, group: GroupId, from: NodeId, to: NodeId) -> Result<Vec<Change>, Refusal> {
        let placement = self.groups.get(&group).ok_or(Refusal::NoGroup { group })?;
        let refuse = |cause| Refusal::NoMove {
            group,
            from,
            to,
            cause,
        };
        self.member(from)?;
        let target = self.member(to)?;
        // A move may be taken back: its target may be gone.
        let is_back =
            placement.is_moving() && !placement.placed.contains(&from) && placement.placed.contains(&to);
        let under_way = if placement.is_moving() {
            Some(group)
        } else if self.moving().count() >= MOVES_MAX {
            self.moving().next()
        } else {
            None
        };
        if let Some(group) = under_way.filter(|_| !is_back) {
            return Err(Refusal::Moving { group });
        }
        if !placement.wanted.contains(&from) {
            return Err(refuse("the first has none"));
        }
        if placement.wanted.contains(&to) {
            return Err(refuse("the second has one already"));
        }
        if target.state != NodeState::Active {
            return Err(refuse("the second is not active"));
        }
        let mut nodes = placement.wanted.clone();
        nodes.remove(&from);
        nodes.insert(to);
        let pinned = true;
        Ok(self.with_doubt(Change::Wanted { group, nodes, pinned }))
    }

    /// Where replicas are to be again where they were before a move that is not over, nobody knows who votes until the group's leader has
    /// brought it there and says so: until then the group is not at rest.
    fn with_doubt(&self, change: Change) -> Vec<Change> {
        let doubt = match &change {
            Change::Wanted { group, nodes, .. } => {
                let placement = self.groups.get(group);
                let back = placement.is_some_and(|it| it.is_moving() && it.placed == *nodes);
                back.then(|| Change::Placed {
                    group: *group,
                    nodes: BTreeSet::new(),
                })
            }
            _ => None,
        };
        std::iter::once(change).chain(doubt).collect()
    }

    /// Prefers for each group the one of its voters that leads the fewest, the groups with the least choice first. Where replicas were
    /// moved by hand, they may be moved again.
    fn balance(&self) -> Vec<Change> {
        let active = self.active();
        let candidates = |placement: &super::Placement| -> BTreeSet<NodeId> {
            placement.wanted.intersection(&active).copied().collect()
        };
        let mut groups: Vec<_> = self
            .groups
            .iter()
            .map(|(group, placement)| (candidates(placement), *group, placement.preferred))
            .collect();
        groups.sort_by_key(|(nodes, group, _)| (nodes.len(), *group));
        let mut leads: BTreeMap<NodeId, usize> = BTreeMap::new();
        let pinned = self.groups.iter().filter(|(_, placement)| placement.pinned);
        let mut changes: Vec<_> = pinned
            .map(|(group, placement)| Change::Wanted {
                group: *group,
                nodes: placement.wanted.clone(),
                pinned: false,
            })
            .collect();
        for (nodes, group, before) in groups {
            let fewest = nodes
                .iter()
                .min_by_key(|node| (leads.get(node).copied().unwrap_or(0), **node));
            let Some(chosen) = fewest.copied() else { continue };
            *leads.entry(chosen).or_default() += 1;
            if before != Some(chosen) {
                changes.push(Change::Preferred {
                    group,
                    node: Some(chosen),
                });
            }
        }
        changes
    }

    fn member(&self, id: NodeId) -> Result<&RegisteredNode, Refusal> {
        match self.node(id) {
            None => Err(Refusal::NoNode { id }),
            Some(node) if node.state == NodeState::Removed => Err(Refusal::Removed {
                id,
                reason: node.reason.clone(),
            }),
            Some(node) => Ok(node),
        }
    }
}

fn state(id: NodeId, state: NodeState) -> Change {
    Change::State {
        id,
        state,
        reason: String::new(),
    }
}
