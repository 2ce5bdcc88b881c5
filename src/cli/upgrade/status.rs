//! `docket upgrade status` and `docket upgrade finalize`: which versions there are, and which is final.

use docket_proto::v1::{ClusterStatus, FinalizeUpgradeRequest, NodeStatus};
use serde_json::{Value, json};

use crate::{
    cli::{args::Context, node::cluster_status},
    failure::Failure,
    output::{Field, Format, Records, Tone},
};

/// Status.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket upgrade status
  docket upgrade status -o json | jq .blockers

Until the cluster is finalised at a version of the peer protocol, nothing is
written that a program without it could not read: each node can go back.
Exit codes: 0 nothing is left to be done, 10 something is.")]
pub struct Status {}

/// Finalize.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket upgrade finalize

Refused while a node has an older program or is not known to have the new one.
With upgrade.auto_finalize the cluster does it by itself.")]
pub struct Finalize {}

impl Finalize {
    pub(super) async fn run(self, Context { client, output }: &Context) -> Result<(), Failure> {
        let asked = client.node().finalize_upgrade(FinalizeUpgradeRequest {}).await;
        let finalised = client.answer(asked)?.finalised_protocol;
        let newest = docket_cluster::program::speaks().newest;
        if finalised < newest {
            return Err(Failure::Other(format!(
                "the cluster stays finalised at version {finalised} of the peer protocol: the node that decides has an older program than this \
                 one, which speaks {newest}\n      do: upgrade all nodes first; `docket upgrade status` shows them"
            )));
        }
        output.fields(&[Field::number("finalised_protocol", finalised)])
    }
}

/// What there is to be said of an upgrade.
struct Upgrade<'a> {
    finalised: u32,
    /// The newest version that any node speaks.
    newest: u32,
    blockers: Vec<String>,
    nodes: &'a [NodeStatus],
}

impl Status {
    pub(super) async fn run(self, Context { client, output }: &Context) -> Result<(), Failure> {
        let cluster = cluster_status(client).await?;
        let upgrade = Upgrade::of(&cluster);
        if output.format() == Format::Json {
            output.json(&upgrade.json())?;
        } else {
            let state = upgrade.state();
            output.fields(&[
                Field::number("finalised_protocol", upgrade.finalised),
                Field::number("newest_protocol", upgrade.newest),
                Field::text("state", state).tone(match upgrade.is_done() {
                    true => Tone::Good,
                    false => Tone::Pending,
                }),
                Field::text("blockers", &upgrade.blockers.join("; ")).tone(Tone::Bad),
            ])?;
            output.line("")?;
            output.records("nodes", &upgrade.table())?;
        }
        match upgrade.is_done() {
            true => Ok(()),
            false => Err(Failure::Unhealthy(upgrade.state().to_owned())),
        }
    }
}

impl<'a> Upgrade<'a> {
    fn of(cluster: &'a ClusterStatus) -> Self {
        let nodes = &cluster.nodes[..];
        // A program that says nothing of it speaks what there was before there was anything to say.
        let speaks = |node: &NodeStatus| {
            let of_node = node.versions.as_ref().map(|versions| versions.newest_protocol);
            of_node.unwrap_or(docket_cluster::FINALISED_IMPLIED)
        };
        let finalised = nodes
            .iter()
            .filter_map(|node| Some(node.versions.as_ref()?.finalised_protocol));
        let newest = nodes.iter().map(speaks).max().unwrap_or(0);
        let older = nodes.iter().filter(|node| speaks(node) < newest).map(|node| {
            let (id, version, spoken) = (node.node_id, &node.version, speaks(node));
            format!("node {id} runs {version}, which speaks version {spoken} of the peer protocol")
        });
        let silent = cluster
            .liveness
            .iter()
            .filter(|one| !nodes.iter().any(|node| node.node_id == one.node_id))
            .map(|one| format!("node {} does not answer", one.node_id));
        let mut upgrade = Self {
            finalised: finalised.max().unwrap_or(docket_cluster::FINALISED_IMPLIED),
            newest,
            blockers: Vec::new(),
            nodes,
        };
        if upgrade.finalised < newest {
            upgrade.blockers = older.chain(silent).collect();
        }
        upgrade
    }

    /// Whether all nodes have one version, and the cluster is finalised at what that speaks.
    fn is_done(&self) -> bool {
        self.finalised >= self.newest && self.versions() <= 1
    }

    fn versions(&self) -> usize {
        let mut versions: Vec<_> = self.nodes.iter().map(|node| &node.version).collect();
        versions.sort_unstable();
        versions.dedup();
        versions.len()
    }

    fn state(&self) -> &'static str {
        match (
            self.versions() > 1,
            self.finalised < self.newest,
            self.blockers.is_empty(),
        ) {
            (true, ..) => "nodes have different versions: the upgrade is under way",
            (false, true, true) => "every node can go back still: `docket upgrade finalize` ends that",
            (false, true, false) => "not every node is known to speak the newest version",
            (false, false, _) => "nothing is left to be done",
        }
    }

    fn table(&self) -> Records {
        let row = |node: &NodeStatus| {
            let versions = node.versions.clone().unwrap_or_default();
            let known = node.versions.is_some();
            let spoken = |version: u32| match known {
                true => version.to_string(),
                false => "not told".to_owned(),
            };
            vec![
                Field::number("node", node.node_id),
                Field::text("version", &node.version),
                Field::text("speaks", &spoken(versions.newest_protocol)),
                Field::text("finalised", &spoken(versions.finalised_protocol)),
            ]
        };
        Records {
            columns: &["node", "version", "speaks", "finalised"],
            rows: self.nodes.iter().map(row).collect(),
        }
    }

    fn json(&self) -> Value {
        let node = |node: &NodeStatus| {
            let versions = node.versions.as_ref();
            json!({
                "node_id": node.node_id,
                "version": node.version,
                "newest_protocol": versions.map(|versions| versions.newest_protocol),
                "finalised_protocol": versions.map(|versions| versions.finalised_protocol),
            })
        };
        json!({
            "finalised_protocol": self.finalised,
            "newest_protocol": self.newest,
            "state": self.state(),
            "done": self.is_done(),
            "blockers": self.blockers,
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
        })
    }
}
