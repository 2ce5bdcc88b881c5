//! The processes of a cluster, each at addresses that stay its own, and what is asked of them as their operator.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use docket_client::{Client, Credential, Method, Options, method};
use docket_proto::v1::{
    ClusterStatus, DrainNodeRequest, GetClusterStatusRequest, GroupPlacement, MemberState as State,
    MoveReplicaRequest, RemoveNodeRequest, node_service_client::NodeServiceClient,
};
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::{
    api::{Api, Authenticated},
    server::{Home, LOOK_AGAIN, PATIENCE, Server, verify},
};

pub const SHARDS: u16 = 3;
const CLUSTER: &str = "shop";
/// Ports of each node's own loopback address: none that the system gives to outgoing connections.
const GRPC: u16 = 7_070;
const ADMIN: u16 = 7_071;
const PEERS: u16 = 7_072;
/// Stages of one process, and nodes of one stage, that have addresses.
const STAGES: u32 = 4;
const NODES: u32 = 8;
/// A call is tried so often by these clients: longer than anything that is waited for.
const ATTEMPTS: u32 = 1_000;

/// Entries that a node may have to apply under load and count as one that is there.
const LAG_MAX: u64 = 64;

/// The nodes, counted from 1.
pub struct Stage {
    folder: TempDir,
    members: Vec<Member>,
}

struct Member {
    home: Home,
    ip: IpAddr,
    server: Option<Server>,
}

impl Stage {
    /// The folders of so many nodes, the first of which founds the cluster.
    pub fn new(count: usize) -> Self {
        Self::with(count, &[])
    }

    /// The same, with variables of each node's environment that are no configuration.
    pub fn with(count: usize, variables: &[(&str, &str)]) -> Self {
        static STAGE: AtomicU32 = AtomicU32::new(0);
        let stage = STAGE.fetch_add(1, Ordering::Relaxed) % STAGES;
        let base = ((std::process::id() % (1 << 19)) * STAGES + stage) * NODES;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (ca, certs) = (path("ca"), path("certs"));
        docket(&["certs", "ca", "--out", &ca]);
        let ips = (1..=count as u32).map(|node| IpAddr::V4(Ipv4Addr::from_bits((127 << 24) + base + node)));
        let seeds = format!("[\"{}\"]", SocketAddr::new(ips.clone().next().unwrap(), PEERS));
        let members = ips.zip(1_usize..).map(|(ip, number)| {
            let node = number.to_string();
            let made_for = ["--cluster", CLUSTER, "--node", &node, "--out", &certs];
            docket(&[&["certs", "node", "--ca", &ca][..], &made_for].concat());
            let home = Home::new()
                // Snapshots are taken and the journal is cut within a run: who comes later gets a snapshot.
                .set("cluster.snapshot_bytes_min", "65536")
                .set("cluster.id", CLUSTER)
                .set("cluster.node_id", &node)
                .set("cluster.peer_listen", &SocketAddr::new(ip, PEERS).to_string())
                .set("cluster.ca", &format!("{certs}/ca.pem"))
                .set("cluster.certificate", &format!("{certs}/node-{node}.pem"))
                .set("cluster.key", &format!("{certs}/node-{node}.key"));
            let mut home = match number {
                1 => home,
                _ => home.set("cluster.seeds", &seeds),
            };
            for (name, value) in variables {
                home = home.variable(name, value);
            }
            Member {
                home,
                ip,
                server: None,
            }
        });
        let members: Vec<_> = members.collect();
        let data = members[0].home.data().display().to_string();
        let shards = SHARDS.to_string();
        members[0].home.run(&[
            "cluster",
            "init",
            "--data-dir",
            &data,
            "--id",
            CLUSTER,
            "--shards",
            &shards,
        ]);
        Self { folder, members }
    }

    /// Starts these nodes, and waits until each votes in every group.
    pub async fn found(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.launch(*node);
        }
        let voters: Vec<_> = nodes.iter().map(|node| *node as u64).collect();
        self.until("every node votes everywhere", |status| {
            status.placements.len() == 1 + usize::from(SHARDS)
                && status.placements.iter().all(|group| group.placed_ids == voters)
        })
        .await;
    }

    pub fn home(&self, node: usize) -> &Home {
        &self.members[node - 1].home
    }

    /// The nodes that run.
    pub fn running(&self) -> Vec<usize> {
        let running = (1..)
            .zip(&self.members)
            .filter(|(_, member)| member.server.is_some());
        running.map(|(node, _)| node).collect()
    }

    /// Has a node be one that somebody else has started, and will stop.
    pub fn is_elsewhere(&mut self, node: usize) {
        let (grpc, admin) = (self.grpc(node), self.admin(node));
        self.members[node - 1].server = Some(Server::elsewhere(grpc, admin));
    }

    /// Has a node be one that does not run, since somebody else has stopped it.
    pub fn has_gone(&mut self, node: usize) {
        self.members[node - 1].server = None;
    }

    /// Where a node's operators are.
    pub fn admin(&self, node: usize) -> SocketAddr {
        SocketAddr::new(self.members[node - 1].ip, ADMIN)
    }

    /// Starts a node and does not wait.
    pub fn launch(&mut self, node: usize) {
        let member = &mut self.members[node - 1];
        assert!(member.server.is_none(), "node {node} runs already");
        let at = |port| SocketAddr::new(member.ip, port);
        member.server = Some(Server::launch_at(&member.home, at(GRPC), at(ADMIN)));
    }

    /// Starts a node and waits until it says that it is ready.
    pub async fn start(&mut self, node: usize) {
        self.launch(node);
        let begun = Instant::now();
        loop {
            let server = self.members[node - 1].server.as_mut().unwrap();
            let (ready, ended) = (server.get("/readyz"), server.has_ended());
            assert!(
                begun.elapsed() < PATIENCE && !ended,
                "node {node} does not start: {ready:?}\n{}",
                self.logs()
            );
            if ready.is_some_and(|(code, _)| code == 200) {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: usize) {
        self.members[node - 1].server.take().expect("it runs").kill();
    }

    /// SIGTERM, and not waited for.
    pub fn terminate(&self, node: usize) {
        self.members[node - 1]
            .server
            .as_ref()
            .expect("it runs")
            .terminate();
    }

    /// Waits until a node has ended by itself, or because it was told to; its exit code.
    pub async fn ended(&mut self, node: usize) -> Option<i32> {
        let server = self.members[node - 1].server.take().expect("it runs");
        let status = tokio::task::spawn_blocking(|| server.ended()).await.unwrap();
        status.code()
    }

    /// Stops a node in order.
    pub async fn stop(&mut self, node: usize) {
        self.terminate(node);
        let code = self.ended(node).await;
        assert_eq!(code, Some(0), "node {node}: {}", self.home(node).log());
    }

    /// Stops all in order, and holds their journals against themselves.
    pub async fn end(mut self) {
        for node in self.running() {
            self.stop(node).await;
        }
        for member in &self.members {
            if member.home.data().exists() {
                verify(&member.home);
            }
        }
        drop(self.folder);
    }

    /// A client of these nodes, which repeats what is safe for as long as anything may take.
    pub fn client(&self, nodes: &[usize]) -> Client {
        let addresses = nodes.iter().map(|node| format!("http://{}", self.grpc(*node)));
        let options = Options {
            credential: Credential::ApiKey(self.home(1).admin_key()),
            call_max: PATIENCE,
            attempts_max: ATTEMPTS,
            back_off_max: LOOK_AGAIN * 5,
            ..Options::new(addresses)
        };
        Client::new(options).unwrap()
    }

    pub fn grpc(&self, node: usize) -> SocketAddr {
        SocketAddr::new(self.members[node - 1].ip, GRPC)
    }

    /// What a node that runs says of a read, sent again as long as that may help.
    pub async fn ask<Q, A>(&self, node: usize, method: &Method<Q, A>, request: Q) -> A
    where
        Q: prost::Message + Clone + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let answer = self.client(&[node]).call(method, request).await;
        answer.unwrap_or_else(|status| panic!("node {node}: {status}\n{}", self.logs()))
    }

    /// The cluster's status as any node that runs sees it.
    pub async fn status(&self) -> ClusterStatus {
        let client = self.client(&self.running());
        let asked = client.call(&method::GET_CLUSTER_STATUS, GetClusterStatusRequest {});
        asked
            .await
            .unwrap_or_else(|status| panic!("{status}\n{}", self.logs()))
    }

    /// Waits until the cluster's status is so.
    pub async fn until(&self, what: &str, mut is_so: impl FnMut(&ClusterStatus) -> bool) -> ClusterStatus {
        let begun = Instant::now();
        loop {
            // The first one asks nobody for a key before there is one.
            let is_open = self.home(1).data().join("admin.key").exists();
            if is_open {
                let status = self.status().await;
                if is_so(&status) {
                    return status;
                }
                assert!(
                    begun.elapsed() < PATIENCE,
                    "it is never so that {what}: {:?} {:?}\n{}",
                    status.members,
                    status.placements,
                    self.logs()
                );
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "node 1 does not open\n{}",
                self.logs()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until all replicas are where they should be, all nodes that run know who leads each group and have applied what they
    /// know of, and no order has anything left to be done.
    pub async fn until_settled(&self) -> ClusterStatus {
        self.settle(false).await
    }

    async fn settle(&self, under_load: bool) -> ClusterStatus {
        let begun = Instant::now();
        loop {
            // Asked anew each time: what is at rest may be so only until the next step is planned.
            let status = self.status().await;
            let nodes = || self.running().into_iter();
            let cause = match is_at_rest(&status) {
                Ok(()) => nodes().find_map(|node| self.is_settled(node, &status, under_load).err()),
                Err(cause) => Some(cause),
            };
            let Some(cause) = cause else { return status };
            assert!(begun.elapsed() < PATIENCE, "{cause}\n{}", self.logs());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The same while orders are placed, some of which are always open and not applied yet.
    pub async fn until_settled_under_load(&self) {
        self.settle(true).await;
    }

    fn is_settled(&self, node: usize, cluster: &ClusterStatus, under_load: bool) -> Result<(), String> {
        let server = self.members[node - 1].server.as_ref().expect("it runs");
        let (_, body) = server.get("/status").ok_or("a node does not answer")?;
        let status: serde_json::Value = serde_json::from_str(&body).map_err(|cause| cause.to_string())?;
        let groups = status["groups"].as_array().ok_or("a node shows no groups")?;
        for placement in &cluster.placements {
            let group = groups
                .iter()
                .find(|group| group["group"] == placement.group.as_str());
            // What has no replica here leaves nothing here.
            if !placement.placed_ids.contains(&(node as u64)) {
                self.is_gone(node, &placement.group, group)?;
                continue;
            }
            let group = group.ok_or_else(|| format!("node {node} has no {}", placement.group))?;
            let known = group["leader_id"].as_u64().is_some_and(|leader| leader > 0);
            let voters = group["voter_ids"] == serde_json::json!(placement.placed_ids);
            let lag = group["lag"].as_u64().unwrap_or(u64::MAX);
            if !known || !voters || lag > if under_load { LAG_MAX } else { 0 } {
                return Err(format!(
                    "node {node} has not settled, should be {placement:?}: {group}"
                ));
            }
        }
        match status["entities"]["open_orders"].as_u64() {
            Some(0) => Ok(()),
            Some(_) if under_load => Ok(()),
            open => Err(format!("node {node}: orders are open: {open:?}")),
        }
    }

    /// Whether a node has nothing of a shard any more, neither in its log nor in snapshots.
    fn is_gone(&self, node: usize, group: &str, status: Option<&serde_json::Value>) -> Result<(), String> {
        // Every node hears the meta group.
        let shard = group
            .strip_prefix("shard-")
            .and_then(|shard| shard.parse::<u32>().ok());
        let (Some(shard), Some(status)) = (shard, status) else {
            return Ok(());
        };
        let is_empty = status["voter_ids"] == serde_json::json!([]) && status["last_log_index"] == 0;
        // The meta group is the first of the groups.
        let snapshots = self
            .home(node)
            .data()
            .join("snapshots")
            .join((shard + 1).to_string());
        match is_empty && !snapshots.exists() {
            true => Ok(()),
            false => Err(format!("node {node} has dropped nothing of {group}: {status}")),
        }
    }

    /// The node that leads a group, as most nodes see it.
    pub async fn leader(&self, group: &str) -> usize {
        let begun = Instant::now();
        loop {
            for node in self.running() {
                let server = self.members[node - 1].server.as_ref().unwrap();
                let page = server.get("/status").map(|(_, body)| body).unwrap_or_default();
                let status: serde_json::Value = serde_json::from_str(&page).unwrap_or_default();
                let groups = status["groups"].as_array().cloned().unwrap_or_default();
                let leads = |one: &serde_json::Value| one["group"] == group && one["leader"] == true;
                if groups.iter().any(leads) {
                    return node;
                }
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "nobody leads {group}\n{}",
                self.logs()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Asks for a change of the cluster, again as long as nobody can decide.
    async fn change<A>(
        &self,
        ask: impl AsyncFn(NodeServiceClient<Authenticated>) -> Result<A, Status>,
    ) -> Result<A, Status> {
        let begun = Instant::now();
        for node in self.running().into_iter().cycle() {
            let member = &self.members[node - 1];
            let server = member.server.as_ref().unwrap();
            // The first administrator's key is in the first node's folder.
            let api = Api::admin_later(server, self.home(1));
            match ask(NodeServiceClient::new(api.authenticated())).await {
                Err(status) if is_for_now(&status) && begun.elapsed() < PATIENCE => {}
                answer => return answer,
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        panic!("no node runs");
    }

    pub async fn drain(&self, node: usize) {
        let request = DrainNodeRequest { node_id: node as u64 };
        let drained = self.change(async |mut client| client.drain_node(request).await.map(drop));
        drained.await.unwrap();
    }

    pub async fn remove(&self, node: usize, force: bool) {
        let request = RemoveNodeRequest {
            node_id: node as u64,
            force,
            reason: if force {
                "it burnt".to_owned()
            } else {
                String::new()
            },
        };
        let removed = self.change(async |mut client| client.remove_node(request.clone()).await.map(drop));
        removed.await.unwrap();
    }

    /// Asks for a move; false where it is refused, because another one is on its way, or because the placement is not any more what the
    /// asker saw: the cluster moves replicas of its own accord, and what is asked twice may have been done the first time.
    pub async fn relocate(&self, group: &str, from: usize, to: usize) -> bool {
        let request = MoveReplicaRequest {
            group: group.to_owned(),
            from_node_id: from as u64,
            to_node_id: to as u64,
        };
        let moved = self.change(async |mut client| client.move_replica(request.clone()).await.map(drop));
        match moved.await {
            Ok(()) => true,
            Err(status) if status.code() == Code::FailedPrecondition => {
                println!("  looked at again: {}", status.message());
                false
            }
            Err(status) => panic!("{group} from {from} to {to}: {status}"),
        }
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        let logs = (1..).zip(&self.members).map(|(node, member)| {
            let log = member.home.log();
            format!("--- node {node}\n{log}\n")
        });
        logs.collect()
    }
}

/// Whether every replica is where it should be, and none on a node that should have none.
pub fn is_at_rest(status: &ClusterStatus) -> Result<(), String> {
    if status.placements.len() != 1 + usize::from(SHARDS) {
        return Err(format!("groups are not known yet: {:?}", status.placements));
    }
    let active = |id: &u64| {
        let member = status.members.iter().find(|member| member.node_id == *id);
        member.is_some_and(|member| member.state() == State::Active)
    };
    let rests =
        |group: &&GroupPlacement| group.wanted_ids == group.placed_ids && group.placed_ids.iter().all(active);
    match status.placements.iter().find(|group| !rests(group)) {
        Some(group) => Err(format!("a replica is on its way: {group:?}")),
        None => Ok(()),
    }
}

fn is_for_now(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Aborted
    )
}

fn docket(args: &[&str]) {
    Home::new().run(args);
}
