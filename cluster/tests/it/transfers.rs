//! Snapshots on their way to a peer: at a pace, from where they broke off, and not to one that cannot read them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_cluster::{PROTOCOL_VERSION, PROTOCOL_VERSION_OLDEST, Versions};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::machine::payload;
use crate::peers::{PATIENCE, Three, eventually};

const MIB: usize = 1024 * 1024;
const PAYLOAD: usize = 64 * 1024;
/// Bytes a second.
const PACE: usize = 2 * MIB;
/// The snapshot has at least so many bytes.
const STATE: usize = 5 * MIB;
/// The first connection that carries so many bytes is cut.
const CUT: usize = 3 * MIB;

/// A way to a node, which counts the bytes of each connection towards it, and cuts one of them.
struct Way {
    address: SocketAddr,
    counts: Arc<Mutex<Vec<Arc<AtomicUsize>>>>,
    /// How many of them there were at the cut.
    cut: Arc<Mutex<Option<usize>>>,
}

impl Way {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Self {
            address: listener.local_addr().unwrap(),
            counts: Arc::default(),
            cut: Arc::default(),
        };
        let (counts, cut) = (Arc::clone(&way.counts), Arc::clone(&way.cut));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let count = Arc::<AtomicUsize>::default();
                counts.lock().push(Arc::clone(&count));
                let (counts, cut) = (Arc::clone(&counts), Arc::clone(&cut));
                tokio::spawn(async move {
                    let carried = carry(near, target, &count, || {
                        let mut cut = cut.lock();
                        let is_cut = cut.is_none() && count.load(Ordering::Acquire) >= CUT;
                        if is_cut {
                            *cut = Some(counts.lock().len());
                        }
                        is_cut
                    });
                    // However it ends, both ends see it.
                    let _ = carried.await;
                });
            }
        });
        way
    }

    fn carried(&self) -> Vec<usize> {
        let counts = self.counts.lock();
        counts.iter().map(|count| count.load(Ordering::Acquire)).collect()
    }
}

async fn carry(
    mut near: TcpStream,
    target: SocketAddr,
    count: &AtomicUsize,
    is_cut: impl Fn() -> bool,
) -> std::io::Result<()> {
    let mut far = TcpStream::connect(target).await?;
    let (mut from_near, mut to_near) = near.split();
    let (mut from_far, mut to_far) = far.split();
    let forth = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let length = from_near.read(&mut bytes).await?;
            if length == 0 || is_cut() {
                return Ok::<_, std::io::Error>(());
            }
            count.fetch_add(length, Ordering::AcqRel);
            to_far.write_all(&bytes[..length]).await?;
        }
    };
    tokio::select! {
        ended = forth => ended,
        ended = tokio::io::copy(&mut from_far, &mut to_near) => ended.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_breaks_off_goes_on_behind_what_is_there_and_keeps_its_pace() {
    let mut three = Three::form(|options| {
        options.snapshot_bytes_min = 512 * 1024;
        options.snapshot_bytes_per_second = PACE as u64;
    })
    .await;
    let follower = (three.leader().await + 1) % 3;
    let way = Way::to(three.0[follower].node().peer_address().unwrap()).await;
    three.stop(follower).await;
    three.0[follower].via = Some(way.address);
    // What it misses has to come by snapshot: the log is purged only up to the one before the newest.
    let mut taken = Vec::new();
    let asked = Instant::now();
    let mut payloads = 0_usize;
    while taken.len() < 4 || newest_bytes(&three, follower) < STATE {
        assert!(asked.elapsed() < PATIENCE, "only the snapshots {taken:?}");
        three.propose(Bytes::from(vec![payloads as u8; PAYLOAD])).await;
        payloads += 1;
        let newest = indexes(&three, follower);
        if newest.iter().all(|index| *index > 0) && !taken.contains(&newest) {
            taken.push(newest);
        }
    }
    // A leader keeps what a follower that is away has not got; the other one does not, and leads now.
    let leader = three.leader().await;
    three.stop(leader).await;
    let begun = Instant::now();
    three.start(follower).await;
    three.equal().await;
    let took = begun.elapsed();
    let carried = way.carried();
    let cut = way.cut.lock().expect("a connection was cut");
    let needed = payloads * PAYLOAD;
    println!(
        "{needed} bytes needed, bytes of connections {carried:?}, cut when there were {cut}, {took:.1?}"
    );
    // The snapshot and the log behind it, and once more what had been sent and was not in the file.
    let again = carried.iter().sum::<usize>().saturating_sub(needed);
    assert!(
        again < CUT - MIB,
        "{again} bytes were sent again of {CUT} that were sent before"
    );
    let least = Duration::from_secs_f64((STATE - MIB) as f64 / PACE as f64);
    assert!(
        took >= least,
        "{took:?} for {STATE} bytes at {PACE} bytes a second"
    );
    three.start(leader).await;
    three.equal().await;
    three.end().await;
}

/// Whoever reads a snapshot that it does not know stops, and does not start again.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_an_older_version_is_sent_no_snapshot_until_it_has_the_newer_program() {
    let mut three = Three::form(|options| options.snapshot_bytes_min = 64 * 1024).await;
    let leader = three.leader().await;
    let (old, other) = ((leader + 1) % 3, (leader + 2) % 3);
    three.stop(old).await;
    three.0[old].options.peer_versions = Versions {
        oldest: PROTOCOL_VERSION_OLDEST,
        newest: PROTOCOL_VERSION - 1,
    };
    // What it misses has to come by snapshot, of who did not lead when it went away.
    let mut taken = Vec::new();
    let asked = Instant::now();
    while taken.len() < 4 {
        assert!(asked.elapsed() < PATIENCE, "only the snapshots {taken:?}");
        three.propose(Bytes::from(vec![7; 8 * 1024])).await;
        let newest = indexes(&three, old);
        if newest.iter().all(|index| *index > 0) && !taken.contains(&newest) {
            taken.push(newest);
        }
    }
    three.stop(leader).await;
    three.start(old).await;
    let has = three.0[old].payloads().len();
    let held_back = |three: &Three| {
        let replicas = three.0[other].group().status().replicas;
        let of_old = replicas.into_iter().find(|one| one.node.0 == old as u64 + 1);
        of_old.and_then(|one| one.held_back)
    };
    eventually("a replica that is held back", || held_back(&three).is_some()).await;
    let why = held_back(&three).unwrap();
    assert!(
        why.contains(&format!("speaks version {}", PROTOCOL_VERSION - 1)) && why.contains("newer program"),
        "{why}"
    );
    // The others go on without it, and it stays what it was.
    three.start(leader).await;
    three.propose(payload("beside it")).await;
    assert_eq!(three.0[old].payloads().len(), has);
    assert!(three.0[old].node().status().failed.is_none(), "it has stopped");
    three.stop(old).await;
    three.0[old].options.peer_versions = Versions::default();
    three.start(old).await;
    three.equal().await;
    eventually("nobody that is held back", || held_back(&three).is_none()).await;
    three.end().await;
}

/// The newest snapshots of the two that are there.
fn indexes(three: &Three, away: usize) -> Vec<u64> {
    let there = (0..3)
        .filter(|at| *at != away)
        .map(|at| three.0[at].group().status());
    there
        .map(|status| status.snapshot_index.unwrap_or_default())
        .collect()
}

/// How many bytes the smallest of them has at least: every entry but a few has a payload.
fn newest_bytes(three: &Three, away: usize) -> usize {
    let least = indexes(three, away).into_iter().min().unwrap_or_default() as usize;
    least.saturating_sub(16) * PAYLOAD
}
