//! SIGKILL of the node and of its payment provider in turn, and a provider that fails on demand, under clients that lead orders through
//! their lives: in the end what the orders show, what the clients were told and what the provider has done are one.
//!
//! `DOCKET_PAYMENT_ROUNDS=n` kills so often, `DOCKET_SEED=n` draws the same again.

mod client;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use docket_persistence::mem::Seeded;
use docket_proto::v1::{Order, order::State, payment_step};
use serde_json::{Value, json};

use self::client::{CUSTOMERS, Client, ITEMS, Told, price};
use crate::{
    api::Api,
    environment::{number, seed},
    provider::Provider,
    server::{Home, LOOK_AGAIN, PATIENCE, Server, verify},
};

const ROUNDS: u64 = 6;
const CLIENTS: u64 = 6;
/// Each client has so many orders a round.
const ORDERS: u64 = 4;
/// A round ends with a kill after at most this many answers.
const ANSWERS_MAX: u64 = 30;
/// After that many answers, the kill still waits for up to this many microseconds: between two of them.
const KILL_JITTER_US: u64 = 3_000;
const ON_HAND: i64 = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_the_node_and_its_provider_are_killed_what_both_say_of_the_money_is_one() {
    let seed = seed();
    let rounds = number("DOCKET_PAYMENT_ROUNDS").unwrap_or(ROUNDS);
    println!("DOCKET_SEED={seed} DOCKET_PAYMENT_ROUNDS={rounds}");
    let mut random = Seeded::new(seed);
    let mut provider = Provider::start();
    let home = provider
        .known_to(Home::new(), "cards")
        .set("cluster.snapshot_bytes_min", "65536");
    let mut server = Server::start(&home);
    let (grpc, admin) = (server.grpc, server.admin);
    let api = Api::admin(&server, &home).await;
    for n in 0..CUSTOMERS {
        // Nothing to spend: a provider pays.
        api.customer(&format!("c{n}"), 0).await;
    }
    for n in 0..ITEMS {
        api.item(&format!("i{n}"), price(n), ON_HAND).await;
    }

    let answers = Arc::new(AtomicU64::new(0));
    let working: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let client = Client {
                api: api.clone(),
                name: format!("{seed}-{n}"),
                random: Seeded::new(random.draw()),
                answers: answers.clone(),
            };
            tokio::spawn(client.work(rounds * ORDERS))
        })
        .collect();
    let is_working = || working.iter().any(|client| !client.is_finished());
    let mut kills = (0, 0);
    for round in 0..rounds {
        if !is_working() {
            break;
        }
        provider.fails(&draw_faults(&mut random));
        let enough = answers.load(Ordering::Acquire) + 1 + random.below(ANSWERS_MAX);
        let begun = Instant::now();
        while answers.load(Ordering::Acquire) < enough && is_working() {
            if provider.is_dead() {
                provider.restart();
            }
            assert!(begun.elapsed() < PATIENCE, "nothing is answered: {}", home.log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(random.below(KILL_JITTER_US))).await;
        let which = if round < 3 { round } else { random.below(3) };
        if which != 1 && !provider.is_dead() {
            provider.kill();
            kills.1 += 1;
        }
        if which != 0 {
            server.kill();
            kills.0 += 1;
            verify(&home);
            server = Server::launch_at(&home, grpc, admin);
            assert!(server.ready(&home), "it does not start again: {}", home.log());
        }
        if provider.is_dead() {
            provider.restart();
        }
    }
    provider.mend();
    let mut told = Vec::new();
    for client in working {
        told.extend(client.await.unwrap());
    }

    let orders = all_settled(&api, &server).await;
    let edited = |order: &&Order| {
        let mut steps = order.payment.iter().flat_map(|it| &it.steps);
        steps.any(|step| step.payment > 1 && step.state() == payment_step::State::Done)
    };
    let twice = orders.iter().filter(edited).count();
    assert!(twice > 0, "no order was edited to cost more");
    println!(
        "{} orders, {twice} of several payments, {} answers; the node was killed {} times, the provider {}",
        orders.len(),
        answers.load(Ordering::Acquire),
        kills.0,
        kills.1
    );
    agree(&orders, &told, &provider.ledger());
    books_balance(&api, &orders).await;
    books_are_verified(&home, &server);
    server.stop(&home);
    verify(&home);
    // What the books say is what the next start finds.
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    assert_eq!(api.all_orders().await, orders);
    server.stop(&home);
}

/// What the provider does wrong in a round.
fn draw_faults(random: &mut Seeded) -> Value {
    let kinds = ["authorize", "capture", "void", "refund", "lookup"];
    let faults = (0..4).map(|_| {
        let on = kinds[random.below(5) as usize];
        let nth = 1 + random.below(6);
        let what = match random.below(10) {
            // Only who is refused at the beginning needs nobody to look.
            0 if on == "authorize" => json!({"fault": "decline", "reason": "no"}),
            0 | 1 => json!({"fault": "drop-reply"}),
            2 => json!({"fault": "drop-request"}),
            3 => json!({"fault": "twice"}),
            4 => json!({"fault": "status", "status": 500}),
            5 => json!({"fault": "status", "status": 429, "retry_after": 1}),
            6 => json!({"fault": "garbage"}),
            7 => json!({"fault": "die-before"}),
            8 => json!({"fault": "die-after"}),
            _ => json!({"fault": "hold-reply"}),
        };
        let mut fault = json!({"on": on, "nth": nth});
        let (fault_fields, what) = (fault.as_object_mut().unwrap(), what);
        fault_fields.extend(what.as_object().unwrap().clone());
        fault
    });
    faults.collect()
}

/// Every order, when nothing is left to be done.
async fn all_settled(api: &Api, server: &Server) -> Vec<Order> {
    let begun = Instant::now();
    loop {
        server.settled().await;
        let orders = api.all_orders().await;
        let is_due = |order: &&Order| {
            let payment = order.payment.as_ref().unwrap();
            // The authorisation of an order that was called off is not asked for any more.
            let mut steps = payment.steps.iter().filter(|step| {
                step.kind() != payment_step::Kind::Authorize || order.state() == State::Pending
            });
            steps.any(|step| step.state() == payment_step::State::Due)
        };
        let Some(due) = orders.iter().find(is_due) else {
            return orders;
        };
        assert!(begun.elapsed() < PATIENCE, "a payment stays due: {due:?}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The orders, what clients were told of them, and the provider's ledger.
fn agree(orders: &[Order], told: &[Told], ledger: &Value) {
    assert_eq!(ledger["violations"], json!([]));
    let mut payments = ledger["payments"].as_object().unwrap().clone();
    let mut by_name: BTreeMap<&str, &Order> = BTreeMap::new();
    for order in orders {
        assert!(by_name.insert(&order.name, order).is_none());
        let payment = order.payment.as_ref().unwrap();
        let own = [
            payment.authorized,
            payment.captured,
            payment.voided,
            payment.refunded,
        ];
        let id = order.name.strip_prefix("orders/").unwrap();
        let last = payment.steps.iter().map(|step| step.payment).max().unwrap_or(1);
        let names = (1..=last).map(|number| match number {
            1 => id.to_owned(),
            _ => format!("{id}-{number}"),
        });
        let theirs: Vec<_> = names.filter_map(|name| payments.remove(&name)).collect();
        let sum = |name: &str| -> i64 { theirs.iter().map(|it| it[name].as_i64().unwrap()).sum() };
        let theirs = ["authorized", "captured", "voided", "refunded"].map(sum);
        assert_eq!(own, theirs, "{order:?}");
    }
    assert!(payments.is_empty(), "payments of no order: {payments:?}");
    let refused = orders.iter().filter(|order| order.state() == State::Rejected);
    let told_refused = told.iter().filter(|told| matches!(told, Told::Refused(_)));
    assert_eq!(refused.count(), told_refused.count());
    for told in told {
        match told {
            Told::Refused(reason) => assert_eq!(reason, "PAYMENT_DECLINED"),
            Told::Done {
                name,
                captured,
                refunded,
            } => {
                let order = by_name.remove(name.as_str()).expect("it was placed");
                let payment = order.payment.as_ref().unwrap();
                assert_eq!((payment.captured, payment.refunded), (*captured, *refunded));
            }
        }
    }
    let stranger = by_name.values().find(|order| order.state() != State::Rejected);
    assert!(stranger.is_none(), "nobody placed {stranger:?}");
}

/// Stock is what was not shipped; a provider's money touches no account here.
async fn books_balance(api: &Api, orders: &[Order]) {
    let mut gone = BTreeMap::<&str, i64>::new();
    for line in orders.iter().flat_map(|order| &order.lines) {
        *gone.entry(&line.item).or_default() += line.fulfilled_quantity;
    }
    let begun = Instant::now();
    loop {
        let items = api.all_items().await;
        // What was reserved for an order that was lost before it was placed is given back within seconds.
        if items.iter().any(|item| item.reserved != 0) && begun.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        }
        for item in items {
            let gone = gone.get(item.name.as_str()).copied().unwrap_or_default();
            assert_eq!((item.on_hand, item.reserved), (ON_HAND - gone, 0), "{item:?}");
        }
        break;
    }
    for customer in api.all_customers().await {
        assert_eq!((customer.balance, customer.held), (0, 0), "{customer:?}");
    }
}

/// `docket verify`, exit code 0.
fn books_are_verified(home: &Home, server: &Server) {
    let url = format!("http://{}", server.grpc);
    let run = home
        .command(&["verify", "--addr", &url, "--api-key", &home.admin_key()])
        .output()
        .unwrap();
    assert_eq!(
        run.status.code(),
        Some(0),
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
}
