//! Far more than the node can do. A measurement: `cargo test --release -p docket-edge --test it overload -- --ignored
//! --nocapture`, on a machine that does nothing else. Client and server share it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use docket_proto::v1::{
    CreateCustomerRequest, CreateItemRequest, Customer, Item, PlaceOrderRequest,
    customer_service_client::CustomerServiceClient, item_service_client::ItemServiceClient,
    order_service_client::OrderServiceClient, place_orders_response::Result as Answer,
};
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;

use crate::support::{Running, by, nuts, start};

/// Calls at a time that give the most.
const PEAK: usize = 64;
/// Calls at a time that are let in.
const ADMITTED: usize = 128;
/// Load and overload take turns, since machines are noisy.
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(2);
/// Customers, and items.
const SPREAD: u64 = 100;
/// What must be left of the most.
const KEPT: f64 = 0.8;
/// Of streams, which share the same room among ten times as many connections and tasks.
const KEPT_OF_STREAMS: f64 = 0.7;

/// What a round came to.
struct Round {
    done_per_s: f64,
    refused_per_s: f64,
    /// How long a refusal took, the 99th of a hundred.
    refusal_p99: Duration,
}

/// An order of one of many customers, of one of many items.
fn order() -> PlaceOrderRequest {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Relaxed);
    let mut order = nuts(&format!("overload-{n}"), &format!("c{}", n % SPREAD), 1);
    order.lines[0].item = format!("items/i{}", n / 7 % SPREAD);
    order
}

async fn stock(server: &Running) {
    let channel = server.connect().await;
    let (mut customers, mut items) = (
        CustomerServiceClient::new(channel.clone()),
        ItemServiceClient::new(channel),
    );
    for i in 0..SPREAD {
        let customer = Customer {
            currency_code: "EUR".into(),
            credit_limit: 1 << 40,
            ..Default::default()
        };
        let request = CreateCustomerRequest {
            customer_id: format!("c{i}"),
            customer: Some(customer),
            ..Default::default()
        };
        customers.create_customer(by("root", request)).await.unwrap();
        let item = Item {
            currency_code: "EUR".into(),
            unit_price: 5,
            on_hand: 1 << 40,
            ..Default::default()
        };
        let request = CreateItemRequest {
            sku: format!("i{i}"),
            item: Some(item),
            ..Default::default()
        };
        items.create_item(by("root", request)).await.unwrap();
    }
}

/// Calls PlaceOrder with so many callers at a time, who wait as long as a refusal asks them to.
async fn callers(server: &Running, callers: usize) -> Round {
    let mut channels: Vec<Channel> = Vec::new();
    for _ in 0..callers.div_ceil(64) {
        channels.push(server.connect().await);
    }
    let (done, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + ROUND);
    let tasks = (0..callers).map(|i| {
        let mut client = OrderServiceClient::new(channels[i % channels.len()].clone());
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            let mut refusals = Vec::new();
            while Instant::now() < end {
                let asked = Instant::now();
                match client.place_order(by("shop", order())).await {
                    Ok(_) => {
                        done.fetch_add(1, Relaxed);
                    }
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                        refusals.push(asked.elapsed());
                        let retry = status.get_details_retry_info().unwrap().retry_delay.unwrap();
                        tokio::time::sleep(retry).await;
                    }
                }
            }
            refusals
        })
    });
    let mut refusals = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        refusals.extend(task.await.unwrap());
    }
    refusals.sort_unstable();
    Round {
        done_per_s: done.load(Relaxed) as f64 / ROUND.as_secs_f64(),
        refused_per_s: refusals.len() as f64 / ROUND.as_secs_f64(),
        refusal_p99: refusals
            .get(refusals.len() * 99 / 100)
            .copied()
            .unwrap_or_default(),
    }
}

/// Sends on so many streams as fast as they take it.
async fn streams(server: &Running, streams: usize) -> Round {
    let (done, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let end = began + ROUND;
    let mut tasks = Vec::new();
    for _ in 0..streams {
        let mut client = OrderServiceClient::new(server.connect().await);
        let (done, refused) = (Arc::clone(&done), Arc::clone(&refused));
        tasks.push(tokio::spawn(async move {
            let orders = std::iter::from_fn(move || (Instant::now() < end).then(order));
            let answers = client
                .place_orders(by("shop", futures::stream::iter(orders)))
                .await;
            let mut answers = answers.unwrap().into_inner();
            while let Some(answer) = answers.message().await.unwrap() {
                let count = if matches!(answer.result, Some(Answer::Order(_))) {
                    &done
                } else {
                    &refused
                };
                count.fetch_add(1, Relaxed);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    // What was under way at the end of the round is done after it.
    let took_s = began.elapsed().as_secs_f64();
    Round {
        done_per_s: done.load(Relaxed) as f64 / took_s,
        refused_per_s: refused.load(Relaxed) as f64 / took_s,
        refusal_p99: Duration::ZERO,
    }
}

fn show(what: &str, round: &Round) {
    let Round {
        done_per_s,
        refused_per_s,
        refusal_p99,
    } = round;
    println!(
        "{what:<40} {done_per_s:>8.0} done/s {refused_per_s:>8.0} refused/s, p99 of a refusal {refusal_p99:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn ten_times_as_much_leaves_what_can_be_done() {
    let server = start(|config| config.admission.max_calls = ADMITTED).await;
    stock(&server).await;
    let (mut peak, mut over, mut few, mut many) = (0.0, 0.0, 0.0, 0.0);
    for _ in 0..ROUNDS {
        let round = callers(&server, PEAK).await;
        show("64 callers", &round);
        assert_eq!(round.refused_per_s, 0.0, "what can be done is let in");
        peak += round.done_per_s;
        let round = callers(&server, 10 * PEAK).await;
        show("640 callers", &round);
        assert!(round.refused_per_s > 0.0, "it was not too much");
        assert!(
            round.refusal_p99 < Duration::from_millis(250),
            "a refusal is quick"
        );
        over += round.done_per_s;
    }
    for _ in 0..ROUNDS {
        let round = streams(&server, 2).await;
        show("2 streams", &round);
        few += round.done_per_s;
        let round = streams(&server, 20).await;
        show("20 streams", &round);
        many += round.done_per_s;
    }
    println!("kept: {:.2} of calls, {:.2} of streams", over / peak, many / few);
    assert!(over >= KEPT * peak, "goodput of calls");
    assert!(many >= KEPT_OF_STREAMS * few, "goodput of streams");
    server.stop().await;
}
