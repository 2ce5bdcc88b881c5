//! The processes that faults happen to, each behind a door of the bad network.

use std::path::PathBuf;

use docket_soak::history::{
    nemesis::Stage,
    net::{Door, Net},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::server::{Home, Server};

/// Servers by the numbers of their nodes, from 1.
pub struct Servers(Vec<Running>);

struct Running {
    home: Home,
    /// None while it is dead.
    server: Option<Server>,
    door: Door,
}

impl Servers {
    /// Starts a server in each home, one after the other.
    pub async fn start(net: &Net, homes: Vec<Home>) -> Self {
        let mut running = Vec::new();
        for (number, home) in (1..).zip(homes) {
            let server = Server::start(&home);
            let listen = ([127, 0, 0, 1], 0).into();
            running.push(Running {
                door: net.open(number, listen, server.grpc).await.unwrap(),
                server: Some(server),
                home,
            });
        }
        Self(running)
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
        None
    }

    fn data(&self, node: u8) -> PathBuf {
        self.home(node).data()
    }
}
