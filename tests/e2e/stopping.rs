//! SIGTERM: what is in flight is finished, the exit code is 0, and everything is there again afterwards. And: a data
//! directory has one owner.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use docket_proto::v1::{GetOrderRequest, Order};
use tonic::Code;

use crate::{
    api::{Api, order, reason, reason_of},
    server::{Home, LOOK_AGAIN, PATIENCE, Server, verify},
};

const CLIENTS: usize = 16;
/// The server is told to stop when so many orders are placed.
const PLACED: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_is_in_flight_and_a_restart_has_everything() {
    let home = Home::new();
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000_000).await;

    let placed = Arc::new(AtomicUsize::new(0));
    let working: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(place_until_stopped(api.clone(), client, placed.clone())))
        .collect();
    let begun = Instant::now();
    while placed.load(Ordering::Acquire) < PLACED {
        assert!(begun.elapsed() < PATIENCE, "no orders are placed: {}", home.log());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    server.terminate();
    let mut orders = Vec::<Order>::new();
    for client in working {
        orders.extend(client.await.unwrap());
    }
    let status = tokio::task::spawn_blocking(|| server.ended()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{status}: {}", home.log());
    assert!(!home.log().contains("ERROR"), "{}", home.log());
    verify(&home);

    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    assert_eq!(
        server.open_orders(),
        0,
        "a stop in order leaves nothing half-done"
    );
    for order in &orders {
        let name = order.name.clone();
        let found = api.orders().get_order(GetOrderRequest { name }).await.unwrap();
        assert_eq!(found.get_ref(), order);
    }
    assert_eq!(
        api.all_orders().await.len(),
        orders.len(),
        "an order was placed, and its client not told"
    );
    let items = api.all_items().await;
    assert_eq!(items[0].reserved, orders.len() as i64);
    println!(
        "{} orders were acknowledged before the stop, all are there after it",
        orders.len()
    );
    server.stop(&home);
}

/// Places orders one after the other until the server is gone, and returns those that were acknowledged.
async fn place_until_stopped(api: Api, client: usize, placed: Arc<AtomicUsize>) -> Vec<Order> {
    let mut orders = Vec::new();
    loop {
        let request = order(&format!("{client}-{}", orders.len()), "ada", &[("nut", 1, 5)]);
        match api.orders().place_order(request).await {
            Ok(order) => orders.push(order.into_inner()),
            Err(status) => {
                // Turned away, or never sent. Had it been done all the same, the lists would show an order too many. A request that
                // crosses the server's GOAWAY is an internal error to this client library.
                let crossed =
                    status.code() == Code::Internal && status.message().starts_with("h2 protocol error");
                assert!(
                    crossed || matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown),
                    "{status:?}"
                );
                assert!(
                    reason_of(&status).is_none_or(|reason| reason == "NODE_STOPPING"),
                    "{status:?}"
                );
                return orders;
            }
        }
        placed.fetch_add(1, Ordering::AcqRel);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_same_data_directory_is_refused() {
    let home = Home::new();
    let server = Server::start(&home);
    let api = Api::admin(&server, &home).await;
    api.customer("ada", 1_000).await;
    let data = home.data();
    let second = home
        .command(&[
            "serve",
            "--data-dir",
            data.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains(data.to_str().unwrap()) && said.contains("is in use by"),
        "it says which directory and why: {said}"
    );
    println!("the second was told: {}", said.lines().last().unwrap_or_default());

    let again = api
        .orders()
        .place_order(order("r", "ada", &[("nut", 1, 5)]))
        .await;
    assert_eq!(
        reason(&again.unwrap_err()),
        "ITEM_NOT_FOUND",
        "the first one goes on"
    );
    server.kill();
    // A process that was killed leaves no lock behind.
    let server = Server::start(&home);
    server.stop(&home);
}
