//! A node on sled under strace: proof that the journal is cut only behind snapshots that are on the platter, with all that it takes
//! to find them again. Where strace is not installed (or may not trace) a line says so and the test ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use docket_cluster::{GroupId, Node, NodeOptions};

use crate::machine::Ledgers;
use crate::snapshots::fill_until_snapshot_behind;
use crate::trace::{self, Call, calls};

const CHILD_DIR: &str = "DOCKET_CLUSTER_CHILD_DIR";
const CHILD_TEST: &str = "system_calls::child";
const CALLS: &str = "pwrite64,write,fdatasync,fsync,rename,mkdir";
const GROUPS: u32 = 2;

fn options(data: PathBuf) -> NodeOptions {
    let mut options = NodeOptions {
        shards: Some(1),
        snapshot_bytes_min: 16 * 1024,
        ..NodeOptions::new(data)
    };
    options.journal.segment_bytes = 64 * 1024;
    options
}

/// Not a test of its own: what is traced. Writes until two segments of the journal are gone, and then how much each group holds.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR).map(PathBuf::from) else {
        return;
    };
    let (data, ledgers) = (dir.join("data"), Ledgers::default());
    let node = Node::open(options(data.clone()), &|group| ledgers.make(group))
        .await
        .unwrap();
    node.ready().await;
    let mut oldest = BTreeSet::new();
    while oldest.len() < 3 {
        for group in node.groups() {
            fill_until_snapshot_behind(group, group.status().snapshot_index.unwrap_or(0)).await;
        }
        oldest.extend(oldest_segment(&data));
    }
    node.shutdown().await.unwrap();
    let held = (0..GROUPS).map(|group| ledgers.of(GroupId(group)).state().payloads.len());
    let held: Vec<String> = held.map(|held| held.to_string()).collect();
    std::fs::write(dir.join("held"), held.join(" ")).unwrap();
}

fn oldest_segment(data: &Path) -> Option<String> {
    let entries = std::fs::read_dir(data.join("journal")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .min()
}

/// What a call of two names renames, and into what.
fn renamed(call: &Call) -> Option<(&str, &str)> {
    let mut quoted = call.arguments.split('"').skip(1).step_by(2);
    (call.name == "rename" && call.ok).then(|| Some((quoted.next()?, quoted.next()?)))?
}

/// The first sequence that the journal's mark asks for, of a call that writes the mark: see `persistence/src/mark.rs`.
fn first_needed(call: &Call) -> Option<u64> {
    if call.name != "pwrite64" || !call.path.ends_with("/journal/mark") || !call.ok {
        return None;
    }
    let quoted = call.arguments.split('"').nth(1)?;
    let bytes = quoted
        .split("\\x")
        .skip(1)
        .map(|digits| u8::from_str_radix(digits, 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().unwrap();
    Some(u64::from_le_bytes(bytes[16..24].try_into().unwrap()))
}

/// A snapshot that became visible.
struct Published<'a> {
    group: &'a str,
    path: &'a str,
    rename: &'a Call,
}

/// Whether all of a snapshot, and the way to it, was on the platter when this call began; else what was not.
fn is_durable(calls: &[&Call], snapshot: &Published<'_>, before: usize) -> Result<(), String> {
    let rename = snapshot.rename;
    let synced = |path: &str, after: usize, before: usize| {
        let is_sync = |call: &&&Call| matches!(call.name.as_str(), "fsync" | "fdatasync") && call.ok;
        let mut syncs = calls.iter().filter(is_sync).filter(|call| call.path == path);
        syncs.any(|call| call.began > after && call.ended < before)
    };
    let staged = format!("{}.new", snapshot.path);
    let is_of = |call: &&&Call| call.path.starts_with(&format!("{staged}/"));
    let mut written = BTreeMap::new();
    for write in calls
        .iter()
        .filter(is_of)
        .filter(|call| call.name.ends_with("write64") || call.name == "write")
    {
        written.insert(write.path.as_str(), write.ended);
    }
    if !written.keys().any(|file| file.ends_with("/db")) {
        return Err(format!("nothing was written to {staged}"));
    }
    for (file, write) in written {
        if !synced(file, write, rename.began) {
            return Err(format!(
                "{file} was written at line {write} and not synced before its rename"
            ));
        }
        if !synced(&staged, write, rename.began) {
            return Err(format!("{staged} was not synced before its rename"));
        }
    }
    let (group_dir, _) = snapshot.path.rsplit_once('/').unwrap();
    let (snapshots_dir, _) = group_dir.rsplit_once('/').unwrap();
    let made = |call: &&&Call| {
        call.name == "mkdir" && call.ok && call.arguments.contains(&format!("\"{group_dir}\""))
    };
    let made = calls
        .iter()
        .find(made)
        .ok_or_else(|| format!("{group_dir} was not made"))?;
    for (folder, after) in [(group_dir, rename.ended), (snapshots_dir, made.ended)] {
        if !synced(folder, after, before) {
            return Err(format!(
                "{folder} was not synced behind line {after} and before line {before}"
            ));
        }
    }
    Ok(())
}

/// Goes over every cut of the journal; returns how many there were, and how many segments they let go.
fn check(calls: &[&Call]) -> Result<(usize, usize), String> {
    let mut published: BTreeMap<&str, Vec<Published<'_>>> = BTreeMap::new();
    let (mut first, mut cuts, mut segments) = (1, 0, 0);
    for &call in calls {
        if let Some((from, to)) = renamed(call)
            && let Some((_, name)) = to.split_once("/snapshots/")
            && let Some((group, _)) = name.split_once('/')
            && from == format!("{to}.new")
        {
            let (path, rename) = (to, call);
            published
                .entry(group)
                .or_default()
                .push(Published { group, path, rename });
        }
        let dropped =
            renamed(call).is_some_and(|(_, to)| to.contains("/journal/") && to.ends_with(".dropped"));
        let cut = first_needed(call).filter(|needed| *needed > first);
        if cut.is_none() && !dropped {
            continue;
        }
        first = cut.unwrap_or(first);
        cuts += usize::from(cut.is_some());
        segments += usize::from(dropped);
        for of_group in published.values() {
            // The newest may just be becoming visible: what is cut is in the one before.
            let (_newest, rested_on) = of_group.split_last().unwrap();
            for snapshot in rested_on {
                is_durable(calls, snapshot, call.began)
                    .map_err(|why| format!("group {}, at line {}: {why}", snapshot.group, call.began))?;
            }
            if dropped && rested_on.is_empty() {
                return Err(format!(
                    "a segment goes at line {} and a group has one snapshot",
                    call.began
                ));
            }
        }
        // The first entries of every group are in the first segment.
        if dropped && published.len() != GROUPS as usize {
            return Err(format!(
                "a segment goes at line {} and a group has no snapshot",
                call.began
            ));
        }
    }
    Ok((cuts, segments))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_cut_behind_snapshots_that_are_on_the_platter() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["-x", "-e", &format!("trace={CALLS}")];
    let Some((output, trace)) = trace::traced(CHILD_TEST, (CHILD_DIR, dir.path()), &arguments) else {
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let mut calls = calls(&trace);
    calls.sort_by_key(|call| call.ended);
    let calls: Vec<&Call> = calls.iter().collect();
    let (cuts, segments) = check(&calls).unwrap();
    assert!(
        cuts >= segments && segments >= 2,
        "{cuts} cuts, {segments} segments"
    );

    // The check would notice any of the syncs that it asks for.
    let first = dir.path().join("data/snapshots/1/00000000000000000001.new");
    let asked_for = [
        first.join("db"),
        first,
        dir.path().join("data/snapshots/1"),
        dir.path().join("data/snapshots"),
    ];
    for path in asked_for {
        let is_sync = |call: &Call| matches!(call.name.as_str(), "fsync" | "fdatasync");
        let without: Vec<&Call> = calls
            .iter()
            .copied()
            .filter(|call| !(is_sync(call) && Path::new(&call.path) == path))
            .collect();
        assert!(without.len() < calls.len(), "{} is never synced", path.display());
        assert!(check(&without).is_err(), "{} would not be missed", path.display());
    }

    // What the journal has no more is in the snapshots.
    let held = std::fs::read_to_string(dir.path().join("held")).unwrap();
    let ledgers = Ledgers::default();
    let node = Node::open(options(dir.path().join("data")), &|group| ledgers.make(group))
        .await
        .unwrap();
    // The last entries are applied when somebody leads.
    node.ready().await;
    for group in node.groups() {
        group.read_barrier().await.unwrap();
    }
    let found = (0..GROUPS).map(|group| ledgers.of(GroupId(group)).state().payloads.len().to_string());
    assert_eq!(found.collect::<Vec<_>>().join(" "), held);
    node.shutdown().await.unwrap();
}
