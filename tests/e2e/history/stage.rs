//! The processes that faults happen to, each behind a door of the bad network.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use docket_soak::{
    Credential, Target,
    history::{
        clients::Node,
        nemesis::{Kind, Stage, disk},
        net::{Net, Who},
    },
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tempfile::TempDir;

use super::members::{Member, Members, alone, any_port};
use crate::server::{Home, Server, verify};

/// How long a node is waited for that may stand still.
pub const GLANCE: Duration = Duration::from_millis(500);
/// A write that goes beyond what its file may become is an error, as on a full disk, and not a signal that ends the process.
const STARTER: [&str; 4] = ["/bin/sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];

/// Servers by the numbers of their nodes, from 1.
pub struct Servers {
    pub(super) net: Net,
    pub(super) running: BTreeMap<u8, Running>,
    /// None where the only one stands alone.
    pub(super) members: Option<Members>,
    /// How many nodes there are when nobody has joined and not left again.
    pub(super) base: usize,
    /// The number of whoever joins next.
    pub(super) next: u8,
    /// Who is on the way out of the cluster.
    pub(super) leaving: Option<u8>,
    _clocks: TempDir,
}

pub struct Running {
    pub(super) member: Member,
    /// None while it is dead.
    pub(super) server: Option<Server>,
    paused: bool,
}

impl Running {
    pub(super) fn launch(member: Member) -> Self {
        let server = launch(&member.home);
        member.clients.leads_to(server.grpc);
        Self {
            member,
            server: Some(server),
            paused: false,
        }
    }

    /// Its process, unless that stands still or is dead.
    pub(super) fn lively(&self) -> Option<&Server> {
        self.server.as_ref().filter(|_| !self.paused)
    }
}

fn launch(home: &Home) -> Server {
    Server::launch_under(home, &STARTER.map(str::to_owned))
}

impl Servers {
    /// Starts a server that stands alone; on a disk of its own, if it is to be and may.
    pub async fn alone(net: &Net, own_disk: bool) -> Self {
        let clocks = tempfile::tempdir().unwrap();
        let member = alone(net, 1, any_port(), own_disk, clocks.path()).await;
        let mut servers = Self {
            net: net.clone(),
            running: BTreeMap::from([(1, Running::launch(member))]),
            members: None,
            base: 1,
            next: 2,
            leaving: None,
            _clocks: clocks,
        };
        servers.well().await;
        servers
    }

    /// Starts so many nodes, every second of them on a disk of its own where that may be, and waits until all replicas are in
    /// their places.
    pub async fn together(net: &Net, count: u8) -> Self {
        let mut members = Members::new();
        let mut servers = Self {
            net: net.clone(),
            running: BTreeMap::new(),
            members: None,
            base: usize::from(count),
            next: count + 1,
            leaving: None,
            _clocks: tempfile::tempdir().unwrap(),
        };
        for number in 1..=count {
            let member = members.make(net, number, number.is_multiple_of(2)).await;
            servers.running.insert(number, Running::launch(member));
            if number == 1 {
                let Running { server, member, .. } = servers.running.get_mut(&1).unwrap();
                assert!(
                    server.as_mut().unwrap().ready(&member.home),
                    "{}",
                    member.home.log()
                );
            }
        }
        servers.members = Some(members);
        servers.well().await;
        // Else the faults would be none.
        for other in 2..=count {
            let joined = (1..=count).any(|one| net.joins(Who::Node(one), Who::Node(other)));
            assert!(joined, "node {other} is not told by its address");
        }
        servers
    }

    /// The numbers of those that are in the cluster.
    pub fn nodes(&self) -> Vec<u8> {
        self.running.keys().copied().collect()
    }

    /// Those of them that stay in it.
    pub fn staying(&self) -> Vec<u8> {
        let nodes = self.running.keys().copied();
        nodes.filter(|node| Some(*node) != self.leaving).collect()
    }

    /// A node as clients reach it.
    pub fn target(&self, node: u8) -> Target {
        let address = format!("http://{}", self.running[&node].member.clients.address());
        Target::new(&address, Credential::api_key(&self.key())).unwrap()
    }

    /// The same, for calls that are written down.
    pub fn ways(&self) -> Vec<Node> {
        self.staying()
            .iter()
            .map(|node| Node::new(&self.target(*node)))
            .collect()
    }

    /// Where a node lives.
    pub fn home(&self, node: u8) -> &Home {
        &self.running[&node].member.home
    }

    /// The process of a node that runs.
    pub fn server(&self, node: u8) -> &Server {
        let server = self.running[&node].server.as_ref();
        server.unwrap_or_else(|| panic!("node {node} is dead"))
    }

    /// Forgets a node that is dead, and gives back where it lived.
    pub fn forget(&mut self, node: u8) -> Home {
        let running = self.running.remove(&node).unwrap();
        assert!(running.server.is_none(), "node {node} runs");
        running.member.home
    }

    /// The home of one more node, which is not started.
    pub async fn one_more(&mut self, number: u8) -> Home {
        let members = self.members.as_mut().unwrap();
        members.make(&self.net, number, false).await.home
    }

    /// The first administrator's key.
    pub fn key(&self) -> String {
        self.running[&1].member.home.admin_key()
    }

    /// What can happen to whom: a disk that is in memory is not slow, and no other is filled.
    pub fn can(&self, kind: Kind, node: u8) -> bool {
        let own_disk = self.running[&node].member.disk.is_some();
        match kind {
            Kind::SlowDisk => !own_disk,
            Kind::FullDisk => disk::why_not_full(&self.data(node)).is_none(),
            _ => true,
        }
    }

    /// The data of a node whose disk can be filled, or else of any.
    pub fn any_data(&self) -> PathBuf {
        let nodes = self.nodes();
        let filled = nodes.iter().find(|node| self.can(Kind::FullDisk, **node));
        self.data(*filled.unwrap_or(&1))
    }

    /// The code that a node's process has ended with; none while it runs.
    pub fn ended(&mut self, node: u8) -> Option<i32> {
        self.running.get_mut(&node)?.server.as_mut()?.code()
    }

    /// Stops all of them in order, and holds their journals against themselves.
    pub fn stop(mut self) {
        for Running { member, server, .. } in self.running.values_mut() {
            server
                .take()
                .expect("every node runs at the end")
                .stop(&member.home);
        }
        self.running
            .values()
            .for_each(|running| verify(&running.member.home));
    }

    fn of(&mut self, node: u8) -> Result<&mut Running, String> {
        self.running
            .get_mut(&node)
            .ok_or_else(|| format!("there is no node {node}"))
    }

    fn process(&mut self, node: u8) -> Result<Option<Pid>, String> {
        let Some(server) = self.of(node)?.server.as_ref() else {
            return Ok(None);
        };
        let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
        pid.map(Some).ok_or_else(|| format!("node {node} has no id"))
    }

    fn signal(&mut self, node: u8, signal: Signal) -> Result<(), String> {
        let pid = self.process(node)?.ok_or("it is dead")?;
        kill_process(pid, signal).map_err(|cause| cause.to_string())
    }
}

impl Stage for Servers {
    fn kill(&mut self, node: u8) -> Result<(), String> {
        let running = self.of(node)?;
        running.server.take().ok_or("it is dead already")?.kill();
        running.member.clients.shut();
        Ok(())
    }

    async fn start(&mut self, node: u8) -> Result<(), String> {
        let running = self.of(node)?;
        if running.server.as_mut().is_some_and(|server| !server.has_ended()) {
            return Ok(());
        }
        let server = launch(&running.member.home);
        running
            .member
            .clients
            .reopen(server.grpc)
            .await
            .map_err(|cause| cause.to_string())?;
        running.server = Some(server);
        Ok(())
    }

    fn pause(&mut self, node: u8) -> Result<(), String> {
        self.signal(node, Signal::STOP)?;
        self.of(node)?.paused = true;
        Ok(())
    }

    fn resume(&mut self, node: u8) -> Result<(), String> {
        self.of(node)?.paused = false;
        self.signal(node, Signal::CONT)
    }

    fn move_clock(&mut self, node: u8, by_ms: i64) -> Result<(), String> {
        let clock = self
            .of(node)?
            .member
            .clock
            .as_ref()
            .ok_or("it has no clock file")?;
        // Whole at any moment.
        let next = clock.with_extension("next");
        let written = std::fs::write(&next, by_ms.to_string()).and_then(|()| std::fs::rename(&next, clock));
        written.map_err(|cause| cause.to_string())
    }

    fn limit_files(&mut self, node: u8, bytes: Option<u64>) -> Result<(), String> {
        // It may have ended of it.
        let Some(pid) = self.process(node)? else {
            return Ok(());
        };
        if self.of(node)?.server.as_mut().is_some_and(Server::has_ended) {
            return Ok(());
        }
        let maximum = getrlimit(Resource::Fsize).maximum;
        let limit = Rlimit {
            current: bytes.or(maximum),
            maximum,
        };
        let set = prlimit(Some(pid), Resource::Fsize, limit);
        set.map(drop).map_err(|cause| cause.to_string())
    }

    async fn change(&mut self, draw: u64) -> String {
        self.join_or_leave(draw).await
    }

    async fn relocate(&mut self, draw: u64) -> String {
        self.move_any(draw).await
    }

    async fn leader(&mut self) -> Option<u8> {
        let groups = self
            .running
            .values()
            .find_map(|running| groups(running.lively()?))?;
        let leads = |node: &u8| {
            let led = groups
                .iter()
                .filter(|group| group["leader_id"] == u64::from(*node));
            led.count()
        };
        self.nodes().into_iter().max_by_key(leads)
    }

    fn data(&self, node: u8) -> PathBuf {
        self.running[&node].member.home.data()
    }
}

/// The groups of a node, as its `/status` says; none where it says nothing.
fn groups(server: &Server) -> Option<Vec<serde_json::Value>> {
    let (_, page) = server.get_within("/status?local", GLANCE)?;
    let status: serde_json::Value = serde_json::from_str(&page).ok()?;
    status["groups"].as_array().cloned()
}
