//! How a cluster is: its nodes, and where the replicas are and should be.

use docket_edge::status_json::cluster_json;
use docket_proto::v1::{ClusterMember, ClusterStatus, GroupPlacement, MemberState};
use serde_json::json;

use super::{
    Format, Output,
    record::{Field, Records, Resource, Tone},
};
use crate::failure::Failure;

impl Resource for ClusterMember {
    const PLURAL: &'static str = "members";
    const COLUMNS: &'static [&'static str] = &[
        "node_id",
        "state",
        "replicas",
        "peer_address",
        "client_address",
        "reason",
    ];

    fn fields(&self) -> Vec<Field> {
        let name = self.state().as_str_name();
        let text = name.trim_start_matches("MEMBER_STATE_").to_lowercase();
        let tone = match self.state() {
            MemberState::Active => Tone::Good,
            MemberState::Joining | MemberState::Draining => Tone::Pending,
            MemberState::Removed | MemberState::Unspecified => Tone::Plain,
        };
        vec![
            Field::number("node_id", self.node_id),
            Field::shown("state", json!(name), text).tone(tone),
            Field::number("replicas", self.replicas),
            Field::text("peer_address", &self.peer_address),
            Field::text("client_address", &self.client_address),
            Field::text("reason", &self.reason),
        ]
    }
}

impl Resource for GroupPlacement {
    const PLURAL: &'static str = "placements";
    const COLUMNS: &'static [&'static str] = &[
        "group",
        "placed_ids",
        "wanted_ids",
        "moving",
        "preferred_leader_id",
    ];

    fn fields(&self) -> Vec<Field> {
        let moving = self.placed_ids != self.wanted_ids;
        let preferred = match self.preferred_leader_id {
            0 => String::new(),
            id => id.to_string(),
        };
        vec![
            Field::text("group", &self.group),
            Field::shown("placed_ids", json!(self.placed_ids), list(&self.placed_ids)),
            Field::shown("wanted_ids", json!(self.wanted_ids), list(&self.wanted_ids)),
            Field::flag("moving", moving).tone(if moving { Tone::Pending } else { Tone::Plain }),
            Field::shown("preferred_leader_id", json!(self.preferred_leader_id), preferred),
        ]
    }
}

fn list(ids: &[u64]) -> String {
    let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
    ids.join(" ")
}

impl Output {
    /// Prints which nodes a cluster has, and where its replicas are and should be.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn membership(&self, cluster: &ClusterStatus) -> Result<(), Failure> {
        if self.format() == Format::Json {
            return self.json(&cluster_json(cluster));
        }
        self.fields(&[
            Field::text("cluster_id", &cluster.cluster_id),
            Field::number("shards", cluster.shards),
        ])?;
        let table = |columns, rows: Vec<Vec<Field>>| {
            if rows.is_empty() {
                return Ok(());
            }
            self.line("")?;
            self.records("rows", &Records { columns, rows })
        };
        table(
            ClusterMember::COLUMNS,
            cluster.members.iter().map(Resource::fields).collect(),
        )?;
        table(
            GroupPlacement::COLUMNS,
            cluster.placements.iter().map(Resource::fields).collect(),
        )
    }
}
