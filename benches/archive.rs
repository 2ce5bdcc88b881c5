//! How much memory orders take that are over: a node is given so many that are closed, beside so many that stay open, and says what it holds
//! as they leave memory for the archive; then how fast they are read there, and how the node restarts with them.
//!
//! `cargo bench --bench archive`, with `DOCKET_ARCHIVE_CLOSED` (200,000) and `DOCKET_ARCHIVE_OPEN` (10,000) for other numbers, and
//! `DOCKET_ARCHIVE_DIR` for another folder than a temporary one: a million orders take about two gigabytes there. The restart is a process of its
//! own, which has nothing of the first one's memory; where the folder has a node already, with `DOCKET_ARCHIVE_RESTART=1`, there is only that.
//! It prints a table, and is no criterion benchmark: what it measures is where the memory goes, not how long anything takes.
//!
//! Each request is remembered for a day, whatever becomes of its order: that is what still grows here, where all of them are of one day.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise, and prints what it measures"
)]

#[path = "../src/allocator.rs"]
mod allocator;
#[expect(dead_code, reason = "criterion does not measure here")]
mod setting;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use docket_actors::{
    AgingOptions, Call, Docket, ListOrders, NewCustomer, NewItem, Options, PlaceOrder, Shipment,
};
use docket_engine::{
    Amount, CustomerId, Line, OrderFilter, OrderId, OrderState, Quantity, Sku, access::Username,
};
use futures::StreamExt as _;

/// The allocator that the program has.
#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

/// Orders that are closed, and that stay open: usually, and in the short mode.
const CLOSED: (usize, usize) = (200_000, 400);
const OPEN: (usize, usize) = (10_000, 50);
/// Orders in flight.
const IN_FLIGHT: usize = 256;
/// As many customers, and items.
const NAMES: usize = 1_000;
/// How often the memory is looked at meanwhile.
const LOOKS: usize = 10;
/// Orders that are read in the end.
const READ: usize = 1_000;
/// After how many seconds of a restart the memory is looked at: what a start needs is given back bit by bit.
const SETTLED_AFTER_S: [u64; 4] = [0, 2, 10, 30];
/// Set for the process that only restarts.
const RESTART: &str = "DOCKET_ARCHIVE_RESTART";

fn main() {
    let number = |name: &str, usual: usize| {
        let told = env::var(name).ok();
        told.map_or(usual, |told| told.parse().unwrap())
    };
    let closed = number("DOCKET_ARCHIVE_CLOSED", setting::or_short(CLOSED.0, CLOSED.1));
    let open = number("DOCKET_ARCHIVE_OPEN", setting::or_short(OPEN.0, OPEN.1));
    let temporary = tempfile::tempdir().unwrap();
    let dir = env::var_os("DOCKET_ARCHIVE_DIR").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    if env::var_os(RESTART).is_some() {
        runtime.block_on(restart(&dir));
        return;
    }
    runtime.block_on(run(&dir, closed, open));
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(env::args_os().skip(1)).env(RESTART, "1");
    assert!(again.env("DOCKET_ARCHIVE_DIR", &dir).status().unwrap().success());
}

async fn node(dir: &Path) -> Docket {
    let mut options = Options::new(dir);
    options.aging = AgingOptions {
        close_after: Some(Duration::ZERO),
        archive_after: Some(Duration::ZERO),
        at_once: 256,
    };
    let docket = Docket::open(options).await.unwrap();
    docket.ready().await;
    // As the program does.
    allocator::give_back();
    docket
}

async fn run(dir: &Path, closed: usize, open: usize) {
    let docket = node(dir).await;
    for number in 0..NAMES {
        let customer = NewCustomer {
            id: customer(number),
            display_name: "A".into(),
            currency: "EUR".parse().unwrap(),
            credit_limit: Amount(1 << 50),
        };
        docket.create_customer(Call::default(), customer).await.unwrap();
        let item = NewItem {
            sku: sku(number),
            display_name: "I".into(),
            currency: "EUR".parse().unwrap(),
            unit_price: Amount(250),
            on_hand: Quantity(1 << 50),
        };
        docket.create_item(Call::default(), item).await.unwrap();
    }
    println!(
        "closed and archived | in memory | resident, MiB | bytes an archived order since the first look"
    );
    make(&docket, 0..open, false).await;
    let mut first = None;
    for look in 1..=LOOKS {
        let part = |look: usize| open + closed * look / LOOKS;
        make(&docket, part(look - 1)..part(look), true).await;
        let archived = (part(look) - open) as u64;
        let asked = Instant::now();
        while docket.status().entities.archived_orders < archived {
            assert!(
                asked.elapsed() < Duration::from_secs(3_600),
                "they are not archived"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        first.get_or_insert(tell(&docket, first));
    }
    read(&docket).await;
    docket.close(Duration::from_secs(60)).await.unwrap();
}

async fn restart(dir: &Path) {
    let began = Instant::now();
    let docket = node(dir).await;
    println!("restarted in {:.1} s", began.elapsed().as_secs_f64());
    let ready = Instant::now();
    for after in SETTLED_AFTER_S.map(Duration::from_secs) {
        tokio::time::sleep(setting::or_short(after, Duration::ZERO).saturating_sub(ready.elapsed())).await;
        println!("{:.0} s later:", ready.elapsed().as_secs_f64());
        tell(&docket, None);
    }
    read(&docket).await;
    docket.close(Duration::from_secs(60)).await.unwrap();
}

/// Says what is held, and by how much that grew since `first`.
fn tell(docket: &Docket, first: Option<(u64, u64)>) -> (u64, u64) {
    let status = docket.status();
    let (archived, bytes) = (status.entities.archived_orders, status.memory_bytes);
    let grown = first
        .filter(|(before, _)| *before < archived)
        .map(|(before, then)| {
            let more = bytes as f64 - then as f64;
            format!("{:.0}", more / (archived - before) as f64)
        });
    println!(
        "{archived} | {} | {:.0} | {}",
        status.entities.orders,
        bytes as f64 / f64::from(1 << 20),
        grown.unwrap_or_else(|| "–".to_owned()),
    );
    (archived, bytes)
}

fn customer(number: usize) -> CustomerId {
    CustomerId::new(&format!("customer-{}", number % NAMES)).unwrap()
}

fn sku(number: usize) -> Sku {
    Sku::new(&format!("item-{}", number % NAMES)).unwrap()
}

/// Places orders of two lines, and ships them where they are to be closed.
async fn make(docket: &Docket, numbers: std::ops::Range<usize>, ships: bool) {
    let made = futures::stream::iter(numbers).map(|number| async move {
        let line = |of: usize| Line {
            sku: sku(number * 7 + of),
            quantity: Quantity(1),
            unit_price: Amount(250),
        };
        let place = PlaceOrder {
            customer: customer(number),
            currency: "EUR".parse().unwrap(),
            lines: [line(0), line(1)].into(),
            provider: None,
        };
        let placed = docket.place_order(Call::default(), place).await.unwrap();
        if ships {
            let all = Shipment {
                fulfilment: None,
                lines: Box::default(),
                carrier: "post".into(),
                tracking: "".into(),
            };
            let by = Username::new("depot").unwrap();
            docket
                .ship_order(Call::default(), placed.id, all, by, None)
                .await
                .unwrap();
        }
    });
    made.buffer_unordered(IN_FLIGHT).collect::<()>().await;
}

/// How long it takes to read one archived order, and a page of them.
async fn read(docket: &Docket) {
    let query = ListOrders {
        filter: OrderFilter {
            states: vec![OrderState::Closed],
            ..OrderFilter::default()
        },
        limit: READ,
        ..ListOrders::default()
    };
    let began = Instant::now();
    let page = docket.list_orders(Call::default(), query).await.unwrap();
    let (took, count) = (began.elapsed(), page.orders.len());
    println!(
        "a page of {count} closed orders: {:.1} ms",
        took.as_secs_f64() * 1e3
    );
    // Spread over all of them, oldest and newest alike.
    let oldest = OrderFilter {
        placed_before: page.orders.last().map(|order| order.created),
        ..OrderFilter::default()
    };
    let query = ListOrders {
        filter: oldest,
        limit: READ,
        ..ListOrders::default()
    };
    let older = docket.list_orders(Call::default(), query).await.unwrap().orders;
    let ids: Vec<OrderId> = page.orders.iter().chain(&older).map(|order| order.id).collect();
    let began = Instant::now();
    for id in &ids {
        docket.get_order(Call::default(), *id).await.unwrap();
    }
    let each = began.elapsed() / u32::try_from(ids.len().max(1)).unwrap();
    println!("an archived order by its id: {:.0} us", each.as_secs_f64() * 1e6);
}
