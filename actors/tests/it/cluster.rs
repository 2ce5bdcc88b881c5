//! Orders whose items are led on other nodes, and nodes that die over them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use docket_actors::{
    Call, CallError, Docket, Key, LEFT_OUT_ONLY, ListOrders, OrderBatch, OrderPage, Shipment,
};
use docket_cluster::{Lane, Leader, NodeId, PeerCallError};
use docket_engine::access::Username;
use docket_engine::item::ReserveLine;
use docket_engine::{
    Amount, CustomerId, LineQuantity, Order, OrderFilter, OrderId, OrderState, PaymentState, Quantity,
    Rejection, ReturnStep, Sku, Version,
};
use docket_proto::peer_call::{Step, StepAction, StepAnswer, encode_look, kind};
use futures::future::join_all;

use crate::shop::{order, reason};
use crate::three::{PATIENCE, Three, call, eventually, interfering, until_done, until_read};

const ITEMS: [&str; 8] = ["i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7"];
const ON_HAND: i64 = 1_000_000;
const CUSTOMERS: [&str; 4] = ["ada", "bob", "eve", "dan"];

async fn shop(change: impl Fn(&mut docket_actors::Options)) -> Three {
    let three = Three::open_with(change).await;
    for customer in CUSTOMERS {
        three.customer(customer, 100_000_000).await;
    }
    for item in ITEMS {
        three.item(item, 10, ON_HAND).await;
    }
    three
}

/// The lines of the order of this number: three items, of several shards.
fn lines(number: usize) -> Vec<(&'static str, i64, i64)> {
    let line = |k: usize| (ITEMS[(number + k * 3) % ITEMS.len()], 1 + (number % 3) as i64, 10);
    (0..3).map(line).collect()
}

/// Every order there is, as this node lists them.
async fn all(docket: &Docket) -> Vec<Arc<Order>> {
    let (mut orders, mut before) = (Vec::new(), None);
    loop {
        let query = ListOrders {
            before,
            limit: 37,
            ..ListOrders::default()
        };
        let page = until_read(docket, async |docket| {
            docket.list_orders(Call::default(), query.clone()).await
        });
        let page = page.await.unwrap();
        orders.extend(page.orders);
        before = page.next;
        if before.is_none() {
            return orders;
        }
    }
}

/// Waits until nothing is half-way, and holds what is reserved and held against the orders that there are, at every node.
async fn books_balance(three: &Three) {
    let docket = &three.dockets()[0];
    let asked = Instant::now();
    loop {
        let orders = all(docket).await;
        let mut stock: BTreeMap<&str, (i64, i64)> = ITEMS.map(|item| (item, (ON_HAND, 0))).into();
        let mut accounts: BTreeMap<&str, (i64, i64)> = CUSTOMERS.map(|customer| (customer, (0, 0))).into();
        for order in &orders {
            let lines = order.lines.iter().zip(order.open_quantities());
            for ((line, open), gone) in lines.zip(order.fulfilled_quantities()) {
                // One that was refused may name what there is not.
                if let Some((on_hand, reserved)) = stock.get_mut(line.sku.as_str()) {
                    *on_hand -= gone.0;
                    *reserved += open.0;
                }
            }
            for back in order.returns().iter().filter(|it| it.was_restocked()) {
                for of_line in &back.lines {
                    let sku = order.lines[usize::from(of_line.line)].sku.as_str();
                    stock.get_mut(sku).unwrap().0 += of_line.quantity.0;
                }
            }
            let (balance, held) = accounts.get_mut(order.customer.as_str()).unwrap();
            *balance += order.refunded().0 - order.captured().0;
            *held += order.held().0;
        }
        let mut differ = Vec::new();
        for at in three.at() {
            for item in ITEMS {
                let found = three.stock(at, item).await;
                if found != stock[item] {
                    differ.push(format!("node {at} has {found:?} of {item} on hand and reserved"));
                }
            }
            for customer in CUSTOMERS {
                let found = three.account(at, customer).await;
                if found != accounts[customer] {
                    differ.push(format!(
                        "node {at} has {found:?} as balance and held of {customer}"
                    ));
                }
            }
        }
        let open = orders.iter().filter(|order| !order.is_settled()).count();
        if differ.is_empty() && open == 0 {
            return;
        }
        assert!(
            asked.elapsed() < PATIENCE,
            "{open} not settled; {differ:?}; {stock:?}; {accounts:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Places an order where its customer is led, again and again until it is known what became of it.
async fn place(
    dockets: &[Docket],
    request_id: &str,
    customer: &str,
    lines: &[(&str, i64, i64)],
) -> Result<Arc<Order>, CallError> {
    let key = Key::Customer(CustomerId::new(customer).unwrap());
    until_done(dockets, &key, async |docket| {
        docket.place_order(call(request_id), order(customer, lines)).await
    })
    .await
}

async fn cancel(dockets: &[Docket], id: OrderId) -> Result<Arc<Order>, CallError> {
    until_done(dockets, &Key::Order(id), async |docket| {
        docket.cancel_order(call(&format!("cancel-{id}")), id, None).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_reserves_items_that_are_led_on_other_nodes_and_every_node_shows_the_same() {
    let three = shop(|_| {}).await;
    let dockets = three.dockets();
    let placed = join_all((0..120).map(|n| {
        let dockets = &dockets;
        async move {
            let placed = place(dockets, &format!("r{n}"), CUSTOMERS[n % 4], &lines(n)).await;
            let placed = placed.unwrap();
            assert_eq!(placed.state, OrderState::Confirmed);
            // Whoever is answered finds it confirmed, wherever it is asked.
            let docket = &dockets[n % 3];
            let found = until_read(docket, async |docket| {
                docket.get_order(Call::default(), placed.id).await
            });
            assert_eq!(found.await.unwrap().state, OrderState::Confirmed, "order {n}");
            placed
        }
    }))
    .await;
    let too_many = place(&dockets, "many", "ada", &[("i0", 1, 10), ("i1", 2_000_000, 10)]).await;
    assert_eq!(reason(too_many), "INSUFFICIENT_STOCK");
    let unknown = place(&dockets, "unknown", "ada", &[("i0", 1, 10), ("nothing", 1, 10)]).await;
    assert_eq!(reason(unknown), "ITEM_NOT_FOUND");
    for order in placed.iter().step_by(5) {
        let cancelled = cancel(&dockets, order.id).await.unwrap();
        assert_eq!(
            (cancelled.state, cancelled.is_settled()),
            (OrderState::Cancelled, true)
        );
    }
    // A request that was done is answered as it was then.
    let again = place(&dockets, "r0", "ada", &lines(0)).await.unwrap();
    assert_eq!((again.id, again.state), (placed[0].id, OrderState::Confirmed));
    // Who asked is kept as soon as it is known of all nodes that they can read it, which each looks for once a second.
    let mut more = 0;
    loop {
        let placed = place(&dockets, &format!("more{more}"), "ada", &lines(0))
            .await
            .unwrap();
        more += 1;
        if placed.changes(Version(0), 1).unwrap()[0]
            .origin
            .request_id
            .is_some()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    books_balance(&three).await;
    let first = all(&dockets[0]).await;
    let ids: Vec<OrderId> = first.iter().map(|order| order.id).collect();
    assert_eq!(ids.len(), 122 + more);
    for docket in &dockets {
        let others = all(docket).await;
        assert!(others.iter().map(|order| order.id).eq(ids.iter().copied()));
        // Whoever is asked tells the same of where its changes came from.
        let told = |order: &Arc<Order>| order.changes(Version(0), 100).unwrap();
        assert!(others.iter().map(told).eq(first.iter().map(told)));
        let rejected = ListOrders {
            filter: OrderFilter {
                customer: Some(CustomerId::new("ada").unwrap()),
                states: vec![OrderState::Rejected],
                ..OrderFilter::default()
            },
            limit: 10,
            ..ListOrders::default()
        };
        let rejected = until_read(docket, async |docket| {
            docket.list_orders(Call::default(), rejected.clone()).await
        });
        assert_eq!(rejected.await.unwrap().orders.len(), 2);
        let items = docket
            .list_items(Call::default(), Some(Sku::new("i2").unwrap()), 3)
            .await;
        let items: Vec<_> = items.unwrap().iter().map(|item| item.sku.to_string()).collect();
        assert_eq!(items, ["i3", "i4", "i5"]);
        assert_eq!(
            docket
                .list_customers(Call::default(), None, 10)
                .await
                .unwrap()
                .len(),
            4
        );
        docket.validate().unwrap();
    }
    three.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_outlives_any_leader_and_what_is_half_done_is_finished_by_the_next() {
    let mut three = shop(|_| {}).await;
    for (round, customer) in CUSTOMERS.into_iter().enumerate().take(2) {
        let (going, dockets) = (AtomicBool::new(true), three.dockets());
        let placing = (0..8).map(|client: usize| {
            let (dockets, going) = (&dockets, &going);
            async move {
                let mut confirmed = Vec::new();
                for n in 0.. {
                    if !going.load(Ordering::Acquire) {
                        break;
                    }
                    let request = format!("{round}-{client}-{n}");
                    // Until it is known what became of it: with its id, so that it is done once.
                    let lines = lines(n + client);
                    let placed = place(dockets, &request, CUSTOMERS[client % 4], &lines).await;
                    confirmed.push(placed.unwrap().id);
                }
                confirmed
            }
        });
        let key = Key::Customer(CustomerId::new(customer).unwrap());
        let victim = three.leader(&key).await;
        let killing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            three.kill(victim).await;
            tokio::time::sleep(Duration::from_millis(3_000)).await;
            going.store(false, Ordering::Release);
        };
        let (confirmed, ()) = tokio::join!(join_all(placing), killing);
        three.start(victim).await;
        for id in confirmed.into_iter().flatten() {
            for docket in three.dockets() {
                let found = until_read(&docket, async |docket| {
                    docket.get_order(Call::default(), id).await
                });
                assert_eq!(found.await.unwrap().state, OrderState::Confirmed);
            }
        }
        books_balance(&three).await;
    }
    three.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shipped_and_returned_changes_the_stock_once_wherever_that_is_led_and_whoever_dies() {
    const ORDERS: usize = 48;
    let mut three = shop(|_| {}).await;
    let dockets = three.dockets();
    let placed = join_all((0..ORDERS).map(|n| {
        let dockets = &dockets;
        async move {
            let lines = lines(3 * n + 2);
            place(dockets, &format!("r{n}"), CUSTOMERS[n % 4], &lines)
                .await
                .unwrap()
                .id
        }
    }));
    let ids = placed.await;
    // Each is shipped in three parts, one of them called off, and some of it comes back; whoever asks goes on until there is an answer.
    let part = |line, quantity| -> Box<[LineQuantity]> {
        Box::new([LineQuantity {
            line,
            quantity: Quantity(quantity),
        }])
    };
    let shop_user = Username::new("shop").unwrap();
    let victims = [Some(0), Some(1), None, None, Some(2), Some(0)];
    for (round, victim) in victims.into_iter().enumerate() {
        let dockets = three.dockets();
        let acting = join_all(ids.iter().map(|id| {
            let (dockets, by) = (&dockets, &shop_user);
            async move {
                until_done(dockets, &Key::Order(*id), async |docket| {
                    let call = call(&format!("{round}-{id}"));
                    let shipment = |lines| Shipment {
                        lines,
                        fulfilment: None,
                        carrier: "".into(),
                        tracking: "".into(),
                    };
                    match round {
                        0 => {
                            docket
                                .ship_order(call, *id, shipment(part(0, 2)), by.clone(), None)
                                .await
                        }
                        1 => docket.cancel_order_lines(call, *id, part(1, 1), None).await,
                        2 => {
                            docket
                                .ship_order(call, *id, shipment(Box::default()), by.clone(), None)
                                .await
                        }
                        3 => {
                            let what = (part(2, 2), "".into());
                            docket.request_return(call, *id, what, by.clone(), None).await
                        }
                        4 => {
                            let approve = (1, ReturnStep::Approve);
                            let approved = docket.move_return(call, *id, approve, by.clone(), None).await;
                            approved?;
                            let receive = (1, ReturnStep::Receive { restock: true });
                            let call = self::call(&format!("receive-{id}"));
                            docket.move_return(call, *id, receive, by.clone(), None).await
                        }
                        _ => {
                            let what = (Amount(20), "".into());
                            docket.refund_order(call, *id, what, by.clone(), None).await
                        }
                    }
                })
                .await
                .unwrap()
            }
        }));
        let dying = async {
            if let Some(victim) = victim {
                tokio::time::sleep(Duration::from_millis(30)).await;
                three.kill(victim).await;
            }
        };
        let (orders, ()) = tokio::join!(acting, dying);
        let expected = match round {
            0 | 1 => OrderState::PartiallyFulfilled,
            _ => OrderState::Fulfilled,
        };
        for order in orders {
            assert_eq!(order.state, expected, "{order:?}");
        }
        drop(dockets);
        if let Some(victim) = victim {
            three.start(victim).await;
        }
        books_balance(&three).await;
    }
    let docket = &three.dockets()[0];
    for order in all(docket).await {
        let gone: i64 = order.fulfilled_quantities().iter().map(|n| n.0).sum();
        let cancelled: i64 = order.cancelled_quantities().iter().map(|n| n.0).sum();
        assert_eq!((gone, cancelled), (8, 1), "{order:?}");
        assert_eq!((order.captured(), order.refunded()), (Amount(80), Amount(20)));
        assert!(order.returns()[0].was_restocked());
    }
    three.end().await;
}

/// Items of which there is little promise more, wherever they are led; who waits is filled, hears of it and is sent it, whoever dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_filled_and_sent_once_wherever_its_items_are_led_and_whoever_dies() {
    const ORDERS: usize = 32;
    const SHORT: [&str; 4] = ["s0", "s1", "s2", "s3"];
    let mut three = shop(|_| {}).await;
    for item in SHORT {
        three.item(item, 10, 3).await;
        let sku = Sku::new(item).unwrap();
        let key = Key::Item(sku.clone());
        until_done(&three.dockets(), &key, async |docket| {
            let (call, limit) = (call(&format!("limit-{item}")), Some(Quantity(1_000)));
            docket
                .update_item(call, sku.clone(), None, None, limit, None)
                .await
        })
        .await
        .unwrap();
    }
    // Two of each of two items, and one of another of which there is enough.
    let dockets = three.dockets();
    let placing = join_all((0..ORDERS).map(|n| {
        let dockets = &dockets;
        async move {
            let lines = [
                (SHORT[n % 4], 2, 10),
                (SHORT[(n + 1) % 4], 2, 10),
                (ITEMS[n % 8], 1, 10),
            ];
            place(dockets, &format!("r{n}"), CUSTOMERS[n % 4], &lines)
                .await
                .unwrap()
        }
    }));
    let dying = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        three.kill(0).await;
    };
    let (placed, ()) = tokio::join!(placing, dying);
    drop(dockets);
    three.start(0).await;
    assert!(placed.iter().all(|order| order.state == OrderState::Confirmed));
    books_balance(&three).await;
    let waits = |order: &Order| -> i64 { order.backordered_quantities().iter().map(|it| it.0).sum() };
    // As many wait as were ordered beyond what there is, or more: what an order that did not come to be had reserved is given back later.
    let known: i64 = placed.iter().map(|order| waits(order)).sum();
    assert!(known >= 4 * (ORDERS as i64 - 3), "{known}");
    for (at, item) in SHORT.into_iter().enumerate() {
        // Of each 32 are ordered.
        let sku = Sku::new(item).unwrap();
        assert_eq!(three.stock(at % 3, item).await, (3, 3));
        let key = Key::Item(sku.clone());
        until_done(&three.dockets(), &key, async |docket| {
            let (call, more) = (call(&format!("more-{item}")), Quantity(ORDERS as i64 / 2 - 3));
            docket.adjust_stock(call, sku.clone(), more, None).await
        })
        .await
        .unwrap();
    }
    // At once: half of them have hardly been told yet, and of whom they ask one dies.
    let shop_user = Username::new("shop").unwrap();
    let dockets = three.dockets();
    let sending = join_all(placed.iter().map(|order| {
        let (dockets, by, id) = (&dockets, &shop_user, order.id);
        async move {
            until_done(dockets, &Key::Order(id), async |docket| {
                let shipment = Shipment {
                    lines: Box::default(),
                    fulfilment: None,
                    carrier: "".into(),
                    tracking: "".into(),
                };
                docket
                    .ship_order(call(&format!("ship-{id}")), id, shipment, by.clone(), None)
                    .await
            })
            .await
        }
    }));
    let dying = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        three.kill(1).await;
    };
    let (sent, ()) = tokio::join!(sending, dying);
    drop(dockets);
    three.start(1).await;
    // Half of what was ordered of each has come in.
    let mut left = 0;
    for order in sent {
        match order {
            Ok(order) if order.state == OrderState::Fulfilled => {}
            Ok(order) => left += waits(&order),
            Err(CallError::Rejected(rejection)) => {
                assert_eq!(rejection.reason(), "QUANTITY_BACKORDERED");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(left > 0, "nobody waits for the other half");
    books_balance(&three).await;
    for item in SHORT {
        let sku = Sku::new(item).unwrap();
        let key = Key::Item(sku.clone());
        until_done(&three.dockets(), &key, async |docket| {
            let (call, more) = (call(&format!("rest-{item}")), Quantity(ORDERS as i64 / 2));
            docket.adjust_stock(call, sku.clone(), more, None).await
        })
        .await
        .unwrap();
    }
    // Nobody asks: they hear of it by themselves.
    let docket = &three.dockets()[2];
    let asked = Instant::now();
    while all(docket).await.iter().any(|order| waits(order) > 0) {
        assert!(asked.elapsed() < PATIENCE, "an order has not heard of it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for order in all(docket).await {
        let (dockets, id) = (three.dockets(), order.id);
        if order.state == OrderState::Fulfilled {
            continue;
        }
        let send = async |docket: &Docket| {
            let shipment = Shipment {
                lines: Box::default(),
                fulfilment: None,
                carrier: "".into(),
                tracking: "".into(),
            };
            docket
                .ship_order(call(&format!("rest-{id}")), id, shipment, shop_user.clone(), None)
                .await
        };
        let sent = until_done(&dockets, &Key::Order(id), send).await.unwrap();
        assert_eq!(sent.state, OrderState::Fulfilled);
    }
    for item in SHORT {
        let asked = Instant::now();
        while three.stock(0, item).await != (0, 0) {
            assert!(asked.elapsed() < PATIENCE, "{item} is not all sent");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    books_balance(&three).await;
    three.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_s_leader_that_dies_while_it_is_asked_leaves_every_order_whole() {
    let (asked, armed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (seen, arm) = (asked.clone(), armed.clone());
    let mut three = shop(move |options| {
        let (seen, arm) = (seen.clone(), arm.clone());
        options.before_decision = Some(interfering(move |kind, _| {
            if kind == "item" && arm.load(Ordering::Acquire) {
                seen.fetch_add(1, Ordering::AcqRel);
            }
        }));
    })
    .await;
    let customer = CustomerId::new("ada").unwrap();
    let home = three.leader(&Key::Customer(customer)).await;
    // An item that is led on another node; where all are led by one, that one dies over customer and item both.
    let mut victim = home;
    for item in ITEMS {
        let leader = three.leader(&Key::Item(Sku::new(item).unwrap())).await;
        if leader != home {
            victim = leader;
        }
    }
    armed.store(true, Ordering::Release);
    let dockets = three.dockets();
    let placing = (0..20).map(|n: usize| {
        let dockets = &dockets;
        async move { place(dockets, &format!("r{n}"), "ada", &lines(n)).await }
    });
    let killing = async {
        eventually("items to be asked", || asked.load(Ordering::Acquire) > 10).await;
        three.kill(victim).await;
    };
    let (placed, ()) = tokio::join!(join_all(placing), killing);
    for placed in placed {
        assert_eq!(placed.unwrap().state, OrderState::Confirmed);
    }
    books_balance(&three).await;
    three.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_quorum_answers_nothing_not_even_a_refusal() {
    let mut three = shop(|_| {}).await;
    let key = Key::Item(Sku::new("i0").unwrap());
    let leader = three.leader(&key).await;
    for at in (0..3).filter(|at| *at != leader) {
        three.kill(at).await;
    }
    let docket = three.docket(leader).clone();
    let short = || Call {
        deadline: Some(Instant::now() + Duration::from_millis(400)),
        ..Call::default()
    };
    // On its own state alone these would be refused: but others may have changed it by now.
    let too_few = docket
        .adjust_stock(short(), Sku::new("i0").unwrap(), Quantity(-9_000_000), None)
        .await;
    let read = docket
        .get_item(short(), Sku::new("i0").unwrap())
        .await
        .map(|_| ());
    let nobody = docket
        .place_order(short(), order("nobody", &[("i0", 1, 10)]))
        .await;
    for answer in [too_few.map(|_| ()), read, nobody.map(|_| ())] {
        let error = answer.unwrap_err();
        assert!(!matches!(error, CallError::Rejected(_)), "{error}");
    }
    three.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_a_follower_while_it_takes_in_a_snapshot_sees_all_or_is_told_to_wait() {
    let mut three = shop(|options| options.node.snapshot_bytes_min = 16 * 1024).await;
    let dockets = three.dockets();
    let first = place(&dockets, "first", "ada", &lines(0)).await.unwrap();
    let home = three.leader(&Key::Order(first.id)).await;
    let (follower, other) = ((home + 1) % 3, (home + 2) % 3);
    for n in 0..20 {
        place(&dockets, &format!("r{n}"), "ada", &lines(n)).await.unwrap();
    }
    drop(dockets);
    three.kill(follower).await;
    let (mut named, asked) = (0, Instant::now());
    let group = || {
        let node = three.node(other);
        let customer = CustomerId::new("ada").unwrap();
        let slot = docket_cluster::slot_of(customer.as_str().as_bytes());
        node.shard(node.ring().shard_of(slot)).unwrap()
    };
    let mut snapshots = std::collections::BTreeSet::new();
    // With the second snapshot the log is purged up to the first; a third is not begun before that.
    while snapshots.len() < 3 {
        assert!(asked.elapsed() < PATIENCE, "only the snapshots {snapshots:?}");
        // What makes the log grow and not the state.
        let renamed = (0..20).map(|k| {
            let (docket, id) = (three.docket(home), CustomerId::new("ada").unwrap());
            let name = format!("{:0>100}", named + k);
            async move {
                let renamed = docket.update_customer(Call::default(), id, Some(name.into()), None, None);
                renamed.await.map(drop)
            }
        });
        // A lead that moves is no matter here: what is not done is tried again.
        let _ = join_all(renamed).await;
        named += 20;
        snapshots.extend(group().status().snapshot_index);
    }
    // A leader keeps what a follower that is away has not got; the other does not, and leads now.
    three.kill(home).await;
    three.start(follower).await;
    let reader = three.docket(follower).clone();
    let asked = Instant::now();
    let mut read = 0;
    while read < 200 {
        match reader.get_order(call("read"), first.id).await {
            Ok(found) => {
                assert_eq!(found.state, OrderState::Confirmed);
                read += 1;
            }
            Err(CallError::Unavailable { .. } | CallError::DeadlineExceeded) => {
                assert!(asked.elapsed() < PATIENCE, "it cannot be read");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(all(&reader).await.len(), 21);
    books_balance(&three).await;
    three.end().await;
}

/// An order of a shard that another node leads than this item's, and the item's leader.
async fn stranger(three: &Three, item: &Sku) -> Option<(OrderId, usize)> {
    let leader = three.leader(&Key::Item(item.clone())).await;
    for slot in (0..4_096).step_by(256) {
        let order = OrderId::compose(1, slot, 77);
        if three.leader(&Key::Order(order)).await != leader {
            return Some((order, leader));
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_done_once_in_its_leader_s_term_and_what_no_order_wants_is_released() {
    let three = shop(|_| {}).await;
    let dockets = three.dockets();
    let kept = place(&dockets, "kept", "ada", &lines(0)).await.unwrap();
    let item = kept.lines[0].sku.clone();
    let before = three.stock(0, item.as_str()).await.1;
    let (order, leader) = stranger(&three, &item).await.unwrap();
    let (to, asker) = (NodeId(leader as u64 + 1), three.node((leader + 1) % 3));
    let Leader::Node { node, term } = asker.leader_of(three.group_of(item.as_str())) else {
        panic!("who leads is not known there");
    };
    assert_eq!(node, to);
    let step = |term: u64, action: StepAction| {
        let (sku, deadline) = (item.clone(), Instant::now() + Duration::from_secs(5));
        let step = Step {
            knows_waiting: true,
            only_there: false,
            term,
            order,
            sku,
            edits: 0,
            action,
        };
        async move {
            asker
                .call(to, (Lane::Step, kind::STEP), step.encode(), deadline)
                .await
        }
    };
    let reserve = |quantity: i64| StepAction::Reserve {
        currency: "EUR".parse().unwrap(),
        lines: vec![ReserveLine {
            line: 0,
            quantity: Quantity(quantity),
            unit_price: Amount(10),
        }],
    };
    for other in [term - 1, term + 1] {
        let declined = step(other, reserve(3)).await.unwrap_err();
        assert!(matches!(declined, PeerCallError::Declined { .. }), "{declined}");
    }
    for _ in 0..3 {
        let done = StepAnswer::decode(step(term, reserve(3)).await.unwrap()).unwrap();
        assert_eq!(done, StepAnswer::Done(Quantity::ZERO));
    }
    // Nobody has placed it: whoever leads its shard says so, and what it has is given back. The other order keeps its own.
    let deadline = Instant::now() + Duration::from_secs(5);
    let told = asker
        .call(to, (Lane::Step, kind::LOOK), encode_look(), deadline)
        .await;
    told.unwrap();
    let asked = Instant::now();
    while three.stock(leader, item.as_str()).await.1 != before {
        assert!(asked.elapsed() < PATIENCE, "it is not released");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What was refused once is refused, whatever there is of it later.
    let refused = StepAnswer::decode(step(term, reserve(9_000_000)).await.unwrap()).unwrap();
    assert!(matches!(&refused, StepAnswer::Rejected(_)), "{refused:?}");
    let again = StepAnswer::decode(step(term, reserve(1)).await.unwrap()).unwrap();
    assert_eq!(again, refused);
    books_balance(&three).await;
    three.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_replicas_lists_what_the_others_have() {
    let three = shop(|options| {
        let peers = options.node.peers.as_mut().unwrap();
        peers.founders.retain(|founder| *founder != NodeId(3));
    })
    .await;
    let dockets = three.dockets();
    join_all((0..90).map(|n| {
        let dockets = &dockets;
        async move {
            let placed = place(dockets, &format!("r{n}"), CUSTOMERS[n % 4], &lines(n)).await;
            placed.unwrap();
        }
    }))
    .await;
    let outside = &dockets[2];
    let ids = |orders: Vec<Arc<Order>>| orders.iter().map(|order| order.id).collect::<Vec<_>>();
    let (expected, found) = (ids(all(&dockets[0]).await), ids(all(outside).await));
    assert_eq!((found.len(), found), (90, expected));
    let of_ada = ListOrders {
        filter: OrderFilter {
            customer: Some(CustomerId::new("ada").unwrap()),
            states: vec![OrderState::Confirmed],
            ..OrderFilter::default()
        },
        limit: 100,
        ..ListOrders::default()
    };
    let of_ada = until_read(outside, async |docket| {
        docket.list_orders(Call::default(), of_ada.clone()).await
    });
    assert_eq!(of_ada.await.unwrap().orders.len(), 23);
    // With conditions of which the others are told, a few at a time.
    let of_item = async |docket: &Docket| {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let query = ListOrders {
                filter: OrderFilter {
                    item: Some(Sku::new("i5").unwrap()),
                    payments: vec![PaymentState::Authorized],
                    ..OrderFilter::default()
                },
                before,
                limit: 7,
                ..ListOrders::default()
            };
            let page = until_read(docket, async |docket| {
                docket.list_orders(Call::default(), query.clone()).await
            });
            let page = page.await.unwrap();
            found.extend(page.orders);
            before = page.next;
            if before.is_none() {
                return ids(found);
            }
        }
    };
    let (expected, found) = (of_item(&dockets[0]).await, of_item(outside).await);
    assert!(found.len() > 20 && found.len() < 90, "{}", found.len());
    assert_eq!(found, expected);
    // By their ids, in whatever order, as often as they are named.
    let mut named = expected;
    named.reverse();
    named.push(named[0]);
    for docket in &dockets {
        let batch = until_read(docket, async |docket| {
            docket.batch_get_orders(Call::default(), &named).await
        });
        let OrderBatch::All(orders) = batch.await.unwrap() else {
            panic!("they are few");
        };
        assert_eq!(ids(orders), named);
        let of_dan = Call {
            owner: Some(CustomerId::new("dan").unwrap()),
            ..Call::default()
        };
        let hidden = docket.batch_get_orders(of_dan, &named).await;
        assert!(matches!(
            hidden,
            Err(CallError::Rejected(Rejection::OrderNotFound { .. }))
        ));
    }
    let items = until_read(outside, async |docket| {
        docket
            .list_items(Call::default(), Some(Sku::new("i2").unwrap()), 3)
            .await
    });
    let items: Vec<_> = items
        .await
        .unwrap()
        .iter()
        .map(|item| item.sku.to_string())
        .collect();
    assert_eq!(items, ["i3", "i4", "i5"]);
    let customers = until_read(outside, async |docket| {
        docket.list_customers(Call::default(), None, 10).await
    });
    assert_eq!(customers.await.unwrap().len(), 4);
    three.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_nobody_leads_are_left_out_and_named_and_what_they_have_follows_when_they_are_back() {
    let mut three = shop(|_| {}).await;
    let dockets = three.dockets();
    for n in 0..24 {
        let placed = place(&dockets, &format!("r{n}"), CUSTOMERS[n % 4], &lines(n)).await;
        placed.unwrap();
    }
    let expected: Vec<OrderId> = all(&dockets[0]).await.iter().map(|order| order.id).collect();
    drop(dockets);
    let query = |page: &OrderPage, partial| ListOrders {
        before: page.next,
        left_out: page.left_out.clone(),
        limit: 5,
        partial,
        ..ListOrders::default()
    };
    let begin = query(&OrderPage::default(), true);
    let first = three.docket(0).list_orders(Call::default(), begin).await.unwrap();
    assert_eq!((first.orders.len(), first.unreachable.len()), (5, 0));
    three.kill(1).await;
    three.kill(2).await;
    let alone = three.docket(0).clone();
    // Until the last one has noticed that nobody follows it any more.
    let missing = {
        let asked = Instant::now();
        loop {
            let page = alone
                .list_orders(Call::default(), query(&first, true))
                .await
                .unwrap();
            if page.orders.is_empty() {
                break page;
            }
            assert!(asked.elapsed() < PATIENCE, "{:?}", page.unreachable);
        }
    };
    let shards = alone.positions_of().1;
    assert_eq!(missing.unreachable.len(), shards);
    assert_eq!(
        (missing.next, missing.left_out.len()),
        (Some(LEFT_OUT_ONLY), shards)
    );
    let refused = alone.list_orders(Call::default(), query(&first, false)).await;
    assert!(
        matches!(refused, Err(CallError::Unavailable { .. })),
        "{refused:?}"
    );
    let refused = alone.batch_get_orders(Call::default(), &expected).await;
    assert!(
        matches!(refused, Err(CallError::Unavailable { .. })),
        "{refused:?}"
    );
    let still = alone
        .list_orders(Call::default(), query(&missing, true))
        .await
        .unwrap();
    assert_eq!((still.next, &still.left_out), (missing.next, &missing.left_out));

    three.start(1).await;
    three.start(2).await;
    let mut found: Vec<OrderId> = first.orders.iter().map(|order| order.id).collect();
    let mut page = still;
    while page.next.is_some() {
        let next = until_read(&alone, async |docket| {
            docket.list_orders(Call::default(), query(&page, false)).await
        });
        page = next.await.unwrap();
        found.extend(page.orders.iter().map(|order| order.id));
    }
    assert_eq!(found, expected);
    three.end().await;
}
