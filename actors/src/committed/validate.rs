//! The invariants of a shard's state.

use std::collections::BTreeMap;

use docket_engine::{Broken, Order, Sku};

use super::Committed;

impl Committed {
    /// Checks every invariant that can be seen within the shard. For tests and tools: it walks everything.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn validate(&self) -> Result<(), Broken> {
        let broken = |entity: &dyn ToString, why| {
            Err(Broken {
                entity: entity.to_string(),
                why,
            })
        };
        for order in self.orders.all() {
            order.validate()?;
            if !self.order_index.read().agrees_on(&order) {
                return broken(&order.id, "it is not in the index of its state");
            }
        }
        // One after the other: whoever holds the index takes no other lock.
        let indexed = self.order_index.read().count(&[]);
        if indexed != self.orders.len() {
            return broken(&"orders", "their index has more than there are");
        }
        for customer in &self.customers {
            customer.validate()?;
            // Copied: whoever holds this takes no other lock.
            let ids = self.customer_orders.get(&customer.id);
            let ids: Vec<_> = ids.iter().flat_map(|ids| ids.iter().map(|(id, ())| id)).collect();
            let held: i128 = ids
                .into_iter()
                .filter_map(|id| self.orders.see(id, Order::held))
                .map(|held| i128::from(held.0))
                .sum();
            if held != i128::from(customer.held.0) {
                return broken(&customer.id, "its held money is not the sum of its orders' holds");
            }
        }
        let mut reserved = BTreeMap::<Sku, i128>::new();
        for (sku, _, quantity) in self.reservations.all() {
            *reserved.entry(sku).or_default() += i128::from(quantity.0);
        }
        for item in &self.items {
            item.validate()?;
            let promised = i128::from(item.reserved.0) + i128::from(item.backordered().0);
            if reserved.remove(&item.sku).unwrap_or_default() != promised {
                return broken(
                    &item.sku,
                    "what is reserved of it, and waits, is not the sum of its reservations",
                );
            }
        }
        match reserved.into_keys().next() {
            Some(sku) => broken(&sku, "there are reservations of an item that does not exist"),
            None => Ok(()),
        }
    }
}
