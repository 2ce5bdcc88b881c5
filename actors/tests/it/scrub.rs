//! A node reads all that it has stored once more while it serves: it finds what its disk has spoilt, says whose that is, and finds nothing else.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use docket_actors::{AgingOptions, ArchiveEngine, Call, Options, ScrubError, ScrubOptions, Scrubbing};
use docket_persistence::{
    StoreError,
    archive::{Entry, Keyed},
    mem::MemKeyed,
};

use crate::shop::{Shop, small};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// All the time, as fast as it goes.
const ALWAYS: ScrubOptions = ScrubOptions {
    every: Some(Duration::from_millis(1)),
    bytes_per_second: 0,
};

/// A node whose segments are short, and which archives at once.
fn options(dir: &Path, scrub: ScrubOptions) -> Options {
    let mut options = small(dir);
    options.node.journal.segment_bytes = 64 * 1024;
    options.scrub = scrub;
    options.aging = AgingOptions {
        close_after: Some(Duration::ZERO),
        archive_after: Some(Duration::ZERO),
        at_once: 32,
    };
    options
}

async fn open(dir: &Path, scrub: ScrubOptions) -> Shop {
    let shop = Shop::open_with(options(dir, scrub)).await;
    shop.customer("ada", 1 << 40).await;
    shop.item("tea", 350, 1 << 30).await;
    shop
}

/// Places an order and cancels it, which is over then.
async fn order(shop: &Shop, number: usize) {
    let placed = shop.place(&format!("r{number}"), "ada", &[("tea", 2, 350)]).await;
    let id = placed.unwrap().id;
    shop.docket.cancel_order(Call::default(), id, None).await.unwrap();
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Has all of it read, and waits.
async fn read(shop: &Shop) -> Scrubbing {
    let before = shop.docket.scrubbed().ended;
    shop.docket.begin_scrub().unwrap();
    until("all to be read", async || shop.docket.scrubbed().ended > before).await;
    shop.docket.scrubbed().last.unwrap()
}

fn never() -> ScrubOptions {
    ScrubOptions {
        every: None,
        ..ALWAYS
    }
}

/// Folders in a folder, in order of their names.
fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// Flips a bit where this text is last in a file, if it is there.
fn flip(file: &Path, text: &[u8]) -> bool {
    let bytes = fs::read(file).unwrap_or_default();
    let Some(at) = bytes.windows(text.len()).rposition(|window| window == text) else {
        return false;
    };
    let open = fs::OpenOptions::new().write(true).open(file).unwrap();
    open.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_while_orders_are_placed_and_snapshots_and_segments_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let shop = open(dir.path(), ALWAYS).await;
    let status = || shop.docket.status();
    let mut number = 0;
    let begun = Instant::now();
    // Until there were several snapshots and segments, and what was in the first is gone.
    let is_enough = || {
        let status = status();
        status.cluster.journal.first_seq > 100
            && status.entities.archived_orders > 50
            && status.scrub.ended > 20
    };
    while !is_enough() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", status());
        for _ in 0..20 {
            number += 1;
            order(&shop, number).await;
        }
        let scrub = shop.docket.scrubbed();
        for one in scrub.last.iter().chain(&scrub.now) {
            assert_eq!(one.report.damages, [], "after {} times", scrub.ended);
        }
    }
    assert!(shop.docket.scrubbed().last.unwrap().by_itself);
    // Also what it is opened with again is whole.
    shop.close().await;
    let shop = Shop::open_with(options(dir.path(), never())).await;
    let last = read(&shop).await;
    assert_eq!(last.report.damages, []);
    assert!(!last.by_itself && last.report.bytes > 0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_that_flips_in_a_sealed_segment_is_told_by_file_and_frame_and_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), never());
    // All of it is needed still.
    options.node.snapshot_bytes_min = 1 << 30;
    let shop = Shop::open_with(options).await;
    // In the log as it is, and nowhere twice.
    let name = |number: usize| format!("customer-{number:0>200}");
    let (mut number, begun) = (0, Instant::now());
    let journal = dir.path().join("journal");
    while folders(&journal).len() < 4 {
        assert!(begun.elapsed() < PATIENCE);
        for _ in 0..50 {
            number += 1;
            named(&shop, number, &name(number)).await;
        }
    }
    assert_eq!(read(&shop).await.report.damages, []);
    let second = folders(&journal)[1].join("db");
    let hit = (1..=number)
        .rev()
        .find(|number| flip(&second, name(*number).as_bytes()));
    assert!(hit.is_some(), "no customer is in {}", second.display());
    let last = read(&shop).await;
    let damages = &last.report.damages;
    let found = damages
        .iter()
        .find(|damaged| damaged.file.starts_with(&folders(&journal)[1]));
    let found = found.unwrap_or_else(|| panic!("{damages:?}"));
    assert_eq!(found.kind, "journal");
    assert!(found.place.starts_with("frame"), "{found:?}");
    assert!(
        found
            .of
            .iter()
            .any(|of| of.starts_with("shard-") && of.contains("entr")),
        "{found:?}"
    );
    assert_eq!(last.report.by_kind["journal"], last.report.damaged());
    // It serves on.
    named(&shop, number + 1, "after").await;
    assert_eq!(shop.docket.status().cluster.failed, None);
}

async fn named(shop: &Shop, number: usize, name: &str) {
    let new = docket_actors::NewCustomer {
        id: docket_engine::CustomerId::new(&format!("c{number}")).unwrap(),
        display_name: name.into(),
        currency: "EUR".parse().unwrap(),
        credit_limit: docket_engine::Amount(0),
    };
    shop.docket.create_customer(Call::default(), new).await.unwrap();
}

/// An archive of which one order is not what was put, from some moment on.
struct Spoilt {
    keyed: MemKeyed,
    /// Of the values' tree: its key.
    key: Mutex<Option<Vec<u8>>>,
}

impl Spoilt {
    fn read(&self, tree: &str, key: &[u8], value: Bytes) -> Bytes {
        let is_it = tree.ends_with("values") && self.key.lock().unwrap().as_deref() == Some(key);
        if !is_it {
            return value;
        }
        let mut spoilt = value.to_vec();
        *spoilt.last_mut().unwrap() ^= 1;
        spoilt.into()
    }
}

impl Keyed for Spoilt {
    fn put(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.keyed.put(tree, key, value)
    }

    fn get(&self, tree: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.keyed.get(tree, key)?;
        Ok(found.map(|value| self.read(tree, key, value)))
    }

    fn newest(&self, tree: &str, from: &[u8], below: &[u8], most: usize) -> Result<Vec<Entry>, StoreError> {
        let found = self.keyed.newest(tree, from, below, most)?.into_iter();
        Ok(found
            .map(|(key, value)| (key.clone(), self.read(tree, &key, value)))
            .collect())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.keyed.sync()
    }

    fn remove(&self, prefix: &str) -> Result<(), StoreError> {
        self.keyed.remove(prefix)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_of_the_archive_that_is_not_what_was_put_is_told_by_its_shard_while_others_are_placed() {
    let dir = tempfile::tempdir().unwrap();
    let spoilt = Arc::new(Spoilt {
        keyed: MemKeyed::new(),
        key: Mutex::default(),
    });
    let mut options = options(dir.path(), never());
    options.archive = Some(ArchiveEngine(spoilt.clone()));
    let shop = Shop::open_with(options).await;
    shop.customer("ada", 1 << 40).await;
    shop.item("tea", 350, 1 << 30).await;
    let placed = shop.place("first", "ada", &[("tea", 2, 350)]).await.unwrap();
    shop.docket
        .cancel_order(Call::default(), placed.id, None)
        .await
        .unwrap();
    for number in 0..30 {
        order(&shop, number).await;
    }
    let archived = async || shop.docket.status().entities.archived_orders >= 31;
    until("all to be archived", archived).await;
    assert_eq!(read(&shop).await.report.damages, []);
    *spoilt.key.lock().unwrap() = Some(placed.id.0.to_be_bytes().to_vec());
    let report = read(&shop).await.report;
    let [damaged] = &report.damages[..] else {
        panic!("{report:?}")
    };
    assert_eq!((damaged.kind, report.by_kind["archive"]), ("archive", 1));
    assert!(damaged.place.starts_with("order "), "{damaged:?}");
    assert!(damaged.of[0].starts_with("shard-"), "{damaged:?}");
    assert!(damaged.file.ends_with("archive"), "{damaged:?}");
    order(&shop, 31).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_that_flips_in_a_snapshot_is_told_by_its_file_and_group() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path(), never());
    options.aging.archive_after = None;
    let shop = Shop::open_with(options.clone()).await;
    shop.customer("ada", 1 << 40).await;
    shop.item("tea", 350, 1 << 30).await;
    let snapshots = dir.path().join("snapshots");
    let data = || -> Vec<PathBuf> {
        let of_groups = folders(&snapshots).into_iter();
        let all = of_groups.flat_map(|group| folders(&group));
        all.map(|snapshot| snapshot.join("data"))
            .filter(|data| data.exists())
            .collect()
    };
    let (mut number, begun) = (0, Instant::now());
    while data().len() < 4 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", shop.docket.status());
        number += 1;
        order(&shop, number).await;
    }
    shop.close().await;
    let shop = Shop::open_with(options).await;
    assert_eq!(read(&shop).await.report.damages, []);
    let hit = data()[0].clone();
    let middle = fs::metadata(&hit).unwrap().len() / 2;
    let file = fs::OpenOptions::new().read(true).write(true).open(&hit).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
    let report = read(&shop).await.report;
    let [damaged] = &report.damages[..] else {
        panic!("{report:?}")
    };
    assert_eq!((damaged.kind, &damaged.file), ("snapshot", &hit));
    assert!(
        damaged.of.len() == 1 && damaged.why.contains("block"),
        "{damaged:?}"
    );
    shop.place("more", "ada", &[("tea", 1, 350)]).await.unwrap();
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_goes_on_at_a_time_at_its_pace_and_ends_when_the_node_stops() {
    let dir = tempfile::tempdir().unwrap();
    let slow = ScrubOptions {
        every: None,
        bytes_per_second: 1,
    };
    let shop = open(dir.path(), slow).await;
    order(&shop, 1).await;
    shop.docket.begin_scrub().unwrap();
    assert_eq!(shop.docket.begin_scrub(), Err(ScrubError::Busy));
    let bytes = || shop.docket.scrubbed().now.map_or(0, |now| now.report.bytes);
    until("something to be read", async || bytes() > 0).await;
    assert_eq!(shop.docket.scrubbed().last, None);
    // Orders do not wait for it.
    order(&shop, 2).await;
    let begun = Instant::now();
    shop.close().await;
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
}
