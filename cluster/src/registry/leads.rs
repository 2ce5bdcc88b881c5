//! Which lead goes where next, so that all nodes have about as many. Pure: the registry and who leads in, one change out.
//!
//! A lead moves only where that makes the nodes more even, which is where one has two more than another; so there is an end to it, and it does
//! not go to and fro. Who is meant to lead is in the registry, and stays so: who comes back after a failure gets its leads back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, NodeState, Placement, Registry};
use crate::{GroupId, NodeId};

/// Leads that one node may have more than another before one of them is moved.
const UNEVENNESS_MAX: usize = 1;

impl Registry {
    /// Whether nothing is on its way, and every node that is there is active: leads are not moved where replicas are.
    pub(crate) fn is_at_rest(&self, groups: u32) -> bool {
        let known = (0..groups).all(|group| self.groups.contains_key(&GroupId(group)));
        let active = |(_, node): (NodeId, &super::RegisteredNode)| node.state == NodeState::Active;
        known && self.moving().next().is_none() && self.members().all(active)
    }

    /// The next lead that another node should have, with `leaders` as far as they are known; `None` where all have about as many, or the
    /// cluster is not at rest.
    pub(crate) fn even_leads(&self, groups: u32, leaders: &BTreeMap<GroupId, NodeId>) -> Option<Change> {
        if !self.is_at_rest(groups) {
            return None;
        }
        let active = self.active();
        let mut leads: BTreeMap<NodeId, usize> = active.iter().map(|node| (*node, 0)).collect();
        let holders: BTreeMap<GroupId, Option<NodeId>> = self
            .groups
            .iter()
            .map(|(group, placement)| {
                let actual = leaders.get(group).copied();
                let holder = placement.preferred.or(actual);
                (*group, holder.filter(|node| can_lead(placement, *node, &active)))
            })
            .collect();
        for holder in holders.values().flatten() {
            if let Some(count) = leads.get_mut(holder) {
                *count += 1;
            }
        }
        let count = |node: NodeId| leads.get(&node).copied().unwrap_or(0);
        let change = |group: &GroupId, node: NodeId| Change::Preferred {
            group: *group,
            node: Some(node),
        };
        let fewest = |placement: &Placement| {
            let can = active
                .iter()
                .copied()
                .filter(|node| can_lead(placement, *node, &active));
            can.min_by_key(|node| (count(*node), *node))
        };
        // Of a group that has no replica here nobody knows who leads, before it is said.
        let unknown = self.groups.iter().find_map(|(group, placement)| {
            let unknown = holders.get(group).is_none_or(Option::is_none);
            let chosen = fewest(placement).filter(|_| unknown)?;
            Some(change(group, chosen))
        });
        unknown.or_else(|| {
            // The meta group, which is first, goes last: whoever leads it decides this.
            let steps = self.groups.iter().rev().filter_map(|(group, placement)| {
                let holder = (*holders.get(group)?)?;
                let chosen = fewest(placement)?;
                let gain = count(holder).checked_sub(count(chosen))?;
                (gain > UNEVENNESS_MAX).then_some((gain, group, chosen))
            });
            // The first of those that gain most.
            let best = steps.reduce(|best, next| if next.0 > best.0 { next } else { best });
            best.map(|(_, group, chosen)| change(group, chosen))
        })
    }
}

fn can_lead(placement: &Placement, node: NodeId, active: &BTreeSet<NodeId>) -> bool {
    placement.placed.contains(&node) && active.contains(&node)
}
