//! Three and five nodes behind the bad network, whose clients call all of them.

use docket_soak::history::net::Net;

use super::{histories, lasts, stage::Servers};
use crate::environment::seed;

/// How long a run takes, in seconds, where the environment does not say: beside the start and what comes behind each round, so that the
/// tests of the whole program stay short.
const SECONDS: u64 = 5;
const CLIENTS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_three_nodes_answered_while_everything_went_wrong_is_linearizable() {
    of_so_many(3).await;
}

/// Each shard has three replicas, so that some nodes have none of it, and replicas have where to go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_five_nodes_answered_while_everything_went_wrong_is_linearizable() {
    of_so_many(5).await;
}

async fn of_so_many(count: u8) {
    let (seed, lasts) = (seed(), lasts(SECONDS));
    println!(
        "{count} nodes, DOCKET_SEED={seed} DOCKET_HISTORY_SECONDS={}",
        lasts.as_secs()
    );
    let net = Net::new(seed);
    let servers = Servers::together(&net, count).await;
    histories(servers, seed, CLIENTS, lasts).await;
}
