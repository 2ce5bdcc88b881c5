//! The members of a cluster before they are started: folders, certificates, addresses, and a door for the clients and one for the
//! peers of each.

use std::net::TcpListener;

use docket_soak::history::net::{Door, Net};
use tempfile::TempDir;

use super::stage::any_port;
use crate::server::Home;

const CLUSTER: &str = "shop";
const SHARDS: &str = "3";

/// Members that can be started.
pub struct Members(Vec<Member>);

/// One of them.
pub struct Member {
    pub home: Home,
    pub clients: Door,
    pub peers: Door,
}

impl Members {
    /// So many, the first of which founds the cluster. Each listens on its own loopback address for its peers.
    pub async fn new(net: &Net, count: u8) -> (Self, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (ca, certs) = (path("ca"), path("certs"));
        docket(&Home::new(), &["certs", "ca", "--out", &ca]);
        let mut members = Vec::new();
        let mut seed = String::new();
        for number in 1..=count {
            let node = number.to_string();
            let made_for = ["--cluster", CLUSTER, "--node", &node, "--out", &certs];
            docket(
                &Home::new(),
                &[&["certs", "node", "--ca", &ca][..], &made_for].concat(),
            );
            let held = TcpListener::bind((Net::source(number), 0)).unwrap();
            let listen = held.local_addr().unwrap();
            drop(held);
            let peers = net.open(number, any_port(), listen).await.unwrap();
            let clients = net.open(number, any_port(), listen).await.unwrap();
            let mut home = Home::new()
                .set("cluster.snapshot_bytes_min", "65536")
                .set("cluster.id", CLUSTER)
                .set("cluster.node_id", &node)
                .set("cluster.peer_listen", &listen.to_string())
                .set("cluster.peer_address", &peers.address().to_string())
                .set("cluster.client_address", &clients.address().to_string())
                .set("cluster.ca", &format!("{certs}/ca.pem"))
                .set("cluster.certificate", &format!("{certs}/node-{number}.pem"))
                .set("cluster.key", &format!("{certs}/node-{number}.key"));
            if number == 1 {
                seed = format!("[{:?}]", peers.address().to_string());
                let data = home.data().display().to_string();
                docket(
                    &Home::new(),
                    &[
                        "cluster",
                        "init",
                        "--data-dir",
                        &data,
                        "--id",
                        CLUSTER,
                        "--shards",
                        SHARDS,
                    ],
                );
            } else {
                home = home.set("cluster.seeds", &seed);
            }
            members.push(Member { home, clients, peers });
        }
        (Self(members), folder)
    }

    pub fn into_homes(self) -> Vec<Member> {
        self.0
    }
}

fn docket(home: &Home, args: &[&str]) {
    let run = home.command(args).output().unwrap();
    assert!(
        run.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
}
