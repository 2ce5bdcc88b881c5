//! At which version a cluster is finalised: what may be written, and who can still read it.

use std::time::{Duration, Instant};

use docket_cluster::{FINALISED_IMPLIED, Identity, Node, NodeOptions, PROTOCOL_VERSION, Versions};

use crate::machine::{Bed, payload};

/// The program from before there was anything to finalise.
const OLDER: u32 = FINALISED_IMPLIED;

fn speaking(bed: &Bed, newest: u32) -> NodeOptions {
    NodeOptions {
        peer_versions: Versions {
            newest,
            ..Versions::default()
        },
        ..bed.options()
    }
}

async fn opened(bed: &Bed, newest: u32) -> Node {
    let (node, _) = bed.open(speaking(bed, newest)).await;
    node.ready().await;
    node
}

#[track_caller]
fn is_at(node: &Node, finalised: u32) {
    assert_eq!(node.finalised(), finalised);
    assert_eq!(node.oldest_version_spoken(), finalised);
    assert!(node.is_spoken_by_all(finalised) && !node.is_spoken_by_all(finalised + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_can_go_back_until_it_is_finalised_and_then_the_older_program_is_refused_by_name() {
    let bed = Bed::new();
    let node = opened(&bed, OLDER).await;
    is_at(&node, OLDER);
    node.shutdown().await.unwrap();

    // There and back.
    for newest in [PROTOCOL_VERSION, OLDER, PROTOCOL_VERSION] {
        let node = opened(&bed, newest).await;
        is_at(&node, OLDER);
        let version = node.cluster_version();
        assert_eq!((version.newest, version.blockers.len()), (newest, 0));
        let shard = node.groups()[1].clone();
        shard.propose(payload("said meanwhile")).await.unwrap();
        node.shutdown().await.unwrap();
    }

    let node = opened(&bed, PROTOCOL_VERSION).await;
    for _ in 0..2 {
        assert_eq!(node.finalize().await, Ok(PROTOCOL_VERSION));
        is_at(&node, PROTOCOL_VERSION);
    }
    // It stands alone still, with no registry of nodes.
    assert!(node.registry().is_none());
    node.shutdown().await.unwrap();
    let node = opened(&bed, PROTOCOL_VERSION).await;
    is_at(&node, PROTOCOL_VERSION);
    node.shutdown().await.unwrap();

    // As soon as it reads of it: while it opens, or behind that, where the journal does not say yet that the entry is committed.
    let stopped = match bed.try_open(speaking(&bed, OLDER)).await {
        Err(refused) => refused.to_string(),
        Ok((node, _)) => {
            let failed = tokio::time::timeout(Duration::from_secs(30), node.failed()).await;
            failed.unwrap().to_string()
        }
    };
    let why = format!("finalised at version {PROTOCOL_VERSION}");
    assert!(stopped.contains(&why), "{stopped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_begins_at_the_newest_version_and_older_programs_do_not_open_it() {
    let bed = Bed::new();
    let node = opened(&bed, PROTOCOL_VERSION).await;
    is_at(&node, PROTOCOL_VERSION);
    node.shutdown().await.unwrap();
    let identity = Identity::read(bed.dir.path()).unwrap().unwrap();
    assert_eq!(identity.founded_at, Some(PROTOCOL_VERSION));
    let refused = bed.try_open(speaking(&bed, OLDER)).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("Use a newer program"), "{refused}");
    is_at(&opened(&bed, PROTOCOL_VERSION).await, PROTOCOL_VERSION);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_finalised_by_itself_where_that_is_wanted() {
    let bed = Bed::new();
    opened(&bed, OLDER).await.shutdown().await.unwrap();
    let options = NodeOptions {
        auto_finalize: true,
        ..speaking(&bed, PROTOCOL_VERSION)
    };
    let (node, _) = bed.open(options).await;
    let asked = Instant::now();
    while node.finalised() < PROTOCOL_VERSION {
        assert!(asked.elapsed() < Duration::from_secs(30), "it is not finalised");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    node.shutdown().await.unwrap();
}
