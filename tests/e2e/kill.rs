//! SIGKILL at random moments under many clients: acknowledged orders stay as they are, none is there twice, stock and
//! credit are exact, and what was not acknowledged settles when it is sent again.
//!
//! The full run of 100 rounds under 64 clients:
//!
//! ```text
//! DOCKET_KILL_ROUNDS=100 DOCKET_KILL_CLIENTS=64 cargo test --test e2e kill -- --nocapture
//! ```
//!
//! `DOCKET_SEED=n` sends the same requests with the same plan of kills again.

pub mod books;
pub mod workload;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use docket_persistence::mem::Seeded;

use self::{
    books::Books,
    workload::{Client, unanswered},
};
use crate::{
    api::Api,
    environment::{number, seed},
    server::{Home, PATIENCE, Server, verify},
};

const ROUNDS: u64 = 3;
const CLIENTS: u64 = 16;
/// Clients share this many connections, as those of a real service do.
const CONNECTIONS: u64 = 4;
/// A round's process is killed after at most this many acknowledgements.
const ACKNOWLEDGED_MAX: u64 = 400;
/// After that many acknowledgements, the kill still waits for up to this many microseconds: between two of them.
const KILL_JITTER_US: u64 = 3_000;
/// In one round of so many the process is killed once more while it starts.
const START_KILL_ODDS: u64 = 3;
/// Such a start is killed within this many milliseconds.
const START_KILL_MS: u64 = 400;
/// In each round, so many requests that were answered before are sent again.
const REPEATS: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_the_process_is_killed_nothing_acknowledged_is_lost_or_done_twice() {
    let seed = seed();
    let rounds = number("DOCKET_KILL_ROUNDS").unwrap_or(ROUNDS);
    let clients = number("DOCKET_KILL_CLIENTS").unwrap_or(CLIENTS);
    println!("DOCKET_SEED={seed} DOCKET_KILL_ROUNDS={rounds} DOCKET_KILL_CLIENTS={clients}");

    let mut random = Seeded::new(seed);
    let home = Home::new()
        // Snapshots are taken and the journal is cut within a round.
        .set("cluster.snapshot_bytes_min", "65536");
    let mut server = Server::start(&home);
    let books = Books::open(&Api::admin(&server, &home).await).await;
    let mut clients: Vec<Client> = (0..clients)
        .map(|number| Client::new(seed, number, random.draw()))
        .collect();

    for round in 1..=rounds {
        let begun = Instant::now();
        let (acknowledged, unknown);
        (clients, acknowledged) = until_killed(server, &home, clients, &mut random).await;
        unknown = unanswered(&mut clients).count();
        verify(&home);
        if random.below(START_KILL_ODDS) == 0 {
            let starting = Server::launch(&home);
            tokio::time::sleep(Duration::from_millis(random.below(START_KILL_MS))).await;
            starting.kill();
        }

        let restart = Instant::now();
        server = Server::start(&home);
        let restart = restart.elapsed();
        let api = Api::admin(&server, &home).await;
        server.settled().await;
        books.check_acknowledged(&api, &clients).await;
        for request in unanswered(&mut clients) {
            request.send_until_answered(&api).await;
        }
        repeat_some(&mut clients, &api, &mut random).await;
        server.settled().await;
        let orders = books.check_all(&api, &clients).await;
        println!(
            "round {round}: {acknowledged} acknowledged, {unknown} without an answer when killed, ready again in \
             {restart:.1?}; {orders}; {:.1?} in all",
            begun.elapsed()
        );
    }
    server.stop(&home);
    verify(&home);
    let server = Server::start(&home);
    books.check_all(&Api::admin(&server, &home).await, &clients).await;
    server.stop(&home);
}

/// Lets the clients work until a random moment, and kills the process then.
async fn until_killed(
    server: Server,
    home: &Home,
    clients: Vec<Client>,
    random: &mut Seeded,
) -> (Vec<Client>, u64) {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Api::admin(&server, home).await);
    }
    let acknowledged = Arc::new(AtomicU64::new(0));
    let working: Vec<_> = clients
        .into_iter()
        .zip(connections.iter().cycle())
        .map(|(client, api)| tokio::spawn(client.work(api.clone(), acknowledged.clone(), usize::MAX)))
        .collect();

    let enough = 1 + random.below(ACKNOWLEDGED_MAX);
    let begun = Instant::now();
    while acknowledged.load(Ordering::Acquire) < enough {
        assert!(
            begun.elapsed() < PATIENCE,
            "nothing is acknowledged: {}",
            home.log()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_micros(random.below(KILL_JITTER_US))).await;
    server.kill();

    let mut clients = Vec::new();
    for client in working {
        let ended = tokio::time::timeout(PATIENCE, client).await;
        clients.push(ended.expect("a call ends when the server is gone").unwrap());
    }
    (clients, acknowledged.load(Ordering::Acquire))
}

/// The same request again gets the same answer again.
async fn repeat_some(clients: &mut [Client], api: &Api, random: &mut Seeded) {
    for _ in 0..REPEATS {
        let at = random.below(clients.len() as u64) as usize;
        let requests = &mut clients[at].requests;
        let at = random.below(requests.len() as u64) as usize;
        if let Some(request) = requests.get_mut(at) {
            let before = request.answer.clone();
            request.send_until_answered(api).await;
            assert_eq!(request.answer, before, "{:?} was answered otherwise", request.ask);
        }
    }
}
