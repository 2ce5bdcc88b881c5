//! What is asked of the meta group's leader, as the peer protocol has it.

use std::collections::BTreeSet;

use docket_proto::peer as pb;
use docket_proto::peer::ask_request::Ask as Asked;

use super::wire::WireError;
use crate::registry::{Ask, Fence, RegisteredStandby};
use crate::{GroupId, NodeId};

/// The request of an ask; `None` for what the leader of the meta group only asks itself.
pub(crate) fn put_ask(ask: &Ask) -> Option<pb::AskRequest> {
    let asked = match ask {
        Ask::Join {
            id,
            instance,
            peer_address,
            client_address,
            // Who founds a cluster asks nobody else.
            founded_at: _,
        } => Asked::Join(pb::AskJoin {
            node: id.0,
            instance: instance.clone(),
            peer_address: peer_address.clone(),
            client_address: client_address.clone(),
        }),
        Ask::Report { group, voters } => Asked::Report(pb::AskReport {
            group: group.0,
            voters: voters.iter().map(|node| node.0).collect(),
        }),
        Ask::Drain { id } => Asked::Drain(id.0),
        Ask::Undrain { id } => Asked::Undrain(id.0),
        Ask::Remove { id, force } => Asked::Remove(pb::AskRemove {
            node: id.0,
            force: force.is_some(),
            reason: force.clone().unwrap_or_default(),
        }),
        Ask::Move { group, from, to } => Asked::Move(pb::AskMove {
            group: group.0,
            from: from.0,
            to: to.0,
        }),
        Ask::Balance => Asked::Balance(pb::Blank {}),
        Ask::RegisterStandby { standby } => Asked::Standby(pb::AskStandby {
            id: standby.id.clone(),
            address: standby.address.clone(),
            ca: standby.ca.clone(),
            secret: standby.secret.clone(),
        }),
        Ask::ForgetStandby => Asked::ForgetStandby(pb::Blank {}),
        Ask::Fence { fence } => Asked::Fence(pb::AskFence {
            epoch: fence.epoch,
            by: fence.by.clone(),
            standby_id: fence.standby.clone(),
        }),
        Ask::Activate { .. }
        | Ask::Finalize { .. }
        | Ask::Plan { .. }
        | Ask::EvenLeads { .. }
        | Ask::Promote { .. } => {
            return None;
        }
    };
    Some(pb::AskRequest { ask: Some(asked) })
}

/// The ask of a request. A node joins as itself, and as no other.
pub(crate) fn take_ask(request: pb::AskRequest, from: NodeId) -> Result<Ask, WireError> {
    Ok(match request.ask.ok_or(WireError::Missing("what is asked"))? {
        Asked::Join(join) => {
            let id = NodeId(join.node);
            if id != from {
                return Err(WireError::NotItself { from, speaks_for: id });
            }
            Ask::Join {
                id,
                instance: join.instance,
                peer_address: join.peer_address,
                client_address: join.client_address,
                founded_at: None,
            }
        }
        Asked::Report(report) => Ask::Report {
            group: GroupId(report.group),
            voters: report.voters.into_iter().map(NodeId).collect::<BTreeSet<_>>(),
        },
        Asked::Drain(node) => Ask::Drain { id: NodeId(node) },
        Asked::Undrain(node) => Ask::Undrain { id: NodeId(node) },
        Asked::Remove(remove) => Ask::Remove {
            id: NodeId(remove.node),
            force: remove.force.then_some(remove.reason),
        },
        Asked::Move(moved) => Ask::Move {
            group: GroupId(moved.group),
            from: NodeId(moved.from),
            to: NodeId(moved.to),
        },
        Asked::Balance(_) => Ask::Balance,
        Asked::Standby(standby) => Ask::RegisterStandby {
            standby: RegisteredStandby {
                id: standby.id,
                address: standby.address,
                ca: standby.ca,
                secret: standby.secret,
            },
        },
        Asked::ForgetStandby(_) => Ask::ForgetStandby,
        Asked::Fence(fence) => Ask::Fence {
            fence: Fence {
                epoch: fence.epoch,
                by: fence.by,
                standby: fence.standby_id,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_arrives_as_it_was_and_nobody_joins_for_another() {
        let (node, other) = (NodeId(2), NodeId(3));
        let join = |id| Ask::Join {
            id,
            instance: "i".into(),
            peer_address: "a:1".into(),
            client_address: "a:2".into(),
            founded_at: None,
        };
        let asks = [
            join(node),
            Ask::Report {
                group: GroupId(4),
                voters: BTreeSet::from([node, other]),
            },
            Ask::Drain { id: other },
            Ask::Undrain { id: other },
            Ask::Remove {
                id: other,
                force: None,
            },
            Ask::Remove {
                id: other,
                force: Some("burnt".into()),
            },
            Ask::Move {
                group: GroupId(1),
                from: node,
                to: other,
            },
            Ask::Balance,
            Ask::RegisterStandby {
                standby: RegisteredStandby {
                    id: "i".into(),
                    address: "https://b:1".into(),
                    ca: "pem".into(),
                    secret: "s".into(),
                },
            },
            Ask::ForgetStandby,
            Ask::Fence {
                fence: Fence {
                    epoch: 2,
                    by: "https://b:1".into(),
                    standby: "i".into(),
                },
            },
        ];
        for ask in asks {
            assert_eq!(take_ask(put_ask(&ask).unwrap(), node), Ok(ask));
        }
        let refused = take_ask(put_ask(&join(other)).unwrap(), node);
        assert!(matches!(refused, Err(WireError::NotItself { .. })), "{refused:?}");
        assert_eq!(put_ask(&Ask::Plan { groups: 1 }), None);
        assert!(take_ask(pb::AskRequest { ask: None }, node).is_err());
    }
}
