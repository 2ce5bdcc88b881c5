//! How a cluster comes to be: from a node that stood alone, under load, at a pace, and again after all were stopped; and who is not let in.

use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_cluster::{ClusterError, Identity, NodeId, NodeOptions};

use crate::cluster::{CLUSTER, Cluster, GROUPS};
use crate::machine::{Bed, payload};
use crate::peers::Authority;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stood_alone_becomes_a_cluster_of_three_with_its_data() {
    let bed = Bed::new();
    let (node, _) = bed.start().await;
    for n in 0..20 {
        node.group(GROUPS[1])
            .unwrap()
            .propose(payload(format!("alone-{n}")))
            .await
            .unwrap();
    }
    node.shutdown().await.unwrap();
    bed.disk.restart_machine(1);

    let cluster_id = Identity::read(bed.dir.path()).unwrap().unwrap().cluster_id;
    let founded = Identity::found(bed.dir.path(), None, None, None).unwrap();
    assert_eq!(founded.cluster_id, cluster_id, "it keeps its cluster's id");
    let mut cluster = Cluster::empty(600);
    let of_cluster = |mut options: NodeOptions, authority: &Authority, id: NodeId| {
        let peers = options.peers.as_mut().unwrap();
        peers.cluster_id.clone_from(&cluster_id);
        peers.tls = authority.issue_for(&cluster_id, id);
        options
    };
    let options = cluster.options(&bed, NodeId(1), Vec::new());
    let options = of_cluster(options, &cluster.authority, NodeId(1));
    cluster.add(bed, options).await;
    for id in [NodeId(2), NodeId(3)] {
        let bed = Bed::new();
        let options = cluster.options(&bed, id, vec![cluster.seed()]);
        let options = of_cluster(options, &cluster.authority, id);
        cluster.add(bed, options).await;
        cluster
            .propose(GROUPS[1], payload(format!("while {id} joins")))
            .await;
    }
    cluster.settled().await;
    cluster.equal().await;
    let payloads = cluster.places[2].payloads(GROUPS[1]);
    assert_eq!(payloads.len(), 22);
    for place in &cluster.places {
        place.node().ready().await;
        for group in GROUPS {
            assert_eq!(place.node().group(group).unwrap().status().voters.len(), 3);
        }
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_forms_under_load_and_loses_nothing() {
    let mut cluster = Cluster::found().await;
    cluster.leader(GROUPS[1]).await;
    let first = cluster.places[0].node().group(GROUPS[1]).unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let load = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        while stopped.try_recv().is_err() {
            let payload = payload(format!("load-{}", acknowledged.len()));
            // Nobody takes the lead from node 1 meanwhile, so that each is acknowledged.
            first.propose(payload.clone()).await.unwrap();
            acknowledged.push(payload);
        }
        acknowledged
    });
    cluster.join(NodeId(2)).await;
    cluster.join(NodeId(3)).await;
    cluster.settled().await;
    stop.send(()).unwrap();
    let acknowledged = load.await.unwrap();
    assert!(!acknowledged.is_empty());
    cluster.equal().await;
    for place in &cluster.places {
        assert_eq!(place.payloads(GROUPS[1]), acknowledged);
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_one_another_again_after_all_were_stopped_and_wherever_they_are_then() {
    let mut cluster = Cluster::of(3).await;
    cluster.propose(GROUPS[2], payload("before")).await;
    for at in 0..3 {
        cluster.places[at].stop().await;
    }
    // The third comes back elsewhere, and says so; nobody has seeds any more.
    for at in 0..3 {
        let options = &mut cluster.places[at].options;
        options.member.as_mut().unwrap().seeds.clear();
        if at == 2 {
            options.peers.as_mut().unwrap().listen.set_port(0);
        }
        cluster.places[at].start().await;
    }
    cluster.propose(GROUPS[2], payload("after")).await;
    let address = cluster.places[2].node().peer_address().unwrap().to_string();
    cluster
        .until("the new address", |registry| {
            registry.node(NodeId(3)).unwrap().peer_address == address
        })
        .await;
    cluster.equal().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_waits_until_the_founder_lets_nodes_in() {
    let mut cluster = Cluster::found_as(600, true).await;
    // It knows itself, closed or not.
    cluster
        .until("the founder", |registry| registry.active().len() == 1)
        .await;
    let bed = Bed::new();
    let options = cluster.options(&bed, NodeId(2), vec![cluster.seed()]);
    let early = tokio::time::timeout(Duration::from_secs(2), bed.try_open(options.clone())).await;
    assert!(early.is_err(), "it got in");
    assert_eq!(cluster.any().registry().unwrap().nodes().len(), 1);
    cluster.any().let_nodes_in();
    cluster.add(bed, options).await;
    cluster.settled().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_used_again_is_refused_by_name() {
    let mut cluster = Cluster::of(2).await;
    cluster.place(NodeId(2)).stop().await;
    // Its disk is lost, and somebody starts it again under the old id.
    let bed = Bed::new();
    let options = cluster.options(&bed, NodeId(2), vec![cluster.seed()]);
    let refused = bed.try_open(options).await.err().unwrap();
    assert!(
        matches!(&refused, ClusterError::NotAdmitted { cause } if cause.contains("never used again")),
        "{refused}"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_is_refused_where_it_does_not_belong() {
    let cluster = Cluster::found().await;
    // One that is new and knows nobody.
    let bed = Bed::new();
    let options = cluster.options(&bed, NodeId(2), Vec::new());
    let refused = bed.try_open(options.clone()).await.err().unwrap();
    assert!(matches!(refused, ClusterError::NobodyToJoin { .. }), "{refused}");
    // One that stood alone.
    let (node, _) = bed.start().await;
    node.shutdown().await.unwrap();
    let refused = bed.try_open(options).await.err().unwrap();
    assert!(matches!(refused, ClusterError::StoodAlone { .. }), "{refused}");
    // A member that is to stand alone, or to be another.
    let dir = cluster.places[0].bed.dir.path();
    let refused = Identity::found(dir, None, None, None).unwrap_err();
    assert!(matches!(refused, ClusterError::MemberAlready { .. }), "{refused}");
    let bed = Bed::new();
    Identity::found(bed.dir.path(), Some(CLUSTER), Some(NodeId(7)), None).unwrap();
    let refused = bed.try_open(bed.options()).await.err().unwrap();
    assert!(
        matches!(
            refused,
            ClusterError::ShardsDiffer { .. } | ClusterError::MemberAlone { .. }
        ),
        "{refused}"
    );
    let options = cluster.options(&bed, NodeId(2), Vec::new());
    let refused = bed.try_open(options).await.err().unwrap();
    assert!(
        matches!(refused, ClusterError::IdentityDiffers { .. }),
        "{refused}"
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_replica_that_only_catches_up_keeps_the_pace() {
    const MIB: usize = 1024 * 1024;
    const ENTRY: usize = 8 * 1024;
    let mut cluster = Cluster::found().await;
    let founder = cluster.place(NodeId(1));
    founder.stop().await;
    founder.options.snapshot_bytes_per_second = 2 * MIB as u64;
    founder.start().await;
    let entries = 8 * MIB / ENTRY;
    let group = cluster.leader(GROUPS[1]).await.node().group(GROUPS[1]).unwrap();
    let proposals = (0..entries).map(|n| {
        let group = group.clone();
        async move { group.propose(Bytes::from(vec![n as u8; ENTRY])).await }
    });
    futures::future::try_join_all(proposals).await.unwrap();
    let begun = Instant::now();
    cluster.join(NodeId(2)).await;
    cluster.settled().await;
    let took = begun.elapsed();
    cluster.equal().await;
    // What it may lack when it counts as having caught up, and what may go at once after a pause, keep no pace.
    let paced = 8 * MIB - 256 * ENTRY - MIB;
    let least = Duration::from_secs_f64(paced as f64 / (2 * MIB) as f64);
    println!("8 MiB of log at 2 MiB/s: {took:.1?}, at least {least:.1?}");
    assert!(took >= least, "{took:?}");
    cluster.end().await;
}
