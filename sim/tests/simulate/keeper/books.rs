//! What all keepers were told together is what every node has: stock, money, orders, and what the provider did for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use docket_actors::{ListOrders, VerifyPace};
use docket_engine::{Order, OrderState, PaymentKind};

use super::{CUSTOMERS, ITEMS, Keeper, ON_HAND, customer_id, sku};
use crate::{
    ask::call,
    provider::{Paid, Provider},
    seat::Running,
    shop::Shop,
};

/// More than a run has.
const LISTED_MAX: usize = 1_000;

/// By name: what is in it, and what orders have taken of that.
type Figures = BTreeMap<String, (i64, i64)>;

/// What one node has of what is the keepers'.
#[derive(Debug)]
pub(super) struct Books {
    /// On hand, and reserved.
    items: Figures,
    /// Balance, and held.
    customers: Figures,
    pub(super) orders: Vec<Arc<Order>>,
}

/// Looks at all nodes; what is wrong is a fault of the run.
pub async fn look(shop: &Shop, keepers: &[Keeper], provider: &Provider) {
    let should = should_be(keepers);
    let led: BTreeMap<_, _> = keepers
        .iter()
        .flat_map(|keeper| &keeper.led)
        .map(|led| (led.id, led))
        .collect();
    for seat in &shop.seats {
        let node = seat.at + 1;
        let books = match seat.run(read).await {
            Ok(Some(Ok(books))) => books,
            Ok(Some(Err(why))) => return shop.fault(format!("node {node}: {why}")),
            _ => return shop.fault(format!("node {node} is down at the end")),
        };
        if (&books.items, &books.customers) != (&should.0, &should.1) {
            shop.fault(format!(
                "node {node} has {:?} and {:?}, and not {should:?}",
                books.items, books.customers
            ));
        }
        let mut paid = provider.paid();
        let mut found = BTreeSet::new();
        for order in &books.orders {
            if order.next_payment().is_some() || !order.is_settled() {
                shop.fault(format!("node {node}: something is still to be done: {order:?}"));
            }
            let steps = order.payment_steps().iter();
            let payments = steps.map(|step| step.payment).max().unwrap_or(1);
            for payment in 1..=payments {
                let theirs = paid.remove(&(order.id, payment)).unwrap_or_default();
                check_paid(shop, order, payment, theirs);
            }
            let is_dead = matches!(order.state, OrderState::Rejected | OrderState::Expired);
            match led.get(&order.id) {
                Some(led) => {
                    found.insert(order.id);
                    if let Some(why) = led.differs(order) {
                        shop.fault(format!("node {node}: {why}"));
                    }
                }
                None if is_dead => {}
                None => shop.fault(format!("node {node}: nobody was told of {order:?}")),
            }
        }
        if found.len() != led.len() || !paid.is_empty() {
            shop.fault(format!(
                "node {node} has {} of {} orders; paid and not there: {paid:?}",
                found.len(),
                led.len()
            ));
        }
    }
    for violation in provider.violations() {
        shop.fault(format!(
            "the provider was asked for what must not be: {violation}"
        ));
    }
    verify(shop).await;
}

/// The provider's books of one of an order's payments are the order's.
fn check_paid(shop: &Shop, order: &Order, payment: u8, theirs: Paid) {
    let done = |kind| -> i64 {
        let steps = order.payment_steps().iter();
        let done = steps.filter(|step| step.payment == payment && step.kind == kind && step.is_done());
        done.map(|step| step.amount.0).sum()
    };
    let ours = Paid {
        authorized: done(PaymentKind::Authorize),
        captured: done(PaymentKind::Capture),
        voided: done(PaymentKind::Void),
        refunded: done(PaymentKind::Refund),
    };
    let is_one = match ours.authorized {
        // It may have been authorised late, which the order need not know: but nothing of it is set aside.
        0 => theirs.authorized == theirs.voided && (theirs.captured, theirs.refunded) == (0, 0),
        _ => ours == theirs,
    };
    if !is_one {
        shop.fault(format!(
            "the provider has {theirs:?} of payment {payment} of {order:?}"
        ));
    }
}

/// What there must be of each item and each customer.
fn should_be(keepers: &[Keeper]) -> (Figures, Figures) {
    let mut items: BTreeMap<_, _> = (0..ITEMS).map(|n| (sku(n), (ON_HAND, 0))).collect();
    let mut customers: BTreeMap<_, _> = (0..CUSTOMERS).map(|n| (customer_id(n), (0, 0))).collect();
    for led in keepers.iter().flat_map(|keeper| &keeper.led) {
        let (open, back) = (led.open(), led.put_back());
        for (at, line) in led.lines.iter().enumerate() {
            let item = items.entry(line.sku.to_string()).or_default();
            item.0 += back[at] - led.shipped[at];
            item.1 += open[at];
        }
        if !led.is_by_provider {
            let customer = customers.entry(customer_id(led.customer)).or_default();
            customer.0 += led.refunded() - led.captured();
            customer.1 += led.cost(&open);
        }
    }
    (items, customers)
}

pub(super) async fn read(running: Running) -> Result<Books, String> {
    let docket = running.docket;
    let items = docket.list_items(call(""), None, LISTED_MAX).await;
    let customers = docket.list_customers(call(""), None, LISTED_MAX).await;
    let is_theirs = |name: &str| name.starts_with('k');
    let mut books = Books {
        items: (items.map_err(|error| error.to_string())?.iter())
            .filter(|item| is_theirs(item.sku.as_str()))
            .map(|item| (item.sku.to_string(), (item.on_hand.0, item.reserved.0)))
            .collect(),
        customers: (customers.map_err(|error| error.to_string())?.iter())
            .filter(|customer| is_theirs(customer.id.as_str()))
            .map(|customer| (customer.id.to_string(), (customer.balance.0, customer.held.0)))
            .collect(),
        orders: Vec::new(),
    };
    let mut query = ListOrders {
        limit: LISTED_MAX,
        ..ListOrders::default()
    };
    loop {
        let page = docket.list_orders(call(""), query.clone()).await;
        let page = page.map_err(|error| error.to_string())?;
        let theirs = page
            .orders
            .into_iter()
            .filter(|order| is_theirs(order.customer.as_str()));
        books.orders.extend(theirs);
        match page.next {
            Some(next) => query.before = Some(next),
            None => return Ok(books),
        }
    }
}

/// And every node finds its own books in order.
async fn verify(shop: &Shop) {
    for seat in &shop.seats {
        let verified = seat.run(|running| async move { running.docket.verify(VerifyPace::default()).await });
        match verified.await {
            Ok(Some(Ok(report))) if report.is_clean() && report.half_open == 0 => {}
            other => shop.fault(format!("node {} does not verify: {other:?}", seat.at + 1)),
        }
    }
}
