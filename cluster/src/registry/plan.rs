//! Which replica goes where next. Pure: the registry in, one change out.
//!
//! [`MOVES_MAX`] replicas are on their way at a time, in the whole cluster, so that a cluster that changes is never far from one that is
//! whole. In the order of urgency: a replica that is on its way to a node that is drained or removed is given up; a replica leaves a node that is drained or removed; a group that has too few gets one; a group that has too many
//! gives one up; the replicas are spread more evenly, where nobody has said where they should be.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, NodeState, Placement, REPLICAS, Registry};
use crate::{GroupId, NodeId};

/// Replicas that are on their way at a time, in the whole cluster.
pub const MOVES_MAX: usize = 1;

/// Replicas that one node may have more than another before one of them is moved.
const UNEVENNESS_MAX: usize = 1;

impl Registry {
    /// The next step; `None` where all is as it should be, or as many steps are under way as may be, or a group has not been heard of.
    pub(crate) fn plan(&self, groups: u32) -> Option<Change> {
        let known = (0..groups).all(|group| self.groups.contains_key(&GroupId(group)));
        if !known {
            return None;
        }
        let active = self.active();
        let load = self.load(&active);
        let target = REPLICAS.min(active.len());
        let given_up = self.give_up(&active, &load, target);
        if given_up.is_some() || self.moving().count() >= MOVES_MAX {
            return given_up;
        }
        self.leave(&load, target)
            .or_else(|| self.resize(&active, &load, target))
            .or_else(|| self.spread(&load))
    }

    /// The groups of which a replica is on its way.
    pub(crate) fn moving(&self) -> impl Iterator<Item = GroupId> {
        let moving = self.groups.iter().filter(|(_, placement)| placement.is_moving());
        moving.map(|(group, _)| *group)
    }

    fn at_rest(&self) -> impl DoubleEndedIterator<Item = (&GroupId, &Placement)> {
        self.groups.iter().filter(|(_, placement)| !placement.is_moving())
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

    /// A replica that is on its way to a node which is not to have any stays where it was, or goes elsewhere. Else the move of one that
    /// will not come back would be waited for, for ever, and every other behind it.
    fn give_up(
        &self,
        active: &BTreeSet<NodeId>,
        load: &BTreeMap<NodeId, usize>,
        target: usize,
    ) -> Option<Change> {
        self.groups.iter().find_map(|(group, placement)| {
            let new = placement.wanted.difference(&placement.placed);
            let leaving: BTreeSet<_> = new.copied().filter(|node| self.is_leaving(node)).collect();
            if leaving.is_empty() {
                return None;
            }
            let mut nodes: BTreeSet<_> = placement.wanted.difference(&leaving).copied().collect();
            let stay = placement
                .placed
                .intersection(active)
                .copied()
                .filter(|node| !nodes.contains(node));
            let stay: Vec<_> = stay.take(target.saturating_sub(nodes.len())).collect();
            nodes.extend(stay);
            filled_up(*group, nodes, load, target)
        })
    }

    fn is_leaving(&self, node: &NodeId) -> bool {
        let state = self.node(*node).map(|node| node.state);
        matches!(state, Some(NodeState::Draining | NodeState::Removed))
    }

    /// A replica off a node that is not to have any, and onto another where that leaves too few.
    fn leave(&self, load: &BTreeMap<NodeId, usize>, target: usize) -> Option<Change> {
        self.at_rest().find_map(|(group, placement)| {
            // Who is gone for good first: he only costs the group its margin. Who votes before he is known or active stays: the founder
            // is both a moment later.
            let state = |node: &NodeId| self.node(*node).map(|node| node.state);
            let leaving = placement
                .wanted
                .iter()
                .filter(|node| self.is_leaving(node))
                .max_by_key(|node| state(node) == Some(NodeState::Removed))?;
            let mut nodes = placement.wanted.clone();
            nodes.remove(leaving);
            filled_up(*group, nodes, load, target)
        })
    }

    /// A replica more for a group that has too few, or one less for one that has too many.
    fn resize(
        &self,
        active: &BTreeSet<NodeId>,
        load: &BTreeMap<NodeId, usize>,
        target: usize,
    ) -> Option<Change> {
        self.at_rest().find_map(|(group, placement)| {
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
        let (group, placement) = self.at_rest().rev().find(|(_, placement)| movable(placement))?;
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

/// A group's replicas on these nodes, and on another one where those are too few. `None` where there would be none: the last replica stays
/// until there is another place for it.
fn filled_up(
    group: GroupId,
    mut nodes: BTreeSet<NodeId>,
    load: &BTreeMap<NodeId, usize>,
    target: usize,
) -> Option<Change> {
    if nodes.len() < target {
        nodes.extend(least_loaded(load, &nodes));
    }
    (!nodes.is_empty()).then_some(Change::Wanted {
        group,
        nodes,
        pinned: false,
    })
}
