//! `docket status` and `docket health`: how a server and its cluster are, for people and for scripts (exit code 10 when not well).

use std::time::Duration;

use docket_proto::v1::{ClusterStatus, GetClusterStatusRequest, GetNodeStatusRequest, NodeStatus};
use serde_json::json;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::args::{ClientArgs, Context};
use crate::{
    client::Client,
    failure::Failure,
    output::{Field, Output, Tone},
    values::time,
};

/// `docket status`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket status
  docket status --watch
  docket status --node
  docket status -o json | jq .reasons

Of a member of a cluster it shows the cluster: its nodes, who leads what, how
far replicas are behind, what is on its way. Any member may be asked; it waits
for the others for a second at most. Of a server that stands alone it shows the
server. `docket cluster status` shows where replicas are and should be, and the
nodes that were removed.

Not well is: a group without a leader, a member that is not alive, not ready or
does not answer, a replica that has stopped, a disk that is low. A move is none
of it.

Needs an admin's credentials with scope operations.
Exit codes: 0 well, 10 not well or unreachable, 1 refused.")]
pub struct StatusArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// Show only the node that answers, with its groups
    #[arg(long, conflicts_with = "cluster")]
    node: bool,
    /// Show every node of the cluster in full, with its groups
    #[arg(long)]
    cluster: bool,
    /// Show it again and again until Ctrl-C, every 2 seconds or as given: 10s
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true,
          default_missing_value = "2s", value_parser = time::duration)]
    watch: Option<Duration>,
}

/// `docket health`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket health
  docket health --addr https://docket.example:7070 --ca ca.pem
  docket health --service docket.v1.OrderService

Exit codes: 0 serving, 10 not serving or unreachable.")]
pub struct HealthArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// The service to ask about [default: the whole server]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
}

impl StatusArgs {
    /// Connects and shows.
    pub async fn run(self, outer: ClientArgs, output: Output) -> Result<(), Failure> {
        let context = self.client.clone().or(outer).link(output)?.connect().await;
        let context = context.map_err(Failure::of_health)?;
        match self.watch {
            None => self.look(&context).await,
            Some(every) => self.watch(&context, every).await,
        }
    }

    /// Shows it until Ctrl-C. What is not well is shown and is no reason to end.
    async fn watch(&self, context: &Context, every: Duration) -> Result<(), Failure> {
        let mut turns = tokio::time::interval(every);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let asked_to_end = tokio::signal::ctrl_c();
        tokio::pin!(asked_to_end);
        let mut first = true;
        loop {
            tokio::select! {
                _ = turns.tick() => {}
                _ = &mut asked_to_end => return Ok(()),
            }
            let Context { output, .. } = context;
            output.next_block(std::mem::take(&mut first))?;
            let shown = tokio::select! {
                shown = self.look(context) => shown,
                _ = &mut asked_to_end => return Ok(()),
            };
            match shown {
                Ok(()) => {}
                Err(failure @ Failure::Unhealthy(_)) => output.failure(&failure),
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn look(&self, Context { client, output }: &Context) -> Result<(), Failure> {
        if self.node {
            let answer = client.answer(client.node().get_node_status(GetNodeStatusRequest {}).await);
            let node = answer.map_err(|refusal| Failure::from(refusal).of_health())?;
            output.one(&node)?;
            return readiness(&node);
        }
        let cluster = cluster_status(client).await?;
        if self.cluster {
            output.cluster(&cluster)?;
            cluster.nodes.iter().try_for_each(readiness)?;
            return health(&cluster);
        }
        match &cluster.nodes[..] {
            [node] if cluster.members.is_empty() && cluster.liveness.len() <= 1 => {
                output.one(node)?;
                readiness(node)
            }
            _ => {
                output.overview(&cluster)?;
                health(&cluster)?;
                // A node of an older version gives no reasons.
                cluster.nodes.iter().try_for_each(readiness)
            }
        }
    }
}

/// How the cluster of the server is that was connected to.
///
/// # Errors
/// It does not say.
pub async fn cluster_status(client: &Client) -> Result<ClusterStatus, Failure> {
    let answer = client.answer(client.node().get_cluster_status(GetClusterStatusRequest {}).await);
    answer.map_err(|refusal| Failure::from(refusal).of_health())
}

fn health(cluster: &ClusterStatus) -> Result<(), Failure> {
    if cluster.reasons.is_empty() {
        return Ok(());
    }
    Err(Failure::Unhealthy(format!(
        "the cluster is not well: {}",
        cluster.reasons.join("; ")
    )))
}

fn readiness(node: &NodeStatus) -> Result<(), Failure> {
    if node.ready {
        return Ok(());
    }
    Err(Failure::Unhealthy(format!(
        "node {} is not ready: {}",
        node.node_id,
        node.reasons.join("; ")
    )))
}

impl HealthArgs {
    /// Connects and asks.
    pub async fn run(self, outer: ClientArgs, output: Output) -> Result<(), Failure> {
        let connected = self
            .client
            .or(outer)
            .link_without_credentials(output)
            .connect()
            .await;
        let Context { client, output } = connected.map_err(Failure::of_health)?;
        let request = HealthCheckRequest {
            service: self.service,
        };
        let answer = client.answer(client.health().check(request).await);
        let status = answer
            .map_err(|refusal| Failure::from(refusal).of_health())?
            .status();
        let serving = status == ServingStatus::Serving;
        let name = status.as_str_name();
        let tone = if serving { Tone::Good } else { Tone::Bad };
        output.fields(&[Field::shown("status", json!(name), name).tone(tone)])?;
        if serving {
            Ok(())
        } else {
            Err(Failure::Unhealthy(format!("the server answers {name}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_unhealthy_for_every_reason_that_it_gives() {
        let mut cluster = ClusterStatus::default();
        assert!(health(&cluster).is_ok());
        cluster.reasons = vec!["node 2 is not alive".into(), "shard-0 has no leader".into()];
        let failure = health(&cluster).unwrap_err();
        assert!(matches!(failure, Failure::Unhealthy(_)));
        assert_eq!(
            failure.to_string(),
            "the cluster is not well: node 2 is not alive; shard-0 has no leader"
        );
    }

    #[test]
    fn a_node_that_is_not_ready_is_unhealthy_and_says_why() {
        let mut node = NodeStatus {
            node_id: 3,
            ready: true,
            ..NodeStatus::default()
        };
        assert!(readiness(&node).is_ok());
        node.ready = false;
        node.reasons = vec!["shard 2 has no leader here".into(), "the node is stopping".into()];
        let failure = readiness(&node).unwrap_err();
        assert!(matches!(failure, Failure::Unhealthy(_)));
        assert_eq!(
            failure.to_string(),
            "node 3 is not ready: shard 2 has no leader here; the node is stopping"
        );
    }
}
