//! Orders grow old: what was fulfilled long ago is closed, and what is over leaves memory for the archive, where it is read, listed, watched and
//! verified as before, and refuses what it refused before.

mod crashes;
mod replicas;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use docket_actors::{
    AgingOptions, Call, CallError, Docket, ListOrders, Options, OrderBatch, Shipment, WatchOrders,
};
use docket_engine::{
    Amount, CustomerId, HoldReason, Order, OrderFilter, OrderId, OrderState, PaymentState, ReturnStep, Sku,
    Version,
};
use docket_proto::feed::FeedFrom;

use crate::shop::{Shop, part, reason, request, small, user};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
const NEVER: AgingOptions = AgingOptions {
    close_after: None,
    archive_after: None,
    at_once: 32,
};
/// As soon as it may be.
const AT_ONCE: AgingOptions = AgingOptions {
    close_after: Some(Duration::ZERO),
    archive_after: Some(Duration::ZERO),
    at_once: 7,
};

async fn open(dir: &Path, aging: AgingOptions) -> Shop {
    Shop::open_with(Options { aging, ..small(dir) }).await
}

async fn until(docket: &Docket, what: &str, is_so: impl AsyncFn(&Docket) -> bool) {
    let asked = Instant::now();
    while !is_so(docket).await {
        assert!(
            asked.elapsed() < PATIENCE,
            "{what}: {:?}",
            docket.status().entities
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn get(docket: &Docket, id: OrderId) -> Arc<Order> {
    docket.get_order(Call::default(), id).await.unwrap()
}

async fn ship(docket: &Docket, id: OrderId) {
    let all = Shipment {
        fulfilment: None,
        lines: Box::default(),
        carrier: "post".into(),
        tracking: "1".into(),
    };
    docket
        .ship_order(Call::default(), id, all, user("depot"), None)
        .await
        .unwrap();
}

/// An order of each kind that there is, over and over: fulfilled, cancelled, rejected, and open ones of several kinds.
async fn shop_of(dir: &Path, rounds: usize) -> (Shop, Vec<OrderId>) {
    let shop = open(dir, NEVER).await;
    for customer in ["ada", "ad", "bob"] {
        shop.customer(customer, 1_000_000).await;
    }
    shop.item("tea", 350, 1_000_000).await;
    shop.item("pot", 2_000, 1_000_000).await;
    let mut placed = Vec::new();
    for round in 0..rounds {
        let customer = ["ada", "ad", "bob"][round % 3];
        let place = async |kind: &str| {
            let lines: &[_] = match round % 2 {
                0 => &[("tea", 2, 350), ("pot", 1, 2_000)],
                _ => &[("tea", 1, 350)],
            };
            let placed = shop.place(&format!("{round}-{kind}"), customer, lines).await;
            placed.unwrap().id
        };
        let sent = place("sent").await;
        ship(&shop.docket, sent).await;
        let off = place("off").await;
        shop.docket
            .cancel_order(Call::default(), off, None)
            .await
            .unwrap();
        let refused = shop
            .place(&format!("{round}-no"), customer, &[("pot", 1, 1_999)])
            .await;
        assert_eq!(reason(refused), "PRICE_CHANGED");
        let open = place("open").await;
        let held = place("held").await;
        let hold = (HoldReason::Address, "where?".into());
        shop.docket
            .hold_order(Call::default(), held, hold, user("ops"), None)
            .await
            .unwrap();
        // Sent, and to come back: that is not at rest.
        let back = place("back").await;
        ship(&shop.docket, back).await;
        let asked = (part(&[(0, 1)]), "worn".into());
        shop.docket
            .request_return(Call::default(), back, asked, user("ada"), None)
            .await
            .unwrap();
        placed.extend([sent, off, open, held, back]);
    }
    (shop, placed)
}

/// Everything that a list finds, page by page, newest first.
async fn listed(docket: &Docket, filter: OrderFilter, limit: usize) -> Vec<Arc<Order>> {
    let mut query = ListOrders {
        filter,
        limit,
        ..ListOrders::default()
    };
    let mut found = Vec::new();
    loop {
        let page = docket.list_orders(Call::default(), query.clone()).await.unwrap();
        assert!(page.orders.len() <= limit);
        found.extend(page.orders);
        match page.next {
            Some(next) => query.before = Some(next),
            None => break,
        }
    }
    assert!(
        found.windows(2).all(|two| two[0].id > two[1].id),
        "each once, newest first"
    );
    found
}

fn filters(times: &[Arc<Order>]) -> Vec<OrderFilter> {
    let all = OrderFilter::default;
    let of = |customer: &str| OrderFilter {
        customer: CustomerId::new(customer).ok(),
        ..all()
    };
    let in_states = |states: &[OrderState]| OrderFilter {
        states: states.to_vec(),
        ..all()
    };
    let (first, last) = (times[times.len() / 4].created, times[times.len() / 2].created);
    vec![
        all(),
        of("ada"),
        of("ad"),
        of("nobody"),
        in_states(&[OrderState::Fulfilled]),
        in_states(&[OrderState::Cancelled]),
        in_states(&[OrderState::Rejected, OrderState::Confirmed]),
        in_states(&[OrderState::Cancelled, OrderState::Rejected, OrderState::Fulfilled]),
        OrderFilter {
            states: vec![OrderState::Cancelled],
            ..of("ada")
        },
        OrderFilter {
            placed_from: Some(first.min(last)),
            placed_before: Some(first.max(last)),
            ..all()
        },
        OrderFilter {
            item: Sku::new("pot").ok(),
            ..all()
        },
        OrderFilter {
            holds: vec![HoldReason::Address],
            ..all()
        },
        OrderFilter {
            payments: vec![PaymentState::Captured, PaymentState::Voided],
            ..all()
        },
        OrderFilter {
            payments: vec![PaymentState::Failed],
            ..all()
        },
    ]
}

/// As it was, but for that it was closed.
fn as_closed(order: &Arc<Order>, now: &Arc<Order>) -> Order {
    let mut order = Order::clone(order);
    if now.state == OrderState::Closed {
        assert_eq!(order.state, OrderState::Fulfilled);
        (order.state, order.version) = (OrderState::Closed, order.version.next());
        (order.updated, order.trail) = (now.updated, now.trail.clone());
    }
    order
}

/// What comes of every command of a person.
async fn asked(docket: &Docket, id: OrderId) -> Vec<String> {
    let call = Call::default;
    let by = || user("ops");
    let lines = || part(&[(0, 1)]);
    let told = |answer: Result<Arc<Order>, CallError>| match answer {
        Ok(order) => format!("{:?}", order.state),
        Err(CallError::Rejected(rejection)) => rejection.reason().to_owned(),
        Err(other) => panic!("{other}"),
    };
    let shipment = || Shipment {
        fulfilment: None,
        lines: Box::default(),
        carrier: "".into(),
        tracking: "".into(),
    };
    let hold = (HoldReason::Stock, "".into());
    vec![
        told(docket.cancel_order(call(), id, None).await),
        told(docket.cancel_order(request("again"), id, None).await),
        told(docket.cancel_order(call(), id, Some(Version(1))).await),
        told(docket.cancel_order_lines(call(), id, lines(), None).await),
        told(docket.ship_order(call(), id, shipment(), by(), None).await),
        told(docket.deliver_fulfilment(call(), id, 9, by(), None).await),
        told(docket.hold_order(call(), id, hold, by(), None).await),
        told(
            docket
                .release_order_hold(call(), id, HoldReason::Stock, by(), None)
                .await,
        ),
        told(docket.edit_order(call(), id, lines(), by(), Version(1)).await),
        told(
            docket
                .request_return(call(), id, (lines(), "".into()), by(), None)
                .await,
        ),
        told(
            docket
                .move_return(call(), id, (9, ReturnStep::Approve), by(), None)
                .await,
        ),
        told(
            docket
                .refund_order(call(), id, (Amount(1_000_000), "".into()), by(), None)
                .await,
        ),
        told(docket.retry_payment(call(), id, 9, by(), None).await),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_fulfilled_is_closed_when_its_time_has_come_and_takes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let (shop, placed) = shop_of(dir.path(), 2).await;
    shop.close().await;
    // Not before its time.
    let later = AgingOptions {
        close_after: Some(Duration::from_secs(3_600)),
        ..NEVER
    };
    let shop = open(dir.path(), later).await;
    tokio::time::timeout(Duration::from_millis(400), std::future::pending::<()>())
        .await
        .unwrap_err();
    let closed = || {
        async |docket: &Docket| {
            let filter = OrderFilter {
                states: vec![OrderState::Closed],
                ..OrderFilter::default()
            };
            listed(docket, filter, 100).await.len() == 2
        }
    };
    assert!(!closed()(&shop.docket).await);
    let before = get(&shop.docket, placed[0]).await;
    shop.close().await;

    let now = AgingOptions {
        archive_after: None,
        ..AT_ONCE
    };
    let shop = open(dir.path(), now).await;
    until(&shop.docket, "both are closed", closed()).await;
    let order = get(&shop.docket, placed[0]).await;
    assert_eq!(*order, as_closed(&before, &order));
    let refused = asked(&shop.docket, placed[0]).await;
    let is_stale = |at: usize| at == 2 || at == 8;
    for (at, answer) in refused.iter().enumerate() {
        let expected = if is_stale(at) {
            "STALE_ETAG"
        } else {
            "ORDER_CLOSED"
        };
        assert_eq!(answer, expected, "{at}");
    }
    let last = order.changes(Version(0), 100).unwrap().pop().unwrap();
    assert_eq!(last.kind.to_string(), "CLOSED");
    // What is to come back is not closed, and no more is what is open or was called off.
    let states: Vec<_> = futures::future::join_all(placed[..5].iter().map(|id| get(&shop.docket, *id)))
        .await
        .iter()
        .map(|order| order.state)
        .collect();
    assert_eq!(
        states,
        [
            OrderState::Closed,
            OrderState::Cancelled,
            OrderState::Confirmed,
            OrderState::Confirmed,
            OrderState::Fulfilled
        ]
    );
    shop.docket.validate().unwrap();
    // And so over a restart.
    shop.close().await;
    let shop = open(dir.path(), NEVER).await;
    assert_eq!(get(&shop.docket, placed[0]).await, order);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_leaves_memory_and_is_read_listed_watched_and_verified_as_before() {
    const ROUNDS: usize = 12;
    let dir = tempfile::tempdir().unwrap();
    let (shop, placed) = shop_of(dir.path(), ROUNDS).await;
    let all = listed(&shop.docket, OrderFilter::default(), 100).await;
    assert_eq!(all.len(), 6 * ROUNDS);
    let filters = filters(&all);
    let mut before = Vec::new();
    for filter in &filters {
        before.push(listed(&shop.docket, filter.clone(), 5).await);
    }
    let off = asked(&shop.docket, placed[1]).await;
    let refused = all
        .iter()
        .find(|order| order.state == OrderState::Rejected)
        .unwrap();
    let no = asked(&shop.docket, refused.id).await;
    let books = (
        shop.stock("tea").await,
        shop.stock("pot").await,
        shop.held("ada").await,
    );
    shop.close().await;

    let shop = open(dir.path(), AT_ONCE).await;
    let docket = &shop.docket;
    let is_archived =
        |count: usize| async move |docket: &Docket| docket.status().entities.archived_orders == count as u64;
    until(docket, "all that are over are archived", is_archived(3 * ROUNDS)).await;
    assert_eq!(docket.status().entities.orders, 3 * ROUNDS as u64);
    let check = async |docket: &Docket| {
        let now: BTreeMap<OrderId, Arc<Order>> = listed(docket, OrderFilter::default(), 7)
            .await
            .into_iter()
            .map(|order| (order.id, order))
            .collect();
        assert_eq!(now.len(), all.len());
        for order in &all {
            let found = get(docket, order.id).await;
            assert_eq!(*found, as_closed(order, &found));
            assert_eq!(now[&order.id], found);
            found.validate().unwrap();
            assert_eq!(
                found.changes(Version(0), 100).unwrap().len() as u64,
                found.version.0
            );
        }
        for (filter, before) in filters.iter().zip(&before) {
            let mut filter = filter.clone();
            if filter.states.contains(&OrderState::Fulfilled) {
                filter.states.push(OrderState::Closed);
            }
            for limit in [1, 5, 1_000] {
                let found = listed(docket, filter.clone(), limit).await;
                let ids = |orders: &[Arc<Order>]| orders.iter().map(|it| it.id).collect::<Vec<_>>();
                assert_eq!(ids(&found), ids(before), "{filter:?}");
            }
        }
        let ids: Vec<_> = all.iter().map(|order| order.id).collect();
        match docket.batch_get_orders(Call::default(), &ids).await.unwrap() {
            OrderBatch::All(orders) => assert!(orders.iter().map(|it| it.id).eq(ids)),
            other => panic!("{other:?}"),
        }
        // Only who may see an order finds it there.
        let (own, other) = (all[0].customer.clone(), CustomerId::new("nobody").unwrap());
        let archived = placed[placed.len() - 4];
        for (owner, is_seen) in [
            (get(docket, archived).await.customer.clone(), true),
            (other, false),
        ] {
            let call = Call {
                owner: Some(owner),
                ..Call::default()
            };
            assert_eq!(docket.get_order(call.clone(), archived).await.is_ok(), is_seen);
            let cancelled = docket.cancel_order(call, archived, None).await;
            assert_eq!(cancelled.is_ok(), is_seen, "{own}");
        }
        assert_eq!(asked(docket, placed[1]).await, off);
        assert_eq!(asked(docket, refused.id).await, no);
        let closed = asked(docket, placed[0]).await;
        assert_eq!(
            (&*closed[0], &*closed[2], &*closed[9]),
            ("ORDER_CLOSED", "STALE_ETAG", "ORDER_CLOSED")
        );
        // What was placed long ago is answered as it ever was, or as what it is now.
        let again = shop_again(docket, "0-off", "ada", &[("tea", 2, 350), ("pot", 1, 2_000)]).await;
        assert_eq!(again.unwrap().id, placed[1]);
        let refused = shop_again(docket, "0-no", "ada", &[("pot", 1, 1_999)]).await;
        assert_eq!(reason(refused), "PRICE_CHANGED");
        docket.validate().unwrap();
        let report = docket.verify(crashes::PACE).await.unwrap();
        assert_eq!(report.discrepancies, []);
        let archived: u64 = report.shards.iter().map(|shard| shard.archived).sum();
        assert_eq!((archived, report.undecided), (3 * ROUNDS as u64, 0));
        assert_eq!(watched(docket).await, all.len());
    };
    check(docket).await;
    assert_eq!(
        (
            shop.stock("tea").await,
            shop.stock("pot").await,
            shop.held("ada").await
        ),
        books
    );
    shop.close().await;
    let shop = open(dir.path(), AT_ONCE).await;
    until(&shop.docket, "they are archived still", is_archived(3 * ROUNDS)).await;
    check(&shop.docket).await;
    // What was open goes on.
    ship(&shop.docket, placed[2]).await;
    until(&shop.docket, "it too", is_archived(3 * ROUNDS + 1)).await;
    assert_eq!(get(&shop.docket, placed[2]).await.state, OrderState::Closed);
    shop.close().await;
}

async fn shop_again(
    docket: &Docket,
    id: &str,
    customer: &str,
    lines: &[(&str, i64, i64)],
) -> Result<Arc<Order>, CallError> {
    docket
        .place_order(request(id), crate::shop::order(customer, lines))
        .await
}

/// How many orders' changes a watch of everything from the oldest tells of, without a gap.
async fn watched(docket: &Docket) -> usize {
    let shards = docket.positions_of().1;
    let everything = WatchOrders {
        customer: None,
        states: Vec::new(),
        from: vec![FeedFrom::Oldest; shards],
    };
    let mut watch = docket.watch_orders(&Call::default(), everything).await.unwrap();
    let mut versions = BTreeMap::<OrderId, u64>::new();
    loop {
        let found = watch
            .next(50, Instant::now() + Duration::from_millis(200))
            .await
            .unwrap();
        if found.is_empty() {
            return versions.len();
        }
        for change in found {
            let version = versions.entry(change.order.id).or_default();
            *version += 1;
            assert_eq!(change.order.version.0, *version);
            assert_eq!(change.order.version, change.change.version);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_finds_little_looks_at_a_bounded_number_of_archived_orders_a_page() {
    const ORDERS: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let shop = open(
        dir.path(),
        AgingOptions {
            at_once: 64,
            ..AT_ONCE
        },
    )
    .await;
    shop.customer("ada", 1_000_000).await;
    shop.item("tea", 1, 1_000_000).await;
    let mut orders = Vec::new();
    for number in 0..ORDERS {
        let placed = shop
            .place(&format!("r{number}"), "ada", &[("tea", 1, 1)])
            .await
            .unwrap();
        shop.docket
            .cancel_order(Call::default(), placed.id, None)
            .await
            .unwrap();
        orders.push(placed.id);
    }
    let all = ORDERS as u64;
    until(&shop.docket, "all are archived", async |docket: &Docket| {
        docket.status().entities.archived_orders == all
    })
    .await;
    orders.reverse();
    for limit in [1, 40, 299, 300, 301] {
        let found = listed(&shop.docket, OrderFilter::default(), limit).await;
        assert!(
            found.iter().map(|order| order.id).eq(orders.iter().copied()),
            "{limit}"
        );
    }
    // Nothing is there at all: one page says so.
    let nothing = ListOrders {
        filter: OrderFilter {
            item: Sku::new("pot").ok(),
            ..OrderFilter::default()
        },
        limit: 10,
        ..ListOrders::default()
    };
    let page = shop.docket.list_orders(Call::default(), nothing).await.unwrap();
    assert_eq!((page.orders.len(), page.next), (0, None));
    // A state that is not in an archive is not looked for there, and one that is rare is found by its own index.
    for (states, found) in [
        (vec![OrderState::Confirmed], 0),
        (vec![OrderState::Expired, OrderState::Rejected], 0),
        (vec![OrderState::Cancelled], ORDERS),
    ] {
        let filter = OrderFilter {
            states,
            ..OrderFilter::default()
        };
        assert_eq!(listed(&shop.docket, filter, 50).await.len(), found);
    }
    shop.close().await;
}
