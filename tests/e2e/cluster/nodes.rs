//! The nodes of a cluster: their folders, certificates and addresses.

use std::{fs, path::PathBuf, process::Command, time::Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{Home, LOOK_AGAIN, PATIENCE, Server, free_port};

const CLUSTER: &str = "shop";
/// Shards of the cluster, beside the meta group.
pub const SHARDS: usize = 3;

/// Three nodes, and a place for a copy of one of them.
pub struct Nodes {
    folder: TempDir,
    homes: Vec<Home>,
    /// Peer addresses, in the order of the nodes.
    peers: Vec<String>,
}

impl Nodes {
    /// The folders of three nodes, the first of which stands alone.
    pub fn new() -> Self {
        let held: Vec<_> = (0..4).map(|_| free_port()).collect();
        let peers = held
            .iter()
            .map(|one| one.local_addr().unwrap().to_string())
            .collect();
        let nodes = Self {
            folder: tempfile::tempdir().unwrap(),
            homes: (0..4).map(|_| Home::new()).collect(),
            peers,
        };
        nodes.docket(&["certs", "ca", "--out", nodes.path("ca").to_str().unwrap()]);
        nodes
    }

    /// Where a node lives; the fourth is the copy's.
    pub fn home(&self, node: usize) -> &Home {
        &self.homes[node - 1]
    }

    /// Where a node's peers connect.
    pub fn peer(&self, node: usize) -> &str {
        &self.peers[node - 1]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn docket(&self, args: &[&str]) {
        let run = self.homes[0].command(args).output().unwrap();
        assert!(
            run.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&run.stderr)
        );
    }

    /// Makes the first node's folder the first member of a cluster, and gives every node its certificate.
    pub fn found(&mut self) {
        let data = self.home(1).data();
        // The folder may have a cluster's id already, from when its node stood alone.
        let mut args = vec!["cluster", "init", "--data-dir", data.to_str().unwrap()];
        let shards = SHARDS.to_string();
        if !data.exists() {
            args.extend(["--id", CLUSTER, "--shards", &shards]);
        }
        self.docket(&args);
        let identity = fs::read_to_string(data.join("identity.json")).unwrap();
        let identity: serde_json::Value = serde_json::from_str(&identity).unwrap();
        let cluster = identity["cluster_id"].as_str().unwrap().to_owned();
        let (ca, certs) = (self.path("ca"), self.path("certs"));
        for node in 1..=3_usize {
            let number = node.to_string();
            self.docket(&[
                "certs",
                "node",
                "--ca",
                ca.to_str().unwrap(),
                "--cluster",
                &cluster,
                "--node",
                &number,
                "--out",
                certs.to_str().unwrap(),
            ]);
            self.configure(node, node, &cluster);
        }
    }

    /// Has the fourth folder be a fourth node's, which joins at its start.
    pub fn one_more(&mut self) {
        let (ca, certs) = (self.path("ca"), self.path("certs"));
        let [ca, certs] = [&ca, &certs].map(|path| path.to_str().unwrap());
        let made_for = ["--cluster", CLUSTER, "--node", "4", "--out", certs];
        self.docket(&[&["certs", "node", "--ca", ca][..], &made_for].concat());
        self.configure(4, 4, CLUSTER);
    }

    /// Sets a value of every node's configuration.
    pub fn set(&mut self, key: &str, value: &str) {
        self.each(|home| home.set(key, value));
    }

    /// Configures every node.
    pub fn each(&mut self, configure: impl Fn(Home) -> Home) {
        for home in &mut self.homes {
            *home = configure(std::mem::replace(home, Home::new()));
        }
    }

    /// Sets a variable of one node's environment that is no configuration.
    pub fn variable(&mut self, node: usize, name: &str, value: &str) {
        let home = &mut self.homes[node - 1];
        *home = std::mem::replace(home, Home::new()).variable(name, value);
    }

    /// Gives a node a certificate that holds for so many days, once it has one for peers: for them (`cluster`), or for clients (`tls`).
    pub fn renew_certificate(&mut self, node: usize, section: &str, days: u32) {
        let (ca, renewed) = (self.path("ca"), self.path(&format!("renewed-{section}")));
        let [ca, out] = [&ca, &renewed].map(|path| path.to_str().unwrap());
        let (number, days) = (node.to_string(), days.to_string());
        self.docket(&[
            "certs",
            "node",
            "--ca",
            ca,
            "--cluster",
            CLUSTER,
            "--node",
            &number,
            "--days",
            &days,
            "--out",
            out,
        ]);
        let home = &mut self.homes[node - 1];
        let mut configured = std::mem::replace(home, Home::new());
        for (key, ending) in [("certificate", "pem"), ("key", "key")] {
            let file = renewed.join(format!("node-{node}.{ending}"));
            configured = configured.set(&format!("{section}.{key}"), file.to_str().unwrap());
        }
        *home = configured;
    }

    /// Exchanges a node's certificate for peers, and its key, for ones that hold for so many days, in their place: the node may be running.
    pub fn exchange_certificate(&self, node: usize, days: u32) {
        let (ca, new, certs) = (self.path("ca"), self.path("new"), self.path("certs"));
        let (number, days) = (node.to_string(), days.to_string());
        let [ca, out] = [&ca, &new].map(|path| path.to_str().unwrap());
        let made_for = [
            "--cluster",
            CLUSTER,
            "--node",
            &number,
            "--days",
            &days,
            "--out",
            out,
        ];
        self.docket(&[&["certs", "node", "--ca", ca][..], &made_for].concat());
        for ending in ["pem", "key"] {
            let name = format!("node-{node}.{ending}");
            fs::rename(new.join(&name), certs.join(name)).unwrap();
        }
    }

    /// Sets the section `[cluster]` of a home, which is to be this node.
    fn configure(&mut self, home: usize, node: usize, cluster: &str) {
        let certs = self.path("certs");
        let file = |name: String| certs.join(name).display().to_string();
        let mut set = vec![
            ("id", cluster.to_owned()),
            ("node_id", node.to_string()),
            ("peer_listen", self.peers[home - 1].clone()),
            ("ca", file("ca.pem".to_owned())),
            ("certificate", file(format!("node-{node}.pem"))),
            ("key", file(format!("node-{node}.key"))),
            // What runs beside the tests must not look like a dead leader.
            ("election_timeout_min_ms", "3000".to_owned()),
            ("election_timeout_max_ms", "6000".to_owned()),
        ];
        if home > 1 {
            set.push(("seeds", format!("[{:?}]", self.peers[0])));
        }
        let mut configured = std::mem::replace(&mut self.homes[home - 1], Home::new());
        for (key, value) in set {
            configured = configured.set(&format!("cluster.{key}"), &value);
        }
        self.homes[home - 1] = configured;
    }

    /// Starts a node and does not wait.
    pub fn launch(&self, node: usize) -> Server {
        Server::launch(self.home(node))
    }

    /// Starts a copy of a node, which runs, from a copy of its folder as it is at one moment: a mark that is copied later than the frames it tells of is
    /// refused for what it says is missing, before anybody is asked who it is.
    pub fn launch_copy(&mut self, node: usize, server: &Server) -> Server {
        let (from, to) = (self.home(node).data(), self.home(4).data());
        server.signal(Signal::STOP);
        let copied = Command::new("cp")
            .args(["-a", from.to_str().unwrap(), to.to_str().unwrap()])
            .status();
        server.signal(Signal::CONT);
        assert!(copied.unwrap().success());
        self.configure(4, node, CLUSTER);
        self.launch(4)
    }

    /// Waits until a node sees these nodes vote in all of its groups.
    pub async fn until_voters(&self, server: &Server, voters: &[u64]) {
        let begun = Instant::now();
        loop {
            let status = server
                .get("/status?local")
                .map(|(_, body)| body)
                .unwrap_or_default();
            let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
            let groups = status["groups"].as_array().cloned().unwrap_or_default();
            let expected = serde_json::json!(voters);
            if groups.len() == 1 + SHARDS && groups.iter().all(|group| group["voter_ids"] == expected) {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "the groups are {groups:?}\n{}\n{}\n{}",
                self.home(1).log(),
                self.home(2).log(),
                self.home(3).log()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until a node's log has this in it; the line.
    pub async fn log_says(&self, server: &mut Server, node: usize, text: &str) -> String {
        let begun = Instant::now();
        loop {
            // Looked at before its log, so that its last words count.
            let ended = server.has_ended();
            let log = self.home(node).log();
            if let Some(line) = log.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(
                begun.elapsed() < PATIENCE && !ended,
                "nothing says {text:?}: {log}"
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
