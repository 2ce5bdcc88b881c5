//! Whose node it is, before anything of it is opened: from its data directory, from its options, or from the cluster that lets it in.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::members::{Standing, enter};
use crate::options::SHARDS_DEFAULT;
use crate::peer::net::Net;
use crate::peer::{Listener, Peers};
use crate::restore::is_unfinished;
use crate::{ClusterError, Identity, MemberOptions, NodeOptions};

/// Finds out whose node it is, and opens the way to its peers: before anything else is, so that what cannot be used is found out first.
/// A node that joins a cluster waits here until it is let in.
pub(crate) async fn introduce(
    options: &NodeOptions,
    net: Option<Arc<dyn Net>>,
) -> Result<(Identity, Option<(Arc<Peers>, Listener)>), ClusterError> {
    if is_unfinished(&options.data_dir) {
        return Err(ClusterError::HalfRestored {
            path: options.data_dir.clone(),
        });
    }
    let Some(peers) = &options.peers else {
        let identity = Identity::open(
            &options.data_dir,
            options.shards,
            SHARDS_DEFAULT,
            None,
            Some(options.peer_versions.newest),
        )?;
        check_founded(options, &identity)?;
        if identity.membership.is_some() {
            return Err(ClusterError::MemberAlone {
                path: options.data_dir.clone(),
                cluster: identity.cluster_id,
                node: identity.node_id,
            });
        }
        return Ok((identity, None));
    };
    let pace = options.snapshot_bytes_per_second;
    let over = |instance: String| {
        let (versions, clock) = (options.peer_versions, options.clock.clone());
        Peers::over(peers, instance, versions, net.clone(), clock)
    };
    let Some(member) = &options.member else {
        let ways = (
            Arc::new(over(String::new())?.paced(pace)),
            Listener::over(net.as_deref(), peers.listen).await?,
        );
        let own = Some((peers.cluster_id.as_str(), peers.node_id));
        let identity = Identity::open(&options.data_dir, options.shards, SHARDS_DEFAULT, own, None)?;
        return Ok((identity, Some(ways)));
    };
    let standing = Standing::read(&options.data_dir, options.shards, peers, member)?;
    let ways = over(standing.instance())?;
    let ways = Arc::new(ways.paced(pace));
    let listener = Listener::over(net.as_deref(), peers.listen).await?;
    let identity = match standing {
        Standing::Member(identity) => identity,
        Standing::New { .. } => {
            let (own, address) = (ways.own(), advertised(member, &listener));
            enter(&options.data_dir, options.shards, &own, member, &address).await?
        }
    };
    check_founded(options, &identity)?;
    Ok((identity, Some((ways, listener))))
}

/// A directory that was founded by a newer program is not opened.
fn check_founded(options: &NodeOptions, identity: &Identity) -> Result<(), ClusterError> {
    let newest = options.peer_versions.newest;
    match identity.founded_at.filter(|founded_at| *founded_at > newest) {
        None => Ok(()),
        Some(founded_at) => Err(ClusterError::FoundedNewer {
            path: options.data_dir.clone(),
            founded_at,
            known: newest,
        }),
    }
}

/// Where other nodes reach this one.
pub(crate) fn advertised(member: &MemberOptions, listener: &Listener) -> String {
    member
        .peer_address
        .clone()
        .unwrap_or_else(|| listener.address().to_string())
}

/// The first voters of a group whose log is empty here; none where it waits to be told of them.
pub(crate) fn founders(options: &NodeOptions, identity: &Identity) -> BTreeSet<u64> {
    match (&options.peers, &identity.membership) {
        (None, _) => BTreeSet::from([identity.node_id.0]),
        (Some(_), Some(membership)) if membership.founder => BTreeSet::from([identity.node_id.0]),
        (Some(_), Some(_)) => BTreeSet::new(),
        (Some(peers), None) => peers.founders.iter().map(|founder| founder.0).collect(),
    }
}
