use docket_persistence::mem::MemDisk;
use docket_persistence::sealing::Keyring;
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
    let spools = Arc::new(Spools::new(dir.path(), Keyring::default()));
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
async fn who_connects_and_shows_no_certificate_keeps_no_peer_out() {
    let authority = authority();
    let (first, second) = (options(&authority, CLUSTER, 1), options(&authority, CLUSTER, 2));
    let dir = tempfile::tempdir().unwrap();
    let listener = Listener::bind(second.listen).await.unwrap();
    let (address, closing) = (listener.address(), CancellationToken::new());
    let spools = Arc::new(Spools::new(dir.path(), Keyring::default()));
    let own = Peers::new(&second, String::new(), Versions::default())
        .unwrap()
        .own();
    let served = Served::new(own, &[], journal(dir.path()), spools, None, Answering::default());
    let serving = tokio::spawn(listener.serve(served, closing.clone()));
    let mut silent = Vec::new();
    for _ in 0..2 * (crate::limits::PEER_CONNECTIONS_MAX + crate::limits::PEER_HANDSHAKES_MAX) {
        silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let peers = Peers::new(&first, String::new(), Versions::default()).unwrap();
    peers.set_address(NodeId(2), address);
    let link = peers.links(NodeId(2)).unwrap();
    link.urgent.connection().await.expect("a peer is let in");
    closing.cancel();
    serving.await.unwrap();
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
    let spools = Arc::new(Spools::new(dir.path(), Keyring::default()));
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
    let spools = Arc::new(Spools::new(dir.path(), Keyring::default()));
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
