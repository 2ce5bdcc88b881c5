//! The peer protocol: how the groups of one node reach those of another.
//!
//! ```text
//!  group's core ─▶ network::Peer ─▶ Peers ─▶ Link "log"       one stream: every group's appends, in sessions
//!  (openraft)                        per    Link "urgent"    votes, heartbeats, transfers of the lead
//!                                    node   Link "snapshot"  one call a snapshot, in chunks
//!  Node::call ────────────────────▶        Link "calls"     one stream: questions of the layer above, and answers
//!                                              │
//!                                              ▼ mutual TLS, Hello
//!                                           Listener ─▶ the group's core on the other node
//! ```
//!
//! What it guarantees:
//! - Nothing but Hello is answered on a connection whose two ends have not shown that they are the nodes they say they are, of the same
//!   cluster, under the same authority, with a version of the protocol in common. What does not fit is refused by name ([`PeerError`]).
//! - No node speaks for another: a ballot comes from the node it is for.
//! - An append that is answered is durable on the node that answered.
//! - Every queue, message and wait has a bound: see [`limits`](crate::limits).

mod append_client;
mod append_server;
mod call_client;
mod call_server;
mod cut;
mod dial;
mod knock;
mod link;
mod listener;
pub mod net;
mod pace;
mod presence;
mod pulse;
mod read_index;
mod service;
mod spool;
mod tls;
mod version;
mod wire;
mod wire_ask;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

pub(crate) use append_client::{Session, SessionError};
pub(crate) use call_client::{Bounds, Called, StreamError};
pub(crate) use call_server::{Answering, READ};
pub(crate) use knock::meet;
pub(crate) use link::{Connection, Link};
pub(crate) use listener::Listener;
use net::Net;
pub(crate) use pace::Pace;
pub(crate) use pulse::pulse;
pub(crate) use read_index::{
    put_read, put_who_is_member, put_who_leads, take_leader, take_members, take_read,
};
pub(crate) use service::{EXPELLED, Served};
pub(crate) use spool::{Spooled, Spools, Sum};
pub use tls::{PeerTls, certificate_name};
pub use version::{FINALISED_IMPLIED, NoCommonVersion, PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST, Versions};
pub(crate) use wire::*;
pub(crate) use wire_ask::{put_ask, take_ask};

use crate::NodeId;
use crate::call::Lane;
use crate::clock::CausalClock;

/// How a node among others is reached, and reaches them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerOptions {
    /// Where peers connect. Port 0 takes any that is free: see [`Node::peer_address`](crate::Node::peer_address).
    pub listen: SocketAddr,
    /// Certificates of this node and its cluster.
    pub tls: PeerTls,
    /// The cluster. A new data directory takes it; an old one refuses any but its own.
    pub cluster_id: String,
    /// This node, likewise.
    pub node_id: NodeId,
    /// The first voters of a new cluster, this node among them, given to the one node that founds it. Empty on the others, which wait
    /// until they are told of the cluster. Not looked at where there is a log already.
    pub founders: Vec<NodeId>,
}

/// Why a peer is not talked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// A certificate, key or name that is this node's own cannot be used.
    #[error("{what} cannot be used: {cause}")]
    Certificate {
        /// Which.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// Nobody has said where the node is.
    #[error("node {node} has no known address")]
    NoAddress {
        /// The node.
        node: NodeId,
    },
    /// Nothing answers there, or not in time.
    #[error("node {node} cannot be reached: {cause}")]
    Unreachable {
        /// The node.
        node: NodeId,
        /// Why.
        cause: String,
    },
    /// Nobody of this cluster was met at an address.
    #[error("no node of the cluster is at {address}: {cause}")]
    Nobody {
        /// `HOST:PORT`.
        address: String,
        /// Why.
        cause: String,
    },
    /// The certificate is not of the cluster's authority.
    #[error("what answers as node {node} has a certificate of another authority than this cluster's")]
    OtherAuthority {
        /// The node that it should be.
        node: NodeId,
    },
    /// The certificate is of another cluster.
    #[error("what answers as node {node} has a certificate for {shown}, which is not of cluster {cluster}")]
    OtherCluster {
        /// The node that it should be.
        node: NodeId,
        /// This cluster.
        cluster: String,
        /// The names in the certificate.
        shown: String,
    },
    /// The certificate is another node's.
    #[error("what answers as node {node} has a certificate for {shown}: another node's")]
    OtherNode {
        /// The node that it should be.
        node: NodeId,
        /// The names in the certificate.
        shown: String,
    },
    /// The certificate cannot be accepted for another reason, such as its time.
    #[error("TLS with node {node}: {cause}")]
    Tls {
        /// The node.
        node: NodeId,
        /// Why.
        cause: String,
    },
    /// The peer speaks no version of the protocol that this node speaks.
    #[error(transparent)]
    Version(NoCommonVersion),
    /// The peer refused this node's Hello, and said why.
    #[error("node {node} refuses this node: {cause}")]
    Refused {
        /// The node.
        node: NodeId,
        /// What it said.
        cause: String,
    },
    /// This node is no part of the cluster, for good.
    #[error("{cause}")]
    Expelled {
        /// What it was told.
        cause: String,
    },
    /// Another process is this node, too.
    #[error("{cause}")]
    Twice {
        /// What it was told.
        cause: String,
    },
    /// The listener could not be opened.
    #[error("peers cannot be listened for on {address}: {cause}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: String,
    },
}

/// This node's way to all others. One for the node; groups share it.
pub(crate) struct Peers {
    own: Arc<Own>,
    /// Of snapshots, and of the log to who only catches up.
    pace: Pace,
    known: RwLock<HashMap<NodeId, Arc<PeerLinks>>>,
}

/// Who this node is to its peers.
pub(crate) struct Own {
    pub(crate) cluster_id: String,
    pub(crate) node_id: NodeId,
    /// The random name of its data directory; empty where its cluster keeps no registry of nodes.
    pub(crate) instance: String,
    /// A random number of this process.
    process: u64,
    /// Which versions of the protocol it speaks.
    speaks: Versions,
    /// What it listens on for peers.
    listen: std::net::IpAddr,
    /// `None`: TLS over TCP.
    net: Option<Arc<dyn Net>>,
    ends: RwLock<Arc<tls::Ends>>,
    /// What records are stamped with: carried by each call and each answer.
    clock: CausalClock,
    /// Whom it neither hears nor is heard by.
    pub(crate) cut: Arc<cut::Cut>,
}

impl Own {
    /// Both ends of TLS, for the next handshake.
    fn ends(&self) -> Arc<tls::Ends> {
        Arc::clone(&self.ends.read())
    }
}

/// The connections to one peer, by what they are for.
pub(crate) struct PeerLinks {
    /// Appends.
    pub(crate) log: Link,
    /// Votes, heartbeats, transfers.
    pub(crate) urgent: Link,
    /// Snapshots.
    pub(crate) snapshot: Link,
    /// Calls of the layer above, and what may be in flight of them.
    pub(crate) calls: Calls,
    /// When the peer was last heard of.
    heard: Mutex<Option<Instant>>,
}

impl PeerLinks {
    fn links(&self) -> [&Link; 4] {
        [&self.log, &self.urgent, &self.snapshot, &self.calls.link]
    }

    /// Whether this node is connected to the peer: by the link on which it is asked every second whether it lives. That another one has
    /// ended may be noticed only when it is needed.
    pub(crate) fn is_connected(&self) -> bool {
        self.calls.link.is_open()
    }

    /// The version of the protocol that is spoken with the peer, or was when it was last connected to; `None` where it never was.
    pub(crate) fn version(&self) -> Option<u32> {
        // By the link on which it is asked every second whether it lives.
        self.calls.link.spoken()
    }

    /// How long the peer has not been heard of; `None` where it never was.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.heard.lock().map(|heard| heard.elapsed())
    }
}

/// The way of calls to one peer.
pub(crate) struct Calls {
    pub(crate) link: Link,
    requests: Bounds,
    steps: Bounds,
}

impl Calls {
    /// The way of a lane's, and what bounds it.
    pub(crate) fn of(&self, lane: Lane) -> (&Link, &Bounds) {
        match lane {
            Lane::Request => (&self.link, &self.requests),
            Lane::Step => (&self.link, &self.steps),
        }
    }
}

impl Peers {
    /// The way of a node that speaks these versions, and whose data directory has this random name (empty where its cluster keeps no
    /// registry of nodes).
    #[cfg(test)]
    pub(crate) fn new(options: &PeerOptions, instance: String, speaks: Versions) -> Result<Self, PeerError> {
        Self::over(options, instance, speaks, None, CausalClock::default())
    }

    /// The same over this network; `None`: TLS over TCP.
    pub(crate) fn over(
        options: &PeerOptions,
        instance: String,
        speaks: Versions,
        net: Option<Arc<dyn Net>>,
        clock: CausalClock,
    ) -> Result<Self, PeerError> {
        let ends = tls::Ends::new(&options.tls, &options.cluster_id, options.node_id)?;
        Ok(Self {
            own: Arc::new(Own {
                cluster_id: options.cluster_id.clone(),
                node_id: options.node_id,
                instance,
                process: uuid::Uuid::new_v4().as_u64_pair().0,
                speaks,
                listen: options.listen.ip(),
                net,
                ends: RwLock::new(Arc::new(ends)),
                clock,
                cut: Arc::default(),
            }),
            pace: Pace::new(0),
            known: RwLock::default(),
        })
    }

    /// The same with a pace of so many bytes a second for what is not urgent; 0: no bound.
    pub(crate) fn paced(self, bytes_per_second: u64) -> Self {
        let pace = Pace::new(bytes_per_second);
        Self { pace, ..self }
    }

    /// The pace of what is not urgent.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    pub(crate) fn own(&self) -> Arc<Own> {
        Arc::clone(&self.own)
    }

    /// Replaces this node's certificate, and the authority by which it judges the others': for every handshake from now on. Connections
    /// that stand go on.
    pub(crate) fn renew(&self, tls: &PeerTls) -> Result<(), PeerError> {
        let ends = tls::Ends::new(tls, &self.own.cluster_id, self.own.node_id)?;
        *self.own.ends.write() = Arc::new(ends);
        Ok(())
    }

    /// Says where a node is, `HOST:PORT`. Connections that stand are kept; the next one goes there.
    pub(crate) fn set_address(&self, node: NodeId, address: impl std::fmt::Display) {
        let address: Arc<str> = address.to_string().into();
        let mut known = self.known.write();
        let links = known.entry(node).or_insert_with(|| {
            let link = || Link::new(Arc::clone(&self.own), node);
            Arc::new(PeerLinks {
                log: link(),
                urgent: link(),
                snapshot: link(),
                calls: Calls {
                    link: link(),
                    requests: Bounds::new(),
                    steps: Bounds::new(),
                },
                heard: Mutex::new(None),
            })
        });
        for link in links.links() {
            link.set_address(&address);
        }
    }

    /// Where a node is, `HOST:PORT`.
    pub(crate) fn address_of(&self, node: NodeId) -> Option<Arc<str>> {
        self.known.read().get(&node)?.log.address()
    }

    /// Ends every connection to other nodes. As long as one stands they take this process for the node, and refuse the next one that is it.
    pub(crate) fn close(&self) {
        for links in self.known.write().drain() {
            for link in links.1.links() {
                link.close();
            }
        }
    }

    /// The nodes whose address is known.
    pub(crate) fn known(&self) -> Vec<NodeId> {
        self.known.read().keys().copied().collect()
    }

    /// Why this node is not let in, where a peer has said so lately.
    pub(crate) fn refusal(&self) -> Option<PeerError> {
        let known = self.known.read();
        let links = known.values().flat_map(|links| links.links());
        let last = links.filter_map(Link::last_error);
        last.filter(|error| matches!(error, PeerError::Expelled { .. } | PeerError::Twice { .. }))
            .max_by_key(|error| matches!(error, PeerError::Expelled { .. }))
    }

    pub(crate) fn links(&self, node: NodeId) -> Result<Arc<PeerLinks>, PeerError> {
        self.known
            .read()
            .get(&node)
            .cloned()
            .ok_or(PeerError::NoAddress { node })
    }
}

#[cfg(test)]
mod tests;
