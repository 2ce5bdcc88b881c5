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
pub use version::{NoCommonVersion, PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST, Versions};
pub(crate) use wire::*;
pub(crate) use wire_ask::{put_ask, take_ask};

use crate::NodeId;
use crate::call::Lane;

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
        Self::over(options, instance, speaks, None)
    }

    /// The same over this network; `None`: TLS over TCP.
    pub(crate) fn over(
        options: &PeerOptions,
        instance: String,
        speaks: Versions,
        net: Option<Arc<dyn Net>>,
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
mod tests {
    use docket_persistence::mem::MemDisk;
    use docket_persistence::{Journal, JournalOptions};
    use docket_proto::peer::HelloRequest;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    use tokio_util::sync::CancellationToken;

    use super::service::Handler;
    use super::*;
    use crate::log::NodeJournal;

    const CLUSTER: &str = "c1";
    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// The options of a node with a certificate of its own.
    fn options(authority: &Authority, cluster_id: &str, node: u64) -> PeerOptions {
        let (key, node_id) = (KeyPair::generate().unwrap(), NodeId(node));
        let params = CertificateParams::new([certificate_name(cluster_id, node_id)]).unwrap();
        PeerOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: PeerTls {
                authority: authority.pem(),
                certificate: params.signed_by(&key, authority).unwrap().pem(),
                key: key.serialize_pem(),
            },
            cluster_id: cluster_id.to_owned(),
            node_id,
            founders: Vec::new(),
        }
    }

    fn journal(dir: &std::path::Path) -> Arc<NodeJournal> {
        let disk = MemDisk::new();
        let (store, mark) = (Box::new(disk.store()), Box::new(disk.mark()));
        let opened = Journal::open_with(store, mark, JournalOptions::new(dir), &mut |_, _: &[u8]| {});
        Arc::new(NodeJournal::new(opened.unwrap().0))
    }

    /// What happens when `caller` connects to what it takes for node 2, and `answerer` is there.
    async fn connect(caller: &PeerOptions, answerer: &PeerOptions) -> Result<(), PeerError> {
        connect_in((caller, Versions::default()), (answerer, Versions::default())).await
    }

    /// The same, where they speak these versions.
    async fn connect_in(
        (caller, calls): (&PeerOptions, Versions),
        (answerer, answers): (&PeerOptions, Versions),
    ) -> Result<(), PeerError> {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::bind(answerer.listen).await.unwrap();
        let (address, closing) = (listener.address(), CancellationToken::new());
        let spools = Arc::new(Spools::new(dir.path()));
        let own = Peers::new(answerer, String::new(), answers).unwrap().own();
        let served = Served::new(own, &[], journal(dir.path()), spools, None, Answering::default());
        let serving = listener.serve(served, closing.clone());
        let serving = tokio::spawn(serving);
        let peers = Peers::new(caller, String::new(), calls).unwrap();
        peers.set_address(NodeId(2), address);
        let outcome = peers.links(NodeId(2)).unwrap().urgent.connection().await;
        closing.cancel();
        serving.await.unwrap();
        outcome.map(drop)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_is_known_by_its_certificate_and_any_other_is_refused_by_name() {
        let (own, other) = (authority(), authority());
        let first = options(&own, CLUSTER, 1);
        let node = NodeId(2);
        connect(&first, &options(&own, CLUSTER, 2)).await.unwrap();

        let refused = connect(&first, &options(&own, CLUSTER, 3)).await.unwrap_err();
        assert!(
            matches!(&refused, PeerError::OtherNode { shown, .. } if shown.contains("node-3.c1")),
            "{refused}"
        );
        let refused = connect(&first, &options(&own, "c2", 2)).await.unwrap_err();
        assert!(
            matches!(&refused, PeerError::OtherCluster { shown, .. } if shown.contains("node-2.c2")),
            "{refused}"
        );
        let refused = connect(&first, &options(&other, CLUSTER, 2)).await.unwrap_err();
        assert_eq!(refused, PeerError::OtherAuthority { node });

        let mut nowhere = options(&own, CLUSTER, 1);
        nowhere.node_id = NodeId(4);
        let refused = Peers::new(&nowhere, String::new(), Versions::default())
            .err()
            .unwrap();
        assert!(matches!(refused, PeerError::OtherNode { .. }), "{refused}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn versions_that_overlap_connect_and_others_refuse_each_other_with_both_nodes_named() {
        let authority = authority();
        let (first, second) = (options(&authority, CLUSTER, 1), options(&authority, CLUSTER, 2));
        let versions = |oldest, newest| Versions { oldest, newest };
        let check = async |calls, answers, refusal: Option<[&str; 2]>| {
            let outcome = connect_in((&first, calls), (&second, answers)).await;
            match (outcome, refusal) {
                (Ok(()), None) => {}
                (Err(error @ PeerError::Refused { .. }), Some(says)) => {
                    let text = error.to_string();
                    let at = |says: &str| text.find(says).unwrap_or_else(|| panic!("no {says:?} in {text}"));
                    assert!(at(says[0]) < at(says[1]), "{text}");
                }
                (outcome, refusal) => panic!("{calls} calls {answers}: {outcome:?}, expected {refusal:?}"),
            }
        };
        let own = Versions::default();
        check(own, own, None).await;
        // An upgrade, and the way back.
        let (newest, next, after) = (PROTOCOL_VERSION, PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 2);
        for other in [versions(1, 1), versions(newest, next)] {
            check(other, own, None).await;
            check(own, other, None).await;
        }
        let (newer, ours) = (
            format!("versions {next} to {after}"),
            format!("versions 1 to {newest}"),
        );
        let [calls, answers] = [format!("node 1 speaks {newer}"), format!("node 2 {ours},")];
        check(versions(next, after), own, Some([&calls, &answers])).await;
        let [calls, answers] = [format!("node 1 speaks {ours} of"), format!("node 2 {newer}")];
        check(own, versions(next, after), Some([&calls, &answers])).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_renewed_certificate_is_what_the_next_handshake_shows() {
        let (old, new) = (authority(), authority());
        let dir = tempfile::tempdir().unwrap();
        let second = Peers::new(&options(&old, CLUSTER, 2), String::new(), Versions::default()).unwrap();
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let (address, closing) = (listener.address(), CancellationToken::new());
        let spools = Arc::new(Spools::new(dir.path()));
        let served = Served::new(
            second.own(),
            &[],
            journal(dir.path()),
            spools,
            None,
            Answering::default(),
        );
        let serving = tokio::spawn(listener.serve(served, closing.clone()));
        let call = async |caller: &PeerOptions| {
            let peers = Peers::new(caller, String::new(), Versions::default()).unwrap();
            peers.set_address(NodeId(2), address);
            let links = peers.links(NodeId(2)).unwrap();
            loop {
                match links.urgent.connection().await.map(drop) {
                    // The one who called before is another process, whose connection is about to end.
                    Err(PeerError::Twice { .. }) => tokio::task::yield_now().await,
                    outcome => return outcome,
                }
            }
        };
        let (before, after) = (options(&old, CLUSTER, 1), options(&new, CLUSTER, 1));
        call(&before).await.unwrap();
        call(&after).await.unwrap_err();
        second.renew(&options(&new, CLUSTER, 2).tls).unwrap();
        call(&after).await.unwrap();
        call(&before).await.unwrap_err();
        // What cannot be used changes nothing.
        second.renew(&options(&old, CLUSTER, 3).tls).unwrap_err();
        call(&after).await.unwrap();
        closing.cancel();
        serving.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_one_who_accepts_refuses_too() {
        let (own, other) = (authority(), authority());
        let second = options(&own, CLUSTER, 2);
        // It trusts the cluster's authority, and shows a certificate of another.
        let mut stranger = options(&other, CLUSTER, 1);
        stranger.tls.authority = own.pem();
        let refused = connect(&stranger, &second).await.unwrap_err();
        assert!(matches!(refused, PeerError::Unreachable { .. }), "{refused}");
    }

    #[tokio::test]
    async fn hello_refuses_another_version_cluster_or_node_by_name() {
        let own = authority();
        let (first, second) = (options(&own, CLUSTER, 1), options(&own, CLUSTER, 2));
        let certificate = CertificateDer::from_pem_slice(first.tls.certificate.as_bytes()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let spools = Arc::new(Spools::new(dir.path()));
        let own = Peers::new(&second, String::new(), Versions::default())
            .unwrap()
            .own();
        let served = Arc::new(Served::new(
            own,
            &[],
            journal(dir.path()),
            spools,
            None,
            Answering::default(),
        ));
        let good = HelloRequest {
            protocol_version: PROTOCOL_VERSION,
            cluster_id: CLUSTER.to_owned(),
            from_node: 1,
            to_node: 2,
            instance: String::new(),
            process: 0,
            oldest_version: 0,
        };
        let greet =
            |hello: &HelloRequest| Handler::new(Arc::clone(&served), Some(certificate.clone())).greet(hello);
        greet(&good).unwrap();
        let check = |change: fn(&mut HelloRequest), says: &str| {
            let mut hello = good.clone();
            change(&mut hello);
            let refused = greet(&hello).unwrap_err();
            assert!(refused.message().contains(says), "{refused}");
        };
        check(
            |hello| hello.protocol_version = PROTOCOL_VERSION + 1,
            &format!(
                "node 1 speaks version {} of the peer protocol and node 2 versions 1 to {PROTOCOL_VERSION},",
                PROTOCOL_VERSION + 1
            ),
        );
        check(|hello| hello.cluster_id = "c2".into(), "cluster c1, not to c2");
        check(|hello| hello.to_node = 5, "this is node 2, not node 5");
        check(|hello| hello.from_node = 2, "node 2 is here");
        check(|hello| hello.from_node = 3, "another node's");
    }
}
