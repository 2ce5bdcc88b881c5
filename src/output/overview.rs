//! A cluster at a glance, in 80 columns: its nodes, who leads what, what is on its way, and what is not well.

use std::collections::BTreeSet;

use comfy_table::{Cell, CellAlignment};
use docket_edge::status_json::cluster_json;
use docket_proto::v1::{ClusterGroup, ClusterStatus, NodeStatus, ReplicaRole};
use serde_json::json;

use super::{
    FACTS_GAP, Format, Output, finish,
    node::bytes,
    record::{self, Field, Resource, Tone},
    write,
};
use crate::failure::Failure;

/// Columns of a terminal that everything fits.
const WIDTH: usize = 80;
/// Columns between two columns of a table.
const GAP: usize = 2;
/// No address is cut shorter than this.
const ADDRESS_MIN: usize = 10;

const NODE_COLUMNS: [&str; 8] = [
    "node", "address", "state", "alive", "version", "uptime", "used", "free",
];

impl Output {
    /// Prints how a cluster is.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn overview(&self, cluster: &ClusterStatus) -> Result<(), Failure> {
        match self.format() {
            Format::Json => self.json(&cluster_json(cluster)),
            Format::Table => write(&self.overview_text(cluster)),
        }
    }

    fn overview_text(&self, cluster: &ClusterStatus) -> String {
        let well = cluster.reasons.is_empty();
        let health = Field::text("health", if well { "well" } else { "NOT WELL" });
        let mut text = self.facts(&[
            Field::text("cluster", &cluster.cluster_id),
            health.tone(if well { Tone::Good } else { Tone::Bad }),
        ]);
        for reason in &cluster.reasons {
            text.push_str(&wrapped(&record::visible(reason)));
        }
        let mut rows = nodes(cluster);
        fit_addresses(&mut rows);
        text.push('\n');
        text.push_str(&self.table(&NODE_COLUMNS, &rows));
        let ids: Vec<u64> = cluster.liveness.iter().map(|one| one.node_id).collect();
        for band in bands(&ids, &cluster.groups) {
            text.push('\n');
            text.push_str(&self.matrix(band, &cluster.groups));
        }
        text.push_str("\nL leads, F follows, l learns, · no replica; lag in entries\n");
        let moves: Vec<_> = cluster.groups.iter().filter_map(arriving).collect();
        if !moves.is_empty() {
            text.push('\n');
            text.push_str(&self.table(&["moving", "from", "to", "progress"], &moves));
        }
        text
    }

    /// Who is what in which group.
    fn matrix(&self, nodes: &[u64], groups: &[ClusterGroup]) -> String {
        let mut table = self.empty();
        let head = ["GROUP".to_owned()].into_iter();
        let head = head.chain(nodes.iter().map(u64::to_string));
        let head = head.chain(["TERM".to_owned(), "LAG".to_owned()]);
        table.set_header(head.map(|name| self.dim(Cell::new(name))));
        for group in groups {
            let mut row = vec![self.cell(&Field::text("group", &group.group))];
            row.extend(nodes.iter().map(|node| self.cell(&role(group, *node))));
            let right = |field: Field| self.cell(&field).set_alignment(CellAlignment::Right);
            row.push(right(Field::number("term", group.term)));
            row.push(right(lag(group)));
            table.add_row(row);
        }
        finish(&mut table, FACTS_GAP)
    }
}

fn nodes(cluster: &ClusterStatus) -> Vec<Vec<Field>> {
    cluster
        .liveness
        .iter()
        .map(|one| {
            let member = cluster
                .members
                .iter()
                .find(|member| member.node_id == one.node_id);
            let node = cluster.nodes.iter().find(|node| node.node_id == one.node_id);
            let fields = member.map(Resource::fields).unwrap_or_default();
            let state = fields.into_iter().find(|field| field.name == "state");
            let silence = one.silence.as_ref().map_or(0, |silence| silence.seconds);
            let alive = match (one.alive, one.silence.is_some()) {
                (true, _) => "yes".to_owned(),
                (false, true) => format!("no {}", short(silence)),
                (false, false) => "no".to_owned(),
            };
            let alive = Field::shown("alive", json!(one.alive), alive);
            vec![
                Field::number("node", one.node_id),
                Field::text("address", member.map_or("", |member| &member.client_address)),
                state.unwrap_or_else(|| Field::text("state", "")),
                alive.tone(if one.alive { Tone::Good } else { Tone::Bad }),
                Field::text("version", node.map_or("", |node| &node.version)),
                Field::shown("uptime", json!(0), node.map(uptime).unwrap_or_default()),
                Field::shown("used", json!(0), node.map(used).unwrap_or_default()),
                free(node),
            ]
        })
        .collect()
}

fn uptime(node: &NodeStatus) -> String {
    short(node.uptime.as_ref().map_or(0, |uptime| uptime.seconds))
}

fn used(node: &NodeStatus) -> String {
    let journal = node.journal.unwrap_or_default();
    bytes(journal.disk_bytes.saturating_add(journal.snapshot_bytes))
}

fn free(node: Option<&NodeStatus>) -> Field {
    let journal = node.and_then(|node| node.journal);
    let text = journal
        .map(|journal| bytes(journal.free_bytes))
        .unwrap_or_default();
    let low = journal.is_some_and(|journal| journal.low_space);
    Field::shown("free", json!(0), text).tone(if low { Tone::Bad } else { Tone::Plain })
}

/// A time in its largest unit or two, in seven columns.
fn short(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}s", seconds.max(0)),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        (1..=99, ..) => format!("{days}d {}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// Cuts addresses where the table would not fit otherwise; programs get all of them.
fn fit_addresses(rows: &mut [Vec<Field>]) {
    let width = |column: &str| {
        let cells = rows.iter().flatten().filter(|field| field.name == column);
        let widest = cells.map(|field| field.text.chars().count()).max();
        widest.unwrap_or(0).max(column.len())
    };
    let others: usize = NODE_COLUMNS
        .iter()
        .filter(|column| **column != "address")
        .map(|column| width(column) + GAP)
        .sum();
    let room = WIDTH.saturating_sub(others).max(ADDRESS_MIN);
    let addresses = rows.iter_mut().flatten();
    for field in addresses.filter(|field| field.name == "address") {
        if field.text.chars().count() > room {
            // The end tells more: ports differ where hosts do not, and names begin alike.
            let skipped = field.text.chars().count() + 1 - room;
            field.text = std::iter::once('…')
                .chain(field.text.chars().skip(skipped))
                .collect();
        }
    }
}

/// The nodes in as many pieces as it takes for each to fit.
fn bands<'a>(nodes: &'a [u64], groups: &[ClusterGroup]) -> std::slice::Chunks<'a, u64> {
    let widest = |texts: &mut dyn Iterator<Item = String>| texts.map(|text| text.len()).max().unwrap_or(0);
    let name = widest(&mut groups.iter().map(|group| group.group.clone())).max(5);
    let term = widest(&mut groups.iter().map(|group| group.term.to_string())).max(4);
    let lag = widest(&mut groups.iter().map(|group| lag(group).text)).max(3);
    let node = widest(&mut nodes.iter().map(u64::to_string)).max(1);
    let room = WIDTH.saturating_sub(name + term + lag + 3 * GAP);
    nodes.chunks((room / (node + GAP)).max(1))
}

fn role(group: &ClusterGroup, node: u64) -> Field {
    let replica = group.replicas.iter().find(|replica| replica.node_id == node);
    let (text, tone) = match replica.map(|replica| replica.role()) {
        Some(ReplicaRole::Leader) => ("L", Tone::Good),
        Some(ReplicaRole::Follower) => ("F", Tone::Plain),
        Some(ReplicaRole::Learner) => ("l", Tone::Pending),
        Some(ReplicaRole::Unspecified) => ("?", Tone::Plain),
        None => ("·", Tone::Plain),
    };
    Field::text("role", text).tone(tone)
}

fn lag(group: &ClusterGroup) -> Field {
    if group.replicas.iter().any(|replica| replica.known) {
        Field::number("lag", group.lag)
    } else {
        Field::text("lag", "?").tone(Tone::Bad)
    }
}

/// A group whose replicas are not where they should be yet, and how far those are that are to come.
fn arriving(group: &ClusterGroup) -> Option<Vec<Field>> {
    if group.arriving_ids.is_empty() && group.leaving_ids.is_empty() {
        return None;
    }
    let list = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let arriving: BTreeSet<u64> = group.arriving_ids.iter().copied().collect();
    let progress: Vec<_> = group
        .replicas
        .iter()
        .filter(|replica| arriving.contains(&replica.node_id) && replica.known)
        .map(|replica| format!("{} of {} entries", replica.match_index, group.last_log_index))
        .collect();
    Some(vec![
        Field::text("moving", &group.group),
        Field::text("from", &list(&group.leaving_ids)),
        Field::text("to", &list(&group.arriving_ids)),
        Field::text("progress", &progress.join(", ")),
    ])
}

/// A reason as an item of a list, in lines that fit.
fn wrapped(reason: &str) -> String {
    let mut text = String::new();
    let mut line = "-".to_owned();
    for word in reason.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = " ".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use docket_proto::v1::{ClusterMember, JournalStatus, MemberState, NodeLiveness, ReplicaStatus};

    use super::*;

    fn replica(node_id: u64, role: ReplicaRole, match_index: u64, lag: u64) -> ReplicaStatus {
        ReplicaStatus {
            node_id,
            role: role.into(),
            known: true,
            match_index,
            lag,
            applied_index: 0,
            held_back: String::new(),
        }
    }

    /// So many nodes, the second of them dead, and two groups, the second of which moves.
    fn cluster(nodes: u64) -> ClusterStatus {
        let uptime = prost_types::Duration {
            seconds: 90_061,
            nanos: 0,
        };
        let status = |node_id| NodeStatus {
            node_id,
            version: "0.10.12".into(),
            uptime: Some(uptime),
            journal: Some(JournalStatus {
                disk_bytes: 1_023 << 30,
                free_bytes: 1_023 << 30,
                ..JournalStatus::default()
            }),
            ..NodeStatus::default()
        };
        let liveness = |node_id| NodeLiveness {
            node_id,
            alive: node_id != 2,
            silence: Some(prost_types::Duration {
                seconds: if node_id == 2 { 75 } else { 0 },
                nanos: 0,
            }),
            error: String::new(),
        };
        let member = |node_id| ClusterMember {
            node_id,
            state: MemberState::Draining.into(),
            client_address: format!("docket-{node_id}.docket.some-namespace.svc.cluster.local:7070"),
            ..ClusterMember::default()
        };
        let group = |name: &str, replicas: Vec<ReplicaStatus>| ClusterGroup {
            group: name.into(),
            leader_id: 1,
            term: 7,
            last_log_index: 1_350,
            lag: replicas.iter().map(|one| one.lag).max().unwrap_or(0),
            replicas,
            ..ClusterGroup::default()
        };
        let mut moving = group(
            "shard-0",
            vec![
                replica(1, ReplicaRole::Leader, 1_350, 0),
                replica(2, ReplicaRole::Follower, 1_350, 0),
                replica(3, ReplicaRole::Learner, 1_200, 150),
            ],
        );
        moving.arriving_ids = vec![3];
        moving.leaving_ids = vec![2];
        ClusterStatus {
            cluster_id: "shop".into(),
            nodes: (1..=nodes).filter(|node| *node != 2).map(status).collect(),
            members: (1..=nodes).map(member).collect(),
            liveness: (1..=nodes).map(liveness).collect(),
            groups: vec![
                group("meta", vec![replica(1, ReplicaRole::Leader, 1_350, 0)]),
                moving,
            ],
            reasons: vec![format!("node 2 is not alive: {}", "it is far away, ".repeat(10))],
            ..ClusterStatus::default()
        }
    }

    #[test]
    fn a_cluster_is_shown_with_its_leaders_its_dead_and_its_moves_in_80_columns() {
        let text = Output::new(Format::Table).overview_text(&cluster(3));
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "too wide: {line}");
        }
        let line = |begins: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(begins));
            let line = line.unwrap_or_else(|| panic!("no {begins} in\n{text}"));
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("health"), "health NOT WELL");
        assert!(line("- node 2").starts_with("- node 2 is not alive: it is far away,"));
        assert!(line("2 ").contains("draining no 1m 15s"), "{text}");
        assert!(line("1 ").contains(":7070 draining yes 0.10.12 1d 1h"), "{text}");
        assert_eq!(line("GROUP"), "GROUP 1 2 3 TERM LAG");
        assert_eq!(line("meta"), "meta L · · 7 0");
        assert_eq!(line("shard-0  L"), "shard-0 L F l 7 150");
        assert_eq!(line("shard-0  2"), "shard-0 2 3 1200 of 1350 entries");
    }

    #[test]
    fn more_nodes_than_fit_side_by_side_are_shown_one_below_the_other() {
        let text = Output::new(Format::Table).overview_text(&cluster(40));
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "too wide: {line}");
        }
        let heads: Vec<_> = text.lines().filter(|line| line.starts_with("GROUP")).collect();
        assert!(heads.len() > 1, "{text}");
        let shown: Vec<u64> = heads
            .iter()
            .flat_map(|head| head.split_whitespace().filter_map(|word| word.parse().ok()))
            .collect();
        assert_eq!(shown, (1..=40).collect::<Vec<_>>());
    }

    #[test]
    fn times_are_shown_in_few_columns() {
        for (seconds, shown) in [
            (-1, "0s"),
            (59, "59s"),
            (61, "1m 1s"),
            (3_599, "59m 59s"),
            (86_399, "23h 59m"),
            (90_061, "1d 1h"),
            (99 * 86_400 + 82_800, "99d 23h"),
            (100 * 86_400, "100d"),
        ] {
            assert_eq!(short(seconds), shown);
        }
    }
}
