//! A drop that is interrupted anywhere, and what a replica may do that comes after one.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use docket_persistence::SNAPSHOTS_DIR;
use docket_persistence::mem::{Fault, MemDisk};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use parking_lot::Mutex;

use crate::machine::{Capture, CaptureError, Entry, SnapshotSink, StateError, StateMachine};
use crate::raft::{EntryPayload, LogEntry, LogId, Membership, TypeConfig, Vote, log_id};
use crate::{Group, GroupId, Leadership, Node, NodeOptions};

const GROUP: GroupId = GroupId(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// Counts what it is told, and keeps each number aside.
#[derive(Default)]
struct Counter {
    count: Mutex<u64>,
    aside: Aside,
}

/// What is kept aside: it outlives the node, as a disk does.
type Aside = Arc<Mutex<BTreeSet<u64>>>;

impl StateMachine for Counter {
    fn apply(&self, _: Entry<'_>) -> Bytes {
        let mut count = self.count.lock();
        self.aside.lock().insert(*count);
        *count += 1;
        Bytes::new()
    }

    fn capture(&self) -> Box<dyn Capture> {
        Box::new(Count(*self.count.lock()))
    }

    fn state_bytes(&self) -> u64 {
        8
    }

    fn restore(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<(), StateError> {
        let mut whole = Vec::new();
        for chunk in chunks {
            whole.extend_from_slice(&chunk.map_err(StateError::new)?);
        }
        let count = whole.try_into().map_err(|_| StateError::new("not a count"))?;
        let count = u64::from_le_bytes(count);
        let aside = self.aside.lock();
        if let Some(lost) = (0..count).find(|number| !aside.contains(number)) {
            return Err(StateError::new(format_args!("{lost} is not there any more")));
        }
        *self.count.lock() = count;
        Ok(())
    }

    fn clear(&self) {
        *self.count.lock() = 0;
    }

    fn forget_aside(&self) {
        assert_eq!(*self.count.lock(), 0, "it counts still");
        self.aside.lock().clear();
    }
}

struct Count(u64);

impl Capture for Count {
    fn write(self: Box<Self>, sink: &mut SnapshotSink<'_>) -> Result<(), CaptureError> {
        sink(&self.0.to_le_bytes())
    }
}

/// A node that stands alone: what may be dropped there is decided by the test.
struct Bed {
    dir: tempfile::TempDir,
    disk: MemDisk,
    aside: Aside,
    of_meta: Aside,
}

struct Running {
    node: Node,
    counter: Arc<Counter>,
}

impl Bed {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            disk: MemDisk::new(),
            aside: Aside::default(),
            of_meta: Aside::default(),
        }
    }

    async fn open(&self) -> Running {
        let options = NodeOptions {
            shards: Some(1),
            snapshot_bytes_min: 4 * 1024,
            heartbeat_ms: 40,
            election_timeout_min_ms: 120,
            election_timeout_max_ms: 240,
            ..NodeOptions::new(self.dir.path())
        };
        let (store, mark) = (Box::new(self.disk.store()), Box::new(self.disk.mark()));
        let keeping = |aside: &Aside| {
            Arc::new(Counter {
                aside: Arc::clone(aside),
                ..Counter::default()
            })
        };
        let counter = keeping(&self.aside);
        let machine = |group| match group {
            GROUP => Arc::clone(&counter) as Arc<dyn StateMachine>,
            _ => keeping(&self.of_meta),
        };
        let node = Node::open_with(options, store, mark, &machine).await.unwrap();
        Running {
            node,
            counter: Arc::clone(&counter),
        }
    }

    fn has_snapshots(&self) -> bool {
        let dir = self.dir.path().join(SNAPSHOTS_DIR);
        std::fs::read_dir(dir)
            .unwrap()
            .any(|entry| entry.unwrap().file_name() == GROUP.0.to_string().as_str())
    }
}

impl Running {
    fn group(&self) -> Group {
        self.node.group(GROUP).unwrap()
    }

    fn count(&self) -> u64 {
        *self.counter.count.lock()
    }

    /// Fills the group until it has purged its log behind a snapshot, and goes on a little.
    async fn fill(&self) {
        self.node.ready().await;
        let group = self.group();
        let begun = Instant::now();
        while group.inner().log.purged_index().is_none() {
            assert!(begun.elapsed() < PATIENCE, "no snapshot");
            propose(&group, Bytes::from(vec![7; 1024])).await;
        }
        for _ in 0..3 {
            propose(&group, Bytes::from_static(b"behind it")).await;
        }
    }

    fn last(&self) -> Option<LogId> {
        self.group().inner().log.with_last()
    }
}

/// Proposes until somebody leads and it is acknowledged.
async fn propose(group: &Group, payload: Bytes) {
    let begun = Instant::now();
    while let Err(error) = group.propose(payload.clone()).await {
        assert!(begun.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the group is in a term at all.
async fn term_of(group: &Group) -> u64 {
    let begun = Instant::now();
    while group.status().term == 0 {
        assert!(begun.elapsed() < PATIENCE, "no term");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    group.status().term
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_that_is_interrupted_leaves_the_whole_replica_or_nothing_of_it_but_its_vote() {
    let (mut whole, mut gone) = (0, 0);
    for takes_effect in [false, true] {
        for call in 1.. {
            let bed = Bed::new();
            let running = bed.open().await;
            running.fill().await;
            let (count, term) = (running.count(), running.group().status().term);
            let last = running.last();
            bed.disk.inject(Fault::Kill { call, takes_effect });
            let dropped = running.group().drop_replica().await;
            let survived = running.node.shutdown().await.is_ok();
            bed.disk.restart_machine(call);

            for life in 0..2 {
                let running = bed.open().await;
                let (group, at) = (running.group(), format!("call {call}, life {life}"));
                // It fits what the others need, too.
                propose(&running.node.meta(), Bytes::from_static(b"meta")).await;
                if group.inner().log.was_dropped() {
                    assert_eq!((running.count(), running.last()), (0, None), "{at}");
                    assert_eq!(group.inner().log.floor(), last, "{at}");
                    assert!(!bed.has_snapshots() && bed.aside.lock().is_empty(), "{at}");
                    let (now, voters) = (term_of(&group).await, group.status().voters);
                    assert_eq!((now, voters), (term, Vec::new()), "{at}");
                    gone += 1;
                } else {
                    assert!(dropped.is_err(), "{at}: what was dropped is back");
                    running.node.ready().await;
                    assert_eq!(running.count(), count, "{at}");
                    whole += 1;
                }
                running.node.shutdown().await.unwrap();
                bed.disk.restart_machine(call);
            }
            if dropped.is_ok() && survived {
                break;
            }
        }
    }
    assert!(whole > 0 && gone > 0, "{whole} whole, {gone} gone");
}

fn entry(id: LogId, payload: EntryPayload) -> LogEntry {
    LogEntry { log_id: id, payload }
}

/// What a leader of others sends.
async fn append(group: &Group, term: u64, prev: Option<LogId>, entries: Vec<LogEntry>) {
    let request = AppendEntriesRequest::<TypeConfig> {
        vote: Vote::new_committed(term, 2),
        prev_log_id: prev,
        entries,
        leader_commit: None,
    };
    let appended = group.raft().append_entries(request).await.unwrap();
    assert!(matches!(appended, AppendEntriesResponse::Success), "{appended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_dropped_a_log_neither_votes_for_less_nor_leads_with_less() {
    let bed = Bed::new();
    let running = bed.open().await;
    running.fill().await;
    let group = running.group();
    let (floor, term) = (running.last().unwrap(), group.status().term);
    assert!(
        group.may_vote_for(None),
        "the core decides as long as nothing was dropped"
    );
    group.drop_replica().await.unwrap();
    assert!(group.propose(Bytes::new()).await.is_err() && group.read_barrier().await.is_err());
    let shorter = log_id(term, floor.index - 1);
    assert!(!group.may_vote_for(Some(shorter)) && !group.may_vote_for(None));
    assert!(group.may_vote_for(Some(floor)) && group.may_vote_for(Some(log_id(term + 1, 0))));

    // It comes back as a learner of another leader, whose first entry says that this node votes alone, as it did once.
    let alone = Membership::new_with_defaults(vec![BTreeSet::from([1])], []);
    let first = entry(log_id(1, 0), EntryPayload::Membership(alone));
    append(&group, term + 5, None, vec![first]).await;
    let begun = Instant::now();
    while group.status().voters.len() != 1 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", group.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // An election would come within two of its times.
    let until = Instant::now() + Duration::from_millis(5 * 240);
    while Instant::now() < until {
        let status = group.status();
        assert_eq!(status.term, term + 5, "it stands for election: {status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Neither does it after a start.
    running.node.shutdown().await.unwrap();
    let running = bed.open().await;
    let group = running.group();
    assert_eq!(running.last(), Some(log_id(1, 0)));
    assert_eq!(term_of(&group).await, term + 5);
    let until = Instant::now() + Duration::from_millis(5 * 240);
    while Instant::now() < until {
        assert_eq!(group.status().term, term + 5, "it stands for election");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // With more than it ever had it may.
    let more = entry(log_id(term + 5, 1), EntryPayload::Blank);
    append(&group, term + 5, Some(log_id(1, 0)), vec![more]).await;
    assert!(group.may_vote_for(None));
    let mut leadership = group.leadership();
    let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. }));
    let leads = tokio::time::timeout(PATIENCE, leads).await;
    assert!(matches!(leads, Ok(Ok(_))), "{leads:?}");
    drop(leads);
    assert!(group.status().term > term + 5);
    running.node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_comes_back_after_a_drop_is_restored_from_what_came_after_it() {
    let bed = Bed::new();
    let running = bed.open().await;
    running.fill().await;
    let group = running.group();
    let (floor, term) = (running.last().unwrap(), group.status().term);
    group.drop_replica().await.unwrap();
    let alone = Membership::new_with_defaults(vec![BTreeSet::from([1])], []);
    let first = entry(log_id(1, 0), EntryPayload::Membership(alone));
    let second = entry(log_id(term + 1, 1), EntryPayload::Blank);
    append(&group, term + 1, None, vec![first, second]).await;
    // Above the floor it leads alone, and fills the log anew; the journal still has much of the old one.
    running.fill().await;
    let (count, last) = (running.count(), running.last());
    assert!(last.unwrap() > floor && count > 3);
    running.node.shutdown().await.unwrap();
    // The journal has the old drop still: what it reads before it takes nothing of what came after, neither the snapshot nor what is aside.
    let running = bed.open().await;
    running.node.ready().await;
    assert_eq!(running.count(), count);
    running.node.shutdown().await.unwrap();
    for life in 1..3 {
        cut_by_meta(&bed, life).await;
    }
    let running = bed.open().await;
    running.node.ready().await;
    // It leads, and so has applied all.
    assert_eq!(running.count(), count);
    assert!(running.last() >= last);
    propose(&running.group(), Bytes::from_static(b"on")).await;
    running.node.shutdown().await.unwrap();
}

/// A life in which the meta group fills the journal until it is cut.
async fn cut_by_meta(bed: &Bed, life: u64) {
    let running = bed.open().await;
    running.node.ready().await;
    let meta = running.node.meta();
    let begun = Instant::now();
    let purged = meta.inner().log.purged_index();
    while meta.inner().log.purged_index() == purged {
        assert!(begun.elapsed() < PATIENCE, "no snapshot");
        propose(&meta, Bytes::from(vec![7; 1024])).await;
    }
    running.node.shutdown().await.unwrap();
    bed.disk.restart_machine(life);
}
