//! Histories that check out: clients place, hold, ship, edit, take back, cancel, book, read and list while faults are injected, several at a time, and nodes join,
//! leave and give replicas away; every call is written down, and the whole is held against what a right server can have answered
//! (`docket_soak::history`). Consumers watch the feed all the while, at one node after the other, each behind its last token.
//!
//! Some seconds by themselves; longer so, or by `just history`:
//!
//! ```text
//! DOCKET_HISTORY_SECONDS=3600 cargo test --test e2e history -- --nocapture
//! ```
//!
//! `DOCKET_SEED=n` draws the same requests and the same faults again. Their moments, and so the history, differ. A long run is a row of
//! histories of one cluster ([`EPISODE`]), each of which is checked and forgotten, but for whether its books stay as they were: so what
//! the check takes does not grow.

mod clock;
pub mod members;
mod membership;
mod single;
mod staff;
pub mod stage;
mod together;
mod unwritable;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_soak::{
    Chance,
    history::{
        Ask, Books, History, Outcome,
        clients::{Client, Names, Node, Shop},
        nemesis::{self, Able, Plan},
    },
};
use futures::future::join_all;

use self::{
    members::moves_clocks,
    staff::{Staff, Working},
    stage::Servers,
};
use crate::environment::number;

/// A history is no longer than this and the round of faults in which that is over.
const EPISODE: Duration = Duration::from_secs(60);
/// Within this time after the last fault is over every node serves orders of everybody, also one that has to be started: an election
/// takes up to two seconds, and both processors are busy with other tests.
const SERVES_AGAIN_MAX: Duration = Duration::from_secs(20);
/// The numbers of those who look whether a node serves begin here.
const PROBES: u32 = 1_000;

/// How long a run takes: what the environment says, or so many seconds.
fn lasts(seconds: u64) -> Duration {
    Duration::from_secs(number("DOCKET_HISTORY_SECONDS").unwrap_or(seconds))
}

/// Has this and that go wrong with these servers for as long as it lasts, while so many clients call, and checks what they were told.
async fn histories(mut servers: Servers, seed: u64, clients: u32, lasts: Duration) {
    let able = Able::of(servers.base, &servers.any_data(), moves_clocks());
    println!("{able}");
    let (mut plan, mut chance) = (Plan::new(seed, &able.kinds), Chance::new(seed, 1));
    // The first history and the last one that is over.
    let mut kept: Vec<(Names, Books)> = Vec::new();
    let begun = Instant::now();
    for episode in 0_u64.. {
        let ends = lasts.min(begun.elapsed() + EPISODE);
        let shop = Shop::open(&servers.target(1), seed, episode).await.unwrap();
        let shop = Arc::new(shop);
        println!("episode {episode}");
        let mut staff = Staff::new(&shop, &servers.ways(), clients).await;
        let mut probes: BTreeMap<u8, Client> = BTreeMap::new();
        loop {
            staff = round(&mut servers, &shop, staff, &mut probes, &mut plan, &mut chance).await;
            if begun.elapsed() >= ends {
                break;
            }
        }
        let books = shop.books(&servers.target(1)).await.unwrap();
        staff.catch_up(&shop, &servers.ways(), &books).await;
        // What one node lists, the others list as well.
        for node in servers.nodes() {
            assert_eq!(
                shop.books(&servers.target(node)).await.unwrap(),
                books,
                "node {node}"
            );
        }
        for (names, as_it_was) in &kept {
            let now = names.books(&servers.target(1)).await.unwrap();
            assert!(
                now == *as_it_was,
                "DOCKET_SEED={seed}: {names:?} has changed since its history is over"
            );
        }
        kept.truncate(1);
        kept.push((shop.names(), books.clone()));
        let shop = Arc::into_inner(shop).unwrap();
        assert_checks_out(seed, &shop.history(books));
        if begun.elapsed() >= lasts {
            break;
        }
    }
    if servers.members.is_some() {
        servers.until_replicas_are_equal().await;
    }
    println!("{:.1?} with everything", begun.elapsed());
    servers.stop();
}

/// One round of faults, until every node serves again, all are well, and everything has settled.
async fn round(
    servers: &mut Servers,
    shop: &Arc<Shop>,
    staff: Staff,
    probes: &mut BTreeMap<u8, Client>,
    plan: &mut Plan,
    chance: &mut Chance,
) -> Staff {
    let (nodes, ways) = (servers.nodes(), servers.ways());
    let planned = plan
        .next(&nodes, |kind, node| servers.can(kind, node))
        .expect("there are nodes");
    let working = Working::begin(shop, &ways, staff);
    let (net, began) = (servers.net.clone(), shop.recorder.now());
    let line = nemesis::run(&planned, &nodes, &net, servers, chance).await;
    for mut happened in line.unwrap_or_else(|why| panic!("{planned:?}: {why}\n{}", servers.logs())) {
        happened.at += began;
        println!("{happened}");
    }

    // Who has just joined is not there yet, and who leaves need not serve any more.
    let staying = servers.staying().into_iter().filter(|node| nodes.contains(node));
    let mut looking = Vec::new();
    for node in staying {
        let probe = probes.remove(&node);
        let mut probe = probe.unwrap_or_else(|| Client::new(shop, PROBES + u32::from(node)));
        let (way, shop) = (Node::new(&servers.target(node)), shop.clone());
        looking.push(async move {
            let served = probe.until_served(&shop, &way, SERVES_AGAIN_MAX).await;
            (node, probe, served)
        });
    }
    let ((), served) = tokio::join!(servers.well(), join_all(looking));
    let mut longest = Duration::ZERO;
    for (node, probe, took) in served {
        let took =
            took.unwrap_or_else(|why| panic!("node {node} does not serve again: {why}\n{}", servers.logs()));
        longest = longest.max(took);
        probes.insert(node, probe);
    }
    let mut staff = working.end().await;
    println!("               every node serves within {longest:.1?}, and all is well");
    staff.settle(shop, &servers.target(1), &servers.ways()).await;
    staff
}

/// The check of the whole.
#[track_caller]
fn assert_checks_out(seed: u64, history: &History) {
    let begun = Instant::now();
    let verdict = docket_soak::history::check(history);
    println!("{verdict}; checked in {:.1?}", begun.elapsed());
    // Why the others were not done, or may be.
    let mut whys: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for operation in &history.operations {
        let (outcome, why) = match &operation.outcome {
            Outcome::Failed(why) => ("failed", why),
            Outcome::Unknown(why) => ("unknown", why),
            Outcome::Ok(_) | Outcome::Refused(_) => continue,
        };
        *whys.entry((outcome, why)).or_default() += 1;
    }
    for ((outcome, why), count) in whys {
        println!("  {count:>5} {outcome}: {why}");
    }
    // What was asked of orders that were there.
    let mut deeds: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for operation in &history.operations {
        let Ask::Do { deed, .. } = &operation.ask else {
            continue;
        };
        let outcome = match &operation.outcome {
            Outcome::Ok(_) => "done",
            Outcome::Refused(refusal) => &refusal.reason,
            Outcome::Failed(_) => "failed",
            Outcome::Unknown(_) => "unknown",
        };
        *deeds.entry((deed.name(), outcome)).or_default() += 1;
    }
    for ((deed, outcome), count) in deeds {
        println!("  {count:>5} {deed}: {outcome}");
    }
    assert!(verdict.is_good(), "DOCKET_SEED={seed}: {verdict}");
}
