//! The processes that faults happen to, each behind a door of the bad network.

use std::{net::SocketAddr, path::PathBuf, time::Instant};

use docket_soak::history::{
    nemesis::Stage,
    net::{Door, Net, Who},
};
use rustix::process::{Pid, Signal, kill_process};

use super::members::Members;
use crate::server::{Home, LOOK_AGAIN, PATIENCE, Server};

/// Servers by the numbers of their nodes, from 1.
pub struct Servers(Vec<Running>);

struct Running {
    home: Home,
    /// None while it is dead.
    server: Option<Server>,
    /// Of its clients.
    door: Door,
    /// Of its peers, where it has some.
    _peers: Option<Door>,
}

impl Servers {
    /// Starts a server that stands alone.
    pub async fn alone(net: &Net, home: Home) -> Self {
        let server = Server::start(&home);
        let door = net.open(1, any_port(), server.grpc).await.unwrap();
        Self(vec![Running {
            server: Some(server),
            door,
            home,
            _peers: None,
        }])
    }

    /// Starts the nodes of these members, and waits until all groups have a replica on each.
    pub async fn together(net: &Net, members: Members) -> Self {
        let mut running = Vec::new();
        for (number, member) in (1..).zip(members.into_homes()) {
            let server = Server::launch(&member.home);
            member.clients.leads_to(server.grpc);
            running.push(Running {
                server: Some(server),
                door: member.clients,
                home: member.home,
                _peers: Some(member.peers),
            });
            if number == 1 {
                let Running { home, server, .. } = &mut running[0];
                assert!(server.as_mut().unwrap().ready(home), "{}", home.log());
            }
        }
        let servers = Self(running);
        servers.until_all_vote().await;
        // Else the faults would be none. Those that follow have nothing to say to each other yet.
        for other in 2..=servers.0.len() as u8 {
            let joined = net.joins(Who::Node(1), Who::Node(other));
            assert!(joined, "node {other} is not told by its address");
        }
        servers
    }

    async fn until_all_vote(&self) {
        let voters: Vec<usize> = (1..=self.0.len()).collect();
        let begun = Instant::now();
        loop {
            let groups = self.0[0].server.as_ref().map(groups).unwrap_or_default();
            let expected = serde_json::json!(voters);
            if groups.len() > 1 && groups.iter().all(|group| group["voter_ids"] == expected) {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "the groups are {groups:?}\n{}",
                self.0[0].home.log()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Where clients reach a node.
    pub fn address(&self, node: u8) -> String {
        format!("http://{}", self.0[usize::from(node) - 1].door.address())
    }

    /// Where a node lives.
    pub fn home(&self, node: u8) -> &Home {
        &self.0[usize::from(node) - 1].home
    }

    /// Stops all of them in order.
    pub fn stop(&mut self) {
        for Running { home, server, .. } in &mut self.0 {
            server.take().expect("every node runs at the end").stop(home);
        }
    }

    fn of(&mut self, node: u8) -> Result<&mut Running, String> {
        self.0
            .get_mut(usize::from(node).wrapping_sub(1))
            .ok_or_else(|| format!("there is no node {node}"))
    }

    fn signal(&mut self, node: u8, signal: Signal) -> Result<(), String> {
        let server = self.of(node)?.server.as_ref().ok_or("it is dead")?;
        let pid = i32::try_from(server.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or("it has no id")?;
        kill_process(pid, signal).map_err(|cause| cause.to_string())
    }
}

impl Stage for Servers {
    fn kill(&mut self, node: u8) -> Result<(), String> {
        let running = self.of(node)?;
        running.server.take().ok_or("it is dead already")?.kill();
        running.door.shut();
        Ok(())
    }

    async fn start(&mut self, node: u8) -> Result<(), String> {
        let running = self.of(node)?;
        let server = Server::start(&running.home);
        running
            .door
            .reopen(server.grpc)
            .await
            .map_err(|cause| cause.to_string())?;
        running.server = Some(server);
        Ok(())
    }

    async fn revive(&mut self, node: u8) -> Result<(), String> {
        let running = self.of(node)?;
        if running.server.as_mut().is_some_and(|server| !server.has_ended()) {
            return Ok(());
        }
        running.server = None;
        self.start(node).await
    }

    fn pause(&mut self, node: u8) -> Result<(), String> {
        self.signal(node, Signal::STOP)
    }

    fn resume(&mut self, node: u8) -> Result<(), String> {
        self.signal(node, Signal::CONT)
    }

    async fn leader(&mut self) -> Option<u8> {
        let groups = self
            .0
            .iter()
            .find_map(|running| Some(groups(running.server.as_ref()?)))?;
        let leads = |node: u8| {
            let led = groups
                .iter()
                .filter(|group| group["leader_id"] == u64::from(node));
            led.count()
        };
        (1..).take(self.0.len()).max_by_key(|node| leads(*node))
    }

    fn data(&self, node: u8) -> PathBuf {
        self.home(node).data()
    }
}

/// The groups of a node, as its `/status` says.
fn groups(server: &Server) -> Vec<serde_json::Value> {
    let page = server
        .get("/status?local")
        .map(|(_, body)| body)
        .unwrap_or_default();
    let status: serde_json::Value = serde_json::from_str(&page).unwrap_or_default();
    status["groups"].as_array().cloned().unwrap_or_default()
}

pub fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}
