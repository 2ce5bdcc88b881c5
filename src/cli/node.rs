//! `docket status` and `docket health`: how a server is, for people and for scripts (exit code 10 when it is not well).

use docket_proto::v1::{GetClusterStatusRequest, GetNodeStatusRequest, NodeStatus};
use serde_json::json;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::args::{ClientArgs, Context};
use crate::{
    failure::Failure,
    output::{Field, Output, Tone},
};

/// `docket status`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket status
  docket status --cluster
  docket status -o json | jq .journal.disk_bytes

Needs an admin's credentials with scope operations.
Exit codes: 0 ready, 10 not ready or unreachable, 1 refused.")]
pub struct StatusArgs {
    #[command(flatten)]
    pub client: ClientArgs,
    /// Show every node of the cluster
    #[arg(long)]
    cluster: bool,
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
        let Context { client, output } = self
            .client
            .or(outer)
            .link(output)?
            .connect()
            .await
            .map_err(Failure::of_health)?;
        if self.cluster {
            let answer = client.answer(client.node().get_cluster_status(GetClusterStatusRequest {}).await);
            let cluster = answer.map_err(|refusal| Failure::from(refusal).of_health())?;
            output.cluster(&cluster)?;
            return cluster.nodes.iter().try_for_each(readiness);
        }
        let answer = client.answer(client.node().get_node_status(GetNodeStatusRequest {}).await);
        let node = answer.map_err(|refusal| Failure::from(refusal).of_health())?;
        output.one(&node)?;
        readiness(&node)
    }
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
