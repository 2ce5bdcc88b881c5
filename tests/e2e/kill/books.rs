//! What the clients were told, against what the server has.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Instant,
};

use docket_proto::v1::{
    Customer, GetOrderRequest, Item, LineReservation, Order, OrderLine, OrderPayment, line_reservation,
    order::State, order_payment,
};

use super::workload::{Answer, Ask, CUSTOMERS, Client, ITEMS, Request, price};
use crate::{
    api::Api,
    server::{LOOK_AGAIN, PATIENCE},
};

const CREDIT_LIMIT: i64 = 15_000;
const ON_HAND: i64 = 40;
/// So many of the newest orders are also read one by one.
const READ_ONE_BY_ONE: usize = 200;

/// What there was at the beginning.
pub struct Books;

/// How many orders there are.
#[derive(Debug, Default)]
pub struct Orders {
    confirmed: usize,
    cancelled: usize,
    rejected: usize,
}

impl fmt::Display for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            confirmed,
            cancelled,
            rejected,
        } = self;
        write!(
            f,
            "{confirmed} orders confirmed, {cancelled} cancelled, {rejected} rejected"
        )
    }
}

/// One order as its client knows it.
struct Known<'a> {
    placed: &'a Order,
    cancel: Option<&'a Request>,
}

impl Books {
    /// Creates the customers and items.
    pub async fn open(api: &Api) -> Self {
        for n in 0..CUSTOMERS {
            api.customer(&format!("c{n}"), CREDIT_LIMIT).await;
        }
        for n in 0..ITEMS {
            api.item(&format!("i{n}"), price(n), ON_HAND).await;
        }
        Self
    }

    /// Every acknowledged order is there, and is what was acknowledged; nothing is asked again before.
    pub async fn check_acknowledged(&self, api: &Api, clients: &[Client]) {
        let all = api.all_orders().await;
        let newest: Vec<String> = all
            .iter()
            .take(READ_ONE_BY_ONE)
            .map(|order| order.name.clone())
            .collect();
        let mut found = by_name(all);
        for name in newest {
            let one = api
                .orders()
                .get_order(GetOrderRequest { name: name.clone() })
                .await;
            let one = one.unwrap().into_inner();
            assert_eq!(found.insert(name, one.clone()), Some(one));
        }
        for (name, known) in known(clients) {
            let order = found
                .get(name)
                .unwrap_or_else(|| panic!("acknowledged and lost: {:?}", known.placed));
            match known.cancel.map(|cancel| &cancel.answer) {
                None => assert_eq!(order, known.placed),
                Some(Some(Answer::Order(cancelled))) => assert_eq!(order, cancelled.as_ref()),
                Some(Some(answer)) => panic!("cancelling {order:?} was answered with {answer:?}"),
                Some(None) if order.state() == State::Confirmed => assert_eq!(order, known.placed),
                Some(None) => assert_is_cancelled(order, known.placed),
            }
        }
    }

    /// Everything, when every request has been answered and nothing is left to be done.
    pub async fn check_all(&self, api: &Api, clients: &[Client]) -> Orders {
        self.check_acknowledged(api, clients).await;
        let found = by_name(api.all_orders().await);
        let requests = || clients.iter().flat_map(|client| &client.requests);
        assert!(requests().all(|request| request.answer.is_some()));

        let known = known(clients);
        let mut orders = Orders::default();
        let (mut reserved, mut held) = (BTreeMap::<&str, i64>::new(), BTreeMap::<&str, i64>::new());
        for order in found.values() {
            match order.state() {
                State::Confirmed => {
                    orders.confirmed += 1;
                    for line in &order.lines {
                        *reserved.entry(&line.item).or_default() += line.quantity;
                    }
                    *held.entry(&order.customer).or_default() += order.total;
                }
                State::Cancelled => orders.cancelled += 1,
                State::Rejected => {
                    orders.rejected += 1;
                    continue;
                }
                state => panic!("{state:?} after everything has settled: {order:?}"),
            }
            assert!(known.contains_key(&*order.name), "nobody placed {order:?}");
        }
        let refused = requests()
            .filter(|request| {
                matches!(
                    (&request.ask, &request.answer),
                    (Ask::Place(_), Some(Answer::Refused(_)))
                )
            })
            .count();
        assert_eq!(orders.rejected, refused, "every refused order is recorded once");
        assert_eq!(orders.confirmed + orders.cancelled, known.len());

        let (mut delivered, mut paid) = (BTreeMap::<&str, i64>::new(), BTreeMap::<&str, i64>::new());
        for request in requests() {
            match &request.ask {
                Ask::Adjust(ask) => *delivered.entry(&ask.name).or_default() += ask.delta,
                Ask::Credit(ask) => *paid.entry(&ask.name).or_default() += ask.amount,
                Ask::Place(_) | Ask::Cancel(_) => {}
            }
        }
        let of = |sums: &BTreeMap<&str, i64>, name: &str| sums.get(name).copied().unwrap_or_default();
        let begun = Instant::now();
        loop {
            // Stock that was reserved for an order whose own first event did not reach the disk is given back within
            // seconds, without anybody asking.
            let items = api.all_items().await;
            let given_back = |item: &Item| item.reserved == of(&reserved, &item.name);
            if !items.iter().all(given_back) && begun.elapsed() < PATIENCE {
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
            assert_eq!(items.len() as u64, ITEMS);
            for item in &items {
                check_item(
                    item,
                    ON_HAND + of(&delivered, &item.name),
                    of(&reserved, &item.name),
                );
            }
            break;
        }
        let customers = api.all_customers().await;
        assert_eq!(customers.len() as u64, CUSTOMERS);
        for customer in &customers {
            check_customer(customer, of(&paid, &customer.name), of(&held, &customer.name));
        }
        orders
    }
}

fn check_item(item: &Item, on_hand: i64, reserved: i64) {
    assert_eq!((item.on_hand, item.reserved), (on_hand, reserved), "{item:?}");
    assert_eq!(item.available, on_hand - reserved);
    assert!(item.available >= 0, "sold more than there are: {item:?}");
}

fn check_customer(customer: &Customer, balance: i64, held: i64) {
    assert_eq!((customer.balance, customer.held), (balance, held), "{customer:?}");
    assert_eq!(customer.available, balance + CREDIT_LIMIT - held);
    assert!(customer.available >= 0, "more credit than there is: {customer:?}");
}

fn assert_is_cancelled(order: &Order, placed: &Order) {
    let lines = placed.lines.iter().map(|line| OrderLine {
        cancelled_quantity: line.quantity,
        reservations: vec![LineReservation {
            state: line_reservation::State::Released.into(),
            quantity: line.quantity,
            expire_time: None,
        }],
        ..line.clone()
    });
    let expected = Order {
        state: State::Cancelled.into(),
        update_time: order.update_time,
        etag: order.etag.clone(),
        lines: lines.collect(),
        payment: Some(OrderPayment {
            state: order_payment::State::Voided.into(),
            authorized: placed.total,
            voided: placed.total,
            ..OrderPayment::default()
        }),
        ..placed.clone()
    };
    assert_eq!(*order, expected);
}

fn by_name(orders: Vec<Order>) -> HashMap<String, Order> {
    let listed = orders.len();
    let by_name: HashMap<_, _> = orders
        .into_iter()
        .map(|order| (order.name.clone(), order))
        .collect();
    assert_eq!(by_name.len(), listed, "an order was listed twice");
    by_name
}

/// The orders whose placing was acknowledged, and what has become of them as far as their clients know.
fn known(clients: &[Client]) -> HashMap<&str, Known<'_>> {
    let mut known = HashMap::<&str, Known<'_>>::new();
    for request in clients.iter().flat_map(|client| &client.requests) {
        match (&request.ask, &request.answer) {
            (Ask::Place(ask), Some(Answer::Order(placed))) => {
                assert_eq!(placed.state(), State::Confirmed, "{placed:?}");
                assert_eq!(placed.customer, ask.customer);
                let before = known.insert(&placed.name, Known { placed, cancel: None });
                assert!(before.is_none(), "one order for two requests: {placed:?}");
            }
            (Ask::Cancel(ask), _) => {
                let order = known.get_mut(&*ask.name).expect("it was placed before");
                order.cancel = Some(request);
            }
            _ => {}
        }
    }
    known
}
