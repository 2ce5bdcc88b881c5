//! The members of a cluster before they are started: folders, certificates, addresses, and a door for the clients and one for the
//! peers of each.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use docket_cluster::clock;
use docket_soak::history::{
    nemesis::disk::SmallDisk,
    net::{Door, Net},
};
use tempfile::TempDir;

use crate::server::Home;

const CLUSTER: &str = "shop";
/// As many as in the other tests of clusters.
const SHARDS: &str = "3";
/// A disk that can be filled.
const DISK_BYTES: u64 = 384 << 20;
/// What a node on such a disk keeps free.
const RESERVE_BYTES: &str = "16777216";

/// Makes members.
pub struct Members {
    folder: TempDir,
    /// Where those who come later knock.
    seeds: Vec<String>,
}

/// One of them.
pub struct Member {
    pub home: Home,
    pub clients: Door,
    /// None of a server that stands alone.
    pub peers: Option<Door>,
    /// What is to be added to its clock, in milliseconds; none where its program does not look there.
    pub clock: Option<PathBuf>,
    /// Where its home is, if that is a disk of its own. Gone behind it.
    pub disk: Option<SmallDisk>,
}

impl Members {
    /// None yet.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca").display().to_string();
        docket(&["certs", "ca", "--out", &ca]);
        Self {
            folder,
            seeds: Vec::new(),
        }
    }

    /// The node with this number; the first founds the cluster. Each listens on its own loopback address for its peers. On a disk of its
    /// own, where it is to be and may have one.
    pub async fn make(&mut self, net: &Net, number: u8, own_disk: bool) -> Member {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let (ca, certs, node) = (path("ca"), path("certs"), number.to_string());
        let made_for = ["--cluster", CLUSTER, "--node", &node, "--out", &certs];
        docket(&[&["certs", "node", "--ca", &ca][..], &made_for].concat());
        let held = TcpListener::bind((Net::source(number), 0)).unwrap();
        let listen = held.local_addr().unwrap();
        drop(held);
        let peers = net.open(number, any_port(), listen).await.unwrap();
        let mut member = alone(net, number, listen, own_disk, self.folder.path()).await;
        let mut home = member
            .home
            .set("cluster.id", CLUSTER)
            .set("cluster.node_id", &node)
            .set("cluster.peer_listen", &listen.to_string())
            .set("cluster.peer_address", &peers.address().to_string())
            .set("cluster.client_address", &member.clients.address().to_string())
            .set("cluster.ca", &format!("{certs}/ca.pem"))
            .set("cluster.certificate", &format!("{certs}/node-{number}.pem"))
            .set("cluster.key", &format!("{certs}/node-{number}.key"));
        if self.seeds.is_empty() {
            let data = home.data().display().to_string();
            docket(&[
                "cluster",
                "init",
                "--data-dir",
                &data,
                "--id",
                CLUSTER,
                "--shards",
                SHARDS,
            ]);
        } else {
            home = home.set("cluster.seeds", &format!("{:?}", self.seeds));
        }
        self.seeds.push(peers.address().to_string());
        member.home = home;
        member.peers = Some(peers);
        member
    }
}

/// A server that stands alone, behind a door that leads to `target` first.
pub async fn alone(net: &Net, number: u8, target: SocketAddr, own_disk: bool, clocks: &Path) -> Member {
    let disk = match own_disk {
        true => SmallDisk::new(DISK_BYTES).ok(),
        false => None,
    };
    let mut home = match &disk {
        Some(disk) => Home::below(&disk.path()).set("journal.disk_reserve_bytes", RESERVE_BYTES),
        None => Home::new(),
    }
    // Snapshots are taken and the journal is cut within a run.
    .set("cluster.snapshot_bytes_min", "65536");
    let mut clock = None;
    if moves_clocks() {
        let path = clocks.join(format!("clock-{number}"));
        std::fs::write(&path, "0").unwrap();
        home = home.variable(clock::VARIABLE, path.to_str().unwrap());
        clock = Some(path);
    }
    Member {
        clients: net.open(number, any_port(), target).await.unwrap(),
        home,
        peers: None,
        clock,
        disk,
    }
}

/// Whether the program that is tested moves its clock: it was built as this one was.
pub fn moves_clocks() -> bool {
    cfg!(debug_assertions)
}

pub fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn docket(args: &[&str]) {
    let run = Home::new().command(args).output().unwrap();
    assert!(
        run.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
}
