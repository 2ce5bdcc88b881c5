//! `docket upgrade check`: what this program makes of the data of a node that stands still.

use std::{env, path::PathBuf, time::Instant};

use docket_actors::{ShadowGroup, ShadowReport, Shadowed, shadow};
use serde_json::json;

use crate::{
    cli::keys::KeysArgs,
    failure::Failure,
    output::{Field, Format, Output, Records, Tone},
    upgrade,
};

/// Check.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket upgrade check --data-dir /var/lib/docket
  docket upgrade check --data-dir /mnt/snapshot/docket --scratch /fast -o json

Run it with the new program, on the folder of a stopped node or on a snapshot of
a file system. It is copied first, and nothing in it is changed. The copy is
replayed: from the oldest snapshot that the journal goes on from, entry by entry.
The old program has noted what its states were, in each snapshot and as it
stopped: so every shard is held against that, and one that differs is named with
the entries between which it came to differ.
Exit codes: 0 the same states, 10 nothing to compare some with, or not up to the
last entry, 1 others, or data that this program cannot read.")]
pub struct Check {
    /// The stopped server's folder [default: ./docket-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the copy is put for as long as it takes [default: the system's
    /// folder for temporary files]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    #[command(flatten)]
    keys: KeysArgs,
}

impl Check {
    pub(super) fn run(self, outer: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
        let (keys, configured) = self.keys.open_now()?;
        let data_dir = self
            .data_dir
            .or(outer)
            .or(configured)
            .unwrap_or_else(|| crate::config::Config::default().server.data_dir);
        if !data_dir.is_dir() {
            return Err(Failure::Usage(format!(
                "there is no folder {}: name it with --data-dir",
                data_dir.display()
            )));
        }
        let scratch = self.scratch.unwrap_or_else(env::temp_dir);
        let started = Instant::now();
        let copy = upgrade::copied(&data_dir, &scratch)?;
        let report = shadow(copy.path(), &keys)
            .map_err(|cause| Failure::Other(format!("{} cannot be replayed: {cause}", data_dir.display())))?;
        show(&report, started, output)?;
        verdict(&report)
    }
}

fn show(report: &ShadowReport, started: Instant, output: &Output) -> Result<(), Failure> {
    let replayed: u64 = report.groups.iter().map(|group| group.replayed).sum();
    let groups: Vec<_> = report.groups.iter().map(group_json).collect();
    let good = verdict(report).is_ok();
    output.fields(&[
        Field::text("cluster_id", &report.identity.cluster_id),
        Field::number("node_id", report.identity.node_id.0),
        Field::text("program", docket_actors::version()),
        Field::shown(
            "noted_by_protocol",
            json!(report.noted_by),
            report
                .noted_by
                .map_or_else(|| "in snapshots alone".to_owned(), |version| version.to_string()),
        ),
        Field::number("replayed_entries", replayed),
        Field::shown(
            "seconds",
            json!(started.elapsed().as_secs_f64()),
            format!("{:.1}", started.elapsed().as_secs_f64()),
        ),
        Field::flag("same", good).tone(if good { Tone::Good } else { Tone::Bad }),
        Field::shown("groups", json!(groups), ""),
    ])?;
    if output.format() == Format::Json {
        return Ok(());
    }
    output.line("")?;
    let row = |group: &ShadowGroup| {
        let (words, tone) = outcome(group);
        vec![
            Field::text("group", &group.group.to_string()),
            Field::shown("from", json!(group.snapshot), begin(group)),
            Field::number("entries", group.replayed),
            Field::text("states", &words).tone(tone),
        ]
    };
    output.records(
        "groups",
        &Records {
            columns: &["group", "from", "entries", "states"],
            rows: report.groups.iter().map(row).collect(),
        },
    )
}

fn begin(group: &ShadowGroup) -> String {
    match group.snapshot {
        Some(index) => format!("snapshot at {index}"),
        None => "nothing".to_owned(),
    }
}

fn outcome(group: &ShadowGroup) -> (String, Tone) {
    match group.outcome {
        Shadowed::Equal { compared, at } => {
            let text = format!("the same after entry {at}, compared at {compared}");
            match not_compared(group) {
                Some((_, last)) => (format!("{text}; nothing was noted up to {last}"), Tone::Pending),
                None => (text, Tone::Good),
            }
        }
        Shadowed::Different { at, equal_at } => (difference(at, equal_at), Tone::Bad),
        Shadowed::NothingNoted if group.replayed == 0 => ("nothing to replay".to_owned(), Tone::Plain),
        Shadowed::NothingNoted => ("nothing was noted to compare with".to_owned(), Tone::Pending),
        Shadowed::Unlike => ("what was noted is of another kind".to_owned(), Tone::Pending),
    }
}

/// The newest entry that was compared, and the last one, where that is behind it.
fn not_compared(group: &ShadowGroup) -> Option<(u64, u64)> {
    match (group.outcome, group.last) {
        (Shadowed::Equal { at, .. }, Some(last)) if at < last => Some((at, last)),
        _ => None,
    }
}

fn difference(at: u64, equal_at: Option<u64>) -> String {
    match equal_at {
        Some(equal_at) => format!("different after entry {at}, the same until {equal_at}"),
        None => format!("different after entry {at}, the first that is known"),
    }
}

fn group_json(group: &ShadowGroup) -> serde_json::Value {
    let (name, at, equal_at, compared) = match group.outcome {
        Shadowed::Equal { compared, at } => ("equal", None, Some(at), compared),
        Shadowed::Different { at, equal_at } => ("different", Some(at), equal_at, 0),
        Shadowed::NothingNoted => ("nothing_noted", None, None, 0),
        Shadowed::Unlike => ("unlike", None, None, 0),
    };
    json!({
        "group": group.group.to_string(),
        "snapshot_index": group.snapshot,
        "replayed_entries": group.replayed,
        "last_index": group.last,
        "states": name,
        "different_at": at,
        "equal_at": equal_at,
        "compared": compared,
    })
}

/// What the whole says.
fn verdict(report: &ShadowReport) -> Result<(), Failure> {
    let different: Vec<_> = report
        .different()
        .map(|group| match group.outcome {
            Shadowed::Different { at, equal_at } => {
                format!("{} is {}", group.group, difference(at, equal_at))
            }
            _ => String::new(),
        })
        .collect();
    if !different.is_empty() {
        return Err(Failure::Other(format!(
            "this program makes other states of the same journal: {}\n      do: keep the old program, and report this",
            different.join("; ")
        )));
    }
    let unknown = report.groups.iter().filter(|group| {
        group.replayed > 0 && matches!(group.outcome, Shadowed::NothingNoted | Shadowed::Unlike)
    });
    let unknown: Vec<_> = unknown.map(|group| group.group.to_string()).collect();
    let in_part = report.groups.iter().filter_map(|group| {
        let (at, last) = not_compared(group)?;
        Some(format!("{} (up to entry {at} of {last})", group.group))
    });
    let in_part: Vec<_> = in_part.collect();
    let mut missing = Vec::new();
    if !unknown.is_empty() {
        missing.push(format!(
            "nothing was noted to compare these with: {}",
            unknown.join(", ")
        ));
    }
    if !in_part.is_empty() {
        missing.push(format!(
            "these are the same as far as was noted: {}",
            in_part.join(", ")
        ));
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::Unhealthy(format!(
        "all of it can be read, and {}",
        missing.join("; and ")
    )))
}

#[cfg(test)]
mod tests {
    use docket_cluster::GroupId;

    use super::*;

    #[test]
    fn what_is_the_same_up_to_an_entry_only_is_not_called_good() {
        for (at, expected) in [(7, Some((7, 9))), (9, None)] {
            let group = ShadowGroup {
                group: GroupId(1),
                snapshot: None,
                replayed: 10,
                last: Some(9),
                outcome: Shadowed::Equal { compared: 2, at },
            };
            assert_eq!(not_compared(&group), expected);
            let expected = expected.map_or(Tone::Good, |_| Tone::Pending);
            assert!(outcome(&group).1 == expected);
        }
    }
}
