//! What a node has written is replayed beside it, by this program and by one that decides otherwise.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use docket_actors::{GroupId, ShadowReport, Shadowed, shadow, shadow_with};
use docket_cluster::{Capture, Entry, StateError, StateMachine};
use docket_persistence::sealing::Keyring;

use crate::shop::{Shop, small};

const ORDERS: usize = 200;
/// The shard in which something goes wrong.
const BAD: GroupId = GroupId(2);

/// A node that has done something and was stopped in order.
async fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let shop = Shop::open_with(small(dir.path())).await;
    let customers = ["ada", "bob", "cleo", "dan", "eve"];
    for customer in customers {
        shop.customer(customer, 1_000_000).await;
    }
    for sku in ["tea", "pot", "cup", "jug"] {
        shop.item(sku, 5, 1_000_000).await;
    }
    for number in 0..ORDERS {
        let customer = customers[number % customers.len()];
        let lines = [("tea", 1, 5), (["pot", "cup", "jug"][number % 3], 2, 5)];
        shop.place(&format!("r{number}"), customer, &lines).await.unwrap();
    }
    shop.close().await;
    dir
}

/// A copy, since a replay changes what it opens.
fn copy(from: &Path) -> tempfile::TempDir {
    fn tree(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => tree(&entry.path(), &to),
                false => drop(fs::copy(entry.path(), to).unwrap()),
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    tree(from, to.path());
    to
}

/// A machine that loses one of the entries that it is given.
struct Forgetful {
    machine: Arc<dyn StateMachine>,
    /// How many it takes until then.
    left: AtomicU64,
    /// Which one it has lost.
    lost: Arc<AtomicU64>,
}

impl StateMachine for Forgetful {
    fn apply(&self, entry: Entry<'_>) -> Bytes {
        if self.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return self.machine.apply(entry);
        }
        self.lost.store(entry.index, Ordering::Relaxed);
        self.machine.skip(entry.index);
        Bytes::from_static(&[0])
    }

    fn effects(&self) -> u64 {
        self.machine.effects()
    }

    fn skip(&self, index: u64) {
        self.machine.skip(index);
    }

    fn capture(&self) -> Box<dyn Capture> {
        self.machine.capture()
    }

    fn state_bytes(&self) -> u64 {
        self.machine.state_bytes()
    }

    fn restore(&self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> Result<(), StateError> {
        self.machine.restore(chunks)
    }

    fn clear(&self) {
        self.machine.clear();
    }
}

fn same(report: &ShadowReport) {
    for group in &report.groups {
        let is_same = matches!(group.outcome, Shadowed::Equal { at, .. } if Some(at) == group.last);
        assert!(is_same, "{group:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_program_makes_of_a_journal_what_was_noted_and_one_that_loses_an_entry_is_found() {
    let dir = written().await;
    let replayed = copy(dir.path());
    let report = shadow(replayed.path(), &Keyring::default()).unwrap();
    assert_eq!(report.groups.len(), 5);
    same(&report);
    assert!(
        report.groups.iter().any(|group| group.snapshot.is_some()),
        "no replay was begun with a snapshot: {report:?}"
    );

    let replayed = copy(dir.path());
    let lost = Arc::new(AtomicU64::new(0));
    let report = shadow_with(
        replayed.path(),
        &Keyring::default(),
        &|group, machine| match group {
            BAD => Arc::new(Forgetful {
                machine,
                left: AtomicU64::new(10),
                lost: lost.clone(),
            }),
            _ => machine,
        },
    );
    let report = report.unwrap();
    let different: Vec<_> = report.different().collect();
    assert_eq!(different.len(), 1, "{report:?}");
    assert_eq!(different[0].group, BAD);
    let lost = lost.load(Ordering::Relaxed);
    match different[0].outcome {
        Shadowed::Different { at, equal_at } => assert!(
            lost <= at && equal_at.is_none_or(|equal_at| equal_at < lost),
            "it has lost entry {lost}: {different:?}"
        ),
        other => panic!("{other:?}"),
    }
}
