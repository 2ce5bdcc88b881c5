//! Snapshots: taken when they are due, the journal cut behind them, the same state after a restart.

use std::sync::{Arc, atomic::Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_cluster::{Group, GroupId, Node, NodeOptions, verify};
use docket_persistence::sealing::Keyring;

use crate::machine::{Bed, Ledgers, payload};

fn small_snapshots(bed: &Bed) -> NodeOptions {
    NodeOptions {
        snapshot_bytes_min: 16 * 1024,
        ..bed.options()
    }
}

/// Waits for something that happens on the side.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let asked = Instant::now();
    while !holds() {
        assert!(
            asked.elapsed() < Duration::from_secs(30),
            "still waiting for {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Proposes until the group has a snapshot beyond this index.
pub async fn fill_until_snapshot_behind(group: &Group, index: u64) -> u64 {
    let asked = Instant::now();
    loop {
        if let Some(snapshot) = group.status().snapshot_index.filter(|snapshot| *snapshot > index) {
            return snapshot;
        }
        assert!(
            asked.elapsed() < Duration::from_secs(30),
            "no snapshot behind {index}"
        );
        group.propose(Bytes::from(vec![1; 1024])).await.unwrap();
    }
}

fn first_seq(node: &Node) -> u64 {
    node.status().journal.first_seq
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_cut_behind_snapshots_and_the_state_survives() {
    let bed = Bed::new();
    let (node, ledgers) = bed.open(small_snapshots(&bed)).await;
    node.ready().await;
    let started_at = first_seq(&node);
    let mut last = 0;
    for _ in 0..3 {
        for group in node.groups() {
            last = fill_until_snapshot_behind(group, group.status().snapshot_index.unwrap_or(0)).await;
        }
    }
    assert!(last > 0);
    eventually("the journal to be cut", || first_seq(&node) > started_at).await;
    node.meta()
        .propose(payload("behind the snapshots"))
        .await
        .unwrap();
    let status = node.meta().status();
    // How much came since the newest depends on how busy the machine is.
    let all_bytes = ledgers.of(GroupId::META).state().bytes;
    assert!(
        status.snapshot_age.is_some() && status.bytes_since_snapshot < all_bytes / 2,
        "{status:?}"
    );
    assert!(
        node.status().snapshots.snapshots >= 6,
        "two of each group are kept"
    );
    let before: Vec<_> = (0..3).map(|n| ledgers.of(GroupId(n)).state()).collect();
    // From here on no snapshot is taken: what the next life knows of their age it has read.
    node.shutdown().await.unwrap();
    let (stopped, age) = (Instant::now(), node.meta().status().snapshot_age.unwrap());

    let (node, ledgers) = bed.open(bed.options()).await;
    node.ready().await;
    let age_now = node.meta().status().snapshot_age.unwrap();
    // Within what the clock that measures it may have been set by meanwhile.
    let expected = age + stopped.elapsed();
    assert!(
        age_now.abs_diff(expected) < Duration::from_secs(1),
        "{age_now:?}, {expected:?}"
    );
    for (n, before) in (0..).zip(before) {
        let ledger = ledgers.of(GroupId(n));
        assert_eq!(ledger.state().payloads, before.payloads, "group {n}");
        let applied = ledger.applied.load(Ordering::Relaxed);
        assert!(
            applied < before.payloads.len() as u64,
            "{applied} applied again: the snapshot was not used"
        );
    }
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_idle_keeps_its_vote_and_its_entries_when_others_cut_the_journal() {
    let bed = Bed::new();
    let mut last_term = 0;
    for life in 0..3 {
        let (node, ledgers) = bed.open(small_snapshots(&bed)).await;
        node.ready().await;
        let term = node.group(GroupId(2)).unwrap().status().term;
        assert!(
            term > last_term,
            "a vote was forgotten: term {term} follows term {last_term}"
        );
        last_term = term;
        assert_eq!(ledgers.of(GroupId(2)).state().payloads.len() as u64, life);
        node.group(GroupId(2))
            .unwrap()
            .propose(payload(life))
            .await
            .unwrap();
        let (busy, start) = (node.group(GroupId(1)).unwrap(), first_seq(&node));
        let is_cut = || first_seq(&node) > start;
        for _ in 0..100 {
            if is_cut() {
                break;
            }
            fill_until_snapshot_behind(&busy, busy.status().snapshot_index.unwrap_or(0)).await;
        }
        eventually("the journal to be cut although a group is idle", is_cut).await;
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_newest_snapshot_is_passed_over_for_the_one_before() {
    let bed = Bed::new();
    let (node, ledgers) = bed.open(small_snapshots(&bed)).await;
    node.ready().await;
    let group = node.group(GroupId(1)).unwrap();
    for _ in 0..3 {
        fill_until_snapshot_behind(&group, group.status().snapshot_index.unwrap_or(0)).await;
    }
    let before = ledgers.of(GroupId(1)).state().payloads;
    node.shutdown().await.unwrap();

    let snapshots = docket_persistence::SnapshotStore::open(bed.dir.path().join("snapshots")).unwrap();
    let newest = *snapshots.ids(1).last().unwrap();
    let file = snapshots.path(1, newest).join("db");
    drop(snapshots);
    let mut bytes = std::fs::read(&file).unwrap();
    for byte in bytes.iter_mut().skip(512) {
        *byte = !*byte;
    }
    std::fs::write(&file, bytes).unwrap();

    let (node, ledgers) = bed.open(small_snapshots(&bed)).await;
    node.ready().await;
    assert_eq!(ledgers.of(GroupId(1)).state().payloads, before);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_with_meta_data_of_version_1_is_restored_and_its_age_is_not_known() {
    let bed = Bed::new();
    let (node, ledgers) = bed.open(small_snapshots(&bed)).await;
    node.ready().await;
    fill_until_snapshot_behind(&node.group(GroupId(1)).unwrap(), 0).await;
    let before = ledgers.of(GroupId(1)).state().payloads;
    node.shutdown().await.unwrap();

    // The newest once more, as the program wrote it that knew no other version: without the bytes of its time and digest.
    let snapshots = docket_persistence::SnapshotStore::open(bed.dir.path().join("snapshots")).unwrap();
    let newest = snapshots.latest(1).unwrap().unwrap();
    assert_eq!(newest.meta()[0], 3);
    let meta = [&[1], &newest.meta()[1..18], &newest.meta()[42..]].concat();
    let mut older = snapshots.begin(1, &meta).unwrap();
    for chunk in newest {
        older.write(&chunk.unwrap()).unwrap();
    }
    older.finish().unwrap();
    drop(snapshots);

    let (node, ledgers) = bed.open(bed.options()).await;
    node.ready().await;
    let (ledger, status) = (ledgers.of(GroupId(1)), node.group(GroupId(1)).unwrap().status());
    assert_eq!(ledger.state().payloads, before);
    let applied = ledger.applied.load(Ordering::Relaxed);
    assert!(
        applied < before.len() as u64,
        "{applied} applied again: the snapshot was not used"
    );
    assert!(
        status.snapshot_index.is_some() && status.snapshot_age.is_none(),
        "{status:?}"
    );
    node.shutdown().await.unwrap();
}

/// Proposes as much as makes several snapshots due.
async fn fill(group: &Group) {
    for _ in 0..100 {
        group.propose(Bytes::from(vec![1; 1024])).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_snapshot_is_begun_that_would_eat_into_the_disks_reserve_and_one_is_when_there_is_room() {
    let bed = Bed::new();
    let (node, ledgers) = bed.open(small_snapshots(&bed)).await;
    node.ready().await;
    let (group, ledger) = (node.group(GroupId(1)).unwrap(), ledgers.of(GroupId(1)));
    let reserve = bed.options().journal.disk_reserve_bytes;
    bed.disk.set_free_bytes(Some(reserve / 2));
    fill(&group).await;
    fill(&group).await;
    assert_eq!(ledger.captures.load(Ordering::Relaxed), 0);
    assert_eq!(node.status().failed, None);
    // Below the reserve, where clients' writes are refused, and enough for a snapshot, which lets the journal be cut.
    bed.disk.set_free_bytes(Some(reserve / 2 + (1 << 20)));
    fill_until_snapshot_behind(&group, 0).await;
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_given_up_when_the_disk_runs_low_under_it_and_nothing_is_left_of_it() {
    let bed = Bed::new();
    let (node, ledgers) = bed.open(small_snapshots(&bed)).await;
    node.ready().await;
    let (group, ledger) = (node.group(GroupId(1)).unwrap(), ledgers.of(GroupId(1)));
    let disk = bed.disk.clone();
    *ledger.while_writing.lock() = Some(Arc::new(move || disk.set_free_bytes(Some(1))));
    fill(&group).await;
    let captured = || ledger.captures.load(Ordering::Relaxed) > 0;
    eventually("a snapshot to be begun", captured).await;
    let folder = bed.dir.path().join("snapshots/1");
    let is_empty = || folder.is_dir() && folder.read_dir().unwrap().next().is_none();
    eventually("what was written to be removed", is_empty).await;
    fill(&group).await;
    assert_eq!(group.status().snapshot_index, None);
    assert_eq!(node.status().failed, None);
    let before = ledger.state().payloads;
    node.shutdown().await.unwrap();

    bed.disk.set_free_bytes(None);
    let (node, ledgers) = bed.open(small_snapshots(&bed)).await;
    node.ready().await;
    assert_eq!(ledgers.of(GroupId(1)).state().payloads, before);
    fill_until_snapshot_behind(&node.group(GroupId(1)).unwrap(), 0).await;
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_written_does_not_stop_the_node() {
    let bed = Bed::new();
    let (node, ledgers) = bed.open(small_snapshots(&bed)).await;
    node.ready().await;
    let (group, ledger) = (node.group(GroupId(1)).unwrap(), ledgers.of(GroupId(1)));
    // A file where the group's folder would be.
    std::fs::write(bed.dir.path().join("snapshots/1"), "in the way").unwrap();
    fill(&group).await;
    let captured = || ledger.captures.load(Ordering::Relaxed) > 0;
    eventually("a snapshot to be begun", captured).await;
    fill(&group).await;
    fill_until_snapshot_behind(&node.meta(), 0).await;
    assert_eq!(group.status().snapshot_index, None);
    assert_eq!(node.status().failed, None);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_log_is_purged_and_whose_snapshots_are_gone_is_refused_by_name() {
    let bed = Bed::new();
    let (node, _) = bed.open(small_snapshots(&bed)).await;
    node.ready().await;
    let (busy, idle) = (node.group(GroupId(1)).unwrap(), node.group(GroupId(2)).unwrap());
    idle.propose(payload("once")).await.unwrap();
    // When the journal is cut behind its last entry, the idle group has nothing but its snapshots.
    let behind = node.status().journal.next_seq;
    for _ in 0..1_000 {
        if first_seq(&node) > behind {
            break;
        }
        fill_until_snapshot_behind(&busy, busy.status().snapshot_index.unwrap_or(0)).await;
    }
    assert!(first_seq(&node) > behind);
    node.shutdown().await.unwrap();

    std::fs::remove_dir_all(bed.dir.path().join("snapshots/2")).unwrap();
    let refused = bed
        .try_open(small_snapshots(&bed))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.starts_with("shard-1 does not start: its log is purged up to entry ")
            && refused.contains("the snapshot that holds the rest is missing"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_misses_the_snapshots_that_a_cut_journal_needs() {
    let dir = tempfile::tempdir().unwrap();
    let options = || NodeOptions {
        shards: Some(2),
        snapshot_bytes_min: 16 * 1024,
        ..NodeOptions::new(dir.path())
    };
    let ledgers = Ledgers::default();
    let node = Node::open(options(), &|group| ledgers.make(group)).await.unwrap();
    node.ready().await;
    for group in node.groups() {
        fill_until_snapshot_behind(group, 0).await;
    }
    // Every group has something before this: where it is cut away, each needs a snapshot. (The first cut may be of another group's alone.)
    let start = node.status().journal.next_seq;
    for _ in 0..1_000 {
        if first_seq(&node) > start {
            break;
        }
        for group in node.groups() {
            fill_until_snapshot_behind(group, group.status().snapshot_index.unwrap_or(0)).await;
        }
    }
    assert!(first_seq(&node) > start);
    node.shutdown().await.unwrap();
    let report = verify(dir.path(), &Keyring::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert!(report.snapshots.len() >= 3, "{:?}", report.snapshots);

    // The older one alone is enough: the journal is cut behind it.
    let folder = dir.path().join("snapshots/1");
    let mut ids: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    ids.sort();
    std::fs::remove_dir_all(ids.last().unwrap()).unwrap();
    let report = verify(dir.path(), &Keyring::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);

    std::fs::remove_dir_all(&folder).unwrap();
    let report = verify(dir.path(), &Keyring::default()).unwrap();
    let [problem] = &report.problems[..] else {
        panic!("{:?}", report.problems)
    };
    assert_eq!(problem.path, folder);
    assert!(
        problem.text.starts_with("shard-0: the journal was cut")
            && problem.text.contains("there is no good snapshot"),
        "{problem}"
    );
    let again = Ledgers::default();
    let refused = Node::open(options(), &|group| again.make(group))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().starts_with("shard-0 does not start"),
        "{refused}"
    );
}
