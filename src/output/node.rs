//! How a node is.

use docket_edge::status_json::{chaos_json, scrub_json};
use docket_proto::v1::{
    BooksStatus, ChaosStatus, DiscrepancyCount, EntityStatus, GroupDiscrepancies, GroupStatus, JournalStatus,
    NodeStanding, NodeStatus, ScrubStatus,
};
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
            books_field(self.books.as_ref()),
            standing_field(self.standing.as_ref()),
            scrub_field(self.scrub.as_ref()),
            chaos_field(self.chaos.as_ref()),
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

/// What it may lead, and how far it is behind.
fn standing_field(standing: Option<&NodeStanding>) -> Field {
    let standing = standing.cloned().unwrap_or_default();
    let lag = standing
        .lag
        .and_then(|lag| std::time::Duration::try_from(lag).ok());
    let lag = lag.map(|lag| lag.as_secs_f64());
    let behind = lag.map_or_else(String::new, |lag| {
        format!(", {lag:.1} s and {} orders behind", standing.lag_orders)
    });
    let text = format!("{} in epoch {}{behind}", standing.role, standing.epoch);
    let json = json!({
        "role": standing.role,
        "epoch": standing.epoch,
        "drained": standing.drained,
        "lag_seconds": lag,
        "lag_orders": standing.lag_orders,
    });
    Field::shown("standing", json, text)
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

fn books_field(books: Option<&BooksStatus>) -> Field {
    let Some(books) = books else {
        return Field::shown("books", Value::Null, "not known");
    };
    let is_good = books.discrepancy_count == 0 && books.undecided == 0;
    let tone = if is_good { Tone::Plain } else { Tone::Bad };
    Field::shown("books", record::object(&books_fields(books)), books_text(books)).tone(tone)
}

fn books_fields(books: &BooksStatus) -> Vec<Field> {
    let seconds = books.duration.as_ref().map(seconds);
    let of_kind = |found: &DiscrepancyCount| (found.kind.clone(), Value::from(found.count));
    let of_group = |of: &GroupDiscrepancies| (of.group.clone(), Value::from(of.discrepancy_count));
    let by_group: serde_json::Map<_, _> = books.groups.iter().map(of_group).collect();
    let by_kind: serde_json::Map<_, _> = books.discrepancies.iter().map(of_kind).collect();
    vec![
        Field::flag("running", books.running),
        Field::flag("giving_way", books.giving_way),
        Field::moment("start_time", books.start_time.as_ref()),
        Field::shown("duration_seconds", json!(seconds), ""),
        Field::flag("by_itself", books.by_itself),
        Field::number("shards", books.shards),
        Field::number("unverified_shards", books.unverified_shards),
        Field::number("customers", books.customers),
        Field::number("items", books.items),
        Field::number("orders", books.orders),
        Field::number("reservations", books.reservations),
        Field::number("undecided", books.undecided),
        Field::number("discrepancy_count", books.discrepancy_count),
        Field::shown("discrepancies", Value::Object(by_kind), ""),
        Field::shown("groups", Value::Object(by_group), ""),
    ]
}

fn books_text(books: &BooksStatus) -> String {
    let now = match (books.running, books.giving_way) {
        (true, _) => "; being verified",
        (false, true) => "; to be verified when there is less work",
        (false, false) => "",
    };
    let Some(began) = &books.start_time else {
        return format!("not verified since the start{now}");
    };
    let found = match (books.discrepancy_count, books.undecided) {
        (0, 0) => "all agrees".to_owned(),
        (0, undecided) => format!("{undecided} SUSPICIONS UNDECIDED"),
        (wrong, _) => {
            let of_kind = |found: &DiscrepancyCount| format!("{} {}", found.count, found.kind);
            let kinds: Vec<_> = books.discrepancies.iter().map(of_kind).collect();
            format!("{wrong} DISCREPANCIES ({})", kinds.join(", "))
        }
    };
    format!(
        "verified at {began} in {:.1} s: {} orders in {} shards, {found}{now}",
        books.duration.as_ref().map_or(0.0, seconds),
        books.orders,
        books.shards,
    )
}

fn scrub_field(scrub: Option<&ScrubStatus>) -> Field {
    let Some(scrub) = scrub else {
        return Field::shown("scrub", Value::Null, "not known");
    };
    let tone = if scrub.damaged_count == 0 {
        Tone::Plain
    } else {
        Tone::Bad
    };
    Field::shown("scrub", scrub_json(scrub), scrub_text(scrub)).tone(tone)
}

fn chaos_field(chaos: Option<&ChaosStatus>) -> Field {
    let Some(chaos) = chaos else {
        return Field::shown("chaos", Value::Null, "off");
    };
    let faults: Vec<&str> = chaos.active.iter().map(|one| &*one.fault).collect();
    let text = match &faults[..] {
        [] => "ON: it may be asked to go wrong".to_owned(),
        faults => format!("ON: {}", faults.join(", ")),
    };
    Field::shown("chaos", chaos_json(chaos), text).tone(Tone::Bad)
}

fn scrub_text(scrub: &ScrubStatus) -> String {
    let now = match scrub.running {
        true => format!("; being read again, {} so far", bytes(scrub.running_bytes)),
        false => String::new(),
    };
    let found = match scrub.damaged_count {
        0 => "nothing is damaged".to_owned(),
        1 => "1 PLACE IS DAMAGED".to_owned(),
        count => format!("{count} PLACES ARE DAMAGED"),
    };
    match &scrub.start_time {
        None if scrub.damaged_count > 0 => format!("{found}{now}"),
        None => format!("not read again since the start{now}"),
        Some(began) => format!(
            "{} read again at {began} in {:.1} s: {found}{now}",
            bytes(scrub.bytes),
            scrub.duration.as_ref().map_or(0.0, seconds),
        ),
    }
}

fn seconds(time: &prost_types::Duration) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
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

    #[test]
    fn books_are_told_in_a_line() {
        let mut books = BooksStatus {
            giving_way: true,
            ..BooksStatus::default()
        };
        let never = "not verified since the start; to be verified when there is less work";
        assert_eq!(books_text(&books), never);
        books = BooksStatus {
            start_time: Some(prost_types::Timestamp::default()),
            duration: Some(prost_types::Duration {
                seconds: 1,
                nanos: 500_000_000,
            }),
            shards: 8,
            orders: 7,
            ..BooksStatus::default()
        };
        let verified = "verified at 1970-01-01T00:00:00Z in 1.5 s: 7 orders in 8 shards, ";
        assert_eq!(books_text(&books), format!("{verified}all agrees"));
        books.undecided = 2;
        assert_eq!(books_text(&books), format!("{verified}2 SUSPICIONS UNDECIDED"));
        books.discrepancy_count = 3;
        books.discrepancies = vec![DiscrepancyCount {
            kind: "HELD_SUM".into(),
            count: 3,
        }];
        let wrong = format!("{verified}3 DISCREPANCIES (3 HELD_SUM)");
        assert_eq!(books_text(&books), wrong);
    }

    #[test]
    fn what_is_stored_is_told_in_a_line() {
        let mut scrub = ScrubStatus::default();
        assert_eq!(scrub_text(&scrub), "not read again since the start");
        scrub.running = true;
        scrub.running_bytes = 2048;
        scrub.damaged_count = 1;
        assert_eq!(
            scrub_text(&scrub),
            "1 PLACE IS DAMAGED; being read again, 2.0 KiB so far"
        );
        let scrub = ScrubStatus {
            start_time: Some(prost_types::Timestamp::default()),
            bytes: 1024,
            ..ScrubStatus::default()
        };
        assert_eq!(
            scrub_text(&scrub),
            "1.0 KiB read again at 1970-01-01T00:00:00Z in 0.0 s: nothing is damaged"
        );
    }
}
