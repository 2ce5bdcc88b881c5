//! What the cluster is asked to do in the middle of the faults, and when all is well again.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use docket_client::{Client, Credential, Options, method};
use docket_proto::v1::{
    ClusterStatus, DrainNodeRequest, GetClusterStatusRequest, MemberState, MoveReplicaRequest,
    RemoveNodeRequest, node_service_client::NodeServiceClient,
};
use docket_soak::history::nemesis::Stage as _;
use tonic::Status;

use super::stage::{GLANCE, Running, Servers};
use crate::{
    api::{Api, Authenticated},
    changes::stage::is_at_rest,
    server::LOOK_AGAIN,
};

/// How long it may take until every node is ready, and every replica where it should be.
const WELL_MAX: Duration = Duration::from_secs(120);
/// How long one node is asked in the middle of faults.
const ASK_MAX: Duration = Duration::from_secs(2);
/// How long the cluster's status may take when the faults are over.
const STATUS_MAX: Duration = Duration::from_secs(10);

impl Servers {
    /// Has a node join, if all that did have left again; or else one leave that is not the first, which founded the cluster and is
    /// where newcomers knock.
    pub(super) async fn join_or_leave(&mut self, draw: u64) -> String {
        let Some(members) = &mut self.members else {
            return "it stands alone".to_owned();
        };
        if self.running.len() <= self.base {
            let number = self.next;
            self.next += 1;
            let member = members.make(&self.net, number, number.is_multiple_of(2)).await;
            self.running.insert(number, Running::launch(member));
            return format!("node {number} joins");
        }
        let others = &self.nodes()[1..];
        let node = others[draw as usize % others.len()];
        // Also where no answer comes it may be done: the status will say.
        let drained = self.ask(async |mut client| {
            let request = DrainNodeRequest {
                node_id: u64::from(node),
            };
            client.drain_node(request).await.map(drop)
        });
        match drained.await {
            Ok(()) => {
                self.leaving = Some(node);
                format!("node {node} is to leave")
            }
            Err(why) => format!("node {node} is not drained for now: {why}"),
        }
    }

    /// Has any replica of a shard go to a node that has none.
    pub(super) async fn move_any(&mut self, draw: u64) -> String {
        let status = match self.status(ASK_MAX).await {
            Ok(status) => status,
            Err(why) => return format!("no replica is moved: {why}"),
        };
        let shards: Vec<_> = status
            .placements
            .iter()
            .filter(|one| one.group != "meta")
            .collect();
        let Some(group) = shards.get(draw as usize % shards.len().max(1)) else {
            return "no shards are known".to_owned();
        };
        let here = |node: &u64| group.placed_ids.contains(node);
        let Some(to) = self.staying().into_iter().map(u64::from).find(|node| !here(node)) else {
            return format!("{} is everywhere", group.group);
        };
        let request = MoveReplicaRequest {
            group: group.group.clone(),
            from_node_id: group.placed_ids[(draw >> 32) as usize % group.placed_ids.len()],
            to_node_id: to,
        };
        let asked = self.ask(async |mut client| client.move_replica(request.clone()).await.map(drop));
        let what = format!(
            "{} from node {} to node {to}",
            request.group, request.from_node_id
        );
        match asked.await {
            Ok(()) => format!("{what} is moved"),
            Err(why) => format!("{what} is not moved for now: {why}"),
        }
    }

    /// Asks each node once, until one does it.
    async fn ask<F>(&self, ask: impl Fn(NodeServiceClient<Authenticated>) -> F) -> Result<(), String>
    where
        F: Future<Output = Result<(), Status>>,
    {
        let mut why = "nobody is there".to_owned();
        for running in self.running.values() {
            let Some(server) = running.lively() else { continue };
            let api = Api::admin_later(server, &self.running[&1].member.home);
            let asked = tokio::time::timeout(ASK_MAX, ask(NodeServiceClient::new(api.authenticated())));
            match asked.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(status)) => why = status.message().to_owned(),
                Err(_) => why = format!("no answer within {ASK_MAX:?}"),
            }
        }
        Err(why)
    }

    async fn status(&self, within: Duration) -> Result<ClusterStatus, String> {
        let servers = self.running.values().filter_map(Running::lively);
        let options = Options {
            credential: Credential::ApiKey(self.key()),
            call_max: within,
            ..Options::new(servers.map(|server| format!("http://{}", server.grpc)))
        };
        let client = Client::new(options).map_err(|cause| cause.to_string())?;
        let asked = client.call(&method::GET_CLUSTER_STATUS, GetClusterStatusRequest {});
        asked.await.map_err(|status| status.to_string())
    }

    /// Waits until every node runs and is ready, every replica is where it should be, and whoever is to leave has left.
    pub async fn well(&mut self) {
        let begun = Instant::now();
        loop {
            let why = match self.is_well().await {
                Ok(()) => return,
                Err(why) => why,
            };
            if begun.elapsed() > WELL_MAX {
                panic!("after {WELL_MAX:?} {why}\n{}", self.logs());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn is_well(&mut self) -> Result<(), String> {
        for node in self.nodes() {
            // Also one that could not write, and one whose port was taken by somebody else.
            self.start(node).await?;
        }
        for (node, running) in &self.running {
            // Who has left may be gone, without anybody having heard.
            if self.leaving == Some(*node) {
                continue;
            }
            let ready = running
                .lively()
                .and_then(|server| server.get_within("/readyz", GLANCE));
            if ready.as_ref().is_none_or(|(code, _)| *code != 200) {
                return Err(format!("node {node} is not ready: {ready:?}"));
            }
        }
        if self.members.is_none() {
            return Ok(());
        }
        let status = self.status(STATUS_MAX).await?;
        let state = |node: u8| {
            let found = status
                .members
                .iter()
                .find(|member| member.node_id == u64::from(node));
            found.map(|member| (member.state(), member.replicas))
        };
        for node in self.nodes() {
            match state(node) {
                Some((MemberState::Active, _)) => {}
                Some((MemberState::Draining, 0)) => return self.let_go(node).await,
                Some((MemberState::Removed, _)) => return self.is_gone(node).await,
                Some((MemberState::Draining, left)) => {
                    self.leaving = Some(node);
                    return Err(format!("node {node} has {left} replicas left"));
                }
                other => return Err(format!("node {node} is {other:?}")),
            }
        }
        self.leaving = None;
        is_at_rest(&status)
    }

    /// Removes a node that has nothing any more, and waits until it has heard of it.
    async fn let_go(&mut self, node: u8) -> Result<(), String> {
        let removed = self.ask(async |mut client| {
            let request = RemoveNodeRequest {
                node_id: u64::from(node),
                ..RemoveNodeRequest::default()
            };
            client.remove_node(request).await.map(drop)
        });
        removed
            .await
            .map_err(|why| format!("node {node} is not removed: {why}"))?;
        self.is_gone(node).await
    }

    async fn is_gone(&mut self, node: u8) -> Result<(), String> {
        let mut running = self.running.remove(&node).ok_or("it is gone")?;
        let server = running.server.take().ok_or("it is dead")?;
        let ended = tokio::task::spawn_blocking(|| server.ended()).await.unwrap();
        let log = running.member.home.log();
        assert_eq!(ended.code(), Some(1), "node {node}: {log}");
        assert!(log.contains("was removed from the cluster"), "node {node}: {log}");
        crate::server::verify(&running.member.home);
        Err("it is to be seen once more".to_owned())
    }

    /// Waits until every group's leader has found a follower equal to itself at an entry that is no older than this moment, and sees that
    /// none was ever found different.
    pub async fn until_replicas_are_equal(&self) {
        let begun = Instant::now();
        let mut least = std::collections::BTreeMap::new();
        for (group, applied, _) in self.leaders() {
            least.insert(group, applied);
        }
        loop {
            let leaders = self.leaders();
            let lags = leaders
                .iter()
                .find(|(group, _, equal)| least.get(group).is_some_and(|least| equal < least));
            if lags.is_none() && leaders.len() >= least.len() {
                break;
            }
            assert!(
                begun.elapsed() < WELL_MAX,
                "replicas are not known to be equal: {leaders:?}\n{}",
                self.logs()
            );
            tokio::time::sleep(LOOK_AGAIN * 5).await;
        }
        for (node, running) in &self.running {
            let page = running.lively().and_then(|server| server.get("/metrics"));
            let (_, page) = page.unwrap_or_else(|| panic!("node {node} does not answer"));
            for line in page.lines().filter(|line| line.starts_with(MISMATCHES)) {
                assert!(line.ends_with(" 0"), "node {node}: {line}");
            }
        }
    }

    /// By each group's leader: the last entry that it has applied, and the last at which it found a follower equal.
    fn leaders(&self) -> Vec<(String, u64, u64)> {
        let mut leaders = Vec::new();
        for running in self.running.values() {
            let Some((_, page)) = running.lively().and_then(|server| server.get("/metrics")) else {
                continue;
            };
            let figure = |name: &str, group: &str| {
                let begin = format!("{name}{{group=\"{group}\"}} ");
                let found = page.lines().find_map(|line| line.strip_prefix(begin.as_str()));
                found
                    .and_then(|text| text.parse::<f64>().ok())
                    .unwrap_or_default() as u64
            };
            let led = page.lines().filter_map(|line| {
                line.strip_prefix("docket_raft_leader{group=\"")?
                    .strip_suffix("\"} 1")
            });
            for group in led {
                let applied = figure("docket_raft_applied_index", group);
                leaders.push((
                    group.to_owned(),
                    applied,
                    figure("docket_raft_replicas_equal_index", group),
                ));
            }
        }
        leaders
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        let logs = self.running.iter().map(|(node, running)| {
            let log = running.member.home.log();
            format!("--- node {node}\n{log}\n")
        });
        logs.collect()
    }
}

const MISMATCHES: &str = "docket_raft_replica_mismatches_total";
