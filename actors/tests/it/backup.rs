//! What a node hands out for a backup, and another one made of it: from a snapshot whose log is gone, with what has left memory; and of a time, nothing
//! that was stamped later.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_actors::{
    AgingOptions, Call, Docket, ListOrders, Options, VerifyPace,
    backup::{BackupError, BackupPoint, Blanks, LoggedEntry, stamped},
};
use docket_cluster::{GroupId, Restored, Restoring};
use docket_engine::{Order, Sku, Time};
use docket_persistence::sealing::Keyring;

use crate::shop::{Shop, small};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything of a group, as far as the point says: its snapshot with what that leaves aside, and the entries behind. `None` where the
/// snapshot is of later by now.
struct Part {
    group: GroupId,
    base: Option<Restored>,
    state: Vec<io::Result<bytes::Bytes>>,
    entries: Vec<LoggedEntry>,
}

async fn read(docket: &Docket, point: &BackupPoint) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for of in &point.groups {
        let (group, next) = (of.group, of.next);
        let mut part = Part {
            group,
            base: None,
            state: Vec::new(),
            entries: Vec::new(),
        };
        let mut at = 0;
        if let Some(state) = docket.backup_state(group).unwrap() {
            if state.next > next || state.time > point.time {
                return None;
            }
            at = state.next;
            let archived = state.archived;
            part.base = Some(Restored {
                next: at,
                term: state.term,
            });
            part.state = state.collect();
            part.state
                .extend(docket.backup_archive(group, 0, archived).unwrap());
        }
        while at < next {
            let page = docket.backup_log(group, at, next).await.unwrap();
            at = page.last().unwrap().index + 1;
            part.entries.extend(page);
        }
        parts.push(part);
    }
    Some(parts)
}

/// A point, and all of it. A snapshot that comes between the two has another one asked for.
async fn back_up(docket: &Docket) -> (BackupPoint, Vec<Part>) {
    let asked = Instant::now();
    loop {
        let point = docket.backup_point().await.unwrap();
        if let Some(parts) = read(docket, &point).await {
            return (point, parts);
        }
        assert!(asked.elapsed() < PATIENCE, "snapshots overtake every point");
    }
}

/// Makes a data directory of it, as of a time.
async fn restore(point: &BackupPoint, parts: Vec<Part>, until: Time, dir: &Path) {
    let (dir, shards) = (dir.to_owned(), point.shards);
    let work = move || {
        let mut restoring = Restoring::begin(&dir, "of a test", shards, &Keyring::default()).unwrap();
        let blanks = Blanks::in_directory(&dir, &Keyring::default()).unwrap();
        for part in parts {
            let group = part.group;
            let blank = blanks.of(group);
            let mut wanted =
                |entry: &LoggedEntry| Ok(stamped(group, entry)?.is_none_or(|time| time <= until));
            let mut state = part.state.into_iter();
            let state = part
                .base
                .map(|base| (base, &mut state as &mut dyn Iterator<Item = _>));
            let mut entries = part.entries.into_iter().map(Ok);
            let machine = Arc::clone(&blank.machine);
            let accept = || Ok(());
            restoring
                .group(group, machine, state, &mut entries, &mut wanted, &accept)
                .unwrap();
            assert!(blank.last_time() <= until);
        }
        blanks.close();
        restoring.finish().unwrap();
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

async fn all_orders(docket: &Docket) -> Vec<Arc<Order>> {
    let mut query = ListOrders {
        limit: 500,
        ..ListOrders::default()
    };
    let mut all = Vec::new();
    loop {
        let page = docket.list_orders(Call::default(), query.clone()).await.unwrap();
        all.extend(page.orders);
        match page.next {
            Some(next) => query.before = Some(next),
            None => return all,
        }
    }
}

async fn books_agree(docket: &Docket) {
    let report = docket.verify(VerifyPace::default()).await.unwrap();
    assert_eq!(report.discrepancies, []);
}

/// Orders, every second of which is cancelled.
async fn trade(shop: &Shop, name: &str, rounds: usize) {
    for round in 0..rounds {
        let lines = [("tea", 2, 350), ("pot", 1, 2_000)];
        let placed = shop
            .place(&format!("{name}-{round}"), "ada", &lines)
            .await
            .unwrap();
        if round % 2 == 0 {
            let cancelled = shop.docket.cancel_order(Call::default(), placed.id, None);
            cancelled.await.unwrap();
        }
    }
}

async fn furnished(dir: &Path, aging: AgingOptions) -> Shop {
    let shop = Shop::open_with(Options { aging, ..small(dir) }).await;
    shop.customer("ada", 1_000_000_000).await;
    shop.item("tea", 350, 1_000_000).await;
    shop.item("pot", 2_000, 1_000_000).await;
    shop
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_snapshot_and_the_archive_have_comes_along() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let aging = AgingOptions {
        close_after: None,
        archive_after: Some(Duration::ZERO),
        at_once: 7,
    };
    let shop = furnished(dir.path(), aging).await;
    // Until the beginning of ada's log is gone, and much of her orders has left memory.
    let asked = Instant::now();
    for round in 0.. {
        trade(&shop, &round.to_string(), 20).await;
        let mut purged = false;
        for group in 1..=4 {
            let first = shop.docket.backup_log(GroupId(group), 0, 1).await;
            purged |= matches!(first, Err(BackupError::Purged(_)));
        }
        if purged && shop.docket.status().entities.archived_orders > 20 {
            break;
        }
        assert!(asked.elapsed() < PATIENCE, "{:?}", shop.docket.status().entities);
    }
    let (point, parts) = back_up(&shop.docket).await;
    assert!(parts.iter().any(|part| part.base.is_some()));
    restore(&point, parts, point.time, to.path()).await;
    // Nothing more leaves memory there, so that what is in the archive has come along.
    let copy = Shop::open_with(small(to.path())).await;
    assert!(copy.docket.status().entities.archived_orders > 0);
    books_agree(&copy.docket).await;
    assert_eq!(all_orders(&copy.docket).await, all_orders(&shop.docket).await);
    for sku in ["tea", "pot"] {
        let item = async |docket: &Docket| {
            let sku = Sku::new(sku).unwrap();
            docket.get_item(Call::default(), sku).await.unwrap()
        };
        assert_eq!(item(&copy.docket).await, item(&shop.docket).await);
    }
    // It goes on as any other, over a restart too.
    trade(&copy, "copy", 5).await;
    copy.close().await;
    let copy = Shop::open_with(small(to.path())).await;
    trade(&copy, "again", 5).await;
    books_agree(&copy.docket).await;
    copy.close().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_of_a_time_there_is_what_was_answered_by_then_and_nothing_else() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let never = AgingOptions {
        close_after: None,
        archive_after: None,
        at_once: 7,
    };
    let shop = Shop::open_with(Options {
        aging: never,
        ..Options::new(dir.path())
    })
    .await;
    shop.customer("ada", 1_000_000_000).await;
    shop.item("tea", 350, 1_000_000).await;
    shop.item("pot", 2_000, 1_000_000).await;
    trade(&shop, "before", 10).await;
    // Whatever is recorded behind the answers is.
    let asked = Instant::now();
    while shop.docket.status().entities.open_orders > 0 {
        assert!(asked.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let then = shop.docket.backup_point().await.unwrap();
    let expected = all_orders(&shop.docket).await;
    trade(&shop, "after", 10).await;
    let (point, parts) = back_up(&shop.docket).await;
    assert!(point.time > then.time);
    restore(&point, parts, then.time, to.path()).await;
    let copy = Shop::open(to.path()).await;
    assert_eq!(all_orders(&copy.docket).await, expected);
    books_agree(&copy.docket).await;
    copy.close().await;
    shop.close().await;
}
