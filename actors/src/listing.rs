//! Lists of orders, newest first, a page at a time.
//!
//! A page is gathered in steps: ids are copied out of an index under its lock, a few hundred at a time, and the orders
//! themselves are looked at without it, so that a list never holds up the log for longer than such a copy takes. The
//! smaller of two indexes is walked: the orders in the wanted states, or the customer's.
//!
//! A pending order that is confirmed by what is committed is listed as confirmed, before the log says so
//! (`Router::confirmed`): so whoever asks for confirmed orders has the pending ones looked at too.

use std::sync::Arc;

use docket_engine::{CustomerId, Order, OrderId, OrderState};

use crate::{
    committed::Committed,
    weight::{ORDERS_BYTES_MAX, weight},
};

/// The most orders that are looked at for one page. A page that ends there may be shorter than asked for, or empty, and
/// says where to go on.
pub const LIST_ROWS_MAX: usize = 8_192;
/// The fewest and the most ids that are copied under one lock.
const STEP_IDS: (usize, usize) = (64, 256);

/// Which orders to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct ListOrders {
    /// Only this customer's.
    pub customer: Option<CustomerId>,
    /// Only in these states; any when empty.
    pub states: Vec<OrderState>,
    /// Only orders with an id below this one: [`OrderPage::next`] of the page before.
    pub before: Option<OrderId>,
    /// At most this many.
    pub limit: usize,
}

/// A page of orders.
#[derive(Debug, Clone, Default)]
pub struct OrderPage {
    /// Newest first.
    pub orders: Vec<Arc<Order>>,
    /// Where the next page begins: what to ask for as [`ListOrders::before`]. `None` at the end.
    pub next: Option<OrderId>,
}

impl OrderPage {
    /// The page as far as an answer has room for it: at least one order.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        let mut bytes = 0;
        let passes = |order: &Arc<Order>| {
            bytes += weight(order);
            bytes > ORDERS_BYTES_MAX
        };
        if let Some(last) = self.orders.iter().position(passes)
            && last + 1 < self.orders.len()
        {
            self.orders.truncate(last + 1);
            self.next = self.orders.last().map(|order| order.id);
        }
        self
    }
}

/// Makes of an order as it is stored what it is shown as.
pub(crate) type Shown<'a> = dyn Fn(Arc<Order>) -> Arc<Order> + Send + Sync + 'a;

/// A page that is being gathered.
pub(crate) struct Listing<'a> {
    shards: Vec<&'a Committed>,
    query: &'a ListOrders,
    /// The states in which the index may have what is asked for; any when empty.
    states: Vec<OrderState>,
    /// What an order is shown as.
    shown: &'a Shown<'a>,
    /// Everything from here on has been looked at.
    before: OrderId,
    rows_left: usize,
    page: OrderPage,
}

impl<'a> Listing<'a> {
    /// A page of these shards, which are all that can have what is asked for.
    pub(crate) fn new(shards: Vec<&'a Committed>, query: &'a ListOrders, shown: &'a Shown<'a>) -> Self {
        let mut states = query.states.clone();
        if states.contains(&OrderState::Confirmed) && !states.contains(&OrderState::Pending) {
            states.push(OrderState::Pending);
        }
        Self {
            shards,
            query,
            states,
            shown,
            before: query.before.unwrap_or(OrderId(u128::MAX)),
            rows_left: LIST_ROWS_MAX,
            page: OrderPage::default(),
        }
    }

    /// Looks at some more orders. True when the page is complete.
    pub(crate) fn step(&mut self) -> bool {
        let (fewest, most) = STEP_IDS;
        let missing = self.query.limit - self.page.orders.len();
        // One more than is missing tells whether there is another page.
        let most = missing.saturating_add(1).clamp(fewest, most).min(self.rows_left);
        let rows = self.rows(most);
        let at_end = rows.len() < most;
        for (id, shard) in rows {
            let order = self.shards[shard].orders.get(id);
            let order = order.map(self.shown);
            if let Some(order) = order.filter(|order| self.is_wanted(order)) {
                if self.page.orders.len() == self.query.limit {
                    self.page.next = Some(self.before);
                    return true;
                }
                self.page.orders.push(order);
            }
            self.before = id;
            self.rows_left -= 1;
        }
        if !at_end && self.rows_left == 0 {
            self.page.next = Some(self.before);
        }
        at_end || self.rows_left == 0
    }

    pub(crate) fn page(self) -> OrderPage {
        self.page
    }

    /// The next rows, newest first, and in which shard each is.
    fn rows(&self, most: usize) -> Vec<(OrderId, usize)> {
        let mut rows = Vec::new();
        for (number, shard) in self.shards.iter().enumerate() {
            let ids = self.ids(shard, most);
            rows.extend(ids.into_iter().map(|id| (id, number)));
        }
        if self.shards.len() > 1 {
            rows.sort_unstable_by(|a, b| b.cmp(a));
            rows.truncate(most);
        }
        rows
    }

    fn ids(&self, shard: &Committed, most: usize) -> Vec<OrderId> {
        let states = &self.states;
        if let Some(customer) = &self.query.customer {
            let in_state = match states.is_empty() {
                true => usize::MAX,
                false => shard.order_index.read().count(states),
            };
            let ids = shard.customer_orders.get(customer);
            let Some(ids) = ids else { return Vec::new() };
            if ids.len() <= in_state {
                return ids.below(self.before).take(most).collect();
            }
        }
        shard.order_index.read().below(states, self.before, most)
    }

    /// Whether an order is asked for: it may have changed since its id was read, and an index knows only one thing of it.
    fn is_wanted(&self, order: &Order) -> bool {
        let states = &self.query.states;
        let customer = self.query.customer.as_ref();
        customer.is_none_or(|customer| *customer == order.customer)
            && (states.is_empty() || states.contains(&order.state))
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{
        Amount, Decider, Event, Fact, Line, OrderEvent, Quantity, Record, Rejection, Sku, Time, Version,
    };

    use super::*;

    /// Orders, more of them than one page looks at.
    const ORDERS: u128 = 20_000;
    /// Every how manieth is rejected.
    const REJECTED_EVERY: u128 = 1_000;
    /// Every how manieth is bob's.
    const BOBS_EVERY: u128 = 5_000;

    fn customer(name: &str) -> CustomerId {
        CustomerId::new(name).unwrap()
    }

    fn put(committed: &Committed, id: OrderId, customer: &CustomerId, then: OrderEvent) {
        let placed = OrderEvent::Placed {
            customer: customer.clone(),
            currency: "EUR".parse().unwrap(),
            lines: Arc::new([Line {
                sku: Sku::new("tea").unwrap(),
                quantity: Quantity(1),
                unit_price: Amount(1),
            }]),
            provider: None,
        };
        let events = [placed, then].into_iter().zip(1..).map(|(event, version)| Event {
            version: Version(version),
            decider: Decider(1),
            fact: Fact::Order(id, event),
        });
        let record = Record {
            time: Time(1),
            events: events.collect(),
            request: None,
            unchanged: None,
        };
        committed.apply(&record).unwrap();
    }

    /// Nearly all confirmed and alice's.
    fn shard() -> Committed {
        let (committed, alice, bob) = (Committed::default(), customer("alice"), customer("bob"));
        for n in 1..=ORDERS {
            let rejected = OrderEvent::Rejected {
                rejection: Box::new(Rejection::Overflow { line: None }),
                release: Box::default(),
            };
            let then = match n % REJECTED_EVERY {
                0 => rejected,
                _ => OrderEvent::Confirmed,
            };
            let of = if n % BOBS_EVERY == 1 { &bob } else { &alice };
            put(&committed, OrderId(n), of, then);
        }
        committed
    }

    /// A page and how many orders were looked at for it, at most so many under one lock.
    fn page(shards: &[&Committed], query: &ListOrders) -> (OrderPage, usize) {
        let mut listing = Listing::new(shards.to_vec(), query, &|order| order);
        loop {
            let before = listing.rows_left;
            let complete = listing.step();
            assert!(
                before - listing.rows_left <= STEP_IDS.1,
                "too many under one lock"
            );
            if complete {
                let rows = LIST_ROWS_MAX - listing.rows_left;
                return (listing.page(), rows);
            }
        }
    }

    /// Every order that a query finds, and how many were looked at.
    fn all(shards: &[&Committed], mut query: ListOrders) -> (Vec<OrderId>, usize) {
        let (mut ids, mut rows) = (Vec::new(), 0);
        loop {
            let (page, looked_at) = page(shards, &query);
            assert!(page.orders.len() <= query.limit);
            let bound = page.next.is_some() && looked_at == LIST_ROWS_MAX;
            assert!(bound || page.next.is_none() || page.orders.len() == query.limit);
            ids.extend(page.orders.iter().map(|order| order.id));
            rows += looked_at;
            query.before = page.next;
            if page.next.is_none() {
                assert!(ids.is_sorted_by(|a, b| a > b), "newest first, none twice");
                return (ids, rows);
            }
        }
    }

    fn query(customer: Option<CustomerId>, states: &[OrderState], limit: usize) -> ListOrders {
        ListOrders {
            customer,
            states: states.to_vec(),
            before: None,
            limit,
        }
    }

    #[test]
    fn a_list_by_state_looks_at_orders_of_that_state_only() {
        let shard = shard();
        for (states, found) in [
            (&[OrderState::Rejected][..], ORDERS / REJECTED_EVERY),
            (&[OrderState::Pending], 0),
            (&[OrderState::Cancelled, OrderState::Pending], 0),
        ] {
            let (ids, rows) = all(&[&shard], query(None, states, 7));
            assert_eq!(ids.len() as u128, found, "{states:?}");
            assert!(
                rows <= 4 * ids.len(),
                "{rows} rows for {} of {states:?}",
                ids.len()
            );
        }
        let (ids, _) = all(&[&shard], query(None, &[], 1_000));
        assert_eq!(ids.len() as u128, ORDERS);
    }

    #[test]
    fn a_customers_list_looks_at_the_smaller_of_its_orders_and_those_in_the_state() {
        let shard = shard();
        let rejected = query(Some(customer("alice")), &[OrderState::Rejected], 50);
        let (ids, rows) = all(&[&shard], rejected);
        assert_eq!((ids.len() as u128, rows), (ORDERS / REJECTED_EVERY, 20));
        let confirmed = query(Some(customer("bob")), &[OrderState::Confirmed], 50);
        let (ids, rows) = all(&[&shard], confirmed);
        assert_eq!((ids.len() as u128, rows), (ORDERS / BOBS_EVERY, 4));
        let (ids, _) = all(&[&shard], query(Some(customer("nobody")), &[], 50));
        assert!(ids.is_empty());
    }

    #[test]
    fn a_page_ends_where_too_many_orders_were_looked_at_and_says_where_to_go_on() {
        let shard = shard();
        for n in 1..=ORDERS {
            put(
                &shard,
                OrderId(ORDERS + n),
                &customer("carol"),
                OrderEvent::Confirmed,
            );
        }
        for order in 1..=ORDERS {
            let cancelled = Record {
                time: Time(2),
                events: vec![Event {
                    version: Version(3),
                    decider: Decider(1),
                    fact: Fact::Order(OrderId(order), OrderEvent::Cancelled),
                }],
                request: None,
                unchanged: None,
            };
            if order % REJECTED_EVERY != 0 {
                shard.apply(&cancelled).unwrap();
            }
        }
        // Neither index helps: alice has 19,996 orders, carol's 20,000 are the ones that are confirmed.
        let confirmed = query(Some(customer("alice")), &[OrderState::Confirmed], 50);
        let (none, rows) = page(&[&shard], &confirmed);
        assert_eq!((none.orders.len(), rows), (0, LIST_ROWS_MAX));
        assert!(none.next.is_some());
        let (ids, rows) = all(&[&shard], confirmed);
        assert_eq!((ids.len(), rows), (0, 19_996));
    }

    #[test]
    fn pages_over_several_shards_are_one_list() {
        let shards = [Committed::default(), Committed::default(), Committed::default()];
        for n in 1..=1_000_u128 {
            let shard = &shards[(n * n % 3) as usize];
            put(shard, OrderId(n), &customer("alice"), OrderEvent::Confirmed);
        }
        let shards = [&shards[0], &shards[1], &shards[2]];
        for limit in [1, 63, 64, 100, 999, 1_000, usize::MAX] {
            let (ids, _) = all(&shards, query(None, &[OrderState::Confirmed], limit));
            assert!(ids.into_iter().eq((1..=1_000).rev().map(OrderId)), "{limit}");
        }
        let (page, _) = page(&shards, &query(None, &[], 1_000));
        assert_eq!((page.orders.len(), page.next), (1_000, None));
    }
}
