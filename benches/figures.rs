//! What many orders cost: the memory that each takes, the time that a node with all of them takes to be back, the journal's bytes on disk, what one more
//! order costs when there are few and when there are many, and the memory of customers who only are there. `cargo bench --bench
//! figures` prints them, and fails where the books are not exact, before the restart and after it. What callers see is measured by
//! `docket bench`.
//!
//! | variable | |
//! |---|---|
//! | `FIGURES_ORDERS` | how many orders there are (1,000,000) |
//! | `FIGURES_CUSTOMERS` | how many idle customers there are (1,000,000); 0 leaves them out |
//! | `FIGURES_PROGRAM` | another build's `docket`, to compare the two |

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use docket_soak::{
    Ledger, Load, Mode, Pace, Server, Shape, Usage, Workload, books, drive, metric, metric_sum,
};

/// Orders are placed for so long, then it is seen how many there are.
const SLICE: Duration = Duration::from_secs(1);
/// With so many orders begins what orders cost when there are few.
const FEW: usize = 10_000;
/// What an order costs is the mean over at least so many.
const STRETCH: usize = 100_000;
/// What they cost is shown for so many parts of the way.
const PARTS: usize = 8;

fn main() {
    let asked = |name: &str| std::env::args().any(|arg| arg == name);
    // It has no short form.
    let short = std::env::var_os("DOCKET_BENCH_SHORT").is_some_and(|value| value != "0");
    if !asked("--bench") || asked("--test") || asked("--list") || short {
        println!("figures: measured by `cargo bench --bench figures` only");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        orders(number("FIGURES_ORDERS")).await;
        match number("FIGURES_CUSTOMERS") {
            0 => {}
            customers => idle_customers(customers).await,
        }
    });
}

/// One million where the variable is not set.
fn number(variable: &str) -> usize {
    std::env::var(variable).map_or(1_000_000, |text| text.parse().unwrap())
}

/// Stored orders: memory, journal, cost, restart.
async fn orders(orders: usize) {
    let folder = tempfile::tempdir().unwrap();
    let workload = Arc::new(Workload::new(Shape::default()).unwrap());
    let mut ledger = Ledger::default();

    let server = start(folder.path()).await;
    books::open(&server.target().unwrap(), &workload).await.unwrap();
    // The first orders warm up what every server has, whatever it stores.
    place(&server, &workload, &mut ledger, FEW, &mut Vec::new()).await;
    let mut seen = vec![Seen::of(&server, &ledger).await];
    place(&server, &workload, &mut ledger, orders, &mut seen).await;
    check(&server, &workload, &mut ledger).await;
    let usage = server.usage().unwrap();
    let (first, all) = (seen[0], ledger.acknowledged.len());
    println!(
        "memory: {} MB with {all} orders, at most {} MB; {:.0} bytes an order more",
        usage.rss_bytes >> 20,
        usage.rss_peak_bytes >> 20,
        (usage.rss_bytes as f64 - first.rss_bytes) / (all - first.orders).max(1) as f64
    );
    show_journal(&seen);
    show_cost(&seen);
    server.stop().await.unwrap();
    println!(
        "data: {:.0} bytes on disk an order",
        bytes_in(folder.path()) as f64 / all as f64
    );

    let started = Instant::now();
    let server = start(folder.path()).await;
    println!(
        "restart with {all} orders: ready after {:.2} s, {} MB",
        started.elapsed().as_secs_f64(),
        server.usage().unwrap().rss_bytes >> 20
    );
    check(&server, &workload, &mut ledger).await;
    server.stop().await.unwrap();
    println!("the books are exact, before the restart and after");
}

/// Customers who were there once and do nothing any more: what they take, with actors and without.
async fn idle_customers(customers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape {
        customers: customers as u64,
        items: 2,
        ..Shape::default()
    };
    let workload = Workload::new(shape).unwrap();
    let server = start(folder.path()).await;
    let before = server.usage().unwrap().rss_bytes;
    books::open(&server.target().unwrap(), &workload).await.unwrap();
    let (usage, page) = (server.usage().unwrap(), server.metrics().await.unwrap());
    println!(
        "idle customers: {} known, {} actors resident, {} MB; {:.0} bytes a customer with its remembered request",
        metric(&page, "docket_customers"),
        metric_sum(&page, "docket_actors"),
        usage.rss_bytes >> 20,
        (usage.rss_bytes as f64 - before as f64) / customers as f64,
    );
    server.stop().await.unwrap();
    let server = start(folder.path()).await;
    let (usage, page) = (server.usage().unwrap(), server.metrics().await.unwrap());
    println!(
        "idle customers, restarted: {} actors resident, {} MB",
        metric_sum(&page, "docket_actors"),
        usage.rss_bytes >> 20
    );
    server.stop().await.unwrap();
}

async fn start(folder: &Path) -> Server {
    let program = std::env::var_os("FIGURES_PROGRAM").map(PathBuf::from);
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_docket").into());
    Server::start(&program, folder).await.unwrap()
}

/// What a server had used when there were so many orders.
#[derive(Clone, Copy)]
struct Seen {
    orders: usize,
    rss_bytes: f64,
    cpu_us: f64,
    /// What this process has used: per order always the same.
    own_cpu_us: f64,
    payload_bytes: f64,
    journal_bytes: f64,
}

impl Seen {
    async fn of(server: &Server, ledger: &Ledger) -> Self {
        let (usage, page) = (server.usage().unwrap(), server.metrics().await.unwrap());
        Self {
            orders: ledger.acknowledged.len(),
            rss_bytes: usage.rss_bytes as f64,
            cpu_us: usage.cpu.as_secs_f64() * 1e6,
            own_cpu_us: Usage::own().unwrap().cpu.as_secs_f64() * 1e6,
            payload_bytes: metric(&page, "docket_journal_payload_bytes_total"),
            journal_bytes: metric(&page, "docket_journal_bytes"),
        }
    }
}

/// Places orders until there are as many as asked for, and sees after each slice what the server has used.
async fn place(
    server: &Server,
    workload: &Arc<Workload>,
    ledger: &mut Ledger,
    orders: usize,
    seen: &mut Vec<Seen>,
) {
    let load = Load {
        mode: Mode::Stream,
        pace: Pace::Closed,
        in_flight: 1_024,
        connections: 4,
        threads: 1,
        duration: SLICE,
        patience: Duration::from_secs(60),
    };
    let target = server.target().unwrap();
    while ledger.acknowledged.len() < orders {
        let driven = drive(&target, workload, &load, &Arc::default()).await;
        ledger.add(driven.unwrap().ledger);
        seen.push(Seen::of(server, ledger).await);
    }
}

/// What the journal takes on disk for what is put into it, until it is first cut behind a snapshot.
fn show_journal(seen: &[Seen]) {
    let cut = seen
        .windows(2)
        .position(|two| two[1].journal_bytes < two[0].journal_bytes);
    let (first, last) = (seen[0], seen[cut.unwrap_or(seen.len() - 1)]);
    let payload = last.payload_bytes - first.payload_bytes;
    if payload > 0.0 {
        println!(
            "journal: {:.2} bytes on disk for each byte of event, {:.0} bytes of events an order, over {} orders",
            (last.journal_bytes - first.journal_bytes) / payload,
            payload / (last.orders - first.orders) as f64,
            last.orders - first.orders
        );
    }
}

/// What an order costs the server, part after part of the way. A machine that does other things, or changes its clock, makes everything
/// dearer or cheaper; what an order costs the load generator does not depend on how many there are, so the ratio of the two is what
/// is compared.
fn show_cost(seen: &[Seen]) {
    let (mut from, last) = (seen[0], seen[seen.len() - 1]);
    let stretch = ((last.orders - from.orders) / PARTS).max(STRETCH);
    let mut costs = Vec::new();
    for now in seen {
        let orders = now.orders - from.orders;
        if orders < stretch {
            continue;
        }
        let cpu_us = now.cpu_us - from.cpu_us;
        costs.push(cpu_us / (now.own_cpu_us - from.own_cpu_us));
        println!(
            "cost: {:.1} µs of processor time an order, {:.2} times the load generator's, from {} to {} orders",
            cpu_us / orders as f64,
            costs[costs.len() - 1],
            from.orders,
            now.orders
        );
        from = *now;
    }
    if let [first, .., last] = costs[..] {
        println!(
            "cost: at the end {:.2} of the first, against the load generator's",
            last / first
        );
    }
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata().unwrap() {
            folder if folder.is_dir() => bytes_in(&entry.path()),
            file => file.len(),
        })
        .sum()
}

async fn check(server: &Server, workload: &Arc<Workload>, ledger: &mut Ledger) {
    let target = server.target().unwrap();
    books::settle(&target, workload, ledger).await.unwrap();
    let checked = books::check(&target, workload, ledger, 1.0).await.unwrap();
    assert_eq!(checked.faults, Vec::<String>::new(), "the books do not balance");
}
