//! How a node is.

use docket_proto::v1::{EntityStatus, GroupStatus, JournalStatus, NodeStatus};
use serde_json::{Value, json};

use super::record::{self, Field, Records, Resource, Tone};
use crate::values::time;

impl Resource for NodeStatus {
    const PLURAL: &'static str = "nodes";
    const COLUMNS: &'static [&'static str] = &["node_id", "version", "ready", "uptime_seconds"];

    fn fields(&self) -> Vec<Field> {
        let uptime = self
            .uptime
            .as_ref()
            .map_or(0, |uptime| u64::try_from(uptime.seconds).unwrap_or(0));
        let groups: Vec<Value> = self
            .groups
            .iter()
            .map(|group| record::object(&group_fields(group)))
            .collect();
        let journal = self.journal.unwrap_or_default();
        let entities = self.entities.unwrap_or_default();
        vec![
            Field::number("node_id", self.node_id),
            Field::text("version", &self.version),
            Field::moment("start_time", self.start_time.as_ref()),
            Field::shown("uptime_seconds", json!(uptime), time::show_seconds(uptime)),
            Field::flag("ready", self.ready).tone(if self.ready { Tone::Good } else { Tone::Bad }),
            Field::shown("reasons", json!(self.reasons), self.reasons.join("; ")).tone(Tone::Bad),
            Field::shown("memory_bytes", json!(self.memory_bytes), bytes(self.memory_bytes)),
            Field::shown(
                "entities",
                record::object(&entity_fields(&entities)),
                entities_text(&entities),
            ),
            Field::shown(
                "journal",
                record::object(&journal_fields(&journal)),
                journal_text(&journal),
            ),
            Field::shown("groups", json!(groups), ""),
        ]
    }

    fn parts(&self) -> Vec<Records> {
        let rows = self.groups.iter().map(group_fields).collect();
        vec![Records {
            columns: &[
                "group",
                "leader",
                "term",
                "applied_index",
                "lag",
                "snapshot_index",
            ],
            rows,
        }]
    }
}

fn group_fields(group: &GroupStatus) -> Vec<Field> {
    vec![
        Field::text("group", &group.group),
        Field::flag("leader", group.leader).tone(if group.leader_id == 0 {
            Tone::Bad
        } else {
            Tone::Plain
        }),
        Field::number("leader_id", group.leader_id),
        Field::number("term", group.term),
        Field::number("last_log_index", group.last_log_index),
        Field::number("committed_index", group.committed_index),
        Field::number("applied_index", group.applied_index),
        Field::number("lag", group.lag),
        Field::number("snapshot_index", group.snapshot_index),
        Field::moment("snapshot_time", group.snapshot_time.as_ref()),
        Field::shown("voter_ids", json!(group.voter_ids), ""),
    ]
}

fn journal_fields(journal: &JournalStatus) -> Vec<Field> {
    vec![
        Field::number("first_sequence", journal.first_sequence),
        Field::number("last_sequence", journal.last_sequence),
        Field::number("disk_bytes", journal.disk_bytes),
        Field::number("syncs", journal.syncs),
        Field::number("free_bytes", journal.free_bytes),
        Field::flag("low_space", journal.low_space),
        Field::number("snapshot_bytes", journal.snapshot_bytes),
    ]
}

fn journal_text(journal: &JournalStatus) -> String {
    let low = if journal.low_space {
        ", LOW: new writes are refused"
    } else {
        ""
    };
    format!(
        "sequences {} to {}, {} on disk, {} of snapshots, {} syncs, {} free{low}",
        journal.first_sequence,
        journal.last_sequence,
        bytes(journal.disk_bytes),
        bytes(journal.snapshot_bytes),
        journal.syncs,
        bytes(journal.free_bytes),
    )
}

fn entity_fields(entities: &EntityStatus) -> Vec<Field> {
    vec![
        Field::number("orders", entities.orders),
        Field::number("customers", entities.customers),
        Field::number("items", entities.items),
        Field::number("actors", entities.actors),
        Field::number("open_orders", entities.open_orders),
        Field::number("archived_orders", entities.archived_orders),
    ]
}

fn entities_text(entities: &EntityStatus) -> String {
    format!(
        "{} orders ({} open) and {} in the archive, {} customers, {} items; {} actors run",
        entities.orders,
        entities.open_orders,
        entities.archived_orders,
        entities.customers,
        entities.items,
        entities.actors
    )
}

/// A count of bytes as people read it.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut shown = count as f64;
    while shown >= 1024.0 && unit + 1 < UNITS.len() {
        shown /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{shown:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_their_largest_unit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }
}
