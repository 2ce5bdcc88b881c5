//! Memory and restart: what a stored order weighs, and how long a node with many of them takes to be back. `cargo bench
//! --bench figures` prints them, and fails where the books are not exact, before the restart and after it. What callers
//! see is measured by `docket bench`.
//!
//! `FIGURES_ORDERS` sets how many orders there are (1,000,000).

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_soak::{Ledger, Load, Mode, Pace, Server, Shape, Workload, books, drive};

/// Orders are placed for so long, then it is seen how many there are.
const SLICE: Duration = Duration::from_secs(1);

fn main() {
    let asked = |name: &str| std::env::args().any(|arg| arg == name);
    // It has no short form.
    let short = std::env::var_os("DOCKET_BENCH_SHORT").is_some_and(|value| value != "0");
    if !asked("--bench") || asked("--test") || asked("--list") || short {
        println!("figures: measured by `cargo bench --bench figures` only");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(figures());
}

async fn figures() {
    let orders = std::env::var("FIGURES_ORDERS").map_or(1_000_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let workload = Arc::new(Workload::new(Shape::default()).unwrap());
    let mut ledger = Ledger::default();

    let server = start(folder.path()).await;
    books::open(&server.target().unwrap(), &workload).await.unwrap();
    // The first orders warm up what every server has, whatever it stores.
    let first = place(&server, &workload, &mut ledger, 1).await;
    let before = server.usage().unwrap().rss_bytes;
    let all = place(&server, &workload, &mut ledger, orders).await;
    check(&server, &workload, &mut ledger).await;
    let usage = server.usage().unwrap();
    println!(
        "memory: {} MB with {all} orders, at most {} MB; {:.0} bytes an order more",
        usage.rss_bytes >> 20,
        usage.rss_peak_bytes >> 20,
        (usage.rss_bytes as f64 - before as f64) / (all - first).max(1) as f64
    );
    server.stop().await.unwrap();

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

async fn start(folder: &Path) -> Server {
    Server::start(Path::new(env!("CARGO_BIN_EXE_docket")), folder)
        .await
        .unwrap()
}

/// Places orders until there are as many as asked for, and says how many there are.
async fn place(server: &Server, workload: &Arc<Workload>, ledger: &mut Ledger, orders: usize) -> usize {
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
        ledger.add(
            drive(&target, workload, &load, &Arc::default())
                .await
                .unwrap()
                .ledger,
        );
    }
    ledger.acknowledged.len()
}

async fn check(server: &Server, workload: &Arc<Workload>, ledger: &mut Ledger) {
    let target = server.target().unwrap();
    books::settle(&target, workload, ledger).await.unwrap();
    let checked = books::check(&target, workload, ledger, 1.0).await.unwrap();
    assert_eq!(checked.faults, Vec::<String>::new(), "the books do not balance");
}
