//! A journal is replayed beside its node, and the states are held against what was noted of them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use docket_cluster::{
    Capture, Entry, GroupId, Identity, Node, NodeOptions, ShadowError, ShadowReport, Shadowed, StateError,
    StateMachine, shadow,
};
use docket_persistence::sealing::Keyring;

use crate::machine::{Ledger, Ledgers, payload};
use crate::snapshots::fill_until_snapshot_behind;

const SHARD: GroupId = GroupId(1);

fn options(dir: &Path) -> NodeOptions {
    NodeOptions {
        shards: Some(1),
        ..NodeOptions::new(dir)
    }
}

/// A node's directory, after so many entries and, if it `stops` in order, with what it noted then.
async fn written(entries: usize, stops: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let ledgers = Ledgers::default();
    let node = Node::open(options(dir.path()), &|group| ledgers.make(group))
        .await
        .unwrap();
    node.ready().await;
    let shard = node.group(SHARD).unwrap();
    for number in 0..entries {
        shard.propose(payload(number)).await.unwrap();
    }
    node.shutdown().await.unwrap();
    if !stops {
        fs::remove_file(dir.path().join("digests.json")).unwrap();
    }
    dir
}

fn replayed(dir: &Path) -> ShadowReport {
    let ledgers = Ledgers::default();
    shadow(dir, &Keyring::default(), &|group| ledgers.make(group)).unwrap()
}

fn of_shard(report: &ShadowReport) -> Shadowed {
    let shard = report.groups.iter().find(|group| group.group == SHARD);
    shard.unwrap().outcome
}

/// A machine that makes something else of the entries from one on, or cannot read them.
struct Odd {
    ledger: Arc<Ledger>,
    odd_from: u64,
    unable_from: u64,
}

impl StateMachine for Odd {
    fn apply(&self, entry: Entry<'_>) -> Bytes {
        assert!(
            entry.index < self.unable_from,
            "entry {} is from the future",
            entry.index
        );
        if entry.index >= self.odd_from {
            self.ledger.effects.store(7, Ordering::Relaxed);
        }
        self.ledger.apply(entry)
    }

    fn effects(&self) -> u64 {
        self.ledger.effects()
    }

    fn skip(&self, index: u64) {
        self.ledger.skip(index);
    }

    fn capture(&self) -> Box<dyn Capture> {
        self.ledger.capture()
    }

    fn state_bytes(&self) -> u64 {
        self.ledger.state_bytes()
    }

    fn restore(&self, chunks: &mut dyn Iterator<Item = std::io::Result<Bytes>>) -> Result<(), StateError> {
        self.ledger.restore(chunks)
    }

    fn clear(&self) {
        self.ledger.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_has_the_states_that_were_noted_as_the_node_stopped_to_the_last_entry() {
    let dir = written(200, true).await;
    let report = replayed(dir.path());
    assert_eq!(report.identity, Identity::read(dir.path()).unwrap().unwrap());
    assert!(report.noted_by.is_some() && report.different().next().is_none());
    let shard = &report.groups[1];
    assert_eq!(shard.snapshot, None, "the whole log is there");
    let last = shard.last.unwrap();
    assert!(last >= 200 && shard.replayed == last + 1, "{shard:?}");
    match shard.outcome {
        // The last entry's commit is in no later one: it is known from the note.
        Shadowed::Equal { at, compared } => assert!(at == last && compared >= 3, "{shard:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_makes_another_state_is_found_with_the_entries_between_which_it_does() {
    let dir = written(200, true).await;
    let ledgers = Ledgers::default();
    let report = shadow(dir.path(), &Keyring::default(), &|group| {
        ledgers.make(group);
        let at = if group == SHARD { 100 } else { u64::MAX };
        Arc::new(Odd {
            ledger: ledgers.of(group),
            odd_from: at,
            unable_from: u64::MAX,
        })
    });
    let report = report.unwrap();
    let different: Vec<_> = report.different().map(|group| group.group).collect();
    assert_eq!(different, [SHARD]);
    let expected = Shadowed::Different {
        at: 128,
        equal_at: Some(64),
    };
    assert_eq!(of_shard(&report), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_without_a_note_is_held_against_its_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let ledgers = Ledgers::default();
    let small = NodeOptions {
        snapshot_bytes_min: 16 * 1024,
        ..options(dir.path())
    };
    let node = Node::open(small, &|group| ledgers.make(group)).await.unwrap();
    node.ready().await;
    let shard = node.group(SHARD).unwrap();
    // Three of them: the log is cut behind the oldest that is kept, which is not the first.
    let mut behind = 0;
    for _ in 0..3 {
        behind = fill_until_snapshot_behind(&shard, behind).await;
    }
    node.shutdown().await.unwrap();
    fs::remove_file(dir.path().join("digests.json")).unwrap();
    let report = replayed(dir.path());
    assert_eq!(report.noted_by, None);
    let of_group = &report.groups[1];
    let base = of_group.snapshot.unwrap();
    match of_group.outcome {
        Shadowed::Equal { at, compared } => assert!(at > base && compared >= 1, "{of_group:?}"),
        other => panic!("{other:?}: {of_group:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_was_noted_nothing_is_said() {
    let dir = written(20, false).await;
    assert_eq!(of_shard(&replayed(dir.path())), Shadowed::NothingNoted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_program_cannot_read_is_named_with_its_group() {
    let dir = written(200, true).await;
    let ledgers = Ledgers::default();
    let refused = shadow(dir.path(), &Keyring::default(), &|group| {
        ledgers.make(group);
        let at = if group == SHARD { 100 } else { u64::MAX };
        Arc::new(Odd {
            ledger: ledgers.of(group),
            odd_from: u64::MAX,
            unable_from: at,
        })
    });
    let refused = refused.unwrap_err();
    assert!(matches!(refused, ShadowError::Replay(_)), "{refused}");
    let why = refused.to_string();
    assert!(
        why.contains("shard-0") && why.contains("entry 100 is from the future"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sound_is_not_replayed() {
    let dir = written(20, true).await;
    let ledgers = Ledgers::default();
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    let refused = shadow(dir.path(), &Keyring::default(), &|group| ledgers.make(group)).unwrap_err();
    assert!(matches!(refused, ShadowError::Unsound { .. }), "{refused}");
    fs::remove_file(dir.path().join("identity.json")).unwrap();
    let refused = shadow(dir.path(), &Keyring::default(), &|group| ledgers.make(group)).unwrap_err();
    assert!(matches!(refused, ShadowError::NoIdentity { .. }), "{refused}");
}
