//! Histories that check out: clients place, cancel, book, read and list while faults are injected; every call is written down,
//! and the whole is held against what a right server can have answered (`docket_soak::history`).
//!
//! Some seconds by themselves; longer so:
//!
//! ```text
//! DOCKET_HISTORY_SECONDS=3600 cargo test --test e2e history -- --nocapture
//! ```
//!
//! `DOCKET_SEED=n` draws the same requests and the same faults again. Their moments, and so the history, differ.

mod members;
mod single;
mod stage;
mod three;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use docket_soak::{
    Target,
    history::{
        History,
        clients::{Client, Node, Shop},
    },
};
use futures::future::join_all;
use tokio::task::JoinHandle;

use crate::{
    environment::number,
    server::{LOOK_AGAIN, PATIENCE},
};

/// How long a run takes, in seconds, where the environment does not say.
const SECONDS: u64 = 10;
/// A client rests for up to this long between two calls.
const PAUSE: Duration = Duration::from_millis(8);

/// How long a run takes.
fn lasts() -> Duration {
    Duration::from_secs(number("DOCKET_HISTORY_SECONDS").unwrap_or(SECONDS))
}

/// Clients at work, until they are told to stop.
struct Working {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Client>>,
}

impl Working {
    fn begin(shop: &Arc<Shop>, nodes: &[Node], clients: Vec<Client>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let work = |mut client: Client| {
            let (shop, nodes, stop) = (shop.clone(), nodes.to_vec(), stop.clone());
            tokio::spawn(async move {
                client.work(&shop, &nodes, &stop, PAUSE).await;
                client
            })
        };
        let clients = clients.into_iter().map(work).collect();
        Self { stop, clients }
    }

    async fn end(self) -> Vec<Client> {
        self.stop.store(true, Ordering::Release);
        let ended = tokio::time::timeout(PATIENCE, join_all(self.clients)).await;
        let ended = ended.expect("a call ends in time");
        ended.into_iter().map(Result::unwrap).collect()
    }
}

/// Waits until all that can be done is done: lost requests are sent again, and whatever was taken for orders that never came to
/// be is given back.
async fn settle(shop: &Arc<Shop>, target: &Target, nodes: &[Node], clients: &mut [Client]) {
    let settled = join_all(clients.iter_mut().map(|client| client.settle(shop, nodes))).await;
    settled.into_iter().for_each(|settled| settled.unwrap());
    let begun = Instant::now();
    while !Shop::books(target).await.unwrap().is_settled() {
        if begun.elapsed() > PATIENCE {
            // The check says what is wrong with them.
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    shop.recorder.quiet();
}

/// The check of the whole.
#[track_caller]
fn assert_checks_out(seed: u64, history: &History) {
    let begun = Instant::now();
    let verdict = docket_soak::history::check(history);
    println!(
        "{} unknown; {verdict}; checked in {:.1?}",
        history
            .operations
            .iter()
            .filter(|operation| operation.is_unknown())
            .count(),
        begun.elapsed()
    );
    assert!(verdict.is_good(), "DOCKET_SEED={seed}: {verdict}");
}
