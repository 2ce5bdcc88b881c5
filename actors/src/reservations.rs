//! What a shard's items have reserved for which orders: a sorted map an item, since that is smaller by half than one map
//! of both ids, and most items have many.

use std::{
    ops::Range,
    sync::atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use dashmap::DashMap;
use docket_engine::{OrderId, Quantity, Sku};
use rapidhash::fast::RandomState;

use crate::id_map::IdMap;

/// The reservations of a shard's items.
#[derive(Default)]
pub(crate) struct Reservations {
    by_item: DashMap<Sku, IdMap<Quantity>, RandomState>,
    count: AtomicUsize,
    /// The upper and lower half of the highest order that ever had one. One thread writes.
    newest: [AtomicU64; 2],
}

impl Reservations {
    pub(crate) fn get(&self, sku: &Sku, order: OrderId) -> Option<Quantity> {
        self.by_item.get(sku)?.get(order)
    }

    pub(crate) fn insert(&self, sku: &Sku, order: OrderId, quantity: Quantity) {
        let known = self.by_item.get_mut(sku);
        let mut of_item = known.unwrap_or_else(|| self.by_item.entry(sku.clone()).or_default());
        let before = of_item.len();
        of_item.insert(order, quantity);
        self.count.fetch_add(of_item.len() - before, Relaxed);
        drop(of_item);
        if order > self.newest() {
            let (high, low) = order.halves();
            self.newest[0].store(high, Release);
            self.newest[1].store(low, Release);
        }
    }

    /// No order behind this one has, or had, a reservation. Only for the thread that writes.
    pub(crate) fn newest(&self) -> OrderId {
        let [high, low] = &self.newest;
        OrderId::from_halves(high.load(Acquire), low.load(Acquire))
    }

    /// Adds those of an item behind this order and up to `until`, oldest first, at most so many.
    pub(crate) fn above(
        &self,
        sku: &Sku,
        behind: Option<OrderId>,
        until: OrderId,
        most: usize,
        found: &mut Vec<(OrderId, Quantity)>,
    ) {
        if let Some(of_item) = self.by_item.get(sku) {
            let of_item = of_item.above(behind);
            found.extend(of_item.take_while(|(order, _)| *order <= until).take(most));
        }
    }

    pub(crate) fn remove(&self, sku: &Sku, order: OrderId) {
        let Some(mut of_item) = self.by_item.get_mut(sku) else {
            return;
        };
        let before = of_item.len();
        of_item.remove(order);
        self.count.fetch_sub(before - of_item.len(), Relaxed);
        let is_last = of_item.is_empty();
        drop(of_item);
        if is_last {
            self.by_item.remove_if(sku, |_, of_item| of_item.is_empty());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// All of them: item after item, each from its oldest order on.
    pub(crate) fn all(&self) -> Vec<(Sku, OrderId, Quantity)> {
        let mut all = Vec::with_capacity(self.len());
        for of_item in &self.by_item {
            let sku = of_item.key();
            all.extend(
                of_item
                    .iter()
                    .map(|(order, quantity)| (sku.clone(), order, quantity)),
            );
        }
        all
    }

    /// The orders that have some, item after item; without those of `span`, where one is given.
    pub(crate) fn orders_outside(&self, span: Option<&Range<OrderId>>) -> Vec<(Sku, OrderId)> {
        let mut found = Vec::new();
        for of_item in &self.by_item {
            let mut add = |order| found.push((of_item.key().clone(), order));
            let all = of_item.iter().map(|(order, _)| order);
            match span {
                None => all.for_each(add),
                Some(span) => {
                    all.take_while(|order| *order < span.start).for_each(&mut add);
                    let behind = of_item.above(Some(span.end));
                    behind.for_each(|(order, _)| add(order));
                }
            }
        }
        found
    }

    pub(crate) fn clear(&self) {
        self.by_item.clear();
        self.by_item.shrink_to_fit();
        self.count.store(0, Relaxed);
        for half in &self.newest {
            half.store(0, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_of_one_item_and_one_order() {
        let reservations = Reservations::default();
        let (tea, jam) = (Sku::new("tea").unwrap(), Sku::new("jam").unwrap());
        let (first, second) = (OrderId(1), OrderId(2));
        reservations.insert(&tea, first, Quantity(3));
        reservations.insert(&tea, second, Quantity(4));
        reservations.insert(&jam, first, Quantity(5));
        let check = |expected: &[(&Sku, OrderId, i64)]| {
            assert_eq!(reservations.len(), expected.len());
            let mut all = reservations.all();
            all.sort();
            let expected = expected
                .iter()
                .map(|(sku, order, n)| ((*sku).clone(), *order, Quantity(*n)));
            assert_eq!(all, expected.collect::<Vec<_>>());
            for (sku, order, quantity) in all {
                assert_eq!(reservations.get(&sku, order), Some(quantity));
            }
        };
        check(&[(&jam, first, 5), (&tea, first, 3), (&tea, second, 4)]);
        assert_eq!(reservations.get(&jam, second), None);
        reservations.remove(&jam, first);
        reservations.remove(&jam, first);
        reservations.remove(&tea, second);
        check(&[(&tea, first, 3)]);
        let outside = |from: u128, to: u128| {
            let mut found = reservations.orders_outside(Some(&(OrderId(from)..OrderId(to))));
            found.sort();
            found
        };
        assert_eq!(outside(1, 9), []);
        assert_eq!(outside(2, 9), [(tea.clone(), first)]);
        assert_eq!(outside(0, 0), [(tea.clone(), first)]);
        assert_eq!(reservations.orders_outside(None), [(tea.clone(), first)]);
        // Nothing is kept of an item that has none.
        assert_eq!(reservations.by_item.len(), 1);
        reservations.clear();
        check(&[]);
    }
}
