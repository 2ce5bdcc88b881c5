//! Which replica goes where next. Pure: the registry in, one change out.
//!
//! One replica is on its way at a time, in the whole cluster, so that a cluster that changes is never far from one that is whole. In the
//! order of urgency: a replica leaves a node that is drained or removed; a group that has too few gets one; a group that has too many
//! gives one up; the replicas are spread more evenly, where nobody has said where they should be.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, NodeState, Placement, REPLICAS, Registry};
use crate::{GroupId, NodeId};

/// Replicas that one node may have more than another before one of them is moved.
const UNEVENNESS_MAX: usize = 1;

impl Registry {
    /// The next step; `None` where all is as it should be, or a step is under way, or a group has not been heard of.
    pub(crate) fn plan(&self, groups: u32) -> Option<Change> {
        let known = (0..groups).all(|group| self.groups.contains_key(&GroupId(group)));
        if !known || self.groups.values().any(Placement::is_moving) {
            return None;
        }
        let active = self.active();
        let load = self.load(&active);
        let target = REPLICAS.min(active.len());
        self.leave(&load, target)
            .or_else(|| self.resize(&active, &load, target))
            .or_else(|| self.spread(&load))
    }

    /// How many replicas each active node is to have.
    fn load(&self, active: &BTreeSet<NodeId>) -> BTreeMap<NodeId, usize> {
        let mut load: BTreeMap<_, _> = active.iter().map(|node| (*node, 0)).collect();
        for node in self.groups.values().flat_map(|placement| &placement.wanted) {
            if let Some(count) = load.get_mut(node) {
                *count += 1;
            }
        }
        load
    }

    /// A replica off a node that is not to have any, and onto another where that leaves too few.
    fn leave(&self, load: &BTreeMap<NodeId, usize>, target: usize) -> Option<Change> {
        self.groups.iter().find_map(|(group, placement)| {
            // Who is gone for good first: he only costs the group its margin. Who votes before he is known or active stays: the founder
            // is both a moment later.
            let state = |node: &NodeId| self.node(*node).map(|node| node.state);
            let leaving = placement
                .wanted
                .iter()
                .filter(|node| matches!(state(node), Some(NodeState::Draining | NodeState::Removed)))
                .max_by_key(|node| state(node) == Some(NodeState::Removed))?;
            let mut nodes = placement.wanted.clone();
            nodes.remove(leaving);
            if nodes.len() < target {
                nodes.extend(least_loaded(load, &nodes));
            }
            // The last replica stays until there is another place for it.
            (!nodes.is_empty()).then_some(Change::Wanted {
                group: *group,
                nodes,
                pinned: false,
            })
        })
    }

    /// A replica more for a group that has too few, or one less for one that has too many.
    fn resize(
        &self,
        active: &BTreeSet<NodeId>,
        load: &BTreeMap<NodeId, usize>,
        target: usize,
    ) -> Option<Change> {
        self.groups.iter().find_map(|(group, placement)| {
            let mut nodes = placement.wanted.clone();
            let count = nodes.intersection(active).count();
            if count < target {
                nodes.insert(least_loaded(load, &nodes)?);
            } else if count > target {
                let most = nodes
                    .iter()
                    .max_by_key(|node| (load.get(node), **node))
                    .copied()?;
                nodes.remove(&most);
            } else {
                return None;
            }
            Some(Change::Wanted {
                group: *group,
                nodes,
                pinned: false,
            })
        })
    }

    /// A replica from the fullest node to the emptiest.
    fn spread(&self, load: &BTreeMap<NodeId, usize>) -> Option<Change> {
        let (emptiest, least) = load.iter().min_by_key(|(node, count)| (**count, **node))?;
        let (fullest, most) = load.iter().max_by_key(|(node, count)| (**count, **node))?;
        if most - least <= UNEVENNESS_MAX {
            return None;
        }
        let movable = |placement: &Placement| {
            !placement.pinned && placement.wanted.contains(fullest) && !placement.wanted.contains(emptiest)
        };
        // The meta group, which is first, is moved last: what it is busy with is this.
        let (group, placement) = self
            .groups
            .iter()
            .rev()
            .find(|(_, placement)| movable(placement))?;
        let mut nodes = placement.wanted.clone();
        nodes.remove(fullest);
        nodes.insert(*emptiest);
        Some(Change::Wanted {
            group: *group,
            nodes,
            pinned: false,
        })
    }
}

fn least_loaded(load: &BTreeMap<NodeId, usize>, without: &BTreeSet<NodeId>) -> Option<NodeId> {
    load.iter()
        .filter(|(node, _)| !without.contains(node))
        .min_by_key(|(node, count)| (**count, **node))
        .map(|(node, _)| *node)
}
