//! A throw-away cluster: three `docket serve` processes that talk over mutual TLS, each behind a door for its clients and one for its
//! peers, so that it is reached at the same address whenever it runs, and its connections can be cut.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use docket_proto::v1::{
    BalanceLeadersRequest, ClusterStatus, DrainNodeRequest, GetClusterStatusRequest, GetNodeStatusRequest,
    NodeStatus, UndrainNodeRequest, node_service_client::NodeServiceClient,
};
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::{
    Credential, Error, Server, Target,
    books::patiently,
    history::net::{Door, Net},
};

/// How many nodes there are.
pub const NODES: u8 = 3;
/// The cluster's id.
const ID: &str = "soak";
/// How long it may take until all is as it should be, on a machine that has a lot to do.
const SETTLED_MAX: Duration = Duration::from_secs(120);
/// How soon somebody looks again.
const LOOK: Duration = Duration::from_millis(50);
/// How long a question to a node may take: one whose peers are cut off answers none that needs them.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The cluster. Its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The network between its nodes.
    pub net: Net,
    program: PathBuf,
    nodes: Vec<Node>,
    key: String,
}

#[derive(Debug)]
struct Node {
    folder: PathBuf,
    configuration: String,
    clients: Door,
    _peers: Door,
    server: Option<Server>,
}

impl Cluster {
    /// Founds one below `folder`, whose nodes have these sections of configuration beside their own, and waits until every group has a replica
    /// on every node.
    ///
    /// # Errors
    /// A process cannot be started, or the cluster does not form.
    pub async fn found(program: &Path, folder: &Path, net: Net, sections: &str) -> Result<Self, Error> {
        let path = |name: &str| folder.join(name).display().to_string();
        let (ca, certs, first) = (path("ca"), path("certs"), folder.join("node-1"));
        let data = Server::data_dir(&first).display().to_string();
        fs::create_dir_all(&first).map_err(Error::system(format!("make {}", first.display())))?;
        command(program, &["certs", "ca", "--out", &ca]).await?;
        command(program, &["cluster", "init", "--data-dir", &data, "--id", ID]).await?;
        let mut cluster = Self {
            net,
            program: program.to_owned(),
            nodes: Vec::new(),
            key: String::new(),
        };
        let mut seeds = String::new();
        for number in 1..=NODES {
            let (node, home) = (number.to_string(), folder.join(format!("node-{number}")));
            let made_for = ["--cluster", ID, "--node", &node, "--out", &certs];
            command(
                program,
                &[&["certs", "node", "--ca", &ca][..], &made_for].concat(),
            )
            .await?;
            fs::create_dir_all(&home).map_err(Error::system(format!("make {}", home.display())))?;
            let listen = free_port(number).map_err(Error::system("find a free port"))?;
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let opened = |cause| Error::system("listen before a node")(cause);
            let peers = cluster.net.open(number, any, listen).await.map_err(opened)?;
            let clients = cluster.net.open(number, any, listen).await.map_err(opened)?;
            let configuration = format!(
                "\n[cluster]\nid = {ID:?}\nnode_id = {number}\npeer_listen = \"{listen}\"\npeer_address = \"{}\"\n\
                 client_address = \"{}\"\nca = \"{certs}/ca.pem\"\ncertificate = \"{certs}/node-{number}.pem\"\n\
                 key = \"{certs}/node-{number}.key\"\n{seeds}{sections}",
                peers.address(),
                clients.address()
            );
            if number == 1 {
                seeds = format!("seeds = [\"{}\"]\n", peers.address());
            }
            cluster.nodes.push(Node {
                folder: home,
                configuration,
                clients,
                _peers: peers,
                server: None,
            });
            cluster.start(number).await?;
        }
        cluster.settled().await?;
        Ok(cluster)
    }

    fn node(&mut self, number: u8) -> Result<&mut Node, Error> {
        self.nodes
            .get_mut(usize::from(number).wrapping_sub(1))
            .ok_or(Error::Broken("there is no such node"))
    }

    /// Starts a node and waits until it is ready.
    ///
    /// # Errors
    /// It runs already, or does not start.
    pub async fn start(&mut self, number: u8) -> Result<(), Error> {
        let (program, key) = (self.program.clone(), self.key.clone());
        let node = self.node(number)?;
        if node.server.is_some() {
            return Err(Error::Broken("a node was started twice"));
        }
        // The first administrator's key is in the folder of the node that founded the cluster.
        let credential = (!key.is_empty()).then(|| Credential::api_key(&key)).flatten();
        let server = Server::start_as(&program, &node.folder, &node.configuration, credential).await?;
        let grpc = server.announced().grpc.trim_start_matches("http://").parse();
        let grpc = grpc.map_err(|_| Error::Broken("the server announced no address"))?;
        let reopened = node.clients.reopen(grpc).await;
        reopened.map_err(Error::system("listen before a node"))?;
        node.server = Some(server);
        if key.is_empty() {
            let file = Server::data_dir(&node.folder).join("admin.key");
            self.key = fs::read_to_string(file).map_err(Error::system("read the server's key"))?;
        }
        Ok(())
    }

    /// The process of a node that runs, and its folder.
    pub fn process(&self, number: u8) -> Option<(&Server, &Path)> {
        let node = self.nodes.get(usize::from(number).wrapping_sub(1))?;
        Some((node.server.as_ref()?, &node.folder))
    }

    /// Stops a node in order.
    ///
    /// # Errors
    /// It does not run, or did not stop in order.
    pub async fn stop(&mut self, number: u8) -> Result<(), Error> {
        let node = self.node(number)?;
        let server = node.server.take();
        server
            .ok_or(Error::Broken("there is no node to stop"))?
            .stop()
            .await?;
        node.clients.shut();
        Ok(())
    }

    /// Kills a node.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self, number: u8) -> Result<(), Error> {
        let node = self.node(number)?;
        let server = node.server.take();
        server.ok_or(Error::Broken("there is no node to kill"))?.kill()?;
        node.clients.shut();
        Ok(())
    }

    /// Stops all nodes in order.
    ///
    /// # Errors
    /// One did not stop in order.
    pub async fn end(&mut self) -> Result<(), Error> {
        for number in 1..=NODES {
            if self.node(number)?.server.is_some() {
                self.stop(number).await?;
            }
        }
        Ok(())
    }

    /// Why a node has ended by itself; none while all run that should.
    pub fn ended(&mut self) -> Option<Error> {
        let running = self.nodes.iter_mut().filter_map(|node| node.server.as_mut());
        running.into_iter().find_map(Server::ended)
    }

    /// Where clients reach the nodes, `http://HOST:PORT`.
    pub fn addresses(&self) -> Vec<String> {
        let of = |node: &Node| format!("http://{}", node.clients.address());
        self.nodes.iter().map(of).collect()
    }

    /// The first administrator's key.
    pub fn key(&self) -> &str {
        self.key.trim()
    }

    /// The ways to all nodes, as the administrator.
    ///
    /// # Errors
    /// An address that is none.
    pub fn targets(&self) -> Result<Vec<Target>, Error> {
        let target = |address: String| Target::new(&address, Credential::api_key(&self.key));
        self.addresses().into_iter().map(target).collect()
    }

    fn service(&self, number: usize) -> Result<(Target, NodeServiceClient<Channel>), Error> {
        let target = self.targets()?.swap_remove(number);
        let channel = target.endpoint.clone().timeout(ANSWER_MAX).connect_lazy();
        Ok((target, NodeServiceClient::new(channel)))
    }

    /// The cluster as its first node sees it.
    async fn status(&self) -> Result<ClusterStatus, Error> {
        let (target, mut service) = self.service(0)?;
        let asked = patiently(async || {
            service
                .get_cluster_status(target.call(GetClusterStatusRequest {}))
                .await
        });
        asked.await.map_err(Error::refused("cannot see the cluster"))
    }

    /// How each node is.
    async fn nodes(&self) -> Result<Vec<NodeStatus>, Error> {
        let mut all = Vec::new();
        for number in 0..self.nodes.len() {
            let (target, mut service) = self.service(number)?;
            let asked = patiently(async || {
                service
                    .get_node_status(target.call(GetNodeStatusRequest {}))
                    .await
            });
            all.push(asked.await.map_err(Error::refused("cannot see a node"))?);
        }
        Ok(all)
    }

    /// The node that leads the most groups.
    ///
    /// # Errors
    /// A node does not answer.
    pub async fn leader(&self) -> Result<u8, Error> {
        let leads = |node: &NodeStatus| node.groups.iter().filter(|group| group.leader).count();
        let most = self.nodes().await?.into_iter().zip(1..);
        let most = most.max_by_key(|(node, _)| leads(node));
        Ok(most.map_or(1, |(_, number)| number))
    }

    /// Has a node give away all that it holds, and waits until it has none.
    ///
    /// # Errors
    /// It is refused, or takes too long.
    pub async fn drain(&self, number: u8) -> Result<(), Error> {
        let (target, mut service) = self.service(0)?;
        let node_id = u64::from(number);
        let asked = patiently(async || {
            let request = DrainNodeRequest { node_id };
            service.drain_node(target.call(request)).await
        });
        asked.await.map_err(Error::refused("cannot drain a node"))?;
        self.until("a node is drained", |status| {
            let drained = status.members.iter().find(|member| member.node_id == node_id);
            drained.is_some_and(|member| member.replicas == 0)
        })
        .await
    }

    /// Has a node get replicas again, and its share of the leads, and waits until every group is on every node.
    ///
    /// # Errors
    /// It is refused, or takes too long.
    pub async fn undrain(&self, number: u8) -> Result<(), Error> {
        let (target, mut service) = self.service(0)?;
        let node_id = u64::from(number);
        let asked = patiently(async || {
            let request = UndrainNodeRequest { node_id };
            service.undrain_node(target.call(request)).await
        });
        asked.await.map_err(Error::refused("cannot undrain a node"))?;
        self.until("every group is everywhere", is_everywhere).await?;
        let asked = patiently(async || {
            service
                .balance_leaders(target.call(BalanceLeadersRequest {}))
                .await
        });
        asked
            .await
            .map_err(Error::refused("cannot balance the leaders"))
            .map(drop)
    }

    /// Waits until every group is on every node, led, and applied as far as it is known, and no order has anything left to be done.
    ///
    /// # Errors
    /// It takes too long; what is stuck is told.
    pub async fn settled(&self) -> Result<(), Error> {
        self.until("every group is everywhere", is_everywhere).await?;
        let end = Instant::now() + SETTLED_MAX;
        loop {
            let stuck = self.nodes().await?.into_iter().find_map(|node| {
                let open = node.entities.map_or(0, |entities| entities.open_orders);
                let group = node
                    .groups
                    .iter()
                    .find(|group| group.leader_id == 0 || group.lag > 0);
                let group = group.map(|group| format!("{} has no leader or lags: {group:?}", group.group));
                let open = (open > 0).then(|| format!("{open} orders are open"));
                Some(format!("node {}: {}", node.node_id, group.or(open)?))
            });
            match stuck {
                None => return Ok(()),
                Some(stuck) if Instant::now() > end => {
                    return Err(Error::Shape(format!("the cluster does not settle: {stuck}")));
                }
                Some(_) => sleep(LOOK).await,
            }
        }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&ClusterStatus) -> bool) -> Result<(), Error> {
        let end = Instant::now() + SETTLED_MAX;
        loop {
            let status = self.status().await?;
            if is_so(&status) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Error::Shape(format!(
                    "it is not so within {SETTLED_MAX:?} that {what}: {:?} {:?}",
                    status.members, status.placements
                )));
            }
            sleep(LOOK).await;
        }
    }
}

/// Whether every group has a replica on every node, and none is on its way.
fn is_everywhere(status: &ClusterStatus) -> bool {
    let everywhere = |ids: &[u64]| ids.len() == usize::from(NODES);
    let groups = &status.placements;
    groups.len() == 1 + status.shards as usize
        && groups
            .iter()
            .all(|group| everywhere(&group.wanted_ids) && everywhere(&group.placed_ids))
}

/// Runs a command of the program to its end.
async fn command(program: &Path, args: &[&str]) -> Result<(), Error> {
    let mut command = std::process::Command::new(program);
    command.args(args).stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || command.output()).await;
    let ran = ran.map_err(|_| Error::Broken("running the program panicked"))?;
    let ran = ran.map_err(Error::system(format!("start {}", program.display())))?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
    Err(Error::Shape(format!("docket {}: {said}", args.join(" "))))
}

/// A port of a node's own address that is free now.
fn free_port(number: u8) -> std::io::Result<SocketAddr> {
    TcpListener::bind((Net::source(number), 0))?.local_addr()
}
