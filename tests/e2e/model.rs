//! The whole node against the engine's reference model (`engine/tests/it/{model,life,editing,backordering,paying}.rs`): random commands over gRPC,
//! one after the other, so that every answer can be predicted to its last field, with restarts in between, and a payment provider that fails on
//! demand; then many clients at the same time, of whom only the books can be predicted. At the end every rejection and every transition must
//! have been reached.
//!
//! ```text
//! DOCKET_MODEL_COMMANDS=20000 cargo test --test e2e model -- --nocapture
//! ```
//!
//! `DOCKET_SEED=n` draws the same commands again.

mod altered;
mod back;
#[path = "../../engine/tests/it/backordering.rs"]
#[expect(dead_code, reason = "no item promises more than there is here")]
mod backordering;
mod books;
mod cards;
mod commands;
mod compare;
mod draw;
#[path = "../../engine/tests/it/editing.rs"]
mod editing;
#[path = "../../engine/tests/it/life.rs"]
mod life;
mod oracle;
mod orders;
#[path = "../../engine/tests/it/paying.rs"]
#[expect(dead_code, reason = "no payment expires here")]
mod paying;
#[path = "../../engine/tests/it/planning.rs"]
mod planning;
mod reached;
#[path = "../../engine/tests/it/model.rs"]
#[expect(dead_code, reason = "who pays is always said here")]
mod reference;
mod refused;
mod send;
mod show;
mod together;
mod worlds;

use docket_persistence::mem::Seeded;

// `life.rs`, `editing.rs` and `paying.rs` know it by this name.
use self::reference as model;
use self::{
    cards::{Mishap, NAME},
    draw::Commands,
    oracle::Oracle,
    reached::Reached,
};
use crate::{
    api::Api,
    environment::{number, seed},
    provider::Provider,
    server::{Home, Server, verify},
};

/// Commands, one after the other.
const COMMANDS: u64 = 4_000;
/// So many of them go to one data directory: all that there is in it is listed again and again.
const COMMANDS_OF_A_HISTORY: u64 = 2_000;
/// What is seldom reached is waited for, for so many times as many commands.
const TRIES: u64 = 4;
/// After so many, other customers and items are the ones that are met.
const COMMANDS_OF_A_WORLD: u64 = 75;
/// After so many, everything that there is is read and compared.
const COMMANDS_BETWEEN_LISTS: u64 = 150;
/// After so many, at most, the server is stopped or killed, and started again.
const COMMANDS_OF_A_LIFE: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_does_what_the_model_does() {
    let seed = seed();
    let count = number("DOCKET_MODEL_COMMANDS").unwrap_or(COMMANDS);
    println!("DOCKET_SEED={seed} DOCKET_MODEL_COMMANDS={count}");
    let mut random = Seeded::new(seed);
    let (mut reached, mut done) = (Reached::default(), 0);
    while done < count || done < TRIES * count && !reached.missed().is_empty() {
        let commands = COMMANDS_OF_A_HISTORY.min(count);
        reached = history(commands, reached, &mut random).await;
        done += commands;
    }
    println!("of {done} commands reached:\n{reached}");
    let missed = reached.missed();
    assert!(missed.is_empty(), "DOCKET_SEED={seed} never reached {missed:#?}");
}

/// Commands to a new data directory, each compared with the model; at last many clients at the same time.
async fn history(count: u64, reached: Reached, random: &mut Seeded) -> Reached {
    let mut provider = Provider::start();
    let home = provider
        .known_to(Home::new(), NAME)
        // So that restarts read snapshots, and a journal that was cut.
        .set("cluster.snapshot_bytes_min", "4096")
        .set("journal.segment_bytes", "65536");
    let mut server = Server::start(&home);
    let mut api = Api::admin(&server, &home).await;
    let mut oracle = Oracle::new(reached);
    let mut commands = Commands::new(random.draw());
    let (mut restart_at, mut is_killed) = (random.below(COMMANDS_OF_A_LIFE), false);
    for n in 0..count {
        if n.is_multiple_of(COMMANDS_OF_A_WORLD) && commands.has_begun() {
            commands.enter_another_world();
        }
        let command = commands.next(&oracle);
        if let Some(mishap) = command.mishap {
            provider.fails(&mishap.told());
        }
        oracle.step(&api, &command).await;
        if command.mishap == Some(Mishap::IsSilentOverAKill) {
            server.kill();
            server = Server::start(&home);
            api = Api::admin(&server, &home).await;
        }
        // When that is as it must be its provider was asked for all.
        oracle.compare_touched(&api, &command.ask).await;
        if command.mishap.is_some() {
            provider.mend();
        }
        if n.is_multiple_of(COMMANDS_BETWEEN_LISTS) {
            oracle.compare_everything(&api, random).await;
        }
        if n == restart_at {
            restart_at += 1 + random.below(COMMANDS_OF_A_LIFE);
            if is_killed {
                oracle.reached.add("a stop and a start");
                server.stop(&home);
            } else {
                oracle.reached.add("a kill and a start");
                server.kill();
            }
            is_killed = !is_killed;
            server = Server::start(&home);
            api = Api::admin(&server, &home).await;
            oracle.compare_everything(&api, random).await;
        }
    }
    oracle.compare_everything(&api, random).await;
    oracle.compare_provider(&provider.ledger());
    let told = together::run(&server, &home, random).await;
    println!("{told}");
    server.stop(&home);
    verify(&home);
    oracle.reached
}
