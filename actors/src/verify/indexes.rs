//! Whether a shard's indexes have what they are the index of, and nothing else.
//!
//! They change with every entry, and are looked at as they are now. An order and its places in the indexes change under the lock of the order.
//! What seems to be wrong otherwise is looked at once more between two entries, where nothing is half-way.

use std::{collections::BTreeSet, time::Instant};

use docket_engine::{CustomerId, Order, OrderId};

use super::{
    DiscrepancyKind as Kind,
    walk::{Counts, Walk, of_customer, of_item, of_order},
};
use crate::{committed::Committed, shard::Shard};

/// So many ids are copied under one lock.
pub(super) const BATCH: usize = 256;
const LAST: OrderId = OrderId(u128::MAX);

/// Ids that are in an index of orders, and not where the index says.
#[derive(Default)]
struct Strays {
    by_state: Vec<OrderId>,
    /// In one of the sets of few.
    in_few: Vec<OrderId>,
    by_customer: Vec<(CustomerId, OrderId)>,
}

impl Walk<'_> {
    /// Whether an order is in the shard, and in the indexes, where it belongs.
    pub(super) fn check_places(&mut self, order: &Order) {
        let (id, committed) = (order.id, self.ground.committed());
        let router = &self.ground.router;
        let is_of = |shard: &Shard| shard.id() == self.ground.shard.id();
        if !router.of_order(id).is_some_and(|home| is_of(home))
            || !is_of(router.of_key(order.customer.as_str()))
        {
            self.add(
                Kind::IndexDiffers,
                of_order(id),
                "it, or its customer, is of another shard",
            );
        }
        // Both change while the order's part of the table is locked.
        let places = committed.orders.see(id, |now| {
            let is_in_state = committed.order_index.read().agrees_on(now);
            (is_in_state, is_customers(committed, &now.customer, id))
        });
        // One that has left memory meanwhile has no place.
        let (is_in_state, is_customers) = places.unwrap_or((true, true));
        if !is_in_state && self.misplaced.insert(id) {
            self.add(Kind::IndexDiffers, of_order(id), NOT_IN_STATE);
        }
        if !is_customers && self.misplaced.insert(id) {
            self.add(Kind::IndexDiffers, of_order(id), NOT_CUSTOMERS);
        }
    }

    /// Whether the indexes have something more, or less.
    pub(super) fn check_indexes(&mut self) {
        let committed = self.ground.committed().clone();
        let strays = self.strays(&committed);
        if self.ground.stop.is_cancelled() {
            return;
        }
        let counts = &self.counts;
        let orders_differ = counts.orders != counts.order_index || counts.orders as u64 != self.books.orders;
        let customers_differ =
            counts.customers != counts.customer_ids || counts.customers as u64 != self.books.customers;
        let items_differ = counts.items != counts.skus || counts.items as u64 != self.books.items;
        let reservations_differ = counts.reservations as u64 != self.books.reservations;
        let total_before = self.found.report.discrepancies_total;
        let any_differs = orders_differ || customers_differ || items_differ || reservations_differ;
        // Nothing is applied meanwhile. Beyond the strays nothing is walked through here but where something is wrong, and somebody waits for it.
        let entry = committed.between_entries();
        let has_strays = self.tell_strays(&committed, strays);
        if self.ground.gives_way_to.is_some() {
            drop(entry);
            return self.tell_counts(any_differs);
        }
        if orders_differ || has_strays {
            self.tell_missing_orders(&committed);
        }
        if customers_differ {
            let ids = committed.customer_ids.read().clone();
            for customer in &committed.customers {
                if !ids.contains(customer.key()) {
                    self.add(Kind::IndexDiffers, of_customer(customer.key()), NOT_IN_INDEX);
                }
            }
            for id in ids.iter().filter(|id| !committed.customers.contains_key(*id)) {
                self.add(Kind::IndexDiffers, of_customer(id), NOT_THERE);
            }
        }
        let skus = match items_differ || reservations_differ {
            true => committed.skus.read().clone(),
            false => BTreeSet::new(),
        };
        if items_differ {
            for item in &committed.items {
                if !skus.contains(item.key()) {
                    self.add(Kind::IndexDiffers, of_item(item.key()), NOT_IN_INDEX);
                }
            }
            for sku in skus.iter().filter(|sku| !committed.items.contains_key(*sku)) {
                self.add(Kind::IndexDiffers, of_item(sku), NOT_THERE);
            }
        }
        if reservations_differ {
            let all = committed.reservations.orders_outside(None);
            for (sku, order) in all.into_iter().filter(|(sku, _)| !skus.contains(sku)) {
                let why = format!("some are reserved for order {order}, and there is no such item");
                self.add(Kind::ReservationOrphan, of_item(&sku), why);
            }
        }
        drop(entry);
        if any_differs && self.misplaced.is_empty() && self.found.report.discrepancies_total == total_before {
            let why = "it counts others than there are, of orders, customers, items or reservations";
            self.add(Kind::IndexDiffers, self.books.group.to_string(), why);
        }
    }

    /// Tells that something is missing in an index, or too much in it, without looking for it.
    fn tell_counts(&mut self, any_differs: bool) {
        if any_differs {
            let Counts {
                customers,
                customer_ids,
                items,
                skus,
                orders,
                order_index,
                reservations,
            } = self.counts;
            let why = format!(
                "of {orders} orders {order_index} are in the index, of {customers} customers {customer_ids}, of {items} items {skus}; \
                 {}, {}, {} and {} of {reservations} reservations were seen (`docket verify` tells which)",
                self.books.orders, self.books.customers, self.books.items, self.books.reservations
            );
            self.add(Kind::IndexDiffers, self.books.group.to_string(), why);
        }
    }

    /// What is in an index of orders and was not where it says, at some moment.
    fn strays(&self, committed: &Committed) -> Strays {
        let mut strays = Strays::default();
        let mut ids = Vec::with_capacity(BATCH);
        let mut worked = Instant::now();
        let mut behind = None;
        loop {
            ids.clear();
            committed.order_index.read().above(behind, LAST, BATCH, &mut ids);
            let is_stray = |id: &&OrderId| committed.orders.see(**id, |_| ()).is_none();
            strays.by_state.extend(ids.iter().filter(is_stray));
            behind = ids.last().copied();
            if ids.len() < BATCH || self.ground.stop.is_cancelled() {
                break;
            }
            self.ground.give_way(&mut worked);
        }
        let mut behind = None;
        loop {
            ids.clear();
            committed.order_index.read().few_above(behind, BATCH, &mut ids);
            let is_stray = |id: &&OrderId| committed.orders.see(**id, |_| ()).is_none();
            strays.in_few.extend(ids.iter().filter(is_stray));
            behind = ids.last().copied();
            if ids.len() < BATCH || self.ground.stop.is_cancelled() {
                break;
            }
            self.ground.give_way(&mut worked);
        }
        let customers: Vec<CustomerId> = committed
            .customer_orders
            .iter()
            .map(|of_customer| of_customer.key().clone())
            .collect();
        let mut looked_at = 0;
        for customer in customers {
            if self.ground.stop.is_cancelled() {
                break;
            }
            let mut behind = None;
            loop {
                ids.clear();
                if let Some(of_customer) = committed.customer_orders.get(&customer) {
                    ids.extend(of_customer.above(behind).map(|(id, ())| id).take(BATCH));
                }
                let is_stray = |id: &&OrderId| {
                    let is_its = committed.orders.see(**id, |order| order.customer == customer);
                    is_its != Some(true)
                };
                let found = ids.iter().filter(is_stray).map(|id| (customer.clone(), *id));
                strays.by_customer.extend(found);
                behind = ids.last().copied();
                // Most customers have few.
                looked_at += ids.len() + 1;
                if looked_at >= BATCH {
                    looked_at = 0;
                    self.ground.give_way(&mut worked);
                }
                if ids.len() < BATCH || self.ground.stop.is_cancelled() {
                    break;
                }
            }
        }
        strays
    }

    /// Tells those that are strays still; whether there are any. Between two entries.
    fn tell_strays(&mut self, committed: &Committed, strays: Strays) -> bool {
        let mut any = false;
        for id in strays.by_state {
            let mut found = Vec::new();
            let before = id.0.checked_sub(1).map(OrderId);
            committed.order_index.read().above(before, id, 1, &mut found);
            if !found.is_empty() && committed.orders.see(id, |_| ()).is_none() && self.misplaced.insert(id) {
                any = true;
                self.add(Kind::IndexDiffers, of_order(id), NOT_THERE);
            }
        }
        for id in strays.in_few {
            let is_in = committed.order_index.read().is_in_few(id);
            if is_in && committed.orders.see(id, |_| ()).is_none() && self.misplaced.insert(id) {
                any = true;
                self.add(Kind::IndexDiffers, of_order(id), NOT_THERE);
            }
        }
        for (customer, id) in strays.by_customer {
            let is_its = committed.orders.see(id, |order| order.customer == customer);
            if is_its != Some(true) && is_customers(committed, &customer, id) && self.misplaced.insert(id) {
                any = true;
                let why = format!("it is among the orders of customer {customer}, and is none of them");
                self.add(Kind::IndexDiffers, of_order(id), why);
            }
        }
        any
    }

    /// Tells orders that an index does not have. Between two entries.
    fn tell_missing_orders(&mut self, committed: &Committed) {
        for order in committed.orders.all() {
            let agrees = committed.order_index.read().agrees_on(&order);
            if !agrees && self.misplaced.insert(order.id) {
                self.add(Kind::IndexDiffers, of_order(order.id), NOT_IN_STATE);
            }
        }
    }
}

const NOT_IN_STATE: &str = "it is not in the index of its state alone";
const NOT_CUSTOMERS: &str = "it is not among the orders of its customer";
const NOT_IN_INDEX: &str = "it is not in the index";
const NOT_THERE: &str = "it is in the index, and does not exist";

/// Whether an order is among those of a customer.
fn is_customers(committed: &Committed, customer: &CustomerId, id: OrderId) -> bool {
    let of_customer = committed.customer_orders.get(customer);
    of_customer.is_some_and(|ids| ids.contains(id))
}
