//! The archive, the journal and snapshots, and the power that goes: an order is in memory by the log, or in the archive, or both, and never in
//! neither; and whoever looks finds it once.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use docket_actors::{AgingOptions, ArchiveEngine, Call, Docket, Options, VerifyPace};
use docket_cluster::Node;
use docket_engine::{Order, OrderFilter, OrderId, OrderState};
use docket_persistence::{
    StoreError,
    archive::{Entry, Keyed},
    mem::{MemDisk, MemKeyed, Seeded},
};

use super::{AT_ONCE, NEVER, get, listed, ship, until};
use crate::shop::Shop;

/// Seeds in an ordinary run; `DOCKET_SEEDS` sets another number.
const SEEDS: u64 = 24;
pub(super) const PACE: VerifyPace = VerifyPace {
    look_every: Duration::from_millis(50),
    grace: Duration::from_secs(5),
    give_up: Duration::from_secs(20),
};

/// An archive whose power goes at a call that puts or syncs.
#[derive(Clone)]
struct Failing {
    keyed: MemKeyed,
    disk: MemDisk,
    /// So many calls are left; 0: the power never goes, or has gone.
    left: Arc<AtomicU64>,
    calls: Arc<AtomicU64>,
    /// Whether syncing does nothing: a bug that must be found.
    never_syncs: bool,
    /// Whether reading panics.
    panics: Arc<AtomicBool>,
}

impl Failing {
    fn new(disk: &MemDisk) -> Self {
        Self {
            keyed: MemKeyed::new(),
            disk: disk.clone(),
            left: Arc::default(),
            calls: Arc::default(),
            never_syncs: false,
            panics: Arc::default(),
        }
    }

    fn count(&self) {
        self.calls.fetch_add(1, Ordering::AcqRel);
        let less = |left: u64| left.checked_sub(1);
        if self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, less) == Ok(1) {
            self.disk.kill_process();
            self.keyed.kill_process();
        }
    }
}

impl Keyed for Failing {
    fn put(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.count();
        self.keyed.put(tree, key, value)
    }

    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        assert!(!self.panics.load(Ordering::Acquire), "planted: reading of {tree}");
        self.keyed.get(tree, key)
    }

    fn newest(&self, tree: &str, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, StoreError> {
        self.keyed.newest(tree, from, below, most)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.count();
        match self.never_syncs {
            true => Ok(()),
            false => self.keyed.sync(),
        }
    }

    fn remove(&self, prefix: &str) -> Result<(), StoreError> {
        self.keyed.remove(prefix)
    }
}

async fn open(disk: &MemDisk, dir: &Path, archive: &Failing, aging: AgingOptions) -> Result<Docket, String> {
    let mut options = Options::new(dir);
    options.node.shards = Some(2);
    options.node.snapshot_bytes_min = 4_096;
    options.aging = aging;
    options.archive = Some(ArchiveEngine(Arc::new(archive.clone())));
    let (store, mark) = (Box::new(disk.store()), Box::new(disk.mark()));
    let opened = Docket::open_with(options, async move |options, machine| {
        Node::open_with(options, store, mark, machine).await
    });
    let docket = opened.await.map_err(|error| error.to_string())?;
    // One whose power goes at once is never ready.
    tokio::select! {
        () = docket.ready() => {}
        _ = docket.failed() => {}
    }
    Ok(docket)
}

/// What was there when nothing was archived yet.
async fn shop(disk: &MemDisk, dir: &Path, archive: &Failing) -> BTreeMap<OrderId, Arc<Order>> {
    let docket = open(disk, dir, archive, NEVER).await.unwrap();
    let shop = Shop { docket };
    shop.customer("ada", 1_000_000).await;
    shop.customer("bob", 1_000_000).await;
    shop.item("tea", 1, 1_000_000).await;
    let mut orders = BTreeMap::new();
    for number in 0..24 {
        let customer = ["ada", "bob"][number % 2];
        let placed = shop
            .place(&format!("r{number}"), customer, &[("tea", 2, 1)])
            .await;
        let id = placed.unwrap().id;
        match number % 4 {
            0 | 1 => ship(&shop.docket, id).await,
            2 => drop(shop.docket.cancel_order(Call::default(), id, None).await.unwrap()),
            _ => {}
        }
        orders.insert(id, get(&shop.docket, id).await);
    }
    shop.close().await;
    orders
}

/// Every order is there once, as it was or closed since, and the books are right.
async fn check(docket: &Docket, orders: &BTreeMap<OrderId, Arc<Order>>, seed: u64) {
    let found = listed(docket, OrderFilter::default(), 5).await;
    assert!(
        found.iter().map(|order| &order.id).rev().eq(orders.keys()),
        "seed {seed}"
    );
    for order in found {
        let was = &orders[&order.id];
        let is_right = order.state == was.state
            || (was.state, order.state) == (OrderState::Fulfilled, OrderState::Closed);
        assert!(is_right, "seed {seed}: {order:?}");
        assert_eq!(get(docket, order.id).await, order, "seed {seed}");
    }
    docket.validate().unwrap();
    let report = docket.verify(PACE).await.unwrap();
    assert_eq!(report.discrepancies, [], "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_the_power_goes_an_order_is_in_memory_or_in_the_archive_and_found_once() {
    let seeds = std::env::var("DOCKET_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok());
    for seed in 0..seeds.unwrap_or(SEEDS) {
        let mut random = Seeded::new(seed);
        let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::new());
        let archive = Failing::new(&disk);
        let orders = shop(&disk, dir.path(), &archive).await;
        for life in 0..4 {
            // Within what archiving all of them takes, mostly.
            archive.left.store(1 + random.below(60), Ordering::Release);
            if let Ok(docket) = open(&disk, dir.path(), &archive, AT_ONCE).await {
                let asked = std::time::Instant::now();
                let is_done = || docket.status().entities.archived_orders == 18;
                while archive.left.load(Ordering::Acquire) > 0 && !is_done() {
                    assert!(asked.elapsed() < super::PATIENCE, "seed {seed}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                // The node may have failed: closing says so.
                let _ = docket.close(Duration::from_secs(2)).await;
            }
            archive.left.store(0, Ordering::Release);
            match random.below(4) {
                0 => {
                    disk.restart_process();
                    archive.keyed.restart_process();
                }
                _ => {
                    disk.restart_machine(random.draw());
                    archive.keyed.restart_machine(random.draw());
                }
            }
            let docket = open(&disk, dir.path(), &archive, NEVER).await;
            let docket = docket.unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            check(&docket, &orders, seed).await;
            docket.close(Duration::from_secs(5)).await.unwrap();
        }
        let docket = open(&disk, dir.path(), &archive, AT_ONCE).await.unwrap();
        until(
            &docket,
            "all that are over are archived",
            async |docket: &Docket| docket.status().entities.archived_orders == 18,
        )
        .await;
        check(&docket, &orders, seed).await;
        docket.close(Duration::from_secs(5)).await.unwrap();
    }
}

/// That the test above finds what it is there for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_was_not_synced_before_a_snapshot_is_found_out_and_not_passed_over() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::new());
    let archive = Failing {
        never_syncs: true,
        ..Failing::new(&disk)
    };
    shop(&disk, dir.path(), &archive).await;
    let docket = open(&disk, dir.path(), &archive, AT_ONCE).await.unwrap();
    until(
        &docket,
        "all that are over are archived",
        async |docket: &Docket| docket.status().entities.archived_orders == 18,
    )
    .await;
    // Until snapshots stand for them, whatever it takes.
    let newest = |docket: &Docket| -> Vec<Option<u64>> {
        let groups = docket.status().cluster.groups;
        groups.iter().skip(1).map(|group| group.snapshot_index).collect()
    };
    let shop = Shop { docket };
    let before = newest(&shop.docket);
    let mut number = 0;
    while newest(&shop.docket)
        .iter()
        .zip(&before)
        .any(|(now, before)| now == before)
    {
        assert!(number < 5_000, "no snapshot is taken");
        number += 1;
        let customer = ["ada", "bob"][number % 2];
        let lines = [("tea", 1, 1)];
        shop.place(&format!("more{number}"), customer, &lines)
            .await
            .unwrap();
    }
    shop.close().await;
    disk.restart_process();
    archive.keyed.lose_unsynced();
    let error = open(&disk, dir.path(), &archive, NEVER).await;
    match error {
        Err(error) => assert!(error.contains("archive"), "{error}"),
        Ok(_) => panic!("what was lost is passed over, or no snapshot stood for it"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verification_finds_whatever_is_wrong_with_an_archive() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::new());
    let archive = Failing::new(&disk);
    shop(&disk, dir.path(), &archive).await;
    let docket = open(&disk, dir.path(), &archive, AT_ONCE).await.unwrap();
    until(
        &docket,
        "all that are over are archived",
        async |docket: &Docket| docket.status().entities.archived_orders == 18,
    )
    .await;
    let keyed = archive.keyed.clone();
    // The shelf that has most.
    let all = |tree: &str| keyed.newest(tree, &[], &[0xff; 40], 1_000).unwrap();
    let shelf = (0..2)
        .max_by_key(|shelf| all(&format!("{shelf}/numbers")).len())
        .unwrap();
    let entry = |tree: &str, at: usize| {
        (
            format!("{shelf}/{tree}"),
            all(&format!("{shelf}/{tree}"))[at].clone(),
        )
    };
    let mut flipped = entry("values", 0).1.1.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let other = entry("values", 1).1.1;
    let check = async |(tree, (key, value)): (String, Entry), planted: Option<&[u8]>| {
        keyed.damage(&tree, &key, planted);
        let report = docket.verify(PACE).await.unwrap();
        let kinds: Vec<_> = report.discrepancies.iter().map(|it| it.kind.as_str()).collect();
        assert!(
            kinds.contains(&"ARCHIVE_DIFFERS"),
            "{tree}: {:?}",
            report.discrepancies
        );
        keyed.damage(&tree, &key, Some(&value));
        assert_eq!(docket.verify(PACE).await.unwrap().discrepancies, [], "{tree}");
    };
    check(entry("numbers", 0), None).await;
    check(entry("values", 0), None).await;
    check(entry("values", 0), Some(&flipped)).await;
    // Of another order, whole.
    check(entry("values", 0), Some(&other)).await;
    check(entry("by-0", 0), None).await;
    check(entry("by-1", 0), None).await;
    docket.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_that_panics_leaves_its_shard_undecided_and_the_others_are_verified() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemDisk::new());
    let archive = Failing::new(&disk);
    shop(&disk, dir.path(), &archive).await;
    let docket = open(&disk, dir.path(), &archive, AT_ONCE).await.unwrap();
    until(
        &docket,
        "all that are over are archived",
        async |docket: &Docket| docket.status().entities.archived_orders == 18,
    )
    .await;
    let whole = docket.verify(PACE).await.unwrap();
    let with_archive = whole.shards.iter().filter(|shard| shard.archived > 0).count();
    assert!((1..whole.shards.len()).contains(&with_archive), "{whole:#?}");
    archive.panics.store(true, Ordering::Release);
    let report = docket.verify(PACE).await.unwrap();
    archive.panics.store(false, Ordering::Release);
    let left_out: Vec<_> = report.not_looked_at.iter().map(|it| it.why).collect();
    assert_eq!(left_out, vec!["its walk has failed"; with_archive]);
    assert_eq!(report.shards.len(), whole.shards.len() - with_archive);
    assert_eq!(report.undecided, with_archive as u64);
    assert!(docket.verify(PACE).await.unwrap().is_clean());
    docket.close(Duration::from_secs(5)).await.unwrap();
}
